package oidc

import (
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

const (
	// maxLifetime bounds exp - iat. The longest that providers give by default
	// is a day, 28 hours where they revoke by other means; a Kubernetes token
	// that was stretched to a year is over it (standards K8-5).
	maxLifetime = 48 * time.Hour
	// maxSub is above the 255 characters of OpenID Connect, because the longest
	// name of a ServiceAccount needs 338.
	maxSub = 512
	maxID  = 256
)

// claims are the claims of a token of another issuer: those that every token
// has, and those that tell its kind.
type claims struct {
	issuer   *broker.Issuer
	declared oauth.TokenType
	typ      string // media type of the header

	registered
	sub    string       // what the issuer's SubClaim holds
	scopes oauth.Scopes // what its ScopeClaim holds
	extra  []broker.Claim
}

type registered struct {
	subject.Dates
	Issuer       string               `json:"iss"`
	Audience     jws.Audience         `json:"aud"`
	ID           string               `json:"jti"`
	IssuedTo     string               `json:"azp"` // the authorized party
	Act          subject.Chain        `json:"act"`
	MayAct       subject.MayAct       `json:"may_act"`
	Confirmation subject.Confirmation `json:"cnf"`
	marks
}

// read decodes verified claims. The issuer says which claim names the user,
// which holds the scopes, and which are declared.
func (c *claims) read(payload []byte) error {
	if err := subject.Decode(payload, &c.registered); err != nil {
		return err
	}
	err := subject.Members(payload, func(name []byte, d *jsontext.Decoder) error {
		names, holds := string(name) == c.issuer.SubClaim, string(name) == c.issuer.ScopeClaim
		if !names && !holds {
			return d.SkipValue()
		}
		value, err := d.ReadValue()
		if err == nil && names {
			c.sub, err = readString(value)
		}
		if err == nil && holds {
			c.scopes, err = readScopes(value, c.issuer.ScopeClaim != "scope")
		}
		return err
	})
	if err != nil {
		return err
	}
	c.extra, err = subject.Claims(payload, c.issuer.Claims)
	return err
}

// check refuses what the issuer's rules do not admit.
func (c *claims) check(now time.Time) error {
	switch {
	case c.Issuer != c.issuer.URL:
		return subject.Untrusted()
	case !c.fits(c.declared):
		return subject.WrongType(c.fitting()...)
	case len(c.Audience) == 0:
		return subject.Refuse(broker.ReasonTokenAudience, "aud is required", nil)
	case c.declared == oauth.TokenTypeIDToken && len(c.Audience) > 1 && !slices.Contains(c.Audience, c.IssuedTo):
		return subject.Refuse(broker.ReasonTokenAudience, "an ID token for several audiences must say by azp to which of them it was issued", nil)
	case !jws.ValidName(c.sub, maxSub) || c.ID != "" && !jws.ValidName(c.ID, maxID):
		return subject.Refuse(broker.ReasonTokenClaims, "the claim that names the subject, or jti, is missing or not well formed", nil)
	case !c.Kubernetes.names(c.sub):
		return subject.Refuse(broker.ReasonTokenClaims, "sub is not the ServiceAccount that kubernetes.io names", nil)
	}
	if err := c.Check(now, subject.Skew); err != nil {
		return err
	}
	if c.Expires().Sub(c.Issued()) > maxLifetime {
		return subject.Refuse(broker.ReasonTokenClaims, "the token lives longer than 48 hours", nil)
	}
	return c.MayAct.Check()
}

// fitting returns the types that the token may be declared as, now that its
// claims are known.
func (c *claims) fitting() []oauth.TokenType {
	return slices.DeleteFunc(declarable(c.issuer, c.typ), func(t oauth.TokenType) bool { return !c.fits(t) })
}

// subject returns who the token is about. An ID token for several audiences was
// issued to one of them (OpenID Connect Core section 3.1.3.7), and only who may
// show one for that may show it: the others are left out.
func (c *claims) subject() broker.Subject {
	audience := []string(c.Audience)
	if c.declared == oauth.TokenTypeIDToken && len(audience) > 1 {
		audience = []string{c.IssuedTo}
	}
	s := broker.Subject{
		Kind: broker.SubjectUser, Sub: c.issuer.Name + ":" + c.sub, Issuer: c.issuer,
		Origin:   broker.SubjectID{Issuer: c.issuer.URL, Subject: c.sub},
		Audience: audience, Scopes: c.scopes, TokenID: c.ID, IssuedAt: c.Issued(), ExpiresAt: c.Expires(),
		Actor: c.actor(), Confirmation: c.Confirmation.Confirmation, Claims: c.extra,
	}
	if c.MayAct.Present {
		party := c.party(c.MayAct.Party)
		s.MayAct = &party
	}
	return s
}

// actor returns the act chain in our names. Whether it is believed is decided
// in Decide.
func (c *claims) actor() *broker.Actor {
	for a := c.Act.Actor; a != nil; a = a.Actor {
		a.Party = c.party(a.Party) // the chain is new and nobody else's yet
	}
	return c.Act.Actor
}

// party returns the workload that policy says a name of the issuer means. Any
// other name stays the issuer's, so that it is never taken for one of ours.
func (c *claims) party(p broker.Party) broker.Party {
	if p.Issuer == "" {
		p.Issuer = c.issuer.URL
	}
	if p.Issuer == c.issuer.URL {
		for i := range c.issuer.Actors {
			if a := &c.issuer.Actors[i]; a.Subject == p.Subject {
				return broker.Party{Subject: a.Workload.String()}
			}
		}
	}
	return p
}

func readString(value jsontext.Value) (string, error) {
	if value.Kind() != '"' {
		return "", subject.Refuse(broker.ReasonTokenClaims, "the claim that names the subject is not a string", nil)
	}
	text, err := jsontext.AppendUnquote(nil, value)
	return string(text), err
}

// readScopes reads scopes joined by spaces (RFC 6749 section 3.3), or an array
// of them where one may be: never in the scope of RFC 8693 section 4.2.
func readScopes(value jsontext.Value, array bool) (scopes oauth.Scopes, err error) {
	switch {
	case string(value) == `""`:
		return oauth.Scopes{}, nil
	case value.Kind() == '"':
		var text []byte
		if text, err = jsontext.AppendUnquote(nil, value); err == nil {
			scopes, err = oauth.ParseScopes(string(text))
		}
	case value.Kind() == '[' && array:
		var texts []string
		if texts, err = jws.ReadTexts(value); err == nil {
			scopes, err = oauth.NewScopes(texts...)
		}
	default:
		err = oauth.ErrScope
	}
	if err != nil {
		return oauth.Scopes{}, subject.Refuse(broker.ReasonTokenClaims, "the scopes of the token are not well formed", err)
	}
	return scopes, nil
}
