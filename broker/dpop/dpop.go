package dpop

import (
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"slices"
	"time"

	"github.com/cambist/cambist/broker/jws"
)

// Limits of a proof. It comes with a key of its maker's choice, so its size and
// the cost of that key are bounded here.
const (
	MaxBytes   = 8 << 10
	maxRSABits = 4096
	maxDepth   = 8
	maxID      = 256 // bytes of a jti
)

// The window of iat (standards DP-4): how old a proof may be, and how far ahead
// its maker's clock. A wide window ahead is what proofs made in advance need.
const (
	maxAge   = 60 * time.Second
	maxAhead = 5 * time.Second
)

const mediaType = "dpop+jwt"

// Algorithms returns those that proofs may be signed with, as metadata and
// challenges list them.
func Algorithms() []jws.Algorithm {
	return []jws.Algorithm{jws.ES256, jws.EdDSA, jws.Ed25519, jws.PS256, jws.RS256}
}

// Verifier verifies proofs. It is safe for use by many goroutines; those that
// guard one service share one, so that a proof is good once among them.
type Verifier struct {
	replays *Replays
	nonces  *Nonces // nil: none is demanded
}

// New returns a Verifier that remembers proofs in r. With nonces every proof
// must carry one of them.
func New(r *Replays, n *Nonces) *Verifier { return &Verifier{replays: r, nonces: n} }

// Nonce returns the nonce for the next proof of whoever is answered, "" if none
// is demanded.
func (v *Verifier) Nonce(at time.Time) string {
	if v.nonces == nil {
		return ""
	}
	return v.nonces.At(at)
}

// Request is what a proof is held against: the request that it came with, as
// the server knows it.
type Request struct {
	At     time.Time
	Method string
	// URLs are those by which clients reach what was asked for, from the
	// configuration: what Host and X-Forwarded-* say is written by the client.
	URLs []string
	// Token is the access token that the proof is for, and Key the RFC 7638
	// thumbprint that it is bound to; both "" at the token endpoint.
	Token, Key string
}

// Proof is a verified proof.
type Proof struct {
	Key string // RFC 7638 thumbprint of the key that the client holds
	ID  string // jti
}

// claims are the claims of a proof (RFC 9449 section 4.2).
type claims struct {
	ID       string          `json:"jti"`
	Method   string          `json:"htm"`
	URL      string          `json:"htu"`
	IssuedAt jws.NumericDate `json:"iat"`
	Token    string          `json:"ath"`
	Nonce    string          `json:"nonce"`
}

// Verify verifies the one proof of a request (RFC 9449 section 4.3). It takes
// every value that the DPoP header has. Errors are *Error. Its work is bounded:
// one signature, by a key of at most 4096 bits, over at most MaxBytes. A proof
// that is accepted is remembered, and refused from then on.
func (v *Verifier) Verify(headers []string, r Request) (Proof, error) {
	token, key, refused := parse(headers)
	if refused != nil {
		return Proof{}, refused
	}
	thumbprint, err := jws.Thumbprint(key.Public())
	switch {
	case err != nil:
		return Proof{}, refuse(ReasonKey, err)
	case r.Key != "" && r.Key != thumbprint: // a stranger's key costs no signature
		return Proof{}, refuse(ReasonHolder, nil)
	}
	payload, err := token.VerifyPayload(key)
	if err != nil {
		return Proof{}, refuse(ReasonSignature, nil)
	}
	var c claims
	if err := jws.DecodeClaims(payload, &c, maxDepth); err != nil {
		return Proof{}, refuse(ReasonClaims, err)
	}
	if refused := c.check(&r); refused != nil {
		return Proof{}, refused
	}
	if v.nonces != nil && !v.nonces.holds(c.Nonce, r.At) {
		return Proof{}, refuse(ReasonNonce, nil)
	}
	if refused := v.once(thumbprint, &c, r.At); refused != nil {
		return Proof{}, refused
	}
	return Proof{Key: thumbprint, ID: c.ID}, nil
}

// parse returns the one proof and the key in it, nothing of which is verified.
func parse(headers []string) (jws.Token, jws.Key, *Error) {
	none := func(r Reason, cause error) (jws.Token, jws.Key, *Error) {
		return jws.Token{}, jws.Key{}, refuse(r, cause)
	}
	switch {
	case len(headers) == 0:
		return none(ReasonMissing, nil)
	case len(headers) > 1:
		return none(ReasonSeveral, nil)
	case len(headers[0]) > MaxBytes:
		return none(ReasonMalformed, jws.ErrTooLarge)
	}
	token, key, err := jws.ParseWithKey(headers[0])
	switch {
	case errors.Is(err, jws.ErrKey), errors.Is(err, jws.ErrPrivateKey):
		return none(ReasonKey, err)
	case errors.Is(err, jws.ErrAlgorithm):
		return none(ReasonAlgorithm, nil)
	case err != nil:
		return none(ReasonMalformed, err)
	case jws.MediaType(token.Header().Type) != mediaType:
		return none(ReasonType, nil)
	case !slices.Contains(Algorithms(), token.Header().Algorithm):
		return none(ReasonAlgorithm, nil)
	}
	if k, ok := key.Public().(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
		return none(ReasonKey, errRSA)
	}
	return token, key, nil
}

// check holds the claims against the request.
func (c *claims) check(r *Request) *Error {
	issued, now := int64(c.IssuedAt), r.At.Unix()
	switch {
	case c.ID == "" || len(c.ID) > maxID || c.Method == "" || c.URL == "" || issued == 0:
		return refuse(ReasonClaims, nil)
	case c.Method != r.Method:
		return refuse(ReasonRequest, errMethod)
	case !same(c.URL, r.URLs):
		return refuse(ReasonRequest, errURL)
	case issued < now-int64(maxAge/time.Second):
		return refuse(ReasonTime, errOld)
	case issued > now+int64(maxAhead/time.Second):
		return refuse(ReasonTime, errFuture)
	case r.Token != "" && c.Token != TokenHash(r.Token):
		return refuse(ReasonToken, nil)
	}
	return nil
}

// once remembers the proof by its key, its request and its jti until it would be
// too old anyway. The jti stands last, so nothing in it can be taken for another
// part.
func (v *Verifier) once(key string, c *claims, at time.Time) *Error {
	id := sha256.Sum256([]byte(key + "\x00" + c.Method + "\x00" + c.URL + "\x00" + c.ID))
	end := time.Unix(int64(c.IssuedAt), 0).Add(maxAge + time.Second)
	switch err := v.replays.Use(id, at, end); {
	case errors.Is(err, ErrFull):
		return refuse(ReasonOverloaded, nil)
	case err != nil:
		return refuse(ReasonReplayed, nil)
	}
	return nil
}

// TokenHash returns the ath of an access token (RFC 9449 section 4.2).
func TokenHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}
