package jwtat_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/mint/jwtat"
	"github.com/cambist/cambist/broker/oauth"
)

// ring is one key that may be taken away.
type ring struct {
	signer *jws.Signer
	public *ecdsa.PublicKey
	gone   bool
	signed int
}

func newRing(t testing.TB) *ring {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jws.NewSigner("kid-1", jws.ES256, private)
	if err != nil {
		t.Fatal(err)
	}
	return &ring{signer: signer, public: &private.PublicKey}
}

var errGone = broker.Unavailable(broker.ReasonSignerUnavailable, time.Second, errors.New("gone"))

func (r *ring) Signer(algorithm string) (*jws.Signer, error) {
	if r.gone || algorithm != "ES256" {
		return nil, errGone
	}
	return r.signer, nil
}

func (r *ring) SignerByID(id string) (*jws.Signer, error) {
	if r.gone || id != "kid-1" {
		return nil, errGone
	}
	r.signed++
	return r.signer, nil
}

// ledger makes every record durable at once: the Exchanger is the only way to a
// receipt, so these tests go through one.
type ledger struct{ claims *broker.Claims }

func (l *ledger) Append(_ context.Context, r *broker.Record) (broker.Position, error) {
	l.claims = r.Claims
	return broker.Position{Replica: "r", Segment: "s", Seq: 1}, nil
}
func (l *ledger) Note(*broker.Record) {}

func scopes(t testing.TB, names ...string) oauth.Scopes {
	t.Helper()
	s, err := oauth.NewScopes(names...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var at = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// full is a set of claims with everything in it.
func full(t testing.TB) *broker.Claims {
	return &broker.Claims{
		Issuer: "https://cambist.example", Subject: "corp:al\"ice\u00e9", SubjectID: broker.SubjectID{Issuer: "https://acme.okta.example", Subject: "al\"ice\u00e9"},
		Audience: "https://ledger.example", ClientID: "spiffe://prod.example/ns/shop/sa/orders", ID: "01J", IssuedAt: at, ExpiresAt: at.Add(5 * time.Minute),
		Scopes: scopes(t, "ledger.write", "ledger.read"),
		Actor: &broker.Actor{Party: broker.Party{Subject: "spiffe://prod.example/ns/shop/sa/orders"},
			Actor: &broker.Actor{Party: broker.Party{Subject: "gate", Issuer: "https://foreign.example"}}},
		Confirmation: broker.Confirmation{CertificateThumbprint: "c", KeyThumbprint: "k"}, Txn: "txn-1", Ancestors: []string{"a-1", "a-2"}, Revision: 42,
		Presenters: []spiffeid.ID{spiffeid.RequireFromString("spiffe://prod.example/ns/edge/sa/gateway")},
		Extra:      []broker.Claim{{Name: "groups", Value: []string{"customer", "x\ny"}}, {Name: "tier", Value: "gold"}, {Name: "n", Value: int64(7)}, {Name: "ok", Value: true}},
	}
}

func payload(t testing.TB, u broker.Unsigned) map[string]any {
	t.Helper()
	token, err := jws.Parse(string(u.Input) + ".AAAA")
	if err != nil {
		t.Fatal(err)
	}
	var claims map[string]any
	if err := json.Unmarshal(token.UnverifiedPayload(), &claims); err != nil {
		t.Fatalf("%v: %s", err, token.UnverifiedPayload())
	}
	return claims
}

func TestEncodeFull(t *testing.T) {
	t.Parallel()
	u, err := jwtat.New(newRing(t)).Encode(full(t), "ES256")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": "https://cambist.example", "sub": "corp:al\"ice\u00e9", "aud": "https://ledger.example", "exp": float64(at.Unix() + 300), "iat": float64(at.Unix()),
		"jti": "01J", "client_id": "spiffe://prod.example/ns/shop/sa/orders", "scope": "ledger.read ledger.write",
		"sub_id": map[string]any{"format": "iss_sub", "iss": "https://acme.okta.example", "sub": "al\"ice\u00e9"},
		"act":    map[string]any{"sub": "spiffe://prod.example/ns/shop/sa/orders", "act": map[string]any{"sub": "gate", "iss": "https://foreign.example"}},
		"cnf":    map[string]any{"x5t#S256": "c", "jkt": "k"}, "txn": "txn-1", "anc": []any{"a-1", "a-2"}, "rev": float64(42),
		"presenters": []any{"spiffe://prod.example/ns/edge/sa/gateway"},
		"groups":     []any{"customer", "x\ny"}, "tier": "gold", "n": float64(7), "ok": true,
	}
	if d := cmp.Diff(want, payload(t, u)); d != "" {
		t.Error(d)
	}
	if u.Hash != sha256.Sum256(u.Input) || u.KeyID != "kid-1" || u.Algorithm != "ES256" {
		t.Errorf("%+v", u)
	}
}

// What is not there has no member: a verifier must not meet an empty cnf or act.
func TestEncodeBare(t *testing.T) {
	t.Parallel()
	c := full(t)
	u, err := jwtat.New(newRing(t)).Encode(&broker.Claims{
		Issuer: c.Issuer, Subject: c.ClientID, Audience: c.Audience, ClientID: c.ClientID, ID: c.ID, IssuedAt: at, ExpiresAt: at.Add(time.Minute), Scopes: c.Scopes, Txn: "t",
	}, "ES256")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"iss": c.Issuer, "sub": c.ClientID, "aud": c.Audience, "exp": float64(at.Unix() + 60), "iat": float64(at.Unix()), "jti": c.ID,
		"client_id": c.ClientID, "scope": "ledger.read ledger.write", "txn": "t", "rev": float64(0),
	}
	if d := cmp.Diff(want, payload(t, u)); d != "" {
		t.Error(d)
	}
}

