package audit_test

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/store"
)

// Threat H9: refusals are never lost uncounted: recorded and merged make what was
// sent, also when there are more kinds than are kept apart.
func TestOverflowCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const sent = 6000
		more := 0
		release := make(chan struct{})
		l := &ledger{next: func([]store.RecordRow) (bool, error) { <-release; return true, nil }}
		c := config(l)
		c.Limit = 10
		r, stop := run(t, c)
		for i := range sent {
			note := refusal(name("n", i))
			note.At = start.Add(time.Duration(i) * time.Second)
			if i > 3000 {
				note.Resource = name("r", i)
			}
			if i%3 == 0 { // stands for more already
				note.Merged = 2
				more += 2
			}
			r.Note(note)
		}
		close(release)
		if err := stop(); err != nil {
			t.Error(err)
		}
		rows := l.all()
		if got := counted(t, rows); got != sent+more || r.Status().Lost != 0 || r.Status().Merged == 0 {
			t.Errorf("%d of %d counted, %+v", got, sent, r.Status())
		}
		if len(rows) > 10+128+1024+2 { // what was queued, what the commit took that hung, what was kept apart
			t.Errorf("%d rows are not bounded", len(rows))
		}
		intact(t, rows)
		var until time.Time
		for _, row := range rows {
			if e, err := audit.Decode(row.Body); err == nil && e.Resource == "ledger" && e.Merged > 0 {
				until = e.Until
			}
		}
		if !until.Equal(start.Add(3000 * time.Second)) {
			t.Errorf("merged until %v", until)
		}
	})
}

// Only equal refusals merge: who, for what and why; and what a merged one keeps
// holds no token.
func TestOnlyEqualMerge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l := &ledger{next: func([]store.RecordRow) (bool, error) { <-release; return true, nil }}
		c := config(l)
		c.Limit = 1
		r, stop := run(t, c)
		r.Note(refusal("committing"))
		synctest.Wait()
		r.Note(refusal("queued"))
		changes := map[string]func(*broker.Record){
			"same":     func(*broker.Record) {},
			"workload": func(x *broker.Record) { x.Workload.ID = x.Workload.Via },
			"resource": func(x *broker.Record) { x.Resource = "orders" },
			"reason":   func(x *broker.Record) { x.Reason = broker.ReasonDenied },
			"type":     func(x *broker.Record) { x.Type = broker.RecordSelf },
			"shown":    func(x *broker.Record) { x.Type = broker.RecordIntrospection },
			"revoke":   func(x *broker.Record) { x.Type = broker.RecordRevocation },
		}
		for id, change := range changes {
			for range 3 {
				x := refusal(id)
				change(x)
				r.Note(x)
			}
		}
		// What was done past the rules, and tokens that never left, do not merge.
		for _, kept := range audit.Merged(r) {
			if kept.Request.Subject.Type == "" || !kept.Request.Subject.Raw.IsZero() || !kept.Request.Actor.Raw.IsZero() {
				t.Error("a token lies in the queue")
			}
		}
		alone := &broker.Record{ID: "alone", Type: broker.RecordUndelivered, Of: "x", At: start}
		r.Note(alone)
		close(release)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for id := range changes {
			if e := entry(t, l.all(), id); e.Merged != 2 {
				t.Errorf("%s: merged %d", id, e.Merged)
			}
		}
		if e := entry(t, l.all(), "alone"); e.Of != "x" || e.Merged != 0 {
			t.Errorf("undelivered: %+v", e)
		}
		if got := counted(t, l.all()); got != 2+21+1 {
			t.Errorf("%d counted", got)
		}
	})
}

// A revocation whose first record failed stands by itself, where a refusal would
// merge with another.
func TestRevocationsDoNotMerge(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		l := &ledger{next: func([]store.RecordRow) (bool, error) { <-release; return true, nil }}
		c := config(l)
		c.Limit = 2
		r, stop := run(t, c)
		r.Note(refusal("committing"))
		synctest.Wait()
		r.Note(refusal("queued"))
		r.Note(refusal("queued too"))
		for _, id := range []string{"revoked", "revoked too"} {
			x := refusal(id)
			x.Type, x.Allowed = broker.RecordRevocation, true
			r.Note(x)
		}
		close(release)
		if err := stop(); err != nil {
			t.Error(err)
		}
		for _, id := range []string{"revoked", "revoked too"} {
			if e := entry(t, l.all(), id); e.Merged != 0 || e.Type != "revoke" || e.Decision != "allowed" {
				t.Errorf("%+v", e)
			}
		}
	})
}

