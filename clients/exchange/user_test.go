package exchange_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
)

const corp = "https://corp.example"

// Nobody gets the service's own token for a user who is not there, by whatever
// face, and nothing is asked.
func TestNoUser(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	orders := exchange.Target{Resource: "orders", As: exchange.AsUser}
	get := func(ctx context.Context) (*http.Request, error) {
		return http.NewRequestWithContext(ctx, http.MethodGet, "https://orders.shop/", http.NoBody)
	}
	for name, ctx := range map[string]context.Context{
		"no user":      t.Context(),
		"an empty one": exchange.WithUser(t.Context(), oauth.NewSecret("")),
		"a zero one":   exchange.WithUser(t.Context(), oauth.Secret{}),
	} {
		for face, call := range map[string]func() error{
			"Token":       func() error { _, err := c.Token(ctx, orders); return err },
			"TokenSource": func() error { _, err := c.TokenSource(ctx, orders).Token(); return err },
			"RPC": func() error {
				_, err := c.RPCCredentials(orders).GetRequestMetadata(ctx, "https://orders.shop/svc")
				return err
			},
			"HTTPClient": func() error {
				req, err := get(ctx)
				if err != nil {
					return err
				}
				res, err := c.HTTPClient("orders", exchange.AsUser).Do(req)
				if err == nil {
					_ = res.Body.Close()
				}
				return err
			},
		} {
			err := call()
			if !errors.Is(err, exchange.ErrNoUser) || errors.Is(err, exchange.ErrRefused) || errors.Is(err, exchange.ErrUnavailable) {
				t.Errorf("%s, %s: %v", name, face, err)
			}
		}
	}
	if got := s.exchanges(); len(got) != 0 || s.selves != 0 || s.net.dialled("orders.shop:443") != 0 {
		t.Errorf("asked %+v", got)
	}
}

// A service that calls in its own name does so even while it serves a user.
func TestAsSelfIgnoresTheUser(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	ctx := exchange.WithUser(t.Context(), s.user(corp, nil))
	if _, err := s.client(t).Token(ctx, ledger); err != nil {
		t.Fatal(err)
	}
	if got := s.exchanges(); len(got) != 1 || got[0].form.Get("grant_type") != "client_credentials" || got[0].form.Has("subject_token") {
		t.Errorf("%+v", got)
	}
}

// A user's token is declared as what it is, and asked for as much as its role has.
func TestUserTokens(t *testing.T) {
	t.Parallel()
	const (
		access = string(oauth.TokenTypeAccessToken)
		jwt    = string(oauth.TokenTypeJWT)
		id     = string(oauth.TokenTypeIDToken)
	)
	type claims = map[string]any
	for name, tt := range map[string]struct {
		typ    string
		claims claims
		as     oauth.TokenType
		want   string
		scope  string
	}{
		"ours, of a user":              {"at+jwt", claims{"iss": issuerURL, "sub": "corp:alice", "scope": "web.use x"}, "", access, "orders.list"},
		"ours, without what is needed": {"at+jwt", claims{"iss": issuerURL, "sub": "corp:alice", "scope": "x"}, "", access, ""},
		"ours, of another issuer":      {"at+jwt", claims{"iss": issuerURL, "sub": "other:alice", "scope": "web.use"}, "", access, ""},
		"ours, of a workload":          {"at+jwt", claims{"iss": issuerURL, "sub": "spiffe://prod.example/ns/a/sa/b", "scope": "call"}, "", access, "orders.read"},
		"typ names access tokens":      {"at+jwt", claims{"nonce": "n"}, "", jwt, "orders.write"},
		"typ in full":                  {"application/at+jwt", claims{"nonce": "n"}, "", jwt, "orders.write"},
		"a nonce":                      {"JWT", claims{"nonce": "n"}, "", id, "orders.write"},
		"a hash":                       {"", claims{"at_hash": "h"}, "", id, "orders.write"},
		"another hash":                 {"", claims{"c_hash": 1}, "", id, "orders.write"},
		"a scope":                      {"JWT", claims{"scope": "openid"}, "", jwt, "orders.write"},
		"scopes as a list":             {"JWT", claims{"scp": []string{"a"}}, "", jwt, "orders.write"},
		"a client":                     {"", claims{"client_id": "x"}, "", jwt, "orders.write"},
		"Okta's client":                {"", claims{"cid": "x"}, "", jwt, "orders.write"},
		"Entra's client":               {"JWT", claims{"appid": "x"}, "", jwt, "orders.write"},
		"a ServiceAccount":             {"", claims{"kubernetes.io": claims{"namespace": "a"}}, "", jwt, "orders.write"},
		"Keycloak's access token":      {"JWT", claims{"typ": "Bearer"}, "", jwt, "orders.write"},
		"Keycloak's ID token":          {"JWT", claims{"typ": "ID", "scope": "openid"}, "", id, "orders.write"},
		"nothing said":                 {"JWT", nil, "", id, "orders.write"},
		"odd claims":                   {"JWT", claims{"typ": 7, "scope": []string{"x"}, "client_id": nil}, "", jwt, "orders.write"},
		"declared by the caller":       {"JWT", claims{"azp": "x"}, oauth.TokenTypeJWT, jwt, "orders.write"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t, false)
			all := claims{"iss": corp, "sub": "alice", "aud": "cambist"}
			for k, v := range tt.claims {
				all[k] = v
			}
			user := s.sign(tt.typ, all)
			c := s.client(t)
			target := exchange.Target{Resource: "orders", As: exchange.AsUser, UserType: tt.as}
			if _, err := c.Token(exchange.WithUser(t.Context(), user), target); err != nil {
				t.Fatal(err)
			}
			target.User = user
			if _, err := c.Token(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			got := s.exchanges()
			if len(got) != 1 {
				t.Fatalf("%d requests for one user", len(got))
			}
			f := got[0].form
			if f.Get("subject_token") != user.Reveal() || f.Get("grant_type") != string(oauth.GrantTokenExchange) {
				t.Error("the token of the user was not sent")
			}
			if f.Get("subject_token_type") != tt.want || f.Get("scope") != tt.scope {
				t.Errorf("declared as %s for %q", f.Get("subject_token_type"), f.Get("scope"))
			}
		})
	}
}