// Any text comes back from a strict decoder as it went in, or nothing is
// encoded at all.
func TestEncodeProperty(t *testing.T) {
	t.Parallel()
	m := jwtat.New(newRing(t))
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.String()
		c := broker.Claims{
			Issuer: text.Draw(t, "iss"), Subject: text.Draw(t, "sub"), Txn: text.Draw(t, "txn"), IssuedAt: at, ExpiresAt: at,
			Extra: []broker.Claim{{Name: "x" + text.Draw(t, "name"), Value: text.Draw(t, "value")}, {Name: "list", Value: rapid.SliceOfN(text, 1, 3).Draw(t, "list")}},
		}
		if rapid.Bool().Draw(t, "broken") {
			c.Subject += "\xff"
		}
		u, err := m.Encode(&c, "ES256")
		if strings.HasSuffix(c.Subject, "\xff") {
			if broker.AsError(err).Reason != broker.ReasonTokenClaims {
				t.Fatalf("invalid UTF-8: %v", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.Parse(string(u.Input) + ".AAAA")
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Issuer  string   `json:"iss"`
			Subject string   `json:"sub"`
			Txn     string   `json:"txn"`
			List    []string `json:"list"`
		}
		if err := jws.DecodeClaims(token.UnverifiedPayload(), &got, 8); err != nil {
			t.Fatal(err)
		}
		if got.Issuer != c.Issuer || got.Subject != c.Subject || got.Txn != c.Txn || fmt.Sprint(got.List) != fmt.Sprint(c.Extra[1].Value) {
			t.Fatalf("%+v is not %+v", got, c)
		}
	})
}

func TestEncodeRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil  func(*ring, *broker.Claims)
		reason broker.Reason
	}{
		"too large":     {func(_ *ring, c *broker.Claims) { c.Txn = strings.Repeat("x", 8<<10) }, broker.ReasonTokenTooLarge},
		"reserved name": {func(_ *ring, c *broker.Claims) { c.Extra = []broker.Claim{{Name: "cnf", Value: "x"}} }, broker.ReasonTokenClaims},
		"unknown type":  {func(_ *ring, c *broker.Claims) { c.Extra = []broker.Claim{{Name: "x", Value: 1.5}} }, broker.ReasonTokenClaims},
		"no key":        {func(r *ring, _ *broker.Claims) { r.gone = true }, broker.ReasonSignerUnavailable},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, c := newRing(t), full(t)
			tt.spoil(r, c)
			if u, err := jwtat.New(r).Encode(c, "ES256"); broker.AsError(err).Reason != tt.reason || u.Input != nil {
				t.Errorf("%v, %v", u, err)
			}
		})
	}
}

