package nethttp_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/verify"
)

// The whole way over real TLS, HTTP/1.1 and HTTP/2: who may show which token, and
// what the handler finds.
func TestWhoShowsWhat(t *testing.T) {
	t.Parallel()
	w, strangers := newWorld(t, nil), newWorld(t, nil)
	g := w.guard(t, nil)
	address := w.serve(t, g.Handler(http.HandlerFunc(seen)), nil)
	webSVID, renewed := w.svid(t, web), w.svid(t, web)
	const found = "corp:00u1 by spiffe://prod.example/ns/shop/sa/web through "
	headers := "\nX-Cambist-Subject: corp:00u1\nX-Cambist-Workload: " + web.String() + "\nX-Cambist-Scope: orders.read\nX-Cambist-Actors: [{\"sub\":\"" + web.String() + "\"}]\nX-Cambist-User: {\"groups\":[\"customer\"]}"
	tests := map[string]struct {
		claims object
		as     *x509svid.SVID
		want   string // the body, "" for a refusal
	}{
		"its workload":                  {user(), webSVID, found + web.String() + headers},
		"its workload, renewed":         {user(), renewed, found + web.String() + headers},
		"a presenter":                   {user().with("presenters", []string{gateway.String()}), w.svid(t, gateway), found + gateway.String() + headers},
		"nobody":                        {user(), nil, ""},
		"another workload":              {user(), w.svid(t, gateway), ""},
		"its name, by a stranger":       {user(), strangers.svid(t, web), ""},
		"bound, the certificate":        {user().bound(webSVID), webSVID, found + web.String() + headers},
		"bound, another of its own":     {user().bound(webSVID), renewed, ""},
		"bound, no certificate":         {user().bound(webSVID), nil, ""},
		"bound, shown by a presenter":   {user().bound(webSVID).with("presenters", []string{gateway.String()}), w.svid(t, gateway), ""},
		"signed by nobody we know":      {nil, webSVID, ""},
		"for another service":           {user().with("aud", "https://ledger.prod.example"), webSVID, ""},
		"expired":                       {user().with("iat", time.Now().Add(-time.Hour).Unix()).with("exp", time.Now().Add(-time.Minute).Unix()), webSVID, ""},
		"bound to what nobody can show": {user().with("cnf", object{"jkt": strings.Repeat("A", 43)}), webSVID, ""},
	}
	for name, tt := range tests {
		token := strangers.token(t, user())
		if tt.claims != nil {
			token = w.token(t, tt.claims)
		}
		for _, protocols := range [][]string{{"h2"}, {"http/1.1"}} {
			c := client(t, tt.as, func(c *tls.Config) { c.NextProtos = protocols })
			c.Transport.(*http.Transport).ForceAttemptHTTP2 = protocols[0] == "h2"
			for range 2 { // the second time on the same connection
				status, challenge, body := get(t, c, address, token)
				if tt.want != "" && (status != http.StatusOK || body != tt.want) || tt.want == "" && (status != http.StatusUnauthorized || !strings.HasPrefix(challenge, `Bearer realm="`+orders+`", error="invalid_token", error_description="`)) {
					t.Errorf("%s over %s: %d %s %s", name, protocols[0], status, challenge, body)
				}
			}
		}
	}
}

