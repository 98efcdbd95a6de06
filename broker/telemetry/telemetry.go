// Package telemetry measures: Prometheus metrics as decorators over the
// domain's interfaces. No name of a workload, subject, key or token is ever a
// label: labels come from closed lists.
package telemetry

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// Metrics is the registry of a server and what it counts.
type Metrics struct {
	registry  *prometheus.Registry
	exchanges *prometheus.CounterVec
	inspected *prometheus.CounterVec
	revoked   *prometheus.CounterVec
	requests  *prometheus.HistogramVec
	records   *prometheus.HistogramVec
}

// New returns the metrics of a server of that version.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		exchanges: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cambist_token_exchanges_total", Help: "Token requests of authenticated workloads, by grant, result (issued, refused, failed) and reason.",
		}, []string{"grant", "result", "reason"}),
		inspected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cambist_token_introspections_total", Help: "Introspections by authenticated workloads, by result (active, inactive, failed) and reason.",
		}, []string{"result", "reason"}),
		revoked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "cambist_token_revocations_total", Help: "Revocations by authenticated workloads, by result (revoked, ignored, failed) and reason.",
		}, []string{"result", "reason"}),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cambist_http_request_duration_seconds", Help: "Time to answer a request, by listener, route and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5},
		}, []string{"listener", "route", "status"}),
		records: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "cambist_record_append_duration_seconds", Help: "Time until the record of a token was durable, by result (durable, failed).",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1},
		}, []string{"result"}),
	}
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cambist_build_info", Help: "1, with the version that runs."}, []string{"version"})
	build.WithLabelValues(version).Set(1)
	m.registry.MustRegister(m.exchanges, m.inspected, m.revoked, m.requests, m.records, build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Handler serves the metrics in Prometheus' format.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{Registry: m.registry, MaxRequestsInFlight: 4, Timeout: 5 * time.Second})
}

// Gauge shows a value that is read at each scrape.
func (m *Metrics) Gauge(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "cambist_" + name, Help: help}, read))
}

// Counter shows a total that is counted elsewhere.
func (m *Metrics) Counter(name, help string, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "cambist_" + name, Help: help}, read))
}

// Observe measures an answer; see web.Config.
func (m *Metrics) Observe(listener, route string, status int, took time.Duration) {
	m.requests.WithLabelValues(listener, route, strconv.Itoa(status)).Observe(took.Seconds())
}

// Exchanger is what a token API asks.
type Exchanger interface {
	Exchange(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (broker.IssuedToken, error)
	Refuse(w broker.Workload, r broker.ExchangeRequest, cause error) error
	Reach(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) ([]broker.Reachable, error)
}

// Exchanger returns next, counted.
func (m *Metrics) Exchanger(next Exchanger) Exchanger { return exchanger{next, m} }

type exchanger struct {
	Exchanger
	m *Metrics
}

// Exchange exchanges and counts what came of it.
func (e exchanger) Exchange(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (broker.IssuedToken, error) {
	token, err := e.Exchanger.Exchange(ctx, w, r)
	e.count(r.Grant, err)
	return token, err
}

// Refuse refuses and counts it.
func (e exchanger) Refuse(w broker.Workload, r broker.ExchangeRequest, cause error) error {
	err := e.Exchanger.Refuse(w, r, cause)
	e.count(r.Grant, err)
	return err
}

func (e exchanger) count(grant oauth.GrantType, err error) {
	result, reason := "issued", ""
	if err != nil {
		refusal := broker.AsError(err)
		result, reason = "refused", string(refusal.Reason)
		if refusal.Code == broker.CodeUnavailable || refusal.Code == broker.CodeInternal {
			result = "failed"
		}
	}
	e.m.exchanges.WithLabelValues(grantName(grant), result, reason).Inc()
}

// grantName keeps what a caller made up out of the labels.
func grantName(g oauth.GrantType) string {
	switch g {
	case oauth.GrantClientCredentials:
		return "client_credentials"
	case oauth.GrantTokenExchange:
		return "token_exchange"
	case oauth.GrantJWTBearer:
		return "jwt_bearer"
	}
	return "none"
}

// Ledger returns next, timed.
func (m *Metrics) Ledger(next broker.Ledger, now func() time.Time) broker.Ledger {
	return ledger{next, m, now}
}

type ledger struct {
	broker.Ledger
	m   *Metrics
	now func() time.Time
}

// Append appends and measures how long it took.
func (l ledger) Append(ctx context.Context, r *broker.Record) (broker.Position, error) {
	began := l.now()
	at, err := l.Ledger.Append(ctx, r)
	result := "durable"
	if err != nil {
		result = "failed"
	}
	l.m.records.WithLabelValues(result).Observe(l.now().Sub(began).Seconds())
	return at, err
}
