package e2e_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/store"
)

func (w *world) get(t *testing.T, path string) answer {
	t.Helper()
	return w.getAs(t, "", path)
}

func (w *world) getAs(t *testing.T, workload, path string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.url(path), nil)
	must(t, err)
	response, err := w.client(t, workload).Do(request)
	must(t, err)
	return read(t, response)
}

// What a stranger may read, what a workload sees of itself, and what the
// operations listener says.
func TestSurface(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["sqlite"](t))
	w.start(t)
	w.ready(t)
	if a := w.get(t, "/oauth2/self"); a.status != 401 {
		t.Errorf("self of nobody: %d %s", a.status, a.body)
	}
	a := w.getAs(t, "shop/web", "/oauth2/self")
	var page struct {
		Workload  string
		Resources []struct {
			Name   string
			Grants []struct {
				For         string
				Scopes      []string
				Conditional bool
			}
		}
	}
	must(t, json.Unmarshal(a.body, &page))
	var names []string
	for _, r := range page.Resources {
		names = append(names, r.Name)
		if r.Name == "orders" && (len(r.Grants) != 1 || r.Grants[0].For != "corp" || !r.Grants[0].Conditional) {
			t.Errorf("orders: %+v", r.Grants)
		}
	}
	if page.Workload != "spiffe://prod.example/ns/shop/sa/web" || !slices.Contains(names, "orders") || !slices.Contains(names, "sealed") || slices.Contains(names, "ledger") {
		t.Errorf("self: %s", a.body)
	}
	if verbose := w.probe(t, "/readyz?verbose"); !strings.Contains(string(verbose.body), "[+]policy ok") || !strings.Contains(string(verbose.body), "[+]identity ok") {
		t.Errorf("readyz: %s", verbose.body)
	}
	w.token(t, "bi/reports", self(ledgerURI))
	metrics := string(w.probe(t, "/metrics").body)
	for _, want := range []string{
		`cambist_token_exchanges_total{grant="client_credentials",reason="",result="issued"} 1`, "cambist_policy_mappings 7", "cambist_ready 1",
		`cambist_http_request_duration_seconds_count{listener="mtls",route="/oauth2/token",status="200"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

// Nothing secret and nothing of a user stands in any output: tokens that came,
// tokens that went, assertions in the wrong place, claims, whatever the answer.
func TestCanary(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["sqlite"](t))
	w.start(t)
	w.ready(t)
	alice := w.user(t, idp.IDToken, "alice", "cambist")
	secrets := []string{alice}
	first := w.token(t, "shop/web", behalf(alice, typeID, ordersURI, "orders.write"))
	secrets = append(secrets, first, w.token(t, "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.write")))
	for _, form := range []map[string][]string{
		behalf(alice, typeAccess, ordersURI), behalf("canary-"+alice, typeID, ordersURI), with(self(ledgerURI), "client_assertion", alice),
		with(self(ledgerURI), "client_secret", "canary-secret"), with(self(ledgerURI), "canary-parameter", "canary-value"), with(self("canary-"+alice), "scope", "canary scope"),
	} {
		a := w.ask(t, "shop/web", form)
		if a.status == 200 {
			t.Errorf("%v was granted", form)
		}
		w.hides(t, "answer", string(a.body), secrets)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url("/oauth2/token?subject_token="+alice), strings.NewReader(""))
	must(t, err)
	request.Header.Set("Authorization", "Bearer "+first)
	response, err := w.client(t, "shop/web").Do(request)
	must(t, err)
	w.hides(t, "answer", string(read(t, response).body), secrets)
	w.hides(t, "metrics", string(w.probe(t, "/metrics").body), secrets)
	must(t, w.stop())
	w.hides(t, "log", w.log.String(), secrets)
	o := w.offline(t)
	defer o.Close()
	rows, err := o.Records(t.Context(), store.RecordFilter{Limit: 1000}, "")
	must(t, err)
	for _, r := range rows {
		w.hides(t, "record", string(r.Body), secrets)
		w.hides(t, "facts", string(r.Facts), secrets)
	}
	if len(rows) != 7 { // three tokens asked for, three forms refused, one without a form; a second credential is nobody's request
		t.Errorf("%d records", len(rows))
	}
}

// hides looks for whole tokens and for each part of one.
func (w *world) hides(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for _, secret := range append(slices.Clone(secrets), "canary-secret", "canary-value", "canary-parameter", "alice@dev.cambist.invalid", `"finance"`) {
		for _, part := range strings.Split(secret, ".") {
			if len(part) > 12 && strings.Contains(text, part) && !strings.HasPrefix(part, "eyJhbGciOi") {
				t.Errorf("%s holds %.20s…", where, part)
			}
		}
	}
}

// A record explains itself, also one that read what a token said of its user,
// which is sealed.
func TestWhy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["sqlite"](t))
	w.start(t)
	w.ready(t)
	tests := map[string]struct {
		workload string
		form     map[string][]string
		want     []string
	}{
		"no mapping": {"shop/web", self(ledgerURI), []string{"mapping_none", "allow shop/reports: from", "this would allow it", `from: "spiffe://prod.example/ns/shop/sa/web"`}},
		"allowed":    {"bi/reports", self(ledgerURI), []string{"allowed", `gets "ledger.read"`, "allow shop/reports: granted"}},
		"denied":     {"staging/job", self(ledgerURI, "ledger.write"), []string{"scope_not_granted", "deny shop/staging-no-money: denied", `it takes "ledger.write" away`}},
		"by claim":   {"shop/web", behalf(w.user(t, idp.IDToken, "alice", "cambist"), typeID, ordersURI, "orders.read"), []string{"allowed", "allow shop/web-orders: granted"}},
		"bad token":  {"shop/web", behalf("x.y.z", typeID, ordersURI, "orders.read"), []string{"token_malformed"}},
		"unknown":    {"bi/reports", self(ledgerURI + "x"), []string{"resource_unknown", "the nearest resource is " + ledgerURI}},
	}
	ids := map[string]string{}
	for name, tt := range tests {
		ids[name] = w.ask(t, tt.workload, tt.form).header.Get("X-Request-Id")
	}
	must(t, w.stop())
	o := w.offline(t)
	defer o.Close()
	for name, tt := range tests {
		explained, err := o.Explain(t.Context(), ids[name])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		text := explained.Text()
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", name, want, text)
			}
		}
		if strings.Contains(text, "decides differently") {
			t.Errorf("%s: the replay differs:\n%s", name, text)
		}
	}
	if _, err := o.Explain(t.Context(), broker.NewID(time.Now())); broker.AsError(err).Code != broker.CodeNotFound {
		t.Errorf("a record that is not there: %v", err)
	}
}

// A policy that is written while the server runs is in force within its poll,
// and so are a block and its end.
func TestPolicyMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["postgres"](t))
	w.start(t)
	w.ready(t)
	status := func() int { return w.ask(t, "bi/reports", self(ledgerURI)).status }
	if got := status(); got != 200 {
		t.Fatalf("before: %d", got)
	}
	o := w.offline(t)
	defer o.Close()
	block, err := o.Block(t.Context(), broker.Block{Target: broker.BlockWorkload, ID: "spiffe://prod.example/ns/bi/sa/reports", Reason: "INC-1"})
	must(t, err)
	w.eventually(t, "blocked", func() bool { return status() == 400 })
	_, err = o.Unblock(t.Context(), block.Name, "over")
	must(t, err)
	w.eventually(t, "free again", func() bool { return status() == 200 })
	if _, err := o.Unblock(t.Context(), block.Name, "again"); broker.AsError(err).Code != broker.CodeNotFound {
		t.Errorf("lifted twice: %v", err)
	}
	w.apply(t, "cambist: v1\nset: shop\ndefaults: {domain: prod.example}\n")
	w.eventually(t, "all gone", func() bool { return w.ask(t, "bi/reports", self(ledgerURI)).text("error") == "invalid_target" })
	rows, err := o.Records(t.Context(), store.RecordFilter{Limit: 1000}, "")
	must(t, err)
	kinds := map[string]int{}
	for _, r := range rows {
		if r.Replica == "break-glass" {
			kinds[r.Outcome]++
		}
	}
	if kinds["allowed"] != 4 { // two policies, a block, its end
		t.Errorf("break-glass records: %v", kinds)
	}
}

// A server that is told to stop turns unready first, then finishes what is under
// way: nobody who asked is left without an answer.
func TestDrain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["sqlite"](t))
	w.config.Drain = 300 * time.Millisecond
	w.start(t)
	w.ready(t)
	w.token(t, "bi/reports", self(ledgerURI)) // the connection is there
	var stopped error
	done := make(chan struct{})
	go func() { stopped = w.stop(); close(done) }()
	w.eventually(t, "unready", func() bool { return w.probe(t, "/readyz").status == 503 })
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() {
			if a := w.ask(t, "bi/reports", self(ledgerURI)); a.status != 200 {
				t.Errorf("while draining: %d %s", a.status, a.body)
			}
		})
	}
	workers.Wait()
	<-done
	must(t, stopped)
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, w.url("/oauth2/jwks"), nil)
	must(t, err)
	if response, err := w.client(t, "").Do(request); err == nil {
		_ = response.Body.Close()
		t.Error("it still answers")
	}
}
