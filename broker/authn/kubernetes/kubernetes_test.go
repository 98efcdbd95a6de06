package kubernetes_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/kubernetes"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

const (
	us  = "https://cambist.prod.example"
	iss = "https://kubernetes.default.svc"
)

var (
	now  = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)
	prod = spiffeid.RequireTrustDomainFromString("prod.example")
	test = spiffeid.RequireTrustDomainFromString("test.example")
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
	payload, raw := claims.([]byte)
	if !raw {
		payload, err = json.Marshal(claims)
		must(t, err)
	}
	signed, err := signer.Sign(payload)
	must(t, err)
	token, err := signed.CompactSerialize()
	must(t, err)
	return token
}

// keys are those of the clusters, by where the settings say that they are.
type keys map[string]*ecdsa.PrivateKey

func (k keys) Find(_ context.Context, i *broker.Issuer, h jws.Header, _ time.Time) (jws.Key, error) {
	if h.KeyID == "x" {
		return jws.Key{}, subject.Refuse(broker.ReasonTokenKeyUnknown, "the key of the token is not one of its issuer", nil)
	}
	return jws.NewKey("k", jws.ES256, k[i.JWKSURI].Public())
}

// room trusts two clusters that were installed alike: one iss, and keys that even
// have the same kid.
type room struct {
	keys keys
	*kubernetes.Assertion
}

func newRoom(t testing.TB) *room {
	t.Helper()
	r := &room{keys: keys{"a": newKey(t), "b": newKey(t)}}
	var err error
	r.Assertion, err = kubernetes.New(r.keys,
		kubernetes.Cluster{Domain: prod, Audience: us, Issuer: &broker.Issuer{URL: iss, JWKSURI: "a"}},
		kubernetes.Cluster{Domain: test, Audience: us + "/test", Issuer: &broker.Issuer{URL: iss, JWKSURI: "b"}})
	must(t, err)
	return r
}

func (r *room) verify(at time.Time, token string) (broker.Workload, error) {
	return r.VerifyAssertion(context.Background(), at, oauth.NewSecret(token))
}

var kid = map[jose.HeaderKey]any{"kid": "k"}

// bound is what a projected token of a pod belongs to.
func bound() object {
	return object{
		"namespace": "shop", "serviceaccount": object{"name": "web", "uid": "5b3"}, "pod": object{"name": "web-7f", "uid": "9c1"}, "node": object{"name": "n1", "uid": "7aa"},
	}
}

func projected() object {
	return object{
		"iss": iss, "sub": "system:serviceaccount:shop:web", "aud": []string{us}, "exp": now.Unix() + 600, "iat": now.Unix(), "nbf": now.Unix(), "jti": "j", "kubernetes.io": bound(),
	}
}

