package jws

import (
	"errors"
	"fmt"
	"slices"

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
	ErrPrivateKey = errors.New("a private key stands where a public one belongs")
)

// KeySet is a set of public keys. The zero value is empty.
type KeySet struct{ keys []Key }

// NewKeySet returns the set of the given keys.
func NewKeySet(keys ...Key) KeySet { return KeySet{keys: slices.Clone(keys)} }

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

// ParseKeySet reads a JWK Set (RFC 7517 section 5) and keeps the keys that can
// verify one of the allowed algorithms. Skipped says why others were left out;
// it is for people. A set with a private key is ErrPrivateKey; one with a
// duplicate kid, a duplicate member, too many keys or no member keys is
// ErrKeySet: both are refused whole. The set may come out empty; whether that
// replaces one that was good is the caller's to say.
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
	if raw.Keys == nil {
		return KeySet{}, nil, fmt.Errorf("%w: no keys member", ErrKeySet)
	}
	if len(raw.Keys) > maxSetKeys {
		return KeySet{}, nil, fmt.Errorf("%w: more than %d keys", ErrKeySet, maxSetKeys)
	}
	seen := map[string]bool{}
	for i, entry := range raw.Keys {
		private, err := holdsPrivate(entry)
		if private {
			return KeySet{}, nil, ErrPrivateKey
		}
		var j jwk
		if err != nil || json.Unmarshal(entry, &j) != nil {
			skipped = append(skipped, fmt.Errorf("key %d: not a JWK", i))
			continue
		}
		if j.Kid != "" && seen[j.Kid] {
			return KeySet{}, nil, fmt.Errorf("%w: a kid stands there twice", ErrKeySet)
		}
		seen[j.Kid] = true
		keys, err := j.keys(allowed)
		if err != nil {
			skipped = append(skipped, fmt.Errorf("key %d: %w", i, err))
			continue
		}
		set.keys = append(set.keys, keys...)
	}
	return set, skipped, nil
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
