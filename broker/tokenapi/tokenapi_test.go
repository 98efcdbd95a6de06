package tokenapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/tokenapi"
	"github.com/cambist/cambist/broker/web"
)

var (
	start   = time.Date(2026, 11, 24, 12, 0, 0, 123e6, time.UTC)
	gateway = spiffeid.RequireFromString("spiffe://prod.example/ns/edge/sa/gateway")
)

const (
	tokenExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	typeJWT       = "urn:ietf:params:oauth:token-type:jwt"
	form          = "application/x-www-form-urlencoded"
)

// line stands for the domain: it writes down what it was asked.
type line struct {
	authenticate error
	token        broker.IssuedToken
	err          error
	reach        []broker.Reachable
	found        broker.Introspection
	revoked      bool

	exchanged []broker.ExchangeRequest
	refused   []broker.ExchangeRequest
	causes    []error
}

func (l *line) Authenticate(*http.Request, oauth.Form) (broker.Workload, error) {
	if l.authenticate != nil {
		return broker.Workload{}, l.authenticate
	}
	return broker.Workload{ID: gateway, Proof: broker.ProofMTLS, NotAfter: start.Add(time.Hour)}, nil
}

func (l *line) Exchange(_ context.Context, _ broker.Workload, r broker.ExchangeRequest) (broker.IssuedToken, error) {
	l.exchanged = append(l.exchanged, r)
	return l.token, l.err
}

func (l *line) Refuse(_ broker.Workload, r broker.ExchangeRequest, cause error) error {
	l.refused, l.causes = append(l.refused, r), append(l.causes, cause)
	e := *broker.AsError(cause)
	e.RecordID = r.Origin.RequestID
	return &e
}

func (l *line) Reach(_ context.Context, _ broker.Workload, r broker.ExchangeRequest) ([]broker.Reachable, error) {
	l.exchanged = append(l.exchanged, r)
	return l.reach, l.err
}

func newEdge() *web.Edge {
	return web.New(web.Config{
		Listener: "mtls", Now: func() time.Time { return start }, NewID: func(time.Time) string { return "id-1" }, Concurrent: 8,
		Log: web.NewAccessLog(slog.New(slog.DiscardHandler), true),
	})
}

func (l *line) handler(t *testing.T, quota *web.Quota) http.Handler {
	t.Helper()
	metadata, err := tokenapi.Metadata("https://cambist.example", "https://cambist.example:8443", "", []string{"ES256"})
	if err != nil {
		t.Fatal(err)
	}
	return tokenapi.New(tokenapi.Config{
		Edge: newEdge(), Authenticator: l, Exchanger: l, Inspector: l, Quota: quota, Self: true,
		Documents: tokenapi.Documents{
			JWKS:     func(time.Time) ([]byte, string) { return []byte(`{"keys":[]}`), `"tag"` },
			Metadata: func() []byte { return metadata },
		},
	})
}

func (l *line) post(t *testing.T, body string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, tokenapi.PathToken, strings.NewReader(body))
	request.Header.Set("Content-Type", form)
	request.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	recorder := httptest.NewRecorder()
	l.handler(t, web.NewQuota(0, 0)).ServeHTTP(recorder, request)
	return recorder
}

func scopes(t testing.TB, names ...string) oauth.Scopes {
	t.Helper()
	s, err := oauth.NewScopes(names...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func issued(t *testing.T) broker.IssuedToken {
	at := start.Truncate(time.Second)
	return broker.IssuedToken{Token: oauth.NewSecret("a.b.c"), ID: "id-1", Type: "Bearer", Scopes: scopes(t, "x", "y"), IssuedAt: at, ExpiresAt: at.Add(5 * time.Minute)}
}

func TestTokenForItself(t *testing.T) {
	t.Parallel()
	l := &line{token: issued(t)}
	r := l.post(t, "grant_type=client_credentials&audience=https%3A%2F%2Fledger.example&scope=x+y&foo=bar")
	var got map[string]any
	if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"access_token": "a.b.c", "token_type": "Bearer", "expires_in": float64(300), "scope": "x y"}
	if d := cmp.Diff(want, got); d != "" || r.Code != 200 {
		t.Errorf("%d %s", r.Code, d)
	}
	if h := r.Header(); h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" || h.Get("Content-Type") != "application/json" || h.Get("X-Request-Id") != "id-1" {
		t.Errorf("headers %v", h)
	}
	q := l.exchanged[0]
	if q.Grant != oauth.GrantClientCredentials || q.Audience != "https://ledger.example" || q.Scopes.String() != "x y" || q.Subject != nil || q.Actor != nil || !q.At.Equal(start) {
		t.Errorf("asked %+v", q)
	}
	if o := q.Origin; o.RequestID != "id-1" || o.Listener != "mtls" || o.RemoteAddress == "" || o.TraceParent == "" {
		t.Errorf("origin %+v", o)
	}
}

