package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

// near returns what an explanation says of one mapping.
func near(e *policy.Explanation, mapping string) string {
	for _, n := range e.Near {
		if n.ID == mapping {
			return n.Outcome + ": " + strings.Join(n.Misses, "; ")
		}
	}
	return ""
}

// Each part of a mapping that does not fit is named, with what it saw.
func TestExplainNearMappings(t *testing.T) {
	t.Parallel()
	s := compile(t, strings.Replace(designText(t), "deny:", `- {name: adult, from: shop/kiosk, for: corp, to: orders, scopes: [orders.write], when: 'user.email == "a@b.example" || size(user.groups) > 3 || request.time < timestamp("2020-01-01T00:00:00Z")'}
- {name: over, from: shop/old, to: ledger, scopes: [ledger.read], until: 2026-11-01T00:00:00Z}
- {name: early, from: shop/new, to: ledger, scopes: [ledger.read], since: 2026-12-01T00:00:00Z}
- {name: now, from: shop/now, to: ledger, scopes: [ledger.read], since: 2026-11-01T00:00:00Z, until: 2026-11-02T00:00:00Z}
- {name: guest, from: shop/kiosk, for: corp, to: orders, scopes: [orders.write], claims: {mail: "{user.email}"}}
- {name: lookalike, from: shop/kiosk, for: corp, to: orders, scopes: [orders.write], as: impersonate}
- {name: money, from: staging/repair, to: ledger, scopes: [ledger.read, ledger.write]}
deny:`, 1))
	block, err := policy.BlockObject(broker.Block{Name: "b", Target: broker.BlockMapping, ID: "shop/web-orders", Reason: "x"})
	if err != nil {
		t.Fatal(err)
	}
	blocked, _ := s.Apply([]broker.Object{block}, 2)
	bad, _ := s.Apply([]broker.Object{{Kind: broker.KindMapping, Name: "shop/reports", Set: "shop", Body: []byte(`{"effect":"allow","from":["spiffe://prod.example/ns/bi/sa/reports"],"to":["ledger"],"future":1}`)}}, 2)
	tests := map[string]struct {
		q             *broker.Question
		mapping, want string
	}{
		"granted":        {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.read"), "shop/reports", "granted: "},
		"lacks a scope":  {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.write"), "shop/reports", `granted: it gives "ledger.read", not "ledger.write"`},
		"from":           {ask(t, s, "bi/report", ledgerURI, nil, "ledger.read"), "shop/reports", "from: it is from spiffe://prod.example/ns/bi/sa/reports, spiffe://prod.example/ns/bi/sa/close"},
		"to":             {ask(t, s, "bi/reports", ordersURI, nil, "orders.write"), "shop/reports", `to: it is to ledger; it gives "ledger.read", not "orders.write"`},
		"from and for":   {ask(t, s, "bi/web", ordersURI, nil, "orders.write"), "shop/web-orders", "from: it is from spiffe://prod.example/ns/shop/sa/web; it is for a user of corp, the request is for the workload itself"},
		"from and time":  {ask(t, s, "bi/web", ledgerURI, nil, "ledger.read"), "shop/over", "from: it is from spiffe://prod.example/ns/shop/sa/old; it ended at 2026-11-01T00:00:00Z"},
		"captures":       {ask(t, s, "bi/web", "https://cart.shop.svc.prod.example", nil, "call"), "shop/same-namespace", "captures: what from spiffe://prod.example/ns/{ns}/sa/* and to {ns}/* capture under one name differs"},
		"for":            {ask(t, s, "shop/web", ordersURI, nil, "orders.write"), "shop/web-orders", "for: it is for a user of corp, the request is for the workload itself"},
		"having none":    {ask(t, s, "shop/orders", ledgerURI, user(t, s), "ledger.write"), "shop/orders-ledger", `having: it takes a token of ours with "orders.write", this one is straight from the issuer`},
		"having another": {ask(t, s, "shop/orders", ledgerURI, received(t, s, ordersURI, "shop/web", "orders.read"), "ledger.write"), "shop/orders-ledger", `having: it takes a token with "orders.write" for a resource that the caller serves, this one has "orders.read" for ["https://orders.prod.example"]`},
		"having straight": {ask(t, s, "shop/web", ordersURI, received(t, s, ledgerURI, "bi/reports", "ledger.read"), "orders.write"), "shop/web-orders",
			"having: it takes a token straight from the issuer, this one is ours"},
		"condition false": {ask(t, s, "shop/web", ordersURI, user(t, s, "finance"), "orders.write"), "shop/web-orders", `condition_false: its condition is false: "customer" in user.groups (user.groups = ["finance"])`},
		"condition error": {ask(t, s, "shop/kiosk", ordersURI, user(t, s, "finance"), "orders.write"), "shop/adult",
			`condition_error: its condition cannot be answered: user.email == "a@b.example" || size(user.groups) > 3 || request.time < timestamp("2020-01-01T00:00:00Z") (request.time = 2026-11-24 12:00:00 +0000 UTC, user.email is absent, user.groups = ["finance"])`},
		"claim":          {ask(t, s, "shop/kiosk", ordersURI, user(t, s), "orders.write"), "shop/guest", "claim: a claim that it adds has no value"},
		"impersonation":  {ask(t, s, "shop/kiosk", ordersURI, user(t, s), "orders.write"), "shop/lookalike", "impersonation: it impersonates, which the resource does not permit"},
		"ended":          {ask(t, s, "shop/old", ledgerURI, nil, "ledger.read"), "shop/over", "not_in_force: it ended at 2026-11-01T00:00:00Z"},
		"not yet":        {ask(t, s, "shop/new", ledgerURI, nil, "ledger.read"), "shop/early", "not_in_force: it begins at 2026-12-01T00:00:00Z"},
		"between":        {ask(t, s, "shop/now", ledgerURI, nil, "ledger.read"), "shop/now", "not_in_force: it is in force from 2026-11-01T00:00:00Z to 2026-11-02T00:00:00Z"},
		"blocked":        {ask(t, blocked, "shop/web", ordersURI, user(t, s, "customer"), "orders.write"), "shop/web-orders", "blocked: it is blocked"},
		"quarantined":    {ask(t, bad, "bi/reports", ledgerURI, nil, "ledger.read"), "shop/reports", `quarantined: its stored row cannot be read; it gives "", not "ledger.read"`},
		"denied":         {ask(t, s, "staging/repair", ledgerURI, nil, "ledger.write"), "shop/staging-no-money", `denied: it takes "ledger.write" away`},
		"deny of others": {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.read"), "shop/staging-no-money", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := tt.q.View.(*policy.Snapshot).Explain(tt.q)
			if got := near(&e, tt.mapping); got != tt.want {
				t.Errorf("says %q\nwant %q\nof %v", got, tt.want, e.Near)
			}
			if text := e.Text(); tt.want != "" && !strings.Contains(text, tt.mapping+": ") {
				t.Errorf("the text does not say so:\n%s", text)
			}
		})
	}
}

// The explanation decides as Decide does, and the change that it offers allows
// exactly what was refused.
func TestExplainChange(t *testing.T) {
	t.Parallel()
	s := design(t)
	tests := map[string]struct {
		q    *broker.Question
		want string // "" for none
	}{
		"no mapping":           {ask(t, s, "bi/other", ledgerURI, nil, "ledger.read"), "allow:\n- {name: other-ledger, from: \"spiffe://prod.example/ns/bi/sa/other\", to: \"ledger\", scopes: [\"ledger.read\"]}\n"},
		"the default scopes":   {ask(t, s, "bi/other", ledgerURI, nil), "allow:\n- {name: other-ledger, from: \"spiffe://prod.example/ns/bi/sa/other\", to: \"ledger\", scopes: [\"ledger.read\"]}\n"},
		"another scope":        {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.write"), "allow:\n- {name: reports-ledger, from: \"spiffe://prod.example/ns/bi/sa/reports\", to: \"ledger\", scopes: [\"ledger.write\"]}\n"},
		"for a user":           {ask(t, s, "bi/other", ordersURI, user(t, s), "orders.write"), "allow:\n- {name: other-orders, from: \"spiffe://prod.example/ns/bi/sa/other\", for: corp, to: \"orders\", scopes: [\"orders.write\"]}\n"},
		"onward":               {ask(t, s, "shop/orders", ledgerURI, received(t, s, ordersURI, "shop/web", "x"), "ledger.read"), "allow:\n- {name: orders-ledger-2, from: \"spiffe://prod.example/ns/shop/sa/orders\", for: corp, having: [\"x\"], to: \"ledger\", scopes: [\"ledger.read\"]}\n"},
		"of a template":        {ask(t, s, "bi/other", "https://cart.shop.svc.prod.example", nil, "call"), "allow:\n- {name: other-cart, from: \"spiffe://prod.example/ns/bi/sa/other\", to: \"shop/cart\", scopes: [\"call\"]}\n"},
		"allowed":              {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.read"), ""},
		"unknown resource":     {ask(t, s, "bi/reports", ledgerURI+"/", nil, "ledger.read"), ""},
		"unknown scope":        {ask(t, s, "bi/reports", ledgerURI, nil, "ledger.admin"), ""},
		"a false condition":    {ask(t, s, "shop/web", ordersURI, user(t, s, "finance"), "orders.write"), ""},
		"a deny":               {ask(t, s, "staging/x", ledgerURI, nil, "ledger.write"), ""},
		"a deny of one of two": {ask(t, s, "staging/x", ledgerURI, nil, "ledger.read", "ledger.write"), ""},
		"no default":           {ask(t, s, "bi/other", ordersURI, nil), ""},
		"an expired proof": {func() *broker.Question {
			q := ask(t, s, "bi/other", ledgerURI, nil, "ledger.read")
			q.Workload.NotAfter = now
			return q
		}(), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := s.Explain(tt.q)
			if d := broker.Decide(tt.q, nil); d.Allowed != e.Decision.Allowed || d.Reason != e.Decision.Reason {
				t.Errorf("explains %q, decides %q", e.Decision.Reason, d.Reason)
			}
			if e.Change != tt.want {
				t.Errorf("offers %q, want %q", e.Change, tt.want)
			}
			if tt.want == "" {
				return
			}
			own := compile(t, designText(t))
			changed, findings := own.Apply(parse(t, "cambist: v1\nset: new\n"+e.Change).Objects, 2)
			if len(findings) > 0 {
				t.Fatal(findings)
			}
			q := *tt.q
			q.View, q.Candidates = changed, changed.Find(nil, q.Workload.ID, q.Resource)
			if d := broker.Decide(&q, nil); !d.Allowed {
				t.Errorf("with the change: %q", d.Reason)
			}
		})
	}
}

// A condition that is false is not walked around by a rule without it, even
// where another rule gives a part.
func TestExplainOffersNoWayAround(t *testing.T) {
	t.Parallel()
	s := compile(t, base+`allow:
- {name: a, from: x/y, to: api, scopes: [read]}
- {name: b, from: x/y, to: api, scopes: [write], when: 'workload.ns == "z"'}
`)
	e := s.Explain(ask(t, s, "x/y", "https://api.example", nil, "write"))
	if e.Decision.Reason != broker.ReasonScopeNotGranted || e.Change != "" {
		t.Errorf("%q offers %q", e.Decision.Reason, e.Change)
	}
}

func TestExplainNearestResource(t *testing.T) {
	t.Parallel()
	s := design(t)
	for audience, want := range map[string]string{
		ledgerURI + "/":               ledgerURI,
		"https://LEDGER.prod.example": ledgerURI,
		"https://leger.prod.example":  ledgerURI,
		"https://order.prod.example":  ordersURI,
		"urn:x:y":                     "",
		"":                            "",
		strings.Repeat("x", 1000):     "",
	} {
		e := s.Explain(ask(t, s, "bi/reports", audience, nil, "ledger.read"))
		if e.Nearest != want || strings.Contains(e.Text(), "nearest resource") != (want != "") {
			t.Errorf("%q: %q, want %q", audience, e.Nearest, want)
		}
	}
}

// Every check has its place and plain words, and the near mappings are few and
// in order.
func TestExplainText(t *testing.T) {
	t.Parallel()
	s := design(t)
	e := s.Explain(&broker.Question{View: s, Now: now})
	if len(e.Checks) < 30 || e.Decision.Allowed {
		t.Fatalf("%d checks", len(e.Checks))
	}
	text := e.Text()
	for _, c := range e.Checks {
		q := ask(t, s, "bi/reports", ledgerURI, nil, "ledger.read")
		if good := s.Explain(q); !slices.Contains(good.Checks, policy.CheckResult{Reason: c.Reason, Held: true}) {
			t.Errorf("%s does not hold where all is allowed", c.Reason)
		}
		if strings.Contains(text, " "+strings.ReplaceAll(string(c.Reason), "_", " ")+" ("+string(c.Reason)+")") {
			t.Errorf("%s has no words", c.Reason)
		}
	}
	var rules strings.Builder
	rules.WriteString(head + "resources:\n- {name: api, uri: https://api.example, served_by: [x/api], scopes: {read: []}}\nallow:\n")
	for i := range 30 {
		fmt.Fprintf(&rules, "- {name: r%d, from: n%d/y, to: api, scopes: [read]%s}\n", i, i, map[bool]string{true: ", until: 2026-01-01T00:00:00Z"}[i < 25])
	}
	many := compile(t, rules.String())
	e = many.Explain(ask(t, many, "x/y", "https://api.example", nil, "read"))
	var ids []string
	for _, n := range e.Near {
		ids = append(ids, n.ID)
	}
	if want := []string{"s/r25", "s/r26", "s/r27", "s/r28", "s/r29", "s/r0"}; len(ids) != 10 || !slices.Equal(ids[:6], want) {
		t.Errorf("near are %q", ids)
	}
}

// No token text is in an explanation: it knows only what the question knows.
func TestExplainTextGolden(t *testing.T) {
	t.Parallel()
	s := design(t)
	q := ask(t, s, "shop/web", ordersURI, user(t, s, "finance"), "orders.write")
	q.Now = q.Now.Add(time.Second)
	e := s.Explain(q)
	want := `refused: spiffe://prod.example/ns/shop/sa/web asked for "orders.write" of https://orders.prod.example
  because a mapping fits, but something in it fails (mapping_failed)

mappings, nearest first:
  allow shop/web-orders: condition_false
    its condition is false: "customer" in user.groups (user.groups = ["finance"])
  allow shop/same-namespace: to
    it is to {ns}/*
    it is for the workload itself, the request is for a user of corp
    it gives "call", not "orders.write"
`
	if got := e.Text(); got != want {
		t.Errorf("reads\n%s\nwant\n%s", got, want)
	}
}

// An explanation names what is wrong by itself, and not what only follows from
// it: an expired caller with a wrong client_id hears of both, and of no lifetime.
func TestExplainLeavesOutWhatFollows(t *testing.T) {
	t.Parallel()
	s := design(t)
	q := ask(t, s, "bi/reports", "https://ledger.prod.example", nil, "ledger.read")
	q.Workload.NotAfter = q.Now.Add(-time.Minute)
	q.Request.ClientID = "spiffe://prod.example/ns/bi/sa/close"
	e := s.Explain(q)
	text := e.Text()
	if !strings.Contains(text, "workload_expired") || !strings.Contains(text, "also: client_id names another") || strings.Contains(text, "lifetime_exhausted") {
		t.Errorf("%s", text)
	}
}
