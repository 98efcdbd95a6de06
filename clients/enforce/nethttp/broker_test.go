package nethttp_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/server"
	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/verify"
	"github.com/cambist/cambist/store/sqlite"
)

const shop = `
cambist: v1
set: shop
defaults: {domain: prod.example}
issuers:
- {name: corp, kind: oidc, url: %s, audiences: {cambist: any}, accept: [id], algs: [ES256], claims: {groups: [customer, finance]}, carry: [groups]}
resources:
- {name: orders, uri: https://orders.prod.example, served_by: [shop/orders], scopes: {orders.read: ["GET /orders/**"], orders.write: ["POST /orders"]}}
- {name: sealed, uri: https://sealed.prod.example, served_by: [shop/orders], scopes: {open: ["* /**"]}, binding: certificate}
- {name: keyed, uri: https://keyed.prod.example, served_by: [shop/orders], scopes: {open: ["* /**"]}, binding: dpop}
- {name: ledger, uri: https://ledger.prod.example, served_by: [finance/ledger], scopes: {ledger.write: ["POST /entries"]}}
allow:
- {name: web-orders, from: shop/web, for: corp, to: orders, scopes: [orders.read], presented_by: [edge/gateway]}
- {name: web-sealed, from: shop/web, to: sealed, scopes: [open]}
- {name: web-keyed, from: shop/web, to: keyed, scopes: [open]}
- {name: orders-ledger, from: shop/orders, for: corp, having: [orders.read], to: ledger, scopes: [ledger.write]}
`

// cambist is the real server, on SQLite, and a user's issuer beside it.
type cambist struct {
	*world
	at     string // its token endpoint's host
	issuer *idp.Issuer
}