func TestTokenOnBehalf(t *testing.T) {
	t.Parallel()
	l := &line{token: issued(t)}
	body := url.Values{
		"grant_type": {tokenExchange}, "resource": {"https://ledger.example"}, "audience": {"https://ledger.example"}, "client_id": {gateway.String()},
		"subject_token": {"s.s.s"}, "subject_token_type": {typeJWT}, "actor_token": {"a.a.a"}, "actor_token_type": {string(oauth.TokenTypeAccessToken)},
		"requested_token_type": {string(oauth.TokenTypeAccessToken)},
	}
	r := l.post(t, body.Encode())
	var got map[string]any
	if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil || got["issued_token_type"] != string(oauth.TokenTypeAccessToken) {
		t.Errorf("%v: %s", err, r.Body)
	}
	q := l.exchanged[0]
	if q.Grant != oauth.GrantTokenExchange || q.Subject.Raw.Reveal() != "s.s.s" || q.Subject.Type != oauth.TokenTypeJWT || q.Actor.Raw.Reveal() != "a.a.a" ||
		q.Actor.Type != oauth.TokenTypeAccessToken || q.ClientID != gateway.String() || q.RequestedType != oauth.TokenTypeAccessToken || q.Audience != "https://ledger.example" || !q.Scopes.IsEmpty() {
		t.Errorf("asked %+v", q)
	}
}

// Whatever does not parse is refused with its code, recorded for the workload
// that sent it, and never exchanged.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	const exchange = "grant_type=" + tokenExchange + "&audience=https://a.example"
	tests := map[string]struct{ body, code, text string }{
		"nothing":               {"", "invalid_request", "grant_type"},
		"no grant":              {"audience=a", "invalid_request", "grant_type"},
		"empty grant":           {"grant_type=&audience=a", "invalid_request", "grant_type"},
		"grant twice":           {"grant_type=client_credentials&grant_type=client_credentials&audience=a", "invalid_request", "more than once"},
		"grant case":            {"grant_type=" + strings.ToUpper(tokenExchange) + "&audience=a", "unsupported_grant_type", ""},
		"password":              {"grant_type=password&audience=a", "unsupported_grant_type", ""},
		"no audience":           {"grant_type=client_credentials", "invalid_target", "audience"},
		"empty audience":        {"grant_type=client_credentials&audience=", "invalid_target", "audience"},
		"two audiences":         {"grant_type=client_credentials&audience=a&audience=b", "invalid_target", "one audience"},
		"audience and resource": {"grant_type=client_credentials&audience=https://a.example&resource=https://b.example", "invalid_target", "one audience"},
		"resource: relative":    {"grant_type=client_credentials&resource=/x", "invalid_target", "absolute"},
		"resource: fragment":    {"grant_type=client_credentials&resource=https://a%23f", "invalid_target", "fragment"},
		"resource: bare hash":   {"grant_type=client_credentials&resource=https://a%23", "invalid_target", "fragment"},
		"resource: space":       {"grant_type=client_credentials&resource=a+b", "invalid_target", "absolute"},
		"scope: double space":   {"grant_type=client_credentials&audience=a&scope=a++b", "invalid_scope", "scope"},
		"scope: leading space":  {"grant_type=client_credentials&audience=a&scope=+a", "invalid_scope", "scope"},
		"scope: NBSP":           {"grant_type=client_credentials&audience=a&scope=a%C2%A0b", "invalid_scope", "scope"},
		"scope: quote":          {"grant_type=client_credentials&audience=a&scope=a%22", "invalid_scope", "scope"},
		"scope: backslash":      {"grant_type=client_credentials&audience=a&scope=a%5C", "invalid_scope", "scope"},
		"scope: tab":            {"grant_type=client_credentials&audience=a&scope=a%09b", "invalid_request", "scope"},
		"scope: NUL":            {"grant_type=client_credentials&audience=a&scope=a%00b", "invalid_request", "scope"},
		"scope: too many":       {"grant_type=client_credentials&audience=a&scope=" + strings.Repeat("a+", 100) + "a", "invalid_scope", "scope"},
		"subject without type":  {exchange + "&subject_token=x", "invalid_request", "without subject_token_type"},
		"type without subject":  {exchange + "&subject_token=&subject_token_type=" + typeJWT, "invalid_request", "without subject_token"},
		"unknown type":          {exchange + "&subject_token=x&subject_token_type=urn:x", "invalid_request", "subject_token_type is not supported"},
		"actor without type":    {exchange + "&subject_token=x&subject_token_type=" + typeJWT + "&actor_token=y", "invalid_request", "without actor_token_type"},
		"type without actor":    {exchange + "&subject_token=x&subject_token_type=" + typeJWT + "&actor_token_type=" + typeJWT, "invalid_request", "without actor_token"},
		"subject twice":         {exchange + "&subject_token=x&subject_token=x&subject_token_type=" + typeJWT, "invalid_request", "more than once"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &line{}
			r := l.post(t, tt.body)
			var got struct {
				Error       string `json:"error"`
				Description string `json:"error_description"`
			}
			if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if r.Code != 400 || got.Error != tt.code || !strings.Contains(got.Description, tt.text) || !strings.Contains(got.Description, "id id-1") {
				t.Errorf("%d %+v", r.Code, got)
			}
			if len(l.exchanged) != 0 || len(l.refused) != 1 || l.refused[0].Origin.RequestID != "id-1" {
				t.Errorf("exchanged %v, refused %v", l.exchanged, l.refused)
			}
		})
	}
}

