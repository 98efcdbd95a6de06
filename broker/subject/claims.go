package subject

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
)

// Members calls each with every member of a payload, which Decode has passed.
// It reads or skips the value; the name is good until then.
func Members(payload []byte, each func(name []byte, value *jsontext.Decoder) error) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(payload), jsontext.AllowDuplicateNames(true)) // there are none, says Decode
	if err := jws.ReadOpen(d); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		name, err := readMember(d)
		if err != nil {
			return err
		}
		if err := each(name, d); err != nil {
			return err
		}
	}
	return nil
}

// Claims returns the claims that the rules declare and nothing else. One that
// is absent is absent; one of another type than declared refuses the token,
// because a condition that needs it and one that forbids it would both be
// wrong.
func Claims(payload []byte, rules []broker.ClaimRule) ([]broker.Claim, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	var claims []broker.Claim
	err := Members(payload, func(name []byte, d *jsontext.Decoder) error {
		i := slices.IndexFunc(rules, func(r broker.ClaimRule) bool { return r.Name == string(name) })
		if i < 0 {
			return d.SkipValue()
		}
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		typed, err := typedClaim(&rules[i], value)
		if err != nil {
			return Refuse(broker.ReasonTokenClaims, "claim "+strconv.Quote(rules[i].Name)+" does not have its declared type", err)
		}
		claims = append(claims, broker.Claim{Name: rules[i].Name, Value: typed})
		return nil
	})
	if err != nil {
		return nil, err
	}
	return claims, nil
}

var errClaimType = errors.New("a claim does not have its declared type")

// typedClaim reads a value as what its rule says, without any conversion: a
// number in a string is a string.
func typedClaim(rule *broker.ClaimRule, value jsontext.Value) (any, error) {
	switch kind := value.Kind(); {
	case rule.Type == broker.ClaimString && kind == '"':
		text, err := jsontext.AppendUnquote(nil, value)
		return string(text), err
	case rule.Type == broker.ClaimBool && (kind == 't' || kind == 'f'):
		return kind == 't', nil
	case rule.Type == broker.ClaimInt && kind == '0':
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil {
			return nil, errClaimType
		}
		return n, nil
	case rule.Type == broker.ClaimStrings && kind == '[':
		return jws.ReadTexts(value)
	case rule.Type == broker.ClaimEnum && kind == '[':
		all, err := jws.ReadTexts(value)
		if err != nil {
			return nil, err
		}
		return slices.DeleteFunc(all, func(s string) bool { return !slices.Contains(rule.Values, s) }), nil
	}
	return nil, errClaimType
}
