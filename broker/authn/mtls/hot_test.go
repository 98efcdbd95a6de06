package mtls_test

import (
	"context"
	"crypto/x509"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/oauth"
)

// A request on a connection that has been verified costs no memory. Not parallel:
// what others allocate would count.
func TestHotPathAllocatesNothing(t *testing.T) {
	root := newRoot(t)
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	r := request(t, a, root.svid(t, web, nil).Certificates)
	failed := false
	allocs := testing.AllocsPerRun(1000, func() {
		w, err := a.Authenticate(r, oauth.Form{})
		failed = failed || err != nil || w.ID != web
	})
	if failed || allocs != 0 {
		t.Errorf("%v allocations, failed %t", allocs, failed)
	}
}

// Nor does it wait for anybody. If it did, this would never end.
func TestHotPathTakesNoLock(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	r := request(t, a, root.svid(t, web, nil).Certificates)
	if _, err := a.Authenticate(r, oauth.Form{}); err != nil {
		t.Fatal(err)
	}
	a.Locked(r, func() {
		if _, err := a.Authenticate(r, oauth.Form{}); err != nil {
			t.Error(err)
		}
	})
}

// A thousand callers on fifty connections while the bundles change: each is
// answered by what is trusted at its time, and the moment Set has returned, no
// request that begins is answered by what was trusted before.
func TestSetAgainstAuthenticate(t *testing.T) {
	t.Parallel()
	const callers, rounds, connections, changes = 1000, 20, 50, 40
	root, other := newRoot(t), newRoot(t)
	worlds := []map[spiffeid.TrustDomain][]*pki{
		{td1: {root}}, {td1: {root, other}}, {td1: {other}, td2: {root}}, {td1: {}}, nil,
	}
	trusted := func(i int) bool { return i < 2 }
	trust := &mtls.Trust{}
	a := authenticator(t, trust)
	shared := make([]*http.Request, connections)
	for i := range shared {
		shared[i] = request(t, a, root.svid(t, web, nil).Certificates)
	}
	var (
		still sync.RWMutex // held by those who want no change while they ask
		world = len(worlds) - 1
		asked atomic.Int64
		wg    sync.WaitGroup
	)
	ask := func(r *http.Request, careful bool) {
		if careful {
			still.RLock()
			defer still.RUnlock()
		}
		w, err := a.Authenticate(r, oauth.Form{})
		switch {
		case err == nil && w.ID != web, err != nil && broker.AsError(err).Reason != broker.ReasonCertificateUntrusted, err != nil && w != broker.Workload{}:
			t.Errorf("%v, %v", w, err)
		case careful && trusted(world) != (err == nil):
			t.Errorf("in world %d: %v, %v", world, w, err)
		}
	}
	for i := range callers {
		wg.Go(func() {
			for range rounds {
				ask(shared[i%connections], i%2 == 0)
				if n := asked.Add(1); n%(callers*rounds/changes) == 0 {
					still.Lock()
					world = (world + 1) % len(worlds)
					set(trust, worlds[world])
					still.Unlock()
				}
			}
		})
	}
	wg.Wait()
	if trust.Generation() != changes {
		t.Errorf("generation %d after %d changes", trust.Generation(), changes)
	}
}

func BenchmarkAuthenticate(b *testing.B) {
	root := newRoot(b)
	between := root.below(b, nil)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}, td2: {newRoot(b)}})
	a := authenticator(b, trust)
	for name, chain := range map[string][]*x509.Certificate{
		"leaf": root.svid(b, web, nil).Certificates, "leaf and intermediate": between.svid(b, web, nil, between).Certificates,
	} {
		b.Run("verified/"+name, func(b *testing.B) {
			r := request(b, a, chain)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Authenticate(r, oauth.Form{}); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("first/"+name, func(b *testing.B) {
			r := request(b, a, chain)
			b.ReportAllocs()
			for b.Loop() { // each on a connection of its own
				if _, err := a.Authenticate(r.WithContext(a.ConnContext(context.Background(), nil)), oauth.Form{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("refused", func(b *testing.B) {
		r := request(b, a, newRoot(b).svid(b, web, nil).Certificates)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Authenticate(r, oauth.Form{}); err == nil {
				b.Fatal("accepted")
			}
		}
	})
}

// Whatever stands in the SAN, and whatever the rest of a certificate is: only one
// canonical SPIFFE ID of the trust domain comes out, and it is byte for byte what
// stands there, alone.
func FuzzVerify(f *testing.F) {
	root := newRoot(f)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}})
	key := newKey(f)
	for _, uri := range []string{web.String(), "SPIFFE://td1.example/a", "spiffe://td1.example", "spiffe://td1.example/%61", "spiffe://td1.example/a/../b", idOf(2048), idOf(2049)} {
		f.Add(names(uriName(uri)), uint16(x509.KeyUsageDigitalSignature), false)
	}
	f.Add(names(uriName(web.String()), uriName(web.String())), uint16(1), false)
	f.Add(append(names(uriName(web.String())), 0x30, 0), uint16(1), false)
	f.Add([]byte{}, uint16(0), true)
	f.Fuzz(func(t *testing.T, san []byte, usage uint16, ca bool) {
		template := svidTemplate(web)
		template.KeyUsage, template.IsCA = x509.KeyUsage(usage&0x1ff), ca
		sanExtension(san)(template)
		c, err := root.trySign(template, key.Public())
		if err != nil {
			return // it is no certificate at all
		}
		id, _, notAfter, err := mtls.Verify([]*x509.Certificate{c}, trust, start)
		if err != nil {
			if fault(err) == "" || !id.IsZero() || !notAfter.IsZero() {
				t.Fatalf("refused with %v, %q", err, id)
			}
			return
		}
		text := id.String()
		switch {
		case ca, usage&1 == 0, usage&0x60 != 0:
			t.Fatalf("key usage %b, CA %t", usage, ca)
		case !canonical(text) || len(text) > 2048 || !strings.HasPrefix(text, "spiffe://td1.example/"):
			t.Fatalf("accepted %q", text)
		case strings.Count(string(san), text) != 1 || len(c.URIs) != 1:
			t.Fatalf("%q is not the one URI of %q", text, san)
		}
	})
}

// canonical is the grammar of SPIFFE-ID sections 2.1 and 2.2, written down apart
// from the parser in use.
func canonical(id string) bool {
	rest, ok := strings.CutPrefix(id, "spiffe://")
	parts := strings.Split(rest, "/")
	if !ok || len(parts) < 2 {
		return false
	}
	for i, part := range parts {
		if part == "" || i > 0 && (part == "." || part == "..") {
			return false
		}
		for _, c := range part {
			lower := c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || strings.ContainsRune("-._", c)
			if !lower && (i == 0 || c < 'A' || c > 'Z') {
				return false
			}
		}
	}
	return true
}
