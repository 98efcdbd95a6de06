package jwtassertion_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/jwtassertion"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

const (
	us  = "https://cambist.prod.example"
	web = "spiffe://prod.example/ns/shop/sa/web"
)

var (
	now     = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)
	prod    = spiffeid.RequireTrustDomainFromString("prod.example")
	partner = spiffeid.RequireTrustDomainFromString("partner.example")
)

type object map[string]any

func (o object) with(changes object) object {
	o = maps.Clone(o)
	for name, value := range changes {
		if o[name] = value; value == nil {
			delete(o, name)
		}
	}
	return o
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	return k
}

func sign(t testing.TB, k *ecdsa.PrivateKey, headers map[jose.HeaderKey]any, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, &jose.SignerOptions{ExtraHeaders: headers})
	must(t, err)
	payload, err := json.Marshal(claims)
	must(t, err)
	signed, err := signer.Sign(payload)
	must(t, err)
	token, err := signed.CompactSerialize()
	must(t, err)
	return token
}

// room is the room with two trust domains, whose keys have one kid.
type room struct {
	prod, partner *ecdsa.PrivateKey
	trust         *jwtsvid.Trust
	*jwtassertion.Assertion
}

func newRoom(t testing.TB) *room {
	t.Helper()
	r := &room{prod: newKey(t), partner: newKey(t), trust: &jwtsvid.Trust{}}
	public := func(k *ecdsa.PrivateKey) []jws.Key {
		key, err := jws.NewKey("k", jws.ES256, k.Public())
		must(t, err)
		return []jws.Key{key}
	}
	r.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: public(r.prod), partner: public(r.partner)})
	svids, err := jwtsvid.New(us, r.trust)
	must(t, err)
	r.Assertion, err = jwtassertion.New(svids)
	must(t, err)
	return r
}

func (r *room) verify(at time.Time, token string) (broker.Workload, error) {
	return r.VerifyAssertion(context.Background(), at, oauth.NewSecret(token))
}

// The checks of SC-* and SJ-* as they stand at this door; each is the only one that
// fails.
func TestJWTSVIDAsAssertion(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	kid := map[jose.HeaderKey]any{"kid": "k", "typ": "JWT"}
	good := object{"sub": web, "aud": []string{us}, "exp": now.Unix() + 300, "iat": now.Unix()}
	thumbprint := strings.Repeat("A", 43)
	tests := map[string]struct {
		headers map[jose.HeaderKey]any
		claims  object
		key     *ecdsa.PrivateKey
		want    broker.Reason
	}{
		"good":                     {},
		"aud as a string":          {claims: good.with(object{"aud": us})},
		"no iat":                   {claims: good.with(object{"iat": nil})},
		"iss of anybody":           {claims: good.with(object{"iss": "https://elsewhere.example", "jku": "https://elsewhere.example/keys"})},
		"four minutes old":         {claims: good.with(object{"iat": now.Unix() - 240, "exp": now.Unix() + 3000})},
		"no kid":                   {headers: map[jose.HeaderKey]any{"typ": "JWT"}, want: broker.ReasonTokenKeyUnknown},
		"unknown kid":              {headers: map[jose.HeaderKey]any{"kid": "other"}, want: broker.ReasonTokenKeyUnknown},
		"another header":           {headers: map[jose.HeaderKey]any{"kid": "k", "x": "y"}, want: broker.ReasonTokenMalformed},
		"typ":                      {headers: map[jose.HeaderKey]any{"kid": "k", "typ": "at+jwt"}, want: broker.ReasonTokenType},
		"another's key":            {key: r.partner, want: broker.ReasonTokenSignature},
		"names another's domain":   {claims: good.with(object{"sub": "spiffe://partner.example/ns/shop/sa/web"}), want: broker.ReasonTokenSignature},
		"an unknown domain":        {claims: good.with(object{"sub": "spiffe://dev.example/ns/shop/sa/web"}), want: broker.ReasonTokenIssuer},
		"a bare trust domain":      {claims: good.with(object{"sub": "spiffe://prod.example"}), want: broker.ReasonTokenClaims},
		"a user":                   {claims: good.with(object{"sub": "alice"}), want: broker.ReasonTokenClaims},
		"no sub":                   {claims: good.with(object{"sub": nil}), want: broker.ReasonTokenClaims},
		"aud is the endpoint":      {claims: good.with(object{"aud": us + "/oauth2/token"}), want: broker.ReasonTokenAudience},
		"aud with a slash":         {claims: good.with(object{"aud": us + "/"}), want: broker.ReasonTokenAudience},
		"aud of two":               {claims: good.with(object{"aud": []string{us, "x"}}), want: broker.ReasonTokenAudience},
		"aud of us twice":          {claims: good.with(object{"aud": []string{us, us}}), want: broker.ReasonTokenAudience},
		"no aud":                   {claims: good.with(object{"aud": nil}), want: broker.ReasonTokenAudience},
		"no exp":                   {claims: good.with(object{"exp": nil}), want: broker.ReasonTokenClaims},
		"expired":                  {claims: good.with(object{"iat": now.Unix() - 200, "exp": now.Unix() - 100}), want: broker.ReasonTokenExpired},
		"too old":                  {claims: good.with(object{"iat": now.Unix() - 301, "exp": now.Unix() + 100}), want: broker.ReasonTokenExpired},
		"from the future":          {claims: good.with(object{"iat": now.Unix() + 60}), want: broker.ReasonTokenNotYetValid},
		"for longer than an hour":  {claims: good.with(object{"exp": now.Unix() + 3601}), want: broker.ReasonTokenClaims},
		"with act":                 {claims: good.with(object{"act": object{"sub": web}}), want: broker.ReasonTokenClaims},
		"with may_act":             {claims: good.with(object{"may_act": object{"sub": web}}), want: broker.ReasonTokenClaims},
		"bound to a certificate":   {claims: good.with(object{"cnf": object{"x5t#S256": thumbprint}}), want: broker.ReasonTokenClaims},
		"bound to a key":           {claims: good.with(object{"cnf": object{"jkt": thumbprint}}), want: broker.ReasonTokenClaims},
		"bound to something":       {claims: good.with(object{"cnf": object{"x": 1}}), want: broker.ReasonTokenClaims},
		"a case variant of a name": {claims: good.with(object{"Sub": web}), want: broker.ReasonTokenClaims},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			headers, claims, key := test.headers, test.claims, test.key
			if headers == nil {
				headers = kid
			}
			if claims == nil {
				claims = good
			}
			if key == nil {
				key = r.prod
			}
			w, err := r.verify(now, sign(t, key, headers, claims))
			if test.want == "" {
				exp, _ := claims["exp"].(int64)
				want := broker.Workload{ID: spiffeid.RequireFromString(web), Proof: broker.ProofJWTSVID, NotAfter: time.Unix(exp, 0).UTC()}
				if err != nil || w != want {
					t.Errorf("%+v, %v", w, err)
				}
				return
			}
			var e *broker.Error
			if !errors.As(err, &e) || e.Reason != test.want || e.Code != broker.CodeInvalidRequest || e.Public == "" {
				t.Errorf("%v, want %s", err, test.want)
			}
			if w != (broker.Workload{}) {
				t.Errorf("a refused assertion proves %+v", w)
			}
		})
	}
}

