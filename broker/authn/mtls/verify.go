package mtls

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// Limits of what a client may show. They are checked in the handshake, before
// its signature is, and bound what a hostile certificate can cost.
const (
	maxChain            = 5
	maxCertificateBytes = 16 << 10
	maxSerialBits       = 20 * 8 // RFC 5280 section 4.1.2.2
	minRSABits          = 2048
	maxRSABits          = 4096
	maxIDBytes          = 2048 // SPIFFE-ID section 2.3
)

// proven is what a chain proves, and when.
type proven struct {
	id        spiffeid.ID
	notBefore time.Time // the latest of the chain
	notAfter  time.Time // the earliest of the chain, root included; over at this instant
}

// verify holds every rule for a client certificate: the certificates as they
// were shown, the leaf first, against the bundle of the one trust domain that
// the leaf names. It reads no clock and changes nothing. Errors are
// *CertificateError.
func verify(shown []*x509.Certificate, b *bundles, now time.Time) (proven, error) {
	if err := checkLimits(shown); err != nil {
		return proven{}, err
	}
	leaf := shown[0]
	id, err := workloadID(leaf)
	if err != nil {
		return proven{}, err
	}
	if err := checkUsage(leaf); err != nil {
		return proven{}, err
	}
	// Before the signatures, so that a certificate past its time costs little.
	if err := checkTime(leaf.NotBefore, leaf.NotAfter, now); err != nil {
		return proven{}, err
	}
	trusted, ok := b.domains[id.TrustDomain()]
	if !ok || len(trusted.list) == 0 {
		return proven{}, faultf(FaultTrustDomain, "no bundle for %q", id.TrustDomain())
	}
	intermediates := x509.NewCertPool()
	for _, c := range shown[1:] {
		intermediates.AddCert(c)
	}
	// The roots are never nil: nil would mean those of the operating system.
	chains, err := leaf.Verify(x509.VerifyOptions{
		Roots: trusted.pool, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return proven{}, &CertificateError{Fault: FaultNotTrusted, Err: err}
	}
	best := proven{}
	for _, chain := range chains {
		if p := span(id, chain); p.notAfter.After(best.notAfter) {
			best = p
		}
	}
	if err := checkTime(best.notBefore, best.notAfter, now); err != nil {
		return proven{}, err
	}
	return best, nil
}

// checkLimits refuses what is too large or too weak whoever signed it.
func checkLimits(shown []*x509.Certificate) error {
	if len(shown) == 0 || len(shown) > maxChain {
		return faultf(FaultChain, "%d certificates, at most %d", len(shown), maxChain)
	}
	for i, c := range shown {
		switch {
		case len(c.Raw) > maxCertificateBytes:
			return faultf(FaultTooLarge, "certificate %d has %d bytes, at most %d", i, len(c.Raw), maxCertificateBytes)
		case c.SerialNumber.BitLen() > maxSerialBits:
			return faultf(FaultTooLarge, "the serial number of certificate %d has more than 20 bytes", i)
		case !acceptedKey(c.PublicKey):
			return faultf(FaultKey, "certificate %d has a key of type %T that is not accepted", i, c.PublicKey)
		case slices.ContainsFunc(shown[:i], func(d *x509.Certificate) bool {
			return bytes.Equal(d.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo)
		}):
			// Every one of them could stand at every place of a path: a few make a
			// maze that costs a hundred signatures to walk.
			return faultf(FaultChain, "certificate %d repeats a key", i)
		}
	}
	return nil
}

func acceptedKey(public any) bool {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521()
	case *rsa.PublicKey:
		return k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits
	case ed25519.PublicKey:
		return true
	}
	return false
}

// workloadID returns the SPIFFE ID of a leaf. It reads the bytes of the SAN as
// they were signed: a parsed URI has lost the case of its scheme (standards
// SF-5). Other kinds of name may stand beside it and mean nothing here.
func workloadID(leaf *x509.Certificate) (spiffeid.ID, error) {
	uris, err := uriNames(leaf)
	switch {
	case err != nil:
		return spiffeid.ID{}, &CertificateError{Fault: FaultURI, Err: err}
	case len(uris) != 1 || len(leaf.URIs) != 1:
		return spiffeid.ID{}, faultf(FaultURI, "%d URI SANs", len(uris))
	case len(uris[0]) > maxIDBytes:
		return spiffeid.ID{}, faultf(FaultID, "%d bytes, at most %d", len(uris[0]), maxIDBytes)
	}
	id, err := spiffeid.FromString(uris[0])
	switch {
	case err != nil:
		return spiffeid.ID{}, faultf(FaultID, "%q: %w", uris[0], err)
	case id.Path() == "":
		return spiffeid.ID{}, faultf(FaultID, "%q names a trust domain", uris[0])
	}
	if err := broker.CheckTrustDomain(id.TrustDomain().Name()); err != nil {
		return spiffeid.ID{}, &CertificateError{Fault: FaultID, Err: err}
	}
	return id, nil
}

var errTrailing = errors.New("there is more after the list of names")

// uriNames returns the URIs of the subject alternative name, byte for byte (RFC
// 5280 section 4.2.1.6). The parser of crypto/x509 has seen to it that there is
// one such extension at most.
func uriNames(leaf *x509.Certificate) ([]string, error) {
	var names []string
	for _, e := range leaf.Extensions {
		if !e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) {
			continue
		}
		var list asn1.RawValue
		rest, err := asn1.Unmarshal(e.Value, &list)
		if err != nil {
			return nil, err
		}
		if len(rest) > 0 { // crypto/x509 lets it pass, others may read names in it
			return nil, errTrailing
		}
		for rest = list.Bytes; len(rest) > 0; {
			var name asn1.RawValue
			if rest, err = asn1.Unmarshal(rest, &name); err != nil {
				return nil, err
			}
			if name.Class == asn1.ClassContextSpecific && name.Tag == 6 {
				names = append(names, string(name.Bytes))
			}
		}
	}
	return names, nil
}

// checkUsage refuses a leaf that may sign other certificates and one that was
// not made to authenticate a client (X509-SVID sections 4.1, 4.3 and 4.4). A
// certificate without basic constraints is no CA by RFC 5280 section 4.2.1.9,
// and not every issuer of SVIDs writes them.
func checkUsage(leaf *x509.Certificate) error {
	switch {
	case leaf.IsCA:
		return &CertificateError{Fault: FaultCA}
	case leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return faultf(FaultCA, "its key may sign certificates or revocation lists")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return &CertificateError{Fault: FaultKeyUsage}
	case len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) > 0 && !slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth):
		return &CertificateError{Fault: FaultExtKeyUsage}
	}
	return nil
}

// checkTime gives no skew: SPIFFE implementations date their certificates back.
func checkTime(notBefore, notAfter, now time.Time) error {
	switch {
	case now.Before(notBefore):
		return faultf(FaultNotYetValid, "from %s", notBefore.UTC().Format(time.RFC3339))
	case !now.Before(notAfter):
		return faultf(FaultExpired, "at %s", notAfter.UTC().Format(time.RFC3339))
	}
	return nil
}

// span returns when the whole of a chain is valid.
func span(id spiffeid.ID, chain []*x509.Certificate) proven {
	p := proven{id: id, notBefore: chain[0].NotBefore, notAfter: chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(p.notBefore) {
			p.notBefore = c.NotBefore
		}
		if c.NotAfter.Before(p.notAfter) {
			p.notAfter = c.NotAfter
		}
	}
	return p
}
