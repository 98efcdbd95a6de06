package workload

import "github.com/spiffe/go-spiffe/v2/spiffeid"

// Break closes the listener of a workload behind the server's back.
func (s *Server) Break(id spiffeid.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoints[id].listener.Close()
}
