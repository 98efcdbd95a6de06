package e2e_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"github.com/cambist/cambist/broker/devkit/idp"
)

// The story of design 5 on both stores: a token for itself, one on behalf of a
// user, a second hop by the served workload; then what must not work.
func TestStory(t *testing.T) {
	t.Parallel()
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, open(t))
			w.start(t)
			w.ready(t)
			story(t, w)
		})
	}
}

func story(t *testing.T, w *world) {
	const web, orders, reports = "spiffe://prod.example/ns/shop/sa/web", "spiffe://prod.example/ns/shop/sa/orders", "spiffe://prod.example/ns/bi/sa/reports"
	own := claims(t, w.token(t, "bi/reports", self(ledgerURI)))
	if own["sub"] != reports || own["client_id"] != reports || own["aud"] != ledgerURI || own["scope"] != "ledger.read" || own["act"] != nil || own["iss"] != w.config.Issuer || own["sub_id"] != nil {
		t.Errorf("for itself: %v", own)
	}

	first := w.token(t, "shop/web", behalf(w.user(t, idp.IDToken, "alice", "cambist"), typeID, ordersURI, "orders.write", "orders.read"))
	hop := claims(t, first)
	if hop["sub"] != "corp:alice" || hop["client_id"] != web || hop["scope"] != "orders.read orders.write" || actors(hop) != web || hop["anc"] != nil {
		t.Errorf("on behalf: %v", hop)
	}
	if id, _ := hop["sub_id"].(map[string]any); id["iss"] != w.issuer.URL() || id["sub"] != "alice" || id["format"] != "iss_sub" {
		t.Errorf("sub_id: %v", hop["sub_id"])
	}
	if groups, _ := hop["groups"].([]any); len(groups) != 2 || hop["email"] != nil {
		t.Errorf("carried: %v, %v", hop["groups"], hop["email"])
	}

	onward := claims(t, w.token(t, "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.write")))
	if onward["sub"] != "corp:alice" || onward["client_id"] != orders || actors(onward) != orders+" < "+web || onward["scope"] != "ledger.write" || onward["txn"] != hop["txn"] {
		t.Errorf("second hop: %v", onward)
	}
	if anc, _ := onward["anc"].([]any); len(anc) != 1 || anc[0] != hop["jti"] {
		t.Errorf("anc: %v", onward["anc"])
	}
	if onward["exp"].(float64) > hop["exp"].(float64) {
		t.Errorf("it outlives the token before: %v, %v", onward["exp"], hop["exp"])
	}

	// Rule (a): who holds a token may narrow it.
	narrow := claims(t, w.token(t, "shop/web", behalf(first, typeAccess, ordersURI, "orders.read")))
	if narrow["scope"] != "orders.read" || actors(narrow) != web || narrow["sub"] != "corp:alice" {
		t.Errorf("narrowed: %v", narrow)
	}
	// A template: the same namespace.
	if c := claims(t, w.token(t, "shop/web", self("https://orders.shop.svc.prod.example"))); c["scope"] != "call" {
		t.Errorf("by template: %v", c)
	}
	// A binding to the certificate is stamped.
	if c := claims(t, w.token(t, "shop/web", self("https://sealed.prod.example"))); c["cnf"].(map[string]any)["x5t#S256"] == "" {
		t.Errorf("bound: %v", c)
	}
	// A deny takes a scope away and leaves the rest.
	if c := claims(t, w.token(t, "staging/job", self(ledgerURI))); c["scope"] != "ledger.read" {
		t.Errorf("after a deny: %v", c)
	}
	refusals(t, w, first)
}

// actors prints an act chain, the current actor first.
func actors(c map[string]any) string {
	var list []string
	for a, ok := c["act"].(map[string]any); ok; a, ok = a["act"].(map[string]any) {
		sub, _ := a["sub"].(string)
		list = append(list, sub)
	}
	return strings.Join(list, " < ")
}

