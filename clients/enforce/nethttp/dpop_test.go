package nethttp_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/verify"
	"github.com/cambist/cambist/tests/dpoptest"
)

const (
	keyed  = "https://keyed.prod.example"
	origin = "https://keyed.shop:8443" // by which clients call the service
)

// dpopWorld is one whose verifier accepts DPoP, for guards that know no peers.
func dpopWorld(t *testing.T, nonces *dpop.Nonces) (*world, *nethttp.Guard) {
	t.Helper()
	w := newWorld(t, func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{origin}, Nonces: nonces} })
	return w, w.guard(t, func(c *nethttp.Config) { c.Peers = nil })
}

// Standards DP-1, DP-8 to DP-11: statuses and challenges of a guard that accepts
// both schemes.
func TestDPoPAnswers(t *testing.T) {
	t.Parallel()
	w, g := dpopWorld(t, nil)
	key := dpoptest.New(t)
	token := w.token(t, user().with("cnf", object{"jkt": key.Thumbprint}))
	proof := func() string { return key.Proof(t, dpoptest.For("GET", origin+"/orders/1", time.Now()).Token(token)) }
	used := proof()
	const bearer, bound = `Bearer realm="` + orders + `"`, `DPoP realm="` + orders + `"`
	const algs = `, algs="ES256 EdDSA Ed25519 PS256 RS256"`
	failed := func(code, text string) string { return `, error="` + code + `", error_description="` + text + `"` }
	other := failed("invalid_token", "the token is not one for the scheme that it was shown with: DPoP for one that is bound to a key, Bearer for any other")
	tests := []struct {
		name          string
		authorization []string
		proofs        []string
		status        int
		challenges    []string
	}{
		{"good", []string{"DPoP " + token}, []string{used}, 200, nil},
		{"used", []string{"DPoP " + token}, []string{used}, 401, []string{bearer, bound + failed("invalid_dpop_proof", dpop.ReasonReplayed.Text()) + algs}},
		{"nothing", nil, []string{proof()}, 401, []string{bearer, bound + algs}},
		{"no proof", []string{"DPoP " + token}, nil, 401, []string{bearer, bound + failed("invalid_dpop_proof", "a DPoP proof is required") + algs}},
		{"two proofs", []string{"DPoP " + token}, []string{proof(), proof()}, 401, []string{bearer, bound + failed("invalid_dpop_proof", "more than one DPoP proof was sent") + algs}},
		{"as Bearer", []string{"Bearer " + token}, []string{proof()}, 401, []string{bearer + other, bound + algs}},
		{"an unbound one", []string{"DPoP " + w.token(t, user())}, []string{proof()}, 401, []string{bearer, bound + other + algs}},
		{"two schemes", []string{"DPoP " + token, "Bearer " + token}, []string{proof()}, 400, []string{bearer + failed("invalid_request", "more than one access token was sent"), bound + algs}},
		{"malformed", []string{"DPoP  " + token}, []string{proof()}, 400, []string{bearer, bound + failed("invalid_request", "the Authorization header is not a scheme, one space and a token") + algs}},
		{"an unbound one, as Bearer", []string{"Bearer " + w.token(t, user())}, nil, 401, []string{bearer + failed("invalid_token", "the connection proves no workload, and the token is not a bearer token"), bound + algs}},
	}
	for _, tt := range tests {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://attacker.example/orders/1?x=y", nil)
		r.TLS = &tls.ConnectionState{}
		r.Header["Authorization"] = tt.authorization
		for _, p := range tt.proofs {
			r.Header.Add("DPoP", p)
		}
		answer := httptest.NewRecorder()
		g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})).ServeHTTP(answer, r)
		if got := answer.Header().Values("WWW-Authenticate"); answer.Code != tt.status || !slices.Equal(got, tt.challenges) || answer.Header().Get("DPoP-Nonce") != "" {
			t.Errorf("%s: %d %q", tt.name, answer.Code, got)
		}
	}
}

// A guard without DPoP takes the scheme for one that it does not know.
func TestDPoPNotAccepted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	key := dpoptest.New(t)
	token := w.token(t, user().with("cnf", object{"jkt": key.Thumbprint}))
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
	r.Header.Set("Authorization", "DPoP "+token)
	r.Header.Set("DPoP", key.Proof(t, dpoptest.For("GET", origin+"/", time.Now()).Token(token)))
	answer := httptest.NewRecorder()
	w.guard(t, nil).Handler(http.HandlerFunc(seen)).ServeHTTP(answer, r)
	if got := answer.Header().Values("WWW-Authenticate"); answer.Code != 401 || len(got) != 1 || got[0] != `Bearer realm="`+orders+`"` {
		t.Errorf("%d %q", answer.Code, got)
	}
}

