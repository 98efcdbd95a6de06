package verify_test

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

var (
	prod    = spiffeid.RequireTrustDomainFromString("prod.example")
	staging = spiffeid.RequireTrustDomainFromString("staging.example")
)

// year is how long certificates of the tests are valid around start, so that they
// are for go-spiffe too, which reads the clock by itself.
const year = 20 * 365 * 24 * time.Hour

// pki is a certificate authority that signs whatever it is told to.
type pki struct {
	key         crypto.Signer
	certificate *x509.Certificate
}

func newRoot(t testing.TB) *pki {
	t.Helper()
	p := &pki{key: newPrivate(t)}
	p.certificate = p.sign(t, caTemplate(), p.key.Public())
	return p
}

// below returns an authority under this one, changed as told.
func (p *pki) below(t testing.TB, change func(*x509.Certificate)) *pki {
	t.Helper()
	child, template := &pki{key: newPrivate(t)}, caTemplate()
	if change != nil {
		change(template)
	}
	child.certificate = p.sign(t, template, child.key.Public())
	return child
}

func (p *pki) sign(t testing.TB, template *x509.Certificate, public crypto.PublicKey) *x509.Certificate {
	t.Helper()
	parent := p.certificate
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, p.key)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// svid issues an SVID that conforms, then is changed; chain are the authorities
// between.
func (p *pki) svid(t testing.TB, id spiffeid.ID, change func(*x509.Certificate), chain ...*pki) *x509svid.SVID {
	t.Helper()
	template := &x509.Certificate{
		URIs: []*url.URL{id.URL()}, NotBefore: start.Add(-year), NotAfter: start.Add(year), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
	}
	if change != nil {
		change(template)
	}
	key := newPrivate(t)
	s := &x509svid.SVID{ID: id, PrivateKey: key, Certificates: []*x509.Certificate{p.sign(t, template, key.Public())}}
	for _, c := range chain {
		s.Certificates = append(s.Certificates, c.certificate)
	}
	return s
}

func (p *pki) bundle() *x509bundle.Bundle { return bundleOf(prod, p) }

func bundleOf(domain spiffeid.TrustDomain, authorities ...*pki) *x509bundle.Bundle {
	b := x509bundle.New(domain)
	for _, p := range authorities {
		b.AddX509Authority(p.certificate)
	}
	return b
}

func caTemplate() *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, NotBefore: start.Add(-year), NotAfter: start.Add(year),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
}

// rawSAN replaces the SAN by one with exactly these names, byte for byte.
func rawSAN(names ...asn1.RawValue) func(*x509.Certificate) {
	der, err := asn1.Marshal(names)
	if err != nil {
		panic(err)
	}
	return func(c *x509.Certificate) {
		c.ExtraExtensions = append(c.ExtraExtensions, pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: der})
	}
}

func uriName(uri string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)}
}

func dnsName(name string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)}
}

func certificate(s *x509svid.SVID) tls.Certificate {
	c := tls.Certificate{PrivateKey: s.PrivateKey, Leaf: s.Certificates[0]}
	for _, link := range s.Certificates {
		c.Certificate = append(c.Certificate, link.Raw)
	}
	return c
}

func workloadID(t testing.TB, text string) spiffeid.ID {
	t.Helper()
	id, err := spiffeid.FromString(text)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// serial makes two certificates of one key differ.
func serial(n int64) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.SerialNumber = big.NewInt(n) }
}
