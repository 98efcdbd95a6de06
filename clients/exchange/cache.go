package exchange

import (
	"container/list"
	"time"
)

// maxEntries bounds the cache; the one that was used longest ago goes first.
const maxEntries = 10_000

// entry is what is known of one request. The mutex of the client guards it.
type entry struct {
	key        key
	ranOutAt   time.Time // when it was made, or when a token that is gone could be used last
	token      *issued
	flight     *flight // the one attempt that is under way
	refusal    *Error  // what the last one was told, until
	refusedTo  time.Time
	refused    *wire // whose request that was
	back       backoff
	lastErr    *Error
	rejectedAt time.Time // when a resource last turned the token away
	rejected   bool      // and nothing came since
}

// cache is a bounded LRU.
type cache struct {
	entries map[key]*list.Element
	recent  *list.List // of *entry; the front was used last
	limit   int
}

func newCache(limit int) cache {
	return cache{entries: map[key]*list.Element{}, recent: list.New(), limit: limit}
}

// entry returns the entry of a key, a new one if there is none.
func (c *cache) entry(k key, now time.Time) *entry {
	if found := c.entries[k]; found != nil {
		c.recent.MoveToFront(found)
		return entryOf(found)
	}
	for last := c.recent.Back(); last != nil && c.recent.Len() >= c.limit; {
		before := last.Prev()
		if entryOf(last).flight == nil { // who waits for a flight finds it again
			c.remove(last)
		}
		last = before
	}
	e := &entry{key: k, ranOutAt: now}
	c.entries[k] = c.recent.PushFront(e)
	return e
}

func (c *cache) remove(at *list.Element) {
	delete(c.entries, entryOf(at).key)
	c.recent.Remove(at)
}

// sweep forgets the tokens that can be used no more, and the entries that say
// nothing any more. keep leaves those: while the broker is away, an entry remembers
// that it has been asked for already.
func (c *cache) sweep(now time.Time, keep bool) {
	for at := c.recent.Front(); at != nil; {
		next, e := at.Next(), entryOf(at)
		if e.token != nil && e.usable(now) == nil {
			e.ranOutAt, e.token, e.rejected = e.token.lastUse, nil, false
		}
		if !keep && e.over(now) {
			c.remove(at)
		}
		at = next
	}
}

func entryOf(at *list.Element) *entry {
	e, _ := at.Value.(*entry) // nothing else is in the list
	return e
}

// forgive forgets what the broker said no to.
func (e *entry) forgive() {
	e.refusal, e.refused, e.refusedTo, e.lastErr, e.back = nil, nil, time.Time{}, nil, backoff{}
}

// over reports whether nothing of the entry matters any more.
func (e *entry) over(now time.Time) bool {
	return e.flight == nil && e.token == nil && !now.Before(e.refusedTo) && !now.Before(e.back.next)
}

// usable returns the token if it may still be used.
func (e *entry) usable(now time.Time) *issued {
	if t := e.token; t != nil && now.Before(t.lastUse) && !(t.bound && t.wire.expired(now)) {
		return t
	}
	return nil
}

// due reports whether the token of the entry should be renewed: its time has
// come, a resource turned it away, or it is bound to an SVID that was rotated.
func (e *entry) due(now time.Time, w *wire) bool {
	t := e.token
	return !now.Before(t.renewAt) || e.rejected || rotated(t, w)
}

// must reports whether the renewal comes first and the use then. A token that
// travels on the wire it was issued on may outlive the rotation of that SVID.
func (e *entry) must(r *request, now time.Time, w *wire) bool {
	t := e.token
	return !now.Before(t.mustAt) || e.rejected || rotated(t, w) && !r.paired
}

// rotated reports whether the token does not belong to the newest SVID: it is
// bound to the certificate of another, or was issued to another SPIFFE ID.
func rotated(t *issued, w *wire) bool {
	return w != nil && !w.sameSVID(t.wire) && (t.bound || t.wire.svid.ID != w.svid.ID)
}

// ranOut returns when something last ran out for who needs this token.
func (e *entry) ranOut(now time.Time, w *wire) time.Time {
	at := e.ranOutAt
	if e.rejected {
		at = later(at, e.rejectedAt)
	}
	if t := e.token; t != nil {
		for _, end := range []time.Time{t.mustAt, t.lastUse} {
			if !now.Before(end) {
				at = later(at, end)
			}
		}
		if rotated(t, w) {
			at = later(at, w.since)
		}
	}
	return at
}
