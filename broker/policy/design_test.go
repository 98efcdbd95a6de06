package policy_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

var options = policy.Options{Issuer: "https://cambist.prod.example", Now: func() time.Time { return now }}

func parse(t testing.TB, text string) policy.Document {
	t.Helper()
	docs, findings := policy.Parse("test.yaml", []byte(text))
	if policy.HasErrors(findings) || len(docs) != 1 {
		t.Fatalf("%d documents, findings %v", len(docs), findings)
	}
	return docs[0]
}

func compile(t testing.TB, text string) *policy.Snapshot {
	t.Helper()
	s, findings := policy.Compile(parse(t, text).Objects, 1, options)
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	return s
}

func designText(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile("testdata/design.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

func design(t testing.TB) *policy.Snapshot { t.Helper(); return compile(t, designText(t)) }

func id(short string) spiffeid.ID {
	if strings.HasPrefix(short, "spiffe://") {
		return spiffeid.RequireFromString(short)
	}
	ns, sa, _ := strings.Cut(short, "/")
	return spiffeid.RequireFromString("spiffe://prod.example/ns/" + ns + "/sa/" + sa)
}

func scopes(t testing.TB, names ...string) oauth.Scopes {
	t.Helper()
	s, err := oauth.NewScopes(names...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask makes the question of a workload, with a subject or without.
func ask(t testing.TB, s *policy.Snapshot, from, audience string, subject *broker.Subject, want ...string) *broker.Question {
	t.Helper()
	q := &broker.Question{
		Now: now, View: s, Limits: broker.DefaultLimits(), Subject: subject,
		Workload: broker.Workload{ID: id(from), Proof: broker.ProofMTLS, NotAfter: now.Add(time.Hour)},
		Request:  broker.ExchangeRequest{Grant: oauth.GrantClientCredentials, Audience: audience, Scopes: scopes(t, want...)},
	}
	if subject != nil {
		q.Request.Grant = oauth.GrantTokenExchange
	}
	if r, ok := s.Resource(audience); ok {
		q.Resource = r
		q.Candidates = s.Find(nil, q.Workload.ID, r)
	}
	return q
}

// user is alice with a token straight from corp for the broker.
func user(t testing.TB, s *policy.Snapshot, groups ...string) *broker.Subject {
	t.Helper()
	issuer, ok := s.Issuer("https://acme.okta.com/oauth2/aus1")
	if !ok {
		t.Fatal("no issuer")
	}
	return &broker.Subject{
		Kind: broker.SubjectUser, Sub: "corp:alice", Issuer: issuer, Origin: broker.SubjectID{Issuer: issuer.URL, Subject: "alice"},
		Audience: []string{"cambist"}, IssuedAt: now, ExpiresAt: now.Add(time.Hour), Claims: []broker.Claim{{Name: "groups", Value: groups}},
	}
}

// received is the same user in a token of ours.
func received(t testing.TB, s *policy.Snapshot, audience, client string, names ...string) *broker.Subject {
	t.Helper()
	u := user(t, s, "customer")
	u.Issued, u.Audience, u.ClientID, u.Scopes = true, []string{audience}, id(client).String(), scopes(t, names...)
	u.Actor = &broker.Actor{Party: broker.Party{Subject: id(client).String()}}
	return u
}

const (
	ledgerURI = "https://ledger.prod.example"
	ordersURI = "https://orders.prod.example"
)

// Every example of design 5, and what it must not let through.
func TestDesignExamples(t *testing.T) {
	t.Parallel()
	s := design(t)
	tests := map[string]struct {
		q      *broker.Question
		want   string // scopes, "" for a refusal
		reason broker.Reason
	}{
		"reports":                          {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.read"), "ledger.read", ""},
		"close, from a list":               {ask(t, s, "bi/close", ledgerURI, nil), "ledger.read", ""},
		"reports may not write":            {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.write"), "", broker.ReasonScopeNotGranted},
		"another of the namespace":         {ask(t, s, "bi/report", ledgerURI, nil, "ledger.read"), "", broker.ReasonMappingNone},
		"web for a customer":               {ask(t, s, "shop/web", ordersURI, user(t, s, "customer"), "orders.write"), "orders.write", ""},
		"web for a non-customer":           {ask(t, s, "shop/web", ordersURI, user(t, s, "finance"), "orders.write"), "", broker.ReasonMappingFailed},
		"web for itself":                   {ask(t, s, "shop/web", ordersURI, nil, "orders.write"), "", broker.ReasonMappingNone},
		"orders onward":                    {ask(t, s, "shop/orders", ledgerURI, received(t, s, ordersURI, "shop/web", "orders.write"), "ledger.write"), "ledger.write", ""},
		"orders onward without the scope":  {ask(t, s, "shop/orders", ledgerURI, received(t, s, ordersURI, "shop/web", "orders.read"), "ledger.write"), "", broker.ReasonMappingNone},
		"orders with the user's own token": {ask(t, s, "shop/orders", ledgerURI, user(t, s, "customer"), "ledger.write"), "", broker.ReasonMappingNone},
		"web with a token for orders":      {ask(t, s, "shop/web", ledgerURI, received(t, s, ordersURI, "shop/web", "orders.write"), "ledger.write"), "", broker.ReasonSubjectNotHeld},
		"same namespace":                   {ask(t, s, "shop/web", "https://cart.shop.svc.prod.example", nil, "call"), "call", ""},
		"another namespace":                {ask(t, s, "bi/web", "https://cart.shop.svc.prod.example", nil, "call"), "", broker.ReasonMappingNone},
		"incident":                         {ask(t, s, "finance/repair", ledgerURI, nil, "ledger.write"), "ledger.write", ""},
		"staging wants money":              {ask(t, s, "staging/repair", ledgerURI, nil, "ledger.write"), "", broker.ReasonMappingNone},
		"no scope, no default":             {ask(t, s, "shop/web", ordersURI, user(t, s, "customer")), "", broker.ReasonScopeNoDefault},
		"unknown audience":                 {ask(t, s, "bi/reports", ledgerURI+"/", nil, "ledger.read"), "", broker.ReasonResourceUnknown},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := broker.Decide(tt.q, nil)
			if d.Scopes.String() != tt.want || d.Reason != tt.reason {
				t.Errorf("scopes %q reason %q, want %q %q", d.Scopes, d.Reason, tt.want, tt.reason)
			}
		})
	}
}

// A deny wins over an allow, for itself and for every subject.
func TestDenyWins(t *testing.T) {
	t.Parallel()
	text := strings.Replace(designText(t), "deny:", `- {name: staging-write, from: staging/repair, to: ledger, scopes: [ledger.write, ledger.read]}
- {name: staging-user, from: staging/repair, for: corp, to: ledger, scopes: [ledger.write]}
deny:`, 1)
	s := compile(t, text)
	if d := broker.Decide(ask(t, s, "staging/repair", ledgerURI, nil, "ledger.write"), nil); d.Reason != broker.ReasonScopeNotGranted {
		t.Errorf("itself: %q", d.Reason)
	}
	if d := broker.Decide(ask(t, s, "staging/repair", ledgerURI, nil, "ledger.read"), nil); !d.Allowed {
		t.Errorf("a scope that is not denied: %q", d.Reason)
	}
	if d := broker.Decide(ask(t, s, "staging/repair", ledgerURI, user(t, s), "ledger.write"), nil); d.Allowed {
		t.Error("for a user it is not denied")
	}
}

func TestTemplate(t *testing.T) {
	t.Parallel()
	s := design(t)
	r, ok := s.Resource("https://web.shop.svc.prod.example")
	if !ok || r.Name != "shop/web" || len(r.ServedBy) != 1 || r.ServedBy[0] != id("shop/web") || !slices.Equal(r.Hosts, []string{"web.shop"}) {
		t.Fatalf("%+v", r)
	}
	for _, uri := range []string{
		"https://web.shop.svc.prod.example/", "https://Web.shop.svc.prod.example", "https://.shop.svc.prod.example", "https://a.b.c.svc.prod.example",
		"https://-a.shop.svc.prod.example", "https://web.shop.svc.prod.example.evil", "https://w%65b.shop.svc.prod.example", "http://web.shop.svc.prod.example",
		"https://" + strings.Repeat("a", 64) + ".shop.svc.prod.example", "https://web.shop.svc.prod.example#x", "https://web/x.shop.svc.prod.example",
	} {
		if r, ok := s.Resource(uri); ok {
			t.Errorf("%s is %q", uri, r.Name)
		}
	}
	// An explicit resource beats a template, by its URI.
	explicit := compile(t, strings.Replace(designText(t), "allow:", `- {name: special, uri: "https://web.shop.svc.prod.example", served_by: [shop/special], scopes: {x: []}}
allow:`, 1))
	if r, ok := explicit.Resource("https://web.shop.svc.prod.example"); !ok || r.Name != "special" {
		t.Errorf("%+v", r)
	}
}

// Two resources, or two issuers, that claim one name on the wire are none.
func TestAmbiguityRefuses(t *testing.T) {
	t.Parallel()
	text := strings.Replace(designText(t), "allow:", `- {name: ledger2, uri: https://ledger.prod.example, served_by: [finance/other], scopes: {x: []}}
- {name: "t/{ns}/{sa}", uri: "https://{sa}.{ns}.svc.prod.example", scopes: {y: []}}
allow:`, 1)
	s, _ := policy.Compile(parse(t, text).Objects, 1, options)
	for _, uri := range []string{ledgerURI, "https://web.shop.svc.prod.example"} {
		if r, ok := s.Resource(uri); !ok || !r.Quarantined {
			t.Errorf("%s: %+v", uri, r)
		}
	}
}

func TestIssuer(t *testing.T) {
	t.Parallel()
	i, ok := design(t).Issuer("https://acme.okta.com/oauth2/aus1")
	if !ok || i.Name != "corp" || !i.AcceptJWT || i.AcceptID || !slices.Equal(i.Algorithms, []string{"RS256"}) || i.ScopeClaim != "scp" {
		t.Fatalf("%+v", i)
	}
	for who, aud := range map[string]string{"edge/gateway": "api://acme", "any/one": "cambist"} {
		if !i.Shows(id(who), []string{"x", aud}) {
			t.Errorf("%s may not show %s", who, aud)
		}
	}
	if i.Shows(id("shop/web"), []string{"api://acme"}) || i.Shows(id("edge/gateway"), []string{"api://acm"}) {
		t.Error("shown by another, or for another audience")
	}
	if _, ok := design(t).Issuer("https://acme.okta.com/oauth2/aus1/"); ok {
		t.Error("a slash more is another issuer")
	}
}

// For /oauth2/self: every resource of a workload, templates with * for what is
// not known yet.
func TestFindAll(t *testing.T) {
	t.Parallel()
	s := design(t)
	var found []string
	for _, c := range s.Find(nil, id("shop/web"), nil) {
		found = append(found, c.Mapping.ID+" "+c.Resource.Name+" "+c.Resource.URI)
	}
	want := []string{"shop/same-namespace shop/* https://*.shop.svc.prod.example", "shop/web-orders orders https://orders.prod.example"}
	if !slices.Equal(found, want) {
		t.Errorf("found %q", found)
	}
}

func TestBlocks(t *testing.T) {
	t.Parallel()
	s := design(t)
	if s.Blocked(now, broker.BlockWorkload, "x", now) != nil {
		t.Error("blocked without a block")
	}
	o, err := policy.BlockObject(broker.Block{Name: "b1", Target: broker.BlockSubject, ID: "corp:alice", Reason: "left", NotBefore: now, Until: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s, findings := s.Apply([]broker.Object{o}, 2)
	if len(findings) != 0 {
		t.Fatal(findings)
	}
	for name, tt := range map[string]struct {
		at, issued time.Time
		id         string
		want       bool
	}{
		"issued before":    {now, now.Add(-time.Second), "corp:alice", true},
		"issued after":     {now, now, "corp:alice", false},
		"another":          {now, now.Add(-time.Second), "corp:bob", false},
		"after it is over": {now.Add(time.Hour), now.Add(-time.Second), "corp:alice", false},
	} {
		if got := s.Blocked(tt.at, broker.BlockSubject, tt.id, tt.issued) != nil; got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
	bad := o
	bad.Name, bad.Body = "b2", []byte(`{"target":"subject"}`)
	s, findings = s.Apply([]broker.Object{bad}, 3)
	if len(findings) != 1 || s.Blocked(now, broker.BlockToken, "anything", now) == nil || s.Quarantined() != 1 {
		t.Errorf("an unreadable block stops nothing: %v", findings)
	}
	bad.Deleted, bad.Body = true, nil
	if s, _ = s.Apply([]broker.Object{bad}, 4); s.Blocked(now, broker.BlockToken, "anything", now) != nil || s.Quarantined() != 0 {
		t.Error("a lifted block still stops")
	}
}
