package broker

import (
	"context"
	"slices"
	"time"
)

// Inspector answers for tokens of ours after they were issued. It shares policy,
// ledger and clock with the line that issues them.
type Inspector struct {
	Line        *Exchanger
	Revocations Revocations
}

// Introspection is what a caller may know of a token (RFC 7662 section 2.2). The
// zero value says that it is not active.
type Introspection struct {
	Token  *Subject // nil: not active
	Issuer string
	Serves bool   // the caller is whom the token is for, and may know whom it is about
	Reason Reason // why it is not active: for the record and for metrics, never for the caller
}

// Introspect says whether the token of the request is good, to the workloads that
// serve its audience and to the one that it was issued to. To everybody else it
// is not active, like one that is expired, revoked or none at all. What is not
// active is recorded. Errors are *Error: a caller that is not authenticated, or
// CodeUnavailable.
func (i *Inspector) Introspect(ctx context.Context, w Workload, r ExchangeRequest) (Introspection, error) {
	f, err := i.find(ctx, RecordIntrospection, w, r)
	if err != nil {
		return Introspection{}, err
	}
	switch {
	case f.missing != "":
	case f.q.Resource == nil || f.q.Resource.Quarantined:
		f.missing = ReasonResourceUnknown
	case !f.holder && !f.serves:
		f.missing = ReasonSubjectNotShown
	case f.q.Subject.Confirmation.Unknown: // an answer without it would make it a bearer token
		f.missing = ReasonSubjectUnbound
	}
	if f.missing == "" { // the caller is one who may know
		if f.lease.Left(f.q.Resource.Freshness) <= 0 {
			return Introspection{}, i.Line.refuseAs(RecordIntrospection, f.q, f.left, Unavailable(ReasonLeaseExpired, retryAfter, nil))
		}
		f.missing = f.q.stands()
	}
	if f.missing != "" {
		i.miss(RecordIntrospection, f)
		return Introspection{Reason: f.missing}, nil
	}
	return Introspection{Token: f.q.Subject, Issuer: i.Line.Issuer, Serves: f.serves}, nil
}

// found is a token that somebody showed, and what they are to it.
type found struct {
	q       *Question
	lease   Lease
	left    time.Duration
	missing Reason // why it is nothing to the caller, "" if it is something
	holder  bool   // it was issued to the caller
	serves  bool   // the caller serves its audience
}

// find verifies the token of the request as one of ours. The lease is checked
// first, the same for every token.
func (i *Inspector) find(ctx context.Context, kind RecordType, w Workload, r ExchangeRequest) (*found, error) {
	i.Line.begin(&r)
	f := &found{q: &Question{Now: r.At, Workload: w, Request: r}}
	f.q.View, f.lease = i.Line.Policy.Current()
	f.left = f.lease.Left(FreshnessNormal)
	switch {
	case w.Proof == ProofNone || !f.q.Now.Before(w.NotAfter):
		return nil, i.Line.refuseAs(kind, f.q, f.left, Errorf(CodeInvalidClient, ReasonWorkloadExpired, "the caller is not authenticated"))
	case f.q.View == nil || f.left <= 0:
		return nil, i.Line.refuseAs(kind, f.q, f.left, Unavailable(ReasonLeaseExpired, retryAfter, nil))
	}
	subject, err := i.Line.verify(ctx, f.q, r.Subject)
	if err != nil {
		refusal := AsError(err)
		if refusal.Code != CodeInvalidRequest {
			return nil, i.Line.refuseAs(kind, f.q, f.left, refusal)
		}
		f.missing = refusal.Reason
		return f, nil
	}
	if subject == nil || !subject.Issued || len(subject.Audience) != 1 {
		f.missing = ReasonTokenIssuer
		return f, nil
	}
	f.q.Subject = subject
	f.holder = subject.ClientID == w.ID.String()
	subject.Claims = nil // nothing here reads what it says of its user, nor does the record keep it
	if resource, ok := f.q.View.Resource(subject.Audience[0]); ok {
		f.q.Resource, f.serves = resource, resource.ServedByWorkload(w.ID)
	}
	return f, nil
}

// stands asks those checks of Decide that are about the token and about who shows
// it, whatever it is shown for, and returns the reason of the first that does not
// hold: what could not be exchanged is not active.
func (q *Question) stands() Reason {
	asked := [...]Reason{ReasonSubjectMissing, ReasonSubjectUnknown, ReasonSubjectExpired, ReasonBlocked}
	g := grant{Question: q, Resource: q.Resource}
	for i := range checks {
		if slices.Contains(asked[:], checks[i].reason) && !checks[i].holds(&g) {
			return checks[i].reason
		}
	}
	return ""
}

// miss records that somebody showed a token which is not what they may use. They
// are told nothing of it.
func (i *Inspector) miss(kind RecordType, f *found) {
	_ = i.Line.refuseAs(kind, f.q, f.left, &Error{Code: CodeInvalidRequest, Reason: f.missing}) // the refusal is not theirs to see
}
