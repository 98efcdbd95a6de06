package e2e_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/server"
	"github.com/cambist/cambist/store/sqlite"
	"github.com/cambist/cambist/tests/pgtest"
)

const (
	grantSelf     = "client_credentials"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeAccess    = "urn:ietf:params:oauth:token-type:access_token"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	typeID        = "urn:ietf:params:oauth:token-type:id_token"

	ledgerURI = "https://ledger.prod.example"
	ordersURI = "https://orders.prod.example"
)

// document is the policy of design 5, with the issuer that runs beside the test.
const document = `
cambist: v1
set: shop
defaults: {domain: prod.example}
issuers:
- name: corp
  kind: oidc
  url: %s
  audiences: {cambist: any, api://acme: [edge/gateway]}
  accept: [access, id]
  algs: [ES256]
  claims: {email: string, groups: [customer, finance]}
  carry: [groups]
resources:
- name: ledger
  uri: https://ledger.prod.example
  served_by: [finance/ledger]
  hosts: [ledger.finance, ledger.finance.svc]
  scopes: {ledger.read: ["GET /accounts/**"], ledger.write: ["POST /entries"]}
  default_scopes: [ledger.read]
- {name: orders, uri: https://orders.prod.example, served_by: [shop/orders], hosts: [orders.shop], scopes: {orders.write: ["POST /orders"], orders.read: ["GET /orders/**"]}}
- {name: sealed, uri: https://sealed.prod.example, served_by: [shop/sealed], scopes: {open: ["* /**"]}, default_scopes: [open], binding: certificate}
- {name: "{ns}/{sa}", uri: "https://{sa}.{ns}.svc.prod.example", served_by: ["{ns}/{sa}"], hosts: ["{sa}.{ns}"], scopes: {call: ["* /**"]}, default_scopes: [call]}
allow:
- {name: reports, from: [bi/reports, bi/close], to: ledger, scopes: [ledger.read]}
- {name: web-orders, from: shop/web, for: corp, to: orders, scopes: [orders.write, orders.read], when: '"customer" in user.groups'}
- {name: orders-ledger, from: shop/orders, for: corp, having: [orders.write], to: ledger, scopes: [ledger.write]}
- {name: same-namespace, from: "{ns}/*", to: "{ns}/*", scopes: [call]}
- {name: web-sealed, from: shop/web, to: sealed, scopes: [open]}
- {name: staging-ledger, from: staging/job, to: ledger, scopes: [ledger.read, ledger.write]}
deny:
- {name: staging-no-money, from: "staging/*", to: "*", scopes: [ledger.write]}
`

// logBuffer is a log that tests read while the server writes.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// world is a running server with what stands around it.
type world struct {
	ca      *trust.CA
	issuer  *idp.Issuer
	config  server.Config
	log     *logBuffer
	address server.Addresses
	stop    func() error

	mu      sync.Mutex
	clients map[string]*http.Client
}

// stores are the ways to keep the state: each test of the surface runs on both.
var stores = map[string]func(*testing.T) string{
	"postgres": func(t *testing.T) string {
		return migrated(t, pgtest.Start(t, pgtest.Options{Durable: true})) // the server refuses one that is not
	},
	"sqlite": func(t *testing.T) string {
		path := filepath.Join(t.TempDir(), "cambist.db")
		s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
		must(t, err)
		_, err = s.Migrate(t.Context())
		must(t, err)
		must(t, s.Close())
		return "sqlite://" + path
	},
}

func migrated(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	dsn := s.DSN("postgres")
	_, err := server.Migrate(t.Context(), dsn)
	must(t, err)
	return dsn
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

// newWorld makes what a server needs and applies the policy; start runs it.
func newWorld(t *testing.T, dsn string) *world {
	t.Helper()
	dir := t.TempDir()
	domain := spiffeid.RequireTrustDomainFromString("prod.example")
	ca, err := trust.New(domain, time.Now)
	must(t, err)
	id, err := ca.ID("cambist/broker")
	must(t, err)
	svid, err := ca.SVID(id, time.Hour, "localhost", "127.0.0.1")
	must(t, err)
	must(t, trust.WriteSVID(filepath.Join(dir, "server"), svid, ca.Bundle()))

	corp := httptest.NewUnstartedServer(nil)
	corp.Start()
	t.Cleanup(corp.Close)
	issuer, err := idp.New(corp.URL, time.Now)
	must(t, err)
	corp.Config.Handler = issuer.Handler()
	host := strings.TrimPrefix(corp.URL, "http://")

	w := &world{ca: ca, issuer: issuer, log: &logBuffer{}, clients: map[string]*http.Client{}}
	w.config = server.Config{
		Issuer: "https://localhost:8443", Store: dsn, Replica: "r1", Audit: server.AuditConfig{Commit: "database"},
		Keys: server.KeysConfig{
			KekFile: write(t, filepath.Join(dir, "kek"), bytes.Repeat([]byte("k"), 32)), PublishLead: 15 * time.Minute, RotateEvery: 24 * time.Hour,
		},
		Identity: server.IdentityConfig{
			Cert: filepath.Join(dir, "server", trust.SVIDFile), Key: filepath.Join(dir, "server", trust.KeyFile),
			Bundles: map[string]string{"prod.example": filepath.Join(dir, "server", trust.BundleFile)}, Interval: 100 * time.Millisecond,
		},
		Mtls: server.MtlsConfig{Address: "127.0.0.1:0"}, Ops: server.OpsConfig{Address: "127.0.0.1:0"},
		Limits:   server.LimitsConfig{TTLCap: 15 * time.Minute, ChainDepth: 4, Concurrent: 64, Rate: 0, Self: true},
		Outbound: server.OutboundConfig{PrivateHosts: []string{host}},
		Log:      server.LogConfig{Level: "debug", Access: true},
	}
	w.apply(t, fmt.Sprintf(document, issuer.URL()))
	return w
}

// apply writes policy past the server, as break-glass does. A SQLite store must
// not be served at the time.
func (w *world) apply(t *testing.T, text string) {
	t.Helper()
	documents, findings := policy.Parse("policy.yaml", []byte(text))
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	o := w.offline(t)
	p, err := o.Plan(t.Context(), documents)
	must(t, err)
	if _, err := o.Apply(t.Context(), p, "test"); err != nil {
		t.Fatalf("%v: %v", err, p.Findings)
	}
	must(t, o.Close())
}

func (w *world) offline(t *testing.T) *server.Offline {
	t.Helper()
	o, err := server.OpenOffline(t.Context(), server.OfflineConfig{
		DSN: w.config.Store, KEKFile: w.config.Keys.KekFile, Policy: policy.Options{Issuer: w.config.Issuer, Now: time.Now}, Operator: "tester",
	})
	must(t, err)
	return o
}

// start runs the server and returns when its listeners are bound. The test stops
// it, or its end does.
func (w *world) start(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	bound, done := make(chan server.Addresses, 1), make(chan error, 1)
	go func() {
		done <- server.Run(ctx, w.config, server.Process{
			Log: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug})), Version: "test", Ready: func(a server.Addresses) { bound <- a },
		})
	}()
	select {
	case w.address = <-bound:
	case err := <-done:
		cancel()
		t.Fatalf("the server did not start: %v", err)
	}
	w.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = w.stop() })
}

