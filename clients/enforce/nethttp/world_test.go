package nethttp_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/verify"
)

const (
	issuer = "https://sts.example"
	orders = "https://orders.prod.example"
)

var (
	prod    = spiffeid.RequireTrustDomainFromString("prod.example")
	web     = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/web")
	gateway = spiffeid.RequireFromString("spiffe://prod.example/ns/edge/sa/gateway")
	self    = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/orders")
)

// world is a trust domain, a broker's key, and the service that they are for.
// Its clock is the real one: TLS reads that as well.
type world struct {
	ca       *trust.CA
	bundle   *x509bundle.Bundle
	server   *x509svid.SVID
	signer   *jws.Signer
	config   verify.Config
	verifier *verify.Verifier
}

func newWorld(t testing.TB, change func(*verify.Config)) *world {
	t.Helper()
	ca, err := trust.New(prod, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{ca: ca, bundle: ca.Bundle()}
	w.server = w.svid(t, self)
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if w.signer, err = jws.NewSigner("k1", jws.ES256, private); err != nil {
		t.Fatal(err)
	}
	body, err := jws.MarshalKeySet([]jws.Key{w.signer.Key()})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, body, 0o600); err != nil {
		t.Fatal(err)
	}
	w.config = verify.Config{Issuer: issuer, Audiences: []string{orders}, Keys: verify.KeySource{File: file}, Now: time.Now}
	if change != nil {
		change(&w.config)
	}
	w.verifier = w.run(t)
	return w
}

// run returns a verifier that runs until the test ends and has its keys.
func (w *world) run(t testing.TB) *verify.Verifier {
	t.Helper()
	v, err := verify.New(w.config)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- v.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	for v.Ready() != nil {
		<-time.After(time.Millisecond)
	}
	return v
}

func (w *world) svid(t testing.TB, id spiffeid.ID) *x509svid.SVID {
	t.Helper()
	s, err := w.ca.SVID(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (w *world) peers(t testing.TB) *verify.Peers {
	t.Helper()
	p, err := verify.PeersByBundle(w.bundle, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// guard returns one over the verifier of the world, that knows peers by bundle.
func (w *world) guard(t testing.TB, change func(*nethttp.Config)) *nethttp.Guard {
	t.Helper()
	c := nethttp.Config{Verifier: w.verifier, Peers: w.peers(t)}
	if change != nil {
		change(&c)
	}
	g, err := nethttp.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

type object map[string]any

func (o object) with(name string, value any) object {
	o = maps.Clone(o)
	o[name] = value
	return o
}

// user are the claims of a token that web has for a user.
func user() object {
	now := time.Now()
	return object{
		"iss": issuer, "sub": "corp:00u1", "sub_id": object{"format": "iss_sub", "iss": "https://acme.okta.com", "sub": "00u1"}, "aud": orders,
		"iat": now.Unix(), "exp": now.Add(5 * time.Minute).Unix(), "jti": "01JCAMBIST0000000000000001", "client_id": web.String(),
		"scope": "orders.read", "act": object{"sub": web.String()}, "groups": []string{"customer"},
	}
}

func (w *world) token(t testing.TB, claims object) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	input := w.signer.AppendInput(nil, "at+jwt", payload)
	signature, err := w.signer.Sign(input)
	if err != nil {
		t.Fatal(err)
	}
	return string(jws.AppendToken(nil, input, signature))
}

// bound adds the cnf for a certificate.
func (o object) bound(s *x509svid.SVID) object {
	sum := sha256.Sum256(s.Certificates[0].Raw)
	return o.with("cnf", object{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])})
}

func certificate(s *x509svid.SVID) tls.Certificate {
	return tls.Certificate{PrivateKey: s.PrivateKey, Leaf: s.Certificates[0], Certificate: [][]byte{s.Certificates[0].Raw}}
}

// serve starts a real server of the world's service. It asks for a client
// certificate and verifies nothing, unless the test changes that.
func (w *world) serve(t testing.TB, h http.Handler, change func(*tls.Config)) string {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.EnableHTTP2 = true
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate(w.server)}, ClientAuth: tls.RequestClientCert}
	if change != nil {
		change(s.TLS)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL
}

// client returns one that shows the SVID, if there is one.
func client(t testing.TB, s *x509svid.SVID, change func(*tls.Config)) *http.Client {
	t.Helper()
	config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true} //nolint:gosec // who the server is is not what is tested
	if s != nil {
		config.Certificates = []tls.Certificate{certificate(s)}
	}
	if change != nil {
		change(config)
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// get asks with a token and returns the status, the challenge and the body.
func get(t testing.TB, c *http.Client, target, token string) (status int, challenge, body string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, target, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := c.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("WWW-Authenticate"), string(text)
}

// seen is what a handler finds: a line each of the token, what it may show on
// behalf of the subject, and its headers.
func seen(w http.ResponseWriter, r *http.Request) {
	token, ok := verify.FromContext(r.Context())
	raw, rawOK := oauth.UserToken(r.Context())
	if !ok || !rawOK || "Bearer "+raw.Reveal() != r.Header.Get("Authorization") {
		_, _ = io.WriteString(w, "no token")
		return
	}
	lines := []string{token.Subject() + " by " + token.Workload().String() + " through " + token.Presenter().String()}
	for _, name := range []string{verify.HeaderSubject, verify.HeaderWorkload, verify.HeaderScope, verify.HeaderActors, verify.HeaderUser} {
		lines = append(lines, name+": "+strings.Join(r.Header.Values(name), " AND "))
	}
	_, _ = io.WriteString(w, strings.Join(lines, "\n")) //nolint:gosec // no browser reads it
}
