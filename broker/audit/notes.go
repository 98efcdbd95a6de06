package audit

import (
	"time"

	"github.com/cambist/cambist/broker"
)

const (
	notesPerCommit = 128  // so that a flood of refusals does not hold up the tokens
	maxMerged      = 1024 // kinds of refusal that are kept apart beyond the limit
)

// notes is what waits and nobody waits for: refusals mostly.
type notes struct {
	doubted []pending // in a commit that failed: it is not known yet whether they are there
	queue   []pending
	merged  map[mergeKey]*merged // beyond the limit
	dropped int                  // beyond even that, since the last row that says so
}

// mergeKey says which refusals are equal: who, for what, why.
type mergeKey struct {
	kind               broker.RecordType
	workload, resource string
	reason             broker.Reason
}

// merged is one refusal that stands for many, and when the last of them came.
type merged struct {
	record broker.Record
	until  time.Time
}

func newNotes() notes { return notes{merged: map[mergeKey]*merged{}} }

func (n *notes) waiting() int { return len(n.doubted) + len(n.queue) + len(n.merged) }

// count returns how many records all of it stands for.
func (n *notes) count() int {
	total := n.dropped + count(n.doubted) + count(n.queue)
	for _, m := range n.merged {
		total += 1 + m.record.Merged
	}
	return total
}

func count(rows []pending) (total int) {
	for i := range rows {
		total += rows[i].count
	}
	return total
}

// Note queues a record and returns at once. Beyond the limit refusals of one
// workload for one resource and reason merge into one with a count, and beyond
// what is kept apart they are counted: recorded and merged make what was sent.
func (r *Recorder) Note(x *broker.Record) {
	key, mergeable := keyOf(x)
	r.mu.Lock()
	full := len(r.notes.queue) >= r.config.Limit && (mergeable || len(r.notes.queue) >= 2*r.config.Limit)
	if full || r.closed {
		r.overflow(x, key)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	p, _ := r.encode(x, &extra{}) // without the lock; a refusal is recorded even if its facts are lost
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		r.lost.Add(int64(p.count))
		return
	}
	r.notes.queue = append(r.notes.queue, p)
	r.signal()
}

// keyOf reports whether a record may merge with others. What was done past the
// rules, tokens that never left, and what was revoked, stand each on its own.
func keyOf(x *broker.Record) (mergeKey, bool) {
	switch x.Type {
	case broker.RecordExchange, broker.RecordSelf, broker.RecordIntrospection, broker.RecordRevocation:
		if x.Type == broker.RecordRevocation && x.Allowed {
			return mergeKey{}, false
		}
		return mergeKey{x.Type, idText(x.Workload.ID), x.Resource, x.Reason}, true
	}
	return mergeKey{}, false
}

// overflow merges a record, or counts it. r.mu is held.
func (r *Recorder) overflow(x *broker.Record, key mergeKey) {
	n := &r.notes
	have := n.merged[key]
	switch {
	case r.closed:
		r.lost.Add(int64(1 + x.Merged))
		return
	case have != nil:
		have.record.Merged += 1 + x.Merged
		have.until = x.At
	case key != mergeKey{} && len(n.merged) < maxMerged:
		n.merged[key] = &merged{record: kept(x)}
	default:
		n.dropped += 1 + x.Merged
	}
	r.merging.Add(1)
}

// kept is a record that may lie for long: without its tokens.
func kept(x *broker.Record) broker.Record {
	c := *x
	for _, t := range []**broker.SubjectToken{&c.Request.Subject, &c.Request.Actor} {
		if *t != nil {
			*t = &broker.SubjectToken{Type: (*t).Type}
		}
	}
	return c
}

// takeNotes returns what of the notes is to be committed next.
func (r *Recorder) takeNotes() []pending {
	r.mu.Lock()
	rows, more, dropped := r.notes.take()
	r.under += len(rows) + len(more)
	r.mu.Unlock()
	for _, m := range more {
		p, _ := r.encode(&m.record, &extra{until: m.until})
		rows = append(rows, p)
	}
	if dropped > 0 {
		now := r.config.Now()
		p, _ := r.encode(&broker.Record{
			ID: r.config.NewID(now), Type: broker.RecordGap, At: now, Reason: broker.ReasonOverloaded, Merged: dropped,
			Detail: "counted, not recorded: of too many kinds at once, or not as the store will have them",
		}, &extra{})
		rows = append(rows, p)
	}
	return rows
}

// take returns the oldest, and when no other waits what was merged and how many
// were dropped. r.mu is held.
func (n *notes) take() (rows []pending, more []*merged, dropped int) {
	size := min(len(n.queue), notesPerCommit)
	rows = append(rows, n.queue[:size]...)
	if n.queue = n.queue[size:]; len(n.queue) > 0 {
		return rows, nil, 0
	}
	n.queue = nil // lets go of the array
	for key, m := range n.merged {
		if len(rows)+len(more) == notesPerCommit {
			return rows, more, 0
		}
		more = append(more, m)
		delete(n.merged, key)
	}
	dropped, n.dropped = n.dropped, 0
	return rows, more, dropped
}

// doubt keeps the notes of a commit that failed; nil when they turned out to be
// there. Nobody waits for them, and none may be lost uncounted.
func (r *Recorder) doubt(rows []pending) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes.doubted = rows
}

// again puts them back in front.
func (r *Recorder) again() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes.queue = append(r.notes.doubted, r.notes.queue...)
	r.notes.doubted = nil
}