// For a foreign token, what its issuer gives is asked for; where several issuers
// could be the user's, nothing in particular.
func TestSeveralIssuers(t *testing.T) {
	t.Parallel()
	for grants, want := range map[string]string{
		`{"for":"corp","scopes":["a"]},{"for":"partner","scopes":["b"]}`:                 "",
		`{"for":"corp","scopes":["a"]},{"for":"corp","scopes":["b"]}`:                    "a b",
		`{"for":"corp","scopes":["a"]},{"for":"","scopes":["b"]}`:                        "a",
		`{"for":"corp","scopes":["a"]},{"for":"workload","scopes":["b"]}`:                "a",
		`{"for":"corp","scopes":["a"]},{"for":"partner","having":["x"],"scopes":["b"]}`:  "a",
		`{"for":"corp","scopes":["a"]},{"for":"corp","scopes":["b"],"conditional":true}`: "a",
		`{"for":"corp","scopes":["a"],"conditional":true},{"for":"","scopes":["b"]}`:     "a",
		`{"for":"","scopes":["b"]}`: "",
	} {
		s := newWorld(t, false)
		s.self = `{"resources":[{"name":"orders","uri":"https://orders.prod.example","grants":[` + grants + `]}]}`
		must(t, s.client(t), exchange.Target{Resource: "orders", As: exchange.AsUser, User: s.user(corp, nil)})
		if got := s.exchanges(); len(got) != 1 || got[0].form.Get("scope") != want {
			t.Errorf("%s: %+v", grants, got)
		}
	}
}

// What a broker lists and no request can say is not asked for.
func TestOddScopes(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.self = `{"resources":[{"name":"ledger","uri":"https://ledger.prod.example","grants":[{"scopes":["a b"]}]}]}`
	must(t, s.client(t), ledger)
	if got := s.exchanges(); len(got) != 1 || got[0].form.Has("scope") {
		t.Errorf("%+v", got)
	}
}

// The issuer is read from the broker, and an old answer is better than none.
func TestIssuer(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	good := s.meta
	clock := newClock()
	c := s.client(t, exchange.WithClock(clock.now))
	target := exchange.Target{Resource: "orders", As: exchange.AsUser, User: s.user(issuerURL, map[string]any{"sub": "corp:alice", "scope": "web.use"})}
	for _, text := range []string{"nonsense", `{"token_endpoint":"x"}`, `{"issuer":7}`} {
		s.set(func() { s.meta = text })
		if _, err := c.Token(t.Context(), target); !errors.Is(err, exchange.ErrUnavailable) || len(s.exchanges()) != 0 {
			t.Errorf("%s: %v", text, err)
		}
		clock.add(time.Minute)
	}
	s.set(func() { s.meta = good })
	must(t, c, target)
	s.set(func() { s.meta = "nonsense" })
	clock.add(time.Hour)
	must(t, c, target)
	for _, q := range s.exchanges() {
		if q.form.Get("subject_token_type") != string(oauth.TokenTypeAccessToken) {
			t.Errorf("declared as %s", q.form.Get("subject_token_type"))
		}
	}
}

