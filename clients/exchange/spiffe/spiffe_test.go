package spiffe_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/clients/exchange"
	"github.com/cambist/cambist/clients/exchange/spiffe"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// agent answers FetchX509SVID of the Workload API.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	mu      sync.Mutex
	svid    *x509svid.SVID
	changed chan struct{}
	ca      *trust.CA
}

func (a *agent) rotate(t *testing.T) *x509svid.SVID {
	t.Helper()
	id, err := a.ca.ID("shop/web")
	if err != nil {
		t.Fatal(err)
	}
	svid, err := a.ca.SVID(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.svid = svid
	close(a.changed)
	a.changed = make(chan struct{})
	return svid
}

func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	for {
		a.mu.Lock()
		svid, changed := a.svid, a.changed
		a.mu.Unlock()
		chain, key, err := svid.MarshalRaw()
		if err != nil {
			return status.Error(codes.Internal, err.Error())
		}
		var bundle []byte
		for _, root := range a.ca.Bundle().X509Authorities() {
			bundle = append(bundle, root.Raw...)
		}
		if err := stream.Send(&workload.X509SVIDResponse{Svids: []*workload.X509SVID{
			{SpiffeId: svid.ID.String(), X509Svid: chain, X509SvidKey: key, Bundle: bundle},
		}}); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-stream.Context().Done():
			return nil
		}
	}
}

// serve opens the Workload API on a socket and returns its address.
func serve(t *testing.T) (*agent, string) {
	t.Helper()
	ca, err := trust.New(spiffeid.RequireTrustDomainFromString("prod.example"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{ca: ca, changed: make(chan struct{})}
	a.rotate(t)
	dir, err := os.MkdirTemp("", "wl") // a socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "agent.sock")
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	workload.RegisterSpiffeWorkloadAPIServer(server, a)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() { server.Stop(); <-done })
	return a, "unix://" + path
}

var broker = []exchange.Option{exchange.WithURL("https://127.0.0.1:1"), exchange.WithServerID("spiffe://prod.example/ns/cambist/sa/cambist")}

// The client has the SVID of the Workload API and follows it.
func TestWorkloadAPI(t *testing.T) {
	a, address := serve(t)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", address)
	var logs lines
	c, err := exchange.New(t.Context(), append(broker, spiffe.WorkloadAPI(), exchange.WithLogger(logs.logger()))...)
	if err != nil {
		t.Fatal(err)
	}
	a.rotate(t)
	// The broker is nowhere; asking for a token is how the client looks at its SVID.
	for !logs.contain("new SVID") {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		if _, err := c.Token(ctx, exchange.Target{Resource: "x", As: exchange.AsSelf}); err == nil {
			t.Fatal("a token")
		}
		cancel()
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// Without a socket, New says so; without an answer, it waits as long as its context.
func TestNoWorkloadAPI(t *testing.T) {
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "")
	if err := os.Unsetenv("SPIFFE_ENDPOINT_SOCKET"); err != nil {
		t.Fatal(err)
	}
	if _, err := exchange.New(t.Context(), append(broker, spiffe.WorkloadAPI())...); err == nil || !bytes.Contains([]byte(err.Error()), []byte("SPIFFE_ENDPOINT_SOCKET")) {
		t.Error(err)
	}
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///nonexistent/agent.sock")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := exchange.New(ctx, append(broker, spiffe.WorkloadAPI())...); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// A folder that the platform names is used instead.
func TestFolderInstead(t *testing.T) {
	a, _ := serve(t)
	dir := t.TempDir()
	if err := trust.WriteSVID(dir, a.svid, a.ca.Bundle()); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", "unix:///nonexistent/agent.sock")
	t.Setenv("CAMBIST_SVID_DIR", dir)
	t.Setenv("CAMBIST_URL", "https://127.0.0.1:1")
	t.Setenv("CAMBIST_SERVER_ID", "spiffe://prod.example/ns/cambist/sa/cambist")
	for _, options := range [][]exchange.Option{{exchange.FromEnv(), spiffe.WorkloadAPI()}, {spiffe.WorkloadAPI(), exchange.FromEnv()}} {
		c, err := exchange.New(t.Context(), options...)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
}
