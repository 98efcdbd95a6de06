package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker/jws"
)

// What we sign we verify, and so does go-jose; one changed byte and neither does.
func TestSignAndVerify(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		t.Run(string(a), func(t *testing.T) {
			t.Parallel()
			s := signer(t, a)
			if err := s.SelfTest(); err != nil {
				t.Fatal(err)
			}
			token := sign(t, s, "at+jwt", `{"sub":"x"}`)
			parsed, err := jws.Parse(token)
			if err != nil {
				t.Fatal(err)
			}
			payload, err := parsed.VerifyPayload(s.Key())
			if h := parsed.Header(); err != nil || string(payload) != `{"sub":"x"}` || h.KeyID != "k1" || h.Type != "at+jwt" || h.Algorithm != a || h.Extra {
				t.Fatalf("%q %+v %v", payload, h, err)
			}
			if a != jws.Ed25519 { // go-jose has no such name yet
				theirs, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(a)})
				if err != nil {
					t.Fatal(err)
				}
				if got, err := theirs.Verify(s.Key().Public()); err != nil || string(got) != string(payload) {
					t.Fatalf("go-jose: %q, %v", got, err)
				}
			}
			for i := range token {
				changed := []byte(token)
				changed[i] ^= 1
				if p, err := jws.Parse(string(changed)); err == nil {
					if _, err := p.VerifyPayload(s.Key()); err == nil {
						t.Fatalf("byte %d may change", i)
					}
				}
			}
		})
	}
}

