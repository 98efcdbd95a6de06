package broker

import (
	"context"
	"errors"
	"slices"
	"time"
)

// retryAfter is what a caller is told to wait for when a dependency is away.
const retryAfter = 2 * time.Second

// Exchanger is the straight line from a request to a token. It holds no state
// of its own; every field is required.
type Exchanger struct {
	Issuer   string // our issuer identifier, the iss of every token
	Limits   Limits
	Policy   Policy
	Verifier SubjectVerifier
	Ledger   Ledger
	Minter   Minter
	Now      func() time.Time // wall time, read once a request
	NewID    func(time.Time) string
}

// Exchange decides the request of an authenticated workload and issues the
// token. Every answer, a refusal too, has a record; no token leaves without a
// durable one. Errors are *Error.
func (e *Exchanger) Exchange(ctx context.Context, w Workload, r ExchangeRequest) (IssuedToken, error) {
	e.begin(&r)
	q := &Question{Now: r.At, Workload: w, Request: r, Limits: e.Limits}
	left, err := e.ask(ctx, q) // 1 one view for the whole request, 2 verify subject and actor, 3 find
	if err != nil {
		return IssuedToken{}, e.refuse(q, left, AsError(err))
	}
	d := Decide(q, nil) // 4 decide
	if !d.Allowed {
		return IssuedToken{}, e.refuse(q, left, d.Error())
	}
	claims := e.claims(q, &d)
	unsigned, err := e.Minter.Encode(claims, q.Resource.Algorithm) // 5 encode what will be signed
	if err != nil {
		return IssuedToken{}, e.refuse(q, left, AsError(err))
	}
	receipt, err := e.record(ctx, q, left, &d, claims, unsigned) // 6 record it, durably
	if err != nil {
		return IssuedToken{}, e.named(q, Unavailable(ReasonRecordUnavailable, retryAfter, err))
	}
	token, err := e.Minter.Mint(ctx, receipt) // 7 sign those bytes
	if err != nil {
		return IssuedToken{}, e.discard(q, AsError(err))
	}
	if err := e.confirm(q, &d); err != nil { // 8 look once more
		return IssuedToken{}, e.discard(q, err)
	}
	kind := "Bearer"
	if d.Confirmation.KeyThumbprint != "" {
		kind = "DPoP"
	}
	return IssuedToken{
		Token: token, ID: claims.ID, Type: kind, Scopes: claims.Scopes,
		IssuedAt: claims.IssuedAt, ExpiresAt: claims.ExpiresAt,
	}, nil
}

// Refuse records a refusal that was decided before Exchange was reached: a form
// of an authenticated workload that does not parse.
func (e *Exchanger) Refuse(w Workload, r ExchangeRequest, cause error) error {
	e.begin(&r)
	return e.refuse(&Question{Now: r.At, Workload: w, Request: r}, 0, AsError(cause))
}

// begin fixes the one time of a request (law 7), and its id. The id holds the
// time of the record, so that a record is found by its id alone.
func (e *Exchanger) begin(r *ExchangeRequest) {
	if r.At.IsZero() {
		r.At = e.Now()
	}
	if r.Origin.RequestID == "" {
		r.Origin.RequestID = e.NewID(r.At)
	}
}

// ask fills the question: the view, the resource, the verified tokens, the
// candidates. The lease is checked as soon as it is known how fresh the policy
// must be; what is left of it is returned for the record.
func (e *Exchanger) ask(ctx context.Context, q *Question) (left time.Duration, err error) {
	view, lease := e.Policy.Current()
	if view == nil {
		return 0, Unavailable(ReasonPolicyUnavailable, retryAfter, nil)
	}
	q.View = view
	term := FreshnessNormal
	if r, ok := view.Resource(q.Request.Audience); ok {
		q.Resource, term = r, r.Freshness
	}
	if left = lease.Left(term); left <= 0 {
		return left, Unavailable(ReasonLeaseExpired, retryAfter, nil)
	}
	if q.Subject, err = e.verify(ctx, q, q.Request.Subject); err != nil {
		return left, err
	}
	if q.Actor, err = e.verify(ctx, q, q.Request.Actor); err != nil {
		return left, err
	}
	if q.Resource != nil {
		q.Candidates = view.Find(nil, q.Workload.ID, q.Resource)
	}
	return left, nil
}

func (e *Exchanger) verify(ctx context.Context, q *Question, t *SubjectToken) (*Subject, error) {
	if t == nil {
		return nil, nil
	}
	s, err := e.Verifier.Verify(ctx, q.View, q.Now, *t)
	if err != nil {
		return nil, err
	}
	return &s, nil
}

// claims builds what will be signed. sub and its origin are copied byte for
// byte from the subject; client_id is always the authenticated workload.
func (e *Exchanger) claims(q *Question, d *Decision) *Claims {
	c := &Claims{
		Issuer: e.Issuer, Subject: q.Workload.ID.String(), Audience: q.Resource.URI, ClientID: q.Workload.ID.String(),
		ID: q.Request.Origin.RequestID, IssuedAt: q.Now.Truncate(time.Second), ExpiresAt: d.ExpiresAt,
		Scopes: d.Scopes, Actor: d.Actor, Confirmation: d.Confirmation, Txn: q.Request.Origin.RequestID,
		Revision: q.View.Revision(), Presenters: d.Presenters, Extra: d.Claims,
	}
	s := q.Subject
	if s == nil {
		return c
	}
	c.Subject, c.SubjectID = s.Sub, s.Origin
	if s.Issued {
		if s.Txn != "" {
			c.Txn = s.Txn
		}
		c.Ancestors = append(slices.Clone(s.Ancestors), s.TokenID)
	}
	return c
}