// The checks of K8-*; each is the only one that fails.
func TestServiceAccountToken(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	good := projected()
	of := func(changes object) object { return good.with(object{"kubernetes.io": bound().with(changes)}) }
	named := func(namespace, name string) object {
		return good.with(object{
			"sub":           "system:serviceaccount:" + namespace + ":" + name,
			"kubernetes.io": bound().with(object{"namespace": namespace, "serviceaccount": object{"name": name, "uid": "u"}}),
		})
	}
	hour := object{"iat": now.Unix() - 1, "exp": now.Unix() + 3599}
	tests := map[string]struct {
		headers map[jose.HeaderKey]any
		claims  object
		key     string
		want    broker.Reason
		id      string // prod.example/ns/shop/sa/web if empty
	}{
		"good":                       {},
		"typ JWT":                    {headers: map[jose.HeaderKey]any{"kid": "k", "typ": "JWT"}},
		"an hour":                    {claims: good.with(hour)},
		"nine minutes old":           {claims: good.with(object{"iat": now.Unix() - 540, "exp": now.Unix() + 60})},
		"no node":                    {claims: of(object{"node": nil})},
		"name with dots":             {claims: named("shop", "web.v2-x.0"), id: "prod.example/ns/shop/sa/web.v2-x.0"},
		"longest names":              {claims: named(strings.Repeat("n", 63), strings.Repeat("s", 253)), id: "prod.example/ns/" + strings.Repeat("n", 63) + "/sa/" + strings.Repeat("s", 253)},
		"the other cluster":          {claims: good.with(object{"aud": us + "/test"}), key: "b", id: "test.example/ns/shop/sa/web"},
		"typ":                        {headers: map[jose.HeaderKey]any{"kid": "k", "typ": "at+jwt"}, want: broker.ReasonTokenType},
		"typ in lower case":          {headers: map[jose.HeaderKey]any{"kid": "k", "typ": "jwt"}, want: broker.ReasonTokenType},
		"another header":             {headers: map[jose.HeaderKey]any{"kid": "k", "x": "y"}, want: broker.ReasonTokenMalformed},
		"no kid":                     {headers: map[jose.HeaderKey]any{}, want: broker.ReasonTokenKeyUnknown},
		"unknown kid":                {headers: map[jose.HeaderKey]any{"kid": "x"}, want: broker.ReasonTokenKeyUnknown},
		"unknown iss":                {claims: good.with(object{"iss": "https://oidc.eks.example/id/1"}), want: broker.ReasonTokenIssuer},
		"iss with a slash":           {claims: good.with(object{"iss": iss + "/"}), want: broker.ReasonTokenIssuer},
		"legacy iss":                 {claims: good.with(object{"iss": "kubernetes/serviceaccount"}), want: broker.ReasonTokenIssuer},
		"no iss":                     {claims: good.with(object{"iss": nil}), want: broker.ReasonTokenIssuer},
		"cluster b for a":            {key: "b", want: broker.ReasonTokenSignature},
		"cluster a for b":            {claims: good.with(object{"aud": us + "/test"}), want: broker.ReasonTokenSignature},
		"audience of the API server": {claims: good.with(object{"aud": iss}), want: broker.ReasonTokenAudience},
		"and of the API server":      {claims: good.with(object{"aud": []string{us, iss}}), want: broker.ReasonTokenAudience},
		"both of ours":               {claims: good.with(object{"aud": []string{us, us + "/test"}}), want: broker.ReasonTokenAudience},
		"twice ours":                 {claims: good.with(object{"aud": []string{us, us}}), want: broker.ReasonTokenAudience},
		"of a mesh":                  {claims: good.with(object{"aud": "identity.l5d.io"}), want: broker.ReasonTokenAudience},
		"no aud":                     {claims: good.with(object{"aud": nil}), want: broker.ReasonTokenAudience},
		"legacy, of a Secret":        {claims: of(object{"secret": object{"name": "web-token-1", "uid": "u"}}), want: broker.ReasonTokenClaims},
		"secret null":                {claims: of(object{"secret": json.RawMessage("null")}), want: broker.ReasonTokenClaims},
		"extended":                   {claims: of(object{"warnafter": now.Unix() + 3607}), want: broker.ReasonTokenClaims},
		"no pod":                     {claims: of(object{"pod": nil}), want: broker.ReasonTokenClaims},
		"pod without uid":            {claims: of(object{"pod": object{"name": "x"}}), want: broker.ReasonTokenClaims},
		"pod without name":           {claims: of(object{"pod": object{"uid": "x"}}), want: broker.ReasonTokenClaims},
		"account without uid":        {claims: of(object{"serviceaccount": object{"name": "web"}}), want: broker.ReasonTokenClaims},
		"another account":            {claims: of(object{"serviceaccount": object{"name": "db", "uid": "u"}}), want: broker.ReasonTokenClaims},
		"another namespace":          {claims: of(object{"namespace": "bank"}), want: broker.ReasonTokenClaims},
		"nothing of Kubernetes":      {claims: good.with(object{"kubernetes.io": nil}), want: broker.ReasonTokenClaims},
		"Kubernetes a string":        {claims: good.with(object{"kubernetes.io": "shop"}), want: broker.ReasonTokenClaims},
		"no sub":                     {claims: good.with(object{"sub": nil}), want: broker.ReasonTokenClaims},
		"a SPIFFE ID":                {claims: good.with(object{"sub": "spiffe://prod.example/ns/shop/sa/web"}), want: broker.ReasonTokenClaims},
		"one part more":              {claims: good.with(object{"sub": "system:serviceaccount:shop:web:x"}), want: broker.ReasonTokenClaims},
		"one part less":              {claims: good.with(object{"sub": "system:serviceaccount:shop"}), want: broker.ReasonTokenClaims},
		"a node":                     {claims: good.with(object{"sub": "system:node:shop:web"}), want: broker.ReasonTokenClaims},
		"no exp":                     {claims: good.with(object{"exp": nil}), want: broker.ReasonTokenClaims},
		"no iat":                     {claims: good.with(object{"iat": nil}), want: broker.ReasonTokenClaims},
		"a year":                     {claims: good.with(object{"exp": now.Unix() + 31536000}), want: broker.ReasonTokenClaims},
		"more than an hour":          {claims: good.with(object{"exp": now.Unix() + 3601}), want: broker.ReasonTokenClaims},
		"too old":                    {claims: good.with(object{"iat": now.Unix() - 600, "exp": now.Unix() + 3000}), want: broker.ReasonTokenExpired},
		"expired":                    {claims: good.with(object{"iat": now.Unix() - 540, "exp": now.Unix() - 30}), want: broker.ReasonTokenExpired},
		"from the future":            {claims: good.with(object{"iat": now.Unix() + 60}), want: broker.ReasonTokenNotYetValid},
		"not yet":                    {claims: good.with(object{"nbf": now.Unix() + 60}), want: broker.ReasonTokenNotYetValid},
		"dots for a namespace":       {claims: named("..", "web"), want: broker.ReasonTokenClaims},
		"a dot in the namespace":     {claims: named("a.b", "web"), want: broker.ReasonTokenClaims},
		"a slash":                    {claims: named("shop", "web/sa/root"), want: broker.ReasonTokenClaims},
		"dots for a name":            {claims: named("shop", ".."), want: broker.ReasonTokenClaims},
		"a percent":                  {claims: named("shop", "w%65b"), want: broker.ReasonTokenClaims},
		"capitals":                   {claims: named("shop", "Web"), want: broker.ReasonTokenClaims},
		"no name":                    {claims: named("shop", ""), want: broker.ReasonTokenClaims},
		"no namespace":               {claims: named("", "web"), want: broker.ReasonTokenClaims},
		"begins with a dash":         {claims: named("-shop", "web"), want: broker.ReasonTokenClaims},
		"ends with a dash":           {claims: named("shop", "web-"), want: broker.ReasonTokenClaims},
		"namespace too long":         {claims: named(strings.Repeat("n", 64), "web"), want: broker.ReasonTokenClaims},
		"name too long":              {claims: named("shop", strings.Repeat("s", 254)), want: broker.ReasonTokenClaims},
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
			if key == "" {
				key = "a"
			}
			w, err := r.verify(now, sign(t, r.keys[key], headers, claims))
			if test.want == "" {
				if test.id == "" {
					test.id = "prod.example/ns/shop/sa/web"
				}
				exp, _ := claims["exp"].(int64)
				want := broker.Workload{ID: spiffeid.RequireFromString("spiffe://" + test.id), Proof: broker.ProofKubernetes, NotAfter: time.Unix(exp, 0).UTC()}
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
				t.Errorf("a refused token proves %+v", w)
			}
		})
	}
}

