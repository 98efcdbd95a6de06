package oidc_test

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cambist/cambist/broker/subject/oidc"
)

// counted is a server that counts what reaches it.
type counted struct {
	*httptest.Server
	connections, requests atomic.Int64
}

func serve(t testing.TB, tls bool, answer http.HandlerFunc) *counted {
	t.Helper()
	c := &counted{}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { c.requests.Add(1); answer(w, r) })
	c.Server = httptest.NewUnstartedServer(h)
	c.Config.ErrorLog = log.New(io.Discard, "", 0)
	c.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.connections.Add(1)
		}
	}
	if tls {
		c.StartTLS()
	} else {
		c.Start()
	}
	t.Cleanup(c.Close)
	return c
}

func text(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }
}

func TestFetch(t *testing.T) {
	t.Parallel()
	s := serve(t, true, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Accept") != "application/json" || r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusTeapot)
		}
		_, _ = w.Write([]byte("{}"))
	})
	body, err := fetcher(t, s.Server).Fetch(t.Context(), s.URL+"/x?p=1")
	if err != nil || string(body) != "{}" {
		t.Fatalf("%q, %v", body, err)
	}
	plain := serve(t, false, text("{}"))
	if body, err := fetcher(t).Fetch(t.Context(), plain.URL); err != nil || string(body) != "{}" {
		t.Fatalf("by http from this machine: %q, %v", body, err)
	}
}

// Where nothing is fetched from (standards JW-18, threats B18). The server is
// there, and would answer.
func TestFetchRefuses(t *testing.T) {
	t.Parallel()
	s, plain := serve(t, true, text("{}")), serve(t, false, text("{}"))
	port, plainPort := address(t, s.URL).Port(), address(t, plain.URL).Port()
	tests := map[string]struct {
		private []string
		url     string
	}{
		"loopback":                {nil, s.URL},
		"loopback, IPv6":          {nil, "https://[::1]:" + port},
		"loopback, mapped":        {nil, "https://[::ffff:127.0.0.1]:" + port},
		"loopback, by name":       {nil, "https://localhost:" + port},
		"unspecified":             {nil, "https://0.0.0.0:" + port},
		"the whole in one number": {nil, "https://2130706433:" + port},
		"another port is listed":  {[]string{"127.0.0.1:1"}, s.URL},
		"its name is not listed":  {[]string{"127.0.0.1"}, "https://localhost:" + port},
		"only as part of a name":  {[]string{"27.0.0.1", "0.0.1"}, s.URL},
		"metadata":                {nil, "https://169.254.169.254/latest/meta-data"},
		"private":                 {nil, "https://10.0.0.1"},
		"http, not listed":        {nil, plain.URL},
		"http, another port":      {[]string{"127.0.0.1:1"}, plain.URL},
		"http to a name":          {[]string{"idp.internal", "127.0.0.1"}, "http://idp.internal:" + plainPort},
		"http to an address":      {[]string{"0.0.0.0"}, "http://0.0.0.0:" + plainPort},
		"no host, but a port":     {[]string{"", ":" + port}, "https://:" + port},
		"with credentials":        {[]string{"127.0.0.1"}, strings.Replace(s.URL, "https://", "https://u:p@", 1)},
		"with a fragment":         {[]string{"127.0.0.1"}, s.URL + "#f"},
		"a file":                  {[]string{"127.0.0.1"}, "file:///etc/passwd"},
		"no scheme":               {[]string{"127.0.0.1"}, strings.TrimPrefix(s.URL, "https:")},
		"no host":                 {[]string{""}, "https:///x"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := oidc.FetchConfig{PrivateHosts: test.private, Roots: roots(s.Server)}
			if body, err := oidc.NewFetcher(c).Fetch(t.Context(), test.url); err == nil {
				t.Fatalf("fetched %q", body)
			}
			if n := s.connections.Load() + plain.connections.Load(); n != 0 {
				t.Fatalf("%d connections arrived", n)
			}
		})
	}
}

