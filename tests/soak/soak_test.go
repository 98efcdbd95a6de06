package soak_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// document gives tokens that live for 15 seconds.
const document = `cambist: v1
set: soak
defaults: {domain: dev.cambist.invalid}
issuers:
- {name: dev, kind: oidc, url: "http://%[1]s", audiences: {cambist: any}, accept: [id], algs: [ES256]}
resources:
- {name: ledger, uri: https://ledger.dev.cambist.invalid, served_by: [finance/ledger], hosts: ["%[2]s"], scopes: {ledger.read: ["GET /accounts/**"]}, default_scopes: [ledger.read], ttl: 15s}
allow:
- {name: reports, from: bi/reports, to: ledger, scopes: [ledger.read]}
- {name: web, from: shop/web, for: dev, to: ledger, scopes: [ledger.read]}
`

func TestMain(m *testing.M) {
	roles := map[string]func(context.Context) error{"ledger": ledger, "caller": caller}
	role, ok := roles[os.Getenv("SOAK_ROLE")]
	if !ok {
		os.Exit(m.Run())
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := role(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:gocritic // the process ends
	}
}

// process is a program that runs; its last line and what it logs are kept.
type process struct {
	*exec.Cmd
	name  string
	log   bytes.Buffer
	ready chan struct{}
	mu    sync.Mutex
	last  string
	done  chan struct{}
}

// start runs a program. It is ready with its first line.
func start(t *testing.T, name string, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{Cmd: cmd, name: name, ready: make(chan struct{}), done: make(chan struct{})}
	p.Stderr = &p.log
	out, err := p.StdoutPipe()
	if err == nil {
		err = p.Start()
	}
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	go func() {
		defer close(p.done)
		lines := bufio.NewScanner(out)
		for first := true; lines.Scan(); first = false {
			p.mu.Lock()
			p.last = lines.Text()
			p.mu.Unlock()
			if first {
				close(p.ready)
			}
		}
	}()
	t.Cleanup(func() { p.end(syscall.SIGKILL) })
	return p
}

func (p *process) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// end signals the program and returns its last line when it has ended.
func (p *process) end(with os.Signal) string {
	if p.ProcessState == nil {
		_ = p.Process.Signal(with)
		<-p.done
		_ = p.Wait()
	}
	return p.line()
}

func (p *process) waitReady(t *testing.T) {
	t.Helper()
	select {
	case <-p.ready:
	case <-p.done:
		t.Fatalf("%s ended: %s", p.name, p.log.String())
	case <-time.After(time.Minute):
		t.Fatalf("%s is not ready: %s", p.name, p.log.String())
	}
}

func free(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soak is how long it takes: two lives of a token and a bit, or as SOAK says.
func soak(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("SOAK")
	if text == "" {
		return 35 * time.Second
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// The broker, with the Workload API in the same process, is stopped or killed
// every few seconds, SVIDs are replaced every ten, tokens live for fifteen: no
// call fails, neither of a workload for itself nor on behalf of a user.
func TestNoCallFails(t *testing.T) {
	dir := t.TempDir()
	binary := filepath.Join(dir, "cambist")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../../cmd/cambist").CombinedOutput(); err != nil { //nolint:gosec // our own command
		t.Fatalf("%v: %s", err, out)
	}
	users, mtls, ops, address := free(t), free(t), free(t), free(t)
	policy := filepath.Join(dir, "policy.yaml")
	must(t, os.WriteFile(policy, fmt.Appendf(nil, document, users, address), 0o600))
	broker := func() *process {
		return start(t, "broker", exec.Command(binary, "dev", "--json", "-f", policy, "--data", filepath.Join(dir, "data"), "--svid-ttl", "20s", //nolint:gosec // our own command; it is ended by hand
			"--mtls-address", mtls, "--users-address", users, "--ops-address", ops))
	}
	running := broker()
	running.waitReady(t)
	var places struct {
		Issuer    string
		ServerID  string `json:"server_id"`
		Workloads map[string]string
	}
	must(t, json.Unmarshal([]byte(running.line()), &places))
	alice, err := exec.CommandContext(t.Context(), binary, "dev", "user-token", "--data", filepath.Join(dir, "data"), "--user", "alice", "--ttl", "12h").Output() //nolint:gosec // our own command
	must(t, err)
	service := func(role, workload string, more ...string) *process {
		cmd := exec.Command(os.Args[0]) //nolint:gosec // this very binary; it is ended by hand
		cmd.Env = append(os.Environ(), append(more, "SOAK_ROLE="+role, "CAMBIST_URL="+places.Issuer, "CAMBIST_SERVER_ID="+places.ServerID,
			"SPIFFE_ENDPOINT_SOCKET="+places.Workloads[workload], "LISTEN="+address, "LEDGER_URL=https://"+address, "LEDGER_ID=spiffe://dev.cambist.invalid/ns/finance/sa/ledger")...)
		return start(t, workload, cmd)
	}
	books := service("ledger", "finance/ledger")
	open(t, books, address)
	callers := []*process{service("caller", "bi/reports"), service("caller", "shop/web", "USER_TOKEN="+strings.TrimSpace(string(alice)))}
	for _, c := range callers {
		c.waitReady(t)
	}
	restarts := 0
	over := time.After(soak(t))
	again := time.NewTicker(9 * time.Second)
	defer again.Stop()
	for ended := false; !ended; {
		select {
		case <-over:
			ended = true
		case <-again.C:
			running.end([]os.Signal{syscall.SIGTERM, syscall.SIGKILL}[restarts%2])
			running = broker()
			running.waitReady(t)
			restarts++
		}
	}
	for _, c := range callers {
		var saw counts
		must(t, json.Unmarshal([]byte(c.end(syscall.SIGTERM)), &saw))
		t.Logf("%s: %d calls, %d failed, %d tokens, %d SVIDs, %d restarts", c.name, saw.Calls, len(saw.Failed), saw.Tokens, saw.Serials, restarts)
		if len(saw.Failed) > 0 {
			t.Errorf("%s\n%s\nledger: %s", strings.Join(saw.Failed[:min(len(saw.Failed), 10)], "\n"), c.log.String(), books.log.String())
		}
		if saw.Calls < 100 || saw.Tokens < 3 || saw.Serials < 3 || restarts < 2 {
			t.Error("that proves nothing")
		}
	}
	books.end(syscall.SIGTERM)
	running.end(syscall.SIGTERM)
}

// open waits until somebody listens.
func open(t *testing.T, p *process, address string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit := time.After(time.Minute)
	for {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		if err == nil {
			must(t, conn.Close())
			return
		}
		select {
		case <-tick.C:
		case <-p.done:
			t.Fatalf("%s ended: %s", p.name, p.log.String())
		case <-limit:
			t.Fatalf("%s does not listen: %s", p.name, p.log.String())
		}
	}
}
