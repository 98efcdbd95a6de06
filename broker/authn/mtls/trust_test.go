package mtls_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/authn/mtls"
)

func TestZeroTrustTrustsNobody(t *testing.T) {
	t.Parallel()
	var trust mtls.Trust
	_, _, _, err := mtls.Verify(newRoot(t).svid(t, web, nil).Certificates, &trust, start)
	if fault(err) != mtls.FaultTrustDomain || trust.Generation() != 0 || trust.Authorities(td1) != 0 {
		t.Errorf("%v, generation %d", err, trust.Generation())
	}
}

// The generation moves with what is trusted, and with nothing else.
func TestGeneration(t *testing.T) {
	t.Parallel()
	a, b := newRoot(t), newRoot(t)
	trust := &mtls.Trust{}
	steps := []struct {
		name    string
		domains map[spiffeid.TrustDomain][]*pki
		want    uint64
	}{
		{"nothing", nil, 0},
		{"nothing again", map[spiffeid.TrustDomain][]*pki{}, 0},
		{"one", map[spiffeid.TrustDomain][]*pki{td1: {a}}, 1},
		{"the same", map[spiffeid.TrustDomain][]*pki{td1: {a}}, 1},
		{"the same twice", map[spiffeid.TrustDomain][]*pki{td1: {a, a}}, 1},
		{"one more", map[spiffeid.TrustDomain][]*pki{td1: {a, b}}, 2},
		{"in another order", map[spiffeid.TrustDomain][]*pki{td1: {b, a}}, 2},
		{"another in its place", map[spiffeid.TrustDomain][]*pki{td1: {b}}, 3},
		{"of another domain", map[spiffeid.TrustDomain][]*pki{td2: {b}}, 4},
		{"an empty one beside", map[spiffeid.TrustDomain][]*pki{td2: {b}, td1: {}}, 5},
		{"nothing at last", nil, 6},
	}
	for _, s := range steps {
		set(trust, s.domains)
		if trust.Generation() != s.want {
			t.Errorf("%s: generation %d, want %d", s.name, trust.Generation(), s.want)
		}
	}
}

// Set replaces everything: what is not named is not trusted any more.
func TestSetReplaces(t *testing.T) {
	t.Parallel()
	one, two := newRoot(t), newRoot(t)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {one}, td2: {two}})
	in2 := spiffeid.RequireFromString("spiffe://td2.example/x")
	check := func(name string, want1, want2 mtls.Fault) {
		t.Helper()
		_, _, _, err1 := mtls.Verify(one.svid(t, web, nil).Certificates, trust, start)
		_, _, _, err2 := mtls.Verify(two.svid(t, in2, nil).Certificates, trust, start)
		if fault(err1) != want1 || fault(err2) != want2 {
			t.Errorf("%s: %v, %v; want %q, %q", name, err1, err2, want1, want2)
		}
	}
	check("both", "", "")
	set(trust, map[spiffeid.TrustDomain][]*pki{td1: {one}})
	check("the second gone", "", mtls.FaultTrustDomain)
	set(trust, map[spiffeid.TrustDomain][]*pki{td1: {}, td2: {two}})
	check("the first empty", mtls.FaultTrustDomain, "")
	set(trust, map[spiffeid.TrustDomain][]*pki{td1: {two}, td2: {one}})
	check("exchanged", mtls.FaultNotTrusted, mtls.FaultNotTrusted)
}

// A key in the bundles of two trust domains is told of, and speaks for each only
// where the SVID names it (standards SB-8).
func TestSharedKey(t *testing.T) {
	t.Parallel()
	shared, own := newRoot(t), newRoot(t)
	again := &pki{key: shared.key} // another certificate of the same key
	again.certificate = again.sign(t, caTemplate("again"), again.key.Public())
	trust := &mtls.Trust{}
	odd := set(trust, map[spiffeid.TrustDomain][]*pki{td1: {shared}, td2: {again, own}})
	if len(odd) != 1 || !strings.Contains(odd[0], "td1.example, td2.example share") {
		t.Errorf("told %q", odd)
	}
	id, _, _, err := mtls.Verify(shared.svid(t, web, nil).Certificates, trust, start)
	if err != nil || id != web {
		t.Errorf("%q, %v", id, err)
	}
	if _, _, _, err := mtls.Verify(own.svid(t, web, nil).Certificates, trust, start); fault(err) != mtls.FaultNotTrusted {
		t.Errorf("the other domain's own key: %v", err)
	}
	if odd := set(trust, map[spiffeid.TrustDomain][]*pki{td1: {shared, again}, td2: {own}}); len(odd) != 0 {
		t.Errorf("twice in one domain, told %q", odd)
	}
}

// A certificate in a bundle that is not a CA's does not vouch for itself.
func TestSetLeavesOut(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	leaf := newRoot(t).svid(t, web, nil)
	trust := &mtls.Trust{}
	odd := trust.Set(map[spiffeid.TrustDomain][]*x509.Certificate{
		td1: {root.certificate, leaf.Certificates[0], nil},
		td2: {leaf.Certificates[0]},
		spiffeid.RequireTrustDomainFromString("a..b"): {root.certificate},
	})
	want := []string{`trust domain "a..b" has an empty label`, `trust domain "td1.example": 2 certificates`, `trust domain "td2.example": 1 certificates`}
	if !slices.EqualFunc(odd, want, strings.HasPrefix) {
		t.Errorf("told %q, want %q", odd, want)
	}
	if trust.Authorities(td1) != 1 || trust.Authorities(td2) != 0 {
		t.Errorf("kept %d and %d", trust.Authorities(td1), trust.Authorities(td2))
	}
	if _, _, _, err := mtls.Verify(leaf.Certificates, trust, start); fault(err) != mtls.FaultNotTrusted {
		t.Errorf("a leaf in the bundle: %v", err)
	}
}
