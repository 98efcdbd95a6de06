package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/store"
)

// While a commit runs, whoever comes gathers for the next one: one commit, not
// one each.
func TestGroupCommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sizes []int
		l := &ledger{next: func(rows []store.RecordRow) (bool, error) {
			sizes = append(sizes, len(rows))
			pass(100 * time.Millisecond)
			return true, nil
		}}
		r, stop := run(t, config(l))
		synctest.Wait()
		var wg sync.WaitGroup
		for i := range 41 {
			wg.Go(func() {
				at, err := r.Append(t.Context(), record(name("a", i)))
				if err != nil || at.Replica != "r1" || at.Seq < 1 || at.Seq > 41 {
					t.Errorf("%+v, %v", at, err)
				}
			})
			if i == 0 {
				synctest.Wait() // the first commits alone
			}
		}
		wg.Wait()
		if len(sizes) != 2 || sizes[0] != 1 || sizes[1] != 40 {
			t.Errorf("commits of %v", sizes)
		}
		intact(t, l.all())
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Append returns when its row is there, and says where.
func TestAppendSaysWhere(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	r, _ := run(t, config(l))
	for i := range 3 {
		at, err := r.Append(t.Context(), record(name("a", i)))
		rows := l.all()
		last := rows[len(rows)-1]
		if err != nil || len(rows) != i+1 || last.ID != name("a", i) || at != (broker.Position{Replica: "r1", Segment: last.Segment, Seq: last.Seq}) {
			t.Errorf("%+v, %v", at, err)
		}
		if last.Outcome != "allowed" || last.Resource != "ledger" || last.Workload != caller.String() || !last.At.Equal(start.Truncate(time.Microsecond)) {
			t.Errorf("row %+v", last)
		}
	}
}

// whatever the store does, Append answers within its timeout, and what was
// refused is not recorded later unless its commit had begun.
func TestAppendNeverWaitsLonger(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		l := &ledger{next: func([]store.RecordRow) (bool, error) { <-hang; return true, nil }}
		r, stop := run(t, config(l))
		var wg sync.WaitGroup
		wait := func(id string) {
			wg.Go(func() {
				began := time.Now()
				_, err := r.Append(context.Background(), record(id))
				if took := time.Since(began); took != 600*time.Millisecond || broker.AsError(err).Code != broker.CodeUnavailable {
					t.Errorf("after %v: %v", took, err)
				}
			})
		}
		wait("begun")
		synctest.Wait()
		wait("queued")
		wg.Wait()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if _, err := r.Append(ctx, record("cancelled")); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		close(hang)
		l.set(nil)
		if _, err := r.Append(t.Context(), record("after")); err != nil {
			t.Error(err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		// The commit that had begun landed, too late for anybody to know.
		if rows := l.all(); len(rows) != 3 || rows[0].ID != "begun" || rows[1].Outcome != "gap" || rows[2].ID != "after" {
			t.Errorf("%d rows", len(rows))
		}
		intact(t, l.all())
	})
}

func TestFullRefuses(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		l := &ledger{next: func([]store.RecordRow) (bool, error) { <-hang; return true, nil }}
		c := config(l)
		c.Limit = 2
		r, stop := run(t, c)
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() { _, _ = r.Append(t.Context(), record(name("a", i))) })
			synctest.Wait()
		}
		if _, err := r.Append(t.Context(), record("one too many")); broker.AsError(err).Reason != broker.ReasonOverloaded {
			t.Errorf("error %v", err)
		}
		close(hang)
		wg.Wait()
		if err := stop(); err != nil || len(l.all()) != 3 {
			t.Errorf("%d rows, %v", len(l.all()), err)
		}
	})
}

// What cannot be sealed is not recorded, and so not issued; a refusal is recorded
// all the same, and says what is missing.
func TestSealerFails(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	c := config(l)
	c.Sealer = reverse{fail: true}
	r, stop := run(t, c)
	if _, err := r.Append(t.Context(), record("a")); broker.AsError(err).Code != broker.CodeUnavailable {
		t.Errorf("error %v", err)
	}
	note := refusal("n")
	note.Facts = []broker.Claim{{Name: "user.x", Value: "y"}}
	r.Note(note)
	odd := refusal("odd")
	odd.Facts = []broker.Claim{{Name: "user.x", Value: 1.5}} // of no type that a claim has
	r.Note(odd)
	if err := stop(); err != nil || len(l.all()) != 2 {
		t.Fatalf("%d rows, %v", len(l.all()), err)
	}
	for _, id := range []string{"n", "odd"} {
		e := entry(t, l.all(), id)
		if _, err := e.Question(nil); e.Sealed != audit.SealedLost || !errors.Is(err, audit.ErrUnknown) {
			t.Errorf("%s: sealed %q, %v", id, e.Sealed, err)
		}
	}
}

