package workload

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Glance sets how often a stream looks at the clock.
func (s *Server) Glance(every time.Duration) { s.config.glance = every }

// Break closes the listener of a workload behind the server's back.
func (s *Server) Break(id spiffeid.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.endpoints[id].listener.Close()
}
