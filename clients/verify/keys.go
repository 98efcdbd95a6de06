package verify

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cambist/cambist/broker/jws"
)

// How keys are kept (threats 3.0).
const (
	minRefresh     = time.Minute // bounds of what the issuer may ask for by max-age
	maxRefresh     = 15 * time.Minute
	defaultRefresh = 5 * time.Minute
	rereadEvery    = 10 * time.Second       // a file
	cooldown       = 30 * time.Second       // from one fetch to the next that a token asks for, and after a failure
	firstRetry     = time.Second            // after a failure while there have been no keys at all; it doubles
	patience       = 500 * time.Millisecond // how long a request waits for a fetch
	tick           = time.Second            // how soon a due fetch is seen, after a suspend too
)

// KeyStatus is what is known of the keys of the issuer.
type KeyStatus struct {
	Keys      int       // that tokens can be verified with
	Skipped   []error   // why others of the same set cannot be used
	FetchedAt time.Time // when the set was asked for; zero if there is none
	TriedAt   time.Time // when the latest fetch began; zero if none did
	Err       error     // of the latest fetch, nil if it was good
}

// keys are the keys of the issuer, in memory. Reading a key that is there takes
// no lock and waits for nobody. Everything that changes them is done by the one
// goroutine of run, one fetch at a time.
type keys struct {
	fetch    func(ctx context.Context) fetched
	now      func() time.Time
	maxStale time.Duration

	state   atomic.Pointer[keyState] // never nil
	asks    chan chan struct{}
	running atomic.Bool
}

// keyState is replaced, never changed.
type keyState struct {
	set       jws.KeySet
	skipped   []error
	fetchedAt time.Time
	triedAt   time.Time
	failures  int           // in a row
	wait      time.Duration // from triedAt to the next fetch
	err       error
}

// fetched is what a fetch brought: a set with at least one key, or an error.
type fetched struct {
	set     jws.KeySet
	skipped []error
	maxAge  time.Duration // when to ask again
	err     error
}

func newKeys(c *Config) *keys {
	k := &keys{fetch: newFetcher(c).fetch, now: c.Now, maxStale: c.MaxStale, asks: make(chan chan struct{})}
	k.state.Store(&keyState{})
	return k
}

var (
	errRunning = errors.New("verify: Run runs already")
	errNotYet  = errors.New("no keys were fetched yet: does Run run?")
)

// usable reports whether the keys may still be believed.
func (k *keys) usable(s *keyState, now time.Time) bool {
	return !s.fetchedAt.IsZero() && elapsed(now, s.fetchedAt) <= k.maxStale
}

// unusable says why the keys are not.
func (s *keyState) unusable() *Error {
	switch {
	case s.triedAt.IsZero():
		return refuse(ReasonKeysUnavailable, errNotYet)
	case s.fetchedAt.IsZero():
		return refuse(ReasonKeysUnavailable, s.err)
	}
	return refuse(ReasonKeysUnavailable, fmt.Errorf("the last keys are of %s: %w", s.fetchedAt.UTC().Format(time.RFC3339), s.err))
}

// elapsed returns the longer of what two clocks say: the monotonic one stands
// still while a machine is suspended, and the wall clock can be set back.
func elapsed(now, since time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// find returns the key that a header names.
func (k *keys) find(h jws.Header, now time.Time) (jws.Key, *Error) {
	s := k.state.Load()
	if !k.usable(s, now) {
		return jws.Key{}, s.unusable()
	}
	key, ok := s.set.Lookup(h.KeyID, h.Algorithm)
	if !ok {
		return jws.Key{}, refuse(ReasonTokenKeyUnknown, nil)
	}
	return key, nil
}

// await asks run for a fetch and waits until it has ended, or was not worth
// making, but not for long.
func (k *keys) await(ctx context.Context) {
	if !k.running.Load() {
		return
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	done := make(chan struct{})
	select {
	case k.asks <- done:
	case <-timer.C:
		return
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// run fetches when it is time, and when a request asks and the last fetch is not
// too near. A request that asks during a fetch is heard after it, and finds what
// it brought; one that gives up waiting stops nobody else's.
func (k *keys) run(ctx context.Context) error {
	if !k.running.CompareAndSwap(false, true) {
		return errRunning
	}
	defer k.running.Store(false)
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for ctx.Err() == nil {
		if s := k.state.Load(); s.triedAt.IsZero() || elapsed(k.now(), s.triedAt) >= s.wait {
			k.refresh(ctx)
		}
		select {
		case <-ticker.C:
		case done := <-k.asks:
			if elapsed(k.now(), k.state.Load().triedAt) >= cooldown {
				k.refresh(ctx)
			}
			close(done)
		case <-ctx.Done():
		}
	}
	return nil
}

// refresh fetches the keys. Only a good set replaces the one before, and then
// wholly: a key that is not in it any more verifies nothing from there on.
func (k *keys) refresh(ctx context.Context) {
	s := *k.state.Load()
	s.triedAt = k.now()
	got := k.fetch(ctx)
	if s.err = got.err; s.err != nil {
		s.failures++
		s.wait = cooldown
		if s.fetchedAt.IsZero() {
			s.wait = min(cooldown, firstRetry<<min(s.failures-1, 5))
		}
	} else {
		s.failures, s.wait = 0, got.maxAge
		s.set, s.skipped, s.fetchedAt = got.set, got.skipped, s.triedAt
	}
	s.wait = spread(s.wait)
	k.state.Store(&s)
}

// spread returns a time up to a tenth longer, by chance, so that the replicas of
// a service do not ask the issuer all at once.
func spread(d time.Duration) time.Duration {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // it never fails

	return d + time.Duration(binary.BigEndian.Uint64(raw[:])%uint64(d/10)) //nolint:gosec // d is at least a second
}
