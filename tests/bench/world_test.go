package bench_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/server"
	"github.com/cambist/cambist/tests/pgtest"
)

const (
	audience = "https://ledger.prod.example"
	document = `
cambist: v1
set: bench
defaults: {domain: prod.example}
issuers:
- {name: corp, kind: oidc, url: "https://idp.prod.example", jwks_file: %q, audiences: {cambist: any}, accept: [id], algs: [ES256]}
resources:
- {name: ledger, uri: https://ledger.prod.example, served_by: [finance/ledger], scopes: {ledger.read: ["GET /**"]}, default_scopes: [ledger.read]}
allow:
- {name: self, from: shop/web, to: ledger, scopes: [ledger.read]}
- {name: behalf, from: shop/web, for: corp, to: ledger, scopes: [ledger.read]}
`
)

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}

// world is a trust domain, an issuer, and a binary to run.
type world struct {
	dir     string
	ca      *trust.CA
	issuer  *idp.Issuer
	binary  string
	client  *tls.Config
	pgPID   int // of the postmaster, 0 for SQLite
	address string
	process *exec.Cmd
}

// newWorld builds the binary as a release is built, and makes what it needs.
func newWorld(tb testing.TB) *world {
	tb.Helper()
	w := &world{dir: tb.TempDir()}
	var err error
	w.ca, err = trust.New(spiffeid.RequireTrustDomainFromString("prod.example"), time.Now)
	must(tb, err)
	w.issuer, err = idp.New("https://idp.prod.example", time.Now)
	must(tb, err)
	keys, err := w.issuer.JWKS()
	must(tb, err)
	must(tb, os.WriteFile(w.path("jwks.json"), keys, 0o600))
	must(tb, os.WriteFile(w.path("kek"), bytes.Repeat([]byte("k"), 32), 0o600))
	w.svid(tb, "cambist/broker", "server", "localhost")
	w.svid(tb, "shop/web", "web")
	certificate, err := tls.LoadX509KeyPair(w.path("web/svid.pem"), w.path("web/svid-key.pem"))
	must(tb, err)
	roots := x509.NewCertPool()
	for _, authority := range w.ca.Bundle().X509Authorities() {
		roots.AddCert(authority)
	}
	w.client = &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13, ServerName: "localhost"}
	w.binary = w.path("cambist")
	build := exec.CommandContext(tb.Context(), "go", "build", "-trimpath", "-o", w.binary, "../../cmd/cambist") //nolint:gosec // our own command
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		tb.Fatalf("%v: %s", err, out)
	}
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) svid(tb testing.TB, name, folder string, hosts ...string) {
	tb.Helper()
	id, err := w.ca.ID(name)
	must(tb, err)
	svid, err := w.ca.SVID(id, time.Hour, hosts...)
	must(tb, err)
	must(tb, trust.WriteSVID(w.path(folder), svid, w.ca.Bundle()))
}

// store prepares a migrated store with the policy in it.
func (w *world) store(tb testing.TB, kind string) string {
	tb.Helper()
	dsn := "sqlite://" + w.path("cambist.db")
	if kind == "postgres" {
		database := pgtest.Start(tb, pgtest.Options{Durable: true})
		dsn, w.pgPID = database.DSN("postgres"), database.PID()
	}
	_, err := server.Migrate(tb.Context(), dsn)
	must(tb, err)
	documents, findings := policy.Parse("policy", fmt.Appendf(nil, document, w.path("jwks.json")))
	if policy.HasErrors(findings) {
		tb.Fatal(findings)
	}
	o, err := server.OpenOffline(tb.Context(), server.OfflineConfig{DSN: dsn, Policy: policy.Options{Issuer: "https://localhost:8443"}, Operator: "bench"})
	must(tb, err)
	p, err := o.Plan(tb.Context(), documents)
	must(tb, err)
	if _, err := o.Apply(tb.Context(), p, "bench"); err != nil {
		tb.Fatalf("%v: %v", err, p.Findings)
	}
	must(tb, o.Close())
	return dsn
}

// serve runs `cambist serve` and waits until it is ready.
func (w *world) serve(tb testing.TB, dsn string) {
	tb.Helper()
	w.address = free(tb)
	ops := free(tb)
	w.run(tb, exec.Command(w.binary, "serve", //nolint:gosec // our own command
		"--issuer=https://localhost:8443", "--store="+dsn, "--replica=bench", "--audit-commit=database", "--keys-kek-file="+w.path("kek"),
		"--identity-cert="+w.path("server/svid.pem"), "--identity-key="+w.path("server/svid-key.pem"), "--identity-bundles=prod.example="+w.path("server/bundle.pem"),
		"--mtls-address="+w.address, "--ops-address="+ops, "--limits-rate=0", "--no-log-access", "--drain=0s"), "http://"+ops+"/readyz")
}

// run starts a process, kills it when the test ends, and waits until the URL
// answers 200.
func (w *world) run(tb testing.TB, cmd *exec.Cmd, ready string) {
	tb.Helper()
	var log bytes.Buffer
	cmd.Stderr = &log
	must(tb, cmd.Start())
	w.process = cmd
	tb.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if tb.Failed() {
			tb.Log(log.String())
		}
	})
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: w.client}}
	defer client.CloseIdleConnections()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit, cancel := context.WithTimeout(tb.Context(), 30*time.Second)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(limit, http.MethodGet, ready, nil)
		must(tb, err)
		if response, err := client.Do(request); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			tb.Fatal("it was never ready")
		}
	}
}

// free returns an address that nobody listens on.
func free(tb testing.TB) string {
	tb.Helper()
	l, err := (&net.ListenConfig{}).Listen(tb.Context(), "tcp", "127.0.0.1:0")
	must(tb, err)
	defer l.Close()
	return l.Addr().String()
}

// forms are the bodies to post: one for a token for itself, many distinct ones
// for exchanges.
func (w *world) forms(tb testing.TB, grant string, n int) []string {
	tb.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}
	if grant == "client_credentials" {
		return []string{form.Encode()}
	}
	form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	form.Set("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")
	forms := make([]string, n)
	for i := range forms {
		token, err := w.issuer.Token(idp.IDToken, "alice", "cambist", time.Hour)
		must(tb, err)
		form.Set("subject_token", token)
		forms[i] = form.Encode()
	}
	return forms
}

// post sends one request and returns the token.
func post(client *http.Client, address, body string) (string, error) {
	request, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "https://"+address+"/oauth2/token", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	raw, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s, %w", response.Status, raw, err)
	}
	var answer struct {
		Token string `json:"access_token"`
	}
	return answer.Token, json.Unmarshal(raw, &answer)
}
