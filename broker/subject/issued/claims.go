package issued

import (
	"errors"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// claims are the claims of a token of ours (design 6), as package jwtat writes
// them.
type claims struct {
	subject.Dates
	Issuer       string               `json:"iss"`
	Subject      string               `json:"sub"`
	Audience     jws.Audience         `json:"aud"`
	ID           string               `json:"jti"`
	ClientID     string               `json:"client_id"`
	Scope        string               `json:"scope"`
	SubjectID    subjectID            `json:"sub_id"`
	Act          subject.Chain        `json:"act"`
	MayAct       subject.MayAct       `json:"may_act"`
	Confirmation subject.Confirmation `json:"cnf"`
	Txn          string               `json:"txn"`
	Ancestors    []string             `json:"anc"`
	Presenters   []string             `json:"presenters"`
	Revision     int64                `json:"rev"` // for people who read the token; no decision does
}

// subjectID is a sub_id of the format iss_sub (RFC 9493 section 3.2.3).
type subjectID struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// How many presenters and ancestors there may be is bounded by what a token may
// hold: whatever was minted must be read.
const (
	maxSub = 2048
	maxID  = 256
)

var (
	errMissing  = errors.New("a required claim is missing")
	errAudience = errors.New("aud is not one audience")
	errScope    = errors.New("scope is not well formed")
	errWorkload = errors.New("a claim that names a workload does not")
	errKind     = errors.New("sub and sub_id do not agree")
	errName     = errors.New("a name is not well formed")
)

// subject checks the claims one against the other and returns who the token is
// about. Issuer and Claims of a user are still to be filled in.
func (c *claims) subject() (broker.Subject, error) {
	scopes, err := oauth.ParseScopes(c.Scope)
	switch {
	case !jws.ValidName(c.Subject, maxSub) || !jws.ValidName(c.ID, maxID):
		return broker.Subject{}, bad(errMissing)
	case err != nil:
		return broker.Subject{}, bad(errScope)
	case len(c.Audience) != 1:
		return broker.Subject{}, bad(errAudience)
	case !workload(c.ClientID) || !every(c.Presenters, workload):
		return broker.Subject{}, bad(errWorkload)
	case !every(c.Ancestors, isID) || c.Txn != "" && !isID(c.Txn):
		return broker.Subject{}, bad(errName)
	}
	kind, err := c.kind()
	if err != nil {
		return broker.Subject{}, bad(err)
	}
	if err := c.MayAct.Check(); err != nil {
		return broker.Subject{}, err
	}
	s := broker.Subject{
		Kind: kind, Sub: c.Subject, Origin: broker.SubjectID{Issuer: c.SubjectID.Issuer, Subject: c.SubjectID.Subject},
		Issued: true, Audience: c.Audience, ClientID: c.ClientID, Presenters: c.Presenters, Scopes: scopes,
		TokenID: c.ID, IssuedAt: c.Issued(), ExpiresAt: c.Expires(),
		Actor: c.Act.Actor, Confirmation: c.Confirmation.Confirmation, Txn: c.Txn, Ancestors: c.Ancestors,
	}
	if c.MayAct.Present {
		s.MayAct = &c.MayAct.Party
	}
	return s, nil
}

func bad(cause error) error {
	return subject.Refuse(broker.ReasonTokenClaims, "the claims of the token are not those of a token of this broker", cause)
}

// kind says whether the token is about a workload or a user. Only a workload
// has a sub that starts with spiffe:, and only a user has a sub_id; its sub is
// the name of its issuer, a colon, and the sub that sub_id gives.
func (c *claims) kind() (broker.SubjectKind, error) {
	id := c.SubjectID
	if strings.HasPrefix(c.Subject, "spiffe:") {
		if id != (subjectID{}) || !workload(c.Subject) {
			return broker.SubjectNobody, errKind
		}
		return broker.SubjectWorkload, nil
	}
	name, sub, _ := strings.Cut(c.Subject, ":")
	if name == "" || sub == "" || sub != id.Subject || id.Issuer == "" || id.Format != "iss_sub" {
		return broker.SubjectNobody, errKind
	}
	return broker.SubjectUser, nil
}

// origin returns the issuer that a user came from, as policy knows it now. An
// issuer that left, or that goes by another name today, is none: sub would name
// somebody else's user.
func origin(v broker.View, s *broker.Subject) *broker.Issuer {
	issuer, ok := v.Issuer(s.Origin.Issuer)
	if !ok || issuer.Name+":"+s.Origin.Subject != s.Sub {
		return nil
	}
	return issuer
}

// carried returns the rules of the claims that travel in our tokens. What else
// stands in one was put there by a mapping and says nothing of the user.
func carried(i *broker.Issuer) []broker.ClaimRule {
	var rules []broker.ClaimRule
	for _, r := range i.Claims {
		if slices.Contains(i.Carry, r.Name) {
			rules = append(rules, r)
		}
	}
	return rules
}

func every(texts []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !holds(s) })
}

func isID(text string) bool { return jws.ValidName(text, maxID) }

// workload reports whether text is a SPIFFE ID with a path, as only workloads
// have.
func workload(text string) bool {
	id, err := spiffeid.FromString(text)
	return err == nil && id.Path() != "" && len(text) <= maxSub
}