// After a commit whose outcome is unknown everybody who waited is refused, and
// the chain goes on in a new segment, whether the rows landed, did not, or land
// later.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	for name, when := range map[string]string{"landed": "before", "lost": "never", "lands later": "after"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := &ledger{}
			r, stop := run(t, config(l))
			first, err := r.Append(t.Context(), record("1"))
			if err != nil {
				t.Fatal(err)
			}
			var late []store.RecordRow
			l.set(func(rows []store.RecordRow) (bool, error) {
				late = append(late, rows...)
				return when == "before", store.ErrUnknownOutcome
			})
			if _, err := r.Append(t.Context(), record("2")); !errors.Is(err, store.ErrUnknownOutcome) {
				t.Errorf("error %v", err)
			}
			l.set(nil)
			third, err := r.Append(t.Context(), record("3"))
			if err != nil || third.Segment <= first.Segment {
				t.Errorf("%+v after %+v, %v", third, first, err)
			}
			if when == "after" {
				l.land(late)
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			rows := l.all()
			intact(t, rows)
			for _, row := range rows {
				if row.Segment == third.Segment && row.Seq == 1 {
					e, err := audit.Decode(row.Body)
					if gaps := map[string]int{"before": 0, "never": 1, "after": 1}[when]; err != nil || e.Type != string(broker.RecordGap) || len(e.Gaps) != gaps {
						t.Errorf("it begins with %+v, %v", e, err)
					}
					from := map[string]int{"before": 1, "never": 0, "after": 0}[when]
					if !bytes.Equal(row.Prev, rows[from].Hash) {
						t.Error("the new segment does not continue from the last confirmed row")
					}
				}
			}
			if _, err := audit.Decode(late[0].Body); err != nil || late[0].ID != "2" || len(late) != 1 {
				t.Errorf("the commit was of %d rows, %v", len(late), err)
			}
		})
	}
}

// However often it happens, the row that tells of it stays small and true; and once
// it has told, it is told no more.
func TestManyUnknownOutcomes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{}
		r, stop := run(t, config(l))
		gaps := func() int {
			t.Helper()
			at, err := r.Append(t.Context(), record(broker.NewID(time.Now())))
			if err != nil {
				t.Fatal(err)
			}
			for _, row := range l.all() {
				if e, err := audit.Decode(row.Body); err == nil && row.Segment == at.Segment && row.Seq == 1 {
					return len(e.Gaps)
				}
			}
			return -1
		}
		var late []store.RecordRow
		doubt := func(times int) {
			l.set(func(rows []store.RecordRow) (bool, error) {
				late = append(late, slices.Clone(rows)...)
				return false, store.ErrUnknownOutcome
			})
			for range times {
				_, _ = r.Append(t.Context(), record(broker.NewID(time.Now())))
			}
			l.set(nil)
		}
		if n := gaps(); n != 0 {
			t.Errorf("%d gaps at first", n)
		}
		for _, step := range []struct{ doubts, gaps int }{{1, 1}, {3, 3}, {16, 16}, {17, 1}, {40, -1}, {1, 1}} {
			doubt(step.doubts)
			if n := gaps(); n != step.gaps && step.gaps >= 0 || n > 16 || n < 1 {
				t.Errorf("%d gaps after %d doubts", n, step.doubts)
			}
		}
		// What was told in a commit that landed is told.
		doubt(1)
		l.set(func([]store.RecordRow) (bool, error) { return true, store.ErrUnknownOutcome })
		_, _ = r.Append(t.Context(), record("landed"))
		l.set(nil)
		if n := gaps(); n != 0 {
			t.Errorf("%d gaps after one that landed", n)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
		intact(t, l.all())
		l.land(late)
		intact(t, l.all())
	})
}

// A plain failure opens no segment: nothing happened.
func TestFailureGoesOn(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	r, stop := run(t, config(l))
	first, err := r.Append(t.Context(), record("1"))
	if err != nil {
		t.Fatal(err)
	}
	l.set(func([]store.RecordRow) (bool, error) {
		return false, broker.Unavailable("", time.Second, errors.New("down"))
	})
	if _, err := r.Append(t.Context(), record("2")); broker.AsError(err).Code != broker.CodeUnavailable {
		t.Errorf("error %v", err)
	}
	l.set(nil)
	third, err := r.Append(t.Context(), record("3"))
	if err != nil || third.Segment != first.Segment || third.Seq != first.Seq+1 {
		t.Errorf("%+v, %v", third, err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	intact(t, l.all())
}

// A new process goes on where the chain of its replica ended, also if the clock
// went back, and even if rows of the old one land late.
func TestRestartContinues(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	c := config(l)
	now := start
	c.Now = func() time.Time { return now }
	var late []store.RecordRow
	for i := range 4 {
		now = start.Add(-time.Duration(i) * time.Hour)
		r, stop := run(t, c)
		if _, err := r.Append(t.Context(), record(name("a", i))); err != nil {
			t.Fatal(err)
		}
		l.set(func(rows []store.RecordRow) (bool, error) {
			late = append(late, rows...)
			return false, store.ErrUnknownOutcome
		})
		_, _ = r.Append(t.Context(), record(name("in flight", i)))
		l.set(nil)
		l.lastErr = broker.Unavailable("", 0, errors.New("killed here")) // the process never finds out
		_ = stop()
		l.lastErr = nil
		if _, err := r.Append(t.Context(), record("late")); broker.AsError(err).Reason != broker.ReasonShuttingDown {
			t.Errorf("recorded after the end: %v", err)
		}
	}
	intact(t, l.all())
	l.land(late[1 : len(late)-1])
	intact(t, l.all())
	if n := len(l.all()); n != 4+3+2 { // four allows, three rows that continue, two late ones
		t.Errorf("%d rows", n)
	}
}

// At the end what waits is committed, and what comes later is refused and counted.
func TestDrain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{next: func([]store.RecordRow) (bool, error) { pass(time.Millisecond); return true, nil }}
		r, stop := run(t, config(l))
		for i := range 1000 {
			r.Note(refusal(name("n", i)))
		}
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if _, err := r.Append(t.Context(), record(name("a", i))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if err := stop(); err != nil {
			t.Error(err)
		}
		wg.Wait()
		r.Note(refusal("late"))
		if got := counted(t, l.all()); got != 1010 || r.Status() != (audit.Status{Lost: 1}) {
			t.Errorf("%d counted, %+v", got, r.Status())
		}
		intact(t, l.all())
	})
}

