package issued_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/keys"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/issued"
)

const (
	us      = "https://cambist.prod.example"
	corpURL = "https://acme.okta.example/oauth2/aus1"
	web     = "spiffe://prod.example/ns/shop/sa/web"
	orders  = "spiffe://prod.example/ns/shop/sa/orders"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)

var _ issued.Keys = (*keys.Ring)(nil)

// view is the policy of these tests: issuers by URL.
type view struct {
	broker.View
	issuers map[string]*broker.Issuer
}

func (v view) Issuer(url string) (*broker.Issuer, bool) { i, ok := v.issuers[url]; return i, ok }

// world is a broker that signs with go-jose: what our verifier accepts was made
// by somebody else's signer.
type world struct {
	private *ecdsa.PrivateKey
	kid     string
	ring    ring
	corp    *broker.Issuer
	view    view
}

// ring holds the keys by ID until a time.
type ring map[string]struct {
	key   jws.Key
	until time.Time
}

func (r ring) Key(id string, now time.Time) (jws.Key, bool) {
	k, ok := r[id]
	return k.key, ok && now.Before(k.until)
}

func newWorld(t testing.TB) *world {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	kid, err := jws.Thumbprint(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	key, err := jws.NewKey(kid, jws.ES256, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	w := &world{private: private, kid: kid, ring: ring{kid: {key, now.Add(time.Hour)}}}
	w.corp = &broker.Issuer{
		Name: "corp", URL: corpURL, Carry: []string{"groups", "tier"},
		Claims: []broker.ClaimRule{
			{Name: "email", Type: broker.ClaimString}, {Name: "tier", Type: broker.ClaimInt},
			{Name: "groups", Type: broker.ClaimEnum, Values: []string{"customer", "finance"}},
		},
	}
	w.view = view{issuers: map[string]*broker.Issuer{corpURL: w.corp}}
	return w
}

func (w *world) route() *subject.Route { return subject.NewRoute(issued.New(us, w.ring)) }

// header is what a token says of itself before its claims.
type header struct{ typ, kid string }

func (w *world) sign(t testing.TB, h header, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if h.typ != "" {
		options = options.WithType(jose.ContentType(h.typ))
	}
	if h.kid != "" {
		options = options.WithHeader("kid", h.kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: w.private}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, raw := claims.([]byte)
	if !raw {
		if payload, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
	}
	object, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := object.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func (w *world) token(t testing.TB, claims any) string {
	t.Helper()
	return w.sign(t, header{"at+jwt", w.kid}, claims)
}

func (w *world) verify(token string, as oauth.TokenType) (broker.Subject, error) {
	return w.route().Verify(context.Background(), w.view, now, broker.SubjectToken{Raw: oauth.NewSecret(token), Type: as})
}

func (w *world) accept(t testing.TB, claims any) broker.Subject {
	t.Helper()
	s, err := w.verify(w.token(t, claims), oauth.TokenTypeAccessToken)
	if err != nil {
		t.Fatal(err)
	}
	return s
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

// ofWorkload are the claims of a token that web got for itself.
func ofWorkload() object {
	return object{
		"iss": us, "sub": web, "aud": "https://orders.prod.example", "exp": now.Unix() + 300, "iat": now.Unix(), "jti": "01J",
		"client_id": web, "scope": "orders.read orders.write", "txn": "01T", "rev": 7,
	}
}

// ofUser are the claims of a token that web got for alice, and orders received.
func ofUser() object {
	return ofWorkload().with(object{
		"sub": "corp:alice", "sub_id": object{"format": "iss_sub", "iss": corpURL, "sub": "alice"},
		"act": object{"sub": web}, "anc": []string{"01A"}, "presenters": []string{orders}, "groups": []string{"customer", "other"}, "tier": 3,
	})
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
