package jwtsvid_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

var sameScopes = cmp.Comparer(func(a, b oauth.Scopes) bool { return a.String() == b.String() })

// What a JWT-SVID says, and nothing else, is what the subject is.
func TestSubject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := time.Unix(now.Unix(), 0).UTC()
	actor := &broker.Actor{Party: broker.Party{Subject: web}}
	for name, test := range map[string]struct {
		claims object
		want   broker.Subject
	}{
		"as SPIRE makes it": {ofWeb(), broker.Subject{IssuedAt: at}},
		"aud a string":      {ofWeb().with(object{"aud": us}), broker.Subject{IssuedAt: at}},
		"without iat":       {ofWeb().with(object{"iat": nil}), broker.Subject{}},
		"with jti":          {ofWeb().with(object{"jti": "j1"}), broker.Subject{IssuedAt: at, TokenID: "j1"}},
		"with an iss":       {ofWeb().with(object{"iss": "https://spire.prod.example"}), broker.Subject{IssuedAt: at}},
		"with nbf":          {ofWeb().with(object{"nbf": now.Unix()}), broker.Subject{IssuedAt: at}},
		"more claims":       {ofWeb().with(object{"scope": "a b", "client_id": web, "groups": []string{"x"}, "presenters": []string{web}}), broker.Subject{IssuedAt: at}},
		"act":               {ofWeb().with(object{"act": object{"sub": web}}), broker.Subject{IssuedAt: at, Actor: actor}},
		"may_act":           {ofWeb().with(object{"may_act": object{"sub": web}}), broker.Subject{IssuedAt: at, MayAct: &broker.Party{Subject: web}}},
		"cnf":               {ofWeb().with(object{"cnf": object{"kid": "x"}}), broker.Subject{IssuedAt: at, Confirmation: broker.Confirmation{Unknown: true}}},
	} {
		token := w.token(t, test.claims)
		got, err := w.verify(t, token)
		test.want.Kind, test.want.Sub, test.want.Audience = broker.SubjectWorkload, web, []string{us}
		test.want.KeyID, test.want.ExpiresAt, test.want.TokenHash = "k1", at.Add(300*time.Second), sha256.Sum256([]byte(token))
		if diff := cmp.Diff(test.want, got, sameScopes); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
		if id, ok := got.WorkloadID(); !ok || id.String() != web {
			t.Errorf("%s: it is no workload", name)
		}
	}
}

// The nine algorithms of the standard, each with a key of its own kind, and no
// other (standards SJ-2).
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	must(t, err)
	keys := map[jws.Algorithm]crypto.Signer{}
	for _, a := range []jws.Algorithm{jws.RS256, jws.RS384, jws.RS512, jws.PS256, jws.PS384, jws.PS512} {
		keys[a] = rsaKey
	}
	for a, curve := range map[jws.Algorithm]elliptic.Curve{jws.ES256: elliptic.P256(), jws.ES384: elliptic.P384(), jws.ES512: elliptic.P521()} {
		keys[a], err = ecdsa.GenerateKey(curve, rand.Reader)
		must(t, err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	keys[jws.EdDSA] = edKey
	var list []jws.Key
	for a, k := range keys {
		list = append(list, public(t, "k-"+string(a), a, k))
	}
	w := newWorld(t)
	w.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: list})
	for a, k := range keys {
		token := sign(t, jose.SignatureAlgorithm(a), k, header{"kid": "k-" + string(a)}, ofWeb())
		s, err := w.verify(t, token)
		if a == jws.EdDSA {
			refused(t, s, err, broker.ReasonTokenAlgorithm)
		} else if err != nil || s.Sub != web || s.KeyID != "k-"+string(a) {
			t.Errorf("%s: %v", a, err)
		}
		if len(keys) != 10 {
			t.Error("one is missing")
		}
	}
	s, err := w.verify(t, sign(t, jose.RS384, rsaKey, header{"kid": "k-RS256"}, ofWeb())) // a key is for one algorithm
	refused(t, s, err, broker.ReasonTokenKeyUnknown)
}

