package broker_test

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// line is an Exchanger over fakes that write down the order of what happens.
type line struct {
	broker.Exchanger
	mu      sync.Mutex
	view    broker.View
	after   broker.View // what Current returns from its second call on
	lease   time.Duration
	calls   []string
	subject *broker.Subject
	records []*broker.Record
	fails   map[string]error
	onSign  func()
	ids     int
}

func newLine(t *testing.T, v broker.View) *line {
	t.Helper()
	l := &line{view: v, lease: time.Minute, fails: map[string]error{}}
	l.Exchanger = broker.Exchanger{
		Issuer: "https://cambist.example", Limits: broker.DefaultLimits(), Policy: l, Verifier: l, Ledger: l, Minter: l,
		Now:   func() time.Time { return start },
		NewID: func(time.Time) string { l.ids++; return "id-" + strconv.Itoa(l.ids) },
	}
	return l
}

func (l *line) Current() (broker.View, broker.Lease) {
	v := l.view
	if l.after != nil && slices.Contains(l.calls, "mint") {
		v = l.after
	}
	left := l.lease
	return v, broker.NewLease(0, func() time.Duration { return broker.FreshnessNormal - left })
}

func (l *line) Verify(_ context.Context, _ broker.View, _ time.Time, _ broker.SubjectToken) (broker.Subject, error) {
	l.calls = append(l.calls, "verify")
	return *l.subject, l.fails["verify"]
}

func (l *line) Append(_ context.Context, r *broker.Record) (broker.Position, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.calls = append(l.calls, "record")
	if err := l.fails["record"]; err != nil {
		return broker.Position{}, err
	}
	l.records = append(l.records, r)
	return broker.Position{Replica: "r", Segment: "s", Seq: int64(len(l.records))}, nil
}

func (l *line) Note(r *broker.Record) {
	l.calls = append(l.calls, "note")
	l.records = append(l.records, r)
}

func (l *line) Encode(c *broker.Claims, alg string) (broker.Unsigned, error) {
	l.calls = append(l.calls, "encode")
	return broker.Unsigned{Input: []byte("h." + c.ID), KeyID: "k", Algorithm: alg}, l.fails["encode"]
}

func (l *line) Mint(_ context.Context, r broker.Receipt) (oauth.Secret, error) {
	l.calls = append(l.calls, "mint")
	if l.onSign != nil {
		l.onSign()
	}
	u, ok := r.Unsigned()
	if !ok {
		return oauth.Secret{}, errors.New("receipt proves nothing")
	}
	return oauth.NewSecret(string(u.Input) + ".sig"), l.fails["mint"]
}

func (l *line) ask(t *testing.T, way string) (broker.IssuedToken, error) {
	t.Helper()
	q := question(t, way, l.view.(*view))
	l.subject = q.Subject
	if q.Subject != nil {
		q.Request.Subject = &broker.SubjectToken{Raw: oauth.NewSecret("raw"), Type: oauth.TokenTypeJWT}
	}
	return l.Exchange(context.Background(), q.Workload, q.Request)
}

func TestExchangeIsAStraightLine(t *testing.T) {
	t.Parallel()
	l := newLine(t, world(t))
	token, err := l.ask(t, "onward")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"verify", "encode", "record", "mint"}; !slices.Equal(l.calls, want) {
		t.Errorf("steps %v, want %v", l.calls, want)
	}
	r := l.records[0]
	c := r.Claims
	switch {
	case token.Token.Reveal() != "h.id-1.sig", token.ID != "id-1", token.Type != "Bearer":
		t.Errorf("token %+v", token)
	case !r.Allowed, r.ID != token.ID, string(r.Unsigned.Input) != "h.id-1", r.Revision != 7, len(r.Mappings) != 1:
		t.Errorf("record %+v", r)
	case c.Subject != "corp:alice", c.SubjectID.Issuer != corpURL, c.ClientID != orders.String(), c.Audience != ledgerURI,
		c.Txn != "txn-1", !slices.Equal(c.Ancestors, []string{"t-1"}), c.Issuer != "https://cambist.example":
		t.Errorf("claims %+v", c)
	}
}

