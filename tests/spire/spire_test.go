package spire_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
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

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const (
	brokerID  = "spiffe://prod.example/ns/cambist/sa/broker"
	webID     = "spiffe://prod.example/ns/shop/sa/web"
	nodeID    = "spiffe://prod.example/node"
	ledgerURI = "https://ledger.prod.example"
)

const serverConf = `
server {
  bind_address = "127.0.0.1"
  bind_port = "%[2]s"
  socket_path = "%[1]s/server.sock"
  trust_domain = "prod.example"
  data_dir = "%[1]s/server"
  log_level = "WARN"
  default_x509_svid_ttl = "20s"
  default_jwt_svid_ttl = "5m"
}
plugins {
  DataStore "sql" {
    plugin_data {
      database_type = "sqlite3"
      connection_string = "%[1]s/server/spire.sqlite3"
    }
  }
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
}
`

const agentConf = `
agent {
  data_dir = "%[1]s/agent"
  server_address = "127.0.0.1"
  server_port = "%[2]s"
  socket_path = "%[1]s/agent.sock"
  trust_domain = "prod.example"
  trust_bundle_path = "%[1]s/bundle.pem"
  join_token = "%[3]s"
  log_level = "WARN"
}
plugins {
  KeyManager "memory" { plugin_data {} }
  NodeAttestor "join_token" { plugin_data {} }
  WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
`

const policy = `
cambist: v1
set: shop
defaults: {domain: prod.example}
issuers:
- {name: corp, kind: oidc, url: "http://%s", audiences: {cambist: any}, accept: [id], algs: [ES256]}
resources:
- {name: ledger, uri: https://ledger.prod.example, served_by: [finance/ledger], scopes: {ledger.read: ["GET /**"]}, default_scopes: [ledger.read]}
allow:
- {name: own, from: shop/web, to: ledger, scopes: [ledger.read]}
- {name: user, from: shop/web, for: corp, to: ledger, scopes: [ledger.read]}
`

// world is SPIRE with an agent, and our server, which has its identity from there.
type world struct {
	t    *testing.T
	dir  string
	bin  string // of SPIRE
	ours string // cambist, at the path by which SPIRE knows the broker

	issuer, login, ops string
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output runs a program to its end.
func (w *world) output(name string, args ...string) string {
	w.t.Helper()
	out, err := exec.CommandContext(w.t.Context(), name, args...).Output()
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		w.t.Fatalf("%s %q: %v: %s%s", name, args, err, out, failed.Stderr)
	}
	must(w.t, err)
	return string(out)
}

// start runs a program until the test ends; its log is shown if the test failed.
func (w *world) start(name string, args ...string) {
	w.t.Helper()
	cmd := exec.Command(name, args...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	must(w.t, cmd.Start())
	w.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(20*time.Second, func() { _ = cmd.Process.Kill() })
		defer kill.Stop()
		if err := cmd.Wait(); w.t.Failed() {
			w.t.Logf("%s %v: %v\n%s", filepath.Base(name), args, err, log.String())
		}
	})
}

func (w *world) eventually(what string, holds func() error) {
	w.t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	limit, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	for {
		err := holds()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-limit.Done():
			w.t.Fatalf("%s: %v", what, err)
		}
	}
}

func (w *world) free() string {
	w.t.Helper()
	l, err := (&net.ListenConfig{}).Listen(w.t.Context(), "tcp", "127.0.0.1:0")
	must(w.t, err)
	defer l.Close()
	return l.Addr().String()
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "spire") // the path of a socket must be short
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	w := &world{t: t, dir: dir, bin: filepath.Join("..", "..", ".tools", "spire"), ours: filepath.Join(dir, "broker", "cambist")}
	// Not optimised, it is built in half of the time; what is built already is not
	// linked again.
	w.output("go", "build", "-gcflags=all=-N -l", "-ldflags=-s -w", "-o", w.bin+"/", "github.com/spiffe/spire/cmd/spire-server", "github.com/spiffe/spire/cmd/spire-agent")
	w.output("go", "-C", "../..", "build", "-o", w.ours, "./cmd/cambist")
	return w
}

// spire starts server and agent and registers the broker and this test.
func (w *world) spire() {
	_, port, err := net.SplitHostPort(w.free())
	must(w.t, err)
	server := filepath.Join(w.bin, "spire-server")
	socket := "-socketPath=" + w.path("server.sock")
	must(w.t, os.MkdirAll(w.path("server"), 0o700))
	must(w.t, os.WriteFile(w.path("server.conf"), fmt.Appendf(nil, serverConf, w.dir, port), 0o600))
	w.start(server, "run", "-config", w.path("server.conf"))
	w.eventually("SPIRE's server", func() error { return exec.CommandContext(w.t.Context(), server, "healthcheck", socket).Run() })
	must(w.t, os.WriteFile(w.path("bundle.pem"), []byte(w.output(server, "bundle", "show", socket)), 0o600))
	token := strings.TrimSpace(strings.TrimPrefix(w.output(server, "token", "generate", socket, "-spiffeID", nodeID), "Token:"))
	must(w.t, os.WriteFile(w.path("agent.conf"), fmt.Appendf(nil, agentConf, w.dir, port, token), 0o600))
	w.start(filepath.Join(w.bin, "spire-agent"), "run", "-config", w.path("agent.conf"))
	this, err := os.Executable()
	must(w.t, err)
	for id, path := range map[string]string{brokerID: w.ours, webID: this} {
		w.output(server, "entry", "create", socket, "-parentID", nodeID, "-spiffeID", id, "-selector", "unix:path:"+path)
	}
}

