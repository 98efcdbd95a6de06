package audit

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Config says what a recorder stands on. Every field is required but Version,
// Limit and Timeout.
type Config struct {
	Records store.Records
	Sealer  Sealer
	Replica string        // the same over restarts: it names the chain
	Version string        // of this program, for the auditor
	Limits  broker.Limits // under which is decided, for the replay
	Now     func() time.Time
	NewID   func(time.Time) string
	Warn    func(text string, args ...any)
	Limit   int           // records that may wait; 0 means 4096
	Timeout time.Duration // longest wait of Append; 0 means 600 ms
}

// Times and sizes of threats 3.0 and R-10.
const (
	defaultLimit   = 4096
	defaultTimeout = 600 * time.Millisecond
	commitTimeout  = 500 * time.Millisecond // one commit
	findTimeout    = 5 * time.Second        // the search for the end of the chain, once
	drainTimeout   = 5 * time.Second        // all commits after the end
)

// Recorder implements broker.Ledger over a store, in commit mode database: a
// record is durable when its row is committed. One goroutine, Run, commits.
type Recorder struct {
	config Config
	wake   chan struct{} // holds one token while something waits
	timers sync.Pool     // of *time.Timer, stopped

	merging, lost, failures atomic.Int64

	mu     sync.Mutex // guards what follows; nobody does anything slow under it
	closed bool
	batch  *batch // what gathers while the last commit runs
	notes  notes
	under  int // rows in the commit that runs

	chain chain // owned by Run
}

// batch is what is committed together. Its waiters read err, segment and the seq
// of their slot after done is closed, and nothing of it before.
type batch struct {
	slots   []slot
	done    chan struct{}
	segment string
	err     error
}

// slot is the place of one waiter in a batch.
type slot struct {
	pending
	seq  int64
	left bool // the waiter gave up before the commit began
}

// pending is a row that has no place in the chain yet, with the hash of what it
// holds and how many records it stands for.
type pending struct {
	row     store.RecordRow
	content [sha256.Size]byte
	count   int
}

// New returns a recorder; nothing is recorded before Run runs.
func New(c Config) *Recorder {
	if c.Limit == 0 {
		c.Limit = defaultLimit
	}
	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	r := &Recorder{config: c, wake: make(chan struct{}, 1), batch: newBatch(0), notes: newNotes()}
	r.timers.New = func() any { return time.NewTimer(c.Timeout) }
	r.signal() // Run finds the end of the chain before the first record comes
	return r
}

func newBatch(size int) *batch {
	return &batch{done: make(chan struct{}), slots: make([]slot, 0, size)}
}

var (
	errClosed  = errors.New("the recorder has stopped")
	errFull    = errors.New("too many records wait")
	errTimeout = errors.New("the record was not durable in time")
)

// Append returns when the record is durable. It never waits longer than the
// timeout. With an error the record may still become durable: it then says of a
// token that it was to be issued, and there is none.
func (r *Recorder) Append(ctx context.Context, x *broker.Record) (broker.Position, error) {
	p, err := r.encode(x, &extra{})
	if err != nil {
		return broker.Position{}, broker.Unavailable(broker.ReasonRecordUnavailable, time.Second, err)
	}
	b, i, err := r.join(p)
	if err != nil {
		return broker.Position{}, err
	}
	timer := r.timers.Get().(*time.Timer) //nolint:errcheck // nothing else is in the pool
	timer.Reset(r.config.Timeout)
	defer func() {
		timer.Stop()
		r.timers.Put(timer)
	}()
	select {
	case <-b.done:
	case <-ctx.Done():
		err = ctx.Err()
	case <-timer.C:
		err = errTimeout
	}
	if err != nil {
		r.leave(b, i)
		return broker.Position{}, broker.Unavailable(broker.ReasonRecordUnavailable, time.Second, err)
	}
	if b.err != nil {
		return broker.Position{}, b.err
	}
	return broker.Position{Replica: r.config.Replica, Segment: b.segment, Seq: b.slots[i].seq}, nil
}

