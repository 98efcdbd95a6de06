package dev_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/dev"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/server"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// output is what a person at the terminal sees.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// instance is a development server that runs until the test ends.
type instance struct {
	dev.Places
	out  *output
	stop func() error
}

func config(data string) dev.Config {
	return dev.Config{
		Data: data, Mtls: "127.0.0.1:0", IDP: "127.0.0.1:0", Ops: "127.0.0.1:0", Version: "test", Now: time.Now, Out: io.Discard, Log: slog.New(slog.DiscardHandler),
	}
}

func run(t *testing.T, c dev.Config) *instance {
	t.Helper()
	i := &instance{out: &output{}}
	c.Out = i.out
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ready, done := make(chan dev.Places, 1), make(chan error, 1)
	c.Ready = func(p dev.Places) { ready <- p }
	go func() { done <- dev.Run(ctx, c) }()
	select {
	case i.Places = <-ready:
	case err := <-done:
		cancel()
		t.Fatalf("it did not start: %v\n%s", err, i.out)
	}
	i.stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { _ = i.stop() })
	return i
}

// refuses fails if the server comes up.
func refuses(t *testing.T, c dev.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c.Ready = func(dev.Places) { t.Error("it ran"); cancel() }
	if err := dev.Run(ctx, c); err == nil {
		t.Error("no word of why")
	}
}

func eventually(t *testing.T, i *instance, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	limit, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !holds() {
		select {
		case <-tick.C:
		case <-limit.Done():
			t.Fatalf("it was never so: %s\n%s", what, i.out)
		}
	}
}

// ask is a token request of a workload that has nothing but its socket.
func (i *instance) ask(t *testing.T, workload string, form url.Values) (status int, answer map[string]any) {
	t.Helper()
	source, err := workloadapi.NewX509Source(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr(i.Workloads[workload])))
	must(t, err)
	defer source.Close()
	server, err := spiffeid.FromString(i.ServerID)
	must(t, err)
	config := tlsconfig.MTLSClientConfig(source, source, tlsconfig.AuthorizeID(server))
	config.MinVersion = tls.VersionTLS13
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	response, err := client.PostForm(i.Issuer+"/oauth2/token", form)
	must(t, err)
	defer response.Body.Close()
	must(t, json.NewDecoder(response.Body).Decode(&answer))
	return response.StatusCode, answer
}

func self(audience string) url.Values {
	return url.Values{"grant_type": {"client_credentials"}, "audience": {audience}}
}

const ledger = "https://ledger.dev.cambist.invalid"

// From nothing: the sample policy works for its workloads and its users, and what
// is refused is explained where it happens.
func TestSample(t *testing.T) {
	t.Parallel()
	i := run(t, config(t.TempDir()))
	if status, answer := i.ask(t, "bi/reports", self(ledger)); status != 200 || answer["scope"] != "ledger.read" {
		t.Errorf("%d %v", status, answer)
	}
	user, err := dev.UserToken(config(i.Data), "alice", "cambist", time.Hour)
	must(t, err)
	form := self("https://orders.dev.cambist.invalid")
	form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
	form.Set("subject_token", user)
	form.Set("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")
	if status, answer := i.ask(t, "shop/web", form); status != 200 {
		t.Errorf("%d %v", status, answer)
	}
	if status, answer := i.ask(t, "shop/web", self(ledger)); status != 400 || answer["error"] != "invalid_target" {
		t.Errorf("%d %v", status, answer)
	}
	eventually(t, i, "the refusal is explained", func() bool {
		return strings.Contains(i.out.String(), "this would allow it") && strings.Contains(i.out.String(), `from: "spiffe://dev.cambist.invalid/ns/shop/sa/web", to: "ledger"`)
	})
	if strings.Contains(i.out.String(), user) {
		t.Error("the user's token was printed")
	}
	if _, err := dev.UserToken(config(i.Data), "mallory", "cambist", time.Hour); err == nil {
		t.Error("a token of somebody who does not exist")
	}
	must(t, i.stop())
}

