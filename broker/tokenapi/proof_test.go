package tokenapi_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/tokenapi"
	"github.com/cambist/cambist/broker/web"
	"github.com/cambist/cambist/tests/dpoptest"
)

const (
	workloads = "https://cambist.example:8443"
	tokenURL  = workloads + tokenapi.PathToken
	ownForm   = "grant_type=client_credentials&audience=https://ledger.example&scope=x"
)

func newNonces(t *testing.T) *dpop.Nonces {
	t.Helper()
	n, err := dpop.NewNonces(bytes.Repeat([]byte("n"), 32))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// proving returns a function that posts a form with DPoP headers, to one handler
// that reads proofs with v.
func (l *line) proving(t *testing.T, v *dpop.Verifier) func(body string, proofs ...string) *httptest.ResponseRecorder {
	t.Helper()
	h := tokenapi.New(tokenapi.Config{
		Edge: newEdge(), Authenticator: l, Exchanger: l, Quota: web.NewQuota(0, 0), Proofs: v, URL: workloads,
		Documents: tokenapi.Documents{JWKS: func(time.Time) ([]byte, string) { return nil, "" }, Metadata: func() []byte { return nil }},
	})
	return func(body string, proofs ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodPost, "https://attacker.example"+tokenapi.PathToken, strings.NewReader(body))
		r.Header.Set("Content-Type", form)
		for _, p := range proofs {
			r.Header.Add("DPoP", p)
		}
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, r)
		return recorder
	}
}

func oauthError(t *testing.T, r *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct {
		Error string `json:"error"`
	}
	if err := json.Unmarshal(r.Body.Bytes(), &body); err != nil {
		t.Fatal(err)
	}
	return body.Error
}

// Standards DP-1 to DP-6, DP-12: a good proof reaches the domain as the key that
// it proves, a bad one as a refusal that is recorded, none as no key.
func TestProof(t *testing.T) {
	t.Parallel()
	key := dpoptest.New(t)
	good := dpoptest.For("POST", tokenURL, start)
	tests := map[string]struct {
		form   string
		proofs []string
		code   string // "" for an exchange
		reason broker.Reason
	}{
		"none":             {ownForm, nil, "", ""},
		"one":              {ownForm, []string{key.Proof(t, good)}, "", ""},
		"other spelling":   {ownForm, []string{key.Proof(t, good.With("htu", "HTTPS://Cambist.example:8443/oauth2/token?x"))}, "", ""},
		"two":              {ownForm, []string{key.Proof(t, good), key.Proof(t, good.With("jti", "x"))}, "invalid_dpop_proof", broker.ReasonDPoPSeveral},
		"empty":            {ownForm, []string{""}, "invalid_dpop_proof", broker.ReasonDPoPMalformed},
		"private jwk":      {ownForm, []string{key.Sign(t, strings.Replace(key.Header(), `"kty"`, `"d":"canary","kty"`, 1), "{}")}, "invalid_dpop_proof", broker.ReasonDPoPKey},
		"access token":     {ownForm, []string{key.Sign(t, strings.Replace(key.Header(), "dpop+jwt", "at+jwt", 1), "{}")}, "invalid_dpop_proof", broker.ReasonDPoPType},
		"HS256":            {ownForm, []string{key.Sign(t, strings.Replace(key.Header(), "ES256", "HS256", 1), "{}")}, "invalid_dpop_proof", broker.ReasonDPoPAlgorithm},
		"no claims":        {ownForm, []string{key.Proof(t, nil)}, "invalid_dpop_proof", broker.ReasonDPoPClaims},
		"another key":      {ownForm, []string{dpoptest.New(t).Sign(t, key.Header(), "{}")}, "invalid_dpop_proof", broker.ReasonDPoPSignature},
		"another method":   {ownForm, []string{key.Proof(t, good.With("htm", "GET"))}, "invalid_dpop_proof", broker.ReasonDPoPRequest},
		"URL of Host":      {ownForm, []string{key.Proof(t, good.With("htu", "https://attacker.example/oauth2/token"))}, "invalid_dpop_proof", broker.ReasonDPoPRequest},
		"URL of issuer":    {ownForm, []string{key.Proof(t, good.With("htu", "https://cambist.example/oauth2/token"))}, "invalid_dpop_proof", broker.ReasonDPoPRequest},
		"old":              {ownForm, []string{key.Proof(t, good.With("iat", start.Unix()-61))}, "invalid_dpop_proof", broker.ReasonDPoPTime},
		"of the future":    {ownForm, []string{key.Proof(t, good.With("iat", start.Unix()+6))}, "invalid_dpop_proof", broker.ReasonDPoPTime},
		"form comes first": {"grant_type=client_credentials", []string{"x"}, "invalid_target", broker.ReasonRequestMalformed},
	}
	for name, tt := range tests {
		l := &line{token: issued(t)}
		r := l.proving(t, dpop.New(dpop.NewReplays(10), nil))(tt.form, tt.proofs...)
		if r.Header().Get("DPoP-Nonce") != "" {
			t.Errorf("%s: a nonce that nobody demands", name)
		}
		if tt.code == "" {
			want := ""
			if len(tt.proofs) > 0 {
				want = key.Thumbprint
			}
			if r.Code != 200 || len(l.exchanged) != 1 || l.exchanged[0].ProofKey != want {
				t.Errorf("%s: %d, %+v", name, r.Code, l.exchanged)
			}
			continue
		}
		if r.Code != 400 || oauthError(t, r) != tt.code || len(l.exchanged) != 0 || len(l.refused) != 1 || strings.Contains(r.Body.String(), "canary") {
			t.Errorf("%s: %d %s", name, r.Code, r.Body)
			continue
		}
		if cause := broker.AsError(l.causes[0]); cause.Reason != tt.reason || l.refused[0].ProofKey != "" || l.refused[0].Audience == "" && tt.code == "invalid_dpop_proof" {
			t.Errorf("%s: %v, %+v", name, cause, l.refused[0])
		}
	}
}

