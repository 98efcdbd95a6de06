package workload_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/devkit/workload"
)

// Every RPC there is, called once; a stream until its first answer.
func everyRPC(ctx context.Context, c api.SpiffeWorkloadAPIClient) map[string]error {
	errs := map[string]error{}
	_, errs["FetchJWTSVID"] = c.FetchJWTSVID(ctx, &api.JWTSVIDRequest{Audience: []string{"a"}})
	_, errs["ValidateJWTSVID"] = c.ValidateJWTSVID(ctx, &api.ValidateJWTSVIDRequest{})
	errs["FetchX509SVID"] = first(c.FetchX509SVID(ctx, &api.X509SVIDRequest{}))
	errs["FetchX509Bundles"] = first(c.FetchX509Bundles(ctx, &api.X509BundlesRequest{}))
	errs["FetchJWTBundles"] = first(c.FetchJWTBundles(ctx, &api.JWTBundlesRequest{}))
	errs["FetchWITSVID"] = first(c.FetchWITSVID(ctx, &api.WITSVIDRequest{}))
	errs["FetchWITBundles"] = first(c.FetchWITBundles(ctx, &api.WITBundlesRequest{}))
	return errs
}

func first[T any](stream interface{ Recv() (T, error) }, err error) error {
	if err == nil {
		_, err = stream.Recv()
	}
	return err
}

