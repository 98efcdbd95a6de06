package broker

import (
	"time"
)

// Facts is all that a condition may read. Lookup is the one place that says
// what each attribute means; package policy types the same names.
type Facts struct {
	Question *Question
	Captured []Capture
}

// Attributes that every condition may read, besides user.<claim> and
// captured.<name>.
const (
	AttrWorkloadID          = "workload.id"
	AttrWorkloadTrustDomain = "workload.trust_domain"
	AttrWorkloadPath        = "workload.path"
	AttrWorkloadNamespace   = "workload.ns"
	AttrWorkloadAccount     = "workload.sa"
	AttrWorkloadProof       = "workload.proof"
	AttrSubjectKind         = "subject.kind"
	AttrSubjectID           = "subject.id"
	AttrSubjectIssuer       = "subject.issuer"
	AttrSubjectClientID     = "subject.client_id"
	AttrSubjectScopes       = "subject.scopes"
	AttrSubjectActors       = "subject.actors"
	AttrRequestResource     = "request.resource"
	AttrRequestAudience     = "request.audience"
	AttrRequestScopes       = "request.scopes"
	AttrRequestGrant        = "request.grant"
	AttrRequestTime         = "request.time"

	AttrUserPrefix     = "user."
	AttrCapturedPrefix = "captured."
)

// Lookup returns the value of an attribute: a string, bool, int64, []string or
// time.Time. ok is false for what is not there, which a condition turns into an
// error: what is unknown is never a default.
func (f *Facts) Lookup(name string) (value any, ok bool) {
	switch {
	case len(name) > len(AttrUserPrefix) && name[:len(AttrUserPrefix)] == AttrUserPrefix:
		if s := f.Question.Subject; s != nil {
			return s.Claim(name[len(AttrUserPrefix):])
		}
		return nil, false
	case len(name) > len(AttrCapturedPrefix) && name[:len(AttrCapturedPrefix)] == AttrCapturedPrefix:
		return capture(f.Captured, name[len(AttrCapturedPrefix):])
	case len(name) > 8 && name[:8] == "subject.":
		return f.lookupSubject(name)
	}
	return f.lookupRequest(name)
}

func (f *Facts) lookupRequest(name string) (any, bool) {
	q := f.Question
	switch name {
	case AttrWorkloadID:
		return q.Workload.ID.String(), true
	case AttrWorkloadTrustDomain:
		return q.Workload.ID.TrustDomain().Name(), true
	case AttrWorkloadPath:
		return q.Workload.ID.Path(), true
	case AttrWorkloadNamespace:
		return q.Workload.Namespace(), true
	case AttrWorkloadAccount:
		return q.Workload.ServiceAccount(), true
	case AttrWorkloadProof:
		return q.Workload.Proof.String(), true
	case AttrRequestAudience:
		return q.Request.Audience, true
	case AttrRequestGrant:
		return string(q.Request.Grant), true
	case AttrRequestScopes:
		return collect(q.Request.Scopes), true
	case AttrRequestTime:
		return q.Now, true
	case AttrRequestResource:
		if q.Resource != nil {
			return q.Resource.Name, true
		}
	}
	return nil, false
}

// lookupSubject answers for a workload that acts for itself as for its own
// subject, so that one condition reads the same for both.
func (f *Facts) lookupSubject(name string) (any, bool) {
	s := f.Question.Subject
	if s == nil {
		s = &Subject{Kind: SubjectWorkload, Sub: f.Question.Workload.ID.String()}
	}
	switch name {
	case AttrSubjectKind:
		return s.Kind.String(), true
	case AttrSubjectID:
		return s.Sub, true
	case AttrSubjectIssuer:
		if s.Issuer != nil {
			return s.Issuer.Name, true
		}
		return "", true
	case AttrSubjectClientID:
		return s.ClientID, true
	case AttrSubjectScopes:
		return collect(s.Scopes), true
	case AttrSubjectActors:
		actors := make([]string, 0, s.Actor.Depth())
		for a := s.Actor; a != nil; a = a.Actor {
			actors = append(actors, a.Subject)
		}
		return actors, true
	}
	return nil, false
}

func capture(captured []Capture, name string) (any, bool) {
	for i := range captured {
		if captured[i].Name == name {
			return captured[i].Value, true
		}
	}
	return nil, false
}

// Question is everything that a decision depends on. Decide reads nothing else,
// so the same question has the same answer for ever.
type Question struct {
	Now        time.Time
	View       View
	Workload   Workload
	Request    ExchangeRequest
	Resource   *Resource // what the audience names; nil if nothing
	Subject    *Subject  // nil when the workload acts for itself
	Actor      *Subject  // the verified actor token, nil without one
	Candidates []Candidate
	Limits     Limits
}

// Limits are the caps that configuration sets. The zero value allows no
// lifetime and so refuses everything.
type Limits struct {
	TTLCap     time.Duration // longest life of any token
	ChainDepth int           // most links of act
}

// DefaultLimits returns the limits of a server that configures none.
func DefaultLimits() Limits { return Limits{TTLCap: DefaultTTLCap, ChainDepth: 4} }