// Standards DP-5: the second use of a proof is refused; without room to remember
// it the first one is too, and may come again.
func TestProofOnce(t *testing.T) {
	t.Parallel()
	key := dpoptest.New(t)
	l := &line{token: issued(t)}
	post := l.proving(t, dpop.New(dpop.NewReplays(1), nil))
	proof := key.Proof(t, dpoptest.For("POST", tokenURL, start))
	if r := post(ownForm, proof); r.Code != 200 {
		t.Fatalf("%d %s", r.Code, r.Body)
	}
	if r := post(ownForm, proof); r.Code != 400 || oauthError(t, r) != "invalid_dpop_proof" || broker.AsError(l.causes[0]).Reason != broker.ReasonDPoPReplayed {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	r := post(ownForm, key.Proof(t, dpoptest.For("POST", tokenURL, start)))
	if r.Code != 503 || r.Header().Get("Retry-After") == "" || broker.AsError(l.causes[1]).Reason != broker.ReasonDPoPOverloaded || len(l.exchanged) != 1 {
		t.Errorf("%d %v %s", r.Code, r.Header(), r.Body)
	}
}

// Standards DP-10: the answer to a proof without a nonce has one, which is good;
// so has every other answer to a proof, and none to a request without.
func TestProofNonce(t *testing.T) {
	t.Parallel()
	key := dpoptest.New(t)
	l := &line{token: issued(t)}
	post := l.proving(t, dpop.New(dpop.NewReplays(10), newNonces(t)))
	claims := func() dpoptest.Claims { return dpoptest.For("POST", tokenURL, start) }
	r := post(ownForm, key.Proof(t, claims()))
	nonces := r.Header().Values("DPoP-Nonce")
	if r.Code != 400 || oauthError(t, r) != "use_dpop_nonce" || len(nonces) != 1 || broker.AsError(l.causes[0]).Reason != broker.ReasonDPoPNonce {
		t.Fatalf("%d %s, nonces %q", r.Code, r.Body, nonces)
	}
	for name, tt := range map[string]struct {
		nonce string
		code  int
	}{"of the answer": {nonces[0], 200}, "made up": {"x", 400}} {
		r := post(ownForm, key.Proof(t, claims().With("nonce", tt.nonce)))
		if r.Code != tt.code || r.Header().Get("DPoP-Nonce") == "" || tt.code == 400 && oauthError(t, r) != "use_dpop_nonce" {
			t.Errorf("%s: %d %s", name, r.Code, r.Body)
		}
	}
	if r := post(ownForm); r.Code != 200 || r.Header().Get("DPoP-Nonce") != "" {
		t.Errorf("without a proof: %d %v", r.Code, r.Header())
	}
}

// A listener that reads no proofs refuses who sends one: it would take a token
// for bound that is not.
func TestProofUnread(t *testing.T) {
	t.Parallel()
	l := &line{token: issued(t)}
	r := l.proving(t, nil)(ownForm, dpoptest.New(t).Proof(t, dpoptest.For("POST", tokenURL, start)))
	if r.Code != 400 || oauthError(t, r) != "invalid_dpop_proof" || broker.AsError(l.causes[0]).Reason != broker.ReasonDPoPUnread || len(l.exchanged) != 0 {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// The reasons that package dpop gives at a token endpoint stand in the closed
// list of the domain, in the same words.
func TestReasonsOfProofsAreListed(t *testing.T) {
	t.Parallel()
	list, err := os.ReadFile("../reason.go")
	if err != nil {
		t.Fatal(err)
	}
	here := 0
	for _, r := range dpop.Reasons() {
		switch r {
		case dpop.ReasonMissing, dpop.ReasonHolder, dpop.ReasonToken: // of resource servers
			continue
		}
		here++
		if !strings.Contains(string(list), `Reason = "`+string(r)+`"`) {
			t.Errorf("%s is not listed", r)
		}
	}
	if here != 12 {
		t.Errorf("%d reasons", here)
	}
}
