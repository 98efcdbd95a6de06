package verify_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"math/big"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/clients/verify"
)

// The rules for a client certificate, each broken alone. Standards GV-11, SX-1 to
// SX-6, H15, MT-16.
func TestPeersByBundle(t *testing.T) {
	t.Parallel()
	root, foreign, stranger := newRoot(t), newRoot(t), newRoot(t)
	bundles := x509bundle.NewSet(root.bundle(), bundleOf(staging, foreign))
	good := root.below(t, nil)
	with := func(change func(*x509.Certificate)) []*x509.Certificate {
		return root.svid(t, web, change).Certificates
	}
	through := func(change func(*x509.Certificate)) []*x509.Certificate {
		ca := root.below(t, change)
		return ca.svid(t, web, nil, ca).Certificates
	}
	deep := func(n int) []*x509.Certificate {
		var chain []*pki
		for last := root; len(chain) < n; {
			last = last.below(t, nil)
			chain = slices.Insert(chain, 0, last)
		}
		return chain[0].svid(t, web, nil, chain...).Certificates
	}
	raw := func(names ...asn1.RawValue) []*x509.Certificate { return with(rawSAN(names...)) }
	id := func(text string) []*x509.Certificate { return raw(uriName(text)) }
	leaf := root.svid(t, web, nil)
	byLeaf := &pki{key: leaf.PrivateKey, certificate: leaf.Certificates[0]}
	trailing := func(c *x509.Certificate) { // which crypto/x509 lets pass, and others may read
		rawSAN(uriName(web.String()))(c)
		c.ExtraExtensions[0].Value = append(c.ExtraExtensions[0].Value, 0x30, 0x00)
	}
	ttl := func(from, to time.Duration) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = start.Add(from), start.Add(to) }
	}
	maze := &pki{key: newPrivate(t)}
	maze.certificate = maze.sign(t, caTemplate(), maze.key.Public())
	twin := maze.sign(t, caTemplate(), maze.key.Public())
	tests := map[string]struct {
		shown []*x509.Certificate
		want  bool
	}{
		"conforming":                   {with(nil), true},
		"with a DNS name":              {raw(dnsName("web.shop"), uriName(web.String())), true},
		"through an intermediate":      {good.svid(t, web, nil, good).Certificates, true},
		"five certificates":            {deep(4), true},
		"the root comes along":         {append(with(nil), root.certificate), true},
		"attacker's leaf comes second": {append(with(nil), stranger.svid(t, other, nil).Certificates...), true},
		"without basic constraints":    {with(func(c *x509.Certificate) { c.BasicConstraintsValid = false }), true},
		"no purpose":                   {with(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), true},
		"begins now":                   {with(ttl(0, time.Hour)), true},
		"constrained to its domain": {through(func(c *x509.Certificate) {
			c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"prod.example"}, true
		}), true},

		"no URI":                      {raw(dnsName("web.shop")), false},
		"names behind the names":      {with(trailing), false},
		"no SAN":                      {with(func(c *x509.Certificate) { c.URIs = nil }), false},
		"two URIs":                    {raw(uriName(web.String()), uriName(other.String())), false},
		"one URI twice":               {raw(uriName(web.String()), uriName(web.String())), false},
		"a second URI of its own":     {raw(uriName(web.String()), uriName("https://example")), false},
		"a name alone":                {with(func(c *x509.Certificate) { c.URIs, c.Subject.CommonName = nil, web.String() }), false},
		"scheme in upper case":        {id("SPIFFE://prod.example/ns/shop/sa/web"), false},
		"domain in upper case":        {id("spiffe://PROD.example/ns/shop/sa/web"), false},
		"escaped":                     {id("spiffe://prod.example/ns/shop/sa/%77eb"), false},
		"dot segment":                 {id("spiffe://prod.example/ns/x/../shop/sa/web"), false},
		"empty segment":               {id("spiffe://prod.example/ns//shop"), false},
		"trailing slash":              {id(web.String() + "/"), false},
		"query":                       {id(web.String() + "?a"), false},
		"fragment":                    {id(web.String() + "#a"), false},
		"port":                        {id("spiffe://prod.example:443/ns/shop/sa/web"), false},
		"user":                        {id("spiffe://u@prod.example/ns/shop/sa/web"), false},
		"another scheme":              {id("https://prod.example/ns/shop/sa/web"), false},
		"a trust domain":              {id("spiffe://prod.example"), false},
		"2048 bytes":                  {id("spiffe://prod.example/" + strings.Repeat("a", 2048-22)), true},
		"2049 bytes":                  {id("spiffe://prod.example/" + strings.Repeat("a", 2049-22)), false},
		"a CA":                        {with(func(c *x509.Certificate) { c.IsCA = true }), false},
		"may sign certificates":       {with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }), false},
		"may sign revocations":        {with(func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }), false},
		"no key usage":                {with(func(c *x509.Certificate) { c.KeyUsage = 0 }), false},
		"key encipherment alone":      {with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }), false},
		"for mail":                    {with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }), false},
		"for servers alone":           {with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), false},
		"expired":                     {with(ttl(-time.Hour, -time.Second)), false},
		"expires now":                 {with(ttl(-time.Hour, 0)), false},
		"not yet valid":               {with(ttl(time.Second, time.Hour)), false},
		"of a stranger":               {stranger.svid(t, web, nil).Certificates, false},
		"with the stranger's root":    {stranger.svid(t, web, nil, stranger).Certificates, false},
		"of another domain's CA":      {foreign.svid(t, web, nil).Certificates, false},
		"of a domain nobody knows":    {root.svid(t, spiffeid.RequireFromString("spiffe://unknown.example/a"), nil).Certificates, false},
		"signed by a leaf":            {byLeaf.svid(t, web, nil, byLeaf).Certificates, false},
		"attacker's leaf comes first": {append(stranger.svid(t, web, nil).Certificates, with(nil)...), false},
		"intermediate missing":        {good.svid(t, web, nil).Certificates, false},
		"expired intermediate":        {through(ttl(-time.Hour, -time.Second)), false},
		"intermediate expires now":    {through(ttl(-time.Hour, 0)), false},
		"no intermediate CA":          {through(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }), false},
		"constrained elsewhere": {through(func(c *x509.Certificate) {
			c.PermittedURIDomains, c.PermittedDNSDomainsCritical = []string{"staging.example"}, true
		}), false},
		"six certificates":        {deep(5), false},
		"twenty certificates":     {append(with(nil), slices.Repeat([]*x509.Certificate{good.certificate}, 19)...), false},
		"a key twice":             {append(good.svid(t, web, nil, good).Certificates, maze.certificate, twin), false},
		"large":                   {with(func(c *x509.Certificate) { c.Subject.CommonName = strings.Repeat("a", 16<<10) }), false},
		"the root itself":         {[]*x509.Certificate{root.certificate}, false},
		"an authority with an ID": {[]*x509.Certificate{root.below(t, rawSAN(uriName(web.String()))).certificate}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			peers, err := verify.PeersByBundle(bundles, fixed)
			if err != nil {
				t.Fatal(err)
			}
			p, err := peers.FromTLS(&tls.ConnectionState{PeerCertificates: tt.shown})
			if tt.want != (err == nil) || p.IsZero() == tt.want || err != nil && reason(err) != verify.ReasonCertificateUntrusted {
				t.Errorf("%+v, %v", p, err)
			}
			if want := map[bool]int{true: 1}[tt.want]; peers.Remembered() != want {
				t.Errorf("%d remembered", peers.Remembered())
			}
		})
	}
}

