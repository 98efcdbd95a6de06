package server_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/server"
)

// agent is a SPIFFE Workload API on a Unix socket, which can be stopped and
// started, and made to say anything.
type agent struct {
	workload.UnimplementedSpiffeWorkloadAPIServer
	t      *testing.T
	socket string
	server *grpc.Server
	done   chan error

	mu      sync.Mutex
	answer  *workload.X509SVIDResponse // nil says nothing at all
	keys    map[string][]byte          // trust domain → JWT bundle; nil: there is no such method
	failure error                      // instead of an answer
	news    chan struct{}              // closed when there is another answer
	streams chan struct{}              // one for each stream that was opened
	ended   chan struct{}              // one for each that has ended
	dialed  chan struct{}              // one for each connection that was made
	hungUp  chan struct{}              // one for each that has ended
}

func newAgent(t *testing.T) *agent {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{t: t, socket: filepath.Join(dir, "s"), news: make(chan struct{}), streams: make(chan struct{}, 1000), ended: make(chan struct{}, 1000),
		dialed: make(chan struct{}, 1000), hungUp: make(chan struct{}, 1000)}
	t.Cleanup(func() {
		a.stop()
		_ = os.RemoveAll(dir)
	})
	return a
}

func (a *agent) start() {
	a.t.Helper()
	l, err := new(net.ListenConfig).Listen(a.t.Context(), "unix", a.socket)
	if err != nil {
		a.t.Fatal(err)
	}
	s, done := grpc.NewServer(grpc.StatsHandler(a)), make(chan error, 1)
	workload.RegisterSpiffeWorkloadAPIServer(s, a)
	go func() { done <- s.Serve(l) }()
	a.server, a.done = s, done
}

// HandleConn implements stats.Handler, with the three that do nothing.
func (a *agent) HandleConn(_ context.Context, s stats.ConnStats) {
	if _, begun := s.(*stats.ConnBegin); begun {
		a.dialed <- struct{}{}
	} else {
		a.hungUp <- struct{}{}
	}
}

func (a *agent) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (a *agent) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (a *agent) HandleRPC(context.Context, stats.RPCStats)                         {}

func (a *agent) stop() {
	if a.server != nil {
		a.server.Stop()
		<-a.done
		a.server = nil
	}
}

func (a *agent) say(answer *workload.X509SVIDResponse, failure error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answer, a.failure = answer, failure
	close(a.news)
	a.news = make(chan struct{})
}