// Standards DP-10: the answer to a proof has the next nonce, also where the
// request is refused, and one guard inside another asks for one proof.
func TestDPoPNonce(t *testing.T) {
	t.Parallel()
	nonces, err := dpop.NewNonces(bytes.Repeat([]byte("n"), 32))
	if err != nil {
		t.Fatal(err)
	}
	w, g := dpopWorld(t, nonces)
	key := dpoptest.New(t)
	token := w.token(t, user().with("cnf", object{"jkt": key.Thumbprint}))
	h := g.Handler(g.Require("orders.read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	ask := func(h http.Handler, nonce any) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/orders/1", nil)
		r.TLS = &tls.ConnectionState{}
		r.Header.Set("Authorization", "DPoP "+token)
		r.Header.Set("DPoP", key.Proof(t, dpoptest.For("GET", origin+"/orders/1", time.Now()).Token(token).With("nonce", nonce)))
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		return answer
	}
	refused := ask(h, nil)
	offered := refused.Header().Values("DPoP-Nonce")
	if refused.Code != 401 || len(offered) != 1 || !strings.Contains(refused.Header().Values("WWW-Authenticate")[1], `error="use_dpop_nonce"`) {
		t.Fatalf("%d %v", refused.Code, refused.Header())
	}
	for name, h := range map[string]http.Handler{"Handler": h, "Require": g.Require("orders.read")(http.HandlerFunc(seen))} {
		if answer := ask(h, offered[0]); answer.Code != 200 || len(answer.Header().Values("DPoP-Nonce")) != 1 || answer.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v", name, answer.Code, answer.Header())
		}
	}
	if answer := ask(g.Require("orders.write")(http.HandlerFunc(seen)), offered[0]); answer.Code != 403 || !strings.HasPrefix(answer.Header().Values("WWW-Authenticate")[1], `DPoP realm="`+orders+`", error="insufficient_scope"`) {
		t.Errorf("%d %v", answer.Code, answer.Header())
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{}
	answer := httptest.NewRecorder()
	h.ServeHTTP(answer, r)
	if answer.Code != 401 || answer.Header().Get("DPoP-Nonce") != "" {
		t.Errorf("a nonce without a proof: %v", answer.Header())
	}
}

// The real broker binds a token to a key, and a real service accepts it over a
// connection that proves nobody, from whoever holds the key and from nobody else.
func TestDPoPWithBroker(t *testing.T) {
	t.Parallel()
	c := newCambist(t)
	c.config.Audiences, c.config.DPoP = []string{keyed}, &verify.DPoPConfig{BaseURLs: []string{origin}}
	g := c.guard(t, func(config *nethttp.Config) { config.Verifier, config.Peers = c.run(t), nil })
	service := c.serve(t, g.Handler(http.HandlerFunc(seen)), nil)
	sealed := url.Values{"grant_type": {string(oauth.GrantClientCredentials)}, "audience": {"https://sealed.prod.example"}, "scope": {"open"}}
	c.ask(t, c.svid(t, web), sealed) // the server is ready

	key, another := dpoptest.New(t), dpoptest.New(t)
	token := c.askWithKey(t, c.svid(t, web), key)
	proof := dpoptest.For("GET", origin+"/x", time.Now()).Token(token)
	for _, tt := range []struct {
		name, scheme, proof string
		status              int
	}{
		{"its holder", "DPoP ", key.Proof(t, proof), 200},
		{"the same again", "DPoP ", key.Proof(t, proof), 401},
		{"its holder again", "DPoP ", key.Proof(t, proof.With("jti", "2")), 200},
		{"a thief", "DPoP ", another.Proof(t, proof.With("jti", "3")), 401},
		{"a thief without a proof", "DPoP ", "", 401},
		{"a thief, as Bearer", "Bearer ", key.Proof(t, proof.With("jti", "4")), 401},
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, service+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", tt.scheme+token)
		if tt.proof != "" {
			r.Header.Set("DPoP", tt.proof)
		}
		response, err := client(t, nil, nil).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := response.Body.Close(); err != nil || response.StatusCode != tt.status {
			t.Errorf("%s: %d %q, %v", tt.name, response.StatusCode, response.Header.Values("WWW-Authenticate"), err)
		}
	}
}

// askWithKey returns a token of the keyed resource that is bound to the key.
func (c *cambist) askWithKey(t *testing.T, as *x509svid.SVID, key *dpoptest.Key) string {
	t.Helper()
	form := url.Values{"grant_type": {string(oauth.GrantClientCredentials)}, "audience": {keyed}, "scope": {"open"}}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+c.at+"/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("DPoP", key.Proof(t, dpoptest.For("POST", issuer+"/oauth2/token", time.Now())))
	response, err := client(t, as, nil).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
		Type  string `json:"token_type"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.Type != "DPoP" {
		t.Fatalf("%d %+v, %v", response.StatusCode, answer, err)
	}
	return answer.Token
}
