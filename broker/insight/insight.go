// Package insight looks back at decisions: why one was taken, by the policy of
// its time and by the very code that took it.
package insight

import (
	"context"
	"fmt"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
)

// Recorded is a decision as the record has it: what was asked, and the revision
// of the policy that answered.
type Recorded struct {
	Question broker.Question // without what depends on a policy: view, resource, candidates, issuers
	Revision broker.Revision
}

// Why decides a recorded question again, on the policy of its time, and explains
// it. Errors are those of the store.
func Why(ctx context.Context, policies store.Policies, r Recorded, o policy.Options) (policy.Explanation, error) {
	objects, err := policies.LoadAt(ctx, r.Revision)
	if err != nil {
		return policy.Explanation{}, fmt.Errorf("load the policy of revision %d: %w", r.Revision, err)
	}
	snapshot, _ := policy.Compile(objects, r.Revision, o)
	q := r.Question
	q.View = snapshot
	q.Subject, q.Actor = trusted(snapshot, q.Subject), trusted(snapshot, q.Actor)
	if resource, ok := snapshot.Resource(q.Request.Audience); ok {
		q.Resource = resource
		q.Candidates = snapshot.Find(nil, q.Workload.ID, resource)
	}
	return snapshot.Explain(&q), nil
}

// trusted returns a subject with its issuer as the policy has it.
func trusted(v broker.View, s *broker.Subject) *broker.Subject {
	if s == nil || s.Kind != broker.SubjectUser {
		return s
	}
	again := *s
	again.Issuer, _ = v.Issuer(s.Origin.Issuer)
	return &again
}
