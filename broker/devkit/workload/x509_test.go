package workload_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambist/cambist/broker/devkit/workload"
)

// Whoever opens a socket is that workload, and gets all that it needs to be so.
func TestX509SVID(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	w := start(t, workload.Config{TTL: 10 * time.Minute, Now: newClock(begin).now})
	s := source(t, w.add(t, web, "localhost", "127.0.0.1"))
	svid, err := s.GetX509SVID()
	must(t, err)
	leaf := svid.Certificates[0]
	if svid.ID != web || svid.Hint != "" || !slices.Equal(leaf.DNSNames, []string{"localhost"}) || !leaf.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("%s for %v and %v, hint %q", svid.ID, leaf.DNSNames, leaf.IPAddresses, svid.Hint)
	}
	if end := begin.Add(10 * time.Minute).Truncate(time.Second); !leaf.NotAfter.Equal(end) {
		t.Errorf("it lives until %v, want %v", leaf.NotAfter, end)
	}
	if !strings.Contains(leaf.Subject.String(), "DEVELOPMENT ONLY") {
		t.Errorf("nobody sees what it is: %s", leaf.Subject)
	}
	bundle, err := s.GetX509BundleForTrustDomain(domain)
	must(t, err)
	if id, _, err := x509svid.Verify(svid.Certificates, bundle, x509svid.WithTime(begin)); err != nil || id != web || !bundle.Equal(w.ca.Bundle()) {
		t.Errorf("%v, %v", id, err)
	}
}

// An answer has one SVID, and nothing that was not asked for.
func TestX509Answer(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	stream, err := raw(t, w.add(t, web)).FetchX509SVID(withHeader(t.Context(), "true"), &api.X509SVIDRequest{})
	must(t, err)
	answer, err := stream.Recv()
	must(t, err)
	if len(answer.GetSvids()) != 1 || len(answer.GetCrl()) != 0 || len(answer.GetFederatedBundles()) != 0 || answer.GetSvids()[0].GetHint() != "" {
		t.Errorf("%d SVIDs, %d lists, %d bundles", len(answer.GetSvids()), len(answer.GetCrl()), len(answer.GetFederatedBundles()))
	}
}

// At half of its life the next SVID comes by itself.
func TestRenewedAtHalfLife(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{TTL: 2 * time.Second})
	s := source(t, w.add(t, web))
	for range 2 {
		last := serial(t, s)
		await(t, s.Updated(), func() bool { return serial(t, s) != last })
	}
}

// Half is half: not before, and for who asks later as well.
func TestHalfLifeByTheClock(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	c := newClock(begin)
	w := start(t, workload.Config{TTL: time.Hour, Now: c.now})
	path := w.add(t, web)
	first := shown(t, path)
	c.set(begin.Add(30*time.Minute - 1))
	if shown(t, path) != first {
		t.Error("another before half of its life")
	}
	c.set(begin.Add(30 * time.Minute))
	second := shown(t, path)
	if second == first {
		t.Error("the same at half of its life")
	}
	c.set(begin.Add(60*time.Minute - 1))
	if shown(t, path) != second {
		t.Error("the second lives for less")
	}
}

// A clock that jumps, as over the sleep of a laptop, is seen by a stream whose timer
// is still to run for long.
func TestClockJumps(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	c := newClock(begin)
	w := startGlancing(t, workload.Config{TTL: time.Hour, Now: c.now}, time.Millisecond)
	s := source(t, w.add(t, web))
	last := serial(t, s)
	c.set(begin.Add(45 * time.Minute))
	await(t, s.Updated(), func() bool { return serial(t, s) != last })
}

