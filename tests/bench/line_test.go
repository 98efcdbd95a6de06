package bench_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/mint/jwtat"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/telemetry"
	"github.com/cambist/cambist/broker/tokenapi"
	"github.com/cambist/cambist/broker/web"
	"github.com/cambist/cambist/store"
)

// free from I/O: a workload that is who it is, a policy that does not move, and
// records that are durable when they are encoded.
type still struct{ view broker.View }

func (s still) Current() (broker.View, broker.Lease) {
	return s.view, broker.NewLease(0, func() time.Duration { return 0 })
}

func (s still) Authenticate(*http.Request, oauth.Form) (broker.Workload, error) {
	return broker.Workload{ID: spiffeid.RequireFromString(id), Proof: broker.ProofMTLS, NotAfter: time.Now().Add(time.Hour)}, nil
}

type nowhere struct{ store.Records }

func (nowhere) AppendRecords(context.Context, []store.RecordRow) error { return nil }
func (nowhere) LastRecord(context.Context, string) (store.RecordRow, error) {
	return store.RecordRow{}, broker.Errorf(broker.CodeNotFound, "", "none")
}
func (nowhere) Seal([]byte, []byte) ([]byte, error) { return nil, nil }

type oneKey struct{ signer *jws.Signer }

func (k oneKey) Signer(string) (*jws.Signer, error)     { return k.signer, nil }
func (k oneKey) SignerByID(string) (*jws.Signer, error) { return k.signer, nil }

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// BenchmarkLine is one token request from form to answer without TLS, HTTP and
// database: what is ours to make fast. The signature is part of it.
func BenchmarkLine(b *testing.B) {
	documents, findings := policy.Parse("policy", fmt.Appendf(nil, document, "/nowhere"))
	if policy.HasErrors(findings) {
		b.Fatal(findings)
	}
	view, _ := policy.Compile(documents[0].Objects, 1, policy.Options{})
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	signer, err := jws.NewSigner("kid", jws.ES256, private)
	must(b, err)
	recorder := audit.New(audit.Config{Records: nowhere{}, Sealer: nowhere{}, Replica: "r", Limits: broker.DefaultLimits(), Now: time.Now, NewID: broker.NewID, Warn: func(string, ...any) {}})
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan error, 1)
	go func() { done <- recorder.Run(ctx) }()
	defer func() { cancel(); must(b, <-done) }()
	metrics := telemetry.New("bench")
	handler := tokenapi.New(tokenapi.Config{
		Edge:          web.New(web.Config{Listener: "mtls", Now: time.Now, NewID: broker.NewID, Log: web.NewAccessLog(slog.New(slog.DiscardHandler), false), Concurrent: 64, Observe: metrics.Observe}),
		Authenticator: still{},
		Exchanger: metrics.Exchanger(&broker.Exchanger{
			Issuer: "https://localhost:8443", Limits: broker.DefaultLimits(), Policy: still{view}, Ledger: metrics.Ledger(recorder, time.Now), Minter: jwtat.New(oneKey{signer}), Now: time.Now, NewID: broker.NewID,
		}),
		Quota: web.NewQuota(1e9, 1e9), Documents: tokenapi.Documents{},
	})
	const body = "grant_type=client_credentials&audience=https%3A%2F%2Fledger.prod.example"
	request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "https://localhost"+tokenapi.PathToken, nil)
	must(b, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	b.Run("client_credentials", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r := *request
			r.Body, r.ContentLength = reader{strings.NewReader(body)}, int64(len(body))
			handler.ServeHTTP(discard{http.Header{}}, &r)
		}
	})
	b.Run("signature", func(b *testing.B) {
		b.ReportAllocs()
		input := make([]byte, 700)
		for b.Loop() {
			if _, err := signer.Sign(input); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type reader struct{ *strings.Reader }

func (reader) Close() error { return nil }