// A flood of refusals does not make a token wait for all of it.
func TestNotesGiveWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		largest := 0
		l := &ledger{next: func(rows []store.RecordRow) (bool, error) {
			largest = max(largest, len(rows))
			pass(time.Millisecond)
			return true, nil
		}}
		r, stop := run(t, config(l))
		for i := range 2000 {
			r.Note(refusal(name("n", i)))
		}
		began := time.Now()
		if _, err := r.Append(t.Context(), record("a")); err != nil || time.Since(began) > 3*time.Millisecond {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if err := stop(); err != nil || largest > 129 || len(l.all()) != 2001 {
			t.Errorf("commits of up to %d, %d rows, %v", largest, len(l.all()), err)
		}
	})
}

// Notes outlive a store that is away, in their order and each by itself.
func TestNotesSurviveAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{lastErr: broker.Unavailable("", 0, nil), next: func([]store.RecordRow) (bool, error) { return false, broker.Unavailable("", 0, nil) }}
		r, stop := run(t, config(l))
		for i := range 300 {
			r.Note(refusal(name("n", i)))
		}
		pass(30 * time.Second)
		l.mu.Lock()
		l.lastErr, l.next = nil, nil
		l.mu.Unlock()
		pass(time.Second)
		rows := l.all()
		if len(rows) != 300 || r.Status().Waiting != 0 {
			t.Fatalf("%d rows, %+v", len(rows), r.Status())
		}
		for i, row := range rows {
			if row.ID != name("n", i) {
				t.Fatalf("row %d is %s", i, row.ID)
			}
		}
		intact(t, rows)
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Refusals that the store will not have for what they are do not stop the rest:
// they are counted.
func TestRefusedNotesAreCounted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		l.next = func(rows []store.RecordRow) (bool, error) {
			for _, row := range rows {
				if row.ID == "poison" {
					return false, broker.Errorf(broker.CodeInvalidRequest, "", "the store does not accept the value")
				}
			}
			return true, nil
		}
		r, stop := run(t, config(l))
		for _, id := range []string{"a", "poison", "b"} {
			r.Note(refusal(id))
		}
		pass(time.Second)
		if _, err := r.Append(t.Context(), record("token")); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil || counted(t, l.all()) != 4 {
			t.Errorf("%d counted, %v", counted(t, l.all()), err)
		}
	})
}

// Many at once, for the race detector.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	c := config(l)
	c.Limit = 64
	r, stop := run(t, c)
	const workers, each = 16, 100
	var wg sync.WaitGroup
	var mu sync.Mutex
	positions := map[broker.Position]string{}
	for w := range workers {
		wg.Go(func() {
			for i := range each {
				id := name(name("a", w), i)
				r.Note(refusal("n" + id))
				at, err := r.Append(t.Context(), record(id))
				if err != nil {
					t.Error(err)
					return
				}
				_ = r.Status()
				mu.Lock()
				positions[at] = id
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := stop(); err != nil {
		t.Error(err)
	}
	rows := l.all()
	intact(t, rows)
	for _, row := range rows {
		delete(positions, broker.Position{Replica: row.Replica, Segment: row.Segment, Seq: row.Seq})
	}
	if got := counted(t, rows); got != 2*workers*each || len(positions) != 0 || r.Status() != (audit.Status{Merged: r.Status().Merged}) {
		t.Errorf("%d counted, %d positions without a row, %+v", got, len(positions), r.Status())
	}
}

// A note that is being sealed while the recorder ends is not lost uncounted.
func TestNoteAtTheEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &slow{entered: make(chan struct{}), release: make(chan struct{})}
		c := config(&ledger{})
		c.Sealer = s
		r, stop := run(t, c)
		note := refusal("n")
		note.Facts = []broker.Claim{{Name: "user.x", Value: "y"}}
		go r.Note(note)
		<-s.entered
		if err := stop(); err != nil {
			t.Error(err)
		}
		close(s.release)
		synctest.Wait()
		if got := r.Status(); got.Lost != 1 || got.Waiting != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// A record waits until its commit is over, not until that begins.
func TestStatusCountsTheCommitThatRuns(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		entered, release := make(chan struct{}), make(chan struct{})
		l := &ledger{next: func([]store.RecordRow) (bool, error) {
			entered <- struct{}{}
			<-release
			return true, nil
		}}
		r, stop := run(t, config(l))
		r.Note(refusal("n"))
		<-entered
		if got := r.Status().Waiting; got != 1 {
			t.Errorf("%d wait while they are committed", got)
		}
		release <- struct{}{}
		synctest.Wait()
		if got := r.Status().Waiting; got != 0 || len(l.all()) == 0 {
			t.Errorf("%d wait afterwards", got)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// slow is a sealer that takes its time.
type slow struct {
	reverse
	entered, release chan struct{}
}

func (s *slow) Seal(plain, additional []byte) ([]byte, error) {
	close(s.entered)
	<-s.release
	return s.reverse.Seal(plain, additional)
}
