package broker

import (
	"cmp"
	"context"
	"slices"

	"github.com/cambist/cambist/broker/oauth"
)

// Reachable is one resource that a workload may get tokens for, as far as can
// be said without a request.
type Reachable struct {
	Resource    *Resource // of a template: with * for what the request will say
	For         string    // "" for itself, else whose token it must show
	Having      oauth.Scopes
	Scopes      oauth.Scopes
	Conditional bool // a condition will be asked besides
}

// Reach returns what the workload may reach, by resource name. Denies without a
// condition are taken off; the answer is a map for the SDK, not a promise: the
// token endpoint decides. The question is recorded; of the
// request only At and Origin are read. Errors are *Error.
func (e *Exchanger) Reach(_ context.Context, w Workload, r ExchangeRequest) ([]Reachable, error) {
	e.begin(&r)
	q := &Question{Now: r.At, Workload: w, Request: r}
	view, lease := e.Policy.Current()
	left := lease.Left(FreshnessNormal)
	if view == nil || left <= 0 {
		return nil, e.refuse(q, left, Unavailable(ReasonLeaseExpired, retryAfter, nil))
	}
	q.View = view
	g := grant{Question: q, Resource: &Resource{}}
	if !q.Now.Before(w.NotAfter) || w.Proof == ProofNone || g.blocked() {
		return nil, e.refuse(q, left, Errorf(CodeInvalidClient, ReasonBlocked, "the caller is not authenticated"))
	}
	found := reachable(q, view.Find(nil, w.ID, nil))
	record := e.newRecord(q, left)
	record.Type, record.Allowed = RecordSelf, true
	e.Ledger.Note(record)
	return found, nil
}

func reachable(q *Question, candidates []Candidate) []Reachable {
	var found []Reachable
	for i := range candidates {
		c := &candidates[i]
		m := c.Mapping
		if m.Deny || m.Quarantined || c.Resource == nil || c.Resource.Quarantined || !m.InForce(q.Now) ||
			q.View.Blocked(q.Now, BlockMapping, m.ID, q.Now) != nil {
			continue
		}
		scopes := m.Scopes.Intersect(c.Resource.Scopes)
		for k := range candidates {
			d := &candidates[k]
			if d.Mapping.Deny && d.Resource != nil && d.Resource.URI == c.Resource.URI && denies(d.Mapping, m.For, q) {
				if d.Mapping.Scopes.IsEmpty() || d.Mapping.Quarantined {
					scopes = oauth.Scopes{}
				} else {
					scopes = scopes.Without(d.Mapping.Scopes)
				}
			}
		}
		if !scopes.IsEmpty() {
			found = append(found, Reachable{Resource: c.Resource, For: m.For, Having: m.Having, Scopes: scopes, Conditional: m.Conditional})
		}
	}
	slices.SortStableFunc(found, func(a, b Reachable) int {
		return cmp.Or(cmp.Compare(a.Resource.Name, b.Resource.Name), cmp.Compare(a.For, b.For))
	})
	return found
}

func denies(d *Mapping, party string, q *Question) bool {
	return d.Quarantined || !d.Conditional && d.InForce(q.Now) && (d.ForAny || d.For == party)
}
