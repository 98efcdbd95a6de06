package dpop

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
)

// A nonce is its time in seconds and a part of the MAC over that: nobody can make
// one in advance, and no server has to remember any. It is good for nonceLife;
// a server whose clock is ahead may have made it.
const (
	nonceKeyBytes = 32
	nonceMACBytes = 16
	nonceLife     = 5 * time.Minute
	nonceLabel    = "cambist dpop nonce\x00"
)

var errNonceKey = errors.New("dpop: the key of nonces is not 32 bytes long")

// Nonces makes and checks the nonces of RFC 9449 section 8. Servers with one key
// accept each other's.
type Nonces struct {
	mac func(at uint64) []byte // a closure, because fmt would print the key in a field
}

// NewNonces returns the nonces of a key of 32 random bytes.
func NewNonces(key []byte) (*Nonces, error) {
	if len(key) != nonceKeyBytes {
		return nil, errNonceKey
	}
	own := [nonceKeyBytes]byte(key)
	return &Nonces{mac: func(at uint64) []byte {
		h := hmac.New(sha256.New, own[:])
		h.Write(binary.BigEndian.AppendUint64([]byte(nonceLabel), at))
		return h.Sum(nil)[:nonceMACBytes]
	}}, nil
}

// At returns the nonce of a time.
func (n *Nonces) At(at time.Time) string {
	seconds := uint64(at.Unix()) //nolint:gosec // compared as the same bits
	return base64.RawURLEncoding.EncodeToString(append(binary.BigEndian.AppendUint64(nil, seconds), n.mac(seconds)...))
}

// holds reports whether text is a nonce of ours that is still good.
func (n *Nonces) holds(text string, now time.Time) bool {
	if len(text) != base64.RawURLEncoding.EncodedLen(8+nonceMACBytes) {
		return false
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(raw) != 8+nonceMACBytes {
		return false
	}
	seconds := binary.BigEndian.Uint64(raw)
	if !hmac.Equal(raw[8:], n.mac(seconds)) {
		return false
	}
	made := time.Unix(int64(seconds), 0) //nolint:gosec // it is ours, so it was a time
	return now.Sub(made) <= nonceLife && made.Sub(now) <= maxAhead
}
