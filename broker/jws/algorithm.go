package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.SHA256
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"errors"
	"math"
	"slices"
)

// Algorithm is a JWS algorithm (RFC 7518 section 3.1, RFC 8037, RFC 9864). Only
// asymmetric ones exist here; "none" and HS256 are not even words.
type Algorithm string

// The algorithms. EdDSA and Ed25519 are two names of one; which of them a key
// answers to is said when the key is made.
const (
	ES256   Algorithm = "ES256"
	ES384   Algorithm = "ES384"
	ES512   Algorithm = "ES512"
	EdDSA   Algorithm = "EdDSA"
	Ed25519 Algorithm = "Ed25519"
	RS256   Algorithm = "RS256"
	RS384   Algorithm = "RS384"
	RS512   Algorithm = "RS512"
	PS256   Algorithm = "PS256"
	PS384   Algorithm = "PS384"
	PS512   Algorithm = "PS512"
)

// Bounds of RSA keys: below is weak, above burns the verifier's time.
const (
	minRSABits = 2048
	maxRSABits = 8192
)

// Known reports whether the algorithm is one of the list, letter by letter.
func (a Algorithm) Known() bool { return a.family() != "" }

// family returns the JWK kty of the algorithm's keys, "" if it is unknown.
func (a Algorithm) family() string {
	switch a {
	case ES256, ES384, ES512:
		return "EC"
	case EdDSA, Ed25519:
		return "OKP"
	case RS256, RS384, RS512, PS256, PS384, PS512:
		return "RSA"
	}
	return ""
}

func (a Algorithm) pss() bool { return a == PS256 || a == PS384 || a == PS512 }

func (a Algorithm) hash() crypto.Hash {
	switch a {
	case ES384, RS384, PS384:
		return crypto.SHA384
	case ES512, RS512, PS512:
		return crypto.SHA512
	case EdDSA, Ed25519:
		return 0
	}
	return crypto.SHA256
}

func (a Algorithm) curve() elliptic.Curve {
	switch a {
	case ES256:
		return elliptic.P256()
	case ES384:
		return elliptic.P384()
	case ES512:
		return elliptic.P521()
	}
	return nil
}

// digest returns what is signed: the hash of the input, or the input itself
// for Ed25519.
func (a Algorithm) digest(input []byte) []byte {
	h := a.hash()
	if h == 0 {
		return input
	}
	w := h.New()
	w.Write(input)
	return w.Sum(nil)
}

// ErrKey says that a key is not one that its algorithm may use: another type or
// curve, too short, too long.
var ErrKey = errors.New("key does not fit the algorithm")

// Key is a public key bound to one key ID and one algorithm. NewKey is the way
// to one; the zero value verifies nothing.
type Key struct {
	id        string
	algorithm Algorithm
	public    crypto.PublicKey
}

// NewKey binds a public key to a key ID and an algorithm. ErrKey if they do not
// go together.
func NewKey(id string, a Algorithm, public crypto.PublicKey) (Key, error) {
	ok := false
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if a.family() == "EC" && k != nil && k.Curve == a.curve() && k.X != nil && k.Y != nil { //nolint:staticcheck // a key made by hand may have no point, and Bytes would panic
			_, err := k.Bytes() // refuses a point off the curve
			ok = err == nil
		}
	case ed25519.PublicKey:
		ok = a.family() == "OKP" && len(k) == ed25519.PublicKeySize
		public = slices.Clone(k)
	case *rsa.PublicKey:
		ok = a.family() == "RSA" && k != nil && soundRSA(k)
	}
	if !ok {
		return Key{}, ErrKey
	}
	return Key{id: id, algorithm: a, public: public}, nil
}

// soundRSA reports whether size, modulus and exponent are ones that a verifier
// can work with in bounded time.
func soundRSA(k *rsa.PublicKey) bool {
	return k.N != nil && k.N.Sign() > 0 && k.N.Bit(0) == 1 && k.N.BitLen() >= minRSABits && k.N.BitLen() <= maxRSABits &&
		k.E > 2 && k.E%2 == 1 && k.E <= math.MaxInt32
}

// ID returns the key ID.
func (k Key) ID() string { return k.id }

// Algorithm returns the one algorithm that the key is for.
func (k Key) Algorithm() Algorithm { return k.algorithm }

// Public returns the public key; it must not be changed.
func (k Key) Public() crypto.PublicKey { return k.public }
