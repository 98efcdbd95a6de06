package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// verify reports whether signature is one of the input by this key. An ECDSA
// signature is r and s at their full length and nothing else (RFC 7518 section
// 3.4): DER is refused.
func (k Key) verify(input, signature []byte) bool {
	digest := k.algorithm.digest(input)
	switch public := k.public.(type) {
	case *ecdsa.PublicKey:
		size := (public.Curve.Params().BitSize + 7) / 8
		if len(signature) != 2*size {
			return false
		}
		r, s := new(big.Int).SetBytes(signature[:size]), new(big.Int).SetBytes(signature[size:])
		return ecdsa.Verify(public, digest, r, s)
	case ed25519.PublicKey:
		return ed25519.Verify(public, digest, signature)
	case *rsa.PublicKey:
		if k.algorithm.pss() {
			return rsa.VerifyPSS(public, k.algorithm.hash(), digest, signature, pssOptions(k.algorithm)) == nil
		}
		return rsa.VerifyPKCS1v15(public, k.algorithm.hash(), digest, signature) == nil
	}
	return false
}

// pssOptions fixes the salt at the length of the hash (RFC 7518 section 3.5).
func pssOptions(a Algorithm) *rsa.PSSOptions {
	return &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: a.hash()}
}

// options says to a crypto.Signer what the algorithm is.
func (a Algorithm) options() crypto.SignerOpts {
	if a.pss() {
		return pssOptions(a)
	}
	return a.hash()
}

// Signer signs with one private key for one algorithm. It is safe for use by
// many goroutines.
type Signer struct {
	key     Key
	private *crypto.Signer // behind a pointer, so that no fmt verb prints an Ed25519 key
}

// NewSigner binds a private key to a key ID and an algorithm. ErrKey if they do
// not go together. A key that is not in this process, behind a KMS for instance,
// is any other crypto.Signer; every signature of such a one is verified before
// it leaves Sign.
func NewSigner(id string, a Algorithm, private crypto.Signer) (*Signer, error) {
	missing := false
	switch k := private.(type) {
	case nil:
		missing = true
	case *ecdsa.PrivateKey:
		missing = k == nil
	case *rsa.PrivateKey:
		missing = k == nil
	case ed25519.PrivateKey:
		missing = len(k) != ed25519.PrivateKeySize
	}
	if missing {
		return nil, ErrKey
	}
	key, err := NewKey(id, a, private.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, private: &private}, nil
}

// Key returns the public key.
func (s *Signer) Key() Key { return s.key }

// Sign returns the signature of a signing input. ECDSA is randomised: a fault
// in a deterministic one gives the key away.
func (s *Signer) Sign(input []byte) ([]byte, error) {
	a := s.key.algorithm
	digest := a.digest(input)
	switch private := (*s.private).(type) {
	case *ecdsa.PrivateKey:
		r, t, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		return appendPair(nil, r, t, private.Curve), nil
	case ed25519.PrivateKey:
		return ed25519.Sign(private, digest), nil
	case *rsa.PrivateKey:
		return private.Sign(rand.Reader, digest, a.options())
	}
	return s.signAway(input, digest)
}

// signAway signs with a key that is somewhere else. What comes back is checked:
// a fault there, or a key that is not the one it says, must not reach a caller.
func (s *Signer) signAway(input, digest []byte) ([]byte, error) {
	signature, err := (*s.private).Sign(rand.Reader, digest, s.key.algorithm.options())
	if err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	if public, ok := s.key.public.(*ecdsa.PublicKey); ok {
		var pair struct{ R, S *big.Int }
		if rest, err := asn1.Unmarshal(signature, &pair); err != nil || len(rest) > 0 || !fits(pair.R, public.Curve) || !fits(pair.S, public.Curve) {
			return nil, ErrSignature
		}
		signature = appendPair(nil, pair.R, pair.S, public.Curve)
	}
	if !s.key.verify(input, signature) {
		return nil, ErrSignature
	}
	return signature, nil
}

func fits(n *big.Int, curve elliptic.Curve) bool {
	return n.Sign() > 0 && n.BitLen() <= curve.Params().BitSize
}

// appendPair appends r and s at the full length of the curve (RFC 7518 section
// 3.4).
func appendPair(dst []byte, r, s *big.Int, curve elliptic.Curve) []byte {
	size := (curve.Params().BitSize + 7) / 8
	dst = append(dst, make([]byte, 2*size)...)
	pair := dst[len(dst)-2*size:]
	r.FillBytes(pair[:size])
	s.FillBytes(pair[size:])
	return dst
}

// SelfTest signs and verifies once: what a key must pass before it may be used.
func (s *Signer) SelfTest() error {
	input := []byte("cambist self test")
	signature, err := s.Sign(input)
	if err != nil {
		return err
	}
	if !s.key.verify(input, signature) {
		return errors.New("self test: the key does not verify what it signed")
	}
	return nil
}

// AppendInput appends a signing input (RFC 7515 section 5.1): the header with
// alg and kid of this key and the typ, a dot, the payload. A kid or typ of "" is
// left out. It is a method so that no header names another key or algorithm
// than the one that signs.
func (s *Signer) AppendInput(dst []byte, typ string, payload []byte) []byte {
	header := make([]byte, 0, 128)
	header = append(header, `{"alg":"`...)
	header = append(header, s.key.algorithm...)
	header = append(header, '"')
	header = appendMember(header, "kid", s.key.id)
	header = appendMember(header, "typ", typ)
	header = append(header, '}')
	dst = base64.RawURLEncoding.AppendEncode(dst, header)
	dst = append(dst, '.')
	return base64.RawURLEncoding.AppendEncode(dst, payload)
}

// appendMember appends a header member. Its value is quoted, so that no kid can
// add a member of its own; what is not UTF-8 becomes U+FFFD and matches no key.
func appendMember(header []byte, name, value string) []byte {
	if value == "" {
		return header
	}
	header = append(header, `,"`...)
	header = append(header, name...)
	header = append(header, `":`...)
	header, _ = jsontext.AppendQuote(header, value)
	return header
}

// AppendToken appends the compact token: input, dot, signature.
func AppendToken(dst, input, signature []byte) []byte {
	dst = slices.Grow(dst, len(input)+1+base64.RawURLEncoding.EncodedLen(len(signature)))
	dst = append(dst, input...)
	dst = append(dst, '.')
	return base64.RawURLEncoding.AppendEncode(dst, signature)
}
