package e2e_test

import (
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/tests/pgtest"
)

const revokePath = "/oauth2/revoke"

// beside is another replica of the same store; start runs it.
func (w *world) beside(t *testing.T) *world {
	t.Helper()
	other := &world{ca: w.ca, issuer: w.issuer, config: w.config, log: &logBuffer{}, clients: map[string]*http.Client{}}
	other.config.Replica = "r2"
	return other
}

// chain gets a token for a user, and what the service that received it makes of it.
func (w *world) chain(t *testing.T) (first, second string) {
	t.Helper()
	first = w.token(t, "shop/web", behalf(w.user(t, idp.IDToken, "alice", "cambist"), typeID, ordersURI, "orders.write"))
	return first, w.token(t, "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.write"))
}

// revoke must be answered with 200 and nothing else.
func (w *world) revoke(t *testing.T, workload, token string) {
	t.Helper()
	if a := w.show(t, workload, revokePath, token); a.status != 200 || len(a.body) != 0 || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("revoked by %s: %d %s %v", workload, a.status, a.body, a.header)
	}
}

// A token that its client revoked is dead, with all that descends from it, and stays
// so when the server is started anew. Nobody else can revoke it, and nobody is told
// whether there was anything to revoke.
func TestRevocation(t *testing.T) {
	t.Parallel()
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, open(t))
			w.start(t)
			w.ready(t)
			first, second := w.chain(t)
			w.eventually(t, "policy, a key for tokens and one for facts", func() bool { return w.revision(t) == 3 })
			for _, workload := range []string{"shop/orders", "finance/ledger", "bi/reports"} {
				w.revoke(t, workload, first)
			}
			for _, token := range []string{"x", first + "x", w.user(t, idp.IDToken, "alice", "cambist"), strings.Repeat(".", 16000)} {
				w.revoke(t, "shop/web", token)
			}
			if a := w.show(t, "", revokePath, first); a.status != 401 {
				t.Errorf("nobody: %d", a.status)
			}
			if !w.active(t, "shop/orders", first) || !w.active(t, "finance/ledger", second) {
				t.Fatal("others revoked it")
			}
			if revision := w.revision(t); revision != 3 {
				t.Errorf("something was written: revision %d", revision)
			}
			_, sibling := w.chain(t)

			w.revoke(t, "shop/web", first)
			w.revoke(t, "shop/web", first)
			w.eventually(t, "inactive", func() bool { return !w.active(t, "shop/orders", first) && !w.active(t, "finance/ledger", second) })
			for _, refused := range []answer{
				w.ask(t, "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.write")), w.ask(t, "shop/web", behalf(first, typeAccess, ordersURI, "orders.write")),
			} {
				if refused.status != 400 || refused.text("error") != "invalid_request" {
					t.Errorf("exchanged: %d %s", refused.status, refused.body)
				}
			}
			if !w.active(t, "finance/ledger", sibling) {
				t.Error("another token of the same user died too")
			}
			if revision := w.revision(t); revision != 4 {
				t.Errorf("revoking twice left revision %d", revision)
			}
			must(t, w.stop())
			w.start(t)
			w.ready(t)
			if w.active(t, "shop/orders", first) || w.active(t, "finance/ledger", second) || !w.active(t, "finance/ledger", sibling) {
				t.Error("the restart forgot it")
			}
			w.recordsRevoked(t, first)
		})
	}
}

// revision is that of the policy that the server serves.
func (w *world) revision(t *testing.T) int {
	t.Helper()
	_, after, _ := strings.Cut(string(w.probe(t, "/metrics").body), "\ncambist_policy_revision ")
	line, _, _ := strings.Cut(after, "\n")
	revision, err := strconv.Atoi(line)
	must(t, err)
	return revision
}

