package jwtsvid_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/devkit/workload"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

// agent is a Workload API and a connection to it as shop/web.
type agent struct {
	api.SpiffeWorkloadAPIClient
	ca      *trust.CA
	bundles grpc.ServerStreamingClient[api.JWTBundlesResponse]
	ctx     context.Context
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "w") // the path of a socket must be short
	must(t, err)
	clock := func() time.Time { return now }
	ca, err := trust.New(prod, clock)
	must(t, err)
	server, err := workload.New(workload.Config{CA: ca, Dir: filepath.Join(dir, "s"), Now: clock})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = os.RemoveAll(dir)
	})
	path, err := server.Add(spiffeid.RequireFromString(web))
	must(t, err)
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	a := &agent{SpiffeWorkloadAPIClient: api.NewSpiffeWorkloadAPIClient(conn), ca: ca, ctx: metadata.AppendToOutgoingContext(ctx, "workload.spiffe.io", "true")}
	a.bundles, err = a.FetchJWTBundles(a.ctx, &api.JWTBundlesRequest{})
	must(t, err)
	return a
}

func (a *agent) token(t *testing.T, audience ...string) string {
	t.Helper()
	answer, err := a.FetchJWTSVID(a.ctx, &api.JWTSVIDRequest{Audience: audience})
	must(t, err)
	return answer.GetSvids()[0].GetSvid()
}

// learn takes the next bundles that the agent sends.
func (a *agent) learn(t *testing.T, trusted *jwtsvid.Trust) {
	t.Helper()
	answer, err := a.bundles.Recv()
	must(t, err)
	domains := map[spiffeid.TrustDomain][]jws.Key{}
	for name, text := range answer.GetBundles() {
		keys, skipped, err := jwtsvid.ParseJWTBundle(text)
		if err != nil || len(skipped) > 0 {
			t.Fatal(err, skipped)
		}
		domains[spiffeid.RequireTrustDomainFromString(name)] = keys
	}
	trusted.Set(domains)
}

// From the socket of a workload to a verified subject, and over a change of the keys:
// a new one is known before it signs, and what an old one signed is worth nothing
// once it is gone.
func TestFromTheWorkloadAPI(t *testing.T) {
	t.Parallel()
	a, w := newAgent(t), newWorld(t)
	a.learn(t, w.trust)
	first := a.token(t, us)
	s, err := w.verify(t, first)
	if err != nil || s.Sub != web || s.KeyID == "" || s.TokenID != "" || !s.ExpiresAt.Equal(time.Unix(now.Unix()+300, 0)) || !s.IssuedAt.Equal(time.Unix(now.Unix(), 0)) {
		t.Fatalf("%+v, %v", s, err)
	}
	s, err = w.verify(t, a.token(t, us, "https://other.example"))
	refused(t, s, err, broker.ReasonTokenAudience)

	must(t, a.ca.AddRoot())
	a.learn(t, w.trust)
	must(t, a.ca.UseRoot())
	second := a.token(t, us)
	for _, token := range []string{first, second} {
		if _, err := w.verify(t, token); err != nil {
			t.Error(err)
		}
	}
	must(t, a.ca.DropRoots())
	a.learn(t, w.trust)
	if _, err := w.verify(t, second); err != nil {
		t.Error(err)
	}
	s, err = w.verify(t, first)
	refused(t, s, err, broker.ReasonTokenKeyUnknown)
}