// A subject token beside client_credentials goes on to Decide, which refuses
// it: it is never dropped in silence (threats B17).
func TestSubjectIsNeverDropped(t *testing.T) {
	t.Parallel()
	l := &line{token: issued(t)}
	l.post(t, "grant_type=client_credentials&audience=a&subject_token=x&subject_token_type="+typeJWT)
	if len(l.exchanged) != 1 || l.exchanged[0].Subject == nil {
		t.Errorf("asked %+v", l.exchanged)
	}
}

// Who is not authenticated gets 401 and learns nothing else, however the form
// looks, and nothing is recorded in anybody's name.
func TestUnauthenticated(t *testing.T) {
	t.Parallel()
	for _, body := range []string{"grant_type=client_credentials&audience=a", "scope=a&scope=b"} {
		l := &line{authenticate: broker.Errorf(broker.CodeInvalidClient, broker.ReasonCertificateMissing, "a client certificate is required")}
		r := l.post(t, body)
		if r.Code != 401 || !strings.Contains(r.Body.String(), `"invalid_client"`) || len(l.exchanged)+len(l.refused) != 0 {
			t.Errorf("%s: %d %s", body, r.Code, r.Body)
		}
	}
}

func TestErrorsOfTheLine(t *testing.T) {
	t.Parallel()
	l := &line{err: &broker.Error{Code: broker.CodeInvalidTarget, Reason: broker.ReasonMappingNone, Public: "no", RecordID: "id-1"}}
	if r := l.post(t, "grant_type=client_credentials&audience=a"); r.Code != 400 || !strings.Contains(r.Body.String(), "refused, id id-1: no") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	l = &line{err: errors.New("token eyJ")}
	if r := l.post(t, "grant_type=client_credentials&audience=a"); r.Code != 500 || strings.Contains(r.Body.String(), "eyJ") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// Over its quota a workload gets 429 at every endpoint that it is known at; the
// refusal goes to the record.
func TestQuota(t *testing.T) {
	t.Parallel()
	for _, path := range []string{tokenapi.PathToken, tokenapi.PathIntrospect, tokenapi.PathRevoke, tokenapi.PathSelf} {
		l := &line{token: issued(t)}
		h := l.handler(t, web.NewQuota(1, 1))
		ask := func() *httptest.ResponseRecorder {
			method := http.MethodPost
			if path == tokenapi.PathSelf {
				method = http.MethodGet
			}
			request := httptest.NewRequest(method, path, strings.NewReader("grant_type=client_credentials&audience=a&token=x"))
			request.Header.Set("Content-Type", form)
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, request)
			return recorder
		}
		if r := ask(); r.Code != 200 {
			t.Errorf("%s: %d %s", path, r.Code, r.Body)
		}
		r := ask()
		if r.Code != 429 || r.Header().Get("Retry-After") != "1" || len(l.refused) != 1 || broker.AsError(l.causes[0]).Reason != broker.ReasonRateLimited {
			t.Errorf("%s: %d %v %v", path, r.Code, r.Header(), l.causes)
		}
	}
}

