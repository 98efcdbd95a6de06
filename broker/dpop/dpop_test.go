package dpop_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/tests/dpoptest"
)

const tokenURL = "https://sts.example/oauth2/token"

var start = time.Date(2026, 11, 25, 12, 0, 0, 987e6, time.UTC)

func newVerifier() *dpop.Verifier { return dpop.New(dpop.NewReplays(100), nil) }

func request() dpop.Request {
	return dpop.Request{At: start, Method: "POST", URLs: []string{tokenURL}}
}

// reason returns why something was refused, "" if it was not. Whatever is not an
// *dpop.Error is reported as what it is.
func reason(err error) dpop.Reason {
	if e := (*dpop.Error)(nil); errors.As(err, &e) {
		return e.Reason
	} else if err != nil {
		return dpop.Reason("not an Error: " + err.Error())
	}
	return ""
}

// Standards DP-1 to DP-4, H20: what is wrong with one claim or member is enough.
func TestVerify(t *testing.T) {
	t.Parallel()
	key, another := dpoptest.New(t), dpoptest.New(t)
	good := dpoptest.For("POST", tokenURL, start)
	proof := func(name string, value any) []string { return []string{key.Proof(t, good.With(name, value))} }
	payload, err := json.Marshal(good)
	if err != nil {
		t.Fatal(err)
	}
	header := func(old, changed string) []string {
		if !strings.Contains(key.Header(), old) {
			t.Fatalf("%s has no %s", key.Header(), old)
		}
		return []string{key.Sign(t, strings.Replace(key.Header(), old, changed, 1), string(payload))}
	}
	second := func(n int64) int64 { return start.Unix() + n }
	tests := map[string]struct {
		headers []string
		want    dpop.Reason
	}{
		"good": {proof("x", "more means nothing"), ""},

		"DP-1 none":      {nil, dpop.ReasonMissing},
		"DP-1 two":       {append(proof("a", 1), proof("b", 2)...), dpop.ReasonSeveral},
		"DP-1 one twice": {slices.Repeat(proof("a", 1), 2), dpop.ReasonSeveral},
		"DP-1 joined":    {[]string{strings.Join(slices.Repeat(proof("a", 1), 2), ", ")}, dpop.ReasonMalformed},
		"DP-1 empty":     {[]string{""}, dpop.ReasonMalformed},
		"DP-1 not a JWT": {[]string{"a.b"}, dpop.ReasonMalformed},
		"DP-1 space":     {[]string{proof("a", 1)[0] + " "}, dpop.ReasonMalformed},
		"too large":      {proof("x", strings.Repeat("x", dpop.MaxBytes)), dpop.ReasonMalformed},

		"DP-2 typ of an access token": {header("dpop+jwt", "at+jwt"), dpop.ReasonType},
		"DP-2 no typ":                 {header(`"typ":"dpop+jwt",`, ""), dpop.ReasonType},
		"DP-2 long typ":               {header("dpop+jwt", "application/dpop+jwt"), ""},
		"DP-2 none":                   {header(`"alg":"ES256","jwk"`, `"alg":"none","jwk"`), dpop.ReasonAlgorithm},
		"DP-2 HS256":                  {header(`"alg":"ES256","jwk"`, `"alg":"HS256","jwk"`), dpop.ReasonAlgorithm},
		"DP-2 alg of another curve":   {header(`"alg":"ES256","jwk"`, `"alg":"ES384","jwk"`), dpop.ReasonKey},
		"DP-2 alg of another kind":    {header(`"alg":"ES256","jwk"`, `"alg":"PS256","jwk"`), dpop.ReasonKey},
		"DP-2 alg of the jwk differs": {header(`"alg":"ES256"}`, `"alg":"ES512"}`), dpop.ReasonKey},
		"DP-2 d":                      {header(`"kty"`, `"d":"AA","kty"`), dpop.ReasonKey},
		"DP-2 d null":                 {header(`"kty"`, `"d":null,"kty"`), dpop.ReasonKey},
		"DP-2 symmetric":              {header(key.JWK, `{"kty":"oct","k":"AA"}`), dpop.ReasonKey},
		"DP-2 no jwk":                 {header(`,"jwk":`+key.JWK, ""), dpop.ReasonKey},
		"DP-2 jwk a string":           {header(key.JWK, `"x"`), dpop.ReasonMalformed},
		"DP-2 two jwk":                {header(key.JWK, key.JWK+`,"jwk":`+key.JWK), dpop.ReasonMalformed},
		"DP-2 JWK":                    {header(`"jwk":`, `"JWK":`), dpop.ReasonMalformed},
		"DP-2 jku":                    {header(`"jwk":`, `"jku":"https://x.example","jwk":`), dpop.ReasonMalformed},
		"DP-2 crit":                   {header(`"jwk":`, `"crit":["x"],"jwk":`), dpop.ReasonMalformed},
		"DP-2 for encryption":         {header(`"use":"sig"`, `"use":"enc"`), dpop.ReasonKey},
		"DP-2 another key":            {header(key.JWK, another.JWK), dpop.ReasonSignature},
		"DP-2 tampered":               {[]string{tampered(proof("a", 1)[0])}, dpop.ReasonSignature},

		"DP-3 no jti":             {proof("jti", nil), dpop.ReasonClaims},
		"DP-3 jti empty":          {proof("jti", ""), dpop.ReasonClaims},
		"DP-3 jti long":           {proof("jti", strings.Repeat("j", 257)), dpop.ReasonClaims},
		"DP-3 jti a number":       {proof("jti", 1), dpop.ReasonClaims},
		"DP-3 no htm":             {proof("htm", nil), dpop.ReasonClaims},
		"DP-3 no htu":             {proof("htu", nil), dpop.ReasonClaims},
		"DP-3 no iat":             {proof("iat", nil), dpop.ReasonClaims},
		"DP-3 iat a string":       {proof("iat", "1"), dpop.ReasonClaims},
		"DP-3 payload no object":  {[]string{key.Sign(t, key.Header(), "[]")}, dpop.ReasonClaims},
		"DP-3 payload deep":       {[]string{key.Sign(t, key.Header(), `{"a":`+strings.Repeat("[", 2000)+strings.Repeat("]", 2000)+"}")}, dpop.ReasonClaims},
		"DP-3 two htu":            {[]string{key.Sign(t, key.Header(), `{"htu":"a",`+string(payload[1:]))}, dpop.ReasonClaims},
		"DP-3 method":             {proof("htm", "GET"), dpop.ReasonRequest},
		"DP-3 method, lower case": {proof("htm", "post"), dpop.ReasonRequest},
		"DP-3 another host":       {proof("htu", "https://sts.example.org/oauth2/token"), dpop.ReasonRequest},
		"DP-3 another path":       {proof("htu", "https://sts.example/oauth2/tokens"), dpop.ReasonRequest},
		"DP-3 another port":       {proof("htu", "https://sts.example:8443/oauth2/token"), dpop.ReasonRequest},
		"DP-3 http":               {proof("htu", "http://sts.example/oauth2/token"), dpop.ReasonRequest},
		"DP-3 default port":       {proof("htu", "https://sts.example:443/oauth2/token"), ""},
		"DP-3 query and fragment": {proof("htu", "HTTPS://STS.example/oauth2/%74oken?x=1#y"), ""},

		"DP-4 61 seconds old":   {proof("iat", second(-61)), dpop.ReasonTime},
		"DP-4 60 seconds old":   {proof("iat", second(-60)), ""},
		"DP-4 3 seconds ahead":  {proof("iat", second(3)), ""},
		"DP-4 5 seconds ahead":  {proof("iat", second(5)), ""},
		"DP-4 6 seconds ahead":  {proof("iat", second(6)), dpop.ReasonTime},
		"DP-4 of the next hour": {proof("iat", second(3600)), dpop.ReasonTime},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := newVerifier().Verify(tt.headers, request())
			if reason(err) != tt.want {
				t.Fatalf("%v, want %q", err, tt.want)
			}
			if (got == dpop.Proof{}) != (tt.want != "") || tt.want == "" && (got.Key != key.Thumbprint || got.ID != good["jti"]) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func tampered(token string) string {
	changed := []byte(token)
	at := &changed[len(changed)-10]
	if *at == 'A' {
		*at = 'B'
	} else {
		*at = 'A'
	}
	return string(changed)
}

// Standards DP-7, DP-8: the proofs that RFC 9449 shows in sections 4.1 and 7.1,
// its thumbprint and its hash of an access token.
func TestVectors(t *testing.T) {
	t.Parallel()
	const (
		header     = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19."
		first      = "eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
		second     = "eyJqdGkiOiJlMWozVl9iS2ljOC1MQUVCIiwiaHRtIjoiR0VUIiwiaHR1IjoiaHR0cHM6Ly9yZXNvdXJjZS5leGFtcGxlLm9yZy9wcm90ZWN0ZWRyZXNvdXJjZSIsImlhdCI6MTU2MjI2MjYxOCwiYXRoIjoiZlVIeU8ycjJaM0RaNTNFc05yV0JiMHhXWG9hTnk1OUlpS0NBcWtzbVFFbyJ9.2oW9RP35yRqzhrtNP86L-Ey71EOptxRimPPToA1plemAgR6pxHF8y6-yqyVnmcw6Fy1dqd-jfxSYoMxhAJpLjA"
		thumbprint = "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
		token      = "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"
	)
	if got := dpop.TokenHash(token); got != "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo" {
		t.Errorf("ath %s", got)
	}
	v := newVerifier()
	got, err := v.Verify([]string{header + first}, dpop.Request{At: time.Unix(1562262616, 0), Method: "POST", URLs: []string{"https://server.example.com/token"}})
	if err != nil || got != (dpop.Proof{Key: thumbprint, ID: "-BwC3ESc6acc2lTc"}) {
		t.Errorf("section 4.1: %+v, %v", got, err)
	}
	got, err = v.Verify([]string{header + second}, dpop.Request{
		At: time.Unix(1562262618, 0), Method: "GET", URLs: []string{"https://resource.example.org/protectedresource"}, Token: token, Key: thumbprint,
	})
	if err != nil || got != (dpop.Proof{Key: thumbprint, ID: "e1j3V_bKic8-LAEB"}) {
		t.Errorf("section 7.1: %+v, %v", got, err)
	}
}

// Standards DP-8: at a resource server the proof is for the token, by its key.
func TestVerifyForToken(t *testing.T) {
	t.Parallel()
	key, another := dpoptest.New(t), dpoptest.New(t)
	r := dpop.Request{At: start, Method: "GET", URLs: []string{"https://a.example/x", "https://b.example/x"}, Token: "a.b.c", Key: key.Thumbprint}
	good := dpoptest.For("GET", "https://b.example/x", start).Token("a.b.c")
	tests := map[string]struct {
		proof string
		want  dpop.Reason
	}{
		"good":             {key.Proof(t, good), ""},
		"of the other URL": {key.Proof(t, good.With("htu", "https://a.example/x")), ""},
		"of no URL":        {key.Proof(t, good.With("htu", "https://c.example/x")), dpop.ReasonRequest},
		"of another token": {key.Proof(t, good.Token("a.b.d")), dpop.ReasonToken},
		"of no token":      {key.Proof(t, good.With("ath", nil)), dpop.ReasonToken},
		"padded hash":      {key.Proof(t, good.With("ath", dpop.TokenHash("a.b.c")+"=")), dpop.ReasonToken},
		"by another key":   {another.Proof(t, good), dpop.ReasonHolder},
		"of the other key": {another.Sign(t, key.Header(), "{}"), dpop.ReasonSignature},
	}
	for name, tt := range tests {
		if _, err := newVerifier().Verify([]string{tt.proof}, r); reason(err) != tt.want {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// Every algorithm that is listed is accepted, the others are not, and no key that
// is small or that would take long.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	wide, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	must(t, err)
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	short, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	keys := map[jws.Algorithm]*dpoptest.Key{
		jws.ES256: dpoptest.NewKey(t, jws.ES256, ec), jws.EdDSA: dpoptest.NewKey(t, jws.EdDSA, ed), jws.Ed25519: dpoptest.NewKey(t, jws.Ed25519, ed),
		jws.PS256: dpoptest.NewKey(t, jws.PS256, short), jws.RS256: dpoptest.NewKey(t, jws.RS256, short),
		jws.ES512: dpoptest.NewKey(t, jws.ES512, wide), jws.RS512: dpoptest.NewKey(t, jws.RS512, short),
	}
	for a, key := range keys {
		want := dpop.ReasonAlgorithm
		if slices.Contains(dpop.Algorithms(), a) {
			want = ""
		}
		if _, err := newVerifier().Verify([]string{key.Proof(t, dpoptest.For("POST", tokenURL, start))}, request()); reason(err) != want {
			t.Errorf("%s: %v, want %q", a, err, want)
		}
	}
	if len(keys) != len(dpop.Algorithms())+2 {
		t.Error("an algorithm has no case")
	}
	// Long keys come without their private part: no signature is looked at.
	for bits, want := range map[int]dpop.Reason{1024: dpop.ReasonKey, 4096: dpop.ReasonSignature, 4104: dpop.ReasonKey, 8192: dpop.ReasonKey} {
		modulus := make([]byte, bits/8)
		modulus[0], modulus[len(modulus)-1] = 0x80, 1
		header := `{"typ":"dpop+jwt","alg":"RS256","jwk":{"kty":"RSA","e":"AQAB","n":"` + b64(modulus) + `"}}`
		if _, err := newVerifier().Verify([]string{keys[jws.ES256].Sign(t, header, "{}")}, request()); reason(err) != want {
			t.Errorf("%d bits: %v, want %q", bits, err, want)
		}
	}
}

// Standards DP-5: a proof is good once, and another of the same jti is another
// proof if its key or its request is another.
func TestOnce(t *testing.T) {
	t.Parallel()
	v := dpop.New(dpop.NewReplays(4), nil)
	key, another := dpoptest.New(t), dpoptest.New(t)
	claims := dpoptest.For("POST", tokenURL, start)
	get := request()
	get.Method = "GET"
	later := request()
	later.At = start.Add(60 * time.Second)
	for i, step := range []struct {
		proof string
		r     dpop.Request
		want  dpop.Reason
	}{
		{tampered(key.Proof(t, claims)), request(), dpop.ReasonSignature}, // what is refused is not remembered
		{key.Proof(t, claims), request(), ""},
		{key.Proof(t, claims), request(), dpop.ReasonReplayed},
		{key.Proof(t, claims), later, dpop.ReasonReplayed}, // to its last second
		{another.Proof(t, claims), request(), ""},
		{key.Proof(t, claims.With("htm", "GET")), get, ""},
		{key.Proof(t, claims.With("jti", "x")), request(), ""},
		{key.Proof(t, claims.With("jti", "y")), request(), dpop.ReasonOverloaded}, // full: nothing new
		{key.Proof(t, claims), request(), dpop.ReasonReplayed},                    // and nothing forgotten
	} {
		if _, err := v.Verify([]string{step.proof}, step.r); reason(err) != step.want {
			t.Errorf("step %d: %v, want %q", i, err, step.want)
		}
	}
	after := request()
	after.At = start.Add(2 * time.Minute)
	if _, err := v.Verify([]string{key.Proof(t, dpoptest.For("POST", tokenURL, after.At))}, after); err != nil {
		t.Errorf("what has ended still takes room: %v", err)
	}
}

// The list of reasons is closed, each has a text for the caller, and none holds
// what a header could not.
func TestReasons(t *testing.T) {
	t.Parallel()
	seen := map[dpop.Reason]bool{}
	for _, r := range dpop.Reasons() {
		if seen[r] || !strings.HasPrefix(string(r), "dpop_") || r.Text() == "" || strings.ContainsAny(r.Text(), "\"\\\n") {
			t.Errorf("%s: %q", r, r.Text())
		}
		seen[r] = true
	}
	if len(seen) != 15 || dpop.Reason("else").Text() != "" {
		t.Errorf("%d reasons", len(seen))
	}
	cause := errors.New("cause")
	e := &dpop.Error{Reason: dpop.ReasonTime, Err: cause}
	if e.Error() != "dpop: dpop_time: cause" || !errors.Is(e, cause) || (&dpop.Error{Reason: dpop.ReasonTime}).Error() != "dpop: dpop_time" {
		t.Error(e)
	}
}
