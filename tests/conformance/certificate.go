package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"time"
)

// leafOptions say how a client certificate differs from a good one. The zero
// value is a good X.509-SVID.
type leafOptions struct {
	uris   []string // URI SANs as they are, instead of the one
	dns    []string
	change func(*x509.Certificate)
	signer *authority // another CA
	ownKey bool       // self-signed
	more   int        // unrelated certificates behind it
}

// leaf returns a good certificate for an ID.
func (a *authority) leaf(id string) *tls.Certificate { return a.make(leafOptions{uris: []string{id}}) }

// make issues a certificate. What it says of names is written byte by byte, for
// no library would write most of it.
func (a *authority) make(o leafOptions) *tls.Certificate {
	key := newKey()
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		ExtraExtensions: []pkix.Extension{alternativeNames(o.uris, o.dns)},
	}
	if o.change != nil {
		o.change(c)
	}
	parent, signer := a.certificate, a.key
	if o.signer != nil {
		parent, signer = o.signer.certificate, o.signer.key
	}
	if o.ownKey {
		parent, signer = c, key
	}
	made := &tls.Certificate{PrivateKey: key, Certificate: [][]byte{issue(c, parent, key.Public(), signer)}}
	for range o.more {
		other := newKey()
		made.Certificate = append(made.Certificate, issue(c, c, other.Public(), other))
	}
	return made
}

// alternativeNames returns the extension of RFC 5280 section 4.2.1.6.
func alternativeNames(uris, dns []string) pkix.Extension {
	var names []asn1.RawValue
	for _, name := range dns {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 2, Bytes: []byte(name)})
	}
	for _, name := range uris {
		names = append(names, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(name)})
	}
	value, err := asn1.Marshal(names)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 17}, Critical: true, Value: value}
}

// strange returns a CA that nobody trusts.
func strange() *authority {
	key := newKey()
	now := time.Now()
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: now.Add(-time.Minute), NotAfter: now.Add(time.Hour), BasicConstraintsValid: true, IsCA: true,
		KeyUsage: x509.KeyUsageCertSign, Subject: pkix.Name{CommonName: "strange"},
	}
	parsed, err := x509.ParseCertificate(issue(c, c, key.Public(), key))
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return &authority{certificate: parsed, key: key}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return key
}

func issue(c, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) []byte {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, public, signer)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return der
}