// recordsRevoked finds who revoked it, and who tried, without the token.
func (w *world) recordsRevoked(t *testing.T, token string) {
	t.Helper()
	must(t, w.stop())
	o := w.offline(t)
	defer o.Close()
	rows, err := o.Records(t.Context(), store.RecordFilter{Limit: 1000}, "")
	must(t, err)
	outcomes := map[string]int{}
	for _, r := range rows {
		if strings.Contains(string(r.Body), `"type":"revoke"`) {
			outcomes[r.Outcome+" "+r.Workload]++
		}
		w.hides(t, "record", string(r.Body)+string(r.Facts), []string{token})
	}
	const td = "spiffe://prod.example/ns/"
	for outcome, want := range map[string]int{
		"allowed " + td + "shop/sa/web": 2, "subject_not_for_caller " + td + "shop/sa/orders": 1, "subject_not_for_caller " + td + "finance/sa/ledger": 1,
		"subject_not_for_caller " + td + "bi/sa/reports": 1, "token_malformed " + td + "shop/sa/web": 3, "token_type " + td + "shop/sa/web": 1,
	} {
		if outcomes[outcome] != want {
			t.Errorf("%s: %d times, of %v", outcome, outcomes[outcome], outcomes)
		}
	}
	w.hides(t, "log", w.log.String(), []string{token})
	// To who writes policy it is not there.
	exported, err := o.Export(t.Context(), "")
	must(t, err)
	documents, findings := policy.Parse("exported.yaml", exported)
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	if p, err := o.Plan(t.Context(), documents); err != nil || len(p.Changes) != 0 || len(p.Findings) != 0 {
		t.Errorf("planned again: %+v, %v", p, err)
	}
}

// While two replicas exchange a token as fast as they can it is revoked at one of
// them. When both have seen that, every token that was made of it is dead at both,
// also after everything was started anew.
func TestRevocationWhileExchanging(t *testing.T) {
	t.Parallel()
	database := pgtest.Start(t, pgtest.Options{Durable: true})
	one := newWorld(t, migrated(t, database))
	one.start(t)
	one.ready(t)
	two := one.beside(t)
	two.start(t)
	two.ready(t)
	first, second := one.chain(t)
	var mu sync.Mutex
	descendants := []string{second}
	var workers sync.WaitGroup
	for i, w := range []*world{one, two, one, two} {
		w.client(t, "shop/web")
		w.client(t, "shop/orders")
		workers.Go(func() {
			for parent := first; ; {
				a := w.ask(t, "shop/web", behalf(parent, typeAccess, ordersURI, "orders.write")) // narrowed by who holds it
				if i > 1 {
					a = w.ask(t, "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.write")) // onward by who received it
				}
				if a.status == 400 {
					return
				}
				if a.status != 200 {
					t.Errorf("%d %s", a.status, a.body)
					return
				}
				mu.Lock()
				descendants = append(descendants, a.text("access_token"))
				mu.Unlock()
			}
		})
	}
	one.eventually(t, "busy", func() bool { mu.Lock(); defer mu.Unlock(); return len(descendants) > 100 })
	one.revoke(t, "shop/web", first)
	workers.Wait()
	dead := func(when string) {
		for _, w := range []*world{one, two} {
			for _, token := range descendants {
				server := map[string]string{ordersURI: "shop/orders", ledgerURI: "finance/ledger"}[claims(t, token)["aud"].(string)]
				if w.active(t, server, token) {
					t.Fatalf("%s: a descendant lives at %s", when, w.config.Replica)
				}
			}
		}
	}
	dead("at once")
	must(t, one.stop())
	must(t, two.stop())
	database.Stop(pgtest.Immediate)
	database.Start(t)
	for _, w := range []*world{one, two} {
		w.start(t)
		w.ready(t)
	}
	dead("after a restart of everything")
	t.Logf("%d descendants", len(descendants))
}

// Without its database the server says that it could not revoke, and has not.
func TestRevocationWithoutDatabase(t *testing.T) {
	t.Parallel()
	database := pgtest.Start(t, pgtest.Options{Durable: true})
	w := newWorld(t, migrated(t, database))
	w.start(t)
	w.ready(t)
	first, _ := w.chain(t)
	database.Stop(pgtest.Fast)
	a := w.show(t, "shop/web", revokePath, first)
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 503 || err != nil || after < 1 || a.text("error") != "temporarily_unavailable" {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	database.Start(t)
	w.ready(t)
	if !w.active(t, "shop/orders", first) {
		t.Error("it was revoked all the same")
	}
	w.eventually(t, "revoked", func() bool { return w.show(t, "shop/web", revokePath, first).status == 200 })
	w.eventually(t, "inactive", func() bool { return !w.active(t, "shop/orders", first) })
}
