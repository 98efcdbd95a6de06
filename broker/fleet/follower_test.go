package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/fleet"
	"github.com/cambist/cambist/store"
)

// bubble runs a test in its own time.
func bubble(t *testing.T, test func(t *testing.T)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, test)
}

// The row of the replica is there before it loads anything: whoever writes policy
// afterwards waits for it.
func TestRowComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.write(mapping("a"))
		r := follow(t, f, f, nil)
		if view, lease := r.Current(); view != nil || lease.Left(time.Hour) > 0 {
			t.Error("something is served before anything was asked")
		}
		synctest.Wait()
		if !slices.Equal(f.log(), []string{"heartbeat", "load"}) || f.row().Applied != 0 {
			t.Errorf("calls %v, row %+v", f.log(), f.row())
		}
		if s := r.Status(); r.revision() != 1 || !s.Ready() || s.Problem != "" || s.Beats != 1 || s.LastResync.IsZero() {
			t.Errorf("%+v", s)
		}
		pass(1200 * time.Millisecond)
		if row := f.row(); row.Applied != 1 || row.Version != "v1" || row.SeenAt.Sub(row.StartedAt) < 800*time.Millisecond {
			t.Errorf("row %+v", row)
		}
		r.end(t)
	})
}

// The lease starts when the question was sent, however long the answer and the load
// took.
func TestLeaseStartsBeforeTheQuestion(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.at = func(string, bool) error { pass(200 * time.Millisecond); return nil }
		r := follow(t, f, f, nil)
		pass(800*time.Millisecond + 1) // before and after the heartbeat, before and after the load
		if _, lease := r.Current(); lease.Left(time.Minute) != time.Minute-800*time.Millisecond-1 {
			t.Errorf("left %v", lease.Left(time.Minute))
		}
		r.end(t)
	})
}

// Threats G2, P18: without any notification a write is served after one poll and
// the load; with one it is served sooner. A revision without objects counts too.
func TestWriteIsServed(t *testing.T) {
	for name, deaf := range map[string]bool{"heard": false, "lost": true} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				f.deaf = deaf
				r := follow(t, f, f, nil)
				for i, changes := range [][]broker.Object{{mapping("a")}, {}, {mapping("b"), gone("a")}} {
					pass(3*time.Second + time.Duration(i)*333*time.Millisecond)
					wrote := time.Now()
					want := f.write(changes...)
					for r.revision() != want {
						pass(time.Millisecond)
					}
					if took, most := time.Since(wrote), map[bool]time.Duration{false: 60 * time.Millisecond, true: 1201 * time.Millisecond}[deaf]; took > most {
						t.Errorf("served after %v", took)
					}
				}
				if f.count("load") != 1 {
					t.Errorf("%d loads", f.count("load"))
				}
				r.end(t)
			})
		})
	}
}

// The interval varies by a fifth, so that a fleet does not ask in step.
func TestIntervalIsSpread(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		var gaps []time.Duration
		last := time.Now()
		f.at = func(call string, after bool) error {
			if call == "heartbeat" && !after {
				gaps = append(gaps, time.Since(last))
				last = time.Now()
			}
			return nil
		}
		r := follow(t, f, f, nil)
		pass(200 * time.Second)
		r.end(t)
		gaps = gaps[1:]
		if least, most := slices.Min(gaps), slices.Max(gaps); least < 800*time.Millisecond || most >= 1200*time.Millisecond || most-least < 200*time.Millisecond || len(gaps) < 160 {
			t.Errorf("%d gaps from %v to %v", len(gaps), least, most)
		}
	})
}

// A storm of notifications is no storm of heartbeats.
func TestHintStorm(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		r := follow(t, f, f, nil)
		pass(time.Second)
		before := f.count("heartbeat")
		for range 1000 {
			f.write()
			pass(time.Millisecond)
		}
		if n := f.count("heartbeat") - before; n > 21 || n < 10 {
			t.Errorf("%d heartbeats in a second", n)
		}
		r.end(t)
	})
}