// The header has what the standard names and nothing else, and no key comes from it
// (standards SJ-1, SJ-2, SJ-3, CX-3; H1 to H8).
func TestHeader(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	own, err := jose.JSONWebKey{Key: w.prod.Public(), KeyID: "k1"}.MarshalJSON()
	must(t, err)
	jwk := string(own)
	head := func(members string) string { return raw(t, `{"alg":"ES256","kid":"k1"`+members+`}`, ofWeb()) }
	good := w.token(t, ofWeb())
	signed := func(h header) string { return sign(t, jose.ES256, w.prod, h, ofWeb()) }
	for name, test := range map[string]struct {
		token  string
		reason broker.Reason // "" if it is good
	}{
		"typ JWT":             {good, ""},
		"typ JOSE":            {signed(header{"kid": "k1", "typ": "JOSE"}), ""},
		"no typ":              {signed(header{"kid": "k1"}), ""},
		"typ jwt":             {signed(header{"kid": "k1", "typ": "jwt"}), broker.ReasonTokenType},
		"typ at+jwt":          {signed(header{"kid": "k1", "typ": "at+jwt"}), broker.ReasonTokenType},
		"typ wit+jwt":         {signed(header{"kid": "k1", "typ": "wit+jwt"}), broker.ReasonTokenType},
		"typ application/JWT": {signed(header{"kid": "k1", "typ": "application/JWT"}), broker.ReasonTokenType},
		"one more member":     {signed(header{"kid": "k1", "x": "1"}), broker.ReasonTokenMalformed},
		"cty":                 {signed(header{"kid": "k1", "cty": "JWT"}), broker.ReasonTokenMalformed},
		"no kid":              {signed(header{}), broker.ReasonTokenKeyUnknown},
		"empty kid":           {signed(header{"kid": ""}), broker.ReasonTokenKeyUnknown},
		"kid unknown":         {signed(header{"kid": "k2"}), broker.ReasonTokenKeyUnknown},
		"kid a path":          {signed(header{"kid": "../../k1"}), broker.ReasonTokenKeyUnknown},
		"kid SQL":             {signed(header{"kid": "' OR 1=1 --"}), broker.ReasonTokenKeyUnknown},
		"kid too long":        {signed(header{"kid": strings.Repeat("k", 257)}), broker.ReasonTokenMalformed},
		"kid a number":        {raw(t, `{"alg":"ES256","kid":1}`, ofWeb()), broker.ReasonTokenMalformed},
		"another's signature": {sign(t, jose.ES256, newKey(t), header{"kid": "k1"}, ofWeb()), broker.ReasonTokenSignature},
		"none":                {raw(t, `{"alg":"none","kid":"k1"}`, ofWeb()), broker.ReasonTokenAlgorithm},
		"alg empty":           {raw(t, `{"alg":"","kid":"k1"}`, ofWeb()), broker.ReasonTokenAlgorithm},
		"HS256":               {sign(t, jose.HS256, own, header{"kid": "k1"}, ofWeb()), broker.ReasonTokenAlgorithm},
		"EdDSA":               {raw(t, `{"alg":"EdDSA","kid":"k1"}`, ofWeb()), broker.ReasonTokenAlgorithm},
		"Ed25519":             {raw(t, `{"alg":"Ed25519","kid":"k1"}`, ofWeb()), broker.ReasonTokenAlgorithm},
		"ES384":               {raw(t, `{"alg":"ES384","kid":"k1"}`, ofWeb()), broker.ReasonTokenKeyUnknown},
		"jwk":                 {head(`,"jwk":` + jwk), broker.ReasonTokenMalformed},
		"jku":                 {head(`,"jku":"https://evil.example/keys"`), broker.ReasonTokenMalformed},
		"x5c":                 {head(`,"x5c":["AA"]`), broker.ReasonTokenMalformed},
		"crit":                {head(`,"crit":["exp"]`), broker.ReasonTokenMalformed},
		"b64":                 {head(`,"b64":false`), broker.ReasonTokenMalformed},
		"kid twice":           {head(`,"kid":"k1"`), broker.ReasonTokenMalformed},
		"KID":                 {head(`,"KID":"k1"`), broker.ReasonTokenMalformed},
		"padded":              {good + "=", broker.ReasonTokenMalformed},
		"newline":             {good + "\n", broker.ReasonTokenMalformed},
		"encrypted":           {good + ".a.b", broker.ReasonTokenMalformed},
		"too large":           {good + strings.Repeat("a", 16<<10), broker.ReasonTokenTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := w.verify(t, test.token)
			if test.reason == "" {
				if err != nil || s.Sub != web {
					t.Fatal(err)
				}
				return
			}
			e := refused(t, s, err, test.reason)
			for _, part := range strings.Split(test.token, ".") {
				if len(part) > 8 && strings.Contains(e.Error(), part) {
					t.Errorf("the refusal holds a part of the token: %v", e)
				}
			}
		})
	}
}

