package verify_test

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/verify"
	"github.com/cambist/cambist/tests/dpoptest"
)

const (
	origin = "https://orders.shop:8443"
	asked  = "/orders/a%2Fb"
)

func newBoundVerifier(t testing.TB, s *jws.Signer, change func(*verify.Config)) *verify.Verifier {
	t.Helper()
	return newVerifier(t, func(c *verify.Config) {
		c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://api.example/orders-v1", origin}}
		if change != nil {
			change(c)
		}
	}, s)
}

func bound(key *dpoptest.Key) object {
	return workloadClaims().with("cnf", object{"jkt": key.Thumbprint})
}

func proofOf(headers ...string) verify.Proof {
	return verify.Proof{Headers: headers, Method: "GET", Path: asked}
}

// Standards DP-1 to DP-5, DP-8: what the proof of a request must be.
func TestVerifyDPoP(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	key, another := dpoptest.New(t), dpoptest.New(t)
	token := sign(t, s, "at+jwt", bound(key).json(t))
	good := dpoptest.For("GET", origin+asked, start).Token(token)
	tests := map[string]struct {
		headers []string
		want    dpop.Reason
	}{
		"good":                   {[]string{key.Proof(t, good)}, ""},
		"through a proxy":        {[]string{key.Proof(t, good.With("htu", "https://api.example/orders-v1"+asked))}, ""},
		"with a query":           {[]string{key.Proof(t, good.With("htu", "HTTPS://Orders.shop:8443"+asked+"?q=1"))}, ""},
		"none":                   {nil, dpop.ReasonMissing},
		"two":                    {[]string{key.Proof(t, good), key.Proof(t, good.With("jti", "x"))}, dpop.ReasonSeveral},
		"malformed":              {[]string{"x"}, dpop.ReasonMalformed},
		"private":                {[]string{key.Sign(t, strings.Replace(key.Header(), `"kty"`, `"d":"x","kty"`, 1), "{}")}, dpop.ReasonKey},
		"the token itself":       {[]string{token}, dpop.ReasonKey},
		"typ":                    {[]string{key.Sign(t, strings.Replace(key.Header(), "dpop+", "at+", 1), "{}")}, dpop.ReasonType},
		"alg":                    {[]string{key.Sign(t, strings.Replace(key.Header(), "ES256", "HS256", 1), "{}")}, dpop.ReasonAlgorithm},
		"by another key":         {[]string{another.Proof(t, good)}, dpop.ReasonHolder},
		"signed by another":      {[]string{another.Sign(t, key.Header(), "{}")}, dpop.ReasonSignature},
		"no claims":              {[]string{key.Proof(t, nil)}, dpop.ReasonClaims},
		"another method":         {[]string{key.Proof(t, good.With("htm", "POST"))}, dpop.ReasonRequest},
		"a base not listed":      {[]string{key.Proof(t, good.With("htu", "https://orders.shop"+asked))}, dpop.ReasonRequest},
		"another path":           {[]string{key.Proof(t, good.With("htu", origin+"/orders/a/b"))}, dpop.ReasonRequest},
		"old":                    {[]string{key.Proof(t, good.With("iat", start.Unix()-61))}, dpop.ReasonTime},
		"of the future":          {[]string{key.Proof(t, good.With("iat", start.Unix()+6))}, dpop.ReasonTime},
		"for another token":      {[]string{key.Proof(t, good.Token(token+"x"))}, dpop.ReasonToken},
		"for the token endpoint": {[]string{key.Proof(t, good.With("ath", nil))}, dpop.ReasonToken},
	}
	for name, tt := range tests {
		got, err := newBoundVerifier(t, s, nil).VerifyDPoP(context.Background(), token, verify.Peer{}, proofOf(tt.headers...))
		if reason(err) != verify.Reason(tt.want) || (got == nil) != (tt.want != "") || err == nil && got.Presenter() != (spiffeid.ID{}) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	v := newBoundVerifier(t, s, nil)
	for i, want := range []verify.Reason{"", verify.Reason(dpop.ReasonReplayed)} {
		if _, err := v.VerifyDPoP(context.Background(), token, verify.Peer{}, proofOf(key.Proof(t, good))); reason(err) != want {
			t.Errorf("use %d: %v", i+1, err)
		}
	}
	// What is not a path cannot make our host another one, to which the client was lured.
	lured := verify.Proof{Headers: []string{key.Proof(t, good.With("htu", origin[:len(origin)-5]+".attacker.example/"))}, Method: "GET", Path: ".attacker.example/"}
	short := newBoundVerifier(t, s, func(c *verify.Config) { c.DPoP.BaseURLs = []string{origin[:len(origin)-5]} })
	if _, err := short.VerifyDPoP(context.Background(), token, verify.Peer{}, lured); reason(err) != verify.Reason(dpop.ReasonRequest) {
		t.Errorf("a path that lengthens the host: %v", err)
	}
	full := newBoundVerifier(t, s, func(c *verify.Config) { c.DPoP.Proofs = 1 })
	for i, want := range []verify.Reason{"", verify.Reason(dpop.ReasonOverloaded)} {
		if _, err := full.VerifyDPoP(context.Background(), token, verify.Peer{}, proofOf(key.Proof(t, dpoptest.For("GET", origin+asked, start).Token(token)))); reason(err) != want {
			t.Errorf("proof %d: %v", i+1, err)
		}
	}
}

// Standards DP-9, DP-13, MT-6: every binding under both schemes, with a good
// proof wherever there is a proof. What is bound to a key is good with that alone,
// and a proof makes nothing else good.
func TestSchemes(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	key := dpoptest.New(t)
	nobody, holder := verify.Peer{}, peer(t, web, thumb)
	const mismatch, unproven, unknown = verify.ReasonSchemeMismatch, verify.ReasonBindingUnproven, verify.ReasonBindingUnknown
	tests := map[string]struct {
		claims       object
		peer         verify.Peer
		bearer, dpop verify.Reason
	}{
		"key":                           {bound(key), nobody, mismatch, ""},
		"key, its workload":             {bound(key), holder, mismatch, ""},
		"nothing":                       {workloadClaims(), holder, "", mismatch},
		"certificate":                   {workloadClaims().with("cnf", object{"x5t#S256": thumb}), holder, "", mismatch},
		"both":                          {workloadClaims().with("cnf", object{"x5t#S256": thumb, "jkt": key.Thumbprint}), holder, mismatch, ""},
		"both, no certificate":          {workloadClaims().with("cnf", object{"x5t#S256": thumb, "jkt": key.Thumbprint}), peer(t, web, ""), mismatch, unproven},
		"key and what nobody knows":     {workloadClaims().with("cnf", object{"jkt": key.Thumbprint, "kid": "x"}), holder, unknown, unknown},
		"what nobody knows":             {workloadClaims().with("cnf", object{"kid": "x"}), holder, unknown, unknown},
		"a key that is none":            {workloadClaims().with("cnf", object{"jkt": "x"}), holder, verify.ReasonTokenClaims, verify.ReasonTokenClaims},
		"a key, padded":                 {workloadClaims().with("cnf", object{"jkt": key.Thumbprint + "="}), holder, verify.ReasonTokenClaims, verify.ReasonTokenClaims},
		"a key in another case of name": {workloadClaims().with("cnf", object{"JKT": key.Thumbprint}), holder, unknown, unknown},
	}
	for name, tt := range tests {
		token := sign(t, s, "at+jwt", tt.claims.json(t))
		for _, allow := range []bool{false, true} { // AllowBearer lifts none of it
			v := newBoundVerifier(t, s, func(c *verify.Config) { c.AllowBearer = allow })
			if _, err := v.Verify(context.Background(), token, tt.peer); reason(err) != tt.bearer {
				t.Errorf("%s, Bearer: %v, want %q", name, err, tt.bearer)
			}
			proof := proofOf(key.Proof(t, dpoptest.For("GET", origin+asked, start).Token(token)))
			if _, err := v.VerifyDPoP(context.Background(), token, tt.peer, proof); reason(err) != tt.dpop {
				t.Errorf("%s, DPoP: %v, want %q", name, err, tt.dpop)
			}
		}
		// Where DPoP is not accepted, a proof helps nothing.
		plain := newVerifier(t, nil, s)
		if _, err := plain.VerifyDPoP(context.Background(), token, tt.peer, proofOf(key.Proof(t, dpoptest.For("GET", origin+asked, start).Token(token)))); err == nil {
			t.Errorf("%s: accepted without a configuration", name)
		}
	}
}

// Standards DP-10: a guard that demands nonces hands them out.
func TestNonce(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	key := dpoptest.New(t)
	nonces, err := dpop.NewNonces(bytes.Repeat([]byte("n"), 32))
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, s, "at+jwt", bound(key).json(t))
	v := newBoundVerifier(t, s, func(c *verify.Config) { c.DPoP.Nonces = nonces })
	if newBoundVerifier(t, s, nil).Nonce() != "" || newVerifier(t, nil, s).Nonce() != "" {
		t.Error("a nonce that nobody demands")
	}
	for nonce, want := range map[string]verify.Reason{v.Nonce(): "", "x": verify.Reason(dpop.ReasonNonce), nonces.At(start.Add(-time.Hour)): verify.Reason(dpop.ReasonNonce)} {
		_, err := v.VerifyDPoP(context.Background(), token, verify.Peer{}, proofOf(key.Proof(t, dpoptest.For("GET", origin+asked, start).Token(token).With("nonce", nonce))))
		if reason(err) != want {
			t.Errorf("%s: %v, want %q", nonce, err, want)
		}
	}
}