// FetchX509SVID implements the Workload API.
func (a *agent) FetchX509SVID(_ *workload.X509SVIDRequest, stream grpc.ServerStreamingServer[workload.X509SVIDResponse]) error {
	a.streams <- struct{}{}
	defer func() { a.ended <- struct{}{} }()
	if md, _ := metadata.FromIncomingContext(stream.Context()); strings.Join(md.Get("workload.spiffe.io"), ",") != "true" {
		return status.Error(codes.InvalidArgument, "no security header")
	}
	for {
		a.mu.Lock()
		answer, failure, news := a.answer, a.failure, a.news
		a.mu.Unlock()
		if failure != nil {
			return failure
		}
		if answer != nil {
			if err := stream.Send(answer); err != nil {
				return err
			}
		}
		select {
		case <-news:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// FetchJWTBundles implements the Workload API.
func (a *agent) FetchJWTBundles(r *workload.JWTBundlesRequest, stream grpc.ServerStreamingServer[workload.JWTBundlesResponse]) error {
	for {
		a.mu.Lock()
		keys, news := a.keys, a.news
		a.mu.Unlock()
		if keys == nil {
			return a.UnimplementedSpiffeWorkloadAPIServer.FetchJWTBundles(r, stream)
		}
		if err := stream.Send(&workload.JWTBundlesResponse{Bundles: keys}); err != nil {
			return err
		}
		select {
		case <-news:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

func (a *agent) sayKeys(keys map[string][]byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.keys = keys
	close(a.news)
	a.news = make(chan struct{})
}

// answer is what an agent says for an SVID and the bundles of several CAs, the
// first of them our own.
func answer(t *testing.T, svid *x509svid.SVID, cas ...*trust.CA) *workload.X509SVIDResponse {
	t.Helper()
	chain, key, err := svid.MarshalRaw()
	if err != nil {
		t.Fatal(err)
	}
	r := &workload.X509SVIDResponse{FederatedBundles: map[string][]byte{}}
	for n, ca := range cas {
		if n == 0 {
			r.Svids = []*workload.X509SVID{{SpiffeId: svid.ID.String(), X509Svid: chain, X509SvidKey: key, Bundle: bundleDER(ca)}}
		} else {
			r.FederatedBundles[ca.Domain().IDString()] = bundleDER(ca)
		}
	}
	return r
}

func bundleDER(cas ...*trust.CA) []byte {
	var der []byte
	for _, ca := range cas {
		for _, c := range ca.Bundle().X509Authorities() {
			der = append(der, c.Raw...)
		}
	}
	return der
}

// following is an identity that follows an agent.
type following struct {
	*agent
	identity    *server.IdentityUnderTest
	clock       *clock
	log         logged
	ours, other *trust.CA
	stopRun     func() // returns when Run has
}

func follow(t *testing.T, silence time.Duration) *following {
	t.Helper()
	f := &following{agent: newAgent(t), clock: newClock(start), log: make(logged, 10000)}
	f.ours, f.other = newCA(t, prod, f.clock.now), newCA(t, partner, f.clock.now)
	var err error
	f.identity, err = server.NewIdentity(server.IdentitySource{
		WorkloadAPI: "unix://" + f.socket, Now: f.clock.now, Log: slog.New(f.log), Interval: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	f.identity.Hurry(silence, time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { f.identity.Run(ctx) })
	f.stopRun = func() { cancel(); wg.Wait() }
	t.Cleanup(f.stopRun)
	return f
}

func (f *following) believes(t *testing.T, ca *trust.CA) bool {
	t.Helper()
	return believes(t, f.identity, ca, f.clock.now)
}

// S2: without an agent the server lives, is not ready, says why, and finds the
// agent when it comes.
func TestAgentDownAtStart(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Minute)
	f.log.wait(t, "ERROR identity: own SVID")
	wantReady(t, f.identity, start, "no SVID yet", "the Workload API", "no bundle of any trust domain")
	f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours, f.other), nil)
	f.start()
	f.log.wait(t, "well again")
	wantReady(t, f.identity, start)
	if !f.believes(t, f.ours) || !f.believes(t, f.other) {
		t.Error("not all bundles count")
	}
	if svid, err := f.identity.GetX509SVID(); err != nil || svid.ID != ourself {
		t.Errorf("%v, %v", svid, err)
	}
	f.stopRun()
	<-f.ended // nothing is left behind
}

// Every answer counts as a whole: new SVID, bundles that come, change and go.
func TestAgentHasNews(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Minute)
	svid := newSVID(t, f.ours, time.Hour)
	f.say(answer(t, svid, f.ours, f.other), nil)
	f.start()
	f.log.wait(t, "bundles changed")
	before := serial(t, f.identity)
	f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours), nil)
	f.log.wait(t, "bundles changed")
	if serial(t, f.identity) == before {
		t.Error("the SVID is the old one")
	}
	if !f.believes(t, f.ours) || f.believes(t, f.other) {
		t.Error("a trust domain that is gone is still believed")
	}
	next := newCA(t, prod, f.clock.now)
	f.say(answer(t, svid, next, f.other), nil)
	f.log.wait(t, "bundles changed")
	if f.believes(t, f.ours) || !f.believes(t, next) || !f.believes(t, f.other) {
		t.Error("the new bundle does not count, or the old one does")
	}
	if len(f.streams) != 1 {
		t.Errorf("%d streams, want 1", len(f.streams))
	}
}

// S1: an agent that goes away takes nothing with it; the SVID ends when it ends,
// and readiness before. The one that comes back is heard.
func TestAgentDownMidRun(t *testing.T) {
	t.Parallel()
	f := follow(t, time.Minute)
	f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours, f.other), nil)
	f.start()
	f.log.wait(t, "bundles changed")
	f.stop()
	f.log.wait(t, "ERROR identity: own SVID")
	f.clock.set(start.Add(45 * time.Minute))
	wantReady(t, f.identity, f.clock.now())
	if _, err := f.identity.GetX509SVID(); err != nil || !f.believes(t, f.ours) || !f.believes(t, f.other) {
		t.Errorf("something is lost: %v", err)
	}
	f.clock.set(start.Add(55 * time.Minute))
	wantReady(t, f.identity, f.clock.now(), "less than a fifth", "the Workload API")
	if _, err := f.identity.GetX509SVID(); err != nil {
		t.Error(err)
	}
	f.clock.set(start.Add(time.Hour))
	wantReady(t, f.identity, f.clock.now(), "expired", "the Workload API")
	if svid, err := f.identity.GetX509SVID(); err == nil {
		t.Errorf("shows an expired SVID: %v", svid.ID)
	}
	f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours, f.other), nil)
	f.start()
	f.log.wait(t, "well again")
	wantReady(t, f.identity, f.clock.now())
}

