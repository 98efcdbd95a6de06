package broker

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Proof is how a workload proved its identity on this very request. The zero
// value is no proof and is refused by the first check of Decide.
type Proof uint8

// The proofs. Only the first three bind the request to a connection; the last
// two are bearer proofs, which a resource must name to accept.
const (
	ProofNone       Proof = iota
	ProofMTLS             // X.509-SVID on our own TLS listener
	ProofLinkerd          // identity asserted by the Linkerd proxy
	ProofXFCC             // identity asserted by Envoy or Istio
	ProofKubernetes       // projected ServiceAccount token
	ProofJWTSVID          // JWT-SVID as client assertion
	numProofs
)

var proofNames = [numProofs]string{"none", "mtls", "linkerd", "xfcc", "kubernetes", "jwtsvid"}

// String returns the proof's name as policy files write it.
func (p Proof) String() string {
	if p >= numProofs {
		return proofNames[ProofNone]
	}
	return proofNames[p]
}

// ParseProof returns the proof of that name; ok is false for any other text,
// "none" included.
func ParseProof(name string) (p Proof, ok bool) {
	for i := ProofMTLS; i < numProofs; i++ {
		if proofNames[i] == name {
			return i, true
		}
	}
	return ProofNone, false
}

// Bearer reports whether whoever holds the proof can use it: it is not tied to
// the connection.
func (p Proof) Bearer() bool { return p == ProofKubernetes || p == ProofJWTSVID }

// Proofs is a set of proofs; the zero value accepts none.
type Proofs uint8

// NewProofs returns the set of the given proofs. ProofNone is never a member.
func NewProofs(proofs ...Proof) Proofs {
	var s Proofs
	for _, p := range proofs {
		if p > ProofNone && p < numProofs {
			s |= 1 << p
		}
	}
	return s
}

// Has reports whether p is in the set; never for ProofNone.
func (s Proofs) Has(p Proof) bool { return p > ProofNone && p < numProofs && s&(1<<p) != 0 }

// Workload is the authenticated caller. Only an authn.Authenticator makes one;
// the zero value proves nothing and is refused.
type Workload struct {
	ID         spiffeid.ID // canonical SPIFFE ID, never a bare trust domain
	Proof      Proof
	Thumbprint string      // x5t#S256 of the verified leaf (RFC 8705 section 3.1), "" if it showed none
	Serial     string      // serial number of the leaf in hex, for the record
	NotAfter   time.Time   // when the proof ends; the zero value has ended already
	Via        spiffeid.ID // the proxy that asserted the identity, zero for a direct proof
}

// Namespace and ServiceAccount return the parts of the Kubernetes form
// /ns/<ns>/sa/<sa>, or "" for any other path.
func (w *Workload) Namespace() string { ns, _ := kubernetesParts(w.ID); return ns }

// ServiceAccount returns the service account of the Kubernetes form; see
// Namespace.
func (w *Workload) ServiceAccount() string { _, sa := kubernetesParts(w.ID); return sa }

func kubernetesParts(id spiffeid.ID) (ns, sa string) {
	rest, ok := strings.CutPrefix(id.Path(), "/ns/")
	if !ok {
		return "", ""
	}
	ns, sa, ok = strings.Cut(rest, "/sa/")
	if !ok || ns == "" || sa == "" || strings.Contains(ns, "/") || strings.Contains(sa, "/") {
		return "", ""
	}
	return ns, sa
}

// CheckTrustDomain refuses names that SPIFFE allows but that no certificate can
// carry here: Go does not parse a URI whose host has an empty label, so their
// SVIDs would fail in the handshake, far from the line of configuration that is
// at fault.
func CheckTrustDomain(name string) error {
	domain, err := spiffeid.TrustDomainFromString(name)
	switch {
	case err != nil || domain.Name() != name:
		return fmt.Errorf("%q is not the name of a trust domain", name)
	case len(name) > 255: // SPIFFE-ID section 2.1
		return errors.New("a trust domain has at most 255 bytes")
	case slices.Contains(strings.Split(name, "."), ""):
		return fmt.Errorf("trust domain %q has an empty label, which Go's certificate parser refuses", name)
	}
	return nil
}