// A token that cannot be read is sent as what the caller says it is.
func TestOpaqueUserToken(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	must(t, s.client(t), exchange.Target{Resource: "orders", As: exchange.AsUser, User: oauth.NewSecret("opaque"), UserType: oauth.TokenTypeJWTSVID})
	if got := s.exchanges(); len(got) != 1 || got[0].form.Get("subject_token") != "opaque" || got[0].form.Get("subject_token_type") != string(oauth.TokenTypeJWTSVID) {
		t.Errorf("%+v", got)
	}
}

// Each user has tokens of its own.
func TestUsersAreApart(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	target := exchange.Target{Resource: "orders", As: exchange.AsUser}
	tokens := map[string]bool{}
	for _, sub := range []string{"alice", "bob"} {
		token, err := c.Token(exchange.WithUser(t.Context(), s.user(corp, map[string]any{"sub": sub})), target)
		if err != nil {
			t.Fatal(err)
		}
		tokens[token.Secret.Reveal()] = true
	}
	if len(tokens) != 2 || len(s.exchanges()) != 2 || s.metas != 1 || s.selves != 1 {
		t.Errorf("%d tokens, %d exchanges, metadata %d, self %d", len(tokens), len(s.exchanges()), s.metas, s.selves)
	}
}

func TestTargetsRefused(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	secret := s.user(corp, nil)
	for name, target := range map[string]exchange.Target{
		"no resource":      {As: exchange.AsSelf},
		"for nobody":       {Resource: "ledger"},
		"for who is that":  {Resource: "ledger", As: 3},
		"odd resource":     {Resource: "led\nger", As: exchange.AsSelf},
		"long resource":    {Resource: string(make([]byte, 2000)), As: exchange.AsSelf},
		"odd scope":        {Resource: "ledger", As: exchange.AsSelf, Scopes: []string{"a b"}},
		"self with a user": {Resource: "ledger", As: exchange.AsSelf, User: secret},
		"self with a type": {Resource: "ledger", As: exchange.AsSelf, UserType: oauth.TokenTypeJWT},
	} {
		if token, err := c.Token(exchange.WithUser(t.Context(), secret), target); err == nil {
			t.Errorf("%s: %+v", name, token)
		}
	}
	_, err := c.Token(t.Context(), exchange.Target{Resource: "orders", As: exchange.AsUser, User: oauth.NewSecret("opaque")})
	if !errors.Is(err, exchange.ErrRefused) {
		t.Errorf("an opaque token: %v", err)
	}
	if got := s.exchanges(); len(got) != 0 {
		t.Errorf("asked %+v", got)
	}
}

// A client of http.Client closes bodies even of requests that it does not send.
func TestRefusedRequestsAreClosed(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	for name, target := range map[string]exchange.Target{
		"for nobody":   {Resource: "ledger"},
		"user in it":   {Resource: "ledger", As: exchange.AsUser, User: s.user(corp, nil)},
		"odd server":   {Resource: "ledger", As: exchange.AsSelf, Server: "ledger.finance"},
		"another host": ledger,
	} {
		body := &closeCounter{}
		req := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "https://elsewhere.example/", body)
		res, err := c.RoundTripper(target, nil).RoundTrip(req)
		if err == nil {
			_ = res.Body.Close()
			t.Errorf("%s: sent", name)
		}
		if body.closed != 1 {
			t.Errorf("%s: closed %d times", name, body.closed)
		}
	}
	if _, err := c.RoundTripper(exchange.Target{Resource: "ledger", As: exchange.AsSelf, Server: s.id.String()}, http.DefaultTransport).
		RoundTrip(httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://ledger.finance/", http.NoBody)); err == nil {
		t.Error("a base and a server")
	}
}

type closeCounter struct{ closed int }

func (c *closeCounter) Read([]byte) (int, error) { return 0, errors.New("read") }

func (c *closeCounter) Close() error {
	c.closed++
	return nil
}
