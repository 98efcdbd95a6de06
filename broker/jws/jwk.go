package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"math/big"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// jwk is what is read of a JWK (RFC 7517 section 4). Certificates in it (x5c,
// x5t, x5u) are not looked at: nothing here trusts them, and a certificate that
// Go cannot parse must not cost the key.
type jwk struct {
	Kty    string    `json:"kty"`
	Kid    string    `json:"kid"`
	Use    string    `json:"use"`
	KeyOps []string  `json:"key_ops"`
	Alg    Algorithm `json:"alg"`
	Crv    string    `json:"crv"`
	X      string    `json:"x"`
	Y      string    `json:"y"`
	N      string    `json:"n"`
	E      string    `json:"e"`
}

// holdsPrivate reports whether an entry has a member that only a private or a
// symmetric key has (RFC 7518 sections 6.2.2, 6.3.2 and 6.4; priv is that of
// AKP keys), whatever its value and whatever else is wrong with the entry.
func holdsPrivate(entry []byte) (bool, error) {
	var members map[string]jsontext.Value
	if err := json.Unmarshal(entry, &members); err != nil {
		return false, err
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		if _, ok := members[name]; ok {
			return true, nil
		}
	}
	return false, nil
}

// keys returns the entry as keys, one for each allowed algorithm that it may be
// used with: an RSA key without alg has several.
func (j *jwk) keys(allowed []Algorithm) ([]Key, error) {
	if j.Use != "" && j.Use != "sig" || j.KeyOps != nil && !slices.Contains(j.KeyOps, "verify") {
		return nil, errors.New("not for signatures")
	}
	public, candidates, err := j.public()
	if err != nil {
		return nil, err
	}
	var keys []Key
	for _, a := range candidates {
		if j.Alg != "" && j.Alg != a || !slices.Contains(allowed, a) {
			continue
		}
		k, err := NewKey(j.Kid, a, public)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("for no algorithm that is allowed")
	}
	return keys, nil
}

// public reads the key and says which algorithms its kind goes with. Sizes that
// the curve fixes are checked here, everything else in NewKey.
func (j *jwk) public() (crypto.PublicKey, []Algorithm, error) {
	malformed := errors.New("not well formed")
	switch {
	case j.Kty == "EC":
		for _, a := range []Algorithm{ES256, ES384, ES512} {
			if curve := a.curve(); curve.Params().Name == j.Crv {
				public, err := j.point(curve)
				if err != nil {
					return nil, nil, malformed
				}
				return public, []Algorithm{a}, nil
			}
		}
	case j.Kty == "OKP" && j.Crv == "Ed25519":
		x, err := strictBase64.DecodeString(j.X)
		if err != nil {
			return nil, nil, malformed
		}
		return ed25519.PublicKey(x), []Algorithm{EdDSA, Ed25519}, nil
	case j.Kty == "RSA":
		n, err := strictBase64.DecodeString(j.N)
		if err != nil {
			return nil, nil, malformed
		}
		e, err := strictBase64.DecodeString(j.E)
		if err != nil || len(e) > 4 {
			return nil, nil, malformed
		}
		public := &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}
		return public, []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512}, nil
	}
	return nil, nil, errors.New("of an unknown kind")
}

// point returns the EC key: both coordinates at full length (RFC 7518 section
// 6.2.1.2) and on the curve.
func (j *jwk) point(curve elliptic.Curve) (*ecdsa.PublicKey, error) {
	size := (curve.Params().BitSize + 7) / 8
	x, errX := strictBase64.DecodeString(j.X)
	y, errY := strictBase64.DecodeString(j.Y)
	if errX != nil || errY != nil || len(x) != size || len(y) != size {
		return nil, ErrKey
	}
	return ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
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
