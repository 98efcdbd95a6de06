package authn_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn"
	"github.com/cambist/cambist/broker/authn/jwtassertion"
	"github.com/cambist/cambist/broker/authn/kubernetes"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

const (
	us      = "https://cambist.prod.example"
	cluster = "https://kubernetes.default.svc"
	web     = "spiffe://prod.example/ns/shop/sa/web"

	typeSPIFFE = string(oauth.AssertionJWTSPIFFE)
	typeBearer = string(oauth.AssertionJWTBearer)
)

var (
	now  = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)
	prod = spiffeid.RequireTrustDomainFromString("prod.example")
)

// object is a JSON object that a test changes.
type object map[string]any

// with returns the object with changes; a nil value takes a member away.
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

func public(t testing.TB, k *ecdsa.PrivateKey) jws.Key {
	t.Helper()
	key, err := jws.NewKey("k", jws.ES256, k.Public())
	must(t, err)
	return key
}

// sign signs with go-jose.
func sign(t testing.TB, k *ecdsa.PrivateKey, typ string, claims any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithHeader("kid", "k")
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, options)
	must(t, err)
	payload, err := json.Marshal(claims)
	must(t, err)
	signed, err := signer.Sign(payload)
	must(t, err)
	token, err := signed.CompactSerialize()
	must(t, err)
	return token
}

// keys are those of one cluster.
type keys struct{ key jws.Key }

func (k keys) Find(_ context.Context, i *broker.Issuer, h jws.Header, _ time.Time) (jws.Key, error) {
	switch {
	case i.JWKSURI == "away":
		return jws.Key{}, broker.Unavailable(broker.ReasonIssuerUnavailable, time.Second, errors.New("away"))
	case h.KeyID != "k":
		return jws.Key{}, subject.Refuse(broker.ReasonTokenKeyUnknown, "unknown", nil)
	}
	return k.key, nil
}

// world is a listener that takes both kinds of assertion, and who signs them.
type world struct {
	domain, account *ecdsa.PrivateKey
	trust           *jwtsvid.Trust
	svids           *jwtsvid.Source
	issuer          *broker.Issuer
	listener        *authn.Assertions
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{domain: newKey(t), account: newKey(t), trust: &jwtsvid.Trust{}, issuer: &broker.Issuer{URL: cluster}}
	w.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: {public(t, w.domain)}})
	var err error
	w.svids, err = jwtsvid.New(us, w.trust)
	must(t, err)
	spiffe, err := jwtassertion.New(w.svids)
	must(t, err)
	accounts, err := kubernetes.New(keys{public(t, w.account)}, kubernetes.Cluster{Domain: prod, Audience: us, Issuer: w.issuer})
	must(t, err)
	w.listener, err = authn.NewAssertions(func() time.Time { return now }, map[oauth.AssertionType]authn.Assertion{
		oauth.AssertionJWTSPIFFE: spiffe, oauth.AssertionJWTBearer: accounts,
	})
	must(t, err)
	return w
}

// authenticate sends a form to an authenticator.
func authenticate(t testing.TB, a authn.Authenticator, values url.Values, headers ...string) (broker.Workload, error) {
	t.Helper()
	form, err := oauth.ParseForm([]byte(values.Encode()))
	must(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, us+"/oauth2/token", nil)
	must(t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return a.Authenticate(r, form)
}

// show sends one assertion.
func (w *world) show(t testing.TB, kind, token string) (broker.Workload, error) {
	t.Helper()
	return authenticate(t, w.listener, url.Values{"client_assertion_type": {kind}, "client_assertion": {token}})
}

func ofWeb() object {
	return object{"sub": web, "aud": []string{us}, "exp": now.Unix() + 300, "iat": now.Unix()}
}

func ofAccount() object {
	return object{
		"iss": cluster, "sub": "system:serviceaccount:shop:web", "aud": []string{us}, "exp": now.Unix() + 600, "iat": now.Unix(), "nbf": now.Unix(), "jti": "j",
		"kubernetes.io": object{
			"namespace": "shop", "serviceaccount": object{"name": "web", "uid": "u1"}, "pod": object{"name": "web-1", "uid": "u2"}, "node": object{"name": "n", "uid": "u3"},
		},
	}
}

// refused fails unless nobody was proven, for that reason.
func refused(t testing.TB, w broker.Workload, err error, code broker.Code, reason broker.Reason) {
	t.Helper()
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != code || e.Reason != reason || e.Public == "" {
		t.Errorf("%v, want %s (%s)", err, code, reason)
	}
	if w != (broker.Workload{}) {
		t.Errorf("a refused assertion proves %+v", w)
	}
}
