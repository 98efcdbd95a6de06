package jws

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ErrClaims says that a payload is not an acceptable JSON object.
var ErrClaims = errors.New("token claims are not acceptable")

const maxMembers = 256

// countingClaims are the names that mean something to us: a case variant of
// one, beside it or instead of it, is refused, because some other reader of the
// same token would take it for the real one (standards HX-12, JW-8).
var countingClaims = [...]string{
	"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "scp", "client_id", "act", "may_act", "cnf", "azp", "sub_id",
	"txn", "anc", "presenters", "rev", "typ", "nonce", "keys",
}

// DecodeClaims reads a payload into a struct. It refuses anything but one JSON
// object in valid UTF-8, without a duplicate name at any level, without a case
// variant of a name that counts, at most maxDepth deep, at most 256 members to
// an object. The check runs first and without recursion, so a payload 20 000
// deep costs nothing. Errors wrap ErrClaims and hold nothing of the payload.
func DecodeClaims(payload []byte, into any, maxDepth int) error {
	if err := check(payload, maxDepth); err != nil {
		return err
	}
	if err := json.Unmarshal(payload, into); err != nil {
		var semantic *json.SemanticError
		if errors.As(err, &semantic) {
			return fmt.Errorf("%w: a member has the wrong type", ErrClaims)
		}
		return ErrClaims
	}
	return nil
}

// check reads the tokens of a payload once. Duplicates and invalid UTF-8 are
// refused by the decoder itself.
func check(payload []byte, maxDepth int) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(payload))
	if d.PeekKind() != '{' {
		return fmt.Errorf("%w: not an object", ErrClaims)
	}
	for {
		token, err := d.ReadToken()
		if err != nil {
			return ErrClaims
		}
		depth := d.StackDepth()
		if depth == 0 {
			break
		}
		if depth > maxDepth {
			return fmt.Errorf("%w: too deep", ErrClaims)
		}
		kind, n := d.StackIndex(depth)
		if kind == '{' && n > 2*maxMembers || kind == '[' && n > 8*maxMembers {
			return fmt.Errorf("%w: too many members", ErrClaims)
		}
		if depth == 1 && kind == '{' && n%2 == 1 && variant(token.String()) {
			return fmt.Errorf("%w: a case variant of a member", ErrClaims)
		}
	}
	if d.PeekKind() != 0 || len(bytes.Trim(payload[d.InputOffset():], " \t\r\n")) > 0 {
		return fmt.Errorf("%w: something follows the object", ErrClaims)
	}
	return nil
}

// variant reports whether name differs from a name that counts in case alone,
// by Unicode's folding.
func variant(name string) bool {
	plain := true
	for i := range len(name) {
		if c := name[i]; c >= 0x80 || 'A' <= c && c <= 'Z' {
			plain = false
			break
		}
	}
	if plain {
		return false
	}
	for _, counts := range countingClaims {
		if strings.EqualFold(name, counts) {
			return true
		}
	}
	return false
}

// NumericDate is a time in seconds (RFC 7519 section 2). Only finite numbers
// from 1e9 (2001) to below 1e11 are read; a fraction is cut off; everything
// else, a string for instance, is refused (standards JW-16).
type NumericDate int64

// UnmarshalJSONFrom reads the date.
func (n *NumericDate) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '0' {
		return fmt.Errorf("%w: a date is not a number", ErrClaims)
	}
	seconds, err := token.Float()
	if err != nil || !(seconds >= 1e9 && seconds < 1e11) {
		return fmt.Errorf("%w: a date is out of range", ErrClaims)
	}
	*n = NumericDate(seconds)
	return nil
}

const maxAudiences = 32

// Audience is the aud of a token: one string, or an array of them (RFC 7519
// section 4.1.3). An empty string, an empty array, anything nested or mixed and
// more than 32 are refused.
type Audience []string

// UnmarshalJSONFrom reads the audience.
func (a *Audience) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	bad := fmt.Errorf("%w: aud is not a string or an array of them", ErrClaims)
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() == '"' {
		*a = Audience{token.String()}
	} else if token.Kind() != '[' {
		return bad
	} else {
		*a = nil
		for d.PeekKind() != ']' {
			if token, err = d.ReadToken(); err != nil {
				return err
			}
			if token.Kind() != '"' || len(*a) == maxAudiences {
				return bad
			}
			*a = append(*a, token.String())
		}
		if _, err := d.ReadToken(); err != nil {
			return err
		}
	}
	for _, name := range *a {
		if name == "" {
			return bad
		}
	}
	if len(*a) == 0 {
		return bad
	}
	return nil
}
