package telemetry_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/telemetry"
)

type line struct {
	err     error
	found   broker.Introspection
	revoked bool
}

func (l *line) Exchange(context.Context, broker.Workload, broker.ExchangeRequest) (broker.IssuedToken, error) {
	return broker.IssuedToken{ID: "t"}, l.err
}
func (l *line) Refuse(_ broker.Workload, _ broker.ExchangeRequest, cause error) error { return cause }
func (l *line) Reach(context.Context, broker.Workload, broker.ExchangeRequest) ([]broker.Reachable, error) {
	return nil, l.err
}
func (l *line) Append(context.Context, *broker.Record) (broker.Position, error) {
	return broker.Position{Seq: 7}, l.err
}
func (l *line) Note(*broker.Record) {}

func scrape(t *testing.T, m *telemetry.Metrics) string {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	body, err := io.ReadAll(recorder.Body)
	if err != nil || recorder.Code != 200 {
		t.Fatalf("%d %v", recorder.Code, err)
	}
	return string(body)
}

func TestCounts(t *testing.T) {
	t.Parallel()
	m := telemetry.New("v1.2.3")
	l := &line{}
	e := m.Exchanger(l)
	w := broker.Workload{ID: spiffeid.RequireFromString("spiffe://canary.example/ns/secret/sa/name")}
	r := broker.ExchangeRequest{Grant: oauth.GrantTokenExchange, Audience: "https://canary.example"}
	if token, err := e.Exchange(t.Context(), w, r); err != nil || token.ID != "t" {
		t.Fatalf("%v %v", token, err)
	}
	l.err = broker.Errorf(broker.CodeInvalidTarget, broker.ReasonMappingNone, "no")
	if _, err := e.Exchange(t.Context(), w, r); !errors.Is(err, l.err) {
		t.Fatal(err)
	}
	l.err = broker.Unavailable(broker.ReasonRecordUnavailable, time.Second, nil)
	_, _ = e.Exchange(t.Context(), w, r)
	l.err = errors.New("canary")
	_, _ = e.Exchange(t.Context(), w, broker.ExchangeRequest{Grant: oauth.GrantClientCredentials})
	_ = e.Refuse(w, broker.ExchangeRequest{Grant: "canary"}, broker.Errorf(broker.CodeInvalidRequest, broker.ReasonRequestMalformed, "canary"))
	text := scrape(t, m)
	for _, want := range []string{
		`cambist_token_exchanges_total{grant="token_exchange",reason="",result="issued"} 1`,
		`cambist_token_exchanges_total{grant="token_exchange",reason="mapping_none",result="refused"} 1`,
		`cambist_token_exchanges_total{grant="token_exchange",reason="record_unavailable",result="failed"} 1`,
		`cambist_token_exchanges_total{grant="client_credentials",reason="internal",result="failed"} 1`,
		`cambist_token_exchanges_total{grant="none",reason="request_malformed",result="refused"} 1`,
		`cambist_build_info{version="v1.2.3"} 1`,
		"go_goroutines ", "process_open_fds ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	if strings.Contains(text, "canary") || strings.Contains(text, "secret") {
		t.Error("something of the request stands in the metrics")
	}
}

func TestTimes(t *testing.T) {
	t.Parallel()
	m := telemetry.New("v")
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	l := &line{}
	ledger := m.Ledger(l, func() time.Time { now = now.Add(3 * time.Millisecond); return now })
	if at, err := ledger.Append(t.Context(), &broker.Record{}); err != nil || at.Seq != 7 {
		t.Fatalf("%v %v", at, err)
	}
	l.err = errors.New("away")
	if _, err := ledger.Append(t.Context(), &broker.Record{}); err == nil {
		t.Fatal("the error was lost")
	}
	m.Observe("mtls", "/oauth2/token", 200, 2*time.Millisecond)
	m.Gauge("lease_left_seconds", "x", func() float64 { return 59 })
	m.Counter("records_lost_total", "x", func() float64 { return 3 })
	text := scrape(t, m)
	for _, want := range []string{
		`cambist_record_append_duration_seconds_sum{result="durable"} 0.003`,
		`cambist_record_append_duration_seconds_count{result="failed"} 1`,
		`cambist_http_request_duration_seconds_count{listener="mtls",route="/oauth2/token",status="200"} 1`,
		"cambist_lease_left_seconds 59", "cambist_records_lost_total 3",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}

func (l *line) Introspect(context.Context, broker.Workload, broker.ExchangeRequest) (broker.Introspection, error) {
	return l.found, l.err
}

func (l *line) Revoke(context.Context, broker.Workload, broker.ExchangeRequest) (bool, error) {
	return l.revoked, l.err
}

func TestInspectorCounts(t *testing.T) {
	t.Parallel()
	m := telemetry.New("v")
	l := &line{found: broker.Introspection{Token: &broker.Subject{}}}
	i := m.Inspector(l)
	ask := func() (broker.Introspection, error) {
		return i.Introspect(t.Context(), broker.Workload{}, broker.ExchangeRequest{})
	}
	if got, err := ask(); err != nil || got.Token != l.found.Token {
		t.Fatalf("%+v, %v", got, err)
	}
	l.found = broker.Introspection{Reason: broker.ReasonBlocked}
	_, _ = ask()
	for _, l.revoked = range []bool{true, false} {
		if revoked, err := i.Revoke(t.Context(), broker.Workload{}, broker.ExchangeRequest{}); err != nil || revoked != l.revoked {
			t.Fatalf("%v, %v", revoked, err)
		}
	}
	l.err = broker.Unavailable(broker.ReasonLeaseExpired, time.Second, nil)
	if _, err := i.Revoke(t.Context(), broker.Workload{}, broker.ExchangeRequest{}); !errors.Is(err, l.err) {
		t.Fatal(err)
	}
	if _, err := ask(); !errors.Is(err, l.err) {
		t.Fatal(err)
	}
	text := scrape(t, m)
	for _, want := range []string{
		`cambist_token_introspections_total{reason="",result="active"} 1`, `cambist_token_introspections_total{reason="blocked",result="inactive"} 1`,
		`cambist_token_introspections_total{reason="lease_expired",result="failed"} 1`,
		`cambist_token_revocations_total{reason="",result="revoked"} 1`, `cambist_token_revocations_total{reason="",result="ignored"} 1`,
		`cambist_token_revocations_total{reason="lease_expired",result="failed"} 1`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
}
