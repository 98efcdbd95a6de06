package oidc

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync/atomic"
	"time"
)

const (
	tick       = time.Second // how soon a change of policy and a due refresh are seen
	maxFlights = 16          // fetches that run at once in the background
)

// entry is one place. All but state belongs to the goroutine of Run.
type entry struct {
	place place
	state atomic.Pointer[state] // never nil

	uri     string          // where discovery said that the keys are; "" before, and after a failure
	wait    time.Duration   // from where the last fetch began to the next in the background
	flying  bool            // a fetch is under way
	waiters []chan struct{} // requests that wait for it
}

// ask is the wish of a request for the keys of a place; done is closed when
// there is nothing more to wait for.
type ask struct {
	place place
	done  chan struct{}
}

// landing is a fetch that ended.
type landing struct {
	entry *entry
	got   fetched
}

// runner is the one goroutine that decides what is fetched and when.
type runner struct {
	*Keys
	landings chan landing
	flights  int
}

// Run keeps the keys until the context ends, then waits for every fetch that it
// began. It is called once, and does not wait for first keys: a request that
// needs them does.
func (k *Keys) Run(ctx context.Context) {
	r := &runner{Keys: k, landings: make(chan landing)}
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	r.follow()
	r.refresh(ctx)
	for {
		select {
		case a := <-k.asks:
			r.answer(ctx, a)
		case l := <-r.landings:
			r.land(l)
			r.refresh(ctx)
		case <-ticker.C:
			r.follow()
			r.refresh(ctx)
		case <-ctx.Done():
			for r.flights > 0 {
				r.land(<-r.landings)
			}
			return
		}
	}
}

// follow makes an entry for each place that policy names and forgets the
// others. An issuer whose place changed begins anew.
func (r *runner) follow() {
	old := *r.entries.Load()
	next := make(map[place]*entry, len(old))
	changed := false
	for _, issuer := range r.config.Issuers() {
		p := placeOf(issuer)
		if issuer.Quarantined || next[p] != nil {
			continue
		}
		e := old[p]
		if e == nil {
			e = &entry{place: p}
			e.state.Store(&state{})
			changed = true
		}
		next[p] = e
	}
	if changed || len(next) != len(old) {
		r.entries.Store(&next)
	}
}

// refresh begins what is due, a few at a time.
func (r *runner) refresh(ctx context.Context) {
	now := r.config.Now()
	for _, e := range *r.entries.Load() {
		if r.flights >= maxFlights {
			return
		}
		if !e.flying && elapsed(now, e.state.Load().triedAt) >= e.wait {
			e.uri = "" // in time a key set moves
			r.fly(ctx, e, now)
		}
	}
}

// answer begins a fetch for a request, lets it join the one under way, or says
// at once that none will be made. The time between two counts from where the
// last began, however it ended.
func (r *runner) answer(ctx context.Context, a ask) {
	e := (*r.entries.Load())[a.place]
	if e == nil { // policy is newer than the last tick
		r.follow()
		e = (*r.entries.Load())[a.place]
	}
	now := r.config.Now()
	switch {
	case e == nil:
		close(a.done)
	case e.flying:
		e.waiters = append(e.waiters, a.done)
	case elapsed(now, e.state.Load().triedAt) < cooldown:
		close(a.done)
	default:
		e.waiters = append(e.waiters, a.done)
		r.fly(ctx, e, now)
	}
}

// fly fetches in a goroutine of its own, on the time of Run and not on that of
// the request that asked: who gives up waiting stops nobody else's fetch.
func (r *runner) fly(ctx context.Context, e *entry, now time.Time) {
	s := *e.state.Load()
	s.triedAt = now
	e.state.Store(&s)
	e.flying = true
	r.flights++
	p, uri := e.place, e.uri
	go func() { r.landings <- landing{e, fetch(ctx, r.config.Fetch, p, uri)} }()
}

// land takes what a fetch brought. Only a good set replaces the one before.
func (r *runner) land(l landing) {
	e := l.entry
	r.flights--
	e.flying = false
	s := *e.state.Load()
	s.err = l.got.err
	e.uri = l.got.uri
	switch {
	case s.err != nil:
		e.wait = spread(cooldown)
	case e.place.file != "":
		e.wait = rereadEvery
	default:
		e.wait = spread(refreshEvery)
	}
	if s.err == nil {
		s.set, s.skipped, s.fetchedAt = l.got.set, l.got.skipped, s.triedAt
	}
	e.state.Store(&s)
	for _, done := range e.waiters {
		close(done)
	}
	e.waiters = nil
}

// spread returns a time up to a tenth longer, by chance, so that the replicas of
// a fleet do not ask an issuer all at once.
func spread(d time.Duration) time.Duration {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // it never fails

	return d + time.Duration(binary.BigEndian.Uint64(raw[:])%uint64(d/10)) //nolint:gosec // d is a positive constant
}
