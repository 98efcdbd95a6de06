package audit

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// chain is where the rows of this replica end.
type chain struct {
	known   bool   // the end is known; false at first and after a failure
	segment string // "" before the first
	seq     int64  // of the last row of the segment that is known to be there
	prev    []byte // its hash, or that of the row the segment continues from
	begin   bool   // the next row is the first of a segment that continues another
	gaps    []Gap  // what that row has to say
	failed  *attempt

	rows []store.RecordRow // reused from commit to commit
}

// attempt is a commit that failed, until it is known whether its rows are there.
type attempt struct {
	through int64
	hash    []byte
	unknown bool // the store cannot say what came of it
}

// maxGaps bounds what one row says. Beyond it one gap without an end says it all.
const maxGaps = 16

// Run commits until ctx ends, then commits what still waits and refuses whoever
// comes later.
func (r *Recorder) Run(ctx context.Context) error {
	pause := restLeast
	for r.next(ctx) {
		if r.commit(ctx) == nil {
			pause = restLeast
			continue
		}
		r.rest(ctx, pause)
		pause = min(2*pause, restMost)
	}
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
	defer cancel()
	for r.Status().Waiting > 0 && last.Err() == nil {
		if r.commit(last) != nil {
			break
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	lost := r.notes.count()
	r.lost.Add(int64(lost))
	if lost > 0 {
		return fmt.Errorf("%d refusals could not be recorded before the end", lost)
	}
	return nil
}

// next waits for something to commit; false at the end.
func (r *Recorder) next(ctx context.Context) bool {
	if ctx.Err() == nil && r.Status().Waiting > 0 {
		return true
	}
	select {
	case <-ctx.Done():
		return false
	case <-r.wake:
		return true
	}
}

// How long a failed commit is followed by none: a store that is away is asked a
// few times a second, and whoever waits meanwhile still has a chance.
const (
	restLeast = 50 * time.Millisecond
	restMost  = 400 * time.Millisecond
)

func (r *Recorder) rest(ctx context.Context, pause time.Duration) {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// commit writes one group and tells its waiters.
func (r *Recorder) commit(ctx context.Context) error {
	ctx = context.WithoutCancel(ctx) // the end does not tear a commit apart
	err := r.settle(ctx)
	b := r.take()
	if err == nil {
		err = r.write(ctx, b, r.takeNotes())
	}
	if err != nil {
		r.failures.Add(1)
		r.config.Warn("records were not written", "error", err.Error())
	}
	r.mu.Lock()
	r.under = 0
	r.mu.Unlock()
	b.err = err
	close(b.done)
	return err
}

func (r *Recorder) take() *batch {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := r.batch
	r.under += len(b.slots)
	r.batch = newBatch(min(len(b.slots), 256))
	return b
}

// write links the rows and commits them.
func (r *Recorder) write(ctx context.Context, b *batch, notes []pending) error {
	c := &r.chain
	rows, seq, prev := c.rows[:0], c.seq, c.prev
	hashes := make([]byte, 0, sha256.Size*(1+len(b.slots)+len(notes)))
	place := func(p *pending) int64 {
		seq++
		rows = append(rows, p.row)
		row := &rows[len(rows)-1]
		row.Segment, row.Seq, row.Prev = c.segment, seq, prev
		sum := link(row, &p.content)
		hashes = append(hashes, sum[:]...)
		row.Hash = hashes[len(hashes)-sha256.Size:]
		prev = row.Hash
		return seq
	}
	waiting := len(notes) > 0
	for i := range b.slots {
		waiting = waiting || !b.slots[i].left
	}
	if !waiting {
		return nil
	}
	if c.begin {
		first := r.first()
		place(&first)
	}
	for i := range b.slots {
		if s := &b.slots[i]; !s.left {
			s.seq = place(&s.pending)
		}
	}
	for i := range notes {
		place(&notes[i])
	}
	b.segment = c.segment
	ctx, cancel := context.WithTimeout(ctx, commitTimeout)
	defer cancel()
	err := r.config.Records.AppendRecords(ctx, rows)
	clear(rows) // lets go of what they hold
	c.rows = rows
	if err != nil {
		r.failed(err, notes, &attempt{through: seq, hash: prev})
		return err
	}
	c.seq, c.prev, c.begin, c.gaps = seq, prev, false, nil
	return nil
}

// first is the row by which a segment begins: it says what came before.
func (r *Recorder) first() pending {
	now := r.config.Now()
	p, _ := r.encode(&broker.Record{ID: r.config.NewID(now), Type: broker.RecordGap, At: now}, &extra{gaps: r.chain.gaps})
	return p
}

// failed remembers a commit that failed. Notes that the store refused for what
// they are would be refused for ever, and everything with them: they are counted
// instead.
func (r *Recorder) failed(err error, notes []pending, a *attempt) {
	a.unknown = errors.Is(err, store.ErrUnknownOutcome)
	if !a.unknown && broker.AsError(err).Code != broker.CodeUnavailable {
		r.mu.Lock()
		r.notes.dropped += count(notes)
		r.mu.Unlock()
		notes = nil
	}
	r.doubt(notes)
	r.chain.known, r.chain.failed = false, a
}

// settle finds where the chain ends: at first, and after a failure, when the rows
// of the failed commit may be there or not.
func (r *Recorder) settle(ctx context.Context) error {
	c := &r.chain
	if c.known {
		return nil
	}
	limit := commitTimeout
	if c.failed == nil {
		limit = findTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	last, err := r.config.Records.LastRecord(ctx, r.config.Replica)
	if err != nil && broker.AsError(err).Code != broker.CodeNotFound {
		return fmt.Errorf("find the end of the chain: %w", err)
	}
	f := c.failed
	c.known, c.failed = true, nil
	switch {
	case f == nil: // the first time: a process before this one may have ended in a commit
		c.prev = append([]byte{}, last.Hash...) // never nil: NULL is not the empty hash
		if last.Seq > 0 {
			c.gaps = append(c.gaps, Gap{Segment: last.Segment, After: last.Seq})
		}
	case bytes.Equal(last.Hash, f.hash): // the rows are there, and have said what they had to
		c.prev, c.gaps = f.hash, nil
		r.doubt(nil)
	default:
		r.again()
		if !bytes.Equal(last.Hash, c.prev) {
			r.config.Warn("the record holds rows of this replica that it does not know: they came late, or another process has its name", "replica", r.config.Replica, "segment", last.Segment)
		}
		if !f.unknown { // nothing happened: the segment goes on
			return nil
		}
		c.gaps = append(c.gaps, Gap{Segment: c.segment, After: c.seq, Through: f.through, Hash: hex.EncodeToString(f.hash)})
		if len(c.gaps) > maxGaps {
			c.gaps = []Gap{{Segment: c.gaps[0].Segment, After: c.gaps[0].After}}
		}
	}
	c.segment, c.seq = nextSegment(max(last.Segment, c.segment), r.config.Now()), 0
	c.begin = len(c.prev) > 0 || len(c.gaps) > 0
	return nil
}

// nextSegment names a segment by its time in microseconds and some chance: two
// processes never take one name. It sorts after last even if the clock went back.
func nextSegment(last string, now time.Time) string {
	at := now.UnixMicro()
	if len(last) >= 16 {
		if before, err := strconv.ParseInt(last[:16], 16, 64); err == nil {
			at = max(at, before+1)
		}
	}
	var chance [4]byte
	_, _ = rand.Read(chance[:]) // it never fails
	return fmt.Sprintf("%016x-%x", at, chance)
}
