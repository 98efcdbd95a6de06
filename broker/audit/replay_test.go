package audit_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
)

const world = `
cambist: v1
set: shop
defaults: {domain: prod.example}
issuers:
- {name: corp, kind: okta, url: https://corp.example, audiences: {cambist: any, api://acme: [edge/gateway]}, accept: [access], algs: [RS256],
   claims: {email: string, groups: [customer, finance], level: int, team: string}, carry: [groups, team]}
resources:
- {name: ledger, uri: https://ledger.prod.example, served_by: [finance/ledger], scopes: {read: ["GET /**"], write: ["POST /**"]}, default_scopes: [read], binding: dpop, impersonation: true}
- {name: orders, uri: https://orders.prod.example, served_by: [shop/orders], scopes: {write: ["POST /**"]}, binding: certificate, proof: [mtls, linkerd]}
allow:
- {name: self, from: "shop/*", to: ledger, scopes: [read], ttl: 2m}
- {name: user, from: edge/gateway, for: corp, to: orders, scopes: [write], when: '"customer" in user.groups && user.level > 2', claims: {mail: "{user.email}"}}
- {name: onward, from: shop/orders, for: corp, having: [write], to: ledger, scopes: [read, write], as: impersonate}
- {name: workload, from: shop/orders, for: workload, having: [write], to: ledger, scopes: [read], when: 'request.time < timestamp("2026-11-24T13:00:00Z")'}
deny:
- {name: low, from: "shop/*", for: corp, to: ledger, scopes: [write], when: 'user.level < 5'}
`

var options = policy.Options{Issuer: "https://cambist.prod.example"}

func compile(t testing.TB) *policy.Snapshot {
	t.Helper()
	docs, findings := policy.Parse("world.yaml", []byte(world))
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	s, findings := policy.Compile(docs[0].Objects, 7, options)
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	return s
}

// exchange runs the straight line with a verifier that has verified already, and
// keeps the records.
type exchange struct {
	view           *policy.Snapshot
	subject, actor *broker.Subject
	recorder       *audit.Recorder
}

func (e *exchange) Current() (broker.View, broker.Lease) {
	return e.view, broker.NewLease(0, func() time.Duration { return time.Second })
}

func (e *exchange) Verify(_ context.Context, _ broker.View, _ time.Time, token broker.SubjectToken) (broker.Subject, error) {
	if token.Type == oauth.TokenTypeIDToken {
		return *e.actor, nil
	}
	return *e.subject, nil
}

func (e *exchange) Encode(c *broker.Claims, algorithm string) (broker.Unsigned, error) {
	return broker.Unsigned{Input: []byte(c.ID), Hash: [32]byte{1}, KeyID: "k", Algorithm: algorithm}, nil
}

func (e *exchange) Mint(context.Context, broker.Receipt) (oauth.Secret, error) {
	return oauth.NewSecret("token"), nil
}

func draw[T any](rt *rapid.T, name string, from ...T) T {
	return rapid.SampledFrom(from).Draw(rt, name)
}

// mostly draws what lets a request through, and now and then something else.
func mostly[T any](rt *rapid.T, name string, good T, others ...T) T {
	if rapid.IntRange(0, 7).Draw(rt, name+"?") > 0 {
		return good
	}
	return draw(rt, name, others...)
}

func workload(rt *rapid.T, name string) spiffeid.ID {
	return spiffeid.RequireFromString("spiffe://prod.example/ns/" + draw(rt, name, "shop/sa/web", "shop/sa/orders", "edge/sa/gateway", "finance/sa/ledger"))
}

const (
	ledgerURI = "https://ledger.prod.example"
	ordersURI = "https://orders.prod.example"
)

var (
	web     = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/web")
	orders  = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/orders")
	gateway = spiffeid.RequireFromString("spiffe://prod.example/ns/edge/sa/gateway")
)

// way is one way to a token: for oneself, with a foreign token, onward for a user
// or a workload, and narrowing what one holds.
type way struct {
	caller   spiffeid.ID
	grant    oauth.GrantType
	audience string
	scopes   oauth.Scopes

	user, ours       bool
	subject, granted string // aud and scope of the subject token
	client           spiffeid.ID
}