func TestSelfToken(t *testing.T) {
	t.Parallel()
	l := newLine(t, world(t))
	if _, err := l.ask(t, "self"); err != nil {
		t.Fatal(err)
	}
	c := l.records[0].Claims
	if c.Subject != other.String() || c.ClientID != other.String() || c.Actor != nil || !c.SubjectID.IsZero() || c.Txn != c.ID || len(c.Ancestors) != 0 {
		t.Errorf("claims %+v", c)
	}
}

func TestDPoPTokenType(t *testing.T) {
	t.Parallel()
	v := world(t)
	v.resources[1].Binding = broker.BindingDPoP
	l := newLine(t, v)
	q := question(t, "self", v)
	q.Request.ProofKey = "jkt"
	token, err := l.Exchange(context.Background(), q.Workload, q.Request)
	if err != nil || token.Type != "DPoP" {
		t.Errorf("type %q, %v", token.Type, err)
	}
}

// Whatever fails on the line, nothing after it happens and no token comes out.
func TestNothingAfterAFailure(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		prepare func(*line)
		reason  broker.Reason
		calls   []string
	}{
		"no policy yet": {func(l *line) { l.lease = time.Minute; l.Exchanger.Policy = none{} }, broker.ReasonPolicyUnavailable, []string{"note"}},
		"lease is over": {func(l *line) { l.lease = 0 }, broker.ReasonLeaseExpired, []string{"note"}},
		"subject refused": {func(l *line) {
			l.fails["verify"] = broker.Errorf(broker.CodeInvalidRequest, broker.ReasonTokenSignature, "bad")
		}, broker.ReasonTokenSignature, []string{"verify", "note"}},
		"unclassified":  {func(l *line) { l.fails["verify"] = errTest }, broker.ReasonInternal, []string{"verify", "note"}},
		"refused":       {func(l *line) { l.view.(*view).rules = nil }, broker.ReasonMappingNone, []string{"verify", "note"}},
		"no key":        {func(l *line) { l.fails["encode"] = broker.Unavailable(broker.ReasonSignerUnavailable, 1, nil) }, broker.ReasonSignerUnavailable, []string{"verify", "encode", "note"}},
		"record fails":  {func(l *line) { l.fails["record"] = errTest }, broker.ReasonRecordUnavailable, []string{"verify", "encode", "record"}},
		"signing fails": {func(l *line) { l.fails["mint"] = broker.Unavailable(broker.ReasonSignerUnavailable, 1, nil) }, broker.ReasonSignerUnavailable, []string{"verify", "encode", "record", "mint", "note"}},
		"lease runs out while signing": {func(l *line) { l.onSign = func() { l.lease = 0 } }, broker.ReasonLeaseExpired,
			[]string{"verify", "encode", "record", "mint", "note"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, world(t))
			tt.prepare(l)
			token, err := l.ask(t, "foreign")
			e := broker.AsError(err)
			if err == nil || e.Reason != tt.reason || !token.Token.IsZero() || e.RecordID != "id-1" {
				t.Errorf("token %v, error %v", token, err)
			}
			if !slices.Equal(l.calls, tt.calls) {
				t.Errorf("steps %v, want %v", l.calls, tt.calls)
			}
		})
	}
}

type none struct{}

func (none) Current() (broker.View, broker.Lease) { return nil, broker.Lease{} }