// Standards AT-18, PX-13, H8: statuses and challenges.
func TestAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	routes, err := verify.NewRoutes(map[string][]string{"orders.read": {"GET /orders/**"}, "orders.write": {"POST /orders"}})
	if err != nil {
		t.Fatal(err)
	}
	var refused []verify.Reason
	g := w.guard(t, func(c *nethttp.Config) {
		c.Routes = routes
		c.Refused = func(_ *http.Request, e *verify.Error) { refused = append(refused, e.Reason) }
	})
	good := "Bearer " + w.token(t, user())
	const realm = `Bearer realm="` + orders + `"`
	tests := map[string]struct {
		method, target string
		headers        []string // name, value
		status         int
		challenge      string
		reason         verify.Reason
	}{
		"good":              {"GET", "/orders/1", []string{"Authorization", good}, 200, "", ""},
		"no credentials":    {"GET", "/orders/1", nil, 401, realm, verify.ReasonCredentialsMissing},
		"basic":             {"GET", "/orders/1", []string{"Authorization", "Basic eDp5"}, 401, realm, verify.ReasonCredentialsMissing},
		"unlisted, nobody":  {"GET", "/admin", nil, 401, realm, verify.ReasonCredentialsMissing},
		"two":               {"GET", "/orders/1", []string{"Authorization", good, "Authorization", good}, 400, realm + `, error="invalid_request", error_description="more than one access token was sent"`, verify.ReasonCredentialsSeveral},
		"two spaces":        {"GET", "/orders/1", []string{"Authorization", "Bearer  x"}, 400, realm + `, error="invalid_request", error_description="the Authorization header is not a scheme, one space and a token"`, verify.ReasonCredentialsMalformed},
		"one in the query":  {"GET", "/orders/1?access_token=x", []string{"Authorization", good}, 400, realm + `, error="invalid_request", error_description="more than one access token was sent"`, verify.ReasonCredentialsSeveral},
		"only in the query": {"GET", "/orders/1?access_token=x", nil, 401, realm, verify.ReasonCredentialsMissing},
		"not a token":       {"GET", "/orders/1", []string{"Authorization", "Bearer x"}, 401, realm + `, error="invalid_token", error_description="the token is not a signed JWT in compact form"`, verify.ReasonTokenMalformed},
		"another scope":     {"POST", "/orders", []string{"Authorization", good}, 403, realm + `, error="insufficient_scope", error_description="the token lacks the scope", scope="orders.write"`, verify.ReasonScopeMissing},
		"unlisted":          {"GET", "/admin", []string{"Authorization", good}, 403, realm + `, error="insufficient_scope", error_description="no scope opens this method and path"`, verify.ReasonRouteUnknown},
		"unlisted method":   {"DELETE", "/orders/1", []string{"Authorization", good}, 403, realm + `, error="insufficient_scope", error_description="no scope opens this method and path"`, verify.ReasonRouteUnknown},
		"two readings":      {"GET", "/orders/%2e%2e/admin", []string{"Authorization", good}, 400, realm + `, error="invalid_request", error_description="the request is not one that can be authorized"`, verify.ReasonRequestMalformed},
		"Connection":        {"GET", "/orders/1", []string{"Authorization", good, "Connection", "keep-alive, X-Cambist-Subject"}, 400, realm + `, error="invalid_request", error_description="the request is not one that can be authorized"`, verify.ReasonRequestMalformed},
		"Connection, two":   {"GET", "/orders/1", []string{"Authorization", good, "Connection", "close", "Connection", "AUTHORIZATION"}, 400, realm + `, error="invalid_request", error_description="the request is not one that can be authorized"`, verify.ReasonRequestMalformed},
		"Connection, other": {"GET", "/orders/1", []string{"Authorization", good, "Connection", "keep-alive"}, 200, "", ""},
		"query alike":       {"GET", "/orders/1?xaccess_token=x&y=access_token", []string{"Authorization", good}, 200, "", ""},
	}
	state := &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
	reached := false
	h := g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	for name, tt := range tests {
		r := httptest.NewRequestWithContext(context.Background(), tt.method, tt.target, nil)
		r.TLS = state
		for i := 0; i < len(tt.headers); i += 2 {
			r.Header.Add(tt.headers[i], tt.headers[i+1])
		}
		reached, refused = false, nil
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, r)
		got := answer.Result().Header
		if answer.Code != tt.status || got.Get("WWW-Authenticate") != tt.challenge || reached != (tt.status == 200) {
			t.Errorf("%s: %d %s, reached %t", name, answer.Code, got.Get("WWW-Authenticate"), reached)
		}
		if tt.reason == "" && len(refused) != 0 || tt.reason != "" && (len(refused) != 1 || refused[0] != tt.reason) {
			t.Errorf("%s: the hook heard %q, want %q", name, refused, tt.reason)
		}
		if tt.status != 200 && (got.Get("Cache-Control") != "no-store" || got.Get("Content-Type") != "text/plain; charset=utf-8" || strings.Count(answer.Body.String(), "\n") != 1 || got.Get("Retry-After") != "") {
			t.Errorf("%s: %v %q", name, got, answer.Body)
		}
	}
}