// record makes the one Receipt there is, after the ledger said that the record
// is durable.
func (e *Exchanger) record(ctx context.Context, q *Question, left time.Duration, d *Decision, c *Claims, u Unsigned) (Receipt, error) {
	r := e.newRecord(q, left)
	r.Allowed, r.Mappings, r.Claims, r.Unsigned = true, d.Mappings, c, u
	at, err := e.Ledger.Append(ctx, r)
	if err != nil {
		return Receipt{}, err
	}
	return Receipt{unsigned: u, at: at}, nil
}

// refuse queues the record of a refusal and returns it with the record's id.
func (e *Exchanger) refuse(q *Question, left time.Duration, refusal *Error) error {
	return e.refuseAs(RecordExchange, q, left, refusal)
}

func (e *Exchanger) refuseAs(kind RecordType, q *Question, left time.Duration, refusal *Error) error {
	r := e.newRecord(q, left)
	r.Type, r.Code, r.Reason = kind, refusal.Code, refusal.Reason
	if refusal.Err != nil {
		r.Detail = refusal.Err.Error()
	}
	e.Ledger.Note(r)
	return e.named(q, refusal)
}

// discard says in a second record that a token which was recorded never left.
func (e *Exchanger) discard(q *Question, refusal *Error) error {
	r := &Record{
		ID: e.NewID(q.Now), Type: RecordUndelivered, Of: q.Request.Origin.RequestID, At: q.Now, Workload: q.Workload,
		Code: refusal.Code, Reason: refusal.Reason, Revision: q.View.Revision(),
	}
	e.Ledger.Note(r)
	return e.named(q, refusal)
}

func (e *Exchanger) named(q *Question, refusal *Error) error {
	named := *refusal
	named.RecordID = q.Request.Origin.RequestID
	return &named
}

func (e *Exchanger) newRecord(q *Question, left time.Duration) *Record {
	r := &Record{
		ID: q.Request.Origin.RequestID, Type: RecordExchange, At: q.Now, Workload: q.Workload, Request: q.Request,
		Subject: q.Subject, Actor: q.Actor, Facts: q.facts(),
	}
	if q.View != nil {
		r.Revision = q.View.Revision()
	}
	if q.Resource != nil {
		r.Resource = q.Resource.Name
		r.LeaseMS = left.Milliseconds()
	}
	return r
}

// facts collects the attributes that conditions and claim templates of the
// candidates read, so that a replay can answer as the decision did. Captures
// are left out: they follow from the workload and the resource.
func (q *Question) facts() []Claim {
	var facts []Claim
	f := Facts{Question: q}
	add := func(name string) {
		if slices.ContainsFunc(facts, func(c Claim) bool { return c.Name == name }) {
			return
		}
		if value, ok := f.Lookup(name); ok {
			facts = append(facts, Claim{Name: name, Value: value})
		}
	}
	for i := range q.Candidates {
		c := &q.Candidates[i]
		if c.Condition != nil {
			for _, name := range c.Condition.Reads() {
				add(name)
			}
		}
		for k := range c.Mapping.Claims {
			if user := c.Mapping.Claims[k].User; user != "" {
				add(AttrUserPrefix + user)
			}
		}
	}
	return facts
}

// confirm looks once more after signing: the lease must still hold, and if the
// policy moved meanwhile the same question must have the same answer.
func (e *Exchanger) confirm(q *Question, d *Decision) *Error {
	view, lease := e.Policy.Current()
	if view == nil || lease.Left(q.Resource.Freshness) <= 0 {
		return Unavailable(ReasonLeaseExpired, retryAfter, nil)
	}
	if view.Revision() == q.View.Revision() {
		return nil
	}
	again := *q
	again.View = view
	again.Candidates = nil
	again.Subject, again.Actor = trusted(view, q.Subject), trusted(view, q.Actor)
	if r, ok := view.Resource(q.Request.Audience); ok {
		again.Resource = r
		again.Candidates = view.Find(nil, q.Workload.ID, r)
	} else {
		again.Resource = nil
	}
	now := Decide(&again, nil)
	if !now.Allowed {
		return now.Error()
	}
	if !now.equal(d) || again.Resource.Algorithm != q.Resource.Algorithm || lease.Left(again.Resource.Freshness) <= 0 {
		return Unavailable(ReasonPolicyMoved, retryAfter, errors.New("the policy moved while signing"))
	}
	return nil
}

// trusted returns the subject as the view sees it: with its issuer as it is
// there, or with none, which refuses. An issuer of another name is another: its
// users have other names too.
func trusted(v View, s *Subject) *Subject {
	if s == nil || s.Issuer == nil {
		return s
	}
	again := *s
	if i, ok := v.Issuer(s.Issuer.URL); ok && i.Name == s.Issuer.Name {
		again.Issuer = i
	} else {
		again.Issuer = nil
	}
	return &again
}

func (d *Decision) equal(o *Decision) bool {
	sameClaims := slices.EqualFunc(d.Claims, o.Claims, func(a, b Claim) bool { return a.Name == b.Name && equalValue(a.Value, b.Value) })
	return d.Allowed == o.Allowed && d.Scopes.Equal(o.Scopes) && d.ExpiresAt.Equal(o.ExpiresAt) && d.Confirmation == o.Confirmation &&
		slices.Equal(d.Presenters, o.Presenters) && equalChain(d.Actor, o.Actor) && sameClaims
}

func equalChain(a, b *Actor) bool {
	for a != nil && b != nil {
		if a.Party != b.Party {
			return false
		}
		a, b = a.Actor, b.Actor
	}
	return a == b
}