var ways = []way{
	{caller: web, grant: oauth.GrantClientCredentials, audience: ledgerURI, scopes: set("read")},
	{caller: gateway, grant: oauth.GrantTokenExchange, audience: ordersURI, scopes: set("write"), user: true, subject: "api://acme"},
	{caller: orders, grant: oauth.GrantTokenExchange, audience: ledgerURI, scopes: set("write"), user: true, ours: true, subject: ordersURI, granted: "write", client: gateway},
	{caller: orders, grant: oauth.GrantTokenExchange, audience: ledgerURI, scopes: set("read"), ours: true, subject: ordersURI, granted: "write", client: gateway},
	{caller: gateway, grant: oauth.GrantTokenExchange, audience: ordersURI, scopes: set("write"), user: true, ours: true, subject: ordersURI, granted: "write", client: gateway},
}

func drawSubject(rt *rapid.T, view *policy.Snapshot, w way) *broker.Subject {
	s := &broker.Subject{
		Audience: []string{mostly(rt, "aud", w.subject, "cambist", "api://acme", ordersURI, ledgerURI)}, TokenID: "t-1", KeyID: "k-1",
		IssuedAt: start.Add(-time.Minute), ExpiresAt: start.Add(mostly(rt, "left", time.Hour, -time.Second, 8*time.Second, time.Minute)),
	}
	if mostly(rt, "user", w.user, !w.user) {
		s.Kind, s.Sub, s.Origin = broker.SubjectUser, "corp:alice", broker.SubjectID{Issuer: "https://corp.example", Subject: "alice"}
		for _, c := range []broker.Claim{
			{Name: "email", Value: "alice@corp.example"}, {Name: "groups", Value: []string{mostly(rt, "group", "customer", "finance")}},
			{Name: "level", Value: rapid.Int64Range(2, 9).Draw(rt, "level")}, {Name: "team", Value: draw(rt, "team", "alice@corp.example", "t")},
		} {
			if mostly(rt, "has "+c.Name, true, false) {
				s.Claims = append(s.Claims, c)
			}
		}
		s.Issuer, _ = view.Issuer(s.Origin.Issuer)
	} else {
		s.Kind, s.Sub = broker.SubjectWorkload, web.String()
	}
	if s.Issued = w.ours; !s.Issued {
		return s
	}
	s.ClientID, s.Scopes, s.Txn = mostly(rt, "client", w.client, web).String(), set(mostly(rt, "granted", w.granted, "read")), "txn-1"
	s.Ancestors = mostly(rt, "anc", []string{"t-0"}, nil, []string{"a", "b", "c", "d"})
	s.Confirmation = mostly(rt, "cnf", broker.Confirmation{}, broker.Confirmation{KeyThumbprint: "jkt"}, broker.Confirmation{Unknown: true})
	if rapid.Bool().Draw(rt, "act") {
		s.Actor = &broker.Actor{Party: broker.Party{Subject: mostly(rt, "actor", gateway, orders).String()}}
	}
	s.MayAct = mostly(rt, "may_act", nil, &broker.Party{Subject: orders.String()})
	s.Presenters = mostly(rt, "presenters", nil, []string{gateway.String()})
	return s
}

// ask fills in what a replay takes from a view.
func ask(view *policy.Snapshot, q *broker.Question) broker.Decision {
	q.View = view
	if s := q.Subject; s != nil && s.Kind == broker.SubjectUser {
		s.Issuer, _ = view.Issuer(s.Origin.Issuer)
	}
	if r, ok := view.Resource(q.Request.Audience); ok {
		q.Resource = r
		q.Candidates = view.Find(nil, q.Workload.ID, r)
	}
	return broker.Decide(q, nil)
}

