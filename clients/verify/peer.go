package verify

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Peer is what the connection of a request proved of who is at its other end:
// the SPIFFE ID of a workload, the certificate whose key it holds, or both. Its
// zero value proves nothing. Peers makes one of a TLS connection; NewPeer is for
// proofs that were made elsewhere.
type Peer struct {
	id      spiffeid.ID
	leaf    thumbprint
	hasLeaf bool
}

// thumbprint is the SHA-256 of a certificate in DER (RFC 8705 section 3.1).
type thumbprint [sha256.Size]byte

var errPeer = errors.New("a peer needs the SPIFFE ID of a workload, or an x5t#S256 thumbprint, or both")

// NewPeer returns a peer that something else has proven: a service mesh, a proxy
// in front. Whoever calls it vouches that the client of the request could not
// have written id or x5t by itself. Either may be absent, not both; x5t is the
// x5t#S256 of the client's certificate.
func NewPeer(id spiffeid.ID, x5t string) (Peer, error) {
	if id.IsZero() && x5t == "" || !id.IsZero() && !workload(id.String()) {
		return Peer{}, errPeer
	}
	p := Peer{id: id}
	if x5t != "" {
		if p.leaf, p.hasLeaf = parseThumbprint(x5t); !p.hasLeaf {
			return Peer{}, errPeer
		}
	}
	return p, nil
}

// ID returns the SPIFFE ID, zero if none is proven.
func (p Peer) ID() spiffeid.ID { return p.id }

// IsZero reports whether nothing is proven.
func (p Peer) IsZero() bool { return p == Peer{} }

// parseThumbprint reads a SHA-256 in base64url in the one form it has: 43
// characters, no padding, no loose bits (standards MT-5).
func parseThumbprint(text string) (t thumbprint, ok bool) {
	if len(text) != base64.RawURLEncoding.EncodedLen(len(t)) {
		return thumbprint{}, false
	}
	n, err := base64.RawURLEncoding.Strict().Decode(t[:], []byte(text))
	if err != nil || n != len(t) {
		return thumbprint{}, false
	}
	return t, true
}

const maxSPIFFEID = 2048 // bytes: SPIFFE-ID section 2.3

// workload reports whether text is the canonical SPIFFE ID of a workload: one
// with a path, which a trust domain alone does not have.
func workload(text string) bool {
	id, err := spiffeid.FromString(text)
	return err == nil && id.Path() != "" && len(text) <= maxSPIFFEID
}
