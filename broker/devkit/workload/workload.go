// Package workload is the SPIFFE Workload API for development and for tests: it
// gives each workload of one trust domain a Unix socket of its own, and whoever
// opens that socket is that workload. An agent finds out who asks; this one does
// not, so it is for machines on which everybody may be everybody.
//
// What it serves is real: X.509-SVIDs and JWT-SVIDs of the development CA (whose
// certificates and key IDs say what they are), renewed at half of their life and
// pushed, and bundles that follow the roots of the CA. Any SPIFFE library can use
// it, with unix:// and the path of the socket as SPIFFE_ENDPOINT_SOCKET.
package workload

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambist/cambist/broker/devkit/trust"
)

// Config says what a Server serves and where.
type Config struct {
	CA     *trust.CA
	Dir    string        // for the sockets: made if need be, for its owner alone; one Server at a time uses it
	TTL    time.Duration // of X.509-SVIDs, 2 seconds or more; 0 is an hour
	JWTTTL time.Duration // of JWT-SVIDs, from 1 second to 5 minutes; 0 is 5 minutes
	Now    func() time.Time

	glance time.Duration // between two looks at the clock, at most
}

const (
	defaultTTL = time.Hour
	// defaultGlance is short because a timer does not count the time that a laptop
	// sleeps.
	defaultGlance = 10 * time.Second
	// minTTL leaves a second of life at half of it: certificates count in seconds.
	minTTL = 2 * time.Second
)

// Server is a Workload API with one socket for each workload. It holds its folder
// from New until Run has ended.
type Server struct {
	config Config
	lock   *os.File // of the folder

	mu        sync.Mutex // guards what follows
	stage     stage
	endpoints map[spiffeid.ID]*endpoint
	serving   sync.WaitGroup // one for each endpoint that is served; none is added once over
	failed    chan error     // the first endpoint that could not go on
}

// stage is how far a Server is. Sockets are open before Run: who connects early
// waits.
type stage uint8

const (
	prepared stage = iota
	running
	over
)

// New takes the folder, in which it removes the sockets that a process that died
// has left, and fails if a process that lives is using it. Run must follow.
func New(c Config) (*Server, error) {
	var errs []error
	if c.CA == nil || c.Now == nil || c.Dir == "" {
		errs = append(errs, errors.New("it needs a CA, a folder and a clock"))
	}
	if c.TTL == 0 {
		c.TTL = defaultTTL
	}
	if c.TTL < minTTL {
		errs = append(errs, fmt.Errorf("X.509-SVIDs live for %v or more", minTTL))
	}
	if c.JWTTTL == 0 {
		c.JWTTTL = trust.MaxJWTTTL
	}
	if c.JWTTTL < time.Second || c.JWTTTL > trust.MaxJWTTTL {
		errs = append(errs, fmt.Errorf("JWT-SVIDs live from 1 second to %v", trust.MaxJWTTTL))
	}
	if len(errs) > 0 {
		return nil, wrap(errors.Join(errs...))
	}
	dir, lock, err := takeDir(c.Dir)
	if err != nil {
		return nil, wrap(err)
	}
	c.Dir, c.glance = dir, defaultGlance
	return &Server{config: c, lock: lock, endpoints: map[spiffeid.ID]*endpoint{}, failed: make(chan error, 1)}, nil
}

func wrap(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("development Workload API: %w", err)
}

var (
	errOver    = errors.New("it has ended")
	errRunning = errors.New("it runs already")
	errUnknown = errors.New("there is no such workload")
)

// Run serves the sockets until ctx is done, or until one of them fails. When it
// has returned, nothing of it runs any more and no socket is left.
func (s *Server) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.stage != prepared {
		defer s.mu.Unlock()
		if s.stage == running {
			return wrap(errRunning)
		}
		return wrap(errOver)
	}
	s.stage = running
	for _, e := range s.endpoints {
		s.serve(e)
	}
	s.mu.Unlock()

	var err error
	select {
	case <-ctx.Done():
	case err = <-s.failed:
	}

	s.mu.Lock()
	s.stage = over
	var left []*endpoint
	for _, e := range s.endpoints {
		err = errors.Join(err, unlink(e.path))
		left = append(left, e)
	}
	clear(s.endpoints)
	s.mu.Unlock()
	var stopping sync.WaitGroup
	for _, e := range left {
		// After Unavailable a client tries again.
		stopping.Go(func() { e.stop(status.Error(codes.Unavailable, "the Workload API ends")) })
	}
	stopping.Wait()
	s.serving.Wait()
	return wrap(errors.Join(err, s.lock.Close())) // and with the file the lock
}

// serve needs the lock.
func (s *Server) serve(e *endpoint) {
	s.serving.Go(func() {
		if err := e.serve(); err != nil {
			select {
			case s.failed <- err:
			default:
			}
		}
	})
}

// Add opens a socket for the workload and returns its path; for one that has a
// socket it returns that. Hosts are DNS names and IP addresses that its
// X.509-SVIDs name as well, for clients that know nothing of SPIFFE; if they are
// others than before, a new SVID follows at once. To name none changes none.
func (s *Server) Add(id spiffeid.ID, hosts ...string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stage == over {
		return "", wrap(errOver)
	}
	if e, ok := s.endpoints[id]; ok {
		if len(hosts) == 0 {
			return e.path, nil
		}
		return e.path, wrap(e.setHosts(hosts))
	}
	path := filepath.Join(s.config.Dir, socketName(id, maxPath-len(s.config.Dir)-1))
	e, err := newEndpoint(&s.config, id, path, hosts)
	if err != nil {
		return "", wrap(err)
	}
	s.endpoints[id] = e
	if s.stage == running {
		s.serve(e)
	}
	return path, nil
}

// Remove closes the socket of a workload. Those who have it open are told that
// they are nobody any more.
func (s *Server) Remove(id spiffeid.ID) error {
	s.mu.Lock()
	e, ok := s.endpoints[id]
	if !ok {
		s.mu.Unlock()
		return wrap(errUnknown)
	}
	delete(s.endpoints, id)
	err := unlink(e.path) // before another Add can make it again
	s.mu.Unlock()
	e.stop(status.Error(codes.PermissionDenied, "the workload has been removed"))
	return wrap(err)
}

// Rotate makes a new X.509-SVID for the workload now and pushes it.
func (s *Server) Rotate(id spiffeid.ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.endpoints[id]
	if !ok {
		return wrap(errUnknown)
	}
	return wrap(e.rotate())
}

// RotateAll is Rotate for every workload.
func (s *Server) RotateAll() error {
	s.mu.Lock()
	all := slices.Collect(maps.Values(s.endpoints))
	s.mu.Unlock()
	var err error
	for _, e := range all {
		err = errors.Join(err, e.rotate())
	}
	return wrap(err)
}

// Sockets returns the path of each workload's socket.
func (s *Server) Sockets() map[spiffeid.ID]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths := make(map[spiffeid.ID]string, len(s.endpoints))
	for id, e := range s.endpoints {
		paths[id] = e.path
	}
	return paths
}
