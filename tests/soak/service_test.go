package soak_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/exchange"
	"github.com/cambist/cambist/clients/exchange/spiffe"
	"github.com/cambist/cambist/clients/verify"
)

// What follows are programs as a user writes them from README and go doc. Each
// runs in a process of its own and has its identity from its socket alone.

// ledger serves behind the guard.
func ledger(ctx context.Context) error {
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer source.Close()
	broker, err := spiffeid.FromString(os.Getenv("CAMBIST_SERVER_ID"))
	if err != nil {
		return err
	}
	verifier, err := verify.New(verify.Config{
		Issuer: os.Getenv("CAMBIST_URL"), Audiences: []string{"https://ledger.dev.cambist.invalid"},
		Keys: verify.KeySource{Bundles: source, Server: broker}, Dev: true, Now: time.Now,
	})
	if err != nil {
		return err
	}
	go func() { _ = verifier.Run(ctx) }()
	peers, err := verify.PeersByBundle(source, time.Now)
	if err != nil {
		return err
	}
	routes, err := verify.NewRoutes(map[string][]string{"ledger.read": {"GET /accounts/**"}})
	if err != nil {
		return err
	}
	guard, err := nethttp.New(nethttp.Config{
		Verifier: verifier, Peers: peers, Routes: routes,
		Refused: func(_ *http.Request, e *verify.Error) { slog.Error("refused", "error", e) },
	})
	if err != nil {
		return err
	}
	accounts := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, _ := verify.FromContext(r.Context())
		w.Header().Set("X-Token", token.ID())
		w.Header().Set("X-Serial", r.TLS.PeerCertificates[0].SerialNumber.Text(16))
		_, _ = io.WriteString(w, token.Subject())
	})
	server := &http.Server{
		Addr: os.Getenv("LISTEN"), Handler: guard.Handler(accounts), ReadHeaderTimeout: 5 * time.Second,
		TLSConfig: tlsconfig.MTLSServerConfig(source, source, tlsconfig.AuthorizeAny()),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.ListenAndServeTLS("", ""); ctx.Err() == nil {
		return err
	}
	return nil
}

// counts are what a caller saw.
type counts struct {
	Calls, Tokens, Serials int
	Failed                 []string
}

// caller calls the ledger every 20 ms, in its own name or on behalf of alice.
func caller(ctx context.Context) error {
	client, err := exchange.New(ctx, exchange.FromEnv(), spiffe.WorkloadAPI())
	if err != nil {
		return err
	}
	defer client.Close()
	target := exchange.Target{Resource: "ledger", As: exchange.AsSelf, Server: os.Getenv("LEDGER_ID")}
	requests := ctx
	if user := os.Getenv("USER_TOKEN"); user != "" {
		target.As = exchange.AsUser
		requests = exchange.WithUser(ctx, oauth.NewSecret(user))
	}
	calls := &http.Client{Transport: client.RoundTripper(target, nil)}
	var seen counts
	tokens, serials := map[string]bool{}, map[string]bool{}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ctx.Err() == nil {
		if err := call(requests, calls, func(h http.Header) { tokens[h.Get("X-Token")], serials[h.Get("X-Serial")] = true, true }); err != nil && ctx.Err() == nil {
			seen.Failed = append(seen.Failed, time.Now().Format(time.StampMilli)+" "+err.Error())
		}
		seen.Calls++
		if seen.Calls == 1 {
			fmt.Println("ready")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
	seen.Tokens, seen.Serials = len(tokens), len(serials)
	return json.NewEncoder(os.Stdout).Encode(seen)
}

func call(ctx context.Context, client *http.Client, seen func(http.Header)) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, os.Getenv("LEDGER_URL")+"/accounts/1", nil) //nolint:gosec // its own address
	if err != nil {
		return err
	}
	response, err := client.Do(request) //nolint:gosec // as above
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s", response.Status, response.Header.Get("WWW-Authenticate"))
	}
	seen(response.Header)
	return nil
}
