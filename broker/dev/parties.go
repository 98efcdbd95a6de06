package dev

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"

	"github.com/cambist/cambist/clients/enforce/nethttp"
	"github.com/cambist/cambist/clients/exchange"
	"github.com/cambist/cambist/clients/verify"
)

// party is a workload of the demo: it has its socket, and so its identity.
type party struct {
	id     spiffeid.ID
	source *workloadapi.X509Source
	client *exchange.Client
}

// join gives a workload its SVID and an SDK client.
func (d *demo) join(ctx context.Context, name string) (*party, error) {
	source, err := workloadapi.NewX509Source(ctx, workloadapi.WithClientOptions(workloadapi.WithAddr(d.server.places.Workloads[name])))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	client, err := exchange.New(ctx, exchange.WithURL(d.server.places.Issuer), exchange.WithServerID(d.server.places.ServerID), exchange.WithSource(source, source))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), source.Close())
	}
	id, err := d.server.id(name)
	return &party{id: id, source: source, client: client}, err
}

func (p *party) leave() error { return errors.Join(p.client.Close(), p.source.Close()) }

// service is a resource of the demo, and the workload that serves it.
type service struct {
	*party
	name    string
	routes  map[string][]string // by scope
	handler http.HandlerFunc
}

// serve runs a service behind its guard, until ctx ends.
func (d *demo) serve(ctx context.Context, s service) error {
	verifier, err := d.verifier(s.party, s.name, d.now)
	if err != nil {
		return err
	}
	peers, err := verify.PeersByBundle(s.source, d.now)
	if err != nil {
		return err
	}
	routes, err := verify.NewRoutes(s.routes)
	if err != nil {
		return err
	}
	guard, err := nethttp.New(nethttp.Config{Verifier: verifier, Peers: peers, Routes: routes})
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler: guard.Handler(s.handler), ReadHeaderTimeout: 5 * time.Second, TLSConfig: tlsconfig.MTLSServerConfig(s.source, s.source, tlsconfig.AuthorizeAny()),
	}
	if err := ready(ctx, verifier); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.ServeTLS(d.listeners[s.name], "", "") }() // ends with ctx
	return nil
}

// verifier is what the guard of a service asks.
func (d *demo) verifier(p *party, name string, now func() time.Time) (*verify.Verifier, error) {
	broker, err := spiffeid.FromString(d.server.places.ServerID)
	if err != nil {
		return nil, err
	}
	return verify.New(verify.Config{
		Issuer: d.server.places.Issuer, Audiences: []string{"https://" + name + "." + Domain}, Keys: verify.KeySource{Bundles: p.source, Server: broker}, Dev: true, Now: now,
	})
}

// ready runs a verifier until ctx ends, and returns when it has its keys.
func ready(ctx context.Context, v *verify.Verifier) error {
	go func() { _ = v.Run(ctx) }() // ends with ctx
	return until(ctx, v.Ready)
}

// until asks again and again, until there is no error or ctx ends.
func until(ctx context.Context, ask func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return err
		}
	}
}

// request is what a workload sends: with a token of its own, or with none and
// then the transport may add one.
type request struct {
	transport          http.RoundTripper
	method, url, token string
}

// reply is what came back.
type reply struct {
	status          int
	challenge, body string
}

// send sends a request as whoever the transport belongs to.
func (r request) send(ctx context.Context) (reply, error) {
	request, err := http.NewRequestWithContext(ctx, r.method, r.url, nil)
	if err != nil {
		return reply{}, err
	}
	if r.token != "" {
		request.Header.Set("Authorization", "Bearer "+r.token)
	}
	response, err := (&http.Client{Transport: r.transport, Timeout: 10 * time.Second}).Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close() //nolint:errcheck // it has been read
	raw, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header.Get("WWW-Authenticate"), strings.TrimSpace(string(raw))}, err
}

// plain is a connection that shows the workload's SVID and adds no token.
func (p *party) plain(server spiffeid.ID) *http.Transport {
	return &http.Transport{TLSClientConfig: tlsconfig.MTLSClientConfig(p.source, p.source, tlsconfig.AuthorizeID(server))}
}

// shown are the claims of a token that the story speaks of, one a line.
func shown(token string, names ...string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "(not a token)"
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return "(not a token)"
	}
	var claims map[string]json.RawMessage
	if err := json.Unmarshal(raw, &claims); err != nil {
		return "(not a token)"
	}
	var b strings.Builder
	for _, name := range names {
		if value, ok := claims[name]; ok {
			fmt.Fprintf(&b, "     %-10s %s\n", name, value)
		}
	}
	return b.String()
}
