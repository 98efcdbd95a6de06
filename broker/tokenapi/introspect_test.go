package tokenapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/tokenapi"
	"github.com/cambist/cambist/broker/web"
)

func (l *line) Introspect(_ context.Context, _ broker.Workload, r broker.ExchangeRequest) (broker.Introspection, error) {
	l.exchanged = append(l.exchanged, r)
	return l.found, l.err
}

func (l *line) Revoke(_ context.Context, _ broker.Workload, r broker.ExchangeRequest) (bool, error) {
	l.exchanged = append(l.exchanged, r)
	return l.revoked, l.err
}

// show posts a form to one of the endpoints that take a token.
func (l *line) show(t *testing.T, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	request.Header.Set("Content-Type", form)
	recorder := httptest.NewRecorder()
	l.handler(t, web.NewQuota(0, 0)).ServeHTTP(recorder, request)
	return recorder
}

// ofAlice is a token of a user with everything that one can have.
func ofAlice(t *testing.T) *broker.Subject {
	t.Helper()
	return &broker.Subject{
		Kind: broker.SubjectUser, Sub: "corp:alice", Origin: broker.SubjectID{Issuer: "https://corp.example", Subject: "alice"}, Issued: true,
		Audience: []string{"https://orders.example"}, ClientID: gateway.String(), Presenters: []string{"spiffe://prod.example/ns/edge/sa/ingress"},
		Scopes: scopes(t, "orders.read", "orders.write"), TokenID: "t-1", KeyID: "k-1", IssuedAt: start.Truncate(time.Second), ExpiresAt: start.Truncate(time.Second).Add(5 * time.Minute),
		Actor:        &broker.Actor{Party: broker.Party{Subject: gateway.String()}, Actor: &broker.Actor{Party: broker.Party{Subject: "app", Issuer: "https://corp.example"}}},
		MayAct:       &broker.Party{Subject: "spiffe://prod.example/ns/shop/sa/orders"},
		Confirmation: broker.Confirmation{CertificateThumbprint: "thumb"}, Txn: "txn-1", Ancestors: []string{"t-0"}, Claims: []broker.Claim{{Name: "email", Value: "alice@corp.example"}},
	}
}

// Who serves the audience learns whom the token is about, its client does not, and
// neither learns what else was said of the user (RFC 7662 section 2.2, standards IN-3).
func TestIntrospect(t *testing.T) {
	t.Parallel()
	client := map[string]any{
		"active": true, "iss": "https://cambist.example", "aud": "https://orders.example", "client_id": gateway.String(), "scope": "orders.read orders.write",
		"token_type": "Bearer", "jti": "t-1", "iat": float64(start.Unix()), "exp": float64(start.Unix() + 300), "cnf": map[string]any{"x5t#S256": "thumb"},
	}
	server := maps.Clone(client)
	maps.Copy(server, map[string]any{
		"sub": "corp:alice", "sub_id": map[string]any{"format": "iss_sub", "iss": "https://corp.example", "sub": "alice"}, "txn": "txn-1",
		"act":     map[string]any{"sub": gateway.String(), "act": map[string]any{"sub": "app", "iss": "https://corp.example"}},
		"may_act": map[string]any{"sub": "spiffe://prod.example/ns/shop/sa/orders"}, "presenters": []any{"spiffe://prod.example/ns/edge/sa/ingress"},
	})
	for name, tt := range map[string]struct {
		serves bool
		want   map[string]any
	}{"client": {false, client}, "server": {true, server}} {
		l := &line{found: broker.Introspection{Token: ofAlice(t), Issuer: "https://cambist.example", Serves: tt.serves}}
		r := l.show(t, tokenapi.PathIntrospect, "token=a.b.c&token_type_hint=refresh_token&client_id="+gateway.String())
		var got map[string]any
		if err := json.Unmarshal(r.Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(tt.want, got); d != "" || r.Code != 200 || r.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", name, r.Code, d)
		}
		q := l.exchanged[0]
		if q.Subject.Raw.Reveal() != "a.b.c" || q.Subject.Type != oauth.TokenTypeAccessToken || !q.At.Equal(start) || q.Origin.RequestID != "id-1" {
			t.Errorf("%s: asked %+v", name, q)
		}
	}
	// A workload's own token: nobody stands behind it, nothing binds it. One that
	// is bound to a key says so by its type (RFC 9449 section 6.2).
	own := &broker.Subject{Kind: broker.SubjectWorkload, Sub: gateway.String(), Issued: true, Audience: []string{"a"}, ClientID: gateway.String(), IssuedAt: start, ExpiresAt: start}
	l := &line{found: broker.Introspection{Token: own, Issuer: "i", Serves: true}}
	for _, member := range []string{"sub_id", "act", "may_act", "cnf", "presenters", "txn"} {
		if body := l.show(t, tokenapi.PathIntrospect, "token=x").Body.String(); strings.Contains(body, `"`+member+`"`) {
			t.Errorf("%s in %s", member, body)
		}
	}
	own.Confirmation.KeyThumbprint = "jkt"
	if body := l.show(t, tokenapi.PathIntrospect, "token=x").Body.String(); !strings.Contains(body, `"token_type":"DPoP"`) || !strings.Contains(body, `"cnf":{"jkt":"jkt"}`) {
		t.Error(body)
	}
}