// Standards DP-11: challenges name both schemes and the algorithms; the error
// stands in the one that was used.
func TestChallenges(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newBoundVerifier(t, s, nil)
	const algs = `, algs="ES256 EdDSA Ed25519 PS256 RS256"`
	expired := &verify.Error{Reason: verify.ReasonTokenExpired}
	const said = `, error="invalid_token", error_description="the token has expired"`
	for used, want := range map[verify.Scheme][2]string{
		verify.SchemeBearer: {`Bearer realm="r"` + said, `DPoP realm="r"` + algs},
		verify.SchemeDPoP:   {`Bearer realm="r"`, `DPoP realm="r"` + said + algs},
		"":                  {`Bearer realm="r"` + said, `DPoP realm="r"` + algs},
	} {
		if got := v.Challenges(expired, used, "r"); len(got) != 2 || [2]string(got) != want {
			t.Errorf("%s: %q", used, got)
		}
	}
	if got := newVerifier(t, nil, s).Challenges(expired, verify.SchemeDPoP, "r"); len(got) != 1 || got[0] != `Bearer realm="r"`+said {
		t.Errorf("without DPoP: %q", got)
	}
}

// The reasons of proofs have a code and a text of their own.
func TestProofErrors(t *testing.T) {
	t.Parallel()
	for _, r := range dpop.Reasons() {
		want := verify.CodeInvalidProof
		switch r {
		case dpop.ReasonNonce:
			want = verify.CodeUseNonce
		case dpop.ReasonOverloaded:
			want = verify.CodeUnavailable
		}
		e := &verify.Error{Reason: verify.Reason(r)}
		if d := e.Description(); e.Code() != want || d != r.Text() || oauth.CleanDescription(d) != d {
			t.Errorf("%s: %s %q", r, e.Code(), d)
		}
	}
}

