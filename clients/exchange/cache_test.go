package exchange_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
)

// The cache is bounded, and who was used longest ago goes first.
func TestBound(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	c := s.client(t)
	exchange.WithLimit(3)(c)
	shop := func(name string) exchange.Target {
		return exchange.Target{Resource: "shop/" + name, As: exchange.AsSelf}
	}
	for _, name := range []string{"a", "b", "c", "a", "d"} {
		must(t, c, shop(name))
	}
	if c.Entries() != 3 || len(s.exchanges()) != 4 {
		t.Errorf("%d entries, %d exchanges", c.Entries(), len(s.exchanges()))
	}
	for name, want := range map[string]int{"a": 4, "c": 4, "d": 4} {
		if must(t, c, shop(name)); len(s.exchanges()) != want {
			t.Errorf("%s: %d exchanges", name, len(s.exchanges()))
		}
	}
	if must(t, c, shop("b")); len(s.exchanges()) != 5 {
		t.Error("b was not forgotten")
	}
}

// Who waits is not forgotten, however many come.
func TestBoundWithFlights(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		exchange.WithLimit(2)(c)
		must(t, c, ledger)
		s.set(func() { s.answer = slow(time.Second) })
		var wg sync.WaitGroup
		for range 2 { // those who come later join those who wait
			for i := range 10 {
				wg.Go(func() { must(t, c, exchange.Target{Resource: fmt.Sprintf("shop/s%d", i), As: exchange.AsSelf}) })
			}
			after(100 * time.Millisecond)
		}
		wg.Wait()
		if got := len(s.exchanges()); got != 11 {
			t.Errorf("%d exchanges", got)
		}
	})
}

// A token is forgotten soon after it can be used no more, idle or not.
func TestTokensAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		must(t, c, ledger)
		after(280 * time.Second)
		if !c.Holds() {
			t.Error("forgotten too early")
		}
		after(20 * time.Second)
		if c.Holds() || c.Entries() != 0 {
			t.Error("not forgotten")
		}
		must(t, c, ledger)
		s.stop(t, false)
		for range 40 { // also while the broker is away, and somebody asks
			ctx, cancel := contextFor(t, time.Second)
			_, _ = c.Token(ctx, ledger)
			cancel()
			after(10 * time.Second)
		}
		if c.Holds() {
			t.Error("not forgotten in an outage")
		}
	})
}

// An outage costs a client that nobody can serve an attempt now and then, however
// often it is asked: what ran out once is urgent once.
func TestAttemptsInALongOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		must(t, c, ledger)
		s.stop(t, false)
		before := s.net.dialled(brokerAddress)
		start := time.Now()
		for time.Since(start) < time.Hour {
			ctx, cancel := contextFor(t, 100*time.Millisecond)
			_, _ = c.Token(ctx, ledger)
			cancel()
			after(100 * time.Millisecond)
		}
		// With full jitter to a minute, about one every thirty seconds.
		if tries := s.net.dialled(brokerAddress) - before; tries < 70 || tries > 200 {
			t.Errorf("%d attempts in an hour", tries)
		}
	})
}

// What fails together is one failure: the broker is asked again within a second.
func TestOneOutageCountsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t, exchange.WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
			<-time.After(time.Second)
			return s.net.dial(ctx, network, address)
		}))
		must(t, c, ledger)
		s.stop(t, false)
		start := time.Now()
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() { must(t, c, exchange.Target{Resource: fmt.Sprintf("shop/s%d", i), As: exchange.AsSelf}) })
		}
		after(1100 * time.Millisecond)
		s.start(t)
		wg.Wait()
		// A second for the dial that failed, one of back-off, one for the one who finds
		// out; the others share its connection.
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("took %v", took)
		}
		after(time.Second) // for dials that nobody needs any more
	})
}

// With a token all failures before it are forgotten: the next one waits a second at
// most.
func TestFailuresAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		fail := func(times int) {
			s.set(func() {
				s.answer = func(w http.ResponseWriter, _ seen) bool {
					s.mu.Lock()
					defer s.mu.Unlock()
					if times--; times < 0 {
						return false
					}
					refuse(w, 503, oauth.ErrorTemporarilyUnavailable, "later")
					return true
				}
			})
		}
		fail(8)
		for {
			if _, err := c.Token(t.Context(), ledger); err == nil {
				break
			}
			after(time.Second)
		}
		after(241 * time.Second) // it must be renewed
		fail(1)
		old := must(t, c, ledger)
		after(1100 * time.Millisecond)
		if again := must(t, c, ledger); again.Secret.Reveal() == old.Secret.Reveal() {
			t.Error("not renewed")
		}
	})
}