func TestRoutes(t *testing.T) {
	t.Parallel()
	l := &line{token: issued(t)}
	workloads := l.handler(t, web.NewQuota(0, 0))
	public := tokenapi.NewPublic(newEdge(), tokenapi.Documents{
		JWKS: func(time.Time) ([]byte, string) { return []byte("{}"), "" }, Metadata: func() []byte { return []byte("{}") },
	})
	tests := []struct {
		method, path          string
		onWorkloads, onPublic int
	}{
		{"GET", "/oauth2/token", 405, 404},
		{"PUT", "/oauth2/token", 405, 404},
		{"POST", "/oauth2/token?grant_type=client_credentials", 400, 404},
		{"POST", "/oauth2/token/", 404, 404},
		{"POST", "//oauth2/token", 404, 404},
		{"POST", "/oauth2/./token", 404, 404},
		{"POST", "/oauth2%2Ftoken", 404, 404},
		{"POST", "/oauth2/toke%6e", 404, 404},
		{"GET", "/oauth2/introspect", 405, 404},
		{"GET", "/oauth2/introspect?token=x", 405, 404},
		{"POST", "/oauth2/introspect?token=x", 400, 404},
		{"GET", "/oauth2/revoke", 405, 404},
		{"POST", "/oauth2/revoke?token=x", 400, 404},
		{"GET", "/oauth2/self", 200, 404},
		{"POST", "/oauth2/self", 405, 404},
		{"GET", "/oauth2/jwks", 200, 200},
		{"HEAD", "/oauth2/jwks", 200, 200},
		{"POST", "/oauth2/jwks", 405, 405},
		{"GET", "/.well-known/oauth-authorization-server", 200, 200},
		{"GET", "/.well-known/openid-configuration", 200, 200},
		{"GET", "/metrics", 404, 404},
		{"GET", "/", 404, 404},
	}
	for _, tt := range tests {
		for i, h := range []http.Handler{workloads, public} {
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, httptest.NewRequest(tt.method, tt.path, nil))
			if want := []int{tt.onWorkloads, tt.onPublic}[i]; recorder.Code != want {
				t.Errorf("%s %s: %d, want %d", tt.method, tt.path, recorder.Code, want)
			}
			if recorder.Code >= 400 && !strings.Contains(recorder.Body.String(), `"error":"`) {
				t.Errorf("%s %s: body %s", tt.method, tt.path, recorder.Body)
			}
		}
	}
}