// An algorithm that no API server uses is refused before any key is asked for.
func TestAlgorithm(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	for _, alg := range []string{"PS256", "EdDSA", "RS512"} {
		head, err := json.Marshal(object{"alg": alg, "kid": "k"})
		must(t, err)
		payload, err := json.Marshal(projected())
		must(t, err)
		encode := base64.RawURLEncoding.EncodeToString
		token := encode(head) + "." + encode(payload) + "." + encode([]byte("signature"))
		w, err := r.verify(now, token)
		if e := broker.AsError(err); e.Reason != broker.ReasonTokenAlgorithm || !strings.Contains(e.Public, "ServiceAccount") || w != (broker.Workload{}) {
			t.Errorf("%s: %+v, %v", alg, w, err)
		}
	}
}

// Within ten minutes a token may be shown again; kubelet renews one that lives for
// ten minutes after eight.
func TestReuse(t *testing.T) {
	t.Parallel()
	r := newRoom(t)
	token := sign(t, r.keys["a"], kid, projected().with(object{"exp": now.Unix() + 3600}))
	for _, after := range []time.Duration{0, time.Second, 8 * time.Minute, 9*time.Minute + 59*time.Second} {
		if _, err := r.verify(now.Add(after), token); err != nil {
			t.Errorf("after %s: %v", after, err)
		}
	}
	_, err := r.verify(now.Add(10*time.Minute), token)
	if e := broker.AsError(err); e.Reason != broker.ReasonTokenExpired || !strings.Contains(e.Public, "expirationSeconds: 600") {
		t.Errorf("after its time: %v", err)
	}
}

var accountID = regexp.MustCompile(`^spiffe://prod\.example/ns/([a-z0-9]([a-z0-9-]*[a-z0-9])?)/sa/([a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*)$`)

// FuzzClaims: whatever an API server might sign, who is proven is the ServiceAccount
// in its sub, in the one form.
func FuzzClaims(f *testing.F) {
	r := newRoom(f)
	for _, seed := range []object{
		projected(), projected().with(object{"sub": "system:serviceaccount:a:b:c"}), projected().with(object{"kubernetes.io": bound().with(object{"warnafter": 1})}),
		projected().with(object{"kubernetes.io": nil}), projected().with(object{"aud": []string{us, iss}}),
	} {
		text, err := json.Marshal(seed)
		must(f, err)
		f.Add(text)
	}
	f.Add([]byte(strings.Repeat(`{"kubernetes.io":`, 1000) + strings.Repeat("}", 1000)))
	f.Add([]byte(`{"aud":"x","aud":"y"}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		w, err := r.verify(now, sign(t, r.keys["a"], kid, payload))
		if err != nil {
			if w != (broker.Workload{}) || broker.AsError(err).Code == broker.CodeInternal {
				t.Fatalf("%q: %+v, %v", payload, w, err)
			}
			return
		}
		var claims struct {
			Sub string `json:"sub"`
		}
		must(t, json.Unmarshal(payload, &claims))
		m := accountID.FindStringSubmatch(w.ID.String())
		if m == nil || claims.Sub != "system:serviceaccount:"+m[1]+":"+m[3] || w.Proof != broker.ProofKubernetes {
			t.Fatalf("%q proves %+v", payload, w)
		}
	})
}