// A JWT-SVID of the caller is an actor token; one of another workload is not.
func TestActorToken(t *testing.T) {
	t.Parallel()
	i := run(t, config(t.TempDir()))
	user, err := dev.UserToken(config(i.Data), "alice", "cambist", time.Hour)
	must(t, err)
	for _, shown := range []struct {
		workload string
		status   int
	}{{"shop/web", 200}, {"shop/orders", 400}} {
		client, err := workloadapi.New(t.Context(), workloadapi.WithAddr(i.Workloads[shown.workload]))
		must(t, err)
		svid, err := client.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: i.Issuer})
		must(t, err)
		must(t, client.Close())
		form := self("https://orders.dev.cambist.invalid")
		form.Set("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange")
		form.Set("subject_token", user)
		form.Set("subject_token_type", "urn:ietf:params:oauth:token-type:id_token")
		form.Set("actor_token", svid.Marshal())
		form.Set("actor_token_type", "urn:cambist:token-type:jwt-svid")
		if status, answer := i.ask(t, "shop/web", form); status != shown.status {
			t.Errorf("shown by shop/web, of %s: %d %v", shown.workload, status, answer)
		}
	}
	must(t, i.stop())
}

// A file that is edited is in force soon; a broken edit leaves the policy as it
// is and says where and why; what was granted stays granted meanwhile.
func TestWatchedFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "policy.yaml")
	edit := func(text string) { must(t, os.WriteFile(path, []byte(text), 0o600)) }
	edit(dev.Sample())
	c := config(t.TempDir())
	c.Policy = path
	i := run(t, c)
	granted := func(workload string) func() bool {
		return func() bool { status, _ := i.ask(t, workload, self(ledger)); return status == 200 }
	}
	if granted("shop/web")() {
		t.Fatal("granted before the rule")
	}
	edit(strings.Replace(dev.Sample(), "from: bi/reports,", "from: [bi/reports, shop/web, new/job],", 1))
	eventually(t, i, "the new rule is in force", granted("shop/web"))
	eventually(t, i, "its change was printed", func() bool { return strings.Contains(i.out.String(), "~ mapping sample/reports") })
	edit(strings.Replace(dev.Sample(), "to: ledger", "to: leger", 1))
	eventually(t, i, "the fault is printed", func() bool {
		return strings.Contains(i.out.String(), path+":29:") && strings.Contains(i.out.String(), `no resource fits "leger"`) && strings.Contains(i.out.String(), "stays in force")
	})
	edit("cambist: v1\nset: [\n")
	eventually(t, i, "the syntax is printed", func() bool { return strings.Contains(i.out.String(), "yaml-syntax") })
	if !granted("shop/web")() {
		t.Error("a broken edit took a rule away")
	}
	must(t, os.Remove(path))
	eventually(t, i, "the file is missed", func() bool { return strings.Contains(i.out.String(), "no such file") })
	edit(dev.Sample())
	eventually(t, i, "the rule is gone", func() bool { return !granted("shop/web")() })
	must(t, i.stop())
}

// The first policy must be good: nobody wonders later why nothing works.
func TestBadFirstPolicy(t *testing.T) {
	t.Parallel()
	c := config(t.TempDir())
	c.Policy = filepath.Join(t.TempDir(), "policy.yaml")
	for _, text := range []string{"", "x", "cambist: v2\nset: s\n"} {
		must(t, os.WriteFile(c.Policy, []byte(text), 0o600))
		refuses(t, c)
	}
}

// What is there is kept: the CA, the issuer, the policy, the record.
func TestRestart(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	first := run(t, config(data))
	bundle, err := os.ReadFile(first.Bundle)
	must(t, err)
	must(t, first.stop())
	second := run(t, config(data))
	again, err := os.ReadFile(second.Bundle)
	must(t, err)
	if !bytes.Equal(bundle, again) || second.Revision < first.Revision {
		t.Errorf("another CA, or revision %d after %d", second.Revision, first.Revision)
	}
	if status, answer := second.ask(t, "bi/reports", self(ledger)); status != 200 {
		t.Errorf("%d %v", status, answer)
	}
	must(t, second.stop())
}

