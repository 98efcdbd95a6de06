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

// Why decides a recorded question again, on the policy of the given revision,
// and explains it.
// Errors are those of the store.
func Why(ctx context.Context, policies store.Policies, q broker.Question, at broker.Revision, o policy.Options) (policy.Explanation, error) {
	objects, err := policies.LoadAt(ctx, at)
	if err != nil {
		return policy.Explanation{}, fmt.Errorf("load the policy of revision %d: %w", at, err)
	}
	snapshot, _ := policy.Compile(objects, at, o)
	q.View = snapshot
	q.Subject, q.Actor = trusted(snapshot, q.Subject), trusted(snapshot, q.Actor)
	if r, ok := snapshot.Resource(q.Request.Audience); ok {
		q.Resource = r
		q.Candidates = snapshot.Find(nil, q.Workload.ID, r)
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
