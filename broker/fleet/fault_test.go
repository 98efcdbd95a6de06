package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Threats G8, P10: a server of a smaller timeline is not believed, whatever it says.
func TestSmallerTimeline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.timeline = 5
		f.write(mapping("a"))
		r := follow(t, f, f, nil)
		pass(5 * time.Second)
		f.set(func(f *fake) { f.timeline = 4 })
		f.write(mapping("only there"))
		pass(62 * time.Second)
		if s := r.Status(); s.Ready() || s.Revision != 1 || s.Timeline != 5 || !strings.Contains(s.Problem, "timeline 4, and 5 was seen") {
			t.Errorf("%+v", s)
		}
		f.set(func(f *fake) { f.timeline = 5 })
		pass(2 * time.Second)
		if s := r.Status(); !s.Ready() || s.Revision != 2 {
			t.Errorf("%+v", s)
		}
		r.end(t)
	})
}

// Threat P8: after a failover that lost nothing everything is loaded anew, and the
// service does not pause.
func TestLargerTimeline(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.write(mapping("a"), mapping("b"))
		r := follow(t, f, f, nil)
		pass(5 * time.Second)
		f.write(gone("b"), mapping("c"))
		pass(5 * time.Second)
		f.set(func(f *fake) {
			f.timeline = 2
			f.at = func(call string, _ bool) error {
				if !r.Status().Ready() {
					t.Errorf("no lease at %s", call)
				}
				return nil
			}
		})
		pass(2 * time.Second)
		if s := r.Status(); !s.Ready() || s.Reloads != 1 || s.Timeline != 2 || f.count("load") != 2 || f.count("load at") != 1 || !r.warned("new timeline") {
			t.Errorf("%+v, calls %v", s, f.log())
		}
		// A load that fails is tried again, and nothing is believed before.
		f.set(func(f *fake) { f.timeline, f.failing["load"], f.at = 3, errAway, nil })
		pass(62 * time.Second)
		if s := r.Status(); s.Ready() || s.Revision != 2 {
			t.Errorf("%+v", s)
		}
		f.set(func(f *fake) { delete(f.failing, "load") })
		pass(6 * time.Second)
		if s := r.Status(); !s.Ready() || s.Reloads != 2 {
			t.Errorf("%+v", s)
		}
		r.end(t)
	})
}

// Another primary beside the one that answered takes the lease away at once.
func TestOtherPrimary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.failing["heartbeat"] = broker.Unavailable("", 0, store.ErrOtherPrimary)
		r := follow(t, f, f, nil)
		pass(time.Second)
		if view, _ := r.Current(); view != nil {
			t.Errorf("a view of nothing: %v", view)
		}
		f.set(func(f *fake) { delete(f.failing, "heartbeat") })
		pass(5 * time.Second)
		f.set(func(f *fake) { f.failing["heartbeat"] = broker.Unavailable("", 0, store.ErrOtherPrimary) })
		pass(1300 * time.Millisecond)
		if s := r.Status(); s.Ready() {
			t.Errorf("%+v", s)
		}
		f.set(func(f *fake) { delete(f.failing, "heartbeat") })
		pass(2 * time.Second)
		if s := r.Status(); !s.Ready() {
			t.Errorf("%+v", s)
		}
		r.end(t)
	})
}

// Threats G7, P9: revisions that were applied and are gone may have been denials.
// What is in memory stays and is used to the end of its lease; nothing older is ever
// taken up, and a number that was given anew does not pass for the old one.
func TestRegression(t *testing.T) {
	for name, tt := range map[string]struct {
		then     func(f *fake, lost [][]broker.Object)
		recovers bool
	}{
		"stays behind": {func(*fake, [][]broker.Object) {}, false},
		"numbers are given anew": {func(f *fake, _ [][]broker.Object) {
			f.write(mapping("x"))
			f.write(mapping("y"))
			f.write(mapping("z"))
		}, false},
		"the same, in other order": {func(f *fake, lost [][]broker.Object) { f.write(lost[1]...); f.write(lost[0]...) }, false},
		"one of two":               {func(f *fake, lost [][]broker.Object) { f.write(lost[0]...); f.write() }, false},
		"the very history comes back": {func(f *fake, lost [][]broker.Object) {
			f.write(lost[0]...)
			f.write(lost[1]...)
			f.write(mapping("more"))
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				f.write(mapping("a"))
				f.write(mapping("b"), gone("a"))
				f.write(mapping("c"))
				r := follow(t, f, f, nil)
				pass(5 * time.Second)
				lost := f.forget(1)
				pass(3 * time.Second)
				if s := r.Status(); !s.Ready() || s.Revision != 3 || !strings.HasPrefix(s.Problem, "policy_regressed: ") || !r.warned("policy_regressed: the store is at revision 1, and 3 was applied") {
					t.Errorf("%+v", s)
				}
				tt.then(f, lost)
				pass(2 * time.Minute)
				s := r.Status()
				if s.Ready() != tt.recovers {
					t.Errorf("%+v", s)
				}
				if tt.recovers && (s.Revision != 4 || s.Problem != "") || !tt.recovers && (s.Revision != 3 || !strings.HasPrefix(s.Problem, "policy_regressed: ")) {
					t.Errorf("%+v", s)
				}
				r.end(t)
				// An operator who starts it anew says by that: what is there counts.
				again := follow(t, f, f, nil)
				pass(2 * time.Second)
				if s := again.Status(); !s.Ready() || s.Revision != f.revision() {
					t.Errorf("after a restart: %+v", s)
				}
				again.end(t)
			})
		})
	}
}

// A failover that lost a revision is found out also when the number was given anew
// before anybody asked.
func TestRegressionBehindAFailover(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		f.write(mapping("a"))
		f.write(mapping("deny"))
		r := follow(t, f, f, nil)
		pass(5 * time.Second)
		f.set(func(f *fake) { f.deaf = true })
		f.forget(1)
		f.write(mapping("other"))
		f.write(mapping("more"))
		f.set(func(f *fake) { f.timeline = 2 })
		pass(62 * time.Second)
		if s := r.Status(); s.Ready() || s.Revision != 2 || !strings.HasPrefix(s.Problem, "policy_regressed: revision 2 of the store is not the one that was applied") {
			t.Errorf("%+v", s)
		}
		r.end(t)
	})
}