// deaf is a connection that leads nowhere any more, and nobody says so.
type deaf struct {
	net.Conn
	from *atomic.Int64 // connections up to this one are deaf
	n    int64
}

func (d *deaf) Write(p []byte) (int, error) {
	if d.n <= d.from.Load() {
		return len(p), nil
	}
	return d.Conn.Write(p)
}

// After a connection that fell silent, the next attempt is made on a new one, even
// if others are idle: they may lead to the same nowhere.
func TestNewConnectionAfterSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		var dials, silent atomic.Int64
		c := s.client(t, exchange.WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := s.net.dial(ctx, network, address)
			return &deaf{Conn: conn, from: &silent, n: dials.Add(1)}, err
		}))
		s.set(func() { s.answer = slow(time.Second) })
		var wg sync.WaitGroup
		for i := range 5 {
			wg.Go(func() { must(t, c, exchange.Target{Resource: fmt.Sprintf("shop/s%d", i), As: exchange.AsSelf}) })
		}
		wg.Wait()
		before := dials.Load()
		silent.Store(before)
		start := time.Now()
		must(t, c, ledger)
		if took := time.Since(start); before < 2 || dials.Load() != before+1 || took > 7*time.Second {
			t.Errorf("%d connections, then %d, in %v", before, dials.Load()-before, took)
		}
	})
}

// A refusal may be about the SVID, whose rest bounds the life of tokens: a new SVID
// asks at once.
func TestRefusalEndsWithTheSVID(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		c := s.client(t)
		s.set(func() {
			s.answer = func(w http.ResponseWriter, _ seen) bool {
				refuse(w, 400, oauth.ErrorInvalidRequest, "no lifetime is left")
				return true
			}
		})
		for range 20 {
			if _, err := c.Token(t.Context(), ledger); err == nil {
				t.Fatal("a token")
			}
			after(time.Second)
		}
		before := len(s.exchanges())
		if _, err := c.Token(t.Context(), ledger); err == nil || len(s.exchanges()) > before+1 {
			t.Error(err)
		}
		s.set(func() { s.answer = nil })
		s.source.rotate(t, time.Hour)
		must(t, c, ledger)
	})
}

// A broker that answers some and not others concerns those others alone.
func TestOneResourceUnavailable(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		s.set(func() {
			s.answer = func(w http.ResponseWriter, q seen) bool {
				if q.form.Get("audience") != ledgerURI {
					return false
				}
				refuse(w, 503, oauth.ErrorTemporarilyUnavailable, "later")
				return true
			}
		})
		c := s.client(t)
		start := time.Now()
		for i := range 300 {
			ctx, cancel := contextFor(t, time.Millisecond)
			if _, err := c.Token(ctx, ledger); err == nil {
				t.Fatal("a token")
			}
			cancel()
			before := time.Now()
			must(t, c, exchange.Target{Resource: fmt.Sprintf("shop/s%d", i), As: exchange.AsSelf})
			if time.Since(before) != 0 {
				t.Fatalf("waited %v after %v", time.Since(before), before.Sub(start))
			}
			after(time.Second)
		}
		if got := len(s.exchanges()) - 300; got < 5 || got > 60 {
			t.Errorf("%d attempts", got)
		}
	})
}

// Back-offs double from one second to sixty, at full jitter, after a Retry-After;
// what ran out since then waits for the Retry-After and a second.
func TestBackoff(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var b exchange.Backoff
		now := time.Unix(1e9, 0)
		if !b.At(now).IsZero() {
			t.Error("the zero value holds back")
		}
		ceiling := time.Second
		for range rapid.IntRange(1, 12).Draw(t, "failures") {
			asked := time.Duration(rapid.IntRange(0, 300).Draw(t, "retry after")) * time.Second
			next := b.Fail(now, asked)
			if wait := next.Sub(now) - asked; wait < 0 || wait > ceiling {
				t.Errorf("%v on top of %v, of %v at most", wait, asked, ceiling)
			}
			if b.At(time.Time{}) != next || b.At(now) != next {
				t.Error("nothing ran out since")
			}
			if urgent := b.At(now.Add(1)); urgent.After(next) || urgent.Sub(now) < asked || urgent.Sub(now) > asked+time.Second {
				t.Errorf("urgent after %v", urgent.Sub(now))
			}
			ceiling = min(2*ceiling, time.Minute)
			now = next.Add(time.Nanosecond)
		}
	})
}
