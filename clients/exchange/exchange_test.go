package exchange_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"testing"
	"time"

	"github.com/cambist/cambist/clients/exchange"
)

func thumbprint(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// The whole wire once: what is asked, as whom, and that the answer is kept.
func TestToken(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	before := time.Now()
	token := must(t, c, ledger)
	if token.Resource != ledgerURI || token.Scopes.String() != "ledger.read ledger.write" {
		t.Errorf("%+v", token)
	}
	if life := token.ExpiresAt.Sub(before); life < s.life || life > s.life+time.Minute {
		t.Errorf("lives %v", life)
	}
	if again := must(t, c, ledger); again.Secret.Reveal() != token.Secret.Reveal() {
		t.Error("another token")
	}
	got := s.exchanges()
	if len(got) != 1 {
		t.Fatalf("%d requests", len(got))
	}
	for name, want := range map[string]string{
		"grant_type": "client_credentials", "audience": ledgerURI, "scope": "ledger.read ledger.write",
		"client_id": "spiffe://prod.example/ns/shop/sa/web", "subject_token": "", "requested_token_type": "",
	} {
		if v := got[0].form.Get(name); v != want {
			t.Errorf("%s is %q, want %q", name, v, want)
		}
	}
	if got[0].id != "spiffe://prod.example/ns/shop/sa/web" || got[0].key == "" {
		t.Errorf("%+v", got[0])
	}
}

func TestResources(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		target   exchange.Target
		self     string
		audience string
		scope    string
	}{
		"by name":                     {ledger, selfText, ledgerURI, "ledger.read ledger.write"},
		"by URI":                      {exchange.Target{Resource: ledgerURI, As: exchange.AsSelf}, selfText, ledgerURI, "ledger.read ledger.write"},
		"with scopes":                 {exchange.Target{Resource: "ledger", As: exchange.AsSelf, Scopes: []string{"b", "a", "b"}}, selfText, ledgerURI, "a b"},
		"template by name":            {exchange.Target{Resource: "shop/cart", As: exchange.AsSelf}, selfText, "https://cart.shop.svc.prod.example", "call"},
		"template by URI":             {exchange.Target{Resource: "https://cart.shop.svc.prod.example", As: exchange.AsSelf}, selfText, "https://cart.shop.svc.prod.example", "call"},
		"two variables, by URI":       {exchange.Target{Resource: "https://a.b.svc.prod.example", As: exchange.AsSelf}, selfText, "https://a.b.svc.prod.example", "call"},
		"two variables, equal":        {exchange.Target{Resource: "a/a", As: exchange.AsSelf}, selfText, "https://a.a.svc.prod.example", "call"},
		"a URI that is not listed":    {exchange.Target{Resource: "urn:cambist:admin", As: exchange.AsSelf}, selfText, "urn:cambist:admin", ""},
		"by URI, nothing is listed":   {exchange.Target{Resource: ledgerURI, As: exchange.AsSelf}, "", ledgerURI, ""},
		"with scopes, nothing listed": {exchange.Target{Resource: ledgerURI, As: exchange.AsSelf, Scopes: []string{"x"}}, "", ledgerURI, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t, false)
			s.set(func() { s.self = tt.self })
			if token := must(t, s.client(t), tt.target); token.Resource != tt.audience {
				t.Errorf("for %q", token.Resource)
			}
			got := s.exchanges()
			if len(got) != 1 || got[0].form.Get("audience") != tt.audience || got[0].form.Get("scope") != tt.scope {
				t.Errorf("asked %+v", got)
			}
		})
	}
}

// What a call costs while a token is there, from as many goroutines as there are
// processors.
func BenchmarkToken(b *testing.B) {
	s := newWorld(b, false)
	c := s.client(b)
	must(b, c, ledger)
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if _, err := c.Token(b.Context(), ledger); err != nil {
				b.Error(err)
			}
		}
	})
}