// A rotation that is asked for comes at once, to that workload and nobody else.
func TestRotate(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	a, b := source(t, w.add(t, web)), source(t, w.add(t, orders))
	lastA, lastB := serial(t, a), serial(t, b)
	must(t, w.Rotate(web))
	await(t, a.Updated(), func() bool { return serial(t, a) != lastA })
	if serial(t, b) != lastB || shown(t, w.Sockets()[orders]) != lastB {
		t.Error("the other workload has another SVID too")
	}
	lastA = serial(t, a)
	must(t, w.RotateAll())
	await(t, a.Updated(), func() bool { return serial(t, a) != lastA })
	await(t, b.Updated(), func() bool { return serial(t, b) != lastB })
}

// All streams of a workload show the same SVID.
func TestStreamsAgree(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	path := w.add(t, web)
	first := serial(t, source(t, path))
	sources := []*workloadapi.X509Source{source(t, path), source(t, path), source(t, path)}
	for _, s := range sources {
		if serial(t, s) != first {
			t.Error("each has its own")
		}
	}
	must(t, w.Rotate(web))
	next := shown(t, path)
	for _, s := range sources {
		await(t, s.Updated(), func() bool { return serial(t, s) == next })
	}
}

// A new root reaches everybody before it signs, and the old one leaves after its
// last SVID has: over all of it two workloads talk, on new connections, and not one
// call fails.
func TestRootsAreReplacedWithoutADrop(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	server, caller := source(t, w.add(t, orders)), source(t, w.add(t, web))
	listener, err := tls.Listen("tcp", "127.0.0.1:0", tlsconfig.MTLSServerConfig(server, server, tlsconfig.AuthorizeID(web)))
	must(t, err)
	service := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(http.StatusNoContent) // who gets here is authenticated
	})}
	served := make(chan error, 1)
	go func() { served <- service.Serve(listener) }()
	defer func() { _ = service.Close(); <-served }()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	calls := make(chan struct{})
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer close(calls)
		for ctx.Err() == nil {
			if err := call("https://"+listener.Addr().String(), caller); err != nil {
				t.Errorf("a call failed: %v", err)
			}
			select {
			case calls <- struct{}{}:
			case <-ctx.Done():
			}
		}
	})
	roots := func(n int) {
		t.Helper()
		for _, s := range []*workloadapi.X509Source{server, caller} {
			await(t, s.Updated(), func() bool {
				bundle, err := s.GetX509BundleForTrustDomain(domain)
				return err == nil && len(bundle.X509Authorities()) == n && bundle.Equal(w.ca.Bundle())
			})
		}
		<-calls
		<-calls // one that began now
	}
	signedByNew := func() {
		t.Helper()
		roots := w.ca.Bundle().X509Authorities()
		for _, s := range []*workloadapi.X509Source{server, caller} {
			await(t, s.Updated(), func() bool {
				svid, err := s.GetX509SVID()
				return err == nil && svid.Certificates[0].CheckSignatureFrom(roots[len(roots)-1]) == nil
			})
		}
	}
	roots(1)
	for range 2 {
		must(t, w.ca.AddRoot())
		roots(2)
		must(t, w.RotateAll())
		must(t, w.ca.UseRoot())
		signedByNew()
		roots(2)
		must(t, w.ca.DropRoots())
		roots(1)
	}
}

// call makes one request over a connection of its own.
func call(url string, s *workloadapi.X509Source) error {
	transport := &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(s, s, tlsconfig.AuthorizeID(orders)), DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Get(url)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusNoContent {
		err = fmt.Errorf("status %d", response.StatusCode)
	}
	return errors.Join(err, response.Body.Close())
}

// A bundle alone is followed too, for X.509 and for JWT at once.
func TestBundleSource(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	s, err := workloadapi.NewBundleSource(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+w.add(t, web))))
	must(t, err)
	defer s.Close()
	for _, step := range []func() error{func() error { return nil }, w.ca.AddRoot, w.ca.UseRoot, w.ca.DropRoots} {
		must(t, step())
		await(t, s.Updated(), func() bool {
			x, errX := s.GetX509BundleForTrustDomain(domain)
			j, errJ := s.GetJWTBundleForTrustDomain(domain)
			return errX == nil && errJ == nil && x.Equal(w.ca.Bundle()) && j.Equal(w.ca.JWTBundle())
		})
	}
}