// join puts a row into the batch that gathers.
func (r *Recorder) join(p pending) (b *batch, at int, err error) {
	r.mu.Lock()
	b, at = r.batch, len(r.batch.slots)
	switch {
	case r.closed:
		err = broker.Unavailable(broker.ReasonShuttingDown, time.Second, errClosed)
	case at >= r.config.Limit:
		err = broker.Unavailable(broker.ReasonOverloaded, time.Second, errFull)
	default:
		b.slots = append(b.slots, slot{pending: p})
	}
	r.mu.Unlock()
	if err == nil && at == 0 {
		r.signal()
	}
	return b, at, err
}

// leave gives up a place. Nobody records later what was refused, unless its
// commit has begun.
func (r *Recorder) leave(b *batch, i int) {
	r.mu.Lock()
	if r.batch == b {
		b.slots[i] = slot{left: true}
	}
	r.mu.Unlock()
}

func (r *Recorder) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Status is what a recorder says of itself.
type Status struct {
	Waiting  int   // records that are not committed yet
	Merged   int64 // refusals that were merged into others, in all
	Lost     int64 // records that could not be recorded at all; never a token's
	Failures int64 // commits that failed or had an unknown outcome
}

// Status returns how the recorder is.
func (r *Recorder) Status() Status {
	r.mu.Lock()
	waiting := len(r.batch.slots) + r.notes.waiting() + r.under
	r.mu.Unlock()
	return Status{Waiting: waiting, Merged: r.merging.Load(), Lost: r.lost.Load(), Failures: r.failures.Load()}
}

// size guesses how long columns and body of a record are together.
func size(x *broker.Record) int {
	n := 1024
	for _, more := range [...]bool{x.Subject != nil, x.Actor != nil, x.Claims != nil} {
		if more {
			n += 640
		}
	}
	return n
}

// encode makes the row of a record. The row is there even with an error, which is
// that of the sealer: then it says that its facts were lost.
func (r *Recorder) encode(x *broker.Record, add *extra) (pending, error) {
	p := pending{count: 1 + x.Merged, row: store.RecordRow{
		At: x.At.Truncate(time.Microsecond), Replica: r.config.Replica, ID: column(x.ID, maxName),
		Workload: column(idText(x.Workload.ID), maxURI), Resource: column(x.Resource, maxURI), Outcome: outcome(x),
	}}
	if x.Type == broker.RecordGap {
		p.count = x.Merged
	}
	secret, sealed, err := r.seal(x, p.row.ID)
	add.sealed = sealed
	// All of it lies in one array, as content reads it.
	all := appendColumns(make([]byte, 0, size(x)+len(secret)), &p.row)
	body := len(all) + 8
	all = r.appendBody(append(all, make([]byte, 8)...), x, add)
	binary.BigEndian.PutUint64(all[body-8:], uint64(len(all)-body)) //nolint:gosec // a length
	end := len(all)
	all = append(appendNumber(all, int64(len(secret))), secret...)
	p.row.Body = all[body:end:end]
	if len(secret) > 0 {
		p.row.Facts = all[end+8:]
	}
	p.content = sha256.Sum256(all)
	return p, err
}

func outcome(x *broker.Record) string {
	switch {
	case x.Type == broker.RecordGap:
		return "gap"
	case x.Allowed:
		return allowed
	case x.Reason == "":
		return refused
	}
	return column(string(x.Reason), maxName)
}

// column makes text that every database takes: no control characters, no bytes
// that are no UTF-8, of bounded length.
func column(text string, limit int) string {
	if !plain(text) {
		text = strings.Map(func(c rune) rune {
			if c < 0x20 || c == 0x7f {
				return utf8.RuneError
			}
			return c
		}, text)
	}
	if len(text) > limit {
		return cut(text, limit)
	}
	return text
}