// Threats P1, P3, P4: the lease ends a term after the last answer and not before;
// the store is asked again and again meanwhile, not in a hot loop; and within two
// seconds of its return the replica serves.
func TestStoreAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.failing["heartbeat"] = errAway
		r := follow(t, f, f, nil)
		returns := func() {
			t.Helper()
			f.set(func(f *fake) { delete(f.failing, "heartbeat") })
			pass(2 * time.Second)
			if s := r.Status(); !s.Ready() || s.Problem != "" {
				t.Fatalf("%+v", s)
			}
		}
		pass(time.Minute)
		if s := r.Status(); s.Ready() || !strings.HasPrefix(s.Problem, "store_unavailable: ") || s.Failures == 0 || !r.warned("store_unavailable") {
			t.Errorf("%+v", s)
		}
		if n := f.count("heartbeat"); n < 40 || n > 140 {
			t.Errorf("asked %d times in a minute", n)
		}
		returns()
		last := time.Now()
		f.set(func(f *fake) {
			f.at = func(call string, after bool) error {
				if call == "heartbeat" && !after {
					last = time.Now()
				}
				return nil
			}
		})
		pass(5 * time.Second)
		f.set(func(f *fake) { f.failing["heartbeat"], f.at = errAway, nil })
		synctest.Wait()
		pass(time.Until(last.Add(time.Minute)) - time.Millisecond)
		if _, lease := r.Current(); lease.Left(broker.FreshnessNormal) != time.Millisecond || r.revision() != 0 {
			t.Errorf("left %v", lease.Left(broker.FreshnessNormal))
		}
		pass(time.Millisecond)
		if s := r.Status(); s.Ready() || s.LeaseLeft != 0 {
			t.Errorf("%+v", s)
		}
		returns()
		r.end(t)
	})
}

// A newer revision that was not taken in extends nothing, whatever keeps it from
// being taken in; what is served stays, and serves again as soon as it can.
func TestNewerRevisionExtendsNothing(t *testing.T) {
	for name, fault := range map[string]struct {
		begin, end func(f *fake, prepare *error)
		word       string
	}{
		"changes fail":  {func(f *fake, _ *error) { f.failing["changes"] = errAway }, func(f *fake, _ *error) { delete(f.failing, "changes") }, "policy_not_loaded: "},
		"prepare fails": {func(_ *fake, p *error) { *p = errors.New("no keys") }, func(_ *fake, p *error) { *p = nil }, "policy_not_loaded: prepare revision 2: no keys"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				f.write(mapping("a"))
				var prepare error
				var prepared []broker.Revision
				r := follow(t, f, f, func(c *fleet.Config) {
					c.Prepare = func(_ context.Context, at broker.Revision) error {
						f.mu.Lock()
						defer f.mu.Unlock()
						prepared = append(prepared, at)
						return prepare
					}
				})
				pass(10 * time.Second)
				f.set(func(f *fake) { fault.begin(f, &prepare) })
				f.write(mapping("b"))
				before := f.count("heartbeat")
				pass(62 * time.Second)
				if s := r.Status(); s.Ready() || s.Revision != 1 || !strings.HasPrefix(s.Problem, fault.word) {
					t.Errorf("%+v", s)
				}
				if n := f.count("heartbeat") - before; n < 10 {
					t.Errorf("asked %d times", n)
				}
				f.set(func(f *fake) { fault.end(f, &prepare) })
				pass(6 * time.Second)
				if s := r.Status(); !s.Ready() || s.Revision != 2 || s.Problem != "" {
					t.Errorf("%+v", s)
				}
				r.end(t)
				if prepared[0] != 1 || prepared[len(prepared)-1] != 2 {
					t.Errorf("prepared %v", prepared)
				}
			})
		})
	}
}

// A revision is prepared before it is served.
func TestPrepareComesFirst(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.write(mapping("a"))
		var r *replica
		begun := make(chan struct{})
		r = follow(t, f, f, func(c *fleet.Config) {
			c.Prepare = func(_ context.Context, at broker.Revision) error {
				<-begun
				if served := r.revision(); served >= at {
					t.Errorf("%d is served before it is prepared", at)
				}
				return nil
			}
		})
		close(begun)
		for i := range 5 {
			f.write(mapping(fmt.Sprint(i)))
			pass(time.Second)
		}
		if r.revision() != 6 {
			t.Errorf("serves %d", r.revision())
		}
		r.end(t)
	})
}

// Threat G6: a load that is older than the heartbeat came from another server.
func TestReadBehindTheHeartbeat(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.write(mapping("a"))
		lagging := &behind{fake: f, by: 1}
		r := follow(t, lagging, f, nil)
		pass(10 * time.Second)
		if s := r.Status(); s.Ready() || s.Revision != 0 || !strings.Contains(s.Problem, "1 to the heartbeat and 0 to the load") {
			t.Errorf("%+v", s)
		}
		f.set(func(*fake) { lagging.by = 0 })
		pass(6 * time.Second)
		f.set(func(*fake) { lagging.by = 1 })
		f.write(mapping("b"))
		pass(62 * time.Second)
		if s := r.Status(); s.Ready() || s.Revision != 1 {
			t.Errorf("%+v", s)
		}
		r.end(t)
	})
}

