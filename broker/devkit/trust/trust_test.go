package trust_test

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/devkit/trust"
)

var (
	domain = spiffeid.RequireTrustDomainFromString("dev.cambist.invalid")
	web    = spiffeid.RequireFromString("spiffe://dev.cambist.invalid/ns/shop/sa/web")
	start  = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

func at(now time.Time) func() time.Time { return func() time.Time { return now } }

func newCA(t *testing.T) *trust.CA {
	t.Helper()
	ca, err := trust.New(domain, at(start))
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newSVID(t *testing.T, ca *trust.CA) *x509svid.SVID {
	t.Helper()
	svid, err := ca.SVID(web, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

// SX-3: what we issue, field by field.
func TestSVIDConforms(t *testing.T) {
	t.Parallel()
	svid, err := newCA(t).SVID(web, time.Hour, "localhost", "127.0.0.1", "::1")
	if err != nil {
		t.Fatal(err)
	}
	c := svid.Certificates[0]
	if len(svid.Certificates) != 1 || svid.ID != web || len(c.URIs) != 1 || c.URIs[0].String() != web.String() {
		t.Errorf("%d certificates of %s with %v", len(svid.Certificates), svid.ID, c.URIs)
	}
	if c.KeyUsage != x509.KeyUsageDigitalSignature || c.IsCA || !c.BasicConstraintsValid {
		t.Errorf("key usage %b, CA %t", c.KeyUsage, c.IsCA)
	}
	if !slices.Equal(c.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}) {
		t.Errorf("ext key usage %v", c.ExtKeyUsage)
	}
	if !critical(c, 15) || c.Subject.String() == "" && !critical(c, 17) {
		t.Error("key usage is not critical, or the SAN without a subject")
	}
	if !c.NotAfter.Equal(start.Add(time.Hour)) || !c.NotBefore.Equal(start.Add(-time.Minute)) {
		t.Errorf("from %v to %v", c.NotBefore, c.NotAfter)
	}
	if !slices.Equal(c.DNSNames, []string{"localhost"}) || len(c.IPAddresses) != 2 || !c.IPAddresses[0].Equal(net.IPv4(127, 0, 0, 1)) {
		t.Errorf("hosts %v, %v", c.DNSNames, c.IPAddresses)
	}
	if bits := c.SerialNumber.BitLen(); bits < 64 || bits > 160 {
		t.Errorf("a serial number of %d bits", bits)
	}
}

// critical reports whether the extension 2.5.29.n is there and critical.
func critical(c *x509.Certificate, n int) bool {
	return slices.ContainsFunc(c.Extensions, func(e pkix.Extension) bool {
		return e.Critical && e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, n})
	})
}

// Nobody can take it for a real one.
func TestItSaysWhatItIs(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	root := ca.Bundle().X509Authorities()[0]
	if s := root.Subject.String(); !strings.Contains(s, "never for production") || !strings.Contains(s, "DEVELOPMENT ONLY") {
		t.Errorf("root %q", s)
	}
	if s := newSVID(t, ca).Certificates[0].Subject.String(); !strings.Contains(s, "DEVELOPMENT ONLY") {
		t.Errorf("SVID %q", s)
	}
	if !root.IsCA || root.KeyUsage&x509.KeyUsageCertSign == 0 || len(root.URIs) != 1 || root.URIs[0].String() != domain.IDString() {
		t.Errorf("root: CA %t, key usage %b, %v", root.IsCA, root.KeyUsage, root.URIs)
	}
}

// Another implementation of the standard accepts what we issue, from the root and
// from below it, with the one bundle, and nothing else.
func TestSVIDVerifies(t *testing.T) {
	t.Parallel()
	ca, stranger := newCA(t), newCA(t)
	below, err := ca.Intermediate()
	if err != nil {
		t.Fatal(err)
	}
	deeper, err := below.Intermediate()
	if err != nil {
		t.Fatal(err)
	}
	for length, issuer := range []*trust.CA{ca, below, deeper} {
		svid := newSVID(t, issuer)
		if len(svid.Certificates) != length+1 || issuer.Domain() != domain {
			t.Errorf("%d certificates, want %d", len(svid.Certificates), length+1)
		}
		id, _, err := x509svid.Verify(svid.Certificates, issuer.Bundle(), x509svid.WithTime(start))
		if err != nil || id != web || !issuer.Bundle().Equal(ca.Bundle()) {
			t.Errorf("%d below the root: %v, %v", length, id, err)
		}
		if _, _, err := x509svid.Verify(svid.Certificates, stranger.Bundle(), x509svid.WithTime(start)); err == nil {
			t.Error("verifies with a stranger's bundle")
		}
		if svid.PrivateKey.Public() == nil || newSVID(t, issuer).Certificates[0].Equal(svid.Certificates[0]) {
			t.Error("two SVIDs are one")
		}
	}
}

func TestServerCertificate(t *testing.T) {
	t.Parallel()
	below, err := newCA(t).Intermediate()
	if err != nil {
		t.Fatal(err)
	}
	c, err := below.ServerCertificate([]string{"localhost"}, []net.IP{net.IPv6loopback}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Leaf.URIs) != 0 || !slices.Equal(c.Leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) || len(c.Certificate) != 2 {
		t.Errorf("%v, %v, %d certificates", c.Leaf.URIs, c.Leaf.ExtKeyUsage, len(c.Certificate))
	}
	if c.Leaf.VerifyHostname("localhost") != nil || c.Leaf.VerifyHostname("::1") != nil || c.Leaf.VerifyHostname("127.0.0.1") == nil {
		t.Error("it is not for those hosts")
	}
	if _, err := below.ServerCertificate(nil, nil, time.Hour); err == nil {
		t.Error("made for no host")
	}
}

func TestRefuses(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	for name, id := range map[string]string{
		"another trust domain": "spiffe://prod.example/ns/shop/sa/web",
		"no path":              "spiffe://dev.cambist.invalid",
		"too long":             web.String() + strings.Repeat("/a", 1024),
	} {
		if _, err := ca.SVID(spiffeid.RequireFromString(id), time.Hour); err == nil {
			t.Errorf("%s: issued", name)
		}
	}
	for _, ttl := range []time.Duration{0, -time.Second} {
		if _, err := ca.SVID(web, ttl); err == nil {
			t.Errorf("issued for %v", ttl)
		}
	}
	if _, err := trust.New(spiffeid.TrustDomain{}, at(start)); err == nil {
		t.Error("a CA without a trust domain")
	}
	if _, err := trust.New(domain, nil); err == nil {
		t.Error("a CA without a clock")
	}
	if _, err := trust.New(spiffeid.RequireTrustDomainFromString("a..b"), at(start)); err == nil {
		t.Error("a trust domain that no certificate can carry")
	}
}

// No certificate outlives its issuer.
func TestLifeEndsWithTheCA(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	end := ca.Bundle().X509Authorities()[0].NotAfter
	svid, err := ca.SVID(web, 10*365*24*time.Hour)
	if err != nil || !svid.Certificates[0].NotAfter.Equal(end) {
		t.Errorf("until %v, %v; want %v", svid.Certificates[0].NotAfter, err, end)
	}
}

func TestID(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	for name, want := range map[string]string{
		"shop/web":                       web.String(),
		web.String():                     web.String(),
		"spiffe://dev.cambist.invalid/a": "spiffe://dev.cambist.invalid/a",
		"":                               "", "web": "", "/": "", "shop/": "", "/web": "", "shop/web/x": "", "shop/..": "", "shop/w b": "", "shop/%61": "",
		"spiffe://prod.example/a": "", "spiffe://dev.cambist.invalid": "", "https://dev.cambist.invalid/a": "",
	} {
		id, err := ca.ID(name)
		if (err == nil) != (want != "") || err == nil && id.String() != want {
			t.Errorf("%q: %q, %v; want %q", name, id, err, want)
		}
	}
}
