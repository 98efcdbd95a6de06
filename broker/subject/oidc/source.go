package oidc

import (
	"context"
	"slices"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// Source implements subject.Source for the issuers that policy names.
type Source struct{ keys *Keys }

// New returns the source of the tokens of other issuers.
func New(keys *Keys) *Source { return &Source{keys: keys} }

// Match reports whether policy knows the issuer that the token names.
func (s *Source) Match(v broker.View, t *subject.Token) bool {
	_, ok := issuerOf(v, t)
	return ok
}

func issuerOf(v broker.View, t *subject.Token) (*broker.Issuer, bool) {
	if t.UnverifiedIssuer == "" {
		return nil, false
	}
	return v.Issuer(t.UnverifiedIssuer)
}

// Verify verifies a token by the rules of its issuer. It waits for keys only if
// they are not there yet.
func (s *Source) Verify(ctx context.Context, v broker.View, now time.Time, t *subject.Token) (broker.Subject, error) {
	issuer, ok := issuerOf(v, t)
	if !ok || issuer.Quarantined {
		return broker.Subject{}, subject.Untrusted()
	}
	header := t.JWS.Header()
	if right := declarable(issuer, header.Type); !slices.Contains(right, t.Type) {
		return broker.Subject{}, subject.WrongType(right...)
	}
	if !slices.Contains(issuer.Algorithms, string(header.Algorithm)) {
		return broker.Subject{}, subject.Refuse(broker.ReasonTokenAlgorithm, "the algorithm of the token is not one of its issuer", nil)
	}
	key, err := s.keys.Find(ctx, issuer, header, now)
	if err != nil {
		return broker.Subject{}, err
	}
	payload, err := t.Verify(key)
	if err != nil {
		return broker.Subject{}, err
	}
	c := claims{issuer: issuer, declared: t.Type, typ: jws.MediaType(header.Type)}
	if err := c.read(payload); err != nil {
		return broker.Subject{}, err
	}
	if err := c.check(now); err != nil {
		return broker.Subject{}, err
	}
	made := c.subject()
	made.KeyID = key.ID()
	return made, nil
}

// declarable returns the types that a token of the issuer with that typ may be
// declared as; several where its header alone does not tell.
func declarable(i *broker.Issuer, typ string) []oauth.TokenType {
	var right []oauth.TokenType
	short := jws.MediaType(typ)
	fits := func(accepted string) bool { return short != "?" && jws.MediaType(accepted) == short }
	if i.Accepts(oauth.TokenTypeJWT) && slices.ContainsFunc(i.AccessTypes, fits) {
		right = append(right, oauth.TokenTypeJWT)
	}
	// OpenID Connect says nothing of typ; providers send JWT or none.
	if i.Accepts(oauth.TokenTypeIDToken) && untyped(short) {
		right = append(right, oauth.TokenTypeIDToken)
	}
	return right
}

// untyped reports whether a typ does not say what kind of JWT it is.
func untyped(short string) bool { return short == "" || short == "jwt" }
