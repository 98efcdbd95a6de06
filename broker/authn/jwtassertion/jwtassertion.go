// Package jwtassertion authenticates workloads by a JWT-SVID that they show as
// client assertion of the type …:jwt-spiffe (draft-ietf-oauth-spiffe-client-auth).
//
// The rules for the JWT-SVID are those of package jwtsvid, by the live bundle of
// the trust domain in its sub: aud is our issuer identifier alone, it is at most
// five minutes old, and within that it may be shown again, since agents hand out
// the same one until half of its life has passed. iss, where there is one, leads
// nowhere.
//
// The proof is a bearer proof: whoever gets hold of the JWT-SVID is the workload
// for those minutes. broker.Decide gives it no token but for a resource that names
// it, and none that is bound to the identity on the wire.
package jwtassertion

import (
	"context"
	"errors"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// SVIDs verifies JWT-SVIDs for us. Implemented by jwtsvid.Source.
type SVIDs interface {
	// VerifySVID verifies a token that was declared as a JWT-SVID. Errors are
	// those of a subject token that is not acceptable.
	VerifySVID(now time.Time, t *subject.Token) (broker.Subject, error)
}

// Assertion implements authn.Assertion. The zero value refuses everybody.
type Assertion struct{ svids SVIDs }

var _ authn.Assertion = (*Assertion)(nil)

// New returns the assertion of the type …:jwt-spiffe.
func New(svids SVIDs) (*Assertion, error) {
	if svids == nil {
		return nil, errors.New("JWT assertions: nobody verifies JWT-SVIDs")
	}
	return &Assertion{svids: svids}, nil
}

// VerifyAssertion implements authn.Assertion. It does no input or output.
func (a *Assertion) VerifyAssertion(_ context.Context, now time.Time, assertion oauth.Secret) (broker.Workload, error) {
	if a.svids == nil {
		return broker.Workload{}, subject.Untrusted()
	}
	token, err := subject.Parse(broker.SubjectToken{Raw: assertion, Type: oauth.TokenTypeJWTSVID})
	if err != nil {
		return broker.Workload{}, err
	}
	s, err := a.svids.VerifySVID(now, token)
	if err != nil {
		return broker.Workload{}, err
	}
	// Who puts these in says that the bearer is not the whole truth: there is another
	// actor, or a key that must be proven. An assertion has no place for either.
	if s.Actor != nil || s.MayAct != nil || !s.Confirmation.IsZero() {
		return broker.Workload{}, subject.Refuse(broker.ReasonTokenClaims, "a client assertion has no act, may_act or cnf", nil)
	}
	id, err := spiffeid.FromString(s.Sub)
	if err != nil {
		return broker.Workload{}, subject.Refuse(broker.ReasonTokenClaims, "sub is not the SPIFFE ID of a workload", err)
	}
	return broker.Workload{ID: id, Proof: broker.ProofJWTSVID, NotAfter: s.ExpiresAt}, nil
}