// An agent may refuse us in any way and for any time; when it does no more, we are
// there. go-spiffe's own watch ends for good on the last two.
func TestAgentRefuses(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.PermissionDenied, codes.Unavailable, codes.Internal, codes.Canceled, codes.InvalidArgument} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			f := follow(t, time.Minute)
			f.say(nil, status.Error(code, "not you"))
			f.start()
			f.log.wait(t, "not you")
			f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours), nil)
			f.log.wait(t, "well again")
			wantReady(t, f.identity, start)
		})
	}
}

// S3: an agent that says nothing is asked again, over a new connection: it may
// have no news, or hang, or have been replaced behind its socket.
func TestAgentIsSilent(t *testing.T) {
	t.Parallel()
	f := follow(t, 10*time.Millisecond)
	f.start()
	f.log.wait(t, "it has not answered")
	wantReady(t, f.identity, start, "no SVID yet", "it has not answered")
	for range 3 {
		<-f.streams
	}
	f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours), nil)
	f.log.wait(t, "well again")
	f.log.drain()
	for len(f.streams) > 0 {
		<-f.streams
	}
	for range 5 {
		<-f.streams // it is asked on
	}
	wantReady(t, f.identity, start)
	lines := strings.Join(f.log.drain(), "\n")
	if strings.Contains(lines, "spiffe_id=") || strings.Contains(lines, "bundles changed") || f.identity.Trust().Generation() != 1 {
		t.Errorf("the same again is no news: %q, generation %d", lines, f.identity.Trust().Generation())
	}
	f.stopRun()
	for range len(f.dialed) {
		<-f.hungUp // no connection is left open, or this test never ends
	}
}

// S5: one bundle that cannot be read spoils neither the SVID nor the others, and
// stands in for a minute.
func TestAgentSendsBrokenBundle(t *testing.T) {
	t.Parallel()
	for name, der := range map[string][]byte{"malformed": {1, 2, 3}, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, time.Minute)
			f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours, f.other), nil)
			f.start()
			f.log.wait(t, "bundles changed")
			broken := answer(t, newSVID(t, f.ours, time.Hour), f.ours)
			broken.FederatedBundles["spiffe://partner.example"] = der
			f.say(broken, nil)
			f.log.wait(t, "own SVID")
			f.log.wait(t, "ERROR identity: bundle of partner.example")
			if !f.believes(t, f.ours) || !f.believes(t, f.other) {
				t.Error("the last good one does not stand in")
			}
			f.clock.set(start.Add(time.Minute))
			f.log.wait(t, "bundles changed") // by time alone
			if !f.believes(t, f.ours) || f.believes(t, f.other) {
				t.Error("it stands in for more than a minute")
			}
			wantReady(t, f.identity, f.clock.now())
			f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours, f.other), nil)
			f.log.wait(t, "well again")
			if !f.believes(t, f.other) {
				t.Error("not mended")
			}
		})
	}
}