// A key set that is not known is not an empty one.
func TestNoKeysYet(t *testing.T) {
	t.Parallel()
	recorder := httptest.NewRecorder()
	tokenapi.NewPublic(newEdge(), tokenapi.Documents{
		JWKS: func(time.Time) ([]byte, string) { return nil, "" }, Metadata: func() []byte { return []byte("{}") },
	}).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, tokenapi.PathJWKS, nil))
	if recorder.Code != 503 || recorder.Header().Get("Retry-After") != "1" {
		t.Errorf("%d %v", recorder.Code, recorder.Header())
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	l := &line{}
	recorder := httptest.NewRecorder()
	l.handler(t, web.NewQuota(0, 0)).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, tokenapi.PathMetadata, nil))
	var got map[string]any
	if err := json.Unmarshal(recorder.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"issuer": "https://cambist.example", "token_endpoint": "https://cambist.example:8443/oauth2/token", "jwks_uri": "https://cambist.example/oauth2/jwks",
		"introspection_endpoint":                        "https://cambist.example:8443/oauth2/introspect",
		"revocation_endpoint":                           "https://cambist.example:8443/oauth2/revoke",
		"revocation_endpoint_auth_methods_supported":    []any{"tls_client_auth", "spiffe_x509"},
		"introspection_endpoint_auth_methods_supported": []any{"tls_client_auth", "spiffe_x509"},
		"grant_types_supported":                         []any{"client_credentials", tokenExchange},
		"response_types_supported":                      []any{},
		"token_endpoint_auth_methods_supported":         []any{"tls_client_auth", "spiffe_x509"},
		"subject_types_supported":                       []any{"public"},
		"id_token_signing_alg_values_supported":         []any{"ES256"},
		"dpop_signing_alg_values_supported":             []any{"ES256", "EdDSA", "Ed25519", "PS256", "RS256"}, // standards DP-12
		"tls_client_certificate_bound_access_tokens":    true,
		"mtls_endpoint_aliases": map[string]any{
			"token_endpoint": "https://cambist.example:8443/oauth2/token", "introspection_endpoint": "https://cambist.example:8443/oauth2/introspect",
			"revocation_endpoint": "https://cambist.example:8443/oauth2/revoke",
		},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if h := recorder.Header(); h.Get("Content-Type") != "application/json" || h.Get("Cache-Control") != "public, max-age=300" {
		t.Errorf("headers %v", h)
	}
}

// The listener for assertions is the token endpoint where there is one; who can do
// mTLS finds the other by the alias (design 7, standards SC-10).
func TestMetadataWithAssertions(t *testing.T) {
	t.Parallel()
	body, err := tokenapi.Metadata("https://cambist.example", "https://cambist.example:8443", "https://cambist.example:8444", []string{"ES256"})
	if err != nil {
		t.Fatal(err)
	}
	var got oauth.Metadata
	if err := json.Unmarshal(body, &got); err != nil {
		t.Fatal(err)
	}
	if got.TokenEndpoint != "https://cambist.example:8444/oauth2/token" || got.MTLSEndpointAliases["token_endpoint"] != "https://cambist.example:8443/oauth2/token" ||
		!slices.Equal(got.TokenEndpointAuthMethodsSupported, []string{"tls_client_auth", "spiffe_x509", "spiffe_jwt"}) ||
		!slices.Contains(got.TokenEndpointAuthSigningAlgValuesSupported, "ES256") || slices.Contains(got.TokenEndpointAuthSigningAlgValuesSupported, "EdDSA") {
		t.Errorf("%s", body)
	}
}

// A body that cannot be read may hold an assertion, or two: the client hears what is
// wrong with it, and not that there is none (standards SC-1).
func TestMalformedAssertion(t *testing.T) {
	t.Parallel()
	missing := broker.Errorf(broker.CodeInvalidClient, broker.ReasonAssertionMissing, "a client_assertion is required")
	for body, want := range map[string]string{
		"client_assertion=a&client_assertion=b": `{"error":"invalid_request","error_description":"client_assertion is sent more than once"}`,
		"grant_type=client_credentials":         `{"error":"invalid_client","error_description":"a client_assertion is required"}`,
	} {
		l := &line{authenticate: missing}
		if got := l.post(t, body).Body.String(); strings.TrimSpace(got) != want || len(l.refused)+len(l.exchanged) > 0 {
			t.Errorf("%s: %s", body, got)
		}
	}
	l := &line{authenticate: broker.Errorf(broker.CodeInvalidClient, broker.ReasonCertificateMissing, "a client certificate is required")}
	if got := l.post(t, "a=1&a=2").Code; got != http.StatusUnauthorized {
		t.Errorf("without a certificate: %d", got)
	}
}

