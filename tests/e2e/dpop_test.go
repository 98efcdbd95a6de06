package e2e_test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/tests/dpoptest"
)

const keyedURI = "https://keyed.prod.example"

// keyed is a policy with a resource whose tokens are bound to a key, and what its
// service may do next.
const keyed = `
cambist: v1
set: keyed
defaults: {domain: prod.example}
resources:
- {name: keyed, uri: https://keyed.prod.example, served_by: [shop/keyed], scopes: {open: ["GET /**"], close: ["POST /**"]}, default_scopes: [open], binding: dpop}
allow:
- {name: web-keyed, from: shop/web, to: keyed, scopes: [open, close]}
- {name: user-keyed, from: shop/web, for: corp, to: keyed, scopes: [open]}
- {name: keyed-ledger, from: shop/keyed, for: corp, having: [open], to: ledger, scopes: [ledger.read]}
`

func newKeyedWorld(t *testing.T, nonce bool) *world {
	t.Helper()
	w := newWorld(t, stores["sqlite"](t))
	w.apply(t, keyed)
	w.config.DPoP.Nonce = nonce
	w.start(t)
	w.ready(t)
	return w
}

// proof makes one for the token endpoint by its name, whatever the test calls it
// by.
func (w *world) proof(t *testing.T, key *dpoptest.Key) string {
	t.Helper()
	return key.Proof(t, w.proofClaims())
}

func (w *world) proofClaims() dpoptest.Claims {
	return dpoptest.For(http.MethodPost, w.config.Issuer+"/oauth2/token", time.Now())
}

// prove is ask with DPoP headers.
func (w *world) prove(t *testing.T, workload string, form url.Values, proofs ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url("/oauth2/token"), strings.NewReader(form.Encode()))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, p := range proofs {
		request.Header.Add("DPoP", p)
	}
	response, err := w.client(t, workload).Do(request)
	must(t, err)
	return read(t, response)
}

// cnf prints the binding of an answer's token.
func cnf(t *testing.T, a answer) string {
	t.Helper()
	if a.status != 200 {
		t.Errorf("%d %s", a.status, a.body)
		return "none"
	}
	bound := claims(t, a.text("access_token"))["cnf"]
	if bound == nil {
		return ""
	}
	text, err := json.Marshal(bound)
	must(t, err)
	return string(text)
}

// Standards DP-6, DP-7, DP-12, DP-13: the binding is what the resource says, and
// nothing else; what it needs and is not there refuses.
func TestDPoPBinds(t *testing.T) {
	t.Parallel()
	w := newKeyedWorld(t, false)
	key := dpoptest.New(t)
	jkt := `{"jkt":"` + key.Thumbprint + `"}`
	sealed := "https://sealed.prod.example"
	a := w.prove(t, "shop/web", self(keyedURI), w.proof(t, key))
	if got := cnf(t, a); got != jkt || a.text("token_type") != "DPoP" || a.header.Get("DPoP-Nonce") != "" {
		t.Errorf("bound: %s %s", got, a.body)
	}
	id := a.header.Get("X-Request-Id")
	// A certificate binds as before, the proof beside it adds nothing; nor does it
	// where nothing is bound.
	a = w.prove(t, "shop/web", self(sealed), w.proof(t, key))
	if got := cnf(t, a); !strings.HasPrefix(got, `{"x5t#S256":`) || strings.Contains(got, "jkt") || a.text("token_type") != "Bearer" {
		t.Errorf("certificate: %s %s", got, a.body)
	}
	a = w.prove(t, "bi/reports", self(ledgerURI), w.proof(t, key))
	if got := cnf(t, a); got != "" || a.text("token_type") != "Bearer" {
		t.Errorf("identity: %s %s", got, a.body)
	}
	used := w.proof(t, key)
	for _, tt := range []struct {
		name   string
		proofs []string
		code   string
	}{
		{"no proof", nil, "invalid_request"},
		{"first use", []string{used}, ""},
		{"second use", []string{used}, "invalid_dpop_proof"},
		{"two", []string{w.proof(t, key), w.proof(t, key)}, "invalid_dpop_proof"},
		{"not a proof", []string{"x"}, "invalid_dpop_proof"},
		{"by the address", []string{key.Proof(t, w.proofClaims().With("htu", w.url("/oauth2/token")))}, "invalid_dpop_proof"},
		{"old", []string{key.Proof(t, w.proofClaims().With("iat", time.Now().Unix()-70))}, "invalid_dpop_proof"},
		{"made in advance", []string{key.Proof(t, w.proofClaims().With("iat", time.Now().Unix()+60))}, "invalid_dpop_proof"},
	} {
		a := w.prove(t, "shop/web", self(keyedURI), tt.proofs...)
		if (a.status == 200) != (tt.code == "") || a.text("error") != tt.code || tt.code != "" && a.status != 400 {
			t.Errorf("%s: %d %s", tt.name, a.status, a.body)
		}
	}
	// The proof is for who is authenticated all the same.
	if a := w.prove(t, "", self(keyedURI), w.proof(t, key)); a.status != 401 {
		t.Errorf("nobody: %d %s", a.status, a.body)
	}
	must(t, w.stop())
	w.hides(t, "log", w.log.String(), []string{used})
	w.recorded(t, id, key, used)
}