// A policy that moves while a token is signed: the same answer goes out, any
// other is discarded, and the record says undelivered.
func TestPolicyMovesWhileSigning(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		move   func(*view)
		reason broker.Reason
	}{
		"same answer":        {func(*view) {}, ""},
		"mapping gone":       {func(v *view) { v.rules = nil }, broker.ReasonMappingNone},
		"scope gone":         {func(v *view) { v.rules[0].mapping.Scopes = scopes(t, "orders.read") }, broker.ReasonScopeNotGranted},
		"subject blocked":    {func(v *view) { v.blocks = []broker.Block{{Target: broker.BlockSubject, ID: "corp:alice"}} }, broker.ReasonBlocked},
		"issuer gone":        {func(v *view) { v.issuers = nil }, broker.ReasonSubjectUnknown},
		"issuer renamed":     {func(v *view) { v.issuers[0].Name = "other"; v.rules[0].mapping.For = "other" }, broker.ReasonSubjectUnknown},
		"issuer quarantined": {func(v *view) { v.issuers[0].Quarantined = true }, broker.ReasonSubjectUnknown},
		"resource gone":      {func(v *view) { v.resources = v.resources[1:] }, broker.ReasonResourceUnknown},
		"shorter life":       {func(v *view) { v.rules[0].mapping.TTL = time.Minute }, broker.ReasonPolicyMoved},
		"another algorithm":  {func(v *view) { v.resources[0].Algorithm = "EdDSA" }, broker.ReasonPolicyMoved},
		"bound now":          {func(v *view) { v.resources[0].Binding = broker.BindingCertificate }, broker.ReasonPolicyMoved},
		"presenters":         {func(v *view) { v.rules[0].mapping.PresentedBy = append(v.rules[0].mapping.PresentedBy, other) }, broker.ReasonPolicyMoved},
		"claims":             {func(v *view) { v.rules[0].mapping.Claims = []broker.ClaimTemplate{{Name: "tier", Literal: "x"}} }, broker.ReasonPolicyMoved},
		"chain":              {func(v *view) { v.resources[0].Impersonation, v.rules[0].mapping.Impersonate = true, true }, broker.ReasonPolicyMoved},
		"stricter":           {func(v *view) { v.resources[0].Freshness = 0 }, broker.ReasonPolicyMoved},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			before := world(t)
			after := before.clone()
			after.revision++
			tt.move(after)
			l := newLine(t, before)
			l.after = after
			_, err := l.ask(t, "foreign")
			if tt.reason == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if broker.AsError(err).Reason != tt.reason {
				t.Fatalf("error %v, want %s", err, tt.reason)
			}
			last := l.records[len(l.records)-1]
			if last.Type != broker.RecordUndelivered || last.Of != "id-1" || last.ID == "id-1" {
				t.Errorf("last record %+v", last)
			}
		})
	}
}

// The record keeps what the candidates' conditions and claims read, and no more.
func TestRecordKeepsFacts(t *testing.T) {
	t.Parallel()
	v := world(t)
	v.rules[0].mapping.Conditional = true
	v.rules[0].condition = condition{holds: true, reads: []string{"user.groups", "user.absent", "request.resource"}}
	v.rules[0].mapping.Claims = []broker.ClaimTemplate{{Name: "mail", User: "email"}}
	l := newLine(t, v)
	if _, err := l.ask(t, "foreign"); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range l.records[0].Facts {
		names = append(names, f.Name)
	}
	if want := []string{"user.groups", "request.resource", "user.email"}; !slices.Equal(names, want) {
		t.Errorf("facts %v, want %v", names, want)
	}
}

func TestRefuseRecords(t *testing.T) {
	t.Parallel()
	l := newLine(t, world(t))
	err := l.Refuse(proven(other), broker.ExchangeRequest{}, broker.Errorf(broker.CodeInvalidRequest, broker.ReasonRequestMalformed, "x"))
	if broker.AsError(err).RecordID != "id-1" || l.records[0].Reason != broker.ReasonRequestMalformed || l.records[0].Allowed {
		t.Errorf("%v, %+v", err, l.records[0])
	}
}

func TestReach(t *testing.T) {
	t.Parallel()
	v := world(t)
	v.rules = append(v.rules,
		rule{from: other, to: "orders", mapping: &broker.Mapping{ID: "x/1", Scopes: scopes(t, "orders.read", "orders.write"), Conditional: true}},
		rule{to: "orders", mapping: &broker.Mapping{ID: "x/2", Deny: true, ForAny: true, Scopes: scopes(t, "orders.write")}})
	l := newLine(t, v)
	found, err := l.Reach(context.Background(), proven(other), broker.ExchangeRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != 2 || found[0].Resource.Name != "ledger" || found[1].Scopes.String() != "orders.read" || !found[1].Conditional {
		t.Errorf("found %+v", found)
	}
	if r := l.records[0]; r.Type != broker.RecordSelf || !r.Allowed {
		t.Errorf("record %+v", r)
	}
	expired := proven(other)
	expired.NotAfter = start
	if _, err := l.Reach(context.Background(), expired, broker.ExchangeRequest{}); err == nil {
		t.Error("an expired workload was answered")
	}
	l.lease = 0
	if _, err := l.Reach(context.Background(), proven(other), broker.ExchangeRequest{}); broker.AsError(err).Code != broker.CodeUnavailable {
		t.Errorf("without a lease: %v", err)
	}
}
