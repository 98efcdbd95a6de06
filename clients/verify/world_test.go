package verify_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/clients/verify"
)

const (
	issuer = "https://sts.example"
	orders = "https://orders.prod.example"
	// thumb is the vector GV-1: x5t#S256 of a certificate whose SHA-256 begins
	// with 468ed33b and ends with e688.
	thumb = "Ro7TO-dO7mVW2QwBScEwnpumHWQlMDRDwHSKAt2N5og"
)

var (
	web     = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/web")
	gateway = spiffeid.RequireFromString("spiffe://prod.example/ns/edge/sa/gateway")
	other   = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/other")
	start   = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
)

func fixed() time.Time { return start }

// object is the claims of a token, or a part of them.
type object map[string]any

// workloadClaims are those of a workload that acts for itself.
func workloadClaims() object {
	return object{
		"iss": issuer, "sub": web.String(), "aud": orders, "exp": start.Add(5 * time.Minute).Unix(), "iat": start.Unix(),
		"jti": "01JCAMBIST0000000000000001", "client_id": web.String(), "scope": "orders.read orders.write", "txn": "01JCAMBIST0000000000000000", "rev": 7,
	}
}

// userClaims are those of a workload that acts for a user.
func userClaims() object {
	return workloadClaims().with("sub", "corp:00u1").with("sub_id", object{"format": "iss_sub", "iss": "https://acme.okta.com", "sub": "00u1"}).
		with("act", object{"sub": web.String()}).with("groups", []string{"customer", "finance"})
}

func (o object) with(name string, value any) object {
	o = maps.Clone(o)
	o[name] = value
	return o
}

func (o object) without(name string) object {
	o = maps.Clone(o)
	delete(o, name)
	return o
}

func (o object) json(t testing.TB) string {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func newPrivate(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return private
}

func newSigner(t testing.TB, kid string) *jws.Signer {
	t.Helper()
	s, err := jws.NewSigner(kid, jws.ES256, newPrivate(t))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *jws.Signer, typ, payload string) string {
	t.Helper()
	return signInput(t, s, s.AppendInput(nil, typ, []byte(payload)))
}

// signHeader signs with any header, as an issuer that is not strict would.
func signHeader(t testing.TB, s *jws.Signer, header, payload string) string {
	t.Helper()
	return signInput(t, s, []byte(b64(header)+"."+b64(payload)))
}

func signInput(t testing.TB, s *jws.Signer, input []byte) string {
	t.Helper()
	signature, err := s.Sign(input)
	if err != nil {
		t.Fatal(err)
	}
	return string(jws.AppendToken(nil, input, signature))
}

func b64(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// newVerifier returns one that has the keys of the signers already.
func newVerifier(t testing.TB, change func(*verify.Config), signers ...*jws.Signer) *verify.Verifier {
	t.Helper()
	c := verify.Config{Issuer: issuer, Audiences: []string{orders}, Now: fixed}
	if change != nil {
		change(&c)
	}
	v, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	v.Install(keySet(signers...))
	return v
}

func keySet(signers ...*jws.Signer) jws.KeySet {
	keys := make([]jws.Key, len(signers))
	for i, s := range signers {
		keys[i] = s.Key()
	}
	return jws.NewKeySet(keys...)
}

func peer(t testing.TB, id spiffeid.ID, x5t string) verify.Peer {
	t.Helper()
	p, err := verify.NewPeer(id, x5t)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// reason returns why something was refused, "" if it was not. Whatever is not an
// *verify.Error is reported as what it is.
func reason(err error) verify.Reason {
	if e := (*verify.Error)(nil); errors.As(err, &e) {
		return e.Reason
	} else if err != nil {
		return verify.Reason("not an Error: " + err.Error())
	}
	return ""
}

// asWeb verifies a token that its own workload shows.
func asWeb(t testing.TB, v *verify.Verifier, token string) (*verify.Token, error) {
	t.Helper()
	return v.Verify(context.Background(), token, peer(t, web, ""))
}
