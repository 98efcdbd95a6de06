package server_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/server"
)

// good returns a configuration without a fault.
func good(t *testing.T) server.Config {
	t.Helper()
	dir := t.TempDir()
	file := func(name string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Repeat("k", 32)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return server.Config{
		Issuer: "https://cambist.example", Store: "sqlite:///x.db", Replica: "r1", Audit: server.AuditConfig{Commit: "database"},
		Keys:     server.KeysConfig{KekFile: file("kek"), PublishLead: 15 * time.Minute, RotateEvery: 24 * time.Hour},
		Identity: server.IdentityConfig{Cert: file("cert"), Key: file("key"), Bundles: map[string]string{"prod.example": file("bundle")}, Interval: time.Second},
		Mtls:     server.MtlsConfig{Address: ":8443"}, Ops: server.OpsConfig{Address: "127.0.0.1:9090"},
		Limits: server.LimitsConfig{TTLCap: 15 * time.Minute, ChainDepth: 4, Concurrent: 1, Rate: 1, Burst: 1},
	}
}

// cluster is a trust block of one cluster.
func cluster(k server.KubernetesTrust) server.TrustConfig {
	return server.TrustConfig{"prod.example": {Kubernetes: k}}
}

// assertion turns the listener for assertions on before a test spoils it.
func assertion(spoil func(*server.Config)) func(*server.Config) {
	return func(c *server.Config) {
		c.Assertion = server.AssertionConfig{Address: ":8444", URL: "https://cambist.example:8444"}
		c.Trust = cluster(server.KubernetesTrust{Issuer: "https://k8s", Audience: c.Issuer + "/k8s", JWKSURI: "https://k8s/openid/v1/jwks"})
		spoil(c)
	}
}

// What names an audience of ours for each of two clusters that were installed alike
// has no fault.
func TestAssertionsWithoutFault(t *testing.T) {
	t.Parallel()
	c := good(t)
	assertion(func(c *server.Config) {
		c.Trust["test.example"] = server.TrustDomain{Kubernetes: server.KubernetesTrust{Issuer: "https://k8s", JWKSFile: c.Keys.KekFile}}
	})(&c)
	if err := c.Faults(); err != nil {
		t.Error(err)
	}
}

// Each fault is found, alone and among others, and names the setting.
func TestFaults(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		spoil func(*server.Config)
		want  string
	}{
		"no issuer":          {func(c *server.Config) { c.Issuer = "" }, "issuer: is missing"},
		"http issuer":        {func(c *server.Config) { c.Issuer = "http://cambist.example" }, "issuer: must be an https URL"},
		"issuer no host":     {func(c *server.Config) { c.Issuer = "https://" }, "issuer: must be an https URL"},
		"issuer userinfo":    {func(c *server.Config) { c.Issuer = "https://me@cambist.example" }, "issuer: must be an https URL"},
		"issuer query":       {func(c *server.Config) { c.Issuer = "https://cambist.example?x" }, "issuer: must have no query"},
		"issuer bare query":  {func(c *server.Config) { c.Issuer = "https://cambist.example?" }, "issuer: must have no query"},
		"issuer fragment":    {func(c *server.Config) { c.Issuer = "https://cambist.example#x" }, "no fragment"},
		"issuer slash":       {func(c *server.Config) { c.Issuer = "https://cambist.example/" }, "issuer: must have no path"},
		"issuer path":        {func(c *server.Config) { c.Issuer = "https://cambist.example/t1" }, "issuer: must have no path"},
		"issuer upper case":  {func(c *server.Config) { c.Issuer = "https://Cambist.example" }, `write "https://cambist.example"`},
		"no store":           {func(c *server.Config) { c.Store = "" }, "store: is missing"},
		"unknown store":      {func(c *server.Config) { c.Store = "mysql://x" }, "store: must begin"},
		"no replica":         {func(c *server.Config) { c.Replica = "" }, "replica: is empty"},
		"no commit point":    {func(c *server.Config) { c.Audit.Commit = "" }, "audit.commit: must be chosen"},
		"unknown commit":     {func(c *server.Config) { c.Audit.Commit = "memory" }, `audit.commit: "memory" is not one of`},
		"no kek":             {func(c *server.Config) { c.Keys.KekFile = "" }, "keys.kek_file: is missing"},
		"kek not there":      {func(c *server.Config) { c.Keys.KekFile = "/nowhere" }, "/nowhere"},
		"rotation too fast":  {func(c *server.Config) { c.Keys.RotateEvery = time.Minute }, "keys.rotate_every"},
		"negative lead":      {func(c *server.Config) { c.Keys.PublishLead = -1 }, "keys.rotate_every"},
		"a URL as a host":    {func(c *server.Config) { c.Outbound.PrivateHosts = []string{"https://idp.corp"} }, "outbound.private_hosts"},
		"no identity":        {func(c *server.Config) { c.Identity = server.IdentityConfig{} }, "identity: give"},
		"two identities":     {func(c *server.Config) { c.Identity.WorkloadAPI = "unix:///x" }, "choose one"},
		"no key":             {func(c *server.Config) { c.Identity.Key = "" }, "belong together"},
		"no bundle":          {func(c *server.Config) { c.Identity.Bundles = nil }, "belong together"},
		"trust domain":       {func(c *server.Config) { c.Identity.Bundles = map[string]string{"a..b": "/x"} }, "identity.bundles"},
		"trust domain dot":   {func(c *server.Config) { c.Identity.Bundles = map[string]string{"td.": "/x"} }, "identity.bundles"},
		"busy files":         {func(c *server.Config) { c.Identity.Interval = time.Millisecond }, "identity.interval"},
		"mtls address":       {func(c *server.Config) { c.Mtls.Address = "8443" }, "mtls.address"},
		"mtls certificate":   {func(c *server.Config) { c.Mtls.Cert = c.Identity.Cert }, "cert and key belong together"},
		"dpop proofs":        {func(c *server.Config) { c.DPoP.Proofs = -1 }, "dpop.proofs"},
		"mtls url":           {func(c *server.Config) { c.Mtls.URL = "https://x/y" }, "mtls.url"},
		"mtls url plain":     {func(c *server.Config) { c.Mtls.URL = "http://x" }, "mtls.url"},
		"public certificate": {func(c *server.Config) { c.Public.Address = ":8445" }, "public.cert"},
		"assertion address":  {assertion(func(c *server.Config) { c.Assertion.Address = "8444" }), "assertion.address"},
		"assertion off":      {func(c *server.Config) { c.Assertion.URL = "https://x" }, "assertion.address: is missing"},
		"assertion no url":   {assertion(func(c *server.Config) { c.Assertion.URL = "" }), "assertion.url"},
		"assertion path":     {assertion(func(c *server.Config) { c.Assertion.URL = "https://x/y" }), "assertion.url"},
		"assertion query":    {assertion(func(c *server.Config) { c.Assertion.URL = "https://x?" }), "assertion.url"},
		"assertion plain":    {assertion(func(c *server.Config) { c.Assertion.URL = "http://x" }), "assertion.url"},
		"assertion key":      {assertion(func(c *server.Config) { c.Assertion.Cert = c.Identity.Cert }), "assertion: cert and key belong together"},
		"assertion no file":  {assertion(func(c *server.Config) { c.Assertion.Cert, c.Assertion.Key = c.Identity.Cert, "/nowhere" }), "/nowhere"},
		"trust, no listener": {func(c *server.Config) { c.Trust = cluster(server.KubernetesTrust{Issuer: "https://k8s"}) }, "assertion.address: is missing"},
		"trust domain name":  {assertion(func(c *server.Config) { c.Trust = server.TrustConfig{"a..b": c.Trust["prod.example"]} }), "trust: "},
		"trust, nothing":     {assertion(func(c *server.Config) { c.Trust = cluster(server.KubernetesTrust{}) }), "kubernetes.issuer: must be"},
		"cluster plain":      {assertion(func(c *server.Config) { c.Trust = cluster(server.KubernetesTrust{Issuer: "http://k8s"}) }), "kubernetes.issuer: must be"},
		"cluster legacy":     {assertion(func(c *server.Config) { c.Trust = cluster(server.KubernetesTrust{Issuer: "kubernetes/serviceaccount"}) }), "kubernetes.issuer: must be"},
		"cluster is us":      {assertion(func(c *server.Config) { c.Trust = cluster(server.KubernetesTrust{Issuer: c.Issuer}) }), "is this server itself"},
		"API server's aud": {assertion(func(c *server.Config) {
			c.Trust = cluster(server.KubernetesTrust{Issuer: "https://k8s", Audience: "https://k8s"})
		}), "kubernetes.audience"},
		"audience beside": {assertion(func(c *server.Config) {
			c.Trust = cluster(server.KubernetesTrust{Issuer: "https://k8s", Audience: c.Issuer + "x"})
		}), "kubernetes.audience"},
		"two key sources": {assertion(func(c *server.Config) {
			c.Trust = cluster(server.KubernetesTrust{Issuer: "https://k8s", JWKSURI: "https://x", JWKSFile: c.Keys.KekFile})
		}), "choose one"},
		"keys nowhere": {assertion(func(c *server.Config) {
			c.Trust = cluster(server.KubernetesTrust{Issuer: "https://k8s", JWKSURI: "file:///x"})
		}), "jwks_uri"},
		"keys no file": {assertion(func(c *server.Config) {
			c.Trust = cluster(server.KubernetesTrust{Issuer: "https://k8s", JWKSFile: "/nowhere"})
		}), "/nowhere"},
		"two clusters alike": {assertion(func(c *server.Config) { c.Trust["test.example"] = c.Trust["prod.example"] }), "has the issuer and the audience of trust.prod.example"},
		"ops address":        {func(c *server.Config) { c.Ops.Address = "" }, "ops.address"},
		"ttl cap":            {func(c *server.Config) { c.Limits.TTLCap = 2 * time.Hour }, "limits.ttl_cap"},
		"ttl cap short":      {func(c *server.Config) { c.Limits.TTLCap = time.Second }, "limits.ttl_cap"},
		"chain depth":        {func(c *server.Config) { c.Limits.ChainDepth = 9 }, "limits.chain_depth"},
		"no chain":           {func(c *server.Config) { c.Limits.ChainDepth = 0 }, "limits.chain_depth"},
		"no concurrency":     {func(c *server.Config) { c.Limits.Concurrent = 0 }, "limits: concurrent"},
		"negative rate":      {func(c *server.Config) { c.Limits.Rate = -1 }, "limits: concurrent"},
		"no burst":           {func(c *server.Config) { c.Limits.Burst = 0 }, "limits: concurrent"},
		"negative drain":     {func(c *server.Config) { c.Drain = -1 }, "drain"},
	}
	whole := good(t)
	if err := whole.Faults(); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := good(t)
			tt.spoil(&c)
			err := c.Faults()
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Count(err.Error(), "\n") > 0 {
				t.Errorf("%v, want one fault with %q", err, tt.want)
			}
			c.Drain = -1
			if err := c.Faults(); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "drain") {
				t.Errorf("with another: %v", err)
			}
			if err := server.Run(context.Background(), c, server.Process{Log: slog.New(slog.DiscardHandler)}); err == nil {
				t.Error("it ran")
			}
		})
	}
}
