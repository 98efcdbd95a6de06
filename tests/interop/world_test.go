package interop_test

import (
	"bufio"
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
	"syscall"
	"testing"
	"time"
)

// world is a development server and the provider whose users it knows.
type world struct {
	dir       string
	binary    string
	provider  string // URL of the OpenID provider
	userToken string // of alice, from there

	Issuer string
	Bundle string
	CA     string
}

const (
	ordersURI = "https://orders.dev.cambist.invalid"
	ledgerURI = "https://ledger.dev.cambist.invalid"
	keyedURI  = "https://keyed.dev.cambist.invalid"
	web       = "spiffe://dev.cambist.invalid/ns/shop/sa/web"
	exchange  = "urn:ietf:params:oauth:grant-type:token-exchange"
	idToken   = "urn:ietf:params:oauth:token-type:id_token"
)

// document has one resource for each algorithm that we sign with, and one whose
// tokens are bound to a key.
const document = `
cambist: v1
set: interop
defaults: {domain: dev.cambist.invalid}
issuers:
- {name: corp, kind: oidc, url: %q, audiences: {cambist: any}, accept: [id], algs: [ES256]}
resources:
- {name: orders, uri: https://orders.dev.cambist.invalid, served_by: [shop/orders], scopes: {orders.write: ["POST /orders"]}, default_scopes: [orders.write]}
- {name: ledger, uri: https://ledger.dev.cambist.invalid, served_by: [finance/ledger], scopes: {ledger.read: ["GET /**"]}, default_scopes: [ledger.read]}
- {name: rs256, uri: https://rs256.dev.cambist.invalid, served_by: [x/a], scopes: {call: ["* /**"]}, default_scopes: [call], alg: RS256}
- {name: ps256, uri: https://ps256.dev.cambist.invalid, served_by: [x/b], scopes: {call: ["* /**"]}, default_scopes: [call], alg: PS256}
- {name: eddsa, uri: https://eddsa.dev.cambist.invalid, served_by: [x/c], scopes: {call: ["* /**"]}, default_scopes: [call], alg: EdDSA}
- {name: keyed, uri: https://keyed.dev.cambist.invalid, served_by: [x/d], scopes: {call: ["* /**"]}, default_scopes: [call], binding: dpop}
allow:
- {name: user, from: shop/web, for: corp, to: orders, scopes: [orders.write]}
- {name: own, from: shop/web, to: ledger, scopes: [ledger.read]}
- {name: user-keyed, from: shop/web, for: corp, to: keyed, scopes: [call]}
- {name: own-keyed, from: shop/web, to: keyed, scopes: [call]}
- {name: algorithms, from: shop/web, to: [rs256, ps256, eddsa], scopes: [call]}
`

var the world

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run installs, builds and starts what all tests share, and stops it.
func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "interop")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	the.dir, the.binary = dir, filepath.Join(dir, "cambist")
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	if err := install(ctx); err != nil {
		return 1, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", the.binary, "./cmd/cambist")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build: %w: %s", err, out)
	}
	stopProvider, err := startProvider(ctx)
	if err != nil {
		return 1, err
	}
	defer stopProvider()
	if the.userToken, err = node(ctx, "login.mjs", nil, the.provider, "alice"); err != nil {
		return 1, err
	}
	stopServer, err := startServer(ctx)
	if err != nil {
		return 1, err
	}
	defer stopServer()
	if out, err := exec.CommandContext(ctx, the.binary, "dev", "svid", "--as", "shop/web", "--ca", the.CA, "--out", filepath.Join(dir, "web")).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("svid: %w: %s", err, out)
	}
	return m.Run(), nil
}

// install puts the packages of package-lock.json in place if they are not.
func install(ctx context.Context) error {
	lock, err := os.ReadFile("package-lock.json")
	if err != nil {
		return err
	}
	mark := filepath.Join("node_modules", ".lock")
	if have, err := os.ReadFile(mark); err == nil && bytes.Equal(have, lock) {
		return nil
	}
	if out, err := exec.CommandContext(ctx, "npm", "ci", "--no-audit", "--no-fund").CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w: %s", err, out)
	}
	return os.WriteFile(mark, lock, 0o600)
}

// start runs a command until stop is called, and returns its first line.
func start(cmd *exec.Cmd) (line string, stop func(), err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	var log bytes.Buffer
	cmd.Stderr = &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	reader := bufio.NewReader(out)
	line, err = reader.ReadString('\n')
	if err != nil {
		_ = cmd.Wait()
		return "", nil, fmt.Errorf("%v: %w: %s", cmd.Args, err, log.String())
	}
	go io.Copy(io.Discard, reader) //nolint:errcheck // until it ends
	return line, func() { _ = cmd.Process.Signal(syscall.SIGTERM); _ = cmd.Wait() }, nil
}

func startProvider(ctx context.Context) (func(), error) {
	port, err := freePort(ctx)
	if err != nil {
		return nil, err
	}
	the.provider = "http://127.0.0.1:" + port
	_, stop, err := start(exec.CommandContext(ctx, "node", "provider.mjs", the.provider))
	return stop, err
}

func startServer(ctx context.Context) (func(), error) {
	policy := filepath.Join(the.dir, "policy.yaml")
	// The ID token of the provider is for its client, cambist.
	if err := os.WriteFile(policy, fmt.Appendf(nil, document, the.provider), 0o600); err != nil {
		return nil, err
	}
	line, stop, err := start(exec.CommandContext(ctx, the.binary, "dev", "--json", "--dpop-nonce", "-f", policy, "--data", filepath.Join(the.dir, "data"),
		"--mtls-address", "127.0.0.1:0", "--users-address", "127.0.0.1:0", "--ops-address", "127.0.0.1:0"))
	if err != nil {
		return nil, err
	}
	return stop, json.Unmarshal([]byte(line), &the)
}

func freePort(ctx context.Context) (string, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// node runs a script and returns what it prints. It is told of the world, and of
// what else is given.
func node(ctx context.Context, script string, more map[string]any, args ...string) (string, error) {
	told := map[string]any{
		"issuer": the.Issuer, "bundle": the.Bundle, "svid": filepath.Join(the.dir, "web"), "workload": web, "userToken": the.userToken, "audience": ordersURI, "ownAudience": ledgerURI, "keyedAudience": keyedURI,
	}
	for name, value := range more {
		told[name] = value
	}
	raw, err := json.Marshal(told)
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "node", append([]string{script}, args...)...)
	cmd.Env = append(os.Environ(), "WORLD="+string(raw))
	var failure bytes.Buffer
	cmd.Stderr = &failure
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", script, err, failure.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// client shows the SVID of shop/web.
func client(t *testing.T) *http.Client {
	t.Helper()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(the.dir, "web", "svid.pem"), filepath.Join(the.dir, "web", "svid-key.pem"))
	must(t, err)
	pem, err := os.ReadFile(the.Bundle)
	must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13}}}
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// token asks for a token of shop/web for itself.
func token(t *testing.T, audience string) string {
	t.Helper()
	form := url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}
	response, err := client(t).PostForm(the.Issuer+"/oauth2/token", form)
	must(t, err)
	defer response.Body.Close()
	var answer struct {
		Token string `json:"access_token"`
	}
	must(t, json.NewDecoder(response.Body).Decode(&answer))
	if answer.Token == "" {
		t.Fatalf("%s: %s", audience, response.Status)
	}
	return answer.Token
}