// refusals are the ways that the story must not go, each with its code.
func refusals(t *testing.T, w *world, first string) {
	alice, bob := w.user(t, idp.IDToken, "alice", "cambist"), w.user(t, idp.IDToken, "bob", "cambist")
	tests := []struct {
		name, workload string
		form           map[string][]string
		code           string
	}{
		{"scope not granted", "bi/reports", self(ledgerURI, "ledger.write"), "invalid_scope"},
		{"scope denied", "staging/job", self(ledgerURI, "ledger.write"), "invalid_scope"},
		{"no mapping", "shop/web", self(ledgerURI), "invalid_target"},
		{"unknown audience", "shop/web", self("https://nowhere.example"), "invalid_target"},
		{"slash at the end", "bi/reports", self(ledgerURI + "/"), "invalid_target"},
		{"upper case", "bi/reports", self("https://LEDGER.prod.example"), "invalid_target"},
		{"another namespace", "shop/web", self("https://ledger.finance.svc.prod.example"), "invalid_target"},
		{"user token as itself", "bi/reports", behalf(alice, typeID, ledgerURI), "invalid_target"},
		{"declared as ours", "shop/web", behalf(alice, typeAccess, ordersURI, "orders.read"), "invalid_request"},
		{"ours declared as foreign", "shop/orders", behalf(first, typeJWT, ledgerURI, "ledger.write"), "invalid_request"},
		{"audience of another", "shop/web", behalf(w.user(t, idp.AccessToken, "alice", "api://acme"), typeJWT, ordersURI, "orders.read"), "invalid_request"},
		{"audience of nobody", "shop/web", behalf(w.user(t, idp.IDToken, "alice", "else"), typeID, ordersURI, "orders.read"), "invalid_request"},
		{"token of another hop", "finance/ledger", behalf(first, typeAccess, ledgerURI, "ledger.write"), "invalid_request"},
		{"more than it carries", "shop/orders", behalf(first, typeAccess, ledgerURI, "ledger.read"), "invalid_scope"},
		{"more than was held", "shop/web", behalf(first, typeAccess, ordersURI, "orders.write", "call"), "invalid_scope"},
		{"tampered", "shop/orders", behalf(first[:len(first)-4]+"AAAA", typeAccess, ledgerURI, "ledger.write"), "invalid_request"},
		{"client_id of another", "bi/reports", with(self(ledgerURI), "client_id", "spiffe://prod.example/ns/shop/sa/web"), "invalid_client"},
		{"subject beside client_credentials", "bi/reports", with(with(self(ledgerURI), "subject_token", bob), "subject_token_type", typeID), "invalid_request"},
		{"no subject", "shop/web", with(self(ordersURI), "grant_type", grantExchange), "invalid_request"},
		{"actor of another", "shop/web", with(with(behalf(alice, typeID, ordersURI, "orders.read"), "actor_token", first), "actor_token_type", typeAccess), "invalid_request"},
		{"refresh token asked", "shop/web", with(behalf(alice, typeID, ordersURI, "orders.read"), "requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token"), "invalid_request"},
	}
	for _, tt := range tests {
		a := w.ask(t, tt.workload, tt.form)
		want := 400
		if tt.code == "invalid_client" {
			want = 401
		}
		if a.status != want || a.text("error") != tt.code || a.json["access_token"] != nil || !strings.Contains(a.text("error_description"), "id "+a.header.Get("X-Request-Id")) {
			t.Errorf("%s: %d %s, want %s", tt.name, a.status, a.body, tt.code)
		}
	}
	if a := w.ask(t, "", self(ledgerURI)); a.status != 401 || a.text("error") != "invalid_client" {
		t.Errorf("without a certificate: %d %s", a.status, a.body)
	}
}

func with(form map[string][]string, name, value string) map[string][]string {
	form[name] = []string{value}
	return form
}

// A verifier that is not ours discovers the server and accepts its token, and
// refuses it for another audience.
func TestVerifiesElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["sqlite"](t))
	w.start(t)
	w.ready(t)
	// The issuer says localhost:8443; what answers is where the test listens.
	ctx := oidc.ClientContext(t.Context(), w.rewriting(t))
	provider, err := oidc.NewProvider(ctx, w.config.Issuer)
	must(t, err)
	raw := w.token(t, "bi/reports", self(ledgerURI))
	token, err := provider.Verifier(&oidc.Config{ClientID: ledgerURI}).Verify(ctx, raw)
	must(t, err)
	if token.Subject != "spiffe://prod.example/ns/bi/sa/reports" || !slices.Equal(token.Audience, []string{ledgerURI}) {
		t.Errorf("%+v", token)
	}
	if _, err := provider.Verifier(&oidc.Config{ClientID: ordersURI}).Verify(ctx, raw); err == nil {
		t.Error("accepted for another audience")
	}
}
