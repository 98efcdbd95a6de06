package nethttp_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/verify"
)

// raw sends bytes over TLS as web and returns the answer's body.
func raw(t *testing.T, w *world, address, text string) (status int, body string) {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	d := tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, Certificates: []tls.Certificate{certificate(w.svid(t, web))}}} //nolint:gosec // who the server is is not what is tested
	c, err := d.DialContext(t.Context(), "tcp", u.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, text); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	all, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(all)
}

// list answers with every header and trailer of the request that has cambist in
// its name, spelled however.
func list(w http.ResponseWriter, r *http.Request) {
	if _, err := io.Copy(io.Discard, r.Body); err != nil {
		_, _ = io.WriteString(w, err.Error())
	}
	var lines []string
	for kind, h := range map[string]http.Header{"": r.Header, "trailer ": r.Trailer} {
		for name, values := range h {
			if strings.Contains(strings.ToLower(name), "cambist") {
				lines = append(lines, kind+name+"="+strings.Join(values, " AND "))
			}
		}
	}
	slices.Sort(lines)
	_, _ = io.WriteString(w, strings.Join(lines, "\n"))
}

// Standards PX-12, PX-19, threats F9: whatever a client writes in our names, the
// handler finds ours, once; so does a server behind a reverse proxy.
func TestNobodyWritesOurHeaders(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	behind := httptest.NewServer(http.HandlerFunc(list))
	t.Cleanup(behind.Close)
	to, err := url.Parse(behind.URL)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to) }}
	ours := strings.Join([]string{
		`X-Cambist-Actors=[{"sub":"` + web.String() + `"}]`, "X-Cambist-Scope=orders.read", "X-Cambist-Subject=corp:00u1", `X-Cambist-User={"groups":["customer"]}`, "X-Cambist-Workload=" + web.String(),
	}, "\n")
	authorization := "Authorization: Bearer " + w.token(t, user()) + "\r\n"
	for behindWhat, h := range map[string]http.Handler{"handler": http.HandlerFunc(list), "proxy": proxy} {
		address := w.serve(t, w.guard(t, nil).Handler(h), nil)
		for name, text := range map[string]string{
			"nothing":    "",
			"exactly":    "X-Cambist-Subject: admin\r\nX-Cambist-Scope: all\r\nX-Cambist-Actors: []\r\nX-Cambist-User: {}\r\nX-Cambist-Workload: x\r\n",
			"twice":      "X-Cambist-Subject: admin\r\nX-Cambist-Subject: root\r\n",
			"lower case": "x-cambist-subject: admin\r\n",
			"odd case":   "x-cAmBiSt-SUBJECT: admin\r\n",
			"underscore": "X_Cambist_Subject: admin\r\nx_cambist-user: admin\r\n",
			"others":     "X.Cambist.Subject: admin\r\nX~Cambist!Subject: admin\r\nX-Cambist-Admin: yes\r\nX-Cambist-: yes\r\n",
			"trailers":   "Trailer: X-Cambist-Subject, X_Cambist_User\r\n",
		} {
			request := "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n" + authorization + text + "\r\n0\r\nX-Cambist-Subject: admin\r\nX_Cambist_User: admin\r\n\r\n"
			if status, body := raw(t, w, address, request); status != http.StatusOK || body != ours {
				t.Errorf("%s before a %s: %d %s", name, behindWhat, status, body)
			}
		}
		if status, body := raw(t, w, address, "GET / HTTP/1.1\r\nHost: orders\r\n"+authorization+"Connection: x_cambist_subject\r\n\r\n"); status != http.StatusBadRequest {
			t.Errorf("Connection before a %s: %d %s", behindWhat, status, body)
		}
	}
}

// The request that came stays as it was; what the guard does not know of stays on
// the one that it hands over.
func TestRequestIsNotChanged(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/a?b", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
	r.Header = http.Header{"Authorization": {"Bearer " + w.token(t, user())}, "X-Cambist-Subject": {"admin"}, "Accept": {"a", "b"}, "L5d-Client-Id": {"x"}, "L5d_client_id": {"y"}}
	before := r.Header.Clone()
	w.guard(t, func(c *nethttp.Config) { c.Strip = []string{"l5d-client-id"} }).Handler(http.HandlerFunc(func(_ http.ResponseWriter, got *http.Request) {
		if got.URL.String() != "/a?b" || got.TLS != r.TLS || !slices.Equal(got.Header["Accept"], []string{"a", "b"}) || got.Header.Get("L5d-Client-Id")+strings.Join(got.Header["L5d_client_id"], "") != "" {
			t.Errorf("%+v", got)
		}
		got.Header["Accept"][0] = "changed"
	})).ServeHTTP(httptest.NewRecorder(), r)
	for name, values := range before {
		if !slices.Equal(values, r.Header[name]) {
			t.Errorf("%s is %q", name, r.Header[name])
		}
	}
	if _, ok := verify.FromContext(r.Context()); ok || len(r.Header) != len(before) {
		t.Errorf("%d headers", len(r.Header))
	}
}