// A table that lists nothing opens nothing; no table at all leaves scopes to
// Require.
func TestEmptyTable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	none, err := verify.NewRoutes(nil)
	if err != nil {
		t.Fatal(err)
	}
	for routes, want := range map[*verify.Routes]int{nil: http.StatusOK, none: http.StatusForbidden} {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
		r.Header.Set("Authorization", "Bearer "+w.token(t, user()))
		answer := httptest.NewRecorder()
		w.guard(t, func(c *nethttp.Config) { c.Routes = routes }).Handler(http.HandlerFunc(seen)).ServeHTTP(answer, r)
		if answer.Code != want {
			t.Errorf("%v: %d, want %d", routes, answer.Code, want)
		}
	}
}

// While there are no keys nobody gets through, whatever he shows.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	v, err := verify.New(w.config) // and nobody runs it
	if err != nil {
		t.Fatal(err)
	}
	g := w.guard(t, func(c *nethttp.Config) { c.Verifier = v })
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(t, web).Certificates}
	r.Header.Set("Authorization", "Bearer "+w.token(t, user()))
	answer := httptest.NewRecorder()
	g.Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("reached") })).ServeHTTP(answer, r)
	if h := answer.Result().Header; answer.Code != http.StatusServiceUnavailable || h.Get("Retry-After") != "5" || h.Get("WWW-Authenticate") != "" {
		t.Errorf("%d %v", answer.Code, h)
	}
}

// Threats F12, HX-11: a connection without TLS came past what ends TLS, unless
// something else is configured to say who is there.
func TestPlain(t *testing.T) {
	t.Parallel()
	w, bearer := newWorld(t, nil), newWorld(t, func(c *verify.Config) { c.AllowBearer = true })
	mesh := func(r *http.Request) (verify.Peer, error) {
		switch name := r.Header.Get("L5d-Client-Id"); name {
		case "":
			return verify.Peer{}, nil
		case "broken":
			return verify.Peer{}, errBroken
		case "typed":
			return verify.Peer{}, &verify.Error{Reason: verify.ReasonCertificateUntrusted, Err: errBroken}
		default:
			return verify.NewPeer(spiffeid.RequireFromString(name), "")
		}
	}
	byMesh := func(c *nethttp.Config) { c.Peers, c.Peer, c.Strip = nil, mesh, []string{"l5d-client-id"} }
	noPeers := func(c *nethttp.Config) { c.Peers = nil }
	tests := map[string]struct {
		world  *world
		change func(*nethttp.Config)
		client string
		tls    bool
		want   verify.Reason
	}{
		"plain":               {w, nil, "", false, verify.ReasonConnectionPlain},
		"plain, forged":       {w, nil, web.String(), false, verify.ReasonConnectionPlain},
		"plain bearer":        {bearer, noPeers, "", false, verify.ReasonConnectionPlain},
		"bearer":              {bearer, noPeers, "", true, ""},
		"no bearer":           {w, nil, "", true, verify.ReasonPeerUnproven},
		"mesh":                {w, byMesh, web.String(), false, ""},
		"mesh, another":       {w, byMesh, gateway.String(), false, verify.ReasonPeerMismatch},
		"mesh, nobody":        {w, byMesh, "", false, verify.ReasonPeerUnproven},
		"mesh, broken":        {w, byMesh, "broken", false, verify.ReasonPeerUnproven},
		"mesh, its own words": {w, byMesh, "typed", false, verify.ReasonCertificateUntrusted},
		"mesh, bearer broken": {bearer, byMesh, "broken", false, verify.ReasonPeerUnproven},
		"mesh, bearer":        {bearer, byMesh, "", false, ""},
	}
	for name, tt := range tests {
		var reason verify.Reason
		g := tt.world.guard(t, func(c *nethttp.Config) {
			c.Refused = func(_ *http.Request, e *verify.Error) { reason = e.Reason }
			if tt.change != nil {
				tt.change(c)
			}
		})
		r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		r.Header.Set("Authorization", "Bearer "+tt.world.token(t, user()))
		if tt.client != "" {
			r.Header.Set("l5d-client-id", tt.client)
		}
		reached := false
		g.Handler(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			reached = r.Header.Get("L5d-Client-Id") == ""
		})).ServeHTTP(httptest.NewRecorder(), r)
		if reason != tt.want || reached != (tt.want == "") {
			t.Errorf("%s: %q, want %q; reached %t", name, reason, tt.want, reached)
		}
	}
}

