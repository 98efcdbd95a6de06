package verify_test

import (
	"crypto/x509"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/clients/verify"
)

func TestConfig(t *testing.T) {
	t.Parallel()
	bundle := newRoot(t).bundle()
	tests := map[string]struct {
		change func(*verify.Config)
		want   string // part of the fault, "" if there is none
	}{
		"least":  {func(*verify.Config) {}, ""},
		"a port": {func(c *verify.Config) { c.Issuer = "https://sts.example:8445" }, ""},
		"everything": {func(c *verify.Config) {
			c.Leeway, c.MaxStale, c.AllowBearer, c.Algorithms = 30*time.Second, 15*time.Minute, true, []jws.Algorithm{jws.RS256, jws.EdDSA}
		}, ""},
		"no issuer":              {func(c *verify.Config) { c.Issuer = "" }, "Issuer"},
		"issuer without scheme":  {func(c *verify.Config) { c.Issuer = "sts.example" }, "Issuer"},
		"issuer by http":         {func(c *verify.Config) { c.Issuer = "http://sts.example" }, "Issuer"},
		"issuer by http, Dev":    {func(c *verify.Config) { c.Issuer, c.Dev = "http://sts.example", true }, "Issuer"},
		"issuer with a slash":    {func(c *verify.Config) { c.Issuer += "/" }, "Issuer"},
		"issuer with a path":     {func(c *verify.Config) { c.Issuer += "/t1" }, "Issuer"},
		"issuer with a query":    {func(c *verify.Config) { c.Issuer += "?a" }, "Issuer"},
		"issuer with an empty ?": {func(c *verify.Config) { c.Issuer += "?" }, "Issuer"},
		"issuer with a fragment": {func(c *verify.Config) { c.Issuer += "#a" }, "Issuer"},
		"issuer with a user":     {func(c *verify.Config) { c.Issuer = "https://u@sts.example" }, "Issuer"},
		"issuer without a host":  {func(c *verify.Config) { c.Issuer = "https://" }, "Issuer"},
		"issuer of odd case":     {func(c *verify.Config) { c.Issuer = "HTTPS://sts.example" }, "Issuer"},
		"no audience":            {func(c *verify.Config) { c.Audiences = nil }, "Audiences"},
		"an empty audience":      {func(c *verify.Config) { c.Audiences = []string{orders, ""} }, "audience"},
		"audience with a quote":  {func(c *verify.Config) { c.Audiences = []string{`a"b`} }, "audience"},
		"audience, backslash":    {func(c *verify.Config) { c.Audiences = []string{`a\b`} }, "audience"},
		"audience with a space":  {func(c *verify.Config) { c.Audiences = []string{"a b"} }, "audience"},
		"audience, not ASCII":    {func(c *verify.Config) { c.Audiences = []string{"é"} }, "audience"},
		"audience too long":      {func(c *verify.Config) { c.Audiences = []string{strings.Repeat("a", 1025)} }, "audience"},
		"unknown algorithm":      {func(c *verify.Config) { c.Algorithms = []jws.Algorithm{jws.ES256, "HS256"} }, "algorithm"},
		"leeway negative":        {func(c *verify.Config) { c.Leeway = -1 }, "Leeway"},
		"leeway large":           {func(c *verify.Config) { c.Leeway = 30*time.Second + 1 }, "Leeway"},
		"stale soon":             {func(c *verify.Config) { c.MaxStale = 15*time.Minute - 1 }, "MaxStale"},
		"stale negative":         {func(c *verify.Config) { c.MaxStale = -1 }, "MaxStale"},
		"stale for ever":         {func(c *verify.Config) { c.MaxStale = 7*24*time.Hour + 1 }, "MaxStale"},
		"no clock":               {func(c *verify.Config) { c.Now = nil }, "Now"},
		"a URL":                  {func(c *verify.Config) { c.Keys.URL = "https://keys.example/jwks?a=b" }, ""},
		"URL by http":            {func(c *verify.Config) { c.Keys.URL = "http://keys.example/jwks" }, "Keys.URL"},
		"URL with a user":        {func(c *verify.Config) { c.Keys.URL = "https://u:p@keys.example/jwks" }, "Keys.URL"},
		"URL with a fragment":    {func(c *verify.Config) { c.Keys.URL = "https://keys.example/jwks#a" }, "Keys.URL"},
		"URL without a host":     {func(c *verify.Config) { c.Keys.URL = "https:///jwks" }, "Keys.URL"},
		"URL of a file":          {func(c *verify.Config) { c.Keys.URL = "file:///jwks" }, "Keys.URL"},
		"URL that is none":       {func(c *verify.Config) { c.Keys.URL = "https://%zz" }, "Keys.URL"},
		"URL and file":           {func(c *verify.Config) { c.Keys.URL, c.Keys.File = "https://keys.example/jwks", "/f" }, "both a URL and a File"},
		"base URLs": {func(c *verify.Config) {
			c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://a.example", "https://a:8443/orders/v1"}}
		}, ""},
		"no base URL":           {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{} }, "DPoP.BaseURLs"},
		"base URL with a slash": {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://a.example/"}} }, "DPoP base URL"},
		"base URL with a query": {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://a.example?x"}} }, "DPoP base URL"},
		"base URL, not ASCII":   {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://é.example"}} }, "DPoP base URL"},
		"base URL with a user":  {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://u@a.example"}} }, "DPoP base URL"},
		"base URL, no scheme":   {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"a.example"}} }, "DPoP base URL"},
		"base URL by http":      {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"http://a.example"}} }, "DPoP base URL"},
		"base URL, http, Dev": {func(c *verify.Config) {
			c.Dev, c.DPoP = true, &verify.DPoPConfig{BaseURLs: []string{"http://a.example"}}
		}, ""},
		"proofs negative":    {func(c *verify.Config) { c.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://a"}, Proofs: -1} }, "DPoP.Proofs"},
		"bundles and server": {func(c *verify.Config) { c.Keys.Bundles, c.Keys.Server = bundle, web }, ""},
		"bundles alone":      {func(c *verify.Config) { c.Keys.Bundles = bundle }, "Bundles and Server"},
		"server alone":       {func(c *verify.Config) { c.Keys.Server = web }, "Bundles and Server"},
		"bundles and roots":  {func(c *verify.Config) { c.Keys.Bundles, c.Keys.Server, c.Keys.Roots = bundle, web, x509.NewCertPool() }, "Bundles and Roots"},
	}
	for name, tt := range tests {
		c := verify.Config{Issuer: issuer, Audiences: []string{orders}, Now: fixed}
		tt.change(&c)
		v, err := verify.New(c)
		if (tt.want == "") != (err == nil) || (v == nil) != (err != nil) || err != nil && (!strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n")) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	if _, err := verify.New(verify.Config{}); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not every fault at once: %v", err)
	}
}

