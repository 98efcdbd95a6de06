package exchange_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"
	"google.golang.org/grpc/credentials"

	"github.com/cambist/cambist/clients/exchange"
)

var _ credentials.PerRPCCredentials = (*exchange.RPCCredentials)(nil)

// oauth2 keeps a token for itself; it comes back in time for each to be renewed
// ahead, so that it never waits either.
func TestTokenSource(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{30 * time.Second, 5 * time.Minute} {
		t.Run(life.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newWorld(t, true)
				s.set(func() { s.life = life })
				a := newApp(t, s, "ledger.finance:443", ledgerURI)
				c := s.client(t)
				source := c.TokenSource(t.Context(), ledger)
				first, err := source.Token()
				if err != nil || !first.Valid() || first.Type() != "Bearer" || first.AccessToken != must(t, c, ledger).Secret.Reveal() {
					t.Fatal(first, err)
				}
				client := oauth2.NewClient(context.WithValue(t.Context(), oauth2.HTTPClient, &http.Client{Transport: s.ownTransport()}), source)
				defer client.CloseIdleConnections()
				s.set(func() { s.answer = slow(time.Second) })
				start := time.Now()
				for time.Since(start) < 10*time.Minute {
					before := time.Now()
					if err := get(t, client); err != nil {
						t.Fatal(err)
					}
					if time.Since(before) != 0 {
						t.Fatalf("waited %v", time.Since(before))
					}
					after(500 * time.Millisecond)
				}
				if why := a.problem(); why != "" {
					t.Error(why)
				}
				if got, least := len(s.exchanges()), int(10*time.Minute*10/life/7); got < least {
					t.Errorf("%d exchanges, want %d at least", got, least)
				}
			})
		})
	}
}

func TestRPCCredentials(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	p := c.RPCCredentials(ledger)
	for uri, ok := range map[string]bool{
		"https://ledger.finance/finance.Ledger":      true,
		"https://ledger.finance:8443/finance.Ledger": true,
		"https://evil.example/finance.Ledger":        false,
		"https://ledger.finance:9/finance.Ledger":    false,
		"http://ledger.finance/finance.Ledger":       false,
		"":                                           false,
		"%":                                          false,
	} {
		metadata, err := p.GetRequestMetadata(t.Context(), uri)
		if (err == nil) != ok || ok && metadata["authorization"] != "Bearer "+must(t, c, ledger).Secret.Reveal() {
			t.Errorf("%q: %v", uri, err)
		}
	}
	if _, err := p.GetRequestMetadata(t.Context()); err == nil {
		t.Error("for no host at all")
	}
	if !p.RequireTransportSecurity() || s.client(t, exchange.WithPlainHTTP()).RPCCredentials(ledger).RequireTransportSecurity() {
		t.Error("transport security")
	}
}

// A base of the caller's is used as it is.
func TestBase(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	var asked *http.Request
	base := roundTrip(func(r *http.Request) (*http.Response, error) {
		asked = r
		return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader("ok")), Request: r}, nil
	})
	client := &http.Client{Transport: s.client(t).RoundTripper(ledger, base)}
	if err := get(t, client); err != nil || !strings.HasPrefix(asked.Header.Get("Authorization"), "Bearer ") || s.net.dialled("ledger.finance:443") != 0 {
		t.Error(err)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Self is all that the broker lists, pages put together; without a broker it says
// so.
func TestSelf(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.set(func() {
		s.self = strings.Replace(selfText, `"resources":[`, `"next":"a","resources":[`, 1)
		s.selfAfter = `{"workload":"spiffe://prod.example/ns/shop/sa/web","resources":[{"name":"later","uri":"https://later.prod.example","binding":"identity","grants":[{"scopes":["x"]}]}]}`
	})
	c := s.client(t)
	self, err := c.Self(t.Context())
	if err != nil || self.Workload != "spiffe://prod.example/ns/shop/sa/web" {
		t.Fatal(self.Workload, err)
	}
	if first, last := self.Resources[0], self.Resources[len(self.Resources)-1]; first.Name != "ledger" || len(first.Grants) == 0 || last.Name != "later" || last.Grants[0].Scopes[0] != "x" {
		t.Errorf("%+v … %+v", first, last)
	}
	s.stop(t, true)
	other := s.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, err := other.Self(ctx); !errors.Is(err, exchange.ErrUnavailable) {
		t.Error(err)
	}
}