// Within five minutes the same one may be shown again, as agents hand it out; after
// that no more, and not once its key has left the bundle.
func TestReuse(t *testing.T) {
	t.Parallel()
	at := now
	ca, err := trust.New(prod, func() time.Time { return at })
	must(t, err)
	r := newRoom(t)
	learn := func() {
		text, err := ca.JWTBundle().Marshal()
		must(t, err)
		keys, _, err := jwtsvid.ParseJWTBundle(text)
		must(t, err)
		r.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: keys})
	}
	learn()
	token, err := ca.JWTSVID(spiffeid.RequireFromString(web), []string{us}, trust.MaxJWTTTL)
	must(t, err)
	for _, after := range []time.Duration{0, time.Second, 4 * time.Minute, 4*time.Minute + 59*time.Second} {
		if w, err := r.verify(now.Add(after), token); err != nil || w.ID.String() != web {
			t.Errorf("after %s: %v", after, err)
		}
	}
	if _, err := r.verify(now.Add(5*time.Minute+time.Second), token); broker.AsError(err).Reason != broker.ReasonTokenExpired {
		t.Errorf("after its time: %v", err)
	}
	must(t, ca.AddRoot())
	must(t, ca.UseRoot())
	must(t, ca.DropRoots())
	learn()
	if _, err := r.verify(now, token); broker.AsError(err).Reason != broker.ReasonTokenKeyUnknown {
		t.Errorf("after its key: %v", err)
	}
}

// careless verifies nothing.
type careless struct{ broker.Subject }

func (c careless) VerifySVID(time.Time, *subject.Token) (broker.Subject, error) {
	return c.Subject, nil
}

// What the verifier says is not taken for more than a name that can be one.
func TestNameOfAWorkload(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	token := sign(t, r.prod, map[jose.HeaderKey]any{"kid": "k"}, object{"sub": web})
	for _, sub := range []string{"", "alice", "spiffe://", "SPIFFE://prod.example/a", "spiffe://prod.example/a/../b"} {
		a, err := jwtassertion.New(careless{broker.Subject{Sub: sub}})
		must(t, err)
		if w, err := a.VerifyAssertion(t.Context(), now, oauth.NewSecret(token)); broker.AsError(err).Reason != broker.ReasonTokenClaims || w != (broker.Workload{}) {
			t.Errorf("%q: %+v, %v", sub, w, err)
		}
	}
}

// FuzzVerifyAssertion: whatever comes, nobody is proven but by a signature, and who
// made the claims decides who.
func FuzzVerifyAssertion(f *testing.F) {
	r := newRoom(f)
	kid := map[jose.HeaderKey]any{"kid": "k"}
	good := object{"sub": web, "aud": us, "exp": now.Unix() + 300, "iat": now.Unix()}
	token := sign(f, r.prod, kid, good)
	for _, seed := range []string{
		token, sign(f, r.partner, kid, good), "", "..", "a.b.c", token[:len(token)-4], token + "=", token + "\n", strings.Repeat(".", 1000),
		"eyJhbGciOiJub25lIn0.e30.", strings.Replace(token, ".", "..", 1),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		w, err := r.verify(now, text)
		if err == nil && (w.ID.String() != web || text[:strings.LastIndexByte(text, '.')] != token[:strings.LastIndexByte(token, '.')]) {
			t.Fatalf("%q proves %+v", text, w)
		}
		if err != nil && (w != (broker.Workload{}) || broker.AsError(err).Code == broker.CodeInternal || strings.Contains(err.Error(), text) && len(text) > 20) {
			t.Fatalf("%q: %+v, %v", text, w, err)
		}
	})
}
