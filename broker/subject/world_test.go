package subject_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

var now = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)

type object map[string]any

// view is the policy of these tests: issuers by URL.
type view struct {
	broker.View
	issuers map[string]*broker.Issuer
}

func (v view) Issuer(url string) (*broker.Issuer, bool) { i, ok := v.issuers[url]; return i, ok }

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign signs with go-jose.
func sign(t testing.TB, k *ecdsa.PrivateKey, typ, kid string, claims any) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithHeader("kid", kid)
	if typ != "" {
		options = options.WithType(jose.ContentType(typ))
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: k}, options)
	if err != nil {
		t.Fatal(err)
	}
	payload, raw := claims.([]byte)
	if !raw {
		if payload, err = json.Marshal(claims); err != nil {
			t.Fatal(err)
		}
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func publicKey(t testing.TB, k *ecdsa.PrivateKey, kid string) jws.Key {
	t.Helper()
	key, err := jws.NewKey(kid, jws.ES256, k.Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func shown(token string, as oauth.TokenType) broker.SubjectToken {
	return broker.SubjectToken{Raw: oauth.NewSecret(token), Type: as}
}

// refused fails unless err refuses a token for that reason, and returns the
// refusal.
func refused(t testing.TB, err error, reason broker.Reason) *broker.Error {
	t.Helper()
	var e *broker.Error
	if !errors.As(err, &e) || e.Code != broker.CodeInvalidRequest || e.Reason != reason || e.Public == "" {
		t.Fatalf("%v, want %s", err, reason)
	}
	return e
}
