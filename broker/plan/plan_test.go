package plan_test

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/plan"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store/sqlite"
)

var at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func open(t *testing.T) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: filepath.Join(t.TempDir(), "x.db"), NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func parse(t *testing.T, texts ...string) []policy.Document {
	t.Helper()
	var all []policy.Document
	for _, text := range texts {
		documents, findings := policy.Parse("p.yaml", []byte(text))
		if policy.HasErrors(findings) {
			t.Fatal(findings)
		}
		all = append(all, documents...)
	}
	return all
}

const shop = `
cambist: v1
set: shop
defaults: {domain: prod.example}
resources:
- {name: ledger, uri: "https://ledger.example", served_by: [finance/ledger], scopes: {ledger.read: ["GET /**"]}}
allow:
- {name: reports, from: bi/reports, to: ledger, scopes: [ledger.read]}
`

const bank = `
cambist: v1
set: bank
defaults: {domain: prod.example}
allow:
- {name: vault, from: bank/vault, to: ledger, scopes: [ledger.read]}
`

func apply(t *testing.T, s *sqlite.Store, texts ...string) (*plan.Plan, broker.Revision) {
	t.Helper()
	p, err := plan.Make(t.Context(), s, parse(t, texts...), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	revision, err := p.Apply(t.Context(), s, plan.By{Author: "me", Reason: "why", At: at})
	if err != nil {
		t.Fatalf("%v: %v", err, p.Findings)
	}
	return p, revision
}

func TestPlanAndApply(t *testing.T) {
	t.Parallel()
	s := open(t)
	p, revision := apply(t, s, shop, bank)
	if want := "+ mapping shop/reports\n+ resource ledger\n+ set shop\n+ mapping bank/vault\n+ set bank\n5 added, 0 changed, 0 deleted\n"; p.Text() != want || revision != 1 {
		t.Errorf("revision %d:\n%s", revision, p.Text())
	}
	if p, revision := apply(t, s, shop); p.Text() != "nothing would change\n" || revision != 1 {
		t.Errorf("again, revision %d:\n%s", revision, p.Text())
	}
	changed := strings.Replace(strings.Replace(shop, "bi/reports,", "[bi/reports, bi/close],", 1), "served_by: [finance/ledger]", "served_by: [finance/books]", 1)
	p, revision = apply(t, s, changed)
	text := p.Text()
	for _, want := range []string{
		"~ mapping shop/reports\n", `    - "from": ["spiffe://prod.example/ns/bi/sa/reports"]`, `    + "from": ["spiffe://prod.example/ns/bi/sa/reports","spiffe://prod.example/ns/bi/sa/close"]`,
		"~ resource ledger\n", `    + "served_by": ["spiffe://prod.example/ns/finance/sa/books"]`, "0 added, 2 changed, 0 deleted\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, `"uri"`) || revision != 2 {
		t.Errorf("revision %d, what did not change stands in\n%s", revision, text)
	}
	// A set that shrinks loses what is gone, and only its own.
	p, _ = apply(t, s, "cambist: v1\nset: bank\n")
	if want := "- mapping bank/vault\n~ set bank\n"; !strings.HasPrefix(p.Text(), want) {
		t.Errorf("%s", p.Text())
	}
	objects, _, err := s.Load(t.Context())
	if err != nil || len(objects) != 4 {
		t.Errorf("%d objects, %v", len(objects), err)
	}
	history, err := s.Revisions(t.Context(), 0, 1)
	if err != nil || history[0].Author != "me" || history[0].Reason != "why" || !history[0].At.Equal(at) {
		t.Errorf("%+v, %v", history, err)
	}
}

// A plan with an error changes nothing; the finding has the place in the file.
// The whole policy is linted, not only what is in the documents.
func TestErrorsStop(t *testing.T) {
	t.Parallel()
	s := open(t)
	apply(t, s, shop, bank)
	for name, text := range map[string]string{
		"what another set needs is taken away": strings.Replace(shop, "name: ledger", "name: books", 1),
		"unknown resource":                     "cambist: v1\nset: x\ndefaults: {domain: td}\nallow:\n- {name: a, from: a/b, to: nowhere, scopes: [s]}\n",
		"owned by another":                     "cambist: v1\nset: x\ndefaults: {domain: td}\nresources:\n- {name: ledger, uri: \"https://l.example\", served_by: [a/b], scopes: {s: []}}\n",
	} {
		p, err := plan.Make(t.Context(), s, parse(t, text), policy.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Apply(t.Context(), s, plan.By{Author: "me", At: at}); broker.AsError(err).Code != broker.CodeInvalidRequest || !policy.HasErrors(p.Findings) {
			t.Errorf("%s: %v, findings %v", name, err, p.Findings)
		}
		if _, revision, _ := s.Load(t.Context()); revision != 1 {
			t.Errorf("%s: revision %d", name, revision)
		}
	}
	p, err := plan.Make(t.Context(), s, parse(t, shop, shop), policy.Options{})
	if err != nil || !policy.HasErrors(p.Findings) || p.Findings[0].Code != "set-twice" {
		t.Errorf("%v %v", p.Findings, err)
	}
}

// Between plan and apply somebody else wrote: nothing is lost, nothing applied.
func TestStale(t *testing.T) {
	t.Parallel()
	s := open(t)
	p, err := plan.Make(t.Context(), s, parse(t, shop), policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	apply(t, s, strings.Replace(bank, "allow:", "deny:", 1), shop)
	if _, err := p.Apply(t.Context(), s, plan.By{Author: "me", At: at}); broker.AsError(err).Code != broker.CodeStale {
		t.Errorf("%v", err)
	}
}

func TestStoreAway(t *testing.T) {
	t.Parallel()
	s := open(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := plan.Make(gone, s, parse(t, shop), policy.Options{}); broker.AsError(err).Code != broker.CodeUnavailable {
		t.Errorf("%v", err)
	}
}
