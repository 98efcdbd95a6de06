package exchange_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cambist/cambist/clients/exchange"
)

// load calls the ledger from several goroutines until each of them has done so
// many calls, and runs between every so many of all. It returns the failures.
func load(t *testing.T, client *http.Client, total, every int, between func(n int)) []error {
	t.Helper()
	var count atomic.Int64
	var mu sync.Mutex
	var failures []error
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for {
				n := int(count.Add(1))
				if n > total {
					return
				}
				if n%every == 0 {
					between(n)
				}
				if err := get(t, client); err != nil {
					mu.Lock()
					failures = append(failures, fmt.Errorf("call %d: %w", n, err))
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return failures
}

func get(t *testing.T, client *http.Client) error {
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://ledger.finance/accounts", http.NoBody)
	if err != nil {
		return err
	}
	res, err := client.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	if body, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || string(body) != "ok" {
		return fmt.Errorf("status %d, %q, %w", res.StatusCode, body, err)
	}
	return nil
}

// SVIDs rotate every few calls, with tokens that are bound to the certificate and
// with tokens that are not: no call fails, and each has a token and a certificate
// that belong together.
func TestRotationUnderLoad(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]bool{"identity": false, "certificate": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t, false)
			s.set(func() { s.bound = bound })
			a := newApp(t, s, "ledger.finance:443", ledgerURI)
			c := s.client(t)
			failures := load(t, c.HTTPClient("ledger", exchange.AsSelf), 1200, 40, func(int) { s.source.rotate(t, time.Hour) })
			if len(failures) > 0 || a.problem() != "" {
				t.Errorf("%d failed, as %v; guard: %q", len(failures), failures[:min(len(failures), 1)], a.problem())
			}
			// Bound tokens are renewed with the SVID, once for each at most.
			if got := len(s.exchanges()); bound && (got < 10 || got > 31) || !bound && got != 1 {
				t.Errorf("%d exchanges", got)
			}
		})
	}
}

// The broker is restarted again and again, gracefully and by the axe, while tokens
// live a second: no call fails.
func TestRestartsUnderLoad(t *testing.T) {
	t.Parallel()
	for name, gracefully := range map[string]bool{"graceful": true, "abrupt": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t, false)
			s.set(func() { s.life = time.Second })
			a := newApp(t, s, "ledger.finance:443", ledgerURI)
			c := s.client(t)
			client := c.HTTPClient("ledger", exchange.AsSelf)
			// One restarts at a time; the others go on calling.
			var one sync.Mutex
			failures := load(t, client, 3000, 750, func(int) {
				one.Lock()
				defer one.Unlock()
				s.stop(t, gracefully)
				s.start(t)
			})
			if len(failures) > 0 || a.problem() != "" {
				t.Errorf("%d failed, as %v; guard: %q", len(failures), failures[:min(len(failures), 1)], a.problem())
			}
			if got := len(s.exchanges()); got < 2 {
				t.Errorf("%d exchanges", got)
			}
		})
	}
}

// Many exchanges are under way at each restart: every one of them ends well, if
// need be on the next connection.
func TestRestartsUnderExchanges(t *testing.T) {
	t.Parallel()
	for name, gracefully := range map[string]bool{"graceful": true, "abrupt": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t, false)
			c := s.client(t)
			var count atomic.Int64
			var one sync.Mutex
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					for {
						n := count.Add(1)
						if n > 800 {
							return
						}
						if n%160 == 0 {
							one.Lock()
							s.stop(t, gracefully)
							s.start(t)
							one.Unlock()
						}
						// Each has a target of its own, so each is an exchange.
						if _, err := c.Token(t.Context(), exchange.Target{Resource: fmt.Sprintf("shop/s%d", n), As: exchange.AsSelf}); err != nil {
							t.Errorf("exchange %d: %v", n, err)
						}
					}
				})
			}
			wg.Wait()
			if got := len(s.exchanges()); got < 800 {
				t.Errorf("%d exchanges", got)
			}
		})
	}
}
