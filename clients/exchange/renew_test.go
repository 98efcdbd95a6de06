package exchange_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
)

// after lets time pass in a bubble, and whatever it sets going run.
func after(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// The times of a life, for any life.
func TestTimes(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		life := time.Duration(rapid.Int64Range(1, 86_400).Draw(t, "seconds")) * time.Second
		renew, must, last := exchange.Times(life)
		if renew < life/2 || renew > life*6/10 {
			t.Errorf("renewed at %v of %v", renew, life)
		}
		if want := min(time.Minute, life/5); life-must != want {
			t.Errorf("must be renewed %v before the end of %v", life-must, life)
		}
		if want := min(10*time.Second, life/10); life-last != want {
			t.Errorf("used until %v before the end of %v", life-last, life)
		}
	})
	// Ten equal parts of the window get about as much each: off by a quarter is
	// eight standard deviations.
	const draws = 10_000
	var parts [10]int
	for range draws {
		renew, _, _ := exchange.Times(1000 * time.Second)
		parts[int((renew-500*time.Second)/(10*time.Second))]++
	}
	for i, n := range parts {
		if n < draws/10*3/4 || n > draws/10*5/4 {
			t.Errorf("part %d of the window has %d of %d", i, n, draws)
		}
	}
}

// A token is renewed ahead, by use and once, while its users go on with the old
// one and never wait, though the broker takes two seconds.
func TestRenewedAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		must(t, c, ledger)
		s.set(func() { s.answer = slow(2 * time.Second) })
		start := time.Now()
		for time.Since(start) < time.Hour {
			before := time.Now()
			must(t, c, ledger)
			if waited := time.Since(before); waited != 0 {
				t.Fatalf("waited %v after %v", waited, before.Sub(start))
			}
			after(time.Second)
		}
		got := s.exchanges()
		for i := 1; i < len(got); i++ {
			if gap := got[i].at.Sub(got[i-1].at); gap < 150*time.Second || gap > 184*time.Second {
				t.Errorf("renewed after %v", gap)
			}
		}
		if len(got) < 19 || len(got) > 25 {
			t.Errorf("%d exchanges in an hour", len(got))
		}
		after(time.Hour)
		if idle := s.exchanges(); len(idle) > len(got)+1 {
			t.Errorf("%d exchanges while nobody asked", len(idle)-len(got))
		}
		if c.Holds() || c.Entries() != 0 {
			t.Error("a token that is over is kept")
		}
	})
}

// A thousand callers are one exchange; who goes away takes nobody along.
func TestOneFlight(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		release := make(chan struct{})
		s.set(func() {
			s.answer = func(http.ResponseWriter, seen) bool { <-release; return false }
		})
		c := s.client(t)
		first, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() {
			_, err := c.Token(first, ledger)
			gone <- err
		}()
		synctest.Wait()
		var wg sync.WaitGroup
		tokens := make([]exchange.Token, 1000)
		for i := range tokens {
			wg.Go(func() { tokens[i] = must(t, c, ledger) })
		}
		synctest.Wait()
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) || errors.Is(err, exchange.ErrUnavailable) {
			t.Error(err)
		}
		close(release)
		wg.Wait()
		for i := range tokens {
			if tokens[i].Secret.Reveal() != tokens[0].Secret.Reveal() {
				t.Fatal("two tokens")
			}
		}
		if got := s.exchanges(); len(got) != 1 || s.selves != 1 {
			t.Errorf("%d exchanges, self %d", len(got), s.selves)
		}
	})
}