// A key counts for the trust domain that has it, whatever its kid and whoever else
// has it too (standards SB-8, A10).
func TestTrustDomainsAreApart(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	theirs := ofWeb().with(object{"sub": "spiffe://partner.example/ns/shop/sa/web"})
	kid := header{"kid": "k1"}
	if s, err := w.verify(t, sign(t, jose.ES256, w.partner, kid, theirs)); err != nil || s.Sub != theirs["sub"] {
		t.Fatalf("their own: %v", err)
	}
	s, err := w.verify(t, sign(t, jose.ES256, w.prod, kid, theirs)) // the same kid, the wrong key
	refused(t, s, err, broker.ReasonTokenSignature)

	shared := public(t, "k2", jws.ES256, w.prod)
	told := w.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: {shared}, partner: {shared, public(t, "k1", jws.ES256, w.partner)}})
	if len(told) != 1 || !strings.Contains(told[0], "partner.example, prod.example share") {
		t.Errorf("told %q", told)
	}
	for _, claims := range []object{ofWeb(), theirs} {
		if s, err := w.verify(t, sign(t, jose.ES256, w.prod, header{"kid": "k2"}, claims)); err != nil || s.Sub != claims["sub"] {
			t.Errorf("a key that both have: %v", err)
		}
	}
	s, err = w.verify(t, sign(t, jose.ES256, w.partner, kid, ofWeb())) // a kid that only the other has
	refused(t, s, err, broker.ReasonTokenKeyUnknown)

	w.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: {public(t, "k1", jws.ES256, w.prod)}, partner: {}})
	s, err = w.verify(t, sign(t, jose.ES256, w.partner, kid, theirs)) // all its keys are revoked
	refused(t, s, err, broker.ReasonTokenKeyUnknown)
	s, err = w.verify(t, w.token(t, ofWeb().with(object{"sub": "spiffe://example.org/a"})))
	refused(t, s, err, broker.ReasonTokenIssuer)
	s, err = w.verify(t, w.token(t, ofWeb().with(object{"sub": "spiffe://sub.prod.example/a"})))
	refused(t, s, err, broker.ReasonTokenIssuer)
}

// Whoever chose the bundle and whoever reads the claims must mean the same trust
// domain, whatever a parser makes of a token.
func TestBundleIsThatOfTheSubject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, err := subject.Parse(broker.SubjectToken{Raw: oauth.NewSecret(w.token(t, ofWeb().with(object{"sub": "spiffe://partner.example/a"}))), Type: oauth.TokenTypeJWTSVID})
	must(t, err)
	token.UnverifiedSubject = web
	s, err := w.source(t).Verify(context.Background(), w.view, now, token)
	refused(t, s, err, broker.ReasonTokenIssuer)
}

