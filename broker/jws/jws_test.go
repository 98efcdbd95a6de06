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
	"slices"
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
		"text behind":         {header(`{"alg":"ES256"}x`), jws.ErrHeader},
		"comma behind":        {header(`{"alg":"ES256"},`), jws.ErrHeader},
		"brace behind":        {header(`{"alg":"ES256"}}`), jws.ErrHeader},
		"NUL behind":          {header("{\"alg\":\"ES256\"}\x00"), jws.ErrHeader},
		"comma at the end":    {header(`{"alg":"ES256",}`), jws.ErrHeader},
		"lone surrogate":      {header(`{"alg":"ES256","kid":"\ud800"}`), jws.ErrHeader},
		"alg escaped twice":   {header(`{"alg":"ES256","\u0061lg":"ES256"}`), jws.ErrHeader},
		"Kid":                 {header(`{"alg":"ES256","Kid":"x"}`), jws.ErrHeader},
		"TYP":                 {header(`{"alg":"ES256","TYP":"x"}`), jws.ErrHeader},
		"ALG alone":           {header(`{"ALG":"ES256"}`), jws.ErrHeader},
		"typ array":           {header(`{"alg":"ES256","typ":["JWT"]}`), jws.ErrHeader},
		"kid DEL":             {header("{\"alg\":\"ES256\",\"kid\":\"a\x7f\"}"), jws.ErrHeader},
		"extra long":          {header(`{"alg":"ES256","x":"` + strings.Repeat("k", 257) + `"}`), jws.ErrHeader},
		"extra number":        {header(`{"alg":"ES256","x":1}`), jws.ErrHeader},
		"p2c":                 {header(`{"alg":"ES256","p2c":2147483647}`), jws.ErrHeader},
		"bad header base64":   {"e" + "." + b64("{}") + ".c2ln", jws.ErrMalformed},
		"bad payload base64":  {b64(`{"alg":"ES256"}`) + ".e.c2ln", jws.ErrMalformed},
		"loose header bits":   {strings.Replace(good, ".", "B.", 1), jws.ErrMalformed},
		"loose payload bits":  {b64(`{"alg":"ES256"}`) + ".e31.c2ln", jws.ErrMalformed},
		"six segments":        {"a.b.c.d.e.f", jws.ErrMalformed},
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
	if p, err := jws.Parse(header(`{"alg":"ES256","x5t":"abc","x5t#S256":"abc"}`)); err != nil || !p.Header().Extra {
		t.Errorf("x5t: %v", err)
	}
	for _, name := range strings.Fields("jwk jku x5u x5c crit b64 zip enc cty epk apu apv iv tag p2c p2s JWK Crit cTy") {
		if _, err := jws.Parse(header(`{"alg":"ES256","` + name + `":"x"}`)); !errors.Is(err, jws.ErrHeader) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every byte at every kind of place: only the alphabet of base64url and the two
// dots get through, and nothing is decoded before that is known.
func TestParseLimits(t *testing.T) {
	t.Parallel()
	head := b64(`{"alg":"ES256","kid":"` + strings.Repeat("k", 256) + `"}`)
	for c := range 256 {
		for _, token := range []string{head + string([]byte{byte(c)}) + "AAA.AAAA.AAAA", head + ".AAA" + string([]byte{byte(c)}) + ".AAAA", head + ".AAAA.AAA" + string([]byte{byte(c)})} {
			good := 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
			if _, err := jws.Parse(token); !good && err == nil {
				t.Errorf("byte %#x is accepted in %q", c, token)
			} else if good && errors.Is(err, jws.ErrMalformed) && !strings.HasPrefix(token, head+string([]byte{byte(c)})) {
				t.Errorf("byte %#x is refused", c)
			}
		}
	}
	tail := ".AAAA"
	if (jws.MaxTokenBytes-len(head)-1-len(tail))%4 == 1 { // no base64 has that length
		tail = ".AAA"
	}
	longest := head + "." + strings.Repeat("A", jws.MaxTokenBytes-len(head)-1-len(tail)) + tail
	if _, err := jws.Parse(longest); err != nil || len(longest) != jws.MaxTokenBytes {
		t.Errorf("%d bytes: %v", len(longest), err)
	}
	for spaces, want := range map[int]error{3073 - len(`{"alg":"ES256"}`) - 1: nil, 3073 - len(`{"alg":"ES256"}`): jws.ErrHeader} { // 3072 bytes are 4096 characters
		if _, err := jws.Parse(b64(`{"alg":"ES256"`+strings.Repeat(" ", spaces)+`}`) + ".AAAA.AAAA"); !errors.Is(err, want) {
			t.Errorf("header with %d spaces: %v", spaces, err)
		}
	}
	dots := strings.Repeat(".", 16<<20)
	if _, err := jws.Parse(dots); !errors.Is(err, jws.ErrTooLarge) {
		t.Errorf("dots: %v", err)
	}
}

// Threat D1: a token that is refused by its look costs no memory at all.
func TestRefusalDoesNotAllocate(t *testing.T) {
	tokens := []string{strings.Repeat(".", 16<<20), strings.Repeat(".", jws.MaxTokenBytes), "a.b.c.d.e", strings.Repeat("a", jws.MaxTokenBytes), `{"payload":""}`}
	if n := testing.AllocsPerRun(10, func() {
		for _, token := range tokens {
			if _, err := jws.Parse(token); err == nil {
				t.Error("accepted")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestZeroToken(t *testing.T) {
	t.Parallel()
	var zero jws.Token
	if payload, err := zero.VerifyPayload(signer(t, jws.ES256).Key()); !errors.Is(err, jws.ErrAlgorithm) || payload != nil {
		t.Errorf("%q, %v", payload, err)
	}
	if _, err := zero.VerifyPayload(jws.Key{}); !errors.Is(err, jws.ErrAlgorithm) {
		t.Errorf("with a zero key: %v", err)
	}
	if zero.UnverifiedPayload() != nil || zero.Header() != (jws.Header{}) {
		t.Error("the zero token holds something")
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
	own, err := jws.NewSigner("k1", jws.ES256, private)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := own.Sign([]byte(input))
	if err != nil {
		t.Fatal(err)
	}
	order := elliptic.P256().Params().N
	beyond := new(big.Int).Add(new(big.Int).SetBytes(pair[32:]), order) // the same s, not reduced
	for name, signature := range map[string][]byte{
		"zero between r and s": slices.Concat(pair[:32], []byte{0}, pair[32:]), "zero in front": slices.Concat([]byte{0}, pair),
		"r is 0": slices.Concat(make([]byte, 32), pair[32:]), "s is the order": slices.Concat(pair[:32], order.Bytes()), "s beyond the order": slices.Concat(pair[:32], beyond.Bytes()),
		"DER": der, "zero": make([]byte, 64), "short": make([]byte, 63), "long": make([]byte, 65)} {
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
	odd := func(bits uint) *big.Int { return new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), bits-1), 0, 1) }
	big2 := odd(2048)
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
		"RSA 2047":            {jws.RS256, &rsa.PublicKey{N: odd(2047), E: 65537}},
		"RSA 8193":            {jws.RS256, &rsa.PublicKey{N: odd(8193), E: 65537}},
		"RSA exponent 1":      {jws.RS256, &rsa.PublicKey{N: big2, E: 1}},
		"RSA even exponent":   {jws.RS256, &rsa.PublicKey{N: big2, E: 4}},
		"RSA exponent large":  {jws.RS256, &rsa.PublicKey{N: big2, E: 1<<31 + 1}},
		"RSA exponent 0":      {jws.RS256, &rsa.PublicKey{N: big2}},
		"RSA negative":        {jws.RS256, &rsa.PublicKey{N: new(big.Int).Neg(big2), E: 3}},
		"RSA even modulus":    {jws.RS256, &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 2047), E: 3}},
		"RSA without modulus": {jws.RS256, &rsa.PublicKey{E: 3}},
		"RSA for EC":          {jws.ES256, &rsa.PublicKey{N: big2, E: 3}},
		"RSA for Ed25519":     {jws.EdDSA, &rsa.PublicKey{N: big2, E: 3}},
		"nil RSA key":         {jws.RS256, (*rsa.PublicKey)(nil)},
		"Ed25519 for EC":      {jws.ES256, make(ed25519.PublicKey, ed25519.PublicKeySize)},
		"no y":                {jws.ES256, &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1)}},
		"no x":                {jws.ES256, &ecdsa.PublicKey{Curve: elliptic.P256(), Y: big.NewInt(1)}},
		"no curve at all":     {jws.RS256, &ecdsa.PublicKey{}},
		"no coordinates":      {jws.ES256, &ecdsa.PublicKey{Curve: elliptic.P256()}},
		"P-224":               {jws.ES256, &ecdsa.PublicKey{Curve: elliptic.P224(), X: big.NewInt(1), Y: big.NewInt(1)}},
		"symmetric":           {"HS256", []byte("secret")},
		"RSA by value":        {jws.RS256, rsa.PublicKey{N: big2, E: 3}},
	}
	for name, tt := range tests {
		if _, err := jws.NewKey("k", tt.alg, tt.public); !errors.Is(err, jws.ErrKey) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNewKeyLimits(t *testing.T) {
	t.Parallel()
	odd := func(bits uint) *big.Int { return new(big.Int).SetBit(new(big.Int).Lsh(big.NewInt(1), bits-1), 0, 1) }
	for name, public := range map[string]*rsa.PublicKey{
		"2048": {N: odd(2048), E: 65537}, "8192": {N: odd(8192), E: 65537}, "e 3": {N: odd(2048), E: 3}, "e large": {N: odd(2048), E: 1<<31 - 1},
	} {
		if k, err := jws.NewKey("k", jws.PS384, public); err != nil || k.ID() != "k" || k.Algorithm() != jws.PS384 {
			t.Errorf("%s: %v", name, err)
		}
	}
	public := slices.Clone(privateKey(t, jws.EdDSA).Public().(ed25519.PublicKey))
	k, err := jws.NewKey("k", jws.EdDSA, public)
	if err != nil {
		t.Fatal(err)
	}
	public[0] ^= 1
	if public.Equal(k.Public()) {
		t.Error("the key is what its maker changed later")
	}
	for _, a := range algorithms {
		if !a.Known() {
			t.Errorf("%s is not known", a)
		}
	}
	for _, a := range []jws.Algorithm{"", "none", "None", "HS256", "es256", "ES256K", "Ed448", "ML-DSA-44"} {
		if a.Known() {
			t.Errorf("%s is known", a)
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
	for c := range 256 {
		want := "?"
		if 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || strings.ContainsRune("+-._", rune(c)) {
			want = "x" + string(rune(c))
		} else if 'A' <= c && c <= 'Z' {
			want = "x" + string(rune(c-'A'+'a'))
		}
		if got := jws.MediaType("x" + string([]byte{byte(c)})); got != want {
			t.Errorf("byte %#x: %q, want %q", c, got, want)
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