// What go-jose signs we verify.
func TestVerifyGoJose(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		if a == jws.Ed25519 {
			continue
		}
		private := privateKey(t, a)
		theirs, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.SignatureAlgorithm(a), Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "k1").WithType("JWT"))
		if err != nil {
			t.Fatal(err)
		}
		object, err := theirs.Sign([]byte(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		compact, err := object.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		key, err := jws.NewKey("k1", a, private.Public())
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := jws.Parse(compact)
		if err != nil {
			t.Fatalf("%s: %v", a, err)
		}
		if _, err := parsed.VerifyPayload(key); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// Standards JW-1, 2, 3, 5, 6, 7, 10, 11, H1 to H8, H13, threats D1 to D3.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	header := func(h string) string { return b64(h) + "." + b64(`{"a":1}`) + ".c2ln" }
	good := header(`{"alg":"ES256","kid":"k","typ":"JWT"}`)
	if _, err := jws.Parse(good); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		token string
		want  error
	}{
		"empty":               {"", jws.ErrMalformed},
		"no dot":              {"abc", jws.ErrMalformed},
		"one dot":             {"a.b", jws.ErrMalformed},
		"four segments":       {good + ".x", jws.ErrMalformed},
		"JWE":                 {"a.b.c.d.e", jws.ErrEncrypted},
		"empty header":        {"." + b64("{}") + ".c2ln", jws.ErrMalformed},
		"empty payload":       {b64(`{"alg":"ES256"}`) + "..c2ln", jws.ErrMalformed},
		"empty signature":     {b64(`{"alg":"ES256"}`) + "." + b64("{}") + ".", jws.ErrMalformed},
		"trailing newline":    {good + "\n", jws.ErrMalformed},
		"leading space":       {" " + good, jws.ErrMalformed},
		"padding":             {good + "=", jws.ErrMalformed},
		"plus":                {strings.Replace(good, ".c2ln", ".c+ln", 1), jws.ErrMalformed},
		"loose trailing bits": {strings.TrimSuffix(good, "c2ln") + "c2l", jws.ErrMalformed},
		"JSON form":           {`{"payload":"x"}`, jws.ErrMalformed},
		"too large":           {strings.Repeat("a", jws.MaxTokenBytes+1), jws.ErrTooLarge},
		"a million dots":      {strings.Repeat(".", 1_000_000), jws.ErrTooLarge},
		"many dots":           {strings.Repeat(".", 16_000), jws.ErrMalformed},
		"none":                {header(`{"alg":"none"}`), jws.ErrAlgorithm},
		"None":                {header(`{"alg":"None"}`), jws.ErrAlgorithm},
		"lower case":          {header(`{"alg":"es256"}`), jws.ErrAlgorithm},
		"empty alg":           {header(`{"alg":""}`), jws.ErrAlgorithm},
		"HS256":               {header(`{"alg":"HS256"}`), jws.ErrAlgorithm},
		"no alg":              {header(`{"kid":"k"}`), jws.ErrAlgorithm},
		"alg array":           {header(`{"alg":["ES256"]}`), jws.ErrHeader},
		"alg null":            {header(`{"alg":null}`), jws.ErrHeader},
		"alg number":          {header(`{"alg":0}`), jws.ErrHeader},
		"alg twice":           {header(`{"alg":"ES256","alg":"ES256"}`), jws.ErrHeader},
		"ALG beside":          {header(`{"alg":"ES256","ALG":"RS256"}`), jws.ErrHeader},
		"ſ variant of kid":    {header(`{"alg":"ES256","\u212aid":"x"}`), jws.ErrHeader},
		"kid number":          {header(`{"alg":"ES256","kid":1}`), jws.ErrHeader},
		"kid long":            {header(`{"alg":"ES256","kid":"` + strings.Repeat("k", 257) + `"}`), jws.ErrHeader},
		"kid NUL":             {header(`{"alg":"ES256","kid":"a\u0000"}`), jws.ErrHeader},
		"jwk":                 {header(`{"alg":"ES256","jwk":{"kty":"EC"}}`), jws.ErrHeader},
		"jku":                 {header(`{"alg":"ES256","jku":"https://x"}`), jws.ErrHeader},
		"JKU":                 {header(`{"alg":"ES256","JKU":"https://x"}`), jws.ErrHeader},
		"x5u":                 {header(`{"alg":"ES256","x5u":"https://x"}`), jws.ErrHeader},
		"x5c":                 {header(`{"alg":"ES256","x5c":["x"]}`), jws.ErrHeader},
		"crit":                {header(`{"alg":"ES256","crit":["b64"]}`), jws.ErrHeader},
		"b64 false":           {header(`{"alg":"ES256","b64":false}`), jws.ErrHeader},
		"zip":                 {header(`{"alg":"ES256","zip":"DEF"}`), jws.ErrHeader},
		"cty":                 {header(`{"alg":"ES256","cty":"JWT"}`), jws.ErrHeader},
		"object member":       {header(`{"alg":"ES256","x":{}}`), jws.ErrHeader},
		"not an object":       {header(`["alg"]`), jws.ErrHeader},
		"two objects":         {header(`{"alg":"ES256"}{}`), jws.ErrHeader},
		"cut object":          {header(`{"alg":"ES256"`), jws.ErrHeader},
		"invalid UTF-8":       {header("{\"alg\":\"ES256\",\"kid\":\"\xff\"}"), jws.ErrHeader},
		"BOM":                 {header("\ufeff{\"alg\":\"ES256\"}"), jws.ErrHeader},
		"long header":         {b64(`{"alg":"ES256"`+strings.Repeat(" ", 4000)+`}`) + "." + b64("{}") + ".c2ln", jws.ErrHeader},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if _, err := jws.Parse(tt.token); !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	for _, kid := range []string{"../../k", "' OR 1=1", "*)(uid=*"} {
		p, err := jws.Parse(header(`{"alg":"ES256","kid":"` + kid + `"}`))
		if err != nil || p.Header().KeyID != kid {
			t.Errorf("%q: %v", kid, err)
		}
	}
	if p, err := jws.Parse(header(`{"alg":"ES256","x5t":"abc"}`)); err != nil || !p.Header().Extra {
		t.Errorf("x5t: %v", err)
	}
}

// Standards JW-4, JW-19, JW-20: a key is for one algorithm, one curve, one form.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	s := signer(t, jws.ES256)
	token := sign(t, s, "JWT", `{}`)
	parsed, err := jws.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range algorithms[1:] {
		if _, err := parsed.VerifyPayload(signer(t, a).Key()); !errors.Is(err, jws.ErrAlgorithm) {
			t.Errorf("%s key: %v", a, err)
		}
	}
	if _, err := parsed.VerifyPayload(signer(t, jws.ES256).Key()); !errors.Is(err, jws.ErrSignature) {
		t.Errorf("another key: %v", err)
	}
	if _, err := parsed.VerifyPayload(jws.Key{}); !errors.Is(err, jws.ErrAlgorithm) {
		t.Errorf("no key: %v", err)
	}
	input := token[:strings.LastIndexByte(token, '.')]
	private := privateKey(t, jws.ES256).(*ecdsa.PrivateKey)
	key, err := jws.NewKey("k1", jws.ES256, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	der, err := private.Sign(rand.Reader, sha256Of(input), crypto.SHA256)
	if err != nil {
		t.Fatal(err)
	}
	for name, signature := range map[string][]byte{"DER": der, "zero": make([]byte, 64), "short": make([]byte, 63), "long": make([]byte, 65)} {
		p, err := jws.Parse(string(jws.AppendToken(nil, []byte(input), signature)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.VerifyPayload(key); !errors.Is(err, jws.ErrSignature) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewKeyRefuses(t *testing.T) {
	t.Parallel()
	p256 := privateKey(t, jws.ES256).Public()
	big2 := new(big.Int).Lsh(big.NewInt(1), 2047)
	tests := map[string]struct {
		alg    jws.Algorithm
		public crypto.PublicKey
	}{
		"curve of another":    {jws.ES384, p256},
		"another family":      {jws.RS256, p256},
		"unknown algorithm":   {"HS256", p256},
		"off the curve":       {jws.ES256, &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}},
		"nothing":             {jws.ES256, nil},
		"nil EC key":          {jws.ES256, (*ecdsa.PublicKey)(nil)},
		"short Ed25519":       {jws.EdDSA, ed25519.PublicKey("short")},
		"RSA 1024":            {jws.RS256, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}},
		"RSA 16384":           {jws.RS256, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 16383), E: 65537}},
		"RSA exponent 1":      {jws.RS256, &rsa.PublicKey{N: big2, E: 1}},
		"RSA even exponent":   {jws.RS256, &rsa.PublicKey{N: big2, E: 4}},
		"RSA without modulus": {jws.RS256, &rsa.PublicKey{E: 3}},
	}
	for name, tt := range tests {
		if _, err := jws.NewKey("k", tt.alg, tt.public); !errors.Is(err, jws.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Standards JW-14.
func TestMediaType(t *testing.T) {
	t.Parallel()
	for typ, want := range map[string]string{
		"": "", "JWT": "jwt", "AT+JWT": "at+jwt", "application/at+jwt": "at+jwt", "APPLICATION/at+jwt": "at+jwt",
		"application/at+jwt;x=1": "?", "at+jwt\x00": "?", "at+jwt ": "?", "text/at+jwt": "?", "application/": "?", "application/application/jwt": "?",
	} {
		if got := jws.MediaType(typ); got != want {
			t.Errorf("%q: %q, want %q", typ, got, want)
		}
	}
}

// Whatever we parse go-jose parses, with the same payload.
func FuzzParse(f *testing.F) {
	f.Add("eyJhbGciOiJFUzI1NiJ9.e30.c2ln")
	f.Add(b64(`{"alg":"RS256","kid":"a","typ":"JWT"}`) + "." + b64(`{"iss":"x"}`) + ".AAAA")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		parsed, err := jws.Parse(token)
		if err != nil {
			return
		}
		all := []jose.SignatureAlgorithm{jose.SignatureAlgorithm(parsed.Header().Algorithm)}
		theirs, err := jose.ParseSigned(token, all)
		if err != nil {
			t.Fatalf("go-jose refuses %q: %v", token, err)
		}
		if string(theirs.UnsafePayloadWithoutVerification()) != string(parsed.UnverifiedPayload()) {
			t.Fatalf("two payloads of %q", token)
		}
	})
}