// While the broker is away, the old token is served until the last moment it may
// be used, nobody waits while there is one, and the first call after it is back
// gets a new one.
func TestOutage(t *testing.T) {
	t.Parallel()
	for _, life := range []time.Duration{15 * time.Second, 5 * time.Minute, 15 * time.Minute} {
		t.Run(life.String(), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newWorld(t, true)
				s.set(func() { s.life = life })
				c := s.client(t)
				start := time.Now()
				token := must(t, c, ledger)
				s.stop(t, false)
				last := life - min(10*time.Second, life/10)
				for time.Since(start) < last {
					before := time.Now()
					if again := must(t, c, ledger); again.Secret.Reveal() != token.Secret.Reveal() || time.Since(before) != 0 {
						t.Fatalf("waited %v, after %v", time.Since(before), before.Sub(start))
					}
					after(100 * time.Millisecond)
				}
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				if _, err := c.Token(ctx, ledger); !errors.Is(err, exchange.ErrUnavailable) {
					t.Errorf("after its time: %v", err)
				}
				s.start(t)
				var err error
				for range 60 { // the longest back-off
					if _, err = c.Token(t.Context(), ledger); err == nil {
						return
					}
					after(time.Second)
				}
				t.Error(err)
			})
		})
	}
}

// A broker that hangs is waited for a second, once, by who has a token that must
// be renewed; then the token is used.
func TestHangingBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		token := must(t, c, ledger)
		s.set(func() {
			s.answer = func(_ http.ResponseWriter, q seen) bool { <-q.gone; return true }
		})
		after(241 * time.Second) // in its last minute
		for i, want := range []time.Duration{time.Second, 0, 0} {
			before := time.Now()
			if again := must(t, c, ledger); again.Secret.Reveal() != token.Secret.Reveal() || time.Since(before) != want {
				t.Errorf("call %d waited %v", i, time.Since(before))
			}
		}
		// Without a deadline and without a token, thirty seconds are the end.
		after(50 * time.Second)
		before := time.Now()
		_, err := c.Token(t.Context(), ledger)
		if !errors.Is(err, exchange.ErrUnavailable) || time.Since(before) > 30*time.Second {
			t.Errorf("%v after %v", err, time.Since(before))
		}
	})
}

// A sporadic user renews first when little is left, and gets the new token.
func TestMustRenew(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		token := must(t, c, ledger)
		after(241 * time.Second)
		if again := must(t, c, ledger); again.Secret.Reveal() == token.Secret.Reveal() {
			t.Error("the old token")
		}
	})
}

// What the broker refuses is the answer for a while: one to five seconds, and the
// old token is used as long as it lives.
func TestRefusals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		no := func(w http.ResponseWriter, _ seen) bool {
			refuse(w, 400, oauth.ErrorInvalidScope, "scope x is not granted")
			return true
		}
		s.set(func() { s.answer = no })
		c := s.client(t)
		start := time.Now()
		for time.Since(start) < 5*time.Minute {
			before := time.Now()
			_, err := c.Token(t.Context(), ledger)
			e := asError(t, err)
			if !errors.Is(err, exchange.ErrRefused) || errors.Is(err, exchange.ErrUnavailable) || e.Code != oauth.ErrorInvalidScope || e.RecordID != recordID ||
				e.Description != "scope x is not granted" || e.Resource != "ledger" || e.Status != 400 || time.Since(before) != 0 {
				t.Fatalf("%+v after %v", e, time.Since(before))
			}
			if text := err.Error(); !contains(text, "ledger", "refused", "invalid_scope", "not granted", "cambist why "+recordID) {
				t.Fatal(text)
			}
			after(100 * time.Millisecond)
		}
		got := s.exchanges()
		for i := 1; i < len(got); i++ {
			if gap := got[i].at.Sub(got[i-1].at); gap < time.Second || gap > 5200*time.Millisecond {
				t.Errorf("asked again after %v", gap)
			}
		}
		s.set(func() { s.answer = nil })
		after(5 * time.Second)
		token := must(t, c, ledger)
		s.set(func() { s.answer = no })
		before := len(s.exchanges())
		for range 280 {
			if again := must(t, c, ledger); again.Secret.Reveal() != token.Secret.Reveal() {
				t.Fatal("another token")
			}
			after(time.Second)
		}
		if asked := len(s.exchanges()) - before; asked < 3 || asked > 25 {
			t.Errorf("asked %d times in 280 s", asked)
		}
	})
}

