package jws

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ParseWithKey parses a compact JWS whose header carries the key that signed it,
// as a DPoP proof does (RFC 9449 section 4.2) and nothing else may. The token is
// not verified yet, and when it is, with that key, it proves that somebody holds
// the key: whose it is must be known from elsewhere. ErrPrivateKey if the jwk has
// a private member, ErrKey if it is missing or not a key of the algorithm.
func ParseWithKey(compact string) (Token, Key, error) {
	var embedded jsontext.Value
	t, err := parse(compact, &embedded)
	if err != nil {
		return Token{}, Key{}, err
	}
	if embedded == nil {
		return Token{}, Key{}, fmt.Errorf("%w: no jwk", ErrKey)
	}
	if private, err := holdsPrivate(embedded); err != nil || private {
		return Token{}, Key{}, ErrPrivateKey
	}
	var j jwk
	if err := json.Unmarshal(embedded, &j); err != nil {
		return Token{}, Key{}, fmt.Errorf("%w: not a JWK", ErrKey)
	}
	keys, err := j.keys([]Algorithm{t.header.Algorithm})
	if err != nil {
		return Token{}, Key{}, fmt.Errorf("%w: %w", ErrKey, err)
	}
	return t, keys[0], nil
}