// What else an answer may have in it: nothing of it makes us believe more.
func TestOddAnswers(t *testing.T) {
	t.Parallel()
	now := newClock(start).now
	ours, other, stranger := newCA(t, prod, now), newCA(t, partner, now), newCA(t, partner, now)
	svid := newSVID(t, ours, time.Hour)
	expired := newSVID(t, newCA(t, prod, newClock(start.Add(-2*time.Hour)).now), time.Hour)
	tests := map[string]struct {
		change          func(*workload.X509SVIDResponse)
		want            string // in the log
		svid            bool
		ours, federated bool
	}{
		"no SVID":           {func(r *workload.X509SVIDResponse) { r.Svids = nil }, "no SVID in its answer", false, false, false},
		"a broken SVID":     {func(r *workload.X509SVIDResponse) { r.Svids[0].X509Svid = []byte{1} }, "cannot parse", false, true, true},
		"a broken key":      {func(r *workload.X509SVIDResponse) { r.Svids[0].X509SvidKey = []byte{1} }, "private key", false, true, true},
		"another's SVID":    {func(r *workload.X509SVIDResponse) { r.Svids[0].SpiffeId = "spiffe://prod.example/x" }, "announced as", false, true, true},
		"an expired SVID":   {func(r *workload.X509SVIDResponse) { r.Svids[0] = answer(t, expired, ours).Svids[0] }, "expired", false, true, true},
		"our own federated": {func(r *workload.X509SVIDResponse) { r.FederatedBundles["spiffe://prod.example"] = bundleDER(stranger) }, "which is our own", true, true, true},
		"two federated": {func(r *workload.X509SVIDResponse) { r.FederatedBundles["partner.example"] = bundleDER(stranger) },
			"two bundles", true, true, false},
		"a name that is none": {func(r *workload.X509SVIDResponse) { r.FederatedBundles["spiffe://X"] = bundleDER(stranger) }, "a bundle of", true, true, true},
		"an empty label":      {func(r *workload.X509SVIDResponse) { r.FederatedBundles["spiffe://a..b"] = bundleDER(stranger) }, `a bundle of "spiffe://a..b"`, true, true, true},
		"a second SVID": {func(r *workload.X509SVIDResponse) {
			r.Svids = append(r.Svids, answer(t, newSVID(t, ours, time.Hour), stranger).Svids...)
		}, "bundles changed", true, true, true},
		"a key of two domains": {func(r *workload.X509SVIDResponse) { r.FederatedBundles["spiffe://third.example"] = bundleDER(other) },
			"share the CA key", true, true, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, time.Minute)
			r := answer(t, svid, ours, other)
			tt.change(r)
			f.say(r, nil)
			f.start()
			f.log.wait(t, tt.want)
			got, err := f.identity.GetX509SVID()
			if (err == nil) != tt.svid || err == nil && !got.Certificates[0].Equal(svid.Certificates[0]) {
				t.Errorf("SVID: %v", err)
			}
			if f.believes(t, ours) != tt.ours || f.believes(t, other) != tt.federated || f.believes(t, stranger) {
				t.Errorf("believes ours %t, federated %t, the stranger %t", f.believes(t, ours), f.believes(t, other), f.believes(t, stranger))
			}
		})
	}
}

// When Run has returned, nothing of it runs any more. Not parallel: it looks at all
// goroutines there are.
func TestRunWaits(t *testing.T) {
	for range 20 {
		f := follow(t, time.Minute)
		f.start()
		<-f.streams
		f.stopRun()
		stacks := make([]byte, 1<<20)
		if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("(*identity).")) {
			t.Fatalf("it left something:\n%s", stacks)
		}
	}
}

// Run ends with all that it started, whatever the agent does at that time.
func TestRunEnds(t *testing.T) {
	t.Parallel()
	for name, during := range map[string]func(f *following){
		"down":  func(*following) {},
		"hung":  func(f *following) { f.start(); <-f.streams },
		"upset": func(f *following) { f.say(nil, errors.New("x")); f.start(); <-f.streams },
		"chatty": func(f *following) {
			f.say(answer(t, newSVID(t, f.ours, time.Hour), f.ours), nil)
			f.start()
			<-f.streams
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := follow(t, time.Minute)
			during(f)
			f.stopRun() // or this test never ends
			if name != "down" {
				<-f.ended
			}
			generation := f.identity.Trust().Generation()
			f.say(answer(t, newSVID(t, f.ours, time.Hour), f.other), nil)
			if f.identity.Trust().Generation() != generation {
				t.Error("it still listens")
			}
		})
	}
}