// Retry-After is kept to by all, and who cannot wait that long is told at once.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	for status, code := range map[int]string{429: "429", 503: "503"} {
		t.Run(code, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := newWorld(t, true)
				s.set(func() {
					s.answer = func(w http.ResponseWriter, _ seen) bool {
						w.Header().Set("Retry-After", "7")
						refuse(w, status, oauth.ErrorTemporarilyUnavailable, "later")
						return true
					}
				})
				c := s.client(t)
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				before := time.Now()
				_, err := c.Token(ctx, ledger)
				if e := asError(t, err); !errors.Is(err, exchange.ErrUnavailable) || e.RetryAfter != 7*time.Second || e.Status != status || time.Since(before) != 0 {
					t.Errorf("%+v after %v", e, time.Since(before))
				}
				done := make(chan struct{})
				go func() { // who can wait does
					defer close(done)
					must(t, c, ledger)
				}()
				after(6 * time.Second)
				if got := len(s.exchanges()); got != 1 {
					t.Errorf("%d requests", got)
				}
				s.set(func() { s.answer = nil })
				<-done
				if waited := time.Since(before); waited < 7*time.Second || waited > 8*time.Second {
					t.Errorf("waited %v", waited)
				}
			})
		})
	}
}

// Who waits longer than anybody would is told at once, deadline or not.
func TestLongRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		s.set(func() {
			s.answer = func(w http.ResponseWriter, _ seen) bool {
				w.Header().Set("Retry-After", "60")
				refuse(w, 503, oauth.ErrorTemporarilyUnavailable, "later")
				return true
			}
		})
		before := time.Now()
		if _, err := s.client(t).Token(t.Context(), ledger); !errors.Is(err, exchange.ErrUnavailable) || time.Since(before) != 0 {
			t.Errorf("%v after %v", err, time.Since(before))
		}
	})
}

// When the broker answers anybody, who waits for it goes on at once.
func TestAnswerWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		limited := true
		s.set(func() {
			s.answer = func(w http.ResponseWriter, q seen) bool {
				if q.form.Get("audience") != ledgerURI {
					return slow(4*time.Second)(w, q)
				}
				s.mu.Lock()
				defer s.mu.Unlock()
				if limited {
					limited = false
					w.Header().Set("Retry-After", "20")
					refuse(w, 429, oauth.ErrorTemporarilyUnavailable, "later")
					return true
				}
				return false
			}
		})
		c := s.client(t)
		start := time.Now()
		var wg sync.WaitGroup
		wg.Go(func() { must(t, c, exchange.Target{Resource: "shop/cart", As: exchange.AsSelf}) })
		synctest.Wait()
		wg.Go(func() { must(t, c, ledger) })
		wg.Wait()
		if took := time.Since(start); took != 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A restart of the broker costs who has no token a wait, not a failure.
func TestWaitsForTheBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		s.stop(t, false)
		c := s.client(t)
		done := make(chan struct{})
		go func() {
			defer close(done)
			must(t, c, ledger)
		}()
		after(2 * time.Second)
		s.start(t)
		<-done
	})
}

// The broker as a whole is tried by one for all: an outage of a minute costs few
// attempts, however many targets there are; when it is over, all go on at once.
func TestManyTargetsOneGate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		targets := make([]exchange.Target, 200)
		for i := range targets {
			targets[i] = exchange.Target{Resource: fmt.Sprintf("shop/s%d", i), As: exchange.AsSelf}
		}
		for _, target := range targets {
			must(t, c, target)
		}
		s.stop(t, false)
		before := s.net.dialled(brokerAddress)
		after(145 * time.Second)
		for range 90 { // through the window of renewal
			for _, target := range targets {
				must(t, c, target)
			}
			after(time.Second)
		}
		// Each of the back-offs is drawn from a window that doubles; sixty means that
		// every one of them came out at a second or less.
		if tries := s.net.dialled(brokerAddress) - before; tries < 3 || tries > 60 {
			t.Errorf("%d attempts", tries)
		}
		s.start(t)
		exchanged := len(s.exchanges())
		for range 70 {
			for _, target := range targets {
				must(t, c, target)
			}
			after(time.Second)
		}
		if got := len(s.exchanges()) - exchanged; got != len(targets) {
			t.Errorf("%d renewals", got)
		}
	})
}