// serve starts our server, and a development server for its users.
func (w *world) serve() {
	mtls := w.free()
	_, port, err := net.SplitHostPort(mtls)
	must(w.t, err)
	w.issuer, w.ops, w.login = "https://localhost:"+port, w.free(), w.free()
	dsn := "sqlite://" + w.path("cambist.db")
	must(w.t, os.WriteFile(w.path("policy.yaml"), fmt.Appendf(nil, policy, w.login), 0o600))
	must(w.t, os.WriteFile(w.path("kek"), bytes.Repeat([]byte("k"), 32), 0o600))
	w.start(w.ours, "dev", "--json", "--data", w.path("login"), "--users-address", w.login, "--mtls-address", w.free(), "--ops-address", w.free())
	w.output(w.ours, "migrate", "--store", dsn)
	w.output(w.ours, "apply", "-f", w.path("policy.yaml"), "--store", dsn, "--reason", "test")
	w.start(w.ours, "serve", "--issuer", w.issuer, "--store", dsn, "--audit-commit", "database", "--keys-kek-file", w.path("kek"),
		"--identity-workload-api", w.agent(), "--mtls-address", mtls, "--ops-address", w.ops, "--outbound-private-hosts", "127.0.0.1", "--drain", "0s")
	w.eventually("our server", func() error {
		response, err := http.Get("http://" + w.ops + "/readyz?verbose")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			why, err := io.ReadAll(response.Body)
			return errors.Join(fmt.Errorf("%s", why), err)
		}
		return nil
	})
}

func (w *world) agent() string { return "unix://" + w.path("agent.sock") }

// source is the SVID of this test, which SPIRE takes for shop/web.
func (w *world) source() *workloadapi.X509Source {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(w.agent())))
	must(w.t, err)
	w.t.Cleanup(func() { _ = source.Close() })
	return source
}

// ask is a token request on a connection of its own.
func (w *world) ask(source *workloadapi.X509Source, form url.Values) (status int, answer map[string]any) {
	w.t.Helper()
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(spiffeid.RequireFromString(brokerID)))
	config.MinVersion = tls.VersionTLS13
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	response, err := client.PostForm(w.issuer+"/oauth2/token", form)
	must(w.t, err)
	defer response.Body.Close()
	must(w.t, json.NewDecoder(response.Body).Decode(&answer))
	return response.StatusCode, answer
}

func TestSPIRE(t *testing.T) {
	w := newWorld(t)
	w.spire()
	w.serve()
	source := w.source()
	self := url.Values{"grant_type": {"client_credentials"}, "audience": {ledgerURI}}
	if status, answer := w.ask(source, self); status != http.StatusOK || answer["scope"] != "ledger.read" {
		t.Fatalf("%d %v", status, answer)
	}

	// A JWT-SVID of SPIRE is an actor token, for this broker alone.
	alice := strings.TrimSpace(w.output(w.ours, "dev", "user-token", "--data", w.path("login"), "--user", "alice"))
	for _, shown := range []struct { // the good one first: then the keys are known
		audience string
		status   int
	}{{w.issuer, http.StatusOK}, {"https://other.example", http.StatusBadRequest}} {
		svid, err := workloadapi.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: shown.audience}, workloadapi.WithAddr(w.agent()))
		must(t, err)
		form := url.Values{
			"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "audience": {ledgerURI},
			"subject_token": {alice}, "subject_token_type": {"urn:ietf:params:oauth:token-type:id_token"},
			"actor_token": {svid.Marshal()}, "actor_token_type": {"urn:cambist:token-type:jwt-svid"},
		}
		w.eventually("a JWT-SVID for "+shown.audience, func() error { // its keys come by a stream of their own
			if status, answer := w.ask(source, form); status != shown.status {
				return fmt.Errorf("%d %v", status, answer)
			}
			return nil
		})
	}

	// SPIRE replaces SVIDs, ours and that of the server; both go on.
	first, err := source.GetX509SVID()
	must(t, err)
	w.eventually("a new SVID", func() error {
		now, err := source.GetX509SVID()
		if err == nil && now.Certificates[0].SerialNumber.Cmp(first.Certificates[0].SerialNumber) == 0 {
			err = errors.New("the same as before")
		}
		return err
	})
	w.eventually("the server's first SVID is over", func() error {
		if left := time.Until(first.Certificates[0].NotAfter.Add(time.Second)); left > 0 {
			return fmt.Errorf("%s left", left)
		}
		return nil
	})
	if status, answer := w.ask(source, self); status != http.StatusOK {
		t.Errorf("after the rotation: %d %v", status, answer)
	}
}
