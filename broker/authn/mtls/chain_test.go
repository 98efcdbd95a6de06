package mtls_test

import (
	"crypto/x509"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/authn/mtls"
)

func TestChains(t *testing.T) {
	t.Parallel()
	root, stranger := newRoot(t), newRoot(t)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}, td2: {root}})
	good := root.below(t, nil)
	with := func(change func(*x509.Certificate)) []*x509.Certificate {
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
	only := func(domains ...string) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.PermittedURIDomains, c.PermittedDNSDomainsCritical = domains, true }
	}
	leafAsCA := root.svid(t, web, nil)
	maze := &pki{key: newKey(t)} // any of its certificates could have signed any other
	maze.certificate = maze.sign(t, caTemplate("maze"), maze.key.Public())
	twin := &pki{key: maze.key, certificate: maze.sign(t, caTemplate("maze"), maze.key.Public())}
	forged := &pki{key: leafAsCA.PrivateKey, certificate: leafAsCA.Certificates[0]}
	tests := map[string]struct {
		chain []*x509.Certificate
		want  mtls.Fault
	}{
		"one intermediate":               {with(nil), ""},
		"five certificates":              {deep(4), ""},
		"six certificates":               {deep(5), mtls.FaultChain},
		"no certificate":                 {nil, mtls.FaultChain},
		"the root comes along":           {append(good.svid(t, web, nil, good).Certificates, root.certificate), ""},
		"a stranger's comes along":       {append(good.svid(t, web, nil, good).Certificates, stranger.certificate), ""},
		"a key twice":                    {maze.svid(t, web, nil, maze, twin).Certificates, mtls.FaultChain},
		"intermediate missing":           {good.svid(t, web, nil).Certificates, mtls.FaultNotTrusted},
		"of a stranger":                  {stranger.svid(t, web, nil).Certificates, mtls.FaultNotTrusted},
		"with the stranger's root":       {stranger.svid(t, web, nil, stranger).Certificates, mtls.FaultNotTrusted},
		"signed by itself":               {selfSigned(t).Certificates, mtls.FaultNotTrusted},
		"signed by a leaf":               {forged.svid(t, web, nil, forged).Certificates, mtls.FaultNotTrusted},
		"expired intermediate":           {with(func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Second) }), mtls.FaultNotTrusted},
		"intermediate expires now":       {with(func(c *x509.Certificate) { c.NotAfter = start }), mtls.FaultExpired},
		"intermediate not yet valid":     {with(func(c *x509.Certificate) { c.NotBefore = start.Add(time.Second) }), mtls.FaultNotTrusted},
		"intermediate without CA":        {with(func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, x509.KeyUsageDigitalSignature }), mtls.FaultNotTrusted},
		"intermediate may not sign":      {with(func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageCRLSign }), mtls.FaultNotTrusted},
		"intermediate for servers only":  {with(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }), mtls.FaultNotTrusted},
		"constrained to this domain":     {with(only("td1.example")), ""},
		"constrained to another domain":  {with(only("td2.example")), mtls.FaultNotTrusted},
		"attacker's leaf comes second":   {append(root.svid(t, web, nil).Certificates, selfSigned(t).Certificates...), ""},
		"attacker's leaf comes first":    {append(selfSigned(t).Certificates, root.svid(t, web, nil).Certificates...), mtls.FaultNotTrusted},
		"signing certificate as client":  {[]*x509.Certificate{good.certificate}, mtls.FaultURI},
		"signing certificate with an ID": {[]*x509.Certificate{root.below(t, rawSAN(web.String())).certificate}, mtls.FaultCA},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			id, _, _, err := mtls.Verify(tt.chain, trust, start)
			if fault(err) != tt.want || err == nil && id != web {
				t.Errorf("id %q, error %v, want %q", id, err, tt.want)
			}
		})
	}
}

// selfSigned returns what anybody can make: an SVID in name alone.
func selfSigned(t testing.TB) *x509svid.SVID {
	t.Helper()
	p := &pki{key: newKey(t)}
	return &x509svid.SVID{ID: web, PrivateKey: p.key, Certificates: []*x509.Certificate{p.sign(t, svidTemplate(web), p.key.Public())}}
}

// The proof lasts as long as the whole chain does, the root included. A root that
// was renewed with its key makes two chains; the one that lasts longer counts.
func TestProofEndsWithTheChain(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	short := root.below(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = start.Add(-time.Second), start.Add(time.Minute) })
	ending := func(p *pki, serial int64, after time.Duration) *pki {
		template := caTemplate("renewed")
		template.SerialNumber, template.NotAfter = big.NewInt(serial), start.Add(after)
		ca := &pki{key: p.key}
		ca.certificate = ca.sign(t, template, p.key.Public())
		return ca
	}
	brief, renewed, shortened := newRoot(t), newRoot(t), newRoot(t)
	brief = ending(brief, 1, 3*time.Minute)
	tests := map[string]struct {
		roots     []*pki
		chain     []*x509.Certificate
		notBefore time.Time
		notAfter  time.Time
	}{
		"by the leaf":         {[]*pki{root}, root.svid(t, web, nil).Certificates, start.Add(-time.Minute), start.Add(time.Hour)},
		"by the intermediate": {[]*pki{root}, short.svid(t, web, nil, short).Certificates, start.Add(-time.Second), start.Add(time.Minute)},
		"by the root":         {[]*pki{brief}, brief.svid(t, web, nil).Certificates, start.Add(-time.Minute), start.Add(3 * time.Minute)},
		"by the later root": {[]*pki{ending(renewed, 1, time.Minute), ending(renewed, 2, 2*time.Minute)},
			ending(renewed, 1, time.Minute).svid(t, web, nil).Certificates, start.Add(-time.Minute), start.Add(2 * time.Minute)},
		"in the other order": {[]*pki{ending(shortened, 1, 2*time.Minute), ending(shortened, 2, time.Minute)},
			ending(shortened, 1, time.Minute).svid(t, web, nil).Certificates, start.Add(-time.Minute), start.Add(2 * time.Minute)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: tt.roots})
			_, notBefore, notAfter, err := mtls.Verify(tt.chain, trust, start)
			if err != nil || !notAfter.Equal(tt.notAfter) || !notBefore.Equal(tt.notBefore) {
				t.Errorf("from %v to %v, %v; want %v to %v", notBefore, notAfter, err, tt.notBefore, tt.notAfter)
			}
		})
	}
}
