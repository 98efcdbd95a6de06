// Package dpoptest makes DPoP proofs as a client does, good ones and others.
package dpoptest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/jws"
)

// Key is the key of a client.
type Key struct {
	Thumbprint string // RFC 7638
	JWK        string // its public JWK
	signer     *jws.Signer
}

// New returns a new key for ES256.
func New(t testing.TB) *Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return NewKey(t, jws.ES256, private)
}

// NewKey returns the key of a client that has that private key.
func NewKey(t testing.TB, a jws.Algorithm, private crypto.Signer) *Key {
	t.Helper()
	signer, err := jws.NewSigner("", a, private)
	if err != nil {
		t.Fatal(err)
	}
	thumbprint, err := jws.Thumbprint(private.Public())
	if err != nil {
		t.Fatal(err)
	}
	set, err := jws.MarshalKeySet([]jws.Key{signer.Key()})
	if err != nil {
		t.Fatal(err)
	}
	jwk := strings.TrimSuffix(strings.TrimPrefix(string(set), `{"keys":[`), `]}`)
	return &Key{Thumbprint: thumbprint, JWK: jwk, signer: signer}
}

// Claims are those of a proof; a test changes what it likes.
type Claims map[string]any

// For returns the claims of a new proof for a request.
func For(method, url string, at time.Time) Claims {
	return Claims{"jti": rand.Text(), "htm": method, "htu": url, "iat": at.Unix()}
}

// With returns the claims with one more, or another. A nil value takes it away.
func (c Claims) With(name string, value any) Claims {
	changed := Claims{name: value}
	for k, v := range c {
		if k != name {
			changed[k] = v
		}
	}
	if value == nil {
		delete(changed, name)
	}
	return changed
}

// Token returns the claims for a request with that access token.
func (c Claims) Token(token string) Claims { return c.With("ath", dpop.TokenHash(token)) }

// Proof signs the claims.
func (k *Key) Proof(t testing.TB, c Claims) string {
	t.Helper()
	payload, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return k.Sign(t, k.Header(), string(payload))
}

// Header returns the header of a good proof.
func (k *Key) Header() string {
	return `{"typ":"dpop+jwt","alg":"` + string(k.signer.Key().Algorithm()) + `","jwk":` + k.JWK + `}`
}

// Sign signs any header and payload, as a client that is not strict would.
func (k *Key) Sign(t testing.TB, header, payload string) string {
	t.Helper()
	encode := base64.RawURLEncoding.EncodeToString
	input := []byte(encode([]byte(header)) + "." + encode([]byte(payload)))
	signature, err := k.signer.Sign(input)
	if err != nil {
		t.Fatal(err)
	}
	return string(jws.AppendToken(nil, input, signature))
}