func newCambist(t *testing.T) *cambist {
	t.Helper()
	ca, err := trust.New(prod, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	c := &cambist{world: &world{ca: ca, bundle: ca.Bundle()}}
	corp := httptest.NewServer(nil)
	t.Cleanup(corp.Close)
	if c.issuer, err = idp.New(corp.URL, time.Now); err != nil {
		t.Fatal(err)
	}
	corp.Config.Handler = c.issuer.Handler()
	c.server = c.svid(t, self)

	dir := t.TempDir()
	id, err := ca.ID("cambist/broker")
	if err != nil {
		t.Fatal(err)
	}
	if err := trust.WriteSVID(dir, c.svid(t, id), ca.Bundle()); err != nil {
		t.Fatal(err)
	}
	config := server.Config{
		Issuer: issuer, Store: "sqlite://" + filepath.Join(dir, "cambist.db"), Replica: "r1", Audit: server.AuditConfig{Commit: "database"},
		Keys: server.KeysConfig{KekFile: filepath.Join(dir, "kek"), PublishLead: 15 * time.Minute, RotateEvery: 24 * time.Hour},
		Identity: server.IdentityConfig{
			Cert: filepath.Join(dir, trust.SVIDFile), Key: filepath.Join(dir, trust.KeyFile),
			Bundles: map[string]string{prod.Name(): filepath.Join(dir, trust.BundleFile)}, Interval: time.Second,
		},
		Mtls: server.MtlsConfig{Address: "127.0.0.1:0"}, Ops: server.OpsConfig{Address: "127.0.0.1:0"},
		Limits:   server.LimitsConfig{TTLCap: 15 * time.Minute, ChainDepth: 4, Concurrent: 64, Self: true},
		Outbound: server.OutboundConfig{PrivateHosts: []string{strings.TrimPrefix(corp.URL, "http://")}},
		Log:      server.LogConfig{Level: "error"},
	}
	if err := os.WriteFile(config.Keys.KekFile, bytes.Repeat([]byte("k"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	apply(t, &config, filepath.Join(dir, "cambist.db"), fmt.Sprintf(shop, corp.URL))
	c.start(t, config)
	c.config = verify.Config{
		Issuer: issuer, Audiences: []string{orders}, Dev: true, Now: time.Now,
		Keys: verify.KeySource{URL: "https://" + c.at + "/oauth2/jwks", Bundles: c.bundle, Server: id},
	}
	c.verifier = c.run(t)
	return c
}

// apply migrates a store and writes the policy into it.
func apply(t *testing.T, c *server.Config, path, text string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err == nil {
		_, err = s.Migrate(t.Context())
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	documents, findings := policy.Parse("policy.yaml", []byte(text))
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	o, err := server.OpenOffline(t.Context(), server.OfflineConfig{DSN: c.Store, KEKFile: c.Keys.KekFile, Policy: policy.Options{Issuer: issuer, Now: time.Now}, Operator: "tester"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := o.Plan(t.Context(), documents)
	if err == nil {
		_, err = o.Apply(t.Context(), p, "test")
	}
	if err == nil {
		err = o.Close()
	}
	if err != nil {
		t.Fatalf("%v: %v", err, p.Findings)
	}
}

func (c *cambist) start(t *testing.T, config server.Config) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	bound, done := make(chan server.Addresses, 1), make(chan error, 1)
	go func() {
		done <- server.Run(ctx, config, server.Process{Log: slog.New(slog.DiscardHandler), Version: "test", Ready: func(a server.Addresses) { bound <- a }})
	}()
	t.Cleanup(func() { cancel(); <-done })
	select {
	case a := <-bound:
		c.at = a.Mtls
	case err := <-done:
		t.Fatalf("the server did not start: %v", err)
	}
}

// ask asks for a token as a workload until the server is ready to answer.
func (c *cambist) ask(t *testing.T, as *x509svid.SVID, form url.Values) string {
	t.Helper()
	for {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+c.at+"/oauth2/token", strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		response, err := client(t, as, nil).Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		var answer struct {
			Token string `json:"access_token"`
		}
		switch err := json.Unmarshal(body, &answer); {
		case err == nil && answer.Token != "":
			return answer.Token
		case response.StatusCode != http.StatusServiceUnavailable:
			t.Fatalf("%v: %d %s", form, response.StatusCode, body)
		}
		<-time.After(20 * time.Millisecond)
	}
}

func onBehalf(token string, kind oauth.TokenType, audience string) url.Values {
	return url.Values{
		"grant_type": {string(oauth.GrantTokenExchange)}, "audience": {audience}, "subject_token": {token}, "subject_token_type": {string(kind)},
	}
}

// The real broker issues, a real service enforces: a user's token through two
// services, a presenter, and a thief.
func TestWithBroker(t *testing.T) {
	t.Parallel()
	c := newCambist(t)
	routes, err := verify.NewRoutes(map[string][]string{"orders.read": {"GET /orders/**"}, "orders.write": {"POST /orders"}})
	if err != nil {
		t.Fatal(err)
	}
	g := c.guard(t, func(c *nethttp.Config) { c.Routes = routes })
	var shown string
	service := c.serve(t, g.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, _ := oauth.UserToken(r.Context())
		shown = raw.Reveal()
		seen(w, r)
	})), nil)

	alice, err := c.issuer.Token(idp.IDToken, "alice", "cambist", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	form := onBehalf(alice, oauth.TokenTypeIDToken, orders)
	form.Set("scope", "orders.read")
	token := c.ask(t, c.svid(t, web), form)
	status, challenge, body := get(t, client(t, c.svid(t, web), nil), service+"/orders/1", token)
	if status != http.StatusOK || !strings.Contains(body, "X-Cambist-Subject: corp:alice\n") || !strings.HasSuffix(body, `X-Cambist-User: {"groups":["customer","finance"]}`) {
		t.Fatalf("%d %s %s", status, challenge, body)
	}
	// The service goes on for the same user with what it was shown.
	onward := onBehalf(shown, oauth.TokenTypeAccessToken, "https://ledger.prod.example")
	onward.Set("scope", "ledger.write")
	next, err := c.of(t, "https://ledger.prod.example").Verify(t.Context(), c.ask(t, c.svid(t, self), onward), mustPeer(t, self))
	if err != nil {
		t.Fatal(err)
	}
	if actors := next.Actors(); next.Subject() != "corp:alice" || len(actors) != 2 || actors[0].Subject != self.String() || actors[1].Subject != web.String() || len(next.Ancestors()) != 1 {
		t.Errorf("%+v", next)
	}
	for name, tt := range map[string]struct {
		as     spiffeid.ID
		target string
		status int
	}{
		"a presenter": {gateway, "/orders/1", 200}, "a thief": {self, "/orders/1", 401}, "another route": {web, "/other", 403},
	} {
		if status, challenge, _ := get(t, client(t, c.svid(t, tt.as), nil), service+tt.target, token); status != tt.status {
			t.Errorf("%s: %d %s", name, status, challenge)
		}
	}
}

// A token that is bound to a certificate is good with that one alone, also in the
// hands of the workload that has it.
func TestSealedWithBroker(t *testing.T) {
	t.Parallel()
	c := newCambist(t)
	const sealed = "https://sealed.prod.example"
	first, renewed := c.svid(t, web), c.svid(t, web)
	token := c.ask(t, first, url.Values{"grant_type": {string(oauth.GrantClientCredentials)}, "audience": {sealed}, "scope": {"open"}})
	g := c.guard(t, func(config *nethttp.Config) { config.Verifier = c.of(t, sealed) })
	service := c.serve(t, g.Handler(http.HandlerFunc(seen)), nil)
	for as, want := range map[*x509svid.SVID]int{first: http.StatusOK, renewed: http.StatusUnauthorized, nil: http.StatusUnauthorized} {
		if status, challenge, _ := get(t, client(t, as, nil), service, token); status != want {
			t.Errorf("%d %s, want %d", status, challenge, want)
		}
	}
}

// of returns the verifier of another service.
func (c *cambist) of(t *testing.T, audience string) *verify.Verifier {
	t.Helper()
	w := *c.world
	w.config.Audiences = []string{audience}
	return w.run(t)
}

func mustPeer(t *testing.T, id spiffeid.ID) verify.Peer {
	t.Helper()
	p, err := verify.NewPeer(id, "")
	if err != nil {
		t.Fatal(err)
	}
	return p
}
