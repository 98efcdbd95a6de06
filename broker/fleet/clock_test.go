package fleet_test

import (
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/fleet"
)

// skewed starts a follower whose wall clock differs from the store's by a span that
// the test may change.
func skewed(t *testing.T, f *fake, skew *time.Duration) *replica {
	t.Helper()
	return follow(t, f, f, func(c *fleet.Config) {
		c.Now = func() time.Time {
			f.mu.Lock()
			defer f.mu.Unlock()
			return time.Now().Add(*skew)
		}
	})
}

// Threats K1, K2: a clock that differs by more than a second from the store's issues
// nothing, ahead or behind; when it is right again the replica serves by itself.
func TestClockDiffers(t *testing.T) {
	for name, tt := range map[string]struct {
		skew   time.Duration
		serves bool
	}{
		"right": {0, true}, "ahead": {time.Second, true}, "behind": {-time.Second, true},
		"too far ahead": {1001 * time.Millisecond, false}, "too far behind": {-1001 * time.Millisecond, false}, "a day": {24 * time.Hour, false}, "1970": {-56 * 365 * 24 * time.Hour, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				f.write(mapping("a"))
				skew := tt.skew
				r := skewed(t, f, &skew)
				pass(3 * time.Second)
				s := r.Status()
				if s.Ready() != tt.serves || s.Revision != 1 || s.ClockOffset != -tt.skew {
					t.Errorf("%+v", s)
				}
				if !tt.serves && (!strings.HasPrefix(s.Problem, "clock_untrusted: ") || !r.warned("clock_untrusted")) {
					t.Errorf("problem %q", s.Problem)
				}
				// The policy is followed all the same, so that it is there when the clock is.
				f.write(mapping("b"))
				pass(2 * time.Second)
				if r.revision() != 2 {
					t.Errorf("serves %d", r.revision())
				}
				f.set(func(*fake) { skew = 0 })
				pass(1300 * time.Millisecond)
				if s := r.Status(); !s.Ready() || s.Problem != "" || s.ClockOffset != 0 {
					t.Errorf("%+v", s)
				}
				r.end(t)
			})
		})
	}
}

// The way there and back is taken into account: what the answer allows is allowed,
// what it excludes is not.
func TestClockAndRoundTrip(t *testing.T) {
	for name, tt := range map[string]struct {
		there, back, skew time.Duration
		serves            bool
	}{
		"slow there":          {1400 * time.Millisecond, 0, 0, true},
		"slow back":           {0, 1400 * time.Millisecond, 0, true},
		"slow and ahead":      {700 * time.Millisecond, 700 * time.Millisecond, 1600 * time.Millisecond, true},
		"slow and too far":    {700 * time.Millisecond, 700 * time.Millisecond, 1701 * time.Millisecond, false},
		"slow and behind":     {700 * time.Millisecond, 700 * time.Millisecond, -1600 * time.Millisecond, true},
		"slow, too behind":    {700 * time.Millisecond, 700 * time.Millisecond, -1701 * time.Millisecond, false},
		"all the way is back": {0, 1400 * time.Millisecond, -2401 * time.Millisecond, false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				f.at = func(call string, after bool) error {
					if call == "heartbeat" {
						pass(map[bool]time.Duration{false: tt.there, true: tt.back}[after])
					}
					return nil
				}
				skew := tt.skew
				r := skewed(t, f, &skew)
				pass(4 * time.Second)
				if s := r.Status(); s.Ready() != tt.serves {
					t.Errorf("%+v", s)
				}
				r.end(t)
			})
		})
	}
}

// A step of the date is found out within a second also while the store is away, and
// gives the rest of the lease back when it is undone. It never makes a lease longer.
func TestClockStepsWhileTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		skew := time.Duration(0)
		r := skewed(t, f, &skew)
		pass(5 * time.Second)
		f.set(func(f *fake) { f.failing["heartbeat"] = errAway })
		pass(5 * time.Second)
		_, lease := r.Current()
		end := time.Now().Add(lease.Left(time.Minute))
		for _, step := range []time.Duration{time.Hour, -time.Hour, 1500 * time.Millisecond} {
			f.set(func(*fake) { skew = step })
			pass(1600 * time.Millisecond)
			if s := r.Status(); s.Ready() {
				t.Errorf("step %v: %+v", step, s)
			}
			f.set(func(*fake) { skew = 0 })
			pass(1600 * time.Millisecond)
			if _, lease := r.Current(); lease.Left(time.Minute) != time.Until(end) {
				t.Errorf("step %v: %v left of %v", step, lease.Left(time.Minute), time.Until(end))
			}
		}
		r.end(t)
	})
}

// The clock is looked at each second also while what waits is a load that fails, and
// is tried again ever more seldom.
func TestClockStepsWhileALoadFails(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		skew := time.Duration(0)
		r := skewed(t, f, &skew)
		pass(5 * time.Second)
		f.set(func(f *fake) { f.failing["changes"] = errAway })
		f.write(mapping("a"))
		pass(20 * time.Second)
		for i := range 12 {
			f.set(func(*fake) { skew = time.Hour })
			pass(1001 * time.Millisecond)
			if s := r.Status(); s.Ready() {
				t.Errorf("%d: %+v", i, s)
			}
			f.set(func(*fake) { skew = 0 })
			pass(1001 * time.Millisecond)
			if s := r.Status(); !s.Ready() {
				t.Errorf("%d: %+v", i, s)
			}
		}
		r.end(t)
	})
}

// Threat K5: a machine that was suspended wakes up without a lease, though its wall
// clock and its timers saw nothing of it.
func TestSuspended(t *testing.T) {
	bubble(t, func(t *testing.T) {
		f := newFake()
		began, slept := time.Now(), time.Duration(0)
		f.clock = func() time.Time { return time.Now().Add(slept) }
		r := follow(t, f, f, func(c *fleet.Config) {
			c.Boot = func() time.Duration { f.mu.Lock(); defer f.mu.Unlock(); return time.Since(began) + slept }
			c.Now = func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return time.Now().Add(slept) }
		})
		pass(5500 * time.Millisecond)
		if !r.Status().Ready() {
			t.Fatalf("%+v", r.Status())
		}
		f.set(func(*fake) { slept = 90 * time.Second })
		if s := r.Status(); s.Ready() {
			t.Errorf("%+v", s)
		}
		pass(1300 * time.Millisecond)
		if s := r.Status(); !s.Ready() {
			t.Errorf("%+v", s)
		}
		r.end(t)
	})
}
