package nethttp_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/verify"
)

// nowhere is an answer that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkHandler stands beside Verify for what the middleware adds.
func BenchmarkHandler(b *testing.B) {
	w := newWorld(b, nil)
	routes, err := verify.NewRoutes(map[string][]string{"orders.read": {"GET /orders/**"}, "orders.write": {"POST /orders"}})
	if err != nil {
		b.Fatal(err)
	}
	peers := w.peers(b)
	h := w.guard(b, func(c *nethttp.Config) { c.Routes, c.Peers = routes, peers }).Handler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	token := w.token(b, user())
	r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/orders/1", nil)
	r.TLS = &tls.ConnectionState{PeerCertificates: w.svid(b, web).Certificates}
	r.Header = http.Header{"Authorization": {"Bearer " + token}, "Accept": {"*/*"}, "User-Agent": {"x"}, "Traceparent": {"x"}, "X-Request-Id": {"x"}}
	b.Run("peer and Verify alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p, err := peers.FromTLS(r.TLS)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := w.verifier.Verify(r.Context(), token, p); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Handler", func(b *testing.B) {
		b.ReportAllocs()
		answer := nowhere{http.Header{}}
		for b.Loop() {
			h.ServeHTTP(answer, r)
		}
		if len(answer.header) != 0 {
			b.Fatal("refused")
		}
	})
	b.Run("refused without credentials", func(b *testing.B) {
		b.ReportAllocs()
		without := r.Clone(r.Context())
		without.Header.Del("Authorization")
		for b.Loop() {
			h.ServeHTTP(nowhere{http.Header{}}, without)
		}
	})
}
