package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
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
			return rsa.VerifyPSS(public, k.algorithm.hash(), digest, signature, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}) == nil
		}
		return rsa.VerifyPKCS1v15(public, k.algorithm.hash(), digest, signature) == nil
	}
	return false
}

// Signer signs with one private key for one algorithm. It is safe for use by
// many goroutines.
type Signer struct {
	key     Key
	private crypto.Signer
}

// NewSigner binds a private key of crypto/ecdsa, crypto/ed25519 or crypto/rsa
// to a key ID and an algorithm. ErrKey if they do not go together.
func NewSigner(id string, a Algorithm, private crypto.Signer) (*Signer, error) {
	switch private.(type) {
	case *ecdsa.PrivateKey, ed25519.PrivateKey, *rsa.PrivateKey:
	default:
		return nil, ErrKey
	}
	key, err := NewKey(id, a, private.Public())
	if err != nil {
		return nil, err
	}
	return &Signer{key: key, private: private}, nil
}

// Key returns the public key.
func (s *Signer) Key() Key { return s.key }

// Sign returns the signature of a signing input. ECDSA is randomised: a fault
// in a deterministic one gives the key away.
func (s *Signer) Sign(input []byte) ([]byte, error) {
	a := s.key.algorithm
	digest := a.digest(input)
	switch private := s.private.(type) {
	case *ecdsa.PrivateKey:
		r, t, err := ecdsa.Sign(rand.Reader, private, digest)
		if err != nil {
			return nil, fmt.Errorf("sign: %w", err)
		}
		size := (private.Curve.Params().BitSize + 7) / 8
		signature := make([]byte, 2*size)
		r.FillBytes(signature[:size])
		t.FillBytes(signature[size:])
		return signature, nil
	case ed25519.PrivateKey:
		return ed25519.Sign(private, digest), nil
	case *rsa.PrivateKey:
		if a.pss() {
			return rsa.SignPSS(rand.Reader, private, a.hash(), digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
		return rsa.SignPKCS1v15(nil, private, a.hash(), digest)
	}
	return nil, ErrKey
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
// alg, kid and typ, a dot, the payload. kid and typ must be plain ASCII without
// quotes, as thumbprints and media types are.
func AppendInput(dst []byte, typ, kid string, a Algorithm, payload []byte) []byte {
	header := make([]byte, 0, 128)
	header = append(header, `{"alg":"`...)
	header = append(header, a...)
	header = append(header, `","kid":"`...)
	header = append(header, kid...)
	header = append(header, `","typ":"`...)
	header = append(header, typ...)
	header = append(header, `"}`...)
	dst = base64.RawURLEncoding.AppendEncode(dst, header)
	dst = append(dst, '.')
	return base64.RawURLEncoding.AppendEncode(dst, payload)
}

// AppendToken appends the compact token: input, dot, signature.
func AppendToken(dst, input, signature []byte) []byte {
	dst = append(dst, input...)
	dst = append(dst, '.')
	return base64.RawURLEncoding.AppendEncode(dst, signature)
}

// Thumbprint returns the RFC 7638 SHA-256 thumbprint of a public key, which is
// the kid of every key of ours. ErrKey for a key of another kind.
func Thumbprint(public crypto.PublicKey) (string, error) {
	members, err := publicMembers(public)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256([]byte("{" + members + "}"))
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}

// CertificateThumbprint returns the x5t#S256 of a certificate in DER (RFC 8705
// section 3.1).
func CertificateThumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// publicMembers returns the required members of the JWK, sorted by name, as RFC
// 7638 hashes them and as a key set prints them.
func publicMembers(public crypto.PublicKey) (string, error) {
	encode := base64.RawURLEncoding.EncodeToString
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		point, err := k.Bytes() // 4, x, y
		if err != nil {
			return "", ErrKey
		}
		half := (len(point) - 1) / 2
		return `"crv":"` + k.Curve.Params().Name + `","kty":"EC","x":"` + encode(point[1:1+half]) + `","y":"` + encode(point[1+half:]) + `"`, nil
	case ed25519.PublicKey:
		return `"crv":"Ed25519","kty":"OKP","x":"` + encode(k) + `"`, nil
	case *rsa.PublicKey:
		return `"e":"` + encode(big.NewInt(int64(k.E)).Bytes()) + `","kty":"RSA","n":"` + encode(k.N.Bytes()) + `"`, nil
	}
	return "", ErrKey
}