func TestSelf(t *testing.T) {
	t.Parallel()
	ledger := &broker.Resource{Name: "ledger", URI: "https://ledger.example", Hosts: []string{"ledger.finance"}, Binding: broker.BindingIdentity}
	l := &line{reach: []broker.Reachable{
		{Resource: ledger, Scopes: scopes(t, "ledger.read")},
		{Resource: ledger, For: "corp", Having: scopes(t, "orders.write"), Scopes: scopes(t, "ledger.write"), Conditional: true},
	}}
	recorder := httptest.NewRecorder()
	l.handler(t, web.NewQuota(0, 0)).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, tokenapi.PathSelf, nil))
	const want = `{"workload":"spiffe://prod.example/ns/edge/sa/gateway","resources":[{"name":"ledger","uri":"https://ledger.example","hosts":["ledger.finance"],"binding":"identity",` +
		`"grants":[{"scopes":["ledger.read"]},{"for":"corp","having":["orders.write"],"scopes":["ledger.write"],"conditional":true}]}]}` + "\n"
	if recorder.Body.String() != want || recorder.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%s", recorder.Body)
	}
	for _, query := range []string{"?x=1", "?after=a&after=b", "?after=a&x=1", "?after=%zz"} {
		recorder := httptest.NewRecorder()
		l.handler(t, web.NewQuota(0, 0)).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, tokenapi.PathSelf+query, nil))
		if recorder.Code != 400 {
			t.Errorf("%s: %d", query, recorder.Code)
		}
	}
}

// All pages together are what was found, each resource once.
func TestSelfPages(t *testing.T) {
	t.Parallel()
	l := &line{}
	var want []string
	for i := range 250 {
		r := &broker.Resource{Name: fmt.Sprintf("r%03d", i), URI: "u", Binding: broker.BindingIdentity}
		want = append(want, r.Name)
		for range i%3 + 1 {
			l.reach = append(l.reach, broker.Reachable{Resource: r, Scopes: scopes(t, "x")})
		}
	}
	var got []string
	pages := 0
	for after := ""; ; pages++ {
		recorder := httptest.NewRecorder()
		l.handler(t, web.NewQuota(0, 0)).ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, tokenapi.PathSelf+"?after="+after, nil))
		var page struct {
			Resources []struct {
				Name   string            `json:"name"`
				Grants []json.RawMessage `json:"grants"`
			} `json:"resources"`
			Next string `json:"next"`
		}
		if err := json.Unmarshal(recorder.Body.Bytes(), &page); err != nil || len(page.Resources) > 100 {
			t.Fatalf("%v, %d resources", err, len(page.Resources))
		}
		for i, r := range page.Resources {
			if index := len(got) + i; len(r.Grants) != index%3+1 {
				t.Errorf("%s has %d grants", r.Name, len(r.Grants))
			}
		}
		for _, r := range page.Resources {
			got = append(got, r.Name)
		}
		if after = page.Next; after == "" {
			break
		}
	}
	if !slices.Equal(got, want) || pages != 2 {
		t.Errorf("%d resources on %d pages", len(got), pages+1)
	}
}

// Whatever the body, the answer is an OAuth answer, tokens in it do not come
// back, and what was exchanged was well formed.
func FuzzToken(f *testing.F) {
	for _, seed := range []string{
		"grant_type=client_credentials&audience=https://a.example&scope=a+b", "grant_type=" + tokenExchange + "&resource=https://a.example&subject_token=eyJcanary&subject_token_type=" + typeJWT,
		"audience=a&audience=a", "a;b", "%", "scope=%00", "grant_type=client_credentials&audience=%ff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		l := &line{err: broker.Errorf(broker.CodeInvalidTarget, broker.ReasonMappingNone, "no")}
		r := l.post(t, body)
		answer, err := io.ReadAll(r.Body)
		if err != nil || r.Code != 400 || !json.Valid(answer) || strings.Contains(string(answer), "eyJcanary") {
			t.Fatalf("%d %s", r.Code, answer)
		}
		for _, q := range l.exchanged {
			if q.Audience == "" || q.Grant != oauth.GrantClientCredentials && q.Grant != oauth.GrantTokenExchange {
				t.Fatalf("exchanged %+v", q)
			}
			for _, token := range []*broker.SubjectToken{q.Subject, q.Actor} {
				if token != nil && (token.Raw.IsZero() || !token.Type.Known()) {
					t.Fatalf("exchanged %+v", token)
				}
			}
			if again, err := oauth.ParseScopes(q.Scopes.String()); !q.Scopes.IsEmpty() && (err != nil || !again.Equal(q.Scopes)) {
				t.Fatalf("scopes %q", q.Scopes)
			}
		}
	})
}
