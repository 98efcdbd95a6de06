package jws

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Limits of a key set from outside (standards JK-7).
const (
	MaxKeySetBytes = 256 << 10
	maxSetKeys     = 64
)

// What makes a whole key set unacceptable. A key that merely cannot be used is
// skipped and reported instead (standards JK-6).
var (
	ErrKeySet     = errors.New("key set is not acceptable")
	ErrPrivateKey = errors.New("key set holds a private key")
)

// KeySet is a set of public keys. The zero value is empty.
type KeySet struct{ keys []Key }

// NewKeySet returns the set of the given keys.
func NewKeySet(keys ...Key) KeySet { return KeySet{keys: keys} }

// Len returns how many keys there are; a key that may be used with two
// algorithms counts twice.
func (s KeySet) Len() int { return len(s.keys) }

// Lookup returns the key with that ID for that algorithm. A token without a kid
// finds a key only if exactly one in the set is for its algorithm.
func (s KeySet) Lookup(id string, a Algorithm) (Key, bool) {
	var found Key
	n := 0
	for _, k := range s.keys {
		if k.algorithm == a && (id == "" || k.id == id) {
			found = k
			n++
		}
	}
	if n != 1 {
		return Key{}, false
	}
	return found, true
}

// jwk is what is read of a JWK before go-jose reads the key itself.
type jwk struct {
	Kty string         `json:"kty"`
	Kid string         `json:"kid"`
	Use string         `json:"use"`
	Alg Algorithm      `json:"alg"`
	Crv string         `json:"crv"`
	D   jsontext.Value `json:"d"`
	P   jsontext.Value `json:"p"`
	Q   jsontext.Value `json:"q"`
	DP  jsontext.Value `json:"dp"`
	DQ  jsontext.Value `json:"dq"`
	QI  jsontext.Value `json:"qi"`
	K   jsontext.Value `json:"k"`
}

func (j *jwk) private() bool {
	return len(j.D)+len(j.P)+len(j.Q)+len(j.DP)+len(j.DQ)+len(j.QI)+len(j.K) > 0
}

// ParseKeySet reads a JWK Set (RFC 7517 section 5) and keeps the keys that can
// verify one of the allowed algorithms. Skipped says why others were left out;
// it is for people. A set with a private key, a duplicate kid, duplicate
// members or too many keys is refused whole.
func ParseKeySet(body []byte, allowed []Algorithm) (set KeySet, skipped []error, err error) {
	if len(body) > MaxKeySetBytes {
		return KeySet{}, nil, fmt.Errorf("%w: too large", ErrKeySet)
	}
	var raw struct {
		Keys []jsontext.Value `json:"keys"`
	}
	if err := DecodeClaims(body, &raw, 8); err != nil {
		return KeySet{}, nil, fmt.Errorf("%w: %w", ErrKeySet, err)
	}
	if len(raw.Keys) > maxSetKeys {
		return KeySet{}, nil, fmt.Errorf("%w: more than %d keys", ErrKeySet, maxSetKeys)
	}
	seen := map[string]bool{}
	for i, entry := range raw.Keys {
		var j jwk
		if err := json.Unmarshal(entry, &j); err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: not a JWK", i))
			continue
		}
		if j.private() {
			return KeySet{}, nil, ErrPrivateKey
		}
		if j.Kid != "" && seen[j.Kid] {
			return KeySet{}, nil, fmt.Errorf("%w: a kid stands there twice", ErrKeySet)
		}
		seen[j.Kid] = true
		keys, err := j.keys(entry, allowed)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		set.keys = append(set.keys, keys...)
	}
	return set, skipped, nil
}

// keys returns the entry as keys, one for each allowed algorithm that it may be
// used with: an RSA key without alg has several.
func (j *jwk) keys(entry []byte, allowed []Algorithm) ([]Key, error) {
	if j.Use != "" && j.Use != "sig" {
		return nil, errors.New("not for signatures")
	}
	var parsed jose.JSONWebKey
	if err := parsed.UnmarshalJSON(entry); err != nil {
		return nil, errors.New("unknown kind, or not well formed")
	}
	var candidates []Algorithm
	switch public := parsed.Key.(type) {
	case *ecdsa.PublicKey:
		for _, a := range []Algorithm{ES256, ES384, ES512} {
			if public.Curve == a.curve() {
				candidates = append(candidates, a)
			}
		}
	case ed25519.PublicKey:
		candidates = []Algorithm{EdDSA, Ed25519}
	case *rsa.PublicKey:
		candidates = []Algorithm{RS256, RS384, RS512, PS256, PS384, PS512}
	}
	var keys []Key
	for _, a := range candidates {
		if j.Alg != "" && j.Alg != a || !slices.Contains(allowed, a) {
			continue
		}
		k, err := NewKey(j.Kid, a, parsed.Key)
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

// MarshalKeySet prints the keys as a JWK Set, in the order given: public members,
// kid, use and alg, nothing else.
func MarshalKeySet(keys []Key) ([]byte, error) {
	body := []byte(`{"keys":[`)
	for i, k := range keys {
		members, err := publicMembers(k.public)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			body = append(body, ',')
		}
		id, err := jsontext.AppendQuote(nil, k.id)
		if err != nil {
			return nil, fmt.Errorf("key set: kid: %w", err)
		}
		body = append(body, '{')
		body = append(body, members...)
		body = append(body, `,"kid":`...)
		body = append(body, id...)
		body = append(body, `,"use":"sig","alg":"`...)
		body = append(body, k.algorithm...)
		body = append(body, `"}`...)
	}
	return append(body, "]}"...), nil
}