// What is refused before any name is looked up.
func TestURLs(t *testing.T) {
	t.Parallel()
	f := oidc.NewFetcher(oidc.FetchConfig{PrivateHosts: []string{"", ":1", "127.0.0.1:1", "localhost:80", "[::1]:1"}})
	for url, refused := range map[string]bool{
		"https://127.0.0.1:1": false, "http://127.0.0.1:1": false, "http://[::1]:1": false, "http://localhost": false, "HTTPS://127.0.0.1:1": false,
		"http://127.0.0.1:2": true, "http://127.0.0.1": true, "http://localhost:1": true, "http://idp.example:1": true,
		"https://:1": true, "https://": true, "127.0.0.1:1": true, "file:///x": true, "https://u@127.0.0.1:1": true, "https://127.0.0.1:1#f": true, "https://a b": true,
	} {
		if _, err := f.Fetch(t.Context(), url); errors.Is(err, oidc.ErrURL) != refused {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func address(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// A host that is listed, by name or address, with its port or without, in any
// case.
func TestPrivateHosts(t *testing.T) {
	t.Parallel()
	s := serve(t, false, text("{}"))
	port := address(t, s.URL).Port()
	for _, listed := range []string{"127.0.0.1", "127.0.0.1:" + port} {
		if _, err := oidc.NewFetcher(oidc.FetchConfig{PrivateHosts: []string{listed}}).Fetch(t.Context(), s.URL); err != nil {
			t.Errorf("%s: %v", listed, err)
		}
	}
	f := oidc.NewFetcher(oidc.FetchConfig{PrivateHosts: []string{"LocalHost:" + port}})
	if _, err := f.Fetch(t.Context(), "http://LOCALHOST:"+port); err != nil {
		t.Errorf("by name: %v", err)
	}
}

// What answers is not taken as it comes.
func TestFetchRefusesAnswers(t *testing.T) {
	t.Parallel()
	other := serve(t, true, text("{}"))
	tests := map[string]http.HandlerFunc{
		"an error":         func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "{}", http.StatusInternalServerError) },
		"nothing":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"a redirect":       func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) },
		"a redirect home":  func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/x", http.StatusPermanentRedirect) },
		"5 MiB":            text(strings.Repeat(" ", 5<<20)),
		"one byte over":    text(strings.Repeat(" ", 256<<10+1)),
		"headers too long": func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 64<<10)) },
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("{}"))
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, true, answer)
			if body, err := fetcher(t, s.Server, other.Server).Fetch(t.Context(), s.URL); err == nil {
				t.Fatalf("fetched %d bytes", len(body))
			}
			if s.requests.Load() != 1 || other.requests.Load() != 0 {
				t.Fatalf("%d and %d requests", s.requests.Load(), other.requests.Load())
			}
		})
	}
	whole := serve(t, true, text(strings.Repeat(" ", 256<<10)))
	if body, err := fetcher(t, whole.Server).Fetch(t.Context(), whole.URL); err != nil || len(body) != 256<<10 {
		t.Errorf("%d bytes, %v", len(body), err)
	}
}

// Nobody whom the test does not trust, and nobody by another name (threats I5).
func TestFetchVerifiesTheServer(t *testing.T) {
	t.Parallel()
	s := serve(t, true, text("{}"))
	if _, err := fetcher(t).Fetch(t.Context(), s.URL); err == nil {
		t.Error("an unknown authority is trusted")
	}
	port := address(t, s.URL).Port()
	f := oidc.NewFetcher(oidc.FetchConfig{PrivateHosts: []string{"localhost"}, Roots: roots(s.Server)})
	if _, err := f.Fetch(t.Context(), "https://localhost:"+port); err == nil {
		t.Error("a certificate for another name is trusted")
	}
}

// The proxy of the environment is not asked. This test is alone, because the
// environment is everybody's.
func TestFetchTakesNoProxy(t *testing.T) {
	trap := serve(t, false, text("{}"))
	for _, name := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY"} {
		t.Setenv(name, trap.URL)
	}
	f := oidc.NewFetcher(oidc.FetchConfig{PrivateHosts: []string{"127.0.0.1"}})
	if body, err := f.Fetch(context.Background(), "https://203.0.113.1/keys"); err == nil {
		t.Fatalf("fetched %q", body)
	}
	if n := trap.connections.Load(); n != 0 {
		t.Fatalf("the proxy got %d connections", n)
	}
}

func TestPublic(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"0.0.0.0", "0.1.2.3", "10.0.0.1", "100.64.0.1", "100.127.255.255", "127.0.0.1", "127.255.255.254", "169.254.169.254",
		"172.16.0.1", "172.31.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.18.0.1", "198.19.255.255", "198.51.100.1",
		"203.0.113.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "100::1",
		"2001::1", "2001:10::1", "2001:db8::1", "2002:7f00:1::", "3fff::1", "4000::1", "fc00::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1",
		"2606:4700::1%eth0",
	} {
		if oidc.Public(netip.MustParseAddr(text)) {
			t.Errorf("%s counts as public", text)
		}
	}
	if oidc.Public(netip.Addr{}) {
		t.Error("the zero address counts as public")
	}
	for _, text := range []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1", "192.0.1.1", "198.17.255.255",
		"198.20.0.1", "223.255.255.255", "::ffff:8.8.8.8", "64:ff9b::808:808", "2001:200::1", "2606:4700::1111", "2a00:1450::1",
	} {
		if !oidc.Public(netip.MustParseAddr(text)) {
			t.Errorf("%s does not count as public", text)
		}
	}
}

func TestFetchConfigValidate(t *testing.T) {
	t.Parallel()
	good := oidc.FetchConfig{PrivateHosts: []string{"idp.internal", "idp.internal:8443", "10.0.0.1", "[fd00::1]:8443", "fd00::1"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for _, host := range []string{"", "https://idp.internal", "*.internal", "10.0.0.0/8", "u@h", "a b"} {
		bad := oidc.FetchConfig{PrivateHosts: []string{"ok", host}}
		if bad.Validate() == nil {
			t.Errorf("%q is accepted", host)
		}
	}
}
