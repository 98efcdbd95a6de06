package subject

import (
	"errors"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
)

// maxName bounds the name of a party. A SPIFFE ID has at most 2048 bytes.
const maxName = 2048

// Chain is an act claim as it is read from JSON (RFC 8693 section 4.1). How
// long a chain may be is for Decide to say; this only bounds the parser.
type Chain struct{ Actor *broker.Actor }

// UnmarshalJSONFrom reads the chain without recursion. Each link is an object
// with a sub and perhaps an iss. What says nothing of identity is ignored and
// not kept (exp, nbf, aud: standards TX-34); a member that might say something
// and is not known refuses the token.
func (c *Chain) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	var links [maxDepth]broker.Party // outermost first
	if err := jws.ReadOpen(d); err != nil {
		return err
	}
	count, at := 1, 0 // at is the link whose object is open
	for at >= 0 {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		if token.Kind() == '}' {
			if links[at].Subject == "" {
				return errParty
			}
			at--
			continue
		}
		name := token.String()
		if name == "act" {
			if err := jws.ReadOpen(d); err != nil {
				return err
			}
			if count == len(links) {
				return errParty
			}
			at = count
			count++
			continue
		}
		known, err := readParty(&links[at], name, d)
		if err != nil {
			return err
		}
		if !known {
			return errParty
		}
	}
	c.Actor = nil
	for i := count - 1; i >= 0; i-- {
		c.Actor = &broker.Actor{Party: links[i], Actor: c.Actor}
	}
	return nil
}

// MayAct is a may_act claim as it is read from JSON (RFC 8693 section 4.4).
type MayAct struct {
	Present bool
	Party   broker.Party // without a sub it names nobody, and nobody may act
	Unknown bool         // it says more of the party than can be compared
}

// UnmarshalJSONFrom reads the claim.
func (m *MayAct) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if err := jws.ReadOpen(d); err != nil {
		return err
	}
	*m = MayAct{Present: true}
	for {
		token, err := d.ReadToken()
		if err != nil {
			return err
		}
		if token.Kind() == '}' {
			return nil
		}
		known, err := readParty(&m.Party, token.String(), d)
		if err != nil {
			return err
		}
		if !known {
			m.Unknown = true
			if err := d.SkipValue(); err != nil {
				return err
			}
		}
	}
}

// Check refuses a may_act with members that nobody can compare with the caller:
// all of them must match (standards TX-36).
func (m *MayAct) Check() error {
	if m.Unknown {
		return Refuse(broker.ReasonMayAct, "may_act names its party by more than sub and iss, which cannot be checked", nil)
	}
	return nil
}

// readParty reads the value of a member of act or may_act. Known is false, and
// nothing is read, for a member that is neither a name nor without meaning
// there.
func readParty(p *broker.Party, name string, d *jsontext.Decoder) (known bool, err error) {
	switch name {
	case "sub":
		p.Subject, err = readName(d)
	case "iss":
		p.Issuer, err = readName(d)
	case "exp", "nbf", "iat", "aud", "jti":
		err = d.SkipValue()
	default:
		return false, nil
	}
	return true, err
}

var errParty = errors.New("a party is not named well")

func readName(d *jsontext.Decoder) (string, error) {
	name, err := jws.ReadText(d)
	if err != nil {
		return "", err
	}
	if !jws.ValidName(name, maxName) {
		return "", errParty
	}
	return name, nil
}