// What is not active has one answer, whatever the reason, whatever was sent.
func TestIntrospectInactive(t *testing.T) {
	t.Parallel()
	want := (&line{}).show(t, tokenapi.PathIntrospect, "token=a.b.c")
	if want.Code != 200 || want.Body.String() != `{"active":false}` {
		t.Fatalf("%d %s", want.Code, want.Body)
	}
	for _, reason := range []broker.Reason{broker.ReasonBlocked, broker.ReasonSubjectNotShown, broker.ReasonTokenMalformed, broker.ReasonSubjectExpired} {
		for _, token := range []string{"x", strings.Repeat(".", 1000), strings.Repeat("e", 16<<10)} {
			l := &line{found: broker.Introspection{Reason: reason}}
			got := l.show(t, tokenapi.PathIntrospect, "token="+token)
			if got.Code != 200 || got.Body.String() != want.Body.String() || cmp.Diff(want.Header(), got.Header()) != "" {
				t.Errorf("%s: %d %s %v", reason, got.Code, got.Body, got.Header())
			}
		}
	}
}

// Revoked or nothing of the caller's: the answer is one (RFC 7009 section 2.2).
func TestRevoke(t *testing.T) {
	t.Parallel()
	for _, revoked := range []bool{true, false} {
		l := &line{revoked: revoked}
		r := l.show(t, tokenapi.PathRevoke, "token=a.b.c&token_type_hint=nonsense&client_id="+gateway.String())
		if h := r.Header(); r.Code != 200 || r.Body.Len() != 0 || h.Get("Content-Length") != "0" || h.Get("Cache-Control") != "no-store" || len(h) != 4 {
			t.Errorf("%v: %d %q %v", revoked, r.Code, r.Body, h)
		}
		if q := l.exchanged[0]; q.Subject.Raw.Reveal() != "a.b.c" || q.Subject.Type != oauth.TokenTypeAccessToken || !q.At.Equal(start) {
			t.Errorf("asked %+v", q)
		}
	}
}

// Both endpoints read what they are sent alike.
func TestShownRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body   string
		line   line
		status int
		code   string
	}{
		"no token":      {"token_type_hint=access_token", line{}, 400, "invalid_request"},
		"empty token":   {"token=", line{}, 400, "invalid_request"},
		"two tokens":    {"token=a&token=a", line{}, 400, "invalid_request"},
		"too long":      {"token=" + strings.Repeat("e", 17<<10), line{}, 400, "invalid_request"},
		"other client":  {"token=a&client_id=spiffe://prod.example/ns/shop/sa/web", line{}, 401, "invalid_client"},
		"nobody":        {"token=a", line{authenticate: broker.Errorf(broker.CodeInvalidClient, broker.ReasonCertificateMissing, "no")}, 401, "invalid_client"},
		"lease is over": {"token=a", line{err: broker.Unavailable(broker.ReasonLeaseExpired, 2*time.Second, nil)}, 503, "temporarily_unavailable"},
		"unclassified":  {"token=a", line{err: errors.New("eyJ")}, 500, "server_error"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, path := range []string{tokenapi.PathIntrospect, tokenapi.PathRevoke} {
				l := tt.line
				refusesShown(t, l.show(t, path, tt.body), tt.status, tt.code)
				if asked := len(l.exchanged) != 0; asked != (tt.status >= 500) || tt.status == 400 && len(l.refused) != 1 {
					t.Errorf("%s: asked %v, refused %v", path, l.exchanged, l.refused)
				}
			}
		})
	}
}

func refusesShown(t *testing.T, r *httptest.ResponseRecorder, status int, code string) {
	t.Helper()
	if r.Code != status || !strings.Contains(r.Body.String(), `"`+code+`"`) || strings.Contains(r.Body.String(), "eyJ") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if status == 503 && r.Header().Get("Retry-After") != "2" {
		t.Errorf("headers %v", r.Header())
	}
}

// A listener that answers for no tokens has no such endpoint.
func TestNoInspector(t *testing.T) {
	t.Parallel()
	l := &line{}
	h := tokenapi.New(tokenapi.Config{Edge: newEdge(), Authenticator: l, Exchanger: l, Quota: web.NewQuota(0, 0)})
	for _, path := range []string{tokenapi.PathIntrospect, tokenapi.PathRevoke} {
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, strings.NewReader("token=x")))
		if recorder.Code != 404 {
			t.Errorf("%s: %d", path, recorder.Code)
		}
	}
}

// Whatever the body, both endpoints give an answer of theirs, and the token in it
// does not come back (standards 27).
func FuzzShown(f *testing.F) {
	for _, seed := range []string{
		"token=eyJcanary&token_type_hint=access_token", "token=eyJcanary&token=eyJcanary", "token=%00", "token", "token=a;b", "%", "client_id=eyJcanary&token=x",
		"token=" + strings.Repeat(".", 20000), "token=%ff",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		for path, good := range map[string]string{tokenapi.PathIntrospect: `{"active":false}`, tokenapi.PathRevoke: ""} {
			l := &line{}
			r := l.show(t, path, body)
			answer := r.Body.String()
			switch {
			case strings.Contains(answer, "eyJcanary"):
				t.Fatalf("%s: %s", path, answer)
			case r.Code == 200 && (answer != good || len(l.exchanged) != 1 || l.exchanged[0].Subject.Raw.IsZero()):
				t.Fatalf("%s: %s, asked %v", path, answer, l.exchanged)
			case r.Code != 200 && (r.Code != 400 && r.Code != 401 || !json.Valid([]byte(answer)) || len(l.exchanged) != 0):
				t.Fatalf("%s: %d %s", path, r.Code, answer)
			}
		}
	})
}