// mint takes claims down the whole line: encode, record, sign.
func mint(t testing.TB, r *ring, between func()) (oauth.Secret, *broker.Claims, error) {
	t.Helper()
	l := &ledger{}
	id := spiffeid.RequireFromString("spiffe://prod.example/ns/bi/sa/reports")
	resource := &broker.Resource{
		Name: "ledger", URI: "https://ledger.example", Scopes: scopes(t, "ledger.read"), DefaultScopes: scopes(t, "ledger.read"), Binding: broker.BindingIdentity,
		Proofs: broker.NewProofs(broker.ProofMTLS), TTL: time.Minute, Freshness: time.Minute, Algorithm: "ES256",
	}
	e := &broker.Exchanger{
		Issuer: "https://cambist.example", Limits: broker.DefaultLimits(), Policy: policy{resource, scopes(t, "ledger.read")}, Ledger: ledgerThen{l, between},
		Minter: jwtat.New(r), Now: func() time.Time { return at }, NewID: broker.NewID,
	}
	token, err := e.Exchange(t.Context(), broker.Workload{ID: id, Proof: broker.ProofMTLS, NotAfter: at.Add(time.Hour)},
		broker.ExchangeRequest{Grant: oauth.GrantClientCredentials, Audience: resource.URI})
	return token.Token, l.claims, err
}

type ledgerThen struct {
	*ledger
	between func()
}

func (l ledgerThen) Append(ctx context.Context, r *broker.Record) (broker.Position, error) {
	at, err := l.ledger.Append(ctx, r)
	l.between()
	return at, err
}

type policy struct {
	resource *broker.Resource
	granted  oauth.Scopes
}

func (p policy) Current() (broker.View, broker.Lease) {
	return p, broker.NewLease(0, func() time.Duration { return 0 })
}
func (p policy) Revision() broker.Revision                                              { return 7 }
func (p policy) Resource(string) (*broker.Resource, bool)                               { return p.resource, true }
func (p policy) Issuer(string) (*broker.Issuer, bool)                                   { return nil, false }
func (p policy) Blocked(time.Time, broker.BlockTarget, string, time.Time) *broker.Block { return nil }
func (p policy) Find(dst []broker.Candidate, _ spiffeid.ID, _ *broker.Resource) []broker.Candidate {
	return append(dst, broker.Candidate{Mapping: &broker.Mapping{ID: "s/m", Scopes: p.granted}})
}

// A verifier that is not ours accepts the token: header, key and signature.
func TestMintVerifiesElsewhere(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	secret, claims, err := mint(t, r, func() {})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jose.ParseSigned(secret.Reveal(), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	body, err := parsed.Verify(r.public)
	if err != nil {
		t.Fatal(err)
	}
	if h := parsed.Signatures[0].Protected; h.KeyID != "kid-1" || h.ExtraHeaders["typ"] != "at+jwt" || h.Algorithm != "ES256" {
		t.Errorf("header %+v", h)
	}
	if !strings.Contains(string(body), `"jti":"`+claims.ID+`"`) {
		t.Errorf("payload %s", body)
	}
}

// A key that stops between record and signature signs nothing, and neither does
// a receipt that proves nothing.
func TestMintRefuses(t *testing.T) {
	t.Parallel()
	r := newRing(t)
	if secret, _, err := mint(t, r, func() { r.gone = true }); broker.AsError(err).Reason != broker.ReasonSignerUnavailable || !secret.IsZero() {
		t.Errorf("%v", err)
	}
	r.gone = false
	if secret, err := jwtat.New(r).Mint(t.Context(), broker.Receipt{}); err == nil || !secret.IsZero() || r.signed != 0 {
		t.Errorf("the zero receipt: %v", err)
	}
}

func BenchmarkEncodeAndMint(b *testing.B) {
	r := newRing(b)
	c := full(b)
	m := jwtat.New(r)
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := m.Encode(c, "ES256"); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("sign", func(b *testing.B) {
		b.ReportAllocs()
		input := make([]byte, 900)
		for b.Loop() {
			if _, err := r.signer.Sign(input); err != nil {
				b.Fatal(err)
			}
		}
	})
}
