package mtls_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/authn/mtls"
)

var (
	td1 = spiffeid.RequireTrustDomainFromString("td1.example")
	td2 = spiffeid.RequireTrustDomainFromString("td2.example")
	web = spiffeid.RequireFromString("spiffe://td1.example/ns/shop/sa/web")
)

// start is the real time, because the TLS clients of the tests look at the real
// clock; what the server thinks of it is injected.
var start = time.Now().Truncate(time.Second)

// pki is a certificate authority that signs whatever it is told to.
type pki struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newRoot(t testing.TB) *pki {
	t.Helper()
	p := &pki{key: newKey(t)}
	p.certificate = p.sign(t, caTemplate("root"), p.key.Public())
	return p
}

// below returns an authority under this one, changed as told.
func (p *pki) below(t testing.TB, change func(*x509.Certificate)) *pki {
	t.Helper()
	child := &pki{key: newKey(t)}
	template := caTemplate("intermediate")
	if change != nil {
		change(template)
	}
	child.certificate = p.sign(t, template, child.key.Public())
	return child
}

func (p *pki) sign(t testing.TB, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	c, err := p.trySign(template, public)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (p *pki) trySign(template *x509.Certificate, public crypto.PublicKey) (*x509.Certificate, error) {
	parent := p.certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, p.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// svid issues an SVID that conforms; chain are the authorities between.
func (p *pki) svid(t testing.TB, id spiffeid.ID, change func(*x509.Certificate), chain ...*pki) *x509svid.SVID {
	t.Helper()
	template := svidTemplate(id)
	if change != nil {
		change(template)
	}
	key := newKey(t)
	s := &x509svid.SVID{ID: id, PrivateKey: key, Certificates: []*x509.Certificate{p.sign(t, template, key.Public())}}
	for _, c := range chain {
		s.Certificates = append(s.Certificates, c.certificate)
	}
	return s
}

func (p *pki) bundle(domain spiffeid.TrustDomain) *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(domain, []*x509.Certificate{p.certificate})
}

func caTemplate(name string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

func svidTemplate(id spiffeid.ID) *x509.Certificate {
	return &x509.Certificate{
		URIs: []*url.URL{id.URL()}, NotBefore: start.Add(-time.Minute), NotAfter: start.Add(time.Hour),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
}

// rawSAN replaces the SAN by one with exactly these URIs, byte for byte.
func rawSAN(uris ...string) func(*x509.Certificate) {
	var names []asn1.RawValue
	for _, uri := range uris {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)})
	}
	der, err := asn1.Marshal(names)
	if err != nil {
		panic(err)
	}
	return sanExtension(der)
}

func sanExtension(der []byte) func(*x509.Certificate) {
	return extension(asn1.ObjectIdentifier{2, 5, 29, 17}, true, der)
}

func extension(id asn1.ObjectIdentifier, critical bool, value []byte) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: id, Critical: critical, Value: value})
	}
}

func trusting(domains map[spiffeid.TrustDomain][]*pki) *mtls.Trust {
	t := &mtls.Trust{}
	set(t, domains)
	return t
}

func set(t *mtls.Trust, domains map[spiffeid.TrustDomain][]*pki) []string {
	lists := map[spiffeid.TrustDomain][]*x509.Certificate{}
	for domain, authorities := range domains {
		lists[domain] = nil
		for _, p := range authorities {
			lists[domain] = append(lists[domain], p.certificate)
		}
	}
	return t.Set(lists)
}

// fault returns the fault in err, "" without one.
func fault(err error) mtls.Fault {
	var e *mtls.CertificateError
	if errors.As(err, &e) {
		return e.Fault
	}
	return ""
}

// bigSerial has the given number of bytes.
func bigSerial(n int) *big.Int {
	return new(big.Int).SetBytes(append([]byte{0x7f}, slices.Repeat([]byte{0xff}, n-1)...))
}
