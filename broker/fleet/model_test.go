package fleet_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/fleet"
)

// What may happen at one point between two calls of the store.
const (
	nothing = iota
	write   // somebody commits a revision and is told so
	pause   // the replica stands still for longer than a lease
	fail    // the call fails
	choices
)

// points is how many points are tried out in full, before and after each call of the
// steps after the first: 4^6 runs.
const points = 6

// Threats G1, G12, K5, lease safety: whatever happens between a question, its
// answer, the load and the next question, no view is ever served under a lease that
// began after a newer revision was committed and acknowledged. Every interleaving
// of a write, a pause and a failure with the first calls is run.
func TestLeaseSafety(t *testing.T) {
	t.Parallel()
	runs, served := 1, 0
	for range points {
		runs *= choices
	}
	for run := range runs {
		plan := make([]int, points)
		for i := range plan {
			plan[i] = run % choices
			run /= choices
		}
		synctest.Test(t, func(t *testing.T) {
			m := &model{plan: plan}
			if err := m.run(t); err != nil {
				t.Fatalf("plan %v: %v", plan, err)
			}
			served += m.served
		})
	}
	if served < 10*runs {
		t.Errorf("a lease was looked at %d times in %d runs", served, runs)
	}
}

// The same, longer and by chance.
func TestLeaseSafetyProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		plan := rapid.SliceOfN(rapid.IntRange(0, choices-1), 0, 40).Draw(rt, "plan")
		var err error
		synctest.Test(t, func(t *testing.T) { err = (&model{plan: plan}).run(t) })
		if err != nil {
			rt.Fatal(err)
		}
	})
}

type model struct {
	f *fake
	r *replica

	mu     sync.Mutex
	plan   []int // what happens at each point; nothing before begun
	begun  bool
	told   []time.Time // when each revision was acknowledged
	served int
	broken error
}

// at is one point: something happens, and before and after it the promise holds.
func (m *model) at(string, bool) error {
	m.check()
	switch m.next() {
	case write:
		m.commit()
	case pause:
		pass(70 * time.Second)
	case fail:
		return errAway
	}
	m.check()
	return nil
}

func (m *model) next() (what int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.begun && len(m.plan) > 0 {
		what, m.plan = m.plan[0], m.plan[1:]
	}
	return what
}

func (m *model) commit() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.f.write(mapping(fmt.Sprint(len(m.told))))
	m.told = append(m.told, time.Now())
}

// check says whether what is served now may be served.
func (m *model) check() {
	m.mu.Lock()
	defer m.mu.Unlock()
	view, lease := m.r.Current()
	if view == nil || lease.Left(broker.FreshnessNormal) <= 0 || m.broken != nil {
		return
	}
	m.served++
	began := time.Now().Add(lease.Left(0)) // how long ago it began, as a time
	for i := int(view.Revision()); i < len(m.told); i++ {
		if began.After(m.told[i]) {
			m.broken = fmt.Errorf("revision %d is served under a lease that began %v after revision %d was acknowledged", view.Revision(), began.Sub(m.told[i]), i+1)
		}
	}
}

func (m *model) run(t *testing.T) error {
	m.f = newFake()
	m.f.deaf = true
	plan, entered := m.plan, make(chan struct{})
	m.r = follow(t, m.f, m.f, func(c *fleet.Config) {
		c.Prepare = func(context.Context, broker.Revision) error { <-entered; return m.at("prepare", false) }
	})
	close(entered) // m.r is there
	synctest.Wait()
	m.mu.Lock()
	m.begun = true
	m.mu.Unlock()
	m.f.set(func(f *fake) { f.at = m.at })
	// Long enough for all that is planned, and to recover from it.
	for _, what := range plan {
		pass(map[int]time.Duration{pause: 72 * time.Second, fail: 6 * time.Second}[what] + 2*time.Second)
	}
	pass(7 * time.Second)
	synctest.Wait()
	m.commit() // once more, with nobody told
	m.check()
	pass(1300 * time.Millisecond)
	synctest.Wait()
	m.check()
	if s := m.r.Status(); m.broken == nil && (!s.Ready() || int(s.Revision) != len(m.told) || len(m.plan) > 0) {
		m.broken = fmt.Errorf("it did not recover: %+v", s)
	}
	m.r.end(t)
	return m.broken
}
