package broker

import (
	"context"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Revision numbers committed policy writes, from 1, in commit order, without a
// gap. 0 means none.
type Revision int64

// Policy hands out the policy in force. Implemented by fleet.Follower.
type Policy interface {
	// Current returns the view and the lease it stands on, by one atomic load.
	// The view is nil before the first snapshot; the zero Lease has run out.
	Current() (View, Lease)
}

// View is all policy at one revision. It never changes, so one request that
// holds one sees one policy. Implemented by policy.Snapshot.
type View interface {
	Revision() Revision
	// Resource returns the resource whose URI is exactly uri, built from a
	// template if no explicit one has it.
	Resource(uri string) (*Resource, bool)
	// Issuer returns the issuer whose URL is exactly url.
	Issuer(url string) (*Issuer, bool)
	// Find appends to dst every mapping whose from fits w and whose to fits r,
	// and returns it. With r nil it finds for every resource and sets
	// Candidate.Resource; templates come with * for what is not captured.
	Find(dst []Candidate, w spiffeid.ID, r *Resource) []Candidate
	// Blocked returns a block in force on the target, nil if there is none.
	Blocked(now time.Time, target BlockTarget, id string, issuedAt time.Time) *Block
}

// Condition is a compiled when. It is pure and its cost is bounded.
type Condition interface {
	// Holds evaluates it. An error refuses an allow and applies a deny.
	Holds(f *Facts) (bool, error)
	// Reads names the attributes it reads, in the words of Facts.Lookup: what
	// the record must keep for a replay to be exact.
	Reads() []string
}

// SubjectVerifier verifies a subject or actor token as the type that it was
// declared to be (RFC 8693 section 2.1). Errors are *Error: CodeInvalidRequest
// for a token that is not acceptable, CodeUnavailable where its issuer's keys
// cannot be had.
type SubjectVerifier interface {
	Verify(ctx context.Context, v View, now time.Time, t SubjectToken) (Subject, error)
}

// Lease is how long a view may still be believed. It is measured on a clock
// that counts suspended time, never on wall time: a step of the wall clock
// cannot extend it.
type Lease struct {
	start time.Duration
	now   func() time.Duration
}

// NewLease returns the lease that began at start on the given clock.
func NewLease(start time.Duration, now func() time.Duration) Lease {
	return Lease{start: start, now: now}
}

// Left returns what is left of a lease of the given term; ≤ 0 means that it has
// run out. The zero Lease has always run out.
func (l Lease) Left(term time.Duration) time.Duration {
	if l.now == nil {
		return 0
	}
	return l.start + term - l.now()
}

// Object is one policy object as it is stored and versioned: canonical JSON
// under a kind and a name. Name is set/name for mappings and the bare name for
// every other kind.
type Object struct {
	Kind     ObjectKind
	Name     string
	Set      string // the set that owns it, "" for kinds that stand outside sets
	Body     []byte // canonical JSON; nil if Deleted
	Deleted  bool
	Revision Revision // the revision that wrote it
}

// ObjectKind is the kind of a policy object.
type ObjectKind string

// The kinds of policy object.
const (
	KindSet        ObjectKind = "set"
	KindIssuer     ObjectKind = "issuer"
	KindResource   ObjectKind = "resource"
	KindMapping    ObjectKind = "mapping"
	KindBlock      ObjectKind = "block"
	KindRevocation ObjectKind = "revocation" // a revoked token; it ends by itself and stands in no history
)

// Known reports whether the kind is one of the list.
func (k ObjectKind) Known() bool {
	switch k {
	case KindSet, KindIssuer, KindResource, KindMapping, KindBlock, KindRevocation:
		return true
	}
	return false
}
