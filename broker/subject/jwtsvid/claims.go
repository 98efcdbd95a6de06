package jwtsvid

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject"
)

const (
	maxAge  = 5 * time.Minute // within which a JWT-SVID may be shown
	maxLife = time.Hour

	// Limits of a SPIFFE ID in bytes (SPIFFE-ID sections 2.1 and 2.3); go-spiffe has
	// neither.
	maxIDBytes     = 2048
	maxDomainBytes = 255

	maxTokenIDBytes = 256
)

// claims are the claims of a JWT-SVID that mean something here. act, may_act and cnf
// are not the standard's, but who puts them in says something that must not be
// lost.
type claims struct {
	subject.Dates
	Subject      string               `json:"sub"`
	Audience     jws.Audience         `json:"aud"`
	ID           string               `json:"jti"`
	Act          subject.Chain        `json:"act"`
	MayAct       subject.MayAct       `json:"may_act"`
	Confirmation subject.Confirmation `json:"cnf"`
}

func badSubject(cause error) error {
	return subject.Refuse(broker.ReasonTokenClaims, "sub is not the SPIFFE ID of a workload", cause)
}

// check refuses what does not conform, what is not for us alone, and what is not
// of the trust domain whose key signed it.
func (c *claims) check(audience string, domain spiffeid.TrustDomain, now time.Time) error {
	id, err := spiffeid.FromString(c.Subject)
	switch {
	case err != nil:
		return badSubject(err)
	case !id.MemberOf(domain):
		return subject.Untrusted()
	case id.Path() == "" || len(c.Subject) > maxIDBytes || len(domain.Name()) > maxDomainBytes:
		return badSubject(nil)
	case len(c.Audience) != 1 || c.Audience[0] != audience:
		return subject.Refuse(broker.ReasonTokenAudience, "aud must be the issuer identifier of this broker and nothing else", nil)
	case c.ID != "" && !jws.ValidName(c.ID, maxTokenIDBytes):
		return subject.Refuse(broker.ReasonTokenClaims, "jti is not well formed", nil)
	}
	if err := c.MayAct.Check(); err != nil {
		return err
	}
	return c.checkDates(now)
}

// checkDates refuses a JWT-SVID that is not valid now, was issued too long ago or
// lives for too long. iat is not required of one; without it the five minutes are
// counted back from exp.
func (c *claims) checkDates(now time.Time) error {
	dates := c.Dates
	if dates.ExpiresAt == 0 {
		return subject.Refuse(broker.ReasonTokenClaims, "exp is required", nil)
	}
	if dates.IssuedAt == 0 {
		dates.IssuedAt = dates.ExpiresAt - jws.NumericDate(maxAge/time.Second)
		if dates.Expires().Sub(now) > maxAge {
			return subject.Refuse(broker.ReasonTokenClaims, "a JWT-SVID without iat must expire within 5 minutes", nil)
		}
	}
	if err := dates.Check(now, subject.Skew); err != nil {
		return err
	}
	switch {
	case now.Sub(dates.Issued()) > maxAge:
		return subject.Refuse(broker.ReasonTokenExpired, "a JWT-SVID may be shown for 5 minutes after it was issued; this one is older", nil)
	case dates.Expires().Sub(dates.Issued()) > maxLife || dates.Expires().Sub(now) > maxLife:
		return subject.Refuse(broker.ReasonTokenClaims, "a JWT-SVID may live for an hour at most", nil)
	}
	return nil
}

// subject returns who the token is about. One that does not say when it was issued
// has no time of issue, and so is stopped by every block that asks for one.
func (c *claims) subject() broker.Subject {
	s := broker.Subject{
		Kind: broker.SubjectWorkload, Sub: c.Subject, Audience: c.Audience, TokenID: c.ID, ExpiresAt: c.Expires(),
		Actor: c.Act.Actor, Confirmation: c.Confirmation.Confirmation,
	}
	if c.IssuedAt != 0 {
		s.IssuedAt = c.Issued()
	}
	if c.MayAct.Present {
		s.MayAct = &c.MayAct.Party
	}
	return s
}
