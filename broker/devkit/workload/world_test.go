package workload_test

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/devkit/workload"
)

// TestMain also plays the process that another test kills. When all tests are
// over, no goroutine of any server may be left.
func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		serveUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

var (
	domain = spiffeid.RequireTrustDomainFromString("dev.cambist.invalid")
	web    = spiffeid.RequireFromString("spiffe://dev.cambist.invalid/ns/shop/sa/web")
	orders = spiffeid.RequireFromString("spiffe://dev.cambist.invalid/ns/shop/sa/orders")
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// clock is a clock that a test sets.
type clock struct{ at atomic.Int64 }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) set(at time.Time) { c.at.Store(at.UnixNano()) }
func (c *clock) now() time.Time   { return time.Unix(0, c.at.Load()) }

// world is a running server with a CA and a folder of its own.
type world struct {
	*workload.Server
	ca   *trust.CA
	dir  string
	stop func() // returns when Run has
}

func newCA(t testing.TB, now func() time.Time) *trust.CA {
	t.Helper()
	ca, err := trust.New(domain, now)
	must(t, err)
	return ca
}

// shortDir is a folder whose path leaves room for the names of sockets.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "w")
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "sockets")
}

// start starts a server, with what is missing in the configuration filled in. Its
// streams do not look at the clock by themselves: what is pushed is pushed for a
// reason.
func start(t testing.TB, c workload.Config) *world {
	t.Helper()
	return startGlancing(t, c, time.Hour)
}

func startGlancing(t testing.TB, c workload.Config, every time.Duration) *world {
	t.Helper()
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.CA == nil {
		c.CA = newCA(t, c.Now)
	}
	if c.Dir == "" {
		c.Dir = shortDir(t)
	}
	s, err := workload.New(c)
	must(t, err)
	s.Glance(every)
	w := &world{Server: s, ca: c.CA, dir: c.Dir}
	w.stop = run(t, s)
	return w
}

// run runs a server until the test ends or the result is called.
func run(t testing.TB, s *workload.Server) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (w *world) add(t testing.TB, id spiffeid.ID, hosts ...string) string {
	t.Helper()
	path, err := w.Add(id, hosts...)
	must(t, err)
	return path
}

// source is go-spiffe's source of X.509-SVIDs and bundles.
func source(t testing.TB, path string) *workloadapi.X509Source {
	t.Helper()
	s, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+path)))
	must(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func serial(t testing.TB, s *workloadapi.X509Source) string {
	t.Helper()
	svid, err := s.GetX509SVID()
	must(t, err)
	return svid.Certificates[0].SerialNumber.String()
}

// await waits for updates of a source until what it has is as it should be.
func await(t testing.TB, updated <-chan struct{}, holds func() bool) {
	t.Helper()
	for !holds() {
		select {
		case <-updated:
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		}
	}
}

// client is go-spiffe's client.
func client(t testing.TB, path string) *workloadapi.Client {
	t.Helper()
	c, err := workloadapi.New(t.Context(), workloadapi.WithAddr("unix://"+path))
	must(t, err)
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// raw speaks the protocol without a library that knows the rules.
func raw(t testing.TB, path string) api.SpiffeWorkloadAPIClient {
	t.Helper()
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return api.NewSpiffeWorkloadAPIClient(conn)
}

// withHeader returns a context for a request with the security header.
func withHeader(ctx context.Context, values ...string) context.Context {
	for _, v := range values {
		ctx = metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", v)
	}
	return ctx
}

// shown returns the serial of the SVID that a new stream shows first.
func shown(t testing.TB, path string) string {
	t.Helper()
	svid, err := client(t, path).FetchX509SVID(t.Context())
	must(t, err)
	return svid.Certificates[0].SerialNumber.String()
}
