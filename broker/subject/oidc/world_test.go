package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"maps"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/oidc"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)

// view is the policy of these tests: issuers by URL.
type view struct {
	broker.View
	issuers map[string]*broker.Issuer
}

func (v view) Issuer(url string) (*broker.Issuer, bool) { i, ok := v.issuers[url]; return i, ok }

// clock is the time that the code under test is told.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }

func (c *clock) advance(d time.Duration) { c.mu.Lock(); defer c.mu.Unlock(); c.now = c.now.Add(d) }

// provider is an issuer on a TLS server of this machine: discovery, keys, and a
// signer that is go-jose.
type provider struct {
	*httptest.Server
	kid     string
	private *ecdsa.PrivateKey

	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by path, before what is usual
	count   map[string]int              // requests by path
}

const (
	discoveryPath = "/.well-known/openid-configuration"
	keysPath      = "/keys"
)

func newProvider(t testing.TB, kid string) *provider {
	t.Helper()
	p := &provider{kid: kid, private: newKey(t), answers: map[string]http.HandlerFunc{}, count: map[string]int{}}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.StartTLS()
	t.Cleanup(p.Close)
	return p
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// ServeHTTP answers as a provider does, unless the test said otherwise.
func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.count[r.URL.Path]++
	answer := p.answers[r.URL.Path]
	p.mu.Unlock()
	switch {
	case answer != nil:
		answer(w, r)
	case r.URL.Path == discoveryPath:
		write(w, object{"issuer": p.URL, "jwks_uri": p.URL + keysPath, "response_types_supported": []string{"code"}})
	case r.URL.Path == keysPath:
		_, _ = w.Write([]byte(p.set()))
	default:
		http.NotFound(w, r)
	}
}

func write(w http.ResponseWriter, body any) { _ = json.NewEncoder(w).Encode(body) }

func (p *provider) answer(path string, h http.HandlerFunc) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answers[path] = h
}

func (p *provider) text(path, body string) {
	p.answer(path, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) })
}

func (p *provider) requests(path string) int { p.mu.Lock(); defer p.mu.Unlock(); return p.count[path] }

func (p *provider) set() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return keySet(p.kid, p.private)
}

// rotate gives the provider a new key.
func (p *provider) rotate(t testing.TB, kid string) {
	k := newKey(t)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kid, p.private = kid, k
}

func keySet(kid string, private *ecdsa.PrivateKey) string {
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: private.Public(), KeyID: kid, Use: "sig", Algorithm: "ES256"}}})
	if err != nil {
		panic(err)
	}
	return string(set)
}

// issuer returns what policy says of the provider.
func (p *provider) issuer(name string) *broker.Issuer {
	return &broker.Issuer{
		Name: name, URL: p.URL, Algorithms: []string{"ES256"}, AcceptJWT: true, AcceptID: true,
		AccessTypes: []string{"", "jwt", "at+jwt", "application/okta-internal-at+jwt"}, ScopeClaim: "scp", SubClaim: "sub",
	}
}

// header is what a token says of itself before its claims.
type header struct{ typ, kid string }

func (p *provider) sign(t testing.TB, h header, claims any) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	return sign(t, jose.SigningKey{Algorithm: jose.ES256, Key: p.private}, h, claims)
}

func sign(t testing.TB, key jose.SigningKey, h header, claims any) string {
	t.Helper()
	options := &jose.SignerOptions{}
	if h.typ != "" {
		options = options.WithType(jose.ContentType(h.typ))
	}
	if h.kid != "" {
		options = options.WithHeader("kid", h.kid)
	}
	signer, err := jose.NewSigner(key, options)
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

// access are the claims of an access token.
func (p *provider) access() object {
	return object{"iss": p.URL, "sub": "alice", "aud": "api://acme", "exp": start.Unix() + 300, "iat": start.Unix(), "jti": "j1", "cid": "client", "scp": []string{"read", "openid"}}
}

// id are the claims of an ID token.
func (p *provider) id() object {
	return object{"iss": p.URL, "sub": "alice", "aud": "client", "exp": start.Unix() + 300, "iat": start.Unix(), "nonce": "n"}
}

// world is a set of issuers with a running key cache.
type world struct {
	clock *clock
	view  view
	keys  *oidc.Keys
}

// fetcher reaches the servers of this machine, and trusts them.
func fetcher(t testing.TB, servers ...*httptest.Server) *oidc.Fetcher {
	t.Helper()
	f := oidc.NewFetcher(oidc.FetchConfig{PrivateHosts: []string{"127.0.0.1"}, Roots: roots(servers...)})
	f.SetTimeout(time.Minute)
	return f
}

func roots(servers ...*httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, s := range servers {
		if s.Certificate() != nil {
			pool.AddCert(s.Certificate())
		}
	}
	return pool
}

// newWorld runs a key cache for the issuers, whose servers these are.
func newWorld(t testing.TB, issuers []*broker.Issuer, servers ...*httptest.Server) *world {
	t.Helper()
	w := &world{clock: &clock{now: start}, view: view{issuers: map[string]*broker.Issuer{}}}
	for _, i := range issuers {
		w.view.issuers[i.URL] = i
	}
	w.keys = oidc.NewKeys(oidc.Config{
		Issuers: func() []*broker.Issuer { return issuers }, Fetch: fetcher(t, servers...).Fetch, Now: w.clock.Now,
	})
	w.keys.SetPatience(time.Minute)
	run(t, w.keys)
	return w
}

// run runs the keys until the test ends, and waits for them.
func run(t testing.TB, k *oidc.Keys) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); k.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func (w *world) verify(token string, as oauth.TokenType) (broker.Subject, error) {
	route := subject.NewRoute(oidc.New(w.keys))
	return route.Verify(context.Background(), w.view, w.clock.Now(), broker.SubjectToken{Raw: oauth.NewSecret(token), Type: as})
}

// find asks for a key as a token with that header would.
func (w *world) find(i *broker.Issuer, kid string) (jws.Key, error) {
	return w.keys.Find(context.Background(), i, jws.Header{Algorithm: jws.ES256, KeyID: kid}, w.clock.Now())
}

// refused fails unless err refuses a token for that reason, and returns the
// refusal.
func refused(t testing.TB, err error, reason broker.Reason) *broker.Error {
	t.Helper()
	var e *broker.Error
	code := broker.CodeInvalidRequest
	if reason == broker.ReasonIssuerUnavailable {
		code = broker.CodeUnavailable
	}
	if !errors.As(err, &e) || e.Code != code || e.Reason != reason || e.Public == "" {
		t.Fatalf("%v, want %s", err, reason)
	}
	return e
}