// Only what is looks like a JWT-SVID and nothing else is read as one: what another
// source knows is its own, wherever this one stands.
func TestMatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, test := range map[string]struct {
		claims object
		typ    string
		as     oauth.TokenType
		want   bool
	}{
		"declared":                      {ofWeb(), "JWT", oauth.TokenTypeJWTSVID, true},
		"declared, a user":              {ofWeb().with(object{"sub": "alice"}), "JWT", oauth.TokenTypeJWTSVID, true},
		"declared, another typ":         {ofWeb(), "at+jwt", oauth.TokenTypeJWTSVID, true},
		"declared, an unknown issuer":   {ofWeb().with(object{"iss": "https://spire.example"}), "JWT", oauth.TokenTypeJWTSVID, true},
		"declared, ours":                {ofWeb().with(object{"iss": us}), "JWT", oauth.TokenTypeJWTSVID, false},
		"declared, an issuer of policy": {ofWeb().with(object{"iss": corpURL}), "JWT", oauth.TokenTypeJWTSVID, false},
		"looks so":                      {ofWeb(), "JWT", oauth.TokenTypeJWT, true},
		"looks so, no typ":              {ofWeb(), "", oauth.TokenTypeIDToken, true},
		"looks so, an unknown issuer":   {ofWeb().with(object{"iss": "https://spire.example"}), "JOSE", oauth.TokenTypeAccessToken, true},
		"looks so, ours":                {ofWeb().with(object{"iss": us}), "JWT", oauth.TokenTypeAccessToken, false},
		"looks so, an issuer of policy": {ofWeb().with(object{"iss": corpURL}), "JWT", oauth.TokenTypeJWT, false},
		"an access token of others":     {ofWeb().with(object{"iss": "https://other.example"}), "at+jwt", oauth.TokenTypeJWT, false},
		"a user":                        {ofWeb().with(object{"sub": "alice"}), "JWT", oauth.TokenTypeJWT, false},
		"another scheme":                {ofWeb().with(object{"sub": "spiffe:x"}), "JWT", oauth.TokenTypeJWT, false},
		"nobody":                        {ofWeb().with(object{"sub": nil}), "JWT", oauth.TokenTypeJWT, false},
	} {
		h := header{"kid": "k1"}
		if test.typ != "" {
			h["typ"] = test.typ
		}
		token, err := subject.Parse(broker.SubjectToken{Raw: oauth.NewSecret(sign(t, jose.ES256, w.prod, h, test.claims)), Type: test.as})
		must(t, err)
		if got := w.source(t).Match(w.view, token); got != test.want {
			t.Errorf("%s: %t", name, got)
		}
		if (&jwtsvid.Source{}).Match(w.view, token) {
			t.Errorf("%s: the zero value matches", name)
		}
	}
}

// Who has no Route asks by VerifySVID, by the same rules; the zero value trusts nobody.
func TestVerifySVID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for as, want := range map[oauth.TokenType]broker.Reason{oauth.TokenTypeJWTSVID: "", oauth.TokenTypeJWT: broker.ReasonTokenType} {
		token, err := subject.Parse(broker.SubjectToken{Raw: oauth.NewSecret(w.token(t, ofWeb())), Type: as})
		must(t, err)
		s, err := w.source(t).VerifySVID(now, token)
		if want != "" {
			refused(t, s, err, want)
		} else if err != nil || s.Sub != web {
			t.Errorf("%+v, %v", s, err)
		}
		s, err = (&jwtsvid.Source{}).VerifySVID(now, token)
		refused(t, s, err, broker.ReasonTokenIssuer)
	}
}

// Whoever declares a JWT-SVID wrongly hears what it is; it is not tried as such.
func TestWrongType(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, as := range []oauth.TokenType{"", oauth.TokenTypeJWT, oauth.TokenTypeIDToken, oauth.TokenTypeAccessToken, oauth.TokenTypeRefreshToken, "urn:x"} {
		s, err := w.verifyAt(t, now, w.token(t, ofWeb()), as)
		if e := refused(t, s, err, broker.ReasonTokenType); !strings.Contains(e.Public, string(oauth.TokenTypeJWTSVID)) {
			t.Errorf("%q: %s", as, e.Public)
		}
	}
}

// A source without an audience would take everybody's (standards SJ-4).
func TestNewRefuses(t *testing.T) {
	t.Parallel()
	if s, err := jwtsvid.New("", &jwtsvid.Trust{}); err == nil || s != nil {
		t.Error("made without an audience")
	}
	if s, err := jwtsvid.New(us, nil); err == nil || s != nil {
		t.Error("made without bundles")
	}
}

// What is accepted was signed over exactly these bytes.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, ofWeb())
	source := w.source(t)
	rapid.Check(t, func(t *rapid.T) {
		i := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		b := string(rapid.Byte().Filter(func(b byte) bool { return b != token[i] }).Draw(t, "byte"))
		for _, changed := range []string{token[:i] + b + token[i+1:], token[:i] + token[i+1:], token[:i] + b + token[i:]} {
			s, err := subject.NewRoute(source).Verify(context.Background(), w.view, now, broker.SubjectToken{Raw: oauth.NewSecret(changed), Type: oauth.TokenTypeJWTSVID})
			if err == nil {
				t.Fatalf("byte %d may change: %+v", i, s)
			}
		}
	})
	for i := range len(token) {
		if s, err := w.verify(t, token[:i]+string(token[i]^1)+token[i+1:]); err == nil {
			t.Fatalf("byte %d may change: %+v", i, s)
		}
	}
}
