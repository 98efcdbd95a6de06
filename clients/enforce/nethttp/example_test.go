package nethttp_test

import (
	"context"
	"io"
	"log"
	"log/slog"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/verify"
)

// A service with its own mTLS. Source is what workloadapi.NewX509Source returns.
func Example() {
	serve := func(ctx context.Context, source interface {
		x509svid.Source
		x509bundle.Source
	}) error {
		verifier, err := verify.New(verify.Config{
			Issuer:    "https://cambist.prod.example",
			Audiences: []string{"https://ledger.prod.example"},
			Now:       time.Now,
		})
		if err != nil {
			return err
		}
		go func() { log.Print(verifier.Run(ctx)) }()
		peers, err := verify.PeersByBundle(source, time.Now)
		if err != nil {
			return err
		}
		routes, err := verify.NewRoutes(map[string][]string{"ledger.read": {"GET /accounts/**"}, "ledger.write": {"POST /entries"}})
		if err != nil {
			return err
		}
		guard, err := nethttp.New(nethttp.Config{
			Verifier: verifier, Peers: peers, Routes: routes,
			Refused: func(r *http.Request, e *verify.Error) {
				slog.WarnContext(r.Context(), "refused", "reason", e.Reason, "error", e)
			},
		})
		if err != nil {
			return err
		}
		mux := http.NewServeMux()
		mux.HandleFunc("GET /accounts/{id}", func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "hello "+r.Header.Get(verify.HeaderWorkload)) //nolint:gosec // a SPIFFE ID
		})
		server := &http.Server{
			Addr: ":8443", Handler: guard.Handler(mux), ReadHeaderTimeout: 5 * time.Second,
			TLSConfig: tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny()),
		}
		return server.ListenAndServeTLS("", "")
	}
	_ = serve
}

// Scopes beside the handlers instead of in a table.
func ExampleGuard_Require() {
	handlers := func(guard *nethttp.Guard, list, create http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle("GET /orders", guard.Require("orders.read")(list))
		mux.Handle("POST /orders", guard.Require("orders.write")(create))
		return mux
	}
	_ = handlers
}

// Behind a mesh that ends TLS, its header is the proof, on a listener that nobody
// but its proxy can reach.
func ExampleConfig_peer() {
	byMesh := func(verifier *verify.Verifier) (*nethttp.Guard, error) {
		return nethttp.New(nethttp.Config{
			Verifier: verifier,
			Peer: func(r *http.Request) (verify.Peer, error) {
				names := r.Header.Values("x-mesh-client")
				if len(names) != 1 {
					return verify.Peer{}, nil
				}
				id, err := spiffeid.FromString(names[0])
				if err != nil {
					return verify.Peer{}, err
				}
				return verify.NewPeer(id, "")
			},
			Strip: []string{"x-mesh-client"},
		})
	}
	_ = byMesh
}

// Tokens that are bound to a key, of a resource with binding: dpop, behind an
// ingress that ends TLS and proves nobody. The path is what is left of it here.
func ExampleConfig_dpop() {
	byKey := func(config verify.Config) (*nethttp.Guard, error) {
		config.DPoP = &verify.DPoPConfig{BaseURLs: []string{"https://api.prod.example/orders"}}
		verifier, err := verify.New(config)
		if err != nil {
			return nil, err
		}
		return nethttp.New(nethttp.Config{
			Verifier: verifier,
			Peer:     func(*http.Request) (verify.Peer, error) { return verify.Peer{}, nil },
		})
	}
	_ = byKey
}
