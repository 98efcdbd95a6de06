package jws_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/jws"
)

// Every kind of key is read out of a header and verifies what it signed; what
// Parse refuses, a jwk among it, it refuses as before.
func TestParseWithKey(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		s := signer(t, a)
		set, err := jws.MarshalKeySet([]jws.Key{s.Key()})
		if err != nil {
			t.Fatal(err)
		}
		jwk := strings.TrimSuffix(strings.TrimPrefix(string(set), `{"keys":[`), `]}`)
		input := []byte(b64(`{"alg":"`+string(a)+`","jwk":`+jwk+`,"typ":"x"}`) + "." + b64(`{"a":1}`))
		signature, err := s.Sign(input)
		if err != nil {
			t.Fatal(err)
		}
		token := string(jws.AppendToken(nil, input, signature))
		parsed, key, err := jws.ParseWithKey(token)
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if payload, err := parsed.VerifyPayload(key); err != nil || string(payload) != `{"a":1}` || parsed.Header().Type != "x" || key.Algorithm() != a {
			t.Errorf("%s: %q, %v", a, payload, err)
		}
		if _, err := jws.Parse(token); !errors.Is(err, jws.ErrHeader) {
			t.Errorf("%s: Parse takes a jwk: %v", a, err)
		}
	}
}

func TestParseWithKeyRefuses(t *testing.T) {
	t.Parallel()
	const jwk = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	token := func(header string) string { return b64(header) + "." + b64(`{}`) + ".c2ln" }
	with := func(old, changed string) string {
		return token(strings.Replace(`{"alg":"ES256","jwk":`+jwk+`}`, old, changed, 1))
	}
	if _, _, err := jws.ParseWithKey(with("", "")); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		token string
		want  error
	}{
		"none":               {token(`{"alg":"ES256"}`), jws.ErrKey},
		"null":               {with(jwk, "null"), jws.ErrHeader},
		"array":              {with(jwk, "["+jwk+"]"), jws.ErrHeader},
		"two":                {with(jwk, jwk+`,"jwk":`+jwk), jws.ErrHeader},
		"case variant":       {with(`"jwk"`, `"Jwk"`), jws.ErrHeader},
		"case variant aside": {with(`"jwk"`, `"JWK":{},"jwk"`), jws.ErrHeader},
		"a member twice":     {with(`"kty":"EC"`, `"kty":"EC","kty":"EC"`), jws.ErrHeader},
		"jku beside":         {with(`"jwk"`, `"jku":"x","jwk"`), jws.ErrHeader},
		"unclosed":           {with(jwk+"}", jwk), jws.ErrHeader},
		"not one of ours":    {with(`"P-256"`, `"secp256k1"`), jws.ErrKey},
		"off the curve":      {with(`"y":"x_`, `"y":"y_`), jws.ErrKey},
		"a short half":       {with(`"x":"f83O`, `"x":"`), jws.ErrKey},
		"of a number":        {with(`"crv":"P-256"`, `"crv":256`), jws.ErrKey},
		"another algorithm":  {with(`"alg":"ES256"`, `"alg":"EdDSA"`), jws.ErrKey},
		"alg of its own":     {with(`"kty"`, `"alg":"ES384","kty"`), jws.ErrKey},
		"not to verify":      {with(`"kty"`, `"key_ops":["sign"],"kty"`), jws.ErrKey},
		"no alg":             {with(`"alg":"ES256",`, ""), jws.ErrAlgorithm},
		"JWE":                {"a.b.c.d.e", jws.ErrEncrypted},
		"too large":          {strings.Repeat("a", jws.MaxTokenBytes+1), jws.ErrTooLarge},
	}
	for _, member := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"} {
		tests["private: "+member] = struct {
			token string
			want  error
		}{with(`"kty"`, `"`+member+`":null,"kty"`), jws.ErrPrivateKey}
	}
	for name, tt := range tests {
		if parsed, key, err := jws.ParseWithKey(tt.token); !errors.Is(err, tt.want) || parsed.UnverifiedPayload() != nil || key.Public() != nil {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// Whatever the header, a key that comes out of it is a sound one of the algorithm
// that the header names.
func FuzzParseWithKey(f *testing.F) {
	for _, seed := range []string{
		`{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}`,
		`{"alg":"ES256","jwk":{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}}`,
		`{"alg":"RS256","jwk":{"kty":"RSA","n":"AQ","e":"AQAB"}}`, `{"alg":"ES256","jwk":{}}`, `{"jwk":[[[[]]]]}`, `{"alg":"ES256","jwk":{"d":1}}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, header string) {
		compact := base64.RawURLEncoding.EncodeToString([]byte(header)) + ".e30.c2ln"
		parsed, key, err := jws.ParseWithKey(compact)
		if _, strict := jws.Parse(compact); err == nil && strict == nil {
			t.Fatalf("Parse takes a jwk in %q", header)
		}
		if err != nil {
			return
		}
		if _, err := jws.Thumbprint(key.Public()); err != nil || key.Algorithm() != parsed.Header().Algorithm {
			t.Fatalf("%q: %v", header, err)
		}
		if again, err := jws.NewKey(key.ID(), key.Algorithm(), key.Public()); err != nil || again.ID() != key.ID() {
			t.Fatalf("%q: %v", header, err)
		}
	})
}