// ready waits until the server says so.
func (w *world) ready(t *testing.T) {
	t.Helper()
	w.eventually(t, "ready", func() bool { return w.probe(t, "/readyz").status == 200 })
}

// eventually waits for something that the server does by itself.
func (w *world) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.Done():
			t.Fatalf("it was never so: %s\n%s", what, w.log)
		}
	}
}

type answer struct {
	status int
	header http.Header
	body   []byte
	json   map[string]any
}

func (a answer) text(name string) string {
	text, _ := a.json[name].(string)
	return text
}

func read(t *testing.T, response *http.Response) answer {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(t, err)
	a := answer{status: response.StatusCode, header: response.Header, body: body}
	_ = json.Unmarshal(body, &a.json) // not every body is JSON
	return a
}

// probe asks the operations listener.
func (w *world) probe(t *testing.T, path string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+w.address.Ops+path, nil)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	return read(t, response)
}

// client returns the HTTP client of a workload: it shows the workload's SVID.
// Without a name it shows none.
func (w *world) client(t *testing.T, workload string) *http.Client {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if c := w.clients[workload]; c != nil {
		return c
	}
	roots := x509.NewCertPool()
	for _, authority := range w.ca.Bundle().X509Authorities() {
		roots.AddCert(authority)
	}
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
	if workload != "" {
		id, err := w.ca.ID(workload)
		must(t, err)
		svid, err := w.ca.SVID(id, time.Hour)
		must(t, err)
		certificate := tls.Certificate{PrivateKey: svid.PrivateKey}
		for _, c := range svid.Certificates {
			certificate.Certificate = append(certificate.Certificate, c.Raw)
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}, Timeout: 10 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	w.clients[workload] = c
	return c
}

func (w *world) url(path string) string { return "https://" + w.address.Mtls + path }

// ask posts a token request of a workload.
func (w *world) ask(t *testing.T, workload string, form url.Values) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.url("/oauth2/token"), strings.NewReader(form.Encode()))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := w.client(t, workload).Do(request)
	must(t, err)
	return read(t, response)
}

// token is ask for a request that must be granted.
func (w *world) token(t *testing.T, workload string, form url.Values) string {
	t.Helper()
	a := w.ask(t, workload, form)
	if a.status != 200 {
		t.Fatalf("%s asked %v: %d %s", workload, form, a.status, a.body)
	}
	return a.text("access_token")
}

// self and behalf are the two ways to ask.
func self(audience string, scopes ...string) url.Values {
	form := url.Values{"grant_type": {grantSelf}, "audience": {audience}}
	if len(scopes) > 0 {
		form.Set("scope", strings.Join(scopes, " "))
	}
	return form
}

func behalf(token, kind, audience string, scopes ...string) url.Values {
	form := self(audience, scopes...)
	form.Set("grant_type", grantExchange)
	form.Set("subject_token", token)
	form.Set("subject_token_type", kind)
	return form
}

// user returns a token of a user, straight from the issuer.
func (w *world) user(t *testing.T, kind idp.Kind, name, audience string) string {
	t.Helper()
	token, err := w.issuer.Token(kind, name, audience, 10*time.Minute)
	must(t, err)
	return token
}

// claims reads a token's claims without looking at its signature.
func claims(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q is not a compact JWS", token)
	}
	var decoded map[string]any
	must(t, json.Unmarshal(decodeSegment(t, parts[1]), &decoded))
	return decoded
}

func decodeSegment(t *testing.T, segment string) []byte {
	t.Helper()
	raw, err := base64.RawURLEncoding.DecodeString(segment)
	must(t, err)
	return raw
}

// rewriting returns a client without a certificate that finds the server under
// the name of its issuer.
func (w *world) rewriting(t *testing.T) *http.Client {
	t.Helper()
	c := *w.client(t, "")
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not our transport")
	}
	transport = transport.Clone()
	transport.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, w.address.Mtls)
	}
	c.Transport = transport
	t.Cleanup(c.CloseIdleConnections)
	return &c
}