// Require alone, inside Handler, and inside the guard of another service.
func TestRequire(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	g := w.guard(t, nil)
	ledger := w.config
	ledger.Audiences = []string{"https://ledger.prod.example"}
	other, err := verify.New(ledger)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := w.guard(t, func(c *nethttp.Config) { c.Verifier = other })
	const realm = `Bearer realm="` + orders + `", error="insufficient_scope", error_description="the token lacks the scope"`
	tests := map[string]struct {
		wrap      func(http.Handler) http.Handler
		scope     string
		status    int
		challenge string
	}{
		"it":              {g.Require("a"), "a", 200, ""},
		"both":            {g.Require("a", "b"), "a b c", 200, ""},
		"nothing":         {g.Require(), "x", 200, ""},
		"another":         {g.Require("a"), "b", 403, realm + `, scope="a"`},
		"one of two":      {g.Require("b", "a"), "b", 403, realm + `, scope="a b"`},
		"no scope at all": {g.Require(`a"b`), "a", 403, realm},
		"inside":          {func(h http.Handler) http.Handler { return g.Handler(g.Require("a")(h)) }, "a", 200, ""},
		"inside, another": {func(h http.Handler) http.Handler { return g.Handler(g.Require("a")(h)) }, "b", 403, realm + `, scope="a"`},
		"two":             {func(h http.Handler) http.Handler { return g.Require("a")(g.Require("b")(h)) }, "a b", 200, ""},
		"another guard":   {func(h http.Handler) http.Handler { return g.Handler(elsewhere.Require()(h)) }, "a", 503, ""},
	}
	for name, tt := range tests {
		mux := http.NewServeMux()
		reached := ""
		mux.Handle("GET /orders/{id}", tt.wrap(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			if _, ok := verify.FromContext(r.Context()); ok && len(r.Header.Values(verify.HeaderSubject)) == 1 {
				reached = r.PathValue("id")
			}
		})))
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/orders/7", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
		r.Header.Set("Authorization", "Bearer "+w.token(t, user().with("scope", tt.scope)))
		answer := httptest.NewRecorder()
		mux.ServeHTTP(answer, r)
		if answer.Code != tt.status || answer.Result().Header.Get("WWW-Authenticate") != tt.challenge || (reached == "7") != (tt.status == 200) {
			t.Errorf("%s: %d %s, reached %q", name, answer.Code, answer.Result().Header.Get("WWW-Authenticate"), reached)
		}
	}
	nobody := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	nobody.TLS = &tls.ConnectionState{}
	answer := httptest.NewRecorder()
	g.Require("a")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") })).ServeHTTP(answer, nobody)
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("nobody: %d", answer.Code)
	}
}

// A token that is too large for the application's headers does not get through
// without them.
func TestHeadersTooLarge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
	r.Header.Set("Authorization", "Bearer "+w.token(t, user().with("x", strings.Repeat("\u007f", 3000))))
	answer := httptest.NewRecorder()
	w.guard(t, nil).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") })).ServeHTTP(answer, r)
	if answer.Code != http.StatusUnauthorized {
		t.Errorf("%d", answer.Code)
	}
}

// Standards HX-14, OT-4: neither an answer nor what the hook hears holds any of a
// token, whatever is wrong with it.
func TestRefusalsHoldNoToken(t *testing.T) {
	t.Parallel()
	const canary = "c4n4ryc4n4ry"
	w := newWorld(t, nil)
	var heard strings.Builder
	log := slog.New(slog.NewTextHandler(&heard, nil))
	h := w.guard(t, func(c *nethttp.Config) {
		c.Refused = func(_ *http.Request, e *verify.Error) {
			log.Info("refused", "reason", e.Reason, "error", e)
			_, _ = fmt.Fprintf(&heard, "%v %+v %#v", e, e, *e)
		}
	}).Handler(http.HandlerFunc(seen))
	good := w.token(t, user().with("x", canary))
	for _, token := range []string{
		canary, canary + "." + canary + "." + canary, good[:len(good)-2] + "AA", good + canary, " " + good, w.token(t, user().with("iss", canary)), w.token(t, user().with("aud", canary)),
		w.token(t, user().with("sub", canary)), w.token(t, user().with("client_id", canary)), w.token(t, user().with("act", object{canary: 1})), w.token(t, user().with("act", canary)),
		w.token(t, user().with("exp", canary)), w.token(t, user().with("cnf", object{canary: canary})), w.token(t, user().with("scope", canary+"\n")), w.token(t, user().with("SUB", canary)),
	} {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
		r.Header.Set("Authorization", "Bearer "+token)
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		text := heard.String() + answer.Body.String() + fmt.Sprint(answer.Result().Header)
		if answer.Code < 400 || strings.Contains(text, canary) || strings.Contains(text, good[len(good)-40:len(good)-4]) {
			t.Errorf("%d %s", answer.Code, text)
		}
		heard.Reset()
	}
}