// What was recorded is decided again as it was decided: allow or refusal, reason,
// scopes, end, chain, binding, claims. And the straight line recorded every input.
func TestReplay(t *testing.T) {
	t.Parallel()
	view := compile(t)
	l := &ledger{}
	recorder, stop := run(t, config(l))
	outcomes := map[string]int{}
	rapid.Check(t, func(rt *rapid.T) {
		e := &exchange{view: view, recorder: recorder}
		way := draw(rt, "way", ways...)
		w := broker.Workload{
			ID: mostly(rt, "caller", way.caller, workload(rt, "another")), Proof: mostly(rt, "proof", broker.ProofMTLS, broker.ProofXFCC, broker.ProofKubernetes), Thumbprint: mostly(rt, "thumb", "th", ""),
			NotAfter: start.Add(mostly(rt, "svid", time.Hour, time.Minute, -time.Second)),
		}
		r := broker.ExchangeRequest{
			At: start, Grant: mostly(rt, "grant", way.grant, oauth.GrantClientCredentials, oauth.GrantTokenExchange), ClientID: mostly(rt, "client", "", w.ID.String(), "x"),
			Audience: mostly(rt, "audience", way.audience, ledgerURI, ordersURI, "https://x"), Scopes: mostly(rt, "scopes", way.scopes, oauth.Scopes{}, set("read"), set("write"), set("x")),
			ProofKey: mostly(rt, "jkt", "jkt", ""), RequestedType: mostly(rt, "type", "", oauth.TokenTypeAccessToken, "x"),
		}
		if r.Grant == oauth.GrantTokenExchange {
			e.subject = drawSubject(rt, view, way)
			r.Subject = &broker.SubjectToken{Raw: oauth.NewSecret(canary), Type: oauth.TokenTypeJWT}
			if rapid.IntRange(0, 4).Draw(rt, "with actor") == 0 {
				e.actor = drawSubject(rt, view, way)
				r.Actor = &broker.SubjectToken{Raw: oauth.NewSecret(canary), Type: oauth.TokenTypeIDToken}
			}
		}
		said, err := e.decideTwice(l, w, r)
		if err != nil {
			rt.Fatal(err)
		}
		outcomes[string(said.Reason)]++
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
	if len(outcomes) < 6 || outcomes[""] == 0 {
		t.Errorf("too few outcomes were met: %v", outcomes)
	}
}

// decideTwice lets the straight line decide and record, and decides what was
// recorded again. It returns the decision, and an error if the two differ.
func (e *exchange) decideTwice(l *ledger, w broker.Workload, r broker.ExchangeRequest) (broker.Decision, error) {
	straight := broker.Exchanger{
		Issuer: options.Issuer, Limits: broker.DefaultLimits(), Policy: e, Verifier: e, Ledger: e.recorder, Minter: e, Now: func() time.Time { return start }, NewID: broker.NewID,
	}
	r.Origin.RequestID = broker.NewID(start)
	_, err := straight.Exchange(context.Background(), w, r)
	for e.recorder.Status().Waiting > 0 {
		pass(time.Millisecond)
	}
	q := &broker.Question{Now: start, Workload: w, Request: r, Limits: broker.DefaultLimits(), Subject: clone(e.subject), Actor: clone(e.actor)}
	said := ask(e.view, q)
	if err == nil != said.Allowed || err != nil && broker.AsError(err).Reason != said.Reason {
		return said, fmt.Errorf("the straight line said %w, Decide %q", err, said.Reason)
	}
	again, err := replay(l, e.view, r.Origin.RequestID)
	if err != nil {
		return said, err
	}
	if diff := cmp.Diff(said, again, cmp.AllowUnexported(oauth.Scopes{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b spiffeid.ID) bool { return a == b })); diff != "" {
		return said, fmt.Errorf("decided again (-then +now): %s", diff)
	}
	return said, nil
}

// Claims that travel on are known to a replay, though no condition reads them.
func TestReplayOfACarriedClaim(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	recorder, _ := run(t, config(l))
	view := compile(t)
	issuer, _ := view.Issuer("https://corp.example")
	e := &exchange{view: view, recorder: recorder, subject: &broker.Subject{
		Kind: broker.SubjectUser, Sub: "corp:alice", Origin: broker.SubjectID{Issuer: issuer.URL, Subject: "alice"}, Issuer: issuer, Audience: []string{"api://acme"}, ExpiresAt: start.Add(time.Hour),
		Claims: []broker.Claim{{Name: "email", Value: "a"}, {Name: "groups", Value: []string{"customer"}}, {Name: "level", Value: int64(3)}, {Name: "team", Value: "b"}},
	}}
	w := broker.Workload{ID: gateway, Proof: broker.ProofMTLS, Thumbprint: "th", NotAfter: start.Add(time.Hour)}
	r := broker.ExchangeRequest{At: start, Grant: oauth.GrantTokenExchange, Audience: ordersURI, Scopes: set("write"), Subject: &broker.SubjectToken{Type: oauth.TokenTypeJWT}}
	said, err := e.decideTwice(l, w, r)
	if err != nil || !said.Allowed || len(said.Claims) != 3 {
		t.Errorf("%+v, %v", said, err)
	}
}

func clone(s *broker.Subject) *broker.Subject {
	if s == nil {
		return nil
	}
	c := *s
	return &c
}

// replay decides the record of that id again.
func replay(l *ledger, view *policy.Snapshot, id string) (broker.Decision, error) {
	for _, row := range l.all() {
		if row.ID != id {
			continue
		}
		e, err := audit.Decode(row.Body)
		if err != nil {
			return broker.Decision{}, err
		}
		f, err := audit.OpenFacts(&row, reverse{})
		if err != nil {
			return broker.Decision{}, err
		}
		q, err := e.Question(f)
		if err != nil {
			return broker.Decision{}, err
		}
		return ask(view, &q), nil
	}
	return broker.Decision{}, errors.New("no such record")
}

// Without its facts, or with an input cut, nobody knows.
func TestReplayUnknown(t *testing.T) {
	t.Parallel()
	for name, e := range map[string]audit.Entry{
		"sealed and not opened": {Sealed: audit.SealedKept},
		"lost":                  {Sealed: audit.SealedLost},
		"cut":                   {Clipped: audit.ClippedInput},
	} {
		if _, err := e.Question(nil); !errors.Is(err, audit.ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, e := range map[string]audit.Entry{
		"workload": {Workload: audit.Workload{ID: "x"}},
		"via":      {Workload: audit.Workload{Via: "x"}},
		"scope":    {Request: audit.Request{Scope: "a  b"}},
		"hash":     {Subject: &audit.Subject{Hash: "0102"}},
		"long":     {Actor: &audit.Subject{Hash: string(make([]byte, 200))}},
		"its":      {Subject: &audit.Subject{Scope: "\""}},
	} {
		if _, err := e.Question(nil); !errors.Is(err, audit.ErrBody) {
			t.Errorf("%s: %v", name, err)
		}
	}
	e := audit.Entry{Clipped: audit.ClippedText}
	if _, err := e.Question(nil); err != nil {
		t.Error(err)
	}
}

// Everything that stands in a question comes back, not only what this policy reads.
func TestQuestion(t *testing.T) {
	t.Parallel()
	x := record("id-1")
	r := row(t, x)
	again, err := question(&r)
	if err != nil {
		t.Fatal(err)
	}
	said := broker.Question{Now: x.At, Limits: broker.DefaultLimits(), Workload: x.Workload, Request: x.Request, Subject: clone(x.Subject), Actor: clone(x.Actor)}
	// Left out are what a view knows, tokens, and the claims that nobody read.
	said.Request.Subject, said.Request.Actor = &broker.SubjectToken{Type: oauth.TokenTypeJWT}, &broker.SubjectToken{Type: oauth.TokenTypeIDToken}
	said.Subject.Issuer, said.Actor.Claims = nil, nil
	said.Subject.Claims = []broker.Claim{{Name: "admin", Value: true}, {Name: "age", Value: int64(1<<62 + 1)}, {Name: "groups", Value: []string{canary + "-group"}}}
	if diff := cmp.Diff(said, again, cmp.AllowUnexported(oauth.Scopes{}, oauth.Secret{}), cmp.Comparer(func(a, b spiffeid.ID) bool { return a == b })); diff != "" {
		t.Errorf("question (-said +again): %s", diff)
	}
}

func question(r *store.RecordRow) (broker.Question, error) {
	e, err := audit.Decode(r.Body)
	if err != nil {
		return broker.Question{}, err
	}
	f, err := audit.OpenFacts(r, reverse{})
	if err != nil {
		return broker.Question{}, err
	}
	return e.Question(f)
}