// Design 14: a loopback issuer, and keys from there, need Dev.
func TestDev(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1:8445", "localhost", "LOCALHOST:80", "localhost.:1", "a.localhost", "[::1]:8445", "[::ffff:127.0.0.1]", "127.1.2.3", "0.0.0.0:1", "[::]:1"} {
		for _, scheme := range []string{"https", "http"} {
			for _, dev := range []bool{false, true} {
				issuerHere := verify.Config{Issuer: scheme + "://" + host, Audiences: []string{orders}, Now: fixed, Dev: dev}
				keysHere := verify.Config{Issuer: issuer, Audiences: []string{orders}, Now: fixed, Dev: dev, Keys: verify.KeySource{URL: scheme + "://" + host + "/jwks"}}
				for what, c := range map[string]verify.Config{"issuer": issuerHere, "keys": keysHere} {
					if _, err := verify.New(c); (err == nil) != dev {
						t.Errorf("%s at %s://%s, Dev %t: %v", what, scheme, host, dev, err)
					}
				}
			}
		}
	}
}

// A configuration is not what its maker does with it afterwards.
func TestConfigDoesNotAlias(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	audiences, algorithms := []string{orders}, []jws.Algorithm{jws.ES256}
	v := newVerifier(t, func(c *verify.Config) { c.Audiences, c.Algorithms = audiences, algorithms }, s)
	audiences[0], algorithms[0] = "x", jws.RS256
	v.Audiences()[0] = "x"
	if _, err := asWeb(t, v, sign(t, s, "at+jwt", workloadClaims().json(t))); err != nil {
		t.Error(err)
	}
}