var errBroken = errors.New("broken")

// Standards MT-13, H19: sessions that are resumed, with each way to verify, before
// and after the authority left.
func TestResumption(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	byServer, err := verify.PeersByServer(prod, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	authority := w.bundle.X509Authorities()[0]
	pool := x509.NewCertPool()
	pool.AddCert(authority)
	verifying := func(c *tls.Config) { c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, pool }
	bySPIFFE := func(c *tls.Config) {
		tlsconfig.HookMTLSServerConfig(c, w.server, w.bundle, tlsconfig.AuthorizeAny())
	}
	tests := map[string]struct {
		change         func(*tls.Config)
		peers          *verify.Peers
		first, resumed int
	}{
		"by bundle":                   {nil, w.peers(t), 200, 200},
		"by bundle, server of SPIFFE": {bySPIFFE, w.peers(t), 200, 200},
		"by server":                   {verifying, byServer, 200, 401},
		"by server, which asks":       {nil, byServer, 401, 401},
		"by server of SPIFFE":         {bySPIFFE, byServer, 401, 401},
	}
	type open struct {
		name    string
		client  *http.Client
		address string
	}
	var connections []open
	for name, tt := range tests {
		g := w.guard(t, func(c *nethttp.Config) { c.Peers = tt.peers })
		resumed := false
		address := w.serve(t, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			resumed = r.TLS.DidResume
			g.Handler(http.HandlerFunc(seen)).ServeHTTP(rw, r)
		}), tt.change)
		c := client(t, w.svid(t, web), func(c *tls.Config) { c.ClientSessionCache = tls.NewLRUClientSessionCache(1) })
		if status, _, body := get(t, c, address, w.token(t, user())); status != tt.first || resumed {
			t.Errorf("%s: %d %s", name, status, body)
		}
		c.CloseIdleConnections()
		if status, _, body := get(t, c, address, w.token(t, user())); status != tt.resumed || !resumed {
			t.Errorf("%s: resumed %t: %d %s", name, resumed, status, body)
		}
		if tt.resumed == 200 {
			connections = append(connections, open{name, c, address})
		}
	}
	w.bundle.RemoveX509Authority(authority)
	for _, o := range connections {
		if status, _, body := get(t, o.client, o.address, w.token(t, user())); status != http.StatusUnauthorized { // on the open connection
			t.Errorf("%s: the authority left: %d %s", o.name, status, body)
		}
		o.client.CloseIdleConnections()
		if status, _, body := get(t, o.client, o.address, w.token(t, user())); status != http.StatusUnauthorized {
			t.Errorf("%s: the authority left, a session before: %d %s", o.name, status, body)
		}
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	w, bearer := newWorld(t, nil), newWorld(t, func(c *verify.Config) { c.AllowBearer = true })
	hook := func(*http.Request) (verify.Peer, error) { return verify.Peer{}, nil }
	tests := map[string]struct {
		config nethttp.Config
		want   string
	}{
		"peers":                 {nethttp.Config{Verifier: w.verifier, Peers: w.peers(t)}, ""},
		"a hook":                {nethttp.Config{Verifier: w.verifier, Peer: hook}, ""},
		"bearer":                {nethttp.Config{Verifier: bearer.verifier}, ""},
		"nothing":               {nethttp.Config{}, "Verifier"},
		"nobody":                {nethttp.Config{Verifier: w.verifier}, "neither"},
		"both":                  {nethttp.Config{Verifier: w.verifier, Peers: w.peers(t), Peer: hook}, "both"},
		"a hook, no verifier":   {nethttp.Config{Peer: hook}, "Verifier"},
		"bearer with the peers": {nethttp.Config{Verifier: bearer.verifier, Peers: w.peers(t)}, ""},
	}
	for name, tt := range tests {
		g, err := nethttp.New(tt.config)
		if (tt.want == "") != (err == nil) || (g == nil) != (err != nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