// recorded: the token's record names the key, the refusals say why, and no record
// holds a proof.
func (w *world) recorded(t *testing.T, id string, key *dpoptest.Key, used string) {
	t.Helper()
	o := w.offline(t)
	defer o.Close()
	row, err := o.Record(t.Context(), id)
	must(t, err)
	if !strings.Contains(string(row.Body), `"jkt":"`+key.Thumbprint+`"`) {
		t.Errorf("record: %s", row.Body)
	}
	rows, err := o.Records(t.Context(), store.RecordFilter{Limit: 1000}, "")
	must(t, err)
	reasons := map[string]int{}
	for _, r := range rows {
		w.hides(t, "record", string(r.Body), []string{used})
		reasons[r.Outcome]++
	}
	for reason, want := range map[string]int{"dpop_replayed": 1, "dpop_several": 1, "dpop_malformed": 1, "dpop_request": 1, "dpop_time": 2, "binding_unproven": 1} {
		if reasons[reason] != want {
			t.Errorf("%s is recorded %d times, want %d: %v", reason, reasons[reason], want, reasons)
		}
	}
	explained, err := o.Explain(t.Context(), id)
	if err != nil || strings.Contains(explained.Text(), "decides differently") {
		t.Errorf("%v %s", err, explained.Text())
	}
}

// Design 5, rules (a) and (b): who holds a bound token narrows it with the same
// key alone, and what comes out is bound to it; the service that it is for goes on
// with it, without the key, which it cannot have.
func TestDPoPExchange(t *testing.T) {
	t.Parallel()
	w := newKeyedWorld(t, false)
	key, another := dpoptest.New(t), dpoptest.New(t)
	jkt := `{"jkt":"` + key.Thumbprint + `"}`
	a := w.prove(t, "shop/web", self(keyedURI, "open", "close"), w.proof(t, key))
	if cnf(t, a) != jkt {
		t.Fatalf("%s", a.body)
	}
	held := behalf(a.text("access_token"), typeAccess, keyedURI, "open")
	if a := w.prove(t, "shop/web", held, w.proof(t, key)); cnf(t, a) != jkt || a.text("token_type") != "DPoP" || a.text("scope") != "open" {
		t.Errorf("narrowed: %s", a.body)
	}
	for name, proofs := range map[string][]string{"another key": {w.proof(t, another)}, "no proof": nil} {
		if a := w.prove(t, "shop/web", held, proofs...); a.status != 400 || a.text("error") != "invalid_request" {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}

	alice := w.user(t, idp.IDToken, "alice", "cambist")
	a = w.prove(t, "shop/web", behalf(alice, typeID, keyedURI, "open"), w.proof(t, key))
	if cnf(t, a) != jkt {
		t.Fatalf("%s", a.body)
	}
	onward := behalf(a.text("access_token"), typeAccess, ledgerURI, "ledger.read")
	if a := w.prove(t, "shop/keyed", onward); cnf(t, a) != "" || a.text("token_type") != "Bearer" {
		t.Errorf("onward: %s", a.body)
	}
	if a := w.prove(t, "finance/ledger", onward, w.proof(t, key)); a.status != 400 {
		t.Errorf("of another service: %d %s", a.status, a.body)
	}
}

// Standards DP-10: with nonces demanded a proof is answered with one, which is
// good at once, after a restart and at another replica, which has the same
// key-encryption key.
func TestDPoPNonce(t *testing.T) {
	t.Parallel()
	w := newKeyedWorld(t, true)
	key := dpoptest.New(t)
	with := func(nonce string) string { return key.Proof(t, w.proofClaims().With("nonce", nonce)) }
	a := w.prove(t, "shop/web", self(keyedURI), w.proof(t, key))
	nonce := a.header.Get("DPoP-Nonce")
	if a.status != 400 || a.text("error") != "use_dpop_nonce" || len(a.header.Values("DPoP-Nonce")) != 1 {
		t.Fatalf("%d %s %v", a.status, a.body, a.header)
	}
	a = w.prove(t, "shop/web", self(keyedURI), with(nonce))
	if cnf(t, a) != `{"jkt":"`+key.Thumbprint+`"}` || a.header.Get("DPoP-Nonce") == "" {
		t.Errorf("%s %v", a.body, a.header)
	}
	if a := w.prove(t, "shop/web", self(keyedURI), with(strings.Repeat("A", len(nonce)))); a.text("error") != "use_dpop_nonce" {
		t.Errorf("made up: %d %s", a.status, a.body)
	}
	must(t, w.stop())
	w.config.Replica = "r2"
	w.start(t)
	w.ready(t)
	if a := w.prove(t, "shop/web", self(keyedURI), with(nonce)); a.status != 200 {
		t.Errorf("at another replica: %d %s", a.status, a.body)
	}
}
