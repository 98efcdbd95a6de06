package jwtsvid_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

const (
	us      = "https://cambist.prod.example"
	corpURL = "https://acme.okta.example/oauth2/aus1"
	web     = "spiffe://prod.example/ns/shop/sa/web"
)

var (
	now     = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)
	prod    = spiffeid.RequireTrustDomainFromString("prod.example")
	partner = spiffeid.RequireTrustDomainFromString("partner.example")
)

// view is the policy of these tests: issuers by URL.
type view struct {
	broker.View
	issuers map[string]*broker.Issuer
}

func (v view) Issuer(url string) (*broker.Issuer, bool) { i, ok := v.issuers[url]; return i, ok }

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

func public(t testing.TB, kid string, a jws.Algorithm, k crypto.Signer) jws.Key {
	t.Helper()
	key, err := jws.NewKey(kid, a, k.Public())
	must(t, err)
	return key
}

// world is a broker that trusts two trust domains, whose keys go-jose uses: what our
// verifier accepts was made by somebody else's signer.
type world struct {
	prod, partner *ecdsa.PrivateKey // both with the kid k1
	trust         *jwtsvid.Trust
	view          view
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{prod: newKey(t), partner: newKey(t), trust: &jwtsvid.Trust{}}
	w.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: {public(t, "k1", jws.ES256, w.prod)}, partner: {public(t, "k1", jws.ES256, w.partner)}})
	w.view = view{issuers: map[string]*broker.Issuer{corpURL: {Name: "corp", URL: corpURL}}}
	return w
}

func (w *world) source(t testing.TB) *jwtsvid.Source {
	t.Helper()
	s, err := jwtsvid.New(us, w.trust)
	must(t, err)
	return s
}

func (w *world) verifyAt(t testing.TB, at time.Time, token string, as oauth.TokenType) (broker.Subject, error) {
	t.Helper()
	return subject.NewRoute(w.source(t)).Verify(context.Background(), w.view, at, broker.SubjectToken{Raw: oauth.NewSecret(token), Type: as})
}

func (w *world) verify(t testing.TB, token string) (broker.Subject, error) {
	t.Helper()
	return w.verifyAt(t, now, token, oauth.TokenTypeJWTSVID)
}

// header is what a token says of itself before its claims.
type header map[jose.HeaderKey]any

func sign(t testing.TB, a jose.SignatureAlgorithm, key any, h header, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: a, Key: key}, &jose.SignerOptions{ExtraHeaders: h})
	must(t, err)
	payload, isRaw := claims.([]byte)
	if !isRaw {
		payload, err = json.Marshal(claims)
		must(t, err)
	}
	signed, err := signer.Sign(payload)
	must(t, err)
	token, err := signed.CompactSerialize()
	must(t, err)
	return token
}

// token signs claims as prod.example does.
func (w *world) token(t testing.TB, claims any) string {
	t.Helper()
	return sign(t, jose.ES256, w.prod, header{"kid": "k1", "typ": "JWT"}, claims)
}

// raw joins a header and claims to a token with a signature that is none.
func raw(t testing.TB, head string, claims any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	must(t, err)
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(head)) + "." + encode(payload) + "." + encode([]byte("signature"))
}

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

// ofWeb are the claims of a JWT-SVID of shop/web for us, as SPIRE makes them.
func ofWeb() object {
	return object{"sub": web, "aud": []string{us}, "exp": now.Unix() + 300, "iat": now.Unix()}
}

// refused fails unless err refuses a token for that reason, and returns the
// refusal.
func refused(t testing.TB, s broker.Subject, err error, reason broker.Reason) *broker.Error {
	t.Helper()
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != broker.CodeInvalidRequest || e.Reason != reason || e.Public == "" {
		t.Fatalf("%v, want %s", err, reason)
	}
	if s.Kind != broker.SubjectNobody || s.Sub != "" {
		t.Fatalf("a refused token names %q", s.Sub)
	}
	return e
}
