package verify

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Peers finds out who is at the other end of TLS connections. A certificate that
// verified is remembered for as long as its chain is valid and the root of it in
// the bundle, so each request costs a hash instead of signatures, and a CA that
// left its bundle is refused by the next request on a connection that is days
// old.
type Peers struct {
	bundles x509bundle.Source
	domain  spiffeid.TrustDomain
	now     func() time.Time

	mu     sync.Mutex // orders writers of proven; readers take no lock
	proven atomic.Pointer[map[thumbprint]*proof]
}

// proof is what a certificate proved, with what bundle and for how long.
type proof struct {
	id spiffeid.ID
	span
}

// maxProofs is how many certificates are remembered. When there are more, all are
// forgotten, which costs each connection one more verification.
const maxProofs = 1024

var (
	errPeers = errors.New("verify: client certificates need a clock, and something to verify them with")

	errServer  = errors.New("the server has not verified it")
	errResumed = errors.New("the TLS session was resumed, and proves what was trusted once: set SessionTicketsDisabled")
)

// PeersByBundle verifies the client's certificate with the bundle of the trust
// domain that it names, whatever the server's own configuration made of it. The
// server must ask for one (tls.RequestClientCert, RequireAnyClientCert, or
// go-spiffe's tlsconfig.MTLSServerConfig).
func PeersByBundle(bundles x509bundle.Source, now func() time.Time) (*Peers, error) {
	if bundles == nil || now == nil {
		return nil, errPeers
	}
	p := &Peers{bundles: bundles, now: now}
	p.proven.Store(&map[thumbprint]*proof{})
	return p, nil
}

// PeersByServer believes what the server's own configuration has verified
// (tls.VerifyClientCertIfGiven or RequireAndVerifyClientCert), for workloads of
// that one trust domain: the server's ClientCAs must be those of it alone. A
// resumed session proves nothing, because it was verified when it was first made.
func PeersByServer(domain spiffeid.TrustDomain, now func() time.Time) (*Peers, error) {
	if domain.IsZero() || now == nil {
		return nil, errPeers
	}
	return &Peers{domain: domain, now: now}, nil
}

// FromTLS returns the peer of a connection. It is the zero Peer if the client
// showed no certificate; one that does not prove a workload is an *Error with
// ReasonCertificateUntrusted.
func (p *Peers) FromTLS(state *tls.ConnectionState) (Peer, error) {
	if state == nil || len(state.PeerCertificates) == 0 {
		return Peer{}, nil
	}
	var peer Peer
	var err error
	switch {
	case p.now == nil: // the zero value
		err = errPeers
	case p.bundles != nil:
		peer, err = p.byBundle(state.PeerCertificates, p.now())
	default:
		peer, err = p.byServer(state, p.now())
	}
	if err != nil {
		return Peer{}, refuse(ReasonCertificateUntrusted, err)
	}
	return peer, nil
}

// byServer looks at nothing but what was verified (threats A7, F3).
func (p *Peers) byServer(state *tls.ConnectionState, now time.Time) (Peer, error) {
	switch {
	case state.DidResume:
		return Peer{}, errResumed
	case len(state.VerifiedChains) == 0:
		return Peer{}, errServer
	}
	leaf := state.VerifiedChains[0][0]
	id, err := workloadID(leaf)
	if err != nil {
		return Peer{}, err
	}
	if !id.MemberOf(p.domain) {
		return Peer{}, errDomain
	}
	if s := longest(state.VerifiedChains); !s.holds(now) {
		return Peer{}, errTime
	}
	return Peer{id: id, leaf: sha256.Sum256(leaf.Raw), hasLeaf: true}, nil
}

func (p *Peers) byBundle(shown []*x509.Certificate, now time.Time) (Peer, error) {
	peer := Peer{leaf: sha256.Sum256(shown[0].Raw), hasLeaf: true}
	if known, ok := (*p.proven.Load())[peer.leaf]; ok && known.holds(now) {
		bundle, err := p.bundles.GetX509BundleForTrustDomain(known.id.TrustDomain())
		if err == nil && bundle.HasX509Authority(known.root) {
			peer.id = known.id
			return peer, nil
		}
	}
	if err := checkLimits(shown); err != nil {
		return Peer{}, err
	}
	id, err := workloadID(shown[0])
	if err != nil {
		return Peer{}, err
	}
	bundle, err := p.bundles.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil || bundle.TrustDomain() != id.TrustDomain() {
		return Peer{}, errBundle
	}
	s, err := verifyChain(shown, bundle.X509Authorities(), now)
	if err != nil {
		return Peer{}, err
	}
	p.remember(peer.leaf, &proof{id, s})
	peer.id = id
	return peer, nil
}

// remember keeps a proof in a new map: the old one is being read.
func (p *Peers) remember(leaf thumbprint, found *proof) {
	p.mu.Lock()
	defer p.mu.Unlock()
	old := *p.proven.Load()
	next := make(map[thumbprint]*proof, len(old)+1)
	if len(old) < maxProofs {
		maps.Copy(next, old)
	}
	next[leaf] = found
	p.proven.Store(&next)
}
