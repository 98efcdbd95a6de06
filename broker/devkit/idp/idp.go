// Package idp is an OpenID Connect issuer for development and for tests: it has
// two users, alice and bob, publishes its keys, and makes ID and access tokens
// for whoever holds it. There is no login: whoever can ask it for a token of
// alice gets one, so it must never be an issuer that anything real trusts.
package idp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/cambist/cambist/broker/jws"
)

// User is somebody who can log in.
type User struct {
	Name   string // the sub of the user's tokens
	Email  string
	Groups []string
}

// Users returns the users that every issuer has.
func Users() []User {
	return []User{
		{Name: "alice", Email: "alice@dev.cambist.invalid", Groups: []string{"customer", "finance"}},
		{Name: "bob", Email: "bob@dev.cambist.invalid", Groups: []string{"customer"}},
	}
}

// Issuer issues tokens under one URL.
type Issuer struct {
	url string
	now func() time.Time

	mu      sync.Mutex    // guards signers
	signers []*jws.Signer // the last one signs, all are published
}

// New returns an issuer whose tokens say that they are of url.
func New(url string, now func() time.Time) (*Issuer, error) {
	i := &Issuer{url: url, now: now}
	return i, i.Rotate()
}

// Open returns an issuer whose first key is kept in a file, which is made the
// first time: several programs that open it make tokens that all of them verify.
func Open(path, url string, now func() time.Time) (*Issuer, error) {
	i := &Issuer{url: url, now: now}
	private, err := readKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		if private, err = makeKey(path); errors.Is(err, fs.ErrExist) {
			private, err = readKey(path) // another program was faster
		}
	}
	if err != nil {
		return nil, fmt.Errorf("issuer key: %w", err)
	}
	return i, i.add(private)
}

func readKey(path string) (crypto.Signer, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // the developer names the path
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s is not PEM", path)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	private, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("%s is not an EC key", path)
	}
	return private, nil
}

// makeKey writes a new key under a name of its own first, so that no reader
// meets half of it.
func makeKey(path string) (crypto.Signer, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), ".idp-*") // mode 0600
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name()) //nolint:errcheck // it is gone already when it was linked in vain
	err = pem.Encode(file, &pem.Block{Type: "PRIVATE KEY", Bytes: der})
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	return private, os.Link(file.Name(), path) // fails if it is there
}

// URL returns the iss of its tokens.
func (i *Issuer) URL() string { return i.url }

// Rotate makes a new key; the two before it stay published.
func (i *Issuer) Rotate() error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	return i.add(private)
}

func (i *Issuer) add(private crypto.Signer) error {
	id, err := jws.Thumbprint(private.Public())
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	signer, err := jws.NewSigner(id, jws.ES256, private)
	if err != nil {
		return fmt.Errorf("make key: %w", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.signers = append(i.signers[max(0, len(i.signers)-2):], signer)
	return nil
}

// Kind is a kind of token.
type Kind string

// The kinds, by the typ of their header.
const (
	IDToken     Kind = "JWT"
	AccessToken Kind = "at+jwt" // RFC 9068
)

// Token returns a token of a user for an audience. An unknown user is an error.
func (i *Issuer) Token(kind Kind, user, audience string, ttl time.Duration) (string, error) {
	for _, u := range Users() {
		if u.Name == user {
			return i.Sign(string(kind), i.claims(kind, &u, audience, ttl))
		}
	}
	return "", fmt.Errorf("there is no user %q; there are alice and bob", user)
}

func (i *Issuer) claims(kind Kind, u *User, audience string, ttl time.Duration) map[string]any {
	now := i.now()
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	claims := map[string]any{
		"iss": i.url, "sub": u.Name, "aud": audience, "iat": now.Unix(), "exp": now.Add(ttl).Unix(), "jti": hex.EncodeToString(id[:]),
		"email": u.Email, "groups": u.Groups,
	}
	if kind == AccessToken {
		claims["client_id"] = "cambist-dev" // RFC 9068 2.2; no ID token has it
	}
	return claims
}

// Sign signs any claims: tests make the tokens that a bad issuer would.
func (i *Issuer) Sign(typ string, claims map[string]any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("encode claims: %w", err)
	}
	i.mu.Lock()
	signer := i.signers[len(i.signers)-1]
	i.mu.Unlock()
	input := signer.AppendInput(nil, typ, payload)
	signature, err := signer.Sign(input)
	if err != nil {
		return "", err
	}
	return string(jws.AppendToken(nil, input, signature)), nil
}

// JWKS returns the key set.
func (i *Issuer) JWKS() ([]byte, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	keys := make([]jws.Key, len(i.signers))
	for k, s := range i.signers {
		keys[k] = s.Key()
	}
	return jws.MarshalKeySet(keys)
}

// Handler serves discovery and the key set, to be mounted at the root of the
// issuer's URL.
func (i *Issuer) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{ // a client that went away is not told so
			"issuer": i.url, "jwks_uri": i.url + "/jwks", "response_types_supported": []string{}, "subject_types_supported": []string{"public"},
			"id_token_signing_alg_values_supported": []string{"ES256"},
		})
	})
	mux.HandleFunc("GET /jwks", func(w http.ResponseWriter, _ *http.Request) {
		body, err := i.JWKS()
		if err != nil {
			http.Error(w, "no keys", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(body)
	})
	return mux
}