// A store that stays away at the end does not hold up the end.
func TestDrainEnds(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{next: func([]store.RecordRow) (bool, error) { return false, broker.Unavailable("", 0, errors.New("down")) }}
		c := config(l)
		c.Limit = 3
		r, stop := run(t, c)
		for i := range 10 {
			r.Note(refusal(name("n", i)))
		}
		synctest.Wait()
		began := time.Now()
		if err := stop(); err == nil || r.Status().Lost != 10 || time.Since(began) > time.Second {
			t.Errorf("%+v after %v, %v", r.Status(), time.Since(began), err)
		}
	})
}

// A store that is away is asked a few times a second, not in a hot loop, and what
// waits gets through at once when it is back.
func TestNoHotLoop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &ledger{next: func([]store.RecordRow) (bool, error) { return false, broker.Unavailable("", 0, errors.New("down")) }}
		r, stop := run(t, config(l))
		r.Note(refusal("n"))
		pass(10 * time.Second)
		synctest.Wait()
		l.mu.Lock()
		if l.commits < 20 || l.commits > 40 {
			t.Errorf("%d commits in 10 s", l.commits)
		}
		l.mu.Unlock()
		l.set(nil)
		pass(time.Second)
		if len(l.all()) != 1 {
			t.Error("the note did not get through")
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
}

// Whatever commits do, the chain holds, every position that was promised is
// there, and no refusal is lost uncounted.
func TestChainProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		outcomes := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 12).Draw(rt, "outcomes")
		limit := rapid.IntRange(1, 6).Draw(rt, "limit")
		var fault string
		synctest.Test(t, func(t *testing.T) { fault = chainFault(t, outcomes, limit) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// chainFault runs a recorder over a store that does what outcomes say, and returns
// what is wrong afterwards.
func chainFault(t *testing.T, outcomes []int, limit int) string {
	l := &ledger{}
	var i atomic.Int64
	l.next = func(rows []store.RecordRow) (bool, error) {
		switch outcomes[int(i.Add(1))%len(outcomes)] {
		case 1:
			return true, store.ErrUnknownOutcome
		case 2:
			return false, store.ErrUnknownOutcome
		case 3:
			return false, broker.Unavailable("", 0, errors.New("down"))
		case 4: // lands when nobody thinks of it any more
			late := slices.Clone(rows)
			go func() { pass(700 * time.Millisecond); l.land(late) }()
			return false, store.ErrUnknownOutcome
		}
		return true, nil
	}
	c := config(l)
	c.Limit = limit
	r, stop := run(t, c)
	promised, sent := map[broker.Position]string{}, 0
	for k := range 20 {
		for n := range k % 3 {
			sent++
			r.Note(refusal(name(name("n", k), n)))
		}
		if p, err := r.Append(context.Background(), record(name("a", k))); err == nil {
			promised[p] = name("a", k)
		}
	}
	l.set(nil)
	if err := stop(); err != nil {
		return err.Error()
	}
	pass(time.Second)
	rows := l.all()
	if faults := audit.Verify(rows, audit.Anchors(rows)...); len(faults) != 0 {
		return faults[0].String()
	}
	allows := map[string]bool{}
	for _, row := range rows {
		if p := (broker.Position{Replica: row.Replica, Segment: row.Segment, Seq: row.Seq}); promised[p] == row.ID {
			delete(promised, p)
		}
		if row.Outcome == "allowed" {
			allows[row.ID] = true
		}
	}
	if len(promised) != 0 {
		return fmt.Sprintf("promised and not there: %v", promised)
	}
	if got := counted(t, rows) - len(allows); got != sent {
		return fmt.Sprintf("%d of %d refusals counted", got, sent)
	}
	return ""
}
