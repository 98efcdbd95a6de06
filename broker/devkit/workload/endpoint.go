package workload

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"slices"
	"sync"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	securityHeader = "workload.spiffe.io"

	// grace is how long a stream may take to say goodbye, and handshake how long a
	// connection may take to begin: neither holds up the end for longer.
	grace     = time.Second
	handshake = 3 * time.Second

	maxRequestBytes = 64 << 10
)

// endpoint is the Workload API of one workload. Of the RPCs that it does not have,
// those for WIT-SVIDs, it says so (SPIFFE Workload API section 7).
type endpoint struct {
	api.UnimplementedSpiffeWorkloadAPIServer
	config   *Config
	id       spiffeid.ID
	path     string
	listener net.Listener
	server   *grpc.Server

	over     chan struct{} // closed when it ends
	farewell error         // why it ends; not nil once over is closed

	mu    sync.Mutex // guards what follows
	hosts []string
	shown *shown
}

// shown is an X.509-SVID as it is shown.
type shown struct {
	answer  *api.X509SVIDResponse
	renewAt time.Time
	roots   <-chan struct{} // closed when the CA has other roots than those in the answer
	over    chan struct{}   // closed when another SVID has taken its place
}

func newEndpoint(c *Config, id spiffeid.ID, path string, hosts []string) (*endpoint, error) {
	e := &endpoint{config: c, id: id, path: path, over: make(chan struct{}), hosts: slices.Clone(hosts)}
	var err error
	if e.shown, err = e.issue(e.hosts); err != nil {
		return nil, err
	}
	if e.listener, err = listen(path); err != nil {
		return nil, err
	}
	e.server = grpc.NewServer(
		grpc.UnaryInterceptor(demandHeader), grpc.StreamInterceptor(demandHeaderOfStream),
		grpc.MaxRecvMsgSize(maxRequestBytes), grpc.ConnectionTimeout(handshake), grpc.WaitForHandlers(true),
	)
	api.RegisterSpiffeWorkloadAPIServer(e.server, e)
	return e, nil
}

func (e *endpoint) serve() error {
	if err := e.server.Serve(e.listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return err
	}
	return nil
}

// stop ends the endpoint and returns when nothing of it runs any more. Those who
// listen to a stream hear why.
func (e *endpoint) stop(farewell error) {
	e.farewell = farewell
	close(e.over)
	done := make(chan struct{})
	go func() {
		defer close(done)
		e.server.GracefulStop()
	}()
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
		e.server.Stop()
		<-done
	}
	_ = e.listener.Close() // it may never have been served; else it is closed already
}

// demandHeader refuses a request without the header that one forged through
// somebody else's server does not have (SPIFFE Workload Endpoint section 3).
func demandHeader(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if err := checkHeader(ctx); err != nil {
		return nil, err
	}
	return handle(ctx, request)
}

func demandHeaderOfStream(service any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	if err := checkHeader(stream.Context()); err != nil {
		return err
	}
	return handle(service, stream)
}

func checkHeader(ctx context.Context) error {
	md, _ := metadata.FromIncomingContext(ctx)
	if !slices.Equal(md.Get(securityHeader), []string{"true"}) {
		return status.Error(codes.InvalidArgument, "the header "+securityHeader+": true is missing")
	}
	return nil
}

// issue makes an X.509-SVID. The roots are watched from before it looks at them,
// so that no change is missed.
func (e *endpoint) issue(hosts []string) (*shown, error) {
	roots, now := e.config.CA.Changed(), e.config.Now()
	svid, err := e.config.CA.SVID(e.id, e.config.TTL, hosts...)
	if err != nil {
		return nil, err
	}
	chain, key, err := svid.MarshalRaw()
	if err != nil {
		return nil, err
	}
	return &shown{
		answer: &api.X509SVIDResponse{Svids: []*api.X509SVID{{
			SpiffeId: e.id.String(), X509Svid: chain, X509SvidKey: key, Bundle: der(e.config.CA.Bundle().X509Authorities()),
		}}},
		renewAt: now.Add(svid.Certificates[0].NotAfter.Sub(now) / 2),
		roots:   roots, over: make(chan struct{}),
	}, nil
}

func der(certificates []*x509.Certificate) []byte {
	var raw []byte
	for _, c := range certificates {
		raw = append(raw, c.Raw...)
	}
	return raw
}

// svid returns the SVID that is to be shown now: a new one at half of the life of
// the last, and when the roots have changed.
func (e *endpoint) svid() (*shown, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.config.Now().Before(e.shown.renewAt) && !isClosed(e.shown.roots) {
		return e.shown, nil
	}
	err := e.replace(e.hosts)
	return e.shown, err
}

// rotate replaces the SVID now.
func (e *endpoint) rotate() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.replace(e.hosts)
}

func (e *endpoint) setHosts(hosts []string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if slices.Equal(e.hosts, hosts) {
		return nil
	}
	return e.replace(slices.Clone(hosts))
}

// replace needs the lock. If it fails, all stays as it was.
func (e *endpoint) replace(hosts []string) error {
	next, err := e.issue(hosts)
	if err != nil {
		return err
	}
	close(e.shown.over)
	e.hosts, e.shown = hosts, next
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