// Without the security header nothing is answered (SPIFFE Workload Endpoint section
// 3), whatever else a request has.
func TestSecurityHeader(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	c := raw(t, w.add(t, web))
	for name, ctx := range map[string]context.Context{
		"none":       t.Context(),
		"false":      withHeader(t.Context(), "false"),
		"True":       withHeader(t.Context(), "True"),
		"empty":      withHeader(t.Context(), ""),
		"twice":      withHeader(t.Context(), "true", "true"),
		"true false": withHeader(t.Context(), "true", "false"),
		"other name": metadata.AppendToOutgoingContext(t.Context(), "workload.spiffe.io.", "true"),
	} {
		for rpc, err := range everyRPC(ctx, c) {
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "workload.spiffe.io: true") {
				t.Errorf("%s, %s: %v", name, rpc, err)
			}
		}
	}
	want := map[string]codes.Code{"ValidateJWTSVID": codes.InvalidArgument, "FetchWITSVID": codes.Unimplemented, "FetchWITBundles": codes.Unimplemented}
	for rpc, err := range everyRPC(withHeader(t.Context(), "true"), c) {
		if status.Code(err) != want[rpc] || err != nil && strings.Contains(err.Error(), "header") {
			t.Errorf("with the header, %s: %v", rpc, err)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	ca := newCA(t, time.Now)
	dir := shortDir(t)
	for name, c := range map[string]workload.Config{
		"nothing":             {},
		"no CA":               {Dir: dir, Now: time.Now},
		"no folder":           {CA: ca, Now: time.Now},
		"no clock":            {CA: ca, Dir: dir},
		"a short life":        {CA: ca, Dir: dir, Now: time.Now, TTL: 2*time.Second - 1},
		"a negative life":     {CA: ca, Dir: dir, Now: time.Now, TTL: -1},
		"a short JWT life":    {CA: ca, Dir: dir, Now: time.Now, JWTTTL: time.Second - 1},
		"a long JWT life":     {CA: ca, Dir: dir, Now: time.Now, JWTTTL: 5*time.Minute + 1},
		"a negative JWT life": {CA: ca, Dir: dir, Now: time.Now, JWTTTL: -1},
	} {
		if s, err := workload.New(c); err == nil || s != nil || !strings.Contains(err.Error(), "it needs") && !strings.Contains(err.Error(), "SVIDs live") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("a folder was made for a server that was not: %v", err)
	}
	start(t, workload.Config{CA: ca, Dir: dir, TTL: 2 * time.Second, JWTTTL: time.Second})
}

// Add again is the same socket; with other hosts the next SVID names them, at once.
func TestAddAgain(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	path := w.add(t, web, "a.example")
	s := source(t, path)
	last := serial(t, s)
	for _, hosts := range [][]string{{"a.example"}, nil} {
		if again := w.add(t, web, hosts...); again != path || shown(t, path) != last || len(w.Sockets()) != 1 || w.Sockets()[web] != path {
			t.Errorf("%s, then %s; %v", path, again, w.Sockets())
		}
	}
	if again := w.add(t, web, "b.example"); again != path {
		t.Errorf("%s, then %s", path, again)
	}
	await(t, s.Updated(), func() bool {
		svid, err := s.GetX509SVID()
		return err == nil && slices.Equal(svid.Certificates[0].DNSNames, []string{"b.example"})
	})
	must(t, w.Rotate(web))
	if svid, err := client(t, path).FetchX509SVID(t.Context()); err != nil || !slices.Equal(svid.Certificates[0].DNSNames, []string{"b.example"}) {
		t.Errorf("the hosts are forgotten: %v, %v", svid, err)
	}
}

// What cannot be added leaves nothing behind, and what is there stays.
func TestAddRefuses(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	for _, id := range []string{"spiffe://prod.example/a", domain.IDString()} {
		if _, err := w.Add(spiffeid.RequireFromString(id)); err == nil {
			t.Errorf("%s: added", id)
		}
	}
	if _, err := w.Add(web, "\xff"); err == nil {
		t.Error("a host that no certificate can carry: added")
	}
	wantFiles(t, w.dir)
	path := w.add(t, web)
	last := shown(t, path)
	if _, err := w.Add(web, "\xff"); err == nil || shown(t, path) != last {
		t.Errorf("the SVID is another, %v", err)
	}
}

// Whoever is removed hears it, and that he is nobody, not that it is over for good;
// if he is added again, he finds his way back by himself.
func TestRemove(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	path := w.add(t, web)
	s := source(t, path)
	c, ctx := raw(t, path), withHeader(t.Context(), "true")
	x, err := c.FetchX509SVID(ctx, &api.X509SVIDRequest{})
	must(t, err)
	_, err = x.Recv()
	must(t, err)
	b, err := c.FetchJWTBundles(ctx, &api.JWTBundlesRequest{})
	must(t, err)
	_, err = b.Recv()
	must(t, err)
	must(t, w.Remove(web))
	for name, err := range map[string]error{"SVID": first(x, nil), "bundles": first(b, nil)} {
		if status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(path); !os.IsNotExist(err) || len(w.Sockets()) != 0 {
		t.Errorf("the socket is still there: %v", err)
	}
	for name, err := range map[string]error{"Remove": w.Remove(web), "Rotate": w.Rotate(web)} {
		if err == nil {
			t.Errorf("%s of a workload that is not there", name)
		}
	}
	last := serial(t, s)
	if again := w.add(t, web); again != path {
		t.Errorf("%s, then %s", path, again)
	}
	await(t, s.Updated(), func() bool { return serial(t, s) != last })
}

// Sockets are there before Run, and those who come early wait for it.
func TestBeforeRun(t *testing.T) {
	t.Parallel()
	s, err := workload.New(workload.Config{CA: newCA(t, time.Now), Dir: shortDir(t), Now: time.Now})
	must(t, err)
	path, err := s.Add(web)
	must(t, err)
	must(t, s.Remove(web))
	if again, err := s.Add(web); err != nil || again != path {
		t.Errorf("%s, %v", again, err)
	}
	early := make(chan error, 1)
	c := raw(t, path)
	go func() { early <- first(c.FetchX509SVID(withHeader(t.Context(), "true"), &api.X509SVIDRequest{})) }()
	run(t, s)
	if err := <-early; err != nil {
		t.Error(err)
	}
}

// Run is once, and what is over is over: nothing is left in the folder but the
// file that was locked.
func TestRunIsOnce(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	stream, err := raw(t, w.add(t, web)).FetchX509Bundles(withHeader(t.Context(), "true"), &api.X509BundlesRequest{})
	must(t, err)
	must(t, first(stream, nil))
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("a second Run: %v", err)
	}
	w.stop()
	if err := first(stream, nil); status.Code(err) != codes.Unavailable {
		t.Errorf("whoever listens is told %v", err)
	}
	if err := w.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("Run after the end: %v", err)
	}
	if _, err := w.Add(orders); err == nil {
		t.Error("Add after the end")
	}
	if err := w.Rotate(web); err == nil || len(w.Sockets()) != 0 {
		t.Errorf("Rotate after the end: %v, %v", err, w.Sockets())
	}
	wantFiles(t, w.dir)
}

