package broker

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// Decision is the answer to a Question. The zero value is a refusal.
type Decision struct {
	Allowed bool
	Reason  Reason // why not; "" if allowed
	Code    Code
	Public  string // what the caller may know of why not

	Scopes       oauth.Scopes
	ExpiresAt    time.Time // whole seconds
	Actor        *Actor
	Confirmation Confirmation
	Presenters   []spiffeid.ID
	Claims       []Claim
	Mappings     []*Mapping // the mappings that contribute
}

// Error returns the refusal as an error.
func (d *Decision) Error() *Error { return &Error{Code: d.Code, Reason: d.Reason, Public: d.Public} }

// Outcome is what became of one candidate mapping.
type Outcome string

// The outcomes, from granted to the part of the mapping that did not fit.
const (
	OutcomeGranted        Outcome = "granted"
	OutcomeDenied         Outcome = "denied"
	OutcomeFor            Outcome = "for"           // it is for another kind of subject
	OutcomeHaving         Outcome = "having"        // the received token is not what it asks for
	OutcomeQuarantined    Outcome = "quarantined"   // its row cannot be read
	OutcomeNotInForce     Outcome = "not_in_force"  // outside since and until
	OutcomeImpersonation  Outcome = "impersonation" // the resource does not permit it
	OutcomeBlocked        Outcome = "blocked"
	OutcomeConditionFalse Outcome = "condition_false"
	OutcomeConditionError Outcome = "condition_error"
	OutcomeClaim          Outcome = "claim" // a claim that it adds has no value
)

// Trace is told how a decision came about. The hot path passes nil; why passes
// one, so what it explains is the very code that decides.
type Trace interface {
	// Mapping is told what became of a candidate.
	Mapping(c *Candidate, outcome Outcome)
	// Check is told whether a check held. With a trace all checks are run.
	Check(reason Reason, held bool)
}

// Decide answers a question. It is pure: it reads the question and nothing
// else. Every grant type passes through it, and the first check that does not
// hold refuses. It needs a View; a nil one is the caller's mistake.
func Decide(q *Question, t Trace) Decision {
	g := attenuate(q, t)
	var refused *check
	for i := range checks {
		held := checks[i].holds(&g)
		if t != nil {
			t.Check(checks[i].reason, held)
		}
		if !held && refused == nil {
			refused = &checks[i]
			if t == nil {
				break
			}
		}
	}
	if refused != nil {
		return Decision{Reason: refused.reason, Code: refused.code, Public: refused.public}
	}
	return Decision{
		Allowed:      true,
		Scopes:       g.result,
		ExpiresAt:    g.expiresAt,
		Actor:        g.chain,
		Confirmation: g.confirm,
		Presenters:   g.presenters,
		Claims:       g.claims,
		Mappings:     g.used,
	}
}