// What a proof is good for: the SPIFFE ID and the very certificate.
func TestPeerIsLeaf(t *testing.T) {
	t.Parallel()
	s, root := newSigner(t, "k1"), newRoot(t)
	peers, err := verify.PeersByBundle(root.bundle(), fixed)
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, nil, s)
	first, renewed := root.svid(t, web, nil), root.svid(t, web, nil)
	sum := sha256.Sum256(first.Certificates[0].Raw)
	token := sign(t, s, "at+jwt", workloadClaims().with("cnf", object{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}).json(t))
	for range 2 { // the second time from memory
		for shown, want := range map[*x509.Certificate]verify.Reason{first.Certificates[0]: "", renewed.Certificates[0]: verify.ReasonBindingUnproven} {
			p, err := peers.FromTLS(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{shown}})
			if err != nil || p.ID() != web {
				t.Fatal(err)
			}
			if _, err := v.Verify(t.Context(), token, p); reason(err) != want {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
}

func TestNoCertificate(t *testing.T) {
	t.Parallel()
	byBundle, err := verify.PeersByBundle(newRoot(t).bundle(), fixed)
	if err != nil {
		t.Fatal(err)
	}
	byServer, err := verify.PeersByServer(prod, fixed)
	if err != nil {
		t.Fatal(err)
	}
	for name, peers := range map[string]*verify.Peers{"by bundle": byBundle, "by server": byServer, "zero": {}} {
		for _, state := range []*tls.ConnectionState{nil, {}} {
			if p, err := peers.FromTLS(state); err != nil || !p.IsZero() {
				t.Errorf("%s: %+v, %v", name, p, err)
			}
		}
	}
	if _, err := (&verify.Peers{}).FromTLS(&tls.ConnectionState{PeerCertificates: newRoot(t).svid(t, web, nil).Certificates}); reason(err) != verify.ReasonCertificateUntrusted {
		t.Errorf("the zero value: %v", err)
	}
	for name, make := range map[string]func() (*verify.Peers, error){
		"no bundles": func() (*verify.Peers, error) { return verify.PeersByBundle(nil, fixed) },
		"no domain":  func() (*verify.Peers, error) { return verify.PeersByServer(spiffeid.TrustDomain{}, fixed) },
		"no clock":   func() (*verify.Peers, error) { return verify.PeersByServer(prod, nil) },
		"no clock, bundles": func() (*verify.Peers, error) {
			return verify.PeersByBundle(x509bundle.NewSet(), nil)
		},
	} {
		if p, err := make(); err == nil || p != nil {
			t.Errorf("%s: made", name)
		}
	}
}

// A proof holds while its chain is valid and its root is in the bundle, on a
// connection of any age: standards MT-15.
func TestProofEnds(t *testing.T) {
	t.Parallel()
	now := start
	root, next := newRoot(t), newRoot(t)
	bundle := root.bundle()
	peers, err := verify.PeersByBundle(bundle, func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	short := root.below(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = start.Add(-time.Minute), start.Add(time.Hour) })
	long := &tls.ConnectionState{PeerCertificates: root.svid(t, web, nil).Certificates}
	brief := &tls.ConnectionState{PeerCertificates: short.svid(t, web, nil, short).Certificates}
	want := func(step string, state *tls.ConnectionState, proven bool) {
		t.Helper()
		for range 2 {
			if p, err := peers.FromTLS(state); (err == nil) != proven || (p.ID() == web) != proven {
				t.Errorf("%s: %+v, %v", step, p, err)
			}
		}
	}
	want("at first", long, true)
	want("at first", brief, true)
	bundle.AddX509Authority(next.certificate)
	want("a root more", long, true)
	now = start.Add(time.Hour - 1)
	want("nearly expired", brief, true)
	now = start.Add(time.Hour)
	want("the chain expired", brief, false)
	now = start.Add(-time.Minute - 1)
	want("the clock was set back", brief, false)
	now = start
	want("and forth", brief, true)
	bundle.RemoveX509Authority(root.certificate)
	want("the root left", long, false)
	want("the root left", brief, false)
	bundle.AddX509Authority(root.certificate)
	want("it came back", long, true)
}

// Of two chains the one that lasts counts; a bundle entry that is no authority
// does not vouch for itself.
func TestBundleEntries(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	renewed := caTemplate()
	renewed.SerialNumber, renewed.NotAfter = big.NewInt(99), start
	old := &pki{key: root.key}
	old.certificate = old.sign(t, renewed, root.key.Public())
	leaf := root.svid(t, web, nil)
	self := &pki{key: leaf.PrivateKey, certificate: leaf.Certificates[0]}
	for name, tt := range map[string]struct {
		bundle *x509bundle.Bundle
		want   bool
	}{
		"root of old and new": {bundleOf(prod, old, root), true},
		"root of old":         {bundleOf(prod, old), false},
		"the leaf itself":     {bundleOf(prod, self), false},
		"nothing":             {bundleOf(prod), false},
	} {
		peers, err := verify.PeersByBundle(tt.bundle, fixed)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := peers.FromTLS(&tls.ConnectionState{PeerCertificates: leaf.Certificates}); (err == nil) != tt.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A source that answers for every domain with the bundle of one.
	peers, err := verify.PeersByBundle(anyDomain{bundleOf(staging, root)}, fixed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := peers.FromTLS(&tls.ConnectionState{PeerCertificates: leaf.Certificates}); err == nil {
		t.Error("verified with the bundle of another domain")
	}
}

type anyDomain struct{ bundle *x509bundle.Bundle }

func (a anyDomain) GetX509BundleForTrustDomain(spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return a.bundle, nil
}

// What is remembered is bounded.
func TestProofsAreBounded(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	peers, err := verify.PeersByBundle(root.bundle(), fixed)
	if err != nil {
		t.Fatal(err)
	}
	key := newPrivate(t)
	template := root.svid(t, web, nil).Certificates[0]
	for i := range verify.MaxProofs + 10 {
		next := *template
		serial(int64(i + 1))(&next)
		if _, err := peers.FromTLS(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{root.sign(t, &next, key.Public())}}); err != nil {
			t.Fatal(err)
		}
		if n := peers.Remembered(); n > verify.MaxProofs || n == 0 {
			t.Fatalf("%d remembered", n)
		}
	}
}

// What the server verified: in this handshake, for one trust domain. Standards
// H19, threats A7, F3.
func TestPeersByServer(t *testing.T) {
	t.Parallel()
	root, stranger := newRoot(t), newRoot(t)
	svid := func(id spiffeid.ID, change func(*x509.Certificate)) *x509.Certificate {
		return root.svid(t, id, change).Certificates[0]
	}
	leaf := svid(web, nil)
	attacker := stranger.svid(t, other, nil).Certificates[0]
	state := func(c *x509.Certificate) *tls.ConnectionState {
		return &tls.ConnectionState{PeerCertificates: []*x509.Certificate{c}, VerifiedChains: [][]*x509.Certificate{{c, root.certificate}}}
	}
	resumed, unverified, mixed, brief := state(leaf), state(leaf), state(leaf), state(leaf)
	resumed.DidResume = true
	unverified.VerifiedChains = nil
	mixed.PeerCertificates = []*x509.Certificate{attacker}
	short := root.below(t, func(c *x509.Certificate) { c.NotAfter = start })
	brief.VerifiedChains[0] = []*x509.Certificate{leaf, short.certificate, root.certificate}
	tests := map[string]struct {
		state *tls.ConnectionState
		want  spiffeid.ID
	}{
		"verified":             {state(leaf), web},
		"resumed":              {resumed, spiffeid.ID{}},
		"not verified":         {unverified, spiffeid.ID{}},
		"what was verified":    {mixed, web},
		"of another domain":    {state(svid(spiffeid.RequireFromString("spiffe://staging.example/a"), nil)), spiffeid.ID{}},
		"a longer domain":      {state(svid(spiffeid.RequireFromString("spiffe://prod.example.org/a"), nil)), spiffeid.ID{}},
		"expired since":        {state(svid(web, func(c *x509.Certificate) { c.NotAfter = start })), spiffeid.ID{}},
		"intermediate expired": {brief, spiffeid.ID{}},
		"no SPIFFE ID":         {state(svid(web, rawSAN(dnsName("web")))), spiffeid.ID{}},
		"a CA":                 {state(svid(web, func(c *x509.Certificate) { c.IsCA = true })), spiffeid.ID{}},
	}
	peers, err := verify.PeersByServer(prod, fixed)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		p, err := peers.FromTLS(tt.state)
		if p.ID() != tt.want || (err == nil) != (tt.want != spiffeid.ID{}) || err != nil && reason(err) != verify.ReasonCertificateUntrusted {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	sum := sha256.Sum256(leaf.Raw)
	p, err := peers.FromTLS(mixed)
	if err != nil {
		t.Fatal(err)
	}
	if p != peer(t, web, base64.RawURLEncoding.EncodeToString(sum[:])) {
		t.Error("the thumbprint is of what nobody verified")
	}
}

// Bundles change while connections are asked about: each is answered by what was
// trusted before or after, and the last word is the last bundle's.
func TestPeersWhileBundlesChange(t *testing.T) {
	t.Parallel()
	root, next := newRoot(t), newRoot(t)
	bundle := root.bundle()
	peers, err := verify.PeersByBundle(bundle, fixed)
	if err != nil {
		t.Fatal(err)
	}
	states := make([]*tls.ConnectionState, 8)
	for i := range states {
		states[i] = &tls.ConnectionState{PeerCertificates: root.svid(t, web, nil).Certificates}
	}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 50 {
				if p, err := peers.FromTLS(states[i%len(states)]); err == nil && p.ID() != web || err != nil && !p.IsZero() {
					t.Errorf("%+v, %v", p, err)
				}
			}
		})
	}
	for range 50 {
		bundle.SetX509Authorities([]*x509.Certificate{next.certificate})
		bundle.SetX509Authorities([]*x509.Certificate{root.certificate, next.certificate})
	}
	bundle.SetX509Authorities([]*x509.Certificate{next.certificate})
	for _, state := range states {
		if _, err := peers.FromTLS(state); err == nil {
			t.Error("proven by an authority that left")
		}
	}
	wg.Wait()
}