// One who connects and says nothing, and one who asks and does not listen, hold up
// nobody.
func TestEndsWhateverClientsDo(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	path := w.add(t, web)
	silent, err := net.Dial("unix", path)
	must(t, err)
	defer silent.Close()
	var hosts []string // an SVID that is more than a connection holds
	for n := range 1000 {
		hosts = append(hosts, fmt.Sprintf("%0100d.example", n)[41:])
	}
	deaf, err := raw(t, w.add(t, orders, hosts...)).FetchX509SVID(withHeader(t.Context(), "true"), &api.X509SVIDRequest{})
	must(t, err)
	for range 20 {
		must(t, w.RotateAll())
	}
	must(t, w.Remove(web))
	w.stop()
	for err = nil; err == nil; { // what was on its way still comes
		err = first(deaf, nil)
	}
	if status.Code(err) != codes.Unavailable {
		t.Errorf("%v", err)
	}
}

// A socket that somebody removed is no trouble at the end.
func TestSocketIsGone(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	must(t, os.Remove(w.add(t, web)))
	must(t, os.Remove(w.add(t, orders)))
	must(t, w.Remove(web))
	w.stop()
}

// A socket that cannot be served any more ends Run, with the reason, and with all
// others.
func TestSocketFails(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	s, err := workload.New(workload.Config{CA: newCA(t, time.Now), Dir: dir, Now: time.Now})
	must(t, err)
	_, err = s.Add(web)
	must(t, err)
	_, err = s.Add(orders)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- s.Run(t.Context()) }()
	must(t, s.Break(web))
	if err := <-done; err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("%v", err)
	}
	wantFiles(t, dir)
}

// Over a restart a client keeps what it has, and recovers by itself.
func TestRestart(t *testing.T) {
	t.Parallel()
	first := start(t, workload.Config{})
	path := first.add(t, web)
	s := source(t, path)
	last := serial(t, s)
	first.stop()
	if serial(t, s) != last {
		t.Error("the SVID went with the server")
	}
	second := start(t, workload.Config{Dir: first.dir})
	if again := second.add(t, web); again != path {
		t.Errorf("another path: %s", again)
	}
	await(t, s.Updated(), func() bool {
		bundle, err := s.GetX509BundleForTrustDomain(domain)
		return err == nil && bundle.Equal(second.ca.Bundle()) && serial(t, s) != last
	})
}

const victimDir = "CAMBIST_TEST_VICTIM_DIR"

// serveUntilKilled is the other process.
func serveUntilKilled(dir string) {
	ca, err := trust.New(domain, time.Now)
	if err == nil {
		var s *workload.Server
		if s, err = workload.New(workload.Config{CA: ca, Dir: dir, Now: time.Now}); err == nil {
			var path string
			if path, err = s.Add(web); err == nil {
				_, _ = os.Stdout.WriteString(path + "\n")
				err = s.Run(context.Background())
			}
		}
	}
	_, _ = os.Stdout.WriteString("error: " + err.Error() + "\n")
	os.Exit(1)
}

// While a process serves a folder, no other takes it. When it is killed, its sockets
// stay, and the next process takes all of it; who had been served is served again.
func TestProcessIsKilled(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	victim := exec.CommandContext(t.Context(), os.Args[0]) //nolint:gosec // this test itself
	victim.Env = append(os.Environ(), victimDir+"="+dir)
	out, err := victim.StdoutPipe()
	must(t, err)
	must(t, victim.Start())
	path, err := bufio.NewReader(out).ReadString('\n')
	must(t, err)
	path = strings.TrimSuffix(path, "\n")
	s := source(t, path)
	last := serial(t, s)

	ca := newCA(t, time.Now)
	if _, err := workload.New(workload.Config{CA: ca, Dir: dir, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "in use by another") {
		t.Errorf("two processes in one folder: %v", err)
	}
	if shown(t, path) != last {
		t.Error("it was disturbed")
	}
	must(t, victim.Process.Kill())
	_ = victim.Wait() // killed, as it says
	if _, err := os.Lstat(path); err != nil {
		t.Fatalf("there is no stale socket to replace: %v", err)
	}
	w := start(t, workload.Config{CA: ca, Dir: dir})
	if _, err := os.Lstat(path); !os.IsNotExist(err) {
		t.Errorf("what nobody serves is still there: %v", err)
	}
	if again := w.add(t, web); again != path {
		t.Errorf("another path: %s", again)
	}
	await(t, s.Updated(), func() bool { return serial(t, s) != last })
}

// wantFiles says which sockets are in a folder besides the file that is locked.
func wantFiles(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	must(t, err)
	var names []string
	for _, e := range entries {
		if e.Name() != "development-only.lock" {
			names = append(names, filepath.Join(dir, e.Name()))
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
}