// What has not changed is not sent again, however often it is looked at: clients
// reload on each answer.
func TestNoNewsIsNotSent(t *testing.T) {
	t.Parallel()
	w := startGlancing(t, workload.Config{}, time.Millisecond)
	path := w.add(t, web)
	c, ctx := raw(t, path), withHeader(t.Context(), "true")
	s, err := c.FetchX509SVID(ctx, &api.X509SVIDRequest{})
	must(t, err)
	x, err := c.FetchX509Bundles(ctx, &api.X509BundlesRequest{})
	must(t, err)
	j, err := c.FetchJWTBundles(ctx, &api.JWTBundlesRequest{})
	must(t, err)
	next := func() string {
		t.Helper()
		answer, err := s.Recv()
		must(t, err)
		return string(answer.GetSvids()[0].GetX509Svid())
	}
	roots := func() (certificates, keys int) {
		t.Helper()
		xs, err := x.Recv()
		must(t, err)
		list, err := x509.ParseCertificates(xs.GetBundles()[domain.IDString()])
		must(t, err)
		js, err := j.Recv()
		must(t, err)
		return len(list), strings.Count(string(js.GetBundles()[domain.IDString()]), `"kid"`)
	}
	last := next()
	if n, m := roots(); n != 1 || m != 1 {
		t.Errorf("%d roots, %d keys", n, m)
	}
	for range 20 {
		shown(t, path) // time passes
	}
	must(t, w.ca.AddRoot())
	if next() == last {
		t.Error("the same SVID twice")
	}
	if n, m := roots(); n != 2 || m != 2 {
		t.Errorf("%d roots, %d keys", n, m)
	}
	must(t, w.ca.UseRoot()) // which root signs is not in a bundle
	for range 20 {
		shown(t, path)
	}
	must(t, w.ca.DropRoots())
	if n, m := roots(); n != 1 || m != 1 {
		t.Errorf("%d roots, %d keys: the same bundle twice", n, m)
	}
}

// Many workloads at once, that come and go while others fetch.
func TestManyWorkloads(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	var wg sync.WaitGroup
	for n := range 12 {
		id := spiffeid.RequireFromPath(domain, fmt.Sprintf("/ns/shop/sa/w%d", n))
		wg.Go(func() {
			for range 2 {
				path, err := w.Add(id)
				if err != nil {
					t.Error(err)
					return
				}
				svid, err := workloadapi.FetchX509SVID(t.Context(), workloadapi.WithAddr("unix://"+path))
				if err != nil || svid.ID != id {
					t.Errorf("%s: %v, %v", id, svid, err)
				}
				if err := w.RotateAll(); err != nil {
					t.Error(err)
				}
				if err := w.Remove(id); err != nil {
					t.Error(err)
				}
			}
			if _, err := w.Add(id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := len(w.Sockets()); n != 12 {
		t.Errorf("%d sockets", n)
	}
}

// A CA that has ended gives no SVID, and says so.
func TestCAHasEnded(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	c := newClock(begin)
	w := start(t, workload.Config{Now: c.now})
	path := w.add(t, web)
	c.set(begin.Add(366 * 24 * time.Hour))
	stream, err := raw(t, path).FetchX509SVID(withHeader(t.Context(), "true"), &api.X509SVIDRequest{})
	must(t, err)
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "no life is left") {
		t.Errorf("%v", err)
	}
	if err := w.Rotate(web); err == nil {
		t.Error("rotated")
	}
	if err := w.RotateAll(); err == nil {
		t.Error("all rotated")
	}
	if _, err := w.Add(orders); err == nil || len(w.Sockets()) != 1 {
		t.Errorf("added: %v", err)
	}
}