// behind is a store whose reads come from a standby.
type behind struct {
	*fake
	by broker.Revision
}

func (b *behind) Load(context.Context) ([]broker.Object, broker.Revision, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := b.revision() - b.by
	return b.state(at), at, nil
}

func (b *behind) Changes(context.Context, broker.Revision) ([]broker.Object, broker.Revision, error) {
	return b.Load(context.Background())
}

// At the end the lease goes before the row does: nobody waits for a replica that
// has no row, and it must not issue any more.
func TestEnd(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		r := follow(t, f, f, nil)
		pass(time.Second)
		removed := false
		f.set(func(f *fake) {
			f.at = func(call string, _ bool) error {
				if call == "remove" {
					removed = true
					if _, lease := r.Current(); lease.Left(time.Hour) > 0 {
						t.Error("there is still a lease")
					}
				}
				return nil
			}
		})
		r.end(t)
		if s := r.Status(); !removed || len(f.rows) != 0 || s.Ready() {
			t.Errorf("removed %v, rows %v, %+v", removed, f.rows, s)
		}
	})
}

// A row that cannot be removed is said, not waited for.
func TestEndWithoutStore(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		r := follow(t, f, f, nil)
		pass(time.Second)
		f.set(func(f *fake) { f.failing["remove"] = errAway })
		if err := r.stop(); !errors.Is(err, errAway) {
			t.Errorf("error %v", err)
		}
	})
}

// Threats G10, P22: a row that cannot be read refuses for what it concerns, is
// reported, and stops no other.
func TestBadRow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.write(mapping("a"))
		r := follow(t, f, f, nil)
		pass(time.Second)
		bad := mapping("bad")
		bad.Body = []byte(`{`)
		odd := broker.Object{Kind: "new kind", Name: "x", Body: []byte("{}")}
		f.write(bad, odd, mapping("b"))
		pass(2 * time.Second)
		s := r.Status()
		if !s.Ready() || s.Revision != 2 || s.Quarantined != 1 || len(s.Findings) < 2 || !r.warned("cannot be read") {
			t.Errorf("%+v", s)
		}
		f.write(mapping("c"))
		pass(2 * time.Second)
		if s = r.Status(); s.Revision != 3 || s.Quarantined != 1 || len(s.Findings) < 2 {
			t.Errorf("the findings are gone while the row is there: %+v", s)
		}
		f.write(gone("bad"))
		pass(2 * time.Second)
		if s = r.Status(); s.Quarantined != 0 || len(s.Findings) != 0 {
			t.Errorf("%+v", s)
		}
		r.end(t)
	})
}

// Threat G5: everything is loaded anew each period, and what a fault left out is
// found and mended.
func TestResync(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.write(mapping("a"))
		r := follow(t, f, f, func(c *fleet.Config) { c.Resync = time.Minute })
		pass(10 * time.Second)
		f.write(mapping("b"))
		pass(10 * time.Second)
		f.write(mapping("b"), mapping("c"), gone("a"))
		pass(10*time.Minute + 10*time.Second)
		if s := r.Status(); s.Resyncs < 8 || s.Resyncs > 13 || s.Mismatches != 0 || int(s.Resyncs)+1 != f.count("load") {
			t.Errorf("%d loads, %+v", f.count("load"), s)
		}
		f.set(func(f *fake) { f.omit = "s/lost" })
		f.write(mapping("lost"))
		pass(2 * time.Second)
		if r.revision() != 4 {
			t.Fatalf("serves %d", r.revision())
		}
		pass(75 * time.Second)
		if s := r.Status(); s.Mismatches != 1 || !r.warned("it has been replaced") || !s.Ready() {
			t.Errorf("%+v", s)
		}
		f.set(func(f *fake) { f.failing["load"] = errAway })
		pass(2 * time.Minute)
		if s := r.Status(); !s.Ready() || s.Problem != "" || !r.warned("could not be loaded as a whole") {
			t.Errorf("a resync that fails stops what is served: %+v", s)
		}
		r.end(t)
	})
}

// Reading takes one atomic load and nothing from the heap.
func TestCurrentAllocatesNothing(t *testing.T) {
	f := newFake()
	r := follow(t, f, f, nil)
	for r.Status().Revision != 0 || !r.Status().Ready() {
		pass(time.Millisecond)
	}
	var view broker.View
	var lease broker.Lease
	if n := testing.AllocsPerRun(1000, func() { view, lease = r.Current() }); n != 0 || view == nil || lease.Left(time.Minute) <= 0 {
		t.Errorf("%v allocations", n)
	}
}

var _ store.Policies = (*behind)(nil)