// Who needs the broker while somebody finds out whether it is back waits for that,
// whatever its deadline, and goes on at once.
func TestProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		must(t, c, ledger)
		s.stop(t, false)
		ctx, cancel := contextFor(t, 5*time.Second)
		defer cancel()
		if _, err := c.Token(ctx, exchange.Target{Resource: "shop/a", As: exchange.AsSelf}); !errors.Is(err, exchange.ErrUnavailable) {
			t.Fatal(err)
		}
		s.start(t)
		s.set(func() { s.answer = slow(3 * time.Second) })
		after(time.Minute) // past every back-off
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 20 {
			wg.Go(func() {
				ctx, cancel := contextFor(t, 7*time.Second)
				defer cancel()
				if _, err := c.Token(ctx, exchange.Target{Resource: fmt.Sprintf("shop/s%d", i), As: exchange.AsSelf}); err != nil {
					t.Error(err)
				}
			})
		}
		after(time.Second)
		if got := len(s.exchanges()); got != 2 {
			t.Errorf("%d exchanges while one finds out", got-1)
		}
		wg.Wait()
		if took := time.Since(start); took != 6*time.Second || len(s.exchanges()) != 21 {
			t.Errorf("%d exchanges in %v", len(s.exchanges()), took)
		}
	})
}

// A workload that gets another SPIFFE ID has no use for the tokens of the old one.
func TestNewSPIFFEID(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	must(t, c, ledger)
	svid, err := s.ca.SVID(spiffeid.RequireFromPath(domain, "/ns/shop/sa/other"), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s.source.mu.Lock()
	s.source.svid = svid
	s.source.mu.Unlock()
	must(t, c, ledger)
	if got := s.exchanges(); len(got) != 2 || got[1].id != "spiffe://prod.example/ns/shop/sa/other" || got[1].form.Get("client_id") != got[1].id {
		t.Errorf("%+v", got)
	}
}

// A fleet that starts together does not come back together: with 200 clients and a
// minute of outage in the window of their renewals, no second sees more than a
// part of them.
func TestHerd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const clients, most = 200, 200 / 8
		s := newWorld(t, true)
		all := make([]*exchange.Client, clients)
		for i := range all {
			all[i] = s.client(t)
			must(t, all[i], ledger)
		}
		start := time.Now()
		run := func(until time.Duration) map[int]int {
			began := len(s.exchanges())
			for time.Since(start) < until {
				for _, c := range all {
					must(t, c, ledger)
				}
				after(time.Second)
			}
			perSecond := map[int]int{}
			for _, q := range s.exchanges()[began:] {
				perSecond[int(q.at.Sub(start)/time.Second)]++
			}
			return perSecond
		}
		for second, n := range run(190 * time.Second) { // all renew: 150 to 180 s
			if second < 150 || n > most {
				t.Errorf("%d renewals in second %d", n, second)
			}
		}
		run(310 * time.Second)
		s.stop(t, false)
		run(370 * time.Second) // a minute in which all want to renew
		s.start(t)
		for second, n := range run(440 * time.Second) {
			if n > most {
				t.Errorf("%d exchanges in second %d, after the outage", n, second)
			}
		}
		if got := len(s.exchanges()); got != 3*clients {
			t.Errorf("%d exchanges", got)
		}
	})
}
