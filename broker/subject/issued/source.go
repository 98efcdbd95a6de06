package issued

import (
	"context"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// mediaType is the typ of every token of ours (RFC 9068 section 2.1).
const mediaType = "at+jwt"

// Keys knows our public keys. Implemented by keys.Ring.
type Keys interface {
	// Key returns the key with that ID if tokens that it signed may still be
	// verified now. It takes no lock.
	Key(id string, now time.Time) (jws.Key, bool)
}

// Source implements subject.Source for tokens of ours. The zero value matches
// nothing.
type Source struct {
	issuer string
	keys   Keys
}

// New returns the source of the tokens that the broker with that issuer
// identifier signed with these keys.
func New(issuer string, keys Keys) *Source { return &Source{issuer: issuer, keys: keys} }

// Match reports whether the token says that we issued it, letter by letter. It
// comes before every other source: whatever policy trusts, nobody else speaks
// for us.
func (s *Source) Match(_ broker.View, t *subject.Token) bool {
	return s.issuer != "" && t.UnverifiedIssuer == s.issuer
}

// Verify verifies a token of ours. It does no input or output.
func (s *Source) Verify(_ context.Context, v broker.View, now time.Time, t *subject.Token) (broker.Subject, error) {
	header := t.JWS.Header()
	if jws.MediaType(header.Type) != mediaType {
		return broker.Subject{}, subject.WrongType()
	}
	if t.Type != oauth.TokenTypeAccessToken {
		return broker.Subject{}, subject.WrongType(oauth.TokenTypeAccessToken)
	}
	key, ok := s.keys.Key(header.KeyID, now)
	if !ok {
		return broker.Subject{}, subject.Refuse(broker.ReasonTokenKeyUnknown, "the key of the token is unknown or no longer trusted", nil)
	}
	payload, err := t.Verify(key)
	if err != nil {
		return broker.Subject{}, err
	}
	var c claims
	if err := subject.Decode(payload, &c); err != nil {
		return broker.Subject{}, err
	}
	if c.Issuer != s.issuer {
		return broker.Subject{}, subject.Untrusted()
	}
	if err := c.Check(now, 0); err != nil {
		return broker.Subject{}, err
	}
	made, err := c.subject()
	if err != nil {
		return broker.Subject{}, err
	}
	made.KeyID = key.ID()
	if made.Kind != broker.SubjectUser {
		return made, nil
	}
	if made.Issuer = origin(v, &made); made.Issuer == nil {
		return made, nil
	}
	if made.Claims, err = subject.Claims(payload, carried(made.Issuer)); err != nil {
		return broker.Subject{}, err
	}
	return made, nil
}
