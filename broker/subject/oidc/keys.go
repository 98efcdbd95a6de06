package oidc

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject"
)

// How keys are kept (threats 3.0).
const (
	refreshEvery = 5 * time.Minute        // how old keys from the network get before they are fetched anew
	rereadEvery  = 10 * time.Second       // the same for a file
	cooldown     = 30 * time.Second       // from one fetch to the next that a token asks for, and after a failure
	maxStale     = time.Hour              // how long the last good keys serve
	patience     = 500 * time.Millisecond // how long a request waits for a fetch
	retryAfter   = 5 * time.Second        // what a caller is told when there are no keys
)

// Config says what Keys stands on. Every field is required.
type Config struct {
	// Issuers returns every issuer of the policy in force. Only Run calls it.
	Issuers func() []*broker.Issuer
	// Fetch gets a document; Fetcher.Fetch does.
	Fetch func(ctx context.Context, url string) ([]byte, error)
	Now   func() time.Time // with its monotonic reading
}

// Keys are the public keys of the issuers, in memory. Reading a key that is
// there takes no lock and waits for nobody. Nothing is fetched unless Run runs.
type Keys struct {
	config  Config
	entries atomic.Pointer[map[place]*entry] // never written to once it is stored; Run stores
	asks    chan ask

	patience time.Duration
}

// place is where the keys of an issuer are and what they may be used for. Two
// issuers that differ in it share nothing, and neither do two versions of one.
type place struct{ issuer, uri, file, algorithms string }

func placeOf(i *broker.Issuer) place {
	return place{issuer: i.URL, uri: i.JWKSURI, file: i.JWKSFile, algorithms: strings.Join(i.Algorithms, " ")}
}

// state is what is known of one place. It is replaced, never changed.
type state struct {
	set       jws.KeySet
	skipped   []error   // keys of the set that cannot be used
	fetchedAt time.Time // when the set was asked for; zero if there is none
	triedAt   time.Time // when a fetch began last; zero if none did
	err       error     // of the latest fetch
}

// usable reports whether the set may still be believed.
func (s *state) usable(now time.Time) bool {
	return !s.fetchedAt.IsZero() && elapsed(now, s.fetchedAt) <= maxStale
}

// elapsed returns the longer of what two clocks say: the monotonic one stands
// still while a machine is suspended, and the wall clock can be set back.
func elapsed(now, since time.Time) time.Duration {
	return max(now.Sub(since), now.Round(0).Sub(since.Round(0)))
}

// NewKeys returns the keys of no issuer; Run fills them.
func NewKeys(c Config) *Keys {
	k := &Keys{config: c, asks: make(chan ask), patience: patience}
	k.entries.Store(&map[place]*entry{})
	return k
}

// Find returns the key of the issuer by which a token with that header is to be
// verified. A kid that is not there is worth one fetch, if the issuer was not
// asked just before. CodeUnavailable if there are no keys of the issuer, or
// none that are not too old.
func (k *Keys) Find(ctx context.Context, i *broker.Issuer, h jws.Header, now time.Time) (jws.Key, error) {
	p := placeOf(i)
	s := k.state(p)
	if s.usable(now) {
		if key, ok := s.set.Lookup(h.KeyID, h.Algorithm); ok {
			return key, nil
		}
	}
	k.await(ctx, p)
	s = k.state(p)
	if !s.usable(now) {
		return jws.Key{}, broker.Unavailable(broker.ReasonIssuerUnavailable, retryAfter, cmp.Or(s.err, errNoKeysYet))
	}
	key, ok := s.set.Lookup(h.KeyID, h.Algorithm)
	if !ok {
		return jws.Key{}, subject.Refuse(broker.ReasonTokenKeyUnknown, "the key of the token is not one of its issuer", nil)
	}
	return key, nil
}

var errNoKeysYet = errors.New("the keys of the issuer were not fetched yet")

func (k *Keys) state(p place) *state {
	if e := (*k.entries.Load())[p]; e != nil {
		return e.state.Load()
	}
	return &state{}
}

// await asks Run for a fetch and waits until it ended or was not worth making,
// but not for long.
func (k *Keys) await(ctx context.Context, p place) {
	timer := time.NewTimer(k.patience)
	defer timer.Stop()
	done := make(chan struct{})
	select {
	case k.asks <- ask{p, done}:
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

// Status is what an operator sees of the keys of one issuer.
type Status struct {
	Issuer    string // its URL
	Usable    bool   // there are keys, and they are not too old
	Keys      int
	Skipped   []error   // why other keys of the same set cannot be used
	FetchedAt time.Time // when the keys were asked for; zero if there are none
	TriedAt   time.Time // when a fetch began last
	Err       error     // of the latest fetch, nil if it was good
}

// Status returns one row for each issuer, by URL.
func (k *Keys) Status(now time.Time) []Status {
	entries := *k.entries.Load()
	list := make([]Status, 0, len(entries))
	for p, e := range entries {
		s := e.state.Load()
		list = append(list, Status{
			Issuer: p.issuer, Usable: s.usable(now), Keys: s.set.Len(), Skipped: s.skipped,
			FetchedAt: s.fetchedAt, TriedAt: s.triedAt, Err: s.err,
		})
	}
	slices.SortFunc(list, func(a, b Status) int { return cmp.Compare(a.Issuer, b.Issuer) })
	return list
}