// A development server and production cannot be mistaken for one another.
func TestNeverProduction(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*dev.Config){
		"every address":     func(c *dev.Config) { c.Mtls = ":8443" },
		"all of IPv4":       func(c *dev.Config) { c.Mtls = "0.0.0.0:0" },
		"a private address": func(c *dev.Config) { c.IDP = "10.0.0.1:0" },
		"a name":            func(c *dev.Config) { c.Ops = "example.com:0" },
		"no port":           func(c *dev.Config) { c.Ops = "127.0.0.1" },
		"a store in use":    func(c *dev.Config) { production(t, filepath.Join(c.Data, "cambist.db")) },
		"another stamp":     func(c *dev.Config) { stamp(t, filepath.Join(c.Data, "cambist.db"), "prod") },
		"a data file":       func(c *dev.Config) { c.Data = filepath.Join(c.Data, "x"); must(t, os.WriteFile(c.Data, nil, 0o600)) },
		"a broken CA": func(c *dev.Config) {
			must(t, os.MkdirAll(filepath.Join(c.Data, "ca"), 0o700))
			breakFiles(t, filepath.Join(c.Data, "ca"))
		},
		"a world-read key": func(c *dev.Config) {
			must(t, os.WriteFile(filepath.Join(c.Data, "kek"), bytes.Repeat([]byte("k"), 32), 0o644)) //nolint:gosec // that is what is tested
		},
		"a policy elsewhere": func(c *dev.Config) { c.Policy = "/nowhere.yaml" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := config(t.TempDir())
			spoil(&c)
			refuses(t, c)
		})
	}
	// And the other way: what dev made, serve refuses.
	i := run(t, config(t.TempDir()))
	must(t, i.stop())
	store, err := server.OpenStore(t.Context(), "sqlite://"+filepath.Join(i.Data, "cambist.db"))
	must(t, err)
	mark, err := store.Stamp(t.Context())
	must(t, err)
	must(t, store.Close())
	if mark != dev.Stamp {
		t.Errorf("its store bears %q", mark)
	}
	err = server.Run(t.Context(), server.Config{
		Issuer: "https://localhost:8443", Store: "sqlite://" + filepath.Join(i.Data, "cambist.db"), Replica: "r", Audit: server.AuditConfig{Commit: "database"},
		Keys:     server.KeysConfig{KekFile: filepath.Join(i.Data, "kek"), PublishLead: time.Minute, RotateEvery: time.Hour},
		Identity: server.IdentityConfig{WorkloadAPI: "unix:///nowhere"}, Mtls: server.MtlsConfig{Address: "127.0.0.1:0"}, Ops: server.OpsConfig{Address: "127.0.0.1:0"},
		Limits: server.LimitsConfig{TTLCap: time.Minute, ChainDepth: 4, Concurrent: 1},
	}, server.Process{Log: slog.New(slog.DiscardHandler)})
	if err == nil || !strings.Contains(err.Error(), `marked "dev"`) {
		t.Errorf("serve on it: %v", err)
	}
}

// production makes a store that a server has policy in.
func production(t *testing.T, path string) {
	t.Helper()
	dsn := "sqlite://" + path
	_, err := server.Migrate(t.Context(), dsn)
	must(t, err)
	o, err := server.OpenOffline(t.Context(), server.OfflineConfig{DSN: dsn, Policy: policy.Options{}, Operator: "x"})
	must(t, err)
	_, err = o.Block(t.Context(), broker.Block{Target: broker.BlockSubject, ID: "x", Reason: "x"})
	must(t, err)
	must(t, o.Close())
}

func stamp(t *testing.T, path, mark string) {
	t.Helper()
	dsn := "sqlite://" + path
	_, err := server.Migrate(t.Context(), dsn)
	must(t, err)
	s, err := server.OpenStore(t.Context(), dsn)
	must(t, err)
	must(t, s.SetStamp(t.Context(), mark))
	must(t, s.Close())
}

func breakFiles(t *testing.T, dir string) {
	t.Helper()
	for _, name := range []string{"ca.pem", "ca-key.pem"} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600))
	}
}

// Programs read one line.
func TestJSON(t *testing.T) {
	t.Parallel()
	c := config(t.TempDir())
	c.JSON = true
	i := run(t, c)
	eventually(t, i, "a line", func() bool { return strings.HasSuffix(i.out.String(), "\n") })
	var places dev.Places
	must(t, json.Unmarshal([]byte(i.out.String()), &places))
	if places.Issuer != i.Issuer || places.Workloads["shop/web"] == "" || strings.Count(i.out.String(), "\n") != 1 {
		t.Errorf("%s", i.out)
	}
	must(t, i.stop())
}