// Standards DP-11; RFC 9449 section 7.1.
func TestParseAuthorization(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		values []string
		scheme verify.Scheme
		want   verify.Reason
	}{
		"DPoP":           {[]string{"DPoP tok"}, verify.SchemeDPoP, ""},
		"lower case":     {[]string{"dpop tok"}, verify.SchemeDPoP, ""},
		"Bearer":         {[]string{"bearer tok"}, verify.SchemeBearer, ""},
		"two schemes":    {[]string{"DPoP tok", "Bearer tok"}, "", verify.ReasonCredentialsSeveral},
		"two in one":     {[]string{"DPoP tok, Bearer tok"}, verify.SchemeDPoP, verify.ReasonCredentialsMalformed},
		"no token":       {[]string{"DPoP"}, verify.SchemeDPoP, verify.ReasonCredentialsMalformed},
		"two spaces":     {[]string{"DPoP  tok"}, verify.SchemeDPoP, verify.ReasonCredentialsMalformed},
		"another":        {[]string{"Basic dG9r"}, "", verify.ReasonCredentialsMissing},
		"a longer word":  {[]string{"DPoPs tok"}, "", verify.ReasonCredentialsMissing},
		"none":           {nil, "", verify.ReasonCredentialsMissing},
		"not ASCII":      {[]string{"DPo\u1d3e tok"}, "", verify.ReasonCredentialsMalformed},
		"a control char": {[]string{"DPoP\ttok"}, "", verify.ReasonCredentialsMalformed},
	}
	for name, tt := range tests {
		scheme, raw, err := verify.ParseAuthorization(tt.values)
		if scheme != tt.scheme || reason(err) != tt.want || (raw == "tok") != (tt.want == "") {
			t.Errorf("%s: %q %q, %v", name, scheme, raw, err)
		}
	}
}

// The configuration of proofs is not what its maker does with it afterwards.
func TestDPoPConfigDoesNotAlias(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	key := dpoptest.New(t)
	config := &verify.DPoPConfig{BaseURLs: []string{origin}}
	v := newVerifier(t, func(c *verify.Config) { c.DPoP = config }, s)
	config.BaseURLs[0] = "https://x.example"
	token := sign(t, s, "at+jwt", bound(key).json(t))
	if _, err := v.VerifyDPoP(context.Background(), token, verify.Peer{}, proofOf(key.Proof(t, dpoptest.For("GET", origin+asked, start).Token(token)))); err != nil {
		t.Error(err)
	}
}
