package fleet_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/fleet"
)

// revoke writes a revocation that is in force for so long.
func (f *fake) revoke(id string, lasts time.Duration) {
	now := f.clock()
	f.write(broker.Revocation{TokenID: id, At: now, Until: now.Add(lasts)}.Object(0))
}

// drop makes the store forget objects of that name, without a revision.
func (f *fake) drop(name string) {
	f.set(func(f *fake) {
		for i := range f.history {
			f.history[i] = slices.DeleteFunc(slices.Clone(f.history[i]), func(o broker.Object) bool { return o.Name == name })
		}
	})
}

func blocked(r *replica, id string) bool {
	view, _ := r.Current()
	return view.Blocked(time.Now(), broker.BlockToken, id, time.Time{}) != nil
}

// Threats B14, G7, P9: a revocation is served as soon as any other write, and goes
// when its token has; a store that has forgotten one which is over is the one that
// it was, and a store that has lost one which is in force is not.
func TestRevocations(t *testing.T) {
	for name, tt := range map[string]struct {
		forgets    string
		failover   bool
		mismatches int64
		regressed  bool
	}{
		"over, resync":       {forgets: "short"},
		"over, failover":     {forgets: "short", failover: true},
		"in force, resync":   {forgets: "long", mismatches: 1},
		"in force, failover": {forgets: "long", failover: true, regressed: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				f := newFake()
				f.write(mapping("a"))
				r := follow(t, f, f, func(c *fleet.Config) { c.Resync = 5 * time.Minute })
				pass(2 * time.Second)
				f.revoke("short", time.Minute)
				f.revoke("long", 14*time.Minute)
				pass(time.Second)
				if !blocked(r, "short") || !blocked(r, "long") || blocked(r, "other") {
					t.Error("not served")
				}
				pass(2 * time.Minute)
				f.drop(tt.forgets)
				if tt.failover {
					f.set(func(f *fake) { f.timeline = 2 })
				}
				pass(6 * time.Minute)
				s := r.Status()
				if s.Ready() == tt.regressed || strings.HasPrefix(s.Problem, "policy_regressed") != tt.regressed || s.Mismatches != tt.mismatches {
					t.Errorf("%+v", s)
				}
				if blocked(r, "short") || blocked(r, "long") != (tt.forgets == "short" || tt.regressed) {
					t.Error("what is served is not what is in force")
				}
				r.end(t)
			})
		})
	}
}
