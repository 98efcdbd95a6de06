package e2e_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/store"
)

const (
	introspectPath = "/oauth2/introspect"
	inactive       = `{"active":false}`
)

// show posts a token to an endpoint that answers for tokens.
func (w *world) show(t *testing.T, workload, path, token string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url(path), strings.NewReader(url.Values{"token": {token}}.Encode()))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := w.client(t, workload).Do(request)
	must(t, err)
	return read(t, response)
}

func (w *world) active(t *testing.T, workload, token string) bool {
	t.Helper()
	a := w.show(t, workload, introspectPath, token)
	active, ok := a.json["active"].(bool)
	if a.status != 200 || !ok || !active && string(a.body) != inactive {
		t.Fatalf("introspection by %s: %d %s", workload, a.status, a.body)
	}
	return active
}

// Who a token is for learns whom it is about; its client what it may do;
// everybody else, and everybody about everything else, that it is not active.
func TestIntrospection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["sqlite"](t))
	w.start(t)
	w.ready(t)
	alice := w.user(t, idp.IDToken, "alice", "cambist")
	token := w.token(t, "shop/web", behalf(alice, typeID, ordersURI, "orders.write"))
	said := claims(t, token)

	server := w.show(t, "shop/orders", introspectPath, token)
	for _, name := range []string{"iss", "sub", "aud", "client_id", "scope", "jti", "iat", "exp", "act", "sub_id", "txn"} {
		if d := cmp.Diff(said[name], server.json[name]); d != "" || said[name] == nil {
			t.Errorf("%s: %s", name, d)
		}
	}
	if server.json["active"] != true || server.json["token_type"] != "Bearer" || server.json["groups"] != nil {
		t.Errorf("the server was told %s", server.body)
	}
	client := w.show(t, "shop/web", introspectPath, token)
	if client.json["active"] != true || client.json["scope"] != "orders.write" || client.json["sub"] != nil || client.json["sub_id"] != nil || client.json["act"] != nil {
		t.Errorf("the client was told %s", client.body)
	}
	bound := w.token(t, "shop/web", self("https://sealed.prod.example"))
	if d := cmp.Diff(claims(t, bound)["cnf"], w.show(t, "shop/sealed", introspectPath, bound).json["cnf"]); d != "" {
		t.Errorf("cnf: %s", d)
	}

	head, tail, _ := strings.Cut(token, ".")
	payload, signature, _ := strings.Cut(tail, ".")
	want := w.show(t, "shop/orders", introspectPath, "x")
	for name, tt := range map[string]struct{ workload, token string }{
		"of another service":  {"finance/ledger", token},
		"a token of its user": {"shop/orders", alice},
		"no token":            {"shop/orders", "a.b.c"},
		"cut":                 {"shop/orders", token[:len(token)-4]},
		"another payload":     {"shop/orders", head + "." + strings.Split(bound, ".")[1] + "." + signature},
		"no signature":        {"shop/orders", head + "." + payload + "."},
		"no algorithm":        {"shop/orders", "eyJhbGciOiJub25lIn0." + payload + "."},
		"dots":                {"shop/orders", strings.Repeat(".", 16000)},
	} {
		got := w.show(t, tt.workload, introspectPath, tt.token)
		for _, header := range []http.Header{got.header, want.header} {
			header.Del("X-Request-Id")
			header.Del("Date")
		}
		if got.status != 200 || string(got.body) != inactive || cmp.Diff(want.header, got.header) != "" {
			t.Errorf("%s: %d %s %v", name, got.status, got.body, got.header)
		}
	}
	if a := w.show(t, "", introspectPath, token); a.status != 401 {
		t.Errorf("nobody: %d %s", a.status, a.body)
	}
	w.recordsInactive(t, token)
}

// recordsInactive finds what was asked in the record and the metrics, without the token.
func (w *world) recordsInactive(t *testing.T, token string) {
	t.Helper()
	metrics := string(w.probe(t, "/metrics").body)
	for _, want := range []string{
		`cambist_token_introspections_total{reason="",result="active"} 3`, `cambist_token_introspections_total{reason="subject_not_for_caller",result="inactive"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	must(t, w.stop())
	o := w.offline(t)
	defer o.Close()
	rows, err := o.Records(t.Context(), store.RecordFilter{Workload: "spiffe://prod.example/ns/finance/sa/ledger", Limit: 10}, "")
	must(t, err)
	if len(rows) != 1 || rows[0].Outcome != string(broker.ReasonSubjectNotShown) || !strings.Contains(string(rows[0].Body), `"type":"introspect"`) ||
		!strings.Contains(string(rows[0].Body), claims(t, token)["jti"].(string)) {
		t.Errorf("records %+v", rows)
	}
	w.hides(t, "log", w.log.String(), []string{token})
	w.hides(t, "record", string(rows[0].Body), []string{token})
	if _, err := o.Explain(t.Context(), rows[0].ID); err != nil {
		t.Errorf("why: %v", err)
	}
}

// A block is seen by introspection as soon as by exchange, and so is its end.
func TestIntrospectionOfBlocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["postgres"](t))
	w.start(t)
	w.ready(t)
	first := w.token(t, "shop/web", behalf(w.user(t, idp.IDToken, "alice", "cambist"), typeID, ordersURI, "orders.write"))
	second := w.token(t, "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.write"))
	o := w.offline(t)
	defer o.Close()
	for _, block := range []broker.Block{
		{Target: broker.BlockToken, ID: claims(t, first)["jti"].(string)}, {Target: broker.BlockWorkload, ID: "spiffe://prod.example/ns/shop/sa/web"},
		{Target: broker.BlockSubject, ID: "corp:alice"}, {Target: broker.BlockIssuer, ID: w.issuer.URL()},
	} {
		if !w.active(t, "shop/orders", first) || !w.active(t, "finance/ledger", second) {
			t.Fatalf("not active before %s", block.Target)
		}
		block.Reason = "INC-1"
		set, err := o.Block(t.Context(), block)
		must(t, err)
		w.eventually(t, "inactive: "+string(block.Target), func() bool { return !w.active(t, "shop/orders", first) && !w.active(t, "finance/ledger", second) })
		if a := w.ask(t, "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.write")); a.status != 400 {
			t.Errorf("%s: exchanged: %d", block.Target, a.status)
		}
		_, err = o.Unblock(t.Context(), set.Name, "over")
		must(t, err)
		w.eventually(t, "active: "+string(block.Target), func() bool { return w.active(t, "shop/orders", first) && w.active(t, "finance/ledger", second) })
	}
}
