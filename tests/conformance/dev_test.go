package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// document is the policy that the suite runs against: a caller with a target for
// itself and one for users, a next hop, and targets that are not the caller's.
const document = `
cambist: v1
set: conformance
defaults: {domain: dev.cambist.invalid}
issuers:
- {name: corp, kind: oidc, url: "http://%s", audiences: {cambist: any}, accept: [id], algs: [ES256], claims: {groups: [customer]}, carry: [groups], delegates: true, actors: {web: shop/web}}
resources:
- {name: orders, uri: https://orders.dev.cambist.invalid, served_by: [shop/orders], scopes: {orders.read: ["GET /**"], orders.write: ["POST /**"], orders.admin: ["DELETE /**"]}, default_scopes: [orders.read]}
- {name: ledger, uri: https://ledger.dev.cambist.invalid, served_by: [finance/ledger], scopes: {ledger.read: ["GET /**"], ledger.write: ["POST /**"]}}
- {name: sealed, uri: https://sealed.dev.cambist.invalid, served_by: [shop/sealed], scopes: {open: ["* /**"]}, binding: certificate}
- {name: keyed, uri: https://keyed.dev.cambist.invalid, served_by: [shop/keyed], scopes: {open: ["* /**"]}, binding: dpop}
- {name: vault, uri: https://vault.dev.cambist.invalid, served_by: [shop/vault], scopes: {open: ["* /**"]}, default_scopes: [open]}
allow:
- {name: web-ledger, from: shop/web, to: ledger, scopes: [ledger.read]}
- {name: web-orders, from: shop/web, for: corp, to: orders, scopes: [orders.read, orders.write]}
- {name: orders-ledger, from: shop/orders, for: corp, having: [orders.write], to: ledger, scopes: [ledger.write]}
- {name: web-sealed, from: shop/web, to: sealed, scopes: [open]}
- {name: web-keyed, from: shop/web, to: keyed, scopes: [open]}
- {name: vault-own, from: shop/vault, to: vault, scopes: [open]}
`

// profileText describes that server.
const profileText = `
trust: %[1]s/data/bundle.pem
clients:
  caller: {client_id: spiffe://dev.cambist.invalid/ns/shop/sa/web, certificate: web/svid.pem, key: web/svid-key.pem}
  next: {client_id: spiffe://dev.cambist.invalid/ns/shop/sa/orders, certificate: orders/svid.pem, key: orders/svid-key.pem}
  stranger: {client_id: spiffe://dev.cambist.invalid/ns/bi/sa/other, certificate: other/svid.pem, key: other/svid-key.pem}
self: {audience: https://ledger.dev.cambist.invalid, scope: ledger.read, more_scope: ledger.write}
exchange: {audience: https://orders.dev.cambist.invalid, scope: orders.write, more_scope: orders.admin, default_scope: orders.read}
onward: {audience: https://ledger.dev.cambist.invalid, scope: ledger.write}
bound: {audience: https://sealed.dev.cambist.invalid, scope: open}
dpop: {audience: https://keyed.dev.cambist.invalid, scope: open}
forbidden: {audience: https://vault.dev.cambist.invalid, scope: open}
subject:
  type: urn:ietf:params:oauth:token-type:id_token
  key: data/idp-key.pem
  typ: JWT
  claims: {iss: "http://%[2]s", aud: cambist, sub: alice, groups: [customer]}
  actor: web
  delegates: true
spiffe: {ca: data/ca/ca-key.pem, trust_domain: dev.cambist.invalid, id: spiffe://dev.cambist.invalid/ns/shop/sa/web}
max_actors: 4
optional:
  MT-1: client_id is optional beside an X.509-SVID, which names one client (design 6)
`

// places are what `cambist dev --json` prints.
type places struct {
	Issuer string `json:"issuer"`
	Ops    string `json:"ops"`
	CA     string `json:"ca"`
	dir    string
	binary string
	users  string // address of the OpenID issuer
	pid    int
	stop   func() // ends the server; what it logged is then in log
	log    *bytes.Buffer
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startDev builds the real command, runs it with the policy and writes the
// profile.
func startDev(t *testing.T) places {
	t.Helper()
	p := places{dir: t.TempDir(), users: freeAddress(t)}
	p.binary = filepath.Join(p.dir, "cambist")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.binary, "../../cmd/cambist") //nolint:gosec // our own command
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	write(t, filepath.Join(p.dir, "policy.yaml"), fmt.Sprintf(document, p.users))
	write(t, filepath.Join(p.dir, "profile.yaml"), fmt.Sprintf(profileText, p.dir, p.users))
	server := exec.Command(p.binary, "dev", "--json", "--verbose", "-f", filepath.Join(p.dir, "policy.yaml"), "--data", filepath.Join(p.dir, "data"), //nolint:gosec // our own command; it is ended by hand
		"--mtls-address", "127.0.0.1:0", "--users-address", p.users, "--ops-address", "127.0.0.1:0")
	p.log = &bytes.Buffer{}
	server.Stderr = p.log
	out, err := server.StdoutPipe()
	must(t, err)
	must(t, server.Start())
	p.pid = server.Process.Pid
	p.stop = sync.OnceFunc(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	})
	t.Cleanup(p.stop)
	reader := bufio.NewReader(out)
	line, err := reader.ReadBytes('\n')
	if err != nil {
		p.stop()
		t.Fatalf("it did not start: %v: %s", err, p.log)
	}
	go io.Copy(io.Discard, reader) // until it ends
	must(t, json.Unmarshal(line, &p))
	for name, workload := range map[string]string{"web": "shop/web", "orders": "shop/orders", "other": "bi/other"} {
		svid := exec.CommandContext(t.Context(), p.binary, "dev", "svid", "--as", workload, "--ca", p.CA, "--out", filepath.Join(p.dir, name)) //nolint:gosec // our own command
		if out, err := svid.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	return p
}

func write(t *testing.T, path, text string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

// conform runs the suite and returns its report.
func conform(t *testing.T, p places, args ...string) report {
	t.Helper()
	var out bytes.Buffer
	began := time.Now()
	err := run(t.Context(), &out, append([]string{"--json", "--issuer", p.Issuer, "--profile", filepath.Join(p.dir, "profile.yaml")}, args...))
	var r report
	if parsed := json.Unmarshal(out.Bytes(), &r); parsed != nil {
		t.Fatalf("%v, %v: %s", err, parsed, out.String())
	}
	t.Logf("%d passed, %d failed, %d not applicable in %s", r.Passed, r.Failed, r.Absent, time.Since(began).Round(time.Second))
	return r
}
