package verify

import (
	"bytes"
	"errors"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker/jws"
)

// maxActors is the longest chain that the broker can be told to issue.
const maxActors = 8

// chain is an act claim as it is read from JSON (RFC 8693 section 4.1), the
// current actor first.
type chain struct{ links []Actor }

var (
	errChain = errors.New("act is not a chain of actors")
)

// UnmarshalJSONFrom reads the chain without recursion. Each link is an object
// with a sub, perhaps an iss, perhaps the link before it. What means nothing
// there is passed over (standards TX-34); a member that might mean something and
// is not known refuses the token.
func (c *chain) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if err := jws.ReadOpen(d); err != nil {
		return err
	}
	c.links = append(c.links[:0], Actor{})
	at := 0 // the link whose object is open
	for at >= 0 {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		if token.Kind() == '}' {
			if c.links[at].Subject == "" {
				return errChain
			}
			at--
			continue
		}
		switch token.String() {
		case "sub":
			c.links[at].Subject, err = readName(d)
		case "iss":
			c.links[at].Issuer, err = readName(d)
		case "act":
			if err = jws.ReadOpen(d); err == nil && len(c.links) == maxActors {
				err = errChain
			}
			c.links = append(c.links, Actor{})
			at = len(c.links) - 1
		case "exp", "nbf", "iat", "aud", "jti":
			err = d.SkipValue()
		default:
			err = errChain
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// confirmation is a cnf claim as it is read from JSON (RFC 7800). A member that
// nobody can prove here makes a binding that refuses; it never unbinds. So does a
// cnf without members.
type confirmation struct {
	present        bool
	certificate    thumbprint // x5t#S256, RFC 8705 section 3.1
	hasCertificate bool
	key            string // jkt, RFC 9449 section 6.1; "" if there is none
	unknown        bool
}

// UnmarshalJSONFrom reads the claim.
func (c *confirmation) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if err := jws.ReadOpen(d); err != nil {
		return err
	}
	*c = confirmation{present: true}
	for {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		if token.Kind() == '}' {
			return nil
		}
		switch token.String() {
		case "x5t#S256":
			_, c.certificate, err = readThumbprint(d)
			c.hasCertificate = true
		case "jkt":
			c.key, _, err = readThumbprint(d)
		default:
			c.unknown = true
			err = d.SkipValue()
		}
		if err != nil {
			return err
		}
	}
}

func readThumbprint(d *jsontext.Decoder) (string, thumbprint, error) {
	text, err := jws.ReadText(d)
	if err != nil {
		return "", thumbprint{}, err
	}
	t, ok := parseThumbprint(text)
	if !ok {
		return "", thumbprint{}, errThumbprint
	}
	return text, t, nil
}

var errThumbprint = errors.New("a thumbprint is not a SHA-256 in base64url")

// registered are names that mean something in a JWT or in a token of ours. The
// broker carries no claim of such a name, so one that stands there all the same
// is not handed out as if it had been carried.
var registered = [...]string{
	"acr", "act", "amr", "anc", "aud", "auth_time", "azp", "client_id", "cnf", "entitlements_uri", "exp", "iat", "iss",
	"jti", "may_act", "nbf", "nonce", "presenters", "rev", "scope", "scp", "sid", "status", "sub", "sub_id", "txn", "typ",
}

// carried returns the claims besides those that the token needs: what an issuer
// or a mapping of the policy put there. Those of a type that the broker does not
// write are passed over.
func carried(others jsontext.Value) ([]claim, error) {
	if len(others) == 0 {
		return nil, nil
	}
	d := jsontext.NewDecoder(bytes.NewBuffer(others))
	if err := jws.ReadOpen(d); err != nil {
		return nil, err
	}
	var list []claim
	for d.PeekKind() != '}' {
		name, err := jws.ReadText(d)
		if err != nil {
			return nil, err
		}
		value, err := d.ReadValue()
		if err != nil {
			return nil, err
		}
		if typed, ok := typedValue(value); ok && !slices.Contains(registered[:], name) {
			list = append(list, claim{name, typed})
		}
	}
	return list, nil
}

// typedValue returns a string, bool, int64 or []string.
func typedValue(value jsontext.Value) (any, bool) {
	switch value.Kind() {
	case '"':
		text, err := jsontext.AppendUnquote(nil, value)
		return string(text), err == nil
	case 't', 'f':
		return value.Kind() == 't', true
	case '0':
		n, err := strconv.ParseInt(string(value), 10, 64)
		return n, err == nil
	case '[':
		texts, err := jws.ReadTexts(value)
		return texts, err == nil
	}
	return nil, false
}

func readName(d *jsontext.Decoder) (string, error) {
	name, err := jws.ReadText(d)
	if err != nil {
		return "", err
	}
	if !jws.ValidName(name, maxName) {
		return "", errChain
	}
	return name, nil
}
