package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/fleet"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
)

// fake is a store in memory, with a clock, a timeline and a past that can be lost.
type fake struct {
	store.Policies
	store.Replicas

	mu       sync.Mutex
	history  [][]broker.Object // by revision, from 1
	timeline int64
	rows     map[string]store.Replica
	calls    []string
	changed  chan struct{}
	deaf     bool // nobody hears of a write
	failing  map[string]error
	omit     string // an object that Changes leaves out: a fault that a resync must find

	clock func() time.Time
	// at is run before and after each call, by the caller, for what happens just then.
	at func(call string, after bool) error
}

func newFake() *fake {
	return &fake{rows: map[string]store.Replica{}, changed: make(chan struct{}), failing: map[string]error{}, clock: time.Now, timeline: 1}
}

// call is one call of the store; work computes its answer at one instant.
func (f *fake) call(name string, work func()) error {
	f.mu.Lock()
	at, err := f.at, f.failing[name]
	f.calls = append(f.calls, name)
	f.mu.Unlock()
	if at != nil {
		err = errors.Join(err, at(name, false))
	}
	if err != nil {
		return err
	}
	f.mu.Lock()
	work()
	f.mu.Unlock()
	if at != nil {
		return at(name, true)
	}
	return nil
}

func (f *fake) revision() broker.Revision { return broker.Revision(len(f.history)) }

// state returns what was in force at a revision.
func (f *fake) state(at broker.Revision) []broker.Object {
	now := map[string]broker.Object{}
	for r, changes := range f.history[:at] {
		for _, o := range changes {
			o.Revision = broker.Revision(r + 1)
			if now[o.Name] = o; o.Deleted {
				delete(now, o.Name)
			}
		}
	}
	var all []broker.Object
	for _, o := range now {
		all = append(all, o)
	}
	slices.SortFunc(all, func(a, b broker.Object) int { return strings.Compare(a.Name, b.Name) })
	return all
}

func (f *fake) write(changes ...broker.Object) broker.Revision {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.history = append(f.history, changes)
	if !f.deaf {
		close(f.changed)
		f.changed = make(chan struct{})
	}
	return f.revision()
}

// forget loses every revision after one, as a restore or a late standby does.
func (f *fake) forget(after broker.Revision) [][]broker.Object {
	f.mu.Lock()
	defer f.mu.Unlock()
	lost := slices.Clone(f.history[after:])
	f.history = f.history[:after:after]
	return lost
}

func (f *fake) set(change func(*fake)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fake) count(call string) (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.calls {
		if c == call {
			n++
		}
	}
	return n
}

func (f *fake) row() store.Replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rows["r1"]
}

func (f *fake) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *fake) Heartbeat(_ context.Context, r store.Replica) (b store.Beat, err error) {
	err = f.call("heartbeat", func() {
		f.rows[r.ID] = r
		b = store.Beat{Revision: f.revision(), Timeline: f.timeline, Now: f.clock()}
	})
	return b, err
}

func (f *fake) Load(context.Context) (objects []broker.Object, at broker.Revision, err error) {
	err = f.call("load", func() { objects, at = f.state(f.revision()), f.revision() })
	return objects, at, err
}

func (f *fake) LoadAt(_ context.Context, at broker.Revision) (objects []broker.Object, err error) {
	err = f.call("load at", func() { objects = f.state(min(at, f.revision())) })
	return objects, err
}

func (f *fake) Changes(_ context.Context, after broker.Revision) (changes []broker.Object, to broker.Revision, err error) {
	err = f.call("changes", func() {
		seen := map[string]int{}
		for r := after; r < f.revision(); r++ {
			for _, o := range f.history[r] {
				o.Revision = r + 1
				if i, ok := seen[o.Name]; ok {
					changes[i] = o
				} else if o.Name != f.omit {
					seen[o.Name] = len(changes)
					changes = append(changes, o)
				}
			}
		}
		to = f.revision()
	})
	return changes, to, err
}

func (f *fake) RemoveReplica(_ context.Context, id string) error {
	return f.call("remove", func() { delete(f.rows, id) })
}

func (f *fake) Wait(ctx context.Context) error {
	f.mu.Lock()
	changed := f.changed
	f.mu.Unlock()
	select {
	case <-changed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

var errAway = broker.Unavailable("", time.Second, errors.New("the store is away"))

// mapping is a rule that can be told from others by its name.
func mapping(name string) broker.Object {
	return broker.Object{Kind: broker.KindMapping, Name: "s/" + name, Set: "s", Body: []byte(`{"effect":"allow","from":["spiffe://prod.example/ns/x/sa/y"],"scopes":["a"],"to":["orders"]}`)}
}

func gone(name string) broker.Object {
	return broker.Object{Kind: broker.KindMapping, Name: "s/" + name, Set: "s", Deleted: true}
}

// replica is a follower under test and what it was told and said.
type replica struct {
	*fleet.Follower
	mu    sync.Mutex
	warns []string
	stop  func() error
}

func (r *replica) warned(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.ContainsFunc(r.warns, func(w string) bool { return strings.Contains(w, text) })
}

// follow starts a follower of the store; change may set more of its configuration.
func follow(t testing.TB, policies store.Policies, replicas store.Replicas, change func(*fleet.Config)) *replica {
	t.Helper()
	r := &replica{}
	began := time.Now()
	c := fleet.Config{
		Policies: policies, Replicas: replicas, ID: "r1", Version: "v1", Options: policy.Options{Issuer: "https://us"},
		Now: time.Now, Boot: func() time.Duration { return time.Hour + time.Since(began) },
		Warn: func(text string, args ...any) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.warns = append(r.warns, text+" "+fmt.Sprint(args...))
		},
	}
	if change != nil {
		change(&c)
	}
	r.Follower = fleet.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// end stops the replica within a bubble.
func (r *replica) end(t testing.TB) {
	t.Helper()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
}

func (r *replica) revision() broker.Revision {
	view, _ := r.Current()
	if view == nil {
		return 0
	}
	return view.Revision()
}

// pass lets time go by; in a bubble it costs none.
func pass(d time.Duration) { <-time.After(d) }
