package verify

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Limits of what a client may show: they bound what a hostile chain can cost.
const (
	maxChain            = 5
	maxCertificateBytes = 16 << 10
)

var (
	errChainLimits  = errors.New("more than five certificates, one over 16 KiB, or two with one key")
	errURI          = errors.New("not exactly one URI SAN")
	errNotWorkload  = errors.New("its URI SAN is not the canonical SPIFFE ID of a workload")
	errCA           = errors.New("it may sign certificates")
	errKeyUsage     = errors.New("its key usage lacks digitalSignature")
	errTime         = errors.New("it is not valid now")
	errDomain       = errors.New("its trust domain is not the one that is configured")
	errBundle       = errors.New("no bundle for its trust domain")
	errBundleLeaves = errors.New("the bundle of its trust domain has no CA certificate")
)

// workloadID returns the SPIFFE ID of a leaf that may speak for a workload
// (X509-SVID sections 2, 4 and 5.2). The URI is read as it was signed: a parsed
// one has lost the case of its scheme and its escapes. Names of other kinds may
// stand beside it and mean nothing here.
func workloadID(leaf *x509.Certificate) (spiffeid.ID, error) {
	uris, err := uriNames(leaf)
	switch {
	case err != nil || len(uris) != 1:
		return spiffeid.ID{}, errURI
	case !workload(uris[0]):
		return spiffeid.ID{}, errNotWorkload
	case leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return spiffeid.ID{}, errCA
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return spiffeid.ID{}, errKeyUsage
	}
	return spiffeid.FromString(uris[0])
}

// uriNames returns the URIs of the subject alternative name, byte for byte (RFC
// 5280 section 4.2.1.6). crypto/x509 has seen to it that there is at most one
// such extension.
func uriNames(leaf *x509.Certificate) ([]string, error) {
	const tagURI = 6
	i := slices.IndexFunc(leaf.Extensions, func(e pkix.Extension) bool { return e.Id.Equal(asn1.ObjectIdentifier{2, 5, 29, 17}) })
	if i < 0 {
		return nil, nil
	}
	var list asn1.RawValue
	if rest, err := asn1.Unmarshal(leaf.Extensions[i].Value, &list); err != nil || len(rest) > 0 {
		return nil, errURI
	}
	var names []string
	for rest := list.Bytes; len(rest) > 0; {
		var name asn1.RawValue
		var err error
		if rest, err = asn1.Unmarshal(rest, &name); err != nil {
			return nil, errURI
		}
		if name.Class == asn1.ClassContextSpecific && name.Tag == tagURI {
			names = append(names, string(name.Bytes))
		}
	}
	return names, nil
}

// checkLimits refuses what is there to waste our time. Certificates with one key
// could each stand at every place of a path: a few make a maze.
func checkLimits(shown []*x509.Certificate) error {
	if len(shown) > maxChain {
		return errChainLimits
	}
	for i, c := range shown {
		if len(c.Raw) > maxCertificateBytes || slices.ContainsFunc(shown[:i], func(d *x509.Certificate) bool {
			return bytes.Equal(d.RawSubjectPublicKeyInfo, c.RawSubjectPublicKeyInfo)
		}) {
			return errChainLimits
		}
	}
	return nil
}

// span is when a verified chain proves something, and the root that it ends in.
type span struct {
	root                *x509.Certificate
	notBefore, notAfter time.Time // over at the instant notAfter
}

func (s *span) holds(now time.Time) bool { return !now.Before(s.notBefore) && now.Before(s.notAfter) }

// spanOf returns the time in which all certificates of a chain are valid. No
// leeway is given: SPIFFE implementations date their certificates back.
func spanOf(chain []*x509.Certificate) span {
	s := span{root: chain[len(chain)-1], notBefore: chain[0].NotBefore, notAfter: chain[0].NotAfter}
	for _, c := range chain[1:] {
		if c.NotBefore.After(s.notBefore) {
			s.notBefore = c.NotBefore
		}
		if c.NotAfter.Before(s.notAfter) {
			s.notAfter = c.NotAfter
		}
	}
	return s
}

// longest returns the span of the chain that lasts longest.
func longest(chains [][]*x509.Certificate) span {
	var best span
	for _, chain := range chains {
		if s := spanOf(chain); s.notAfter.After(best.notAfter) {
			best = s
		}
	}
	return best
}

// verifyChain verifies what was shown, the leaf first, with the authorities of
// the one trust domain that the leaf names (standards SX-5).
func verifyChain(shown, authorities []*x509.Certificate, now time.Time) (span, error) {
	// A verifier asks no more of a root than to be in the pool: what is not a
	// CA's would vouch for itself there. And no pool at all would mean the roots
	// of the operating system.
	roots, any := x509.NewCertPool(), false
	for _, c := range authorities {
		if c.BasicConstraintsValid && c.IsCA {
			roots.AddCert(c)
			any = true
		}
	}
	if !any {
		return span{}, errBundleLeaves
	}
	intermediates := x509.NewCertPool()
	for _, c := range shown[1:] {
		intermediates.AddCert(c)
	}
	chains, err := shown[0].Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: intermediates, CurrentTime: now,
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return span{}, fmt.Errorf("it does not lead to the bundle of its trust domain: %w", err)
	}
	s := longest(chains)
	if !s.holds(now) { // the very instant of an end is over
		return span{}, errTime
	}
	return s, nil
}
