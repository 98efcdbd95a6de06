package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
)

// Config says what a follower stands on. Every field is required but Interval,
// Resync and Prepare.
type Config struct {
	Policies store.Policies
	Replicas store.Replicas
	ID       string // of the replica
	Version  string // of the program
	Options  policy.Options
	Now      func() time.Time     // the wall clock, which tokens bear
	Boot     func() time.Duration // a clock that never steps and counts suspended time
	Warn     func(text string, args ...any)
	Interval time.Duration // between two heartbeats, give or take a fifth; 0 means 1 s
	Resync   time.Duration // between two loads of everything, give or take a fifth; 0 means 10 min
	// Prepare is run before a revision is served: what moves the revision beside
	// policy, such as keys, is read anew there. With an error the revision is not
	// served. It may be run more than once for a revision.
	Prepare func(context.Context, broker.Revision) error
}

// Times of threats 3.0.
const (
	defaultInterval = time.Second
	defaultResync   = 10 * time.Minute
	beatTimeout     = 2 * time.Second
	changesTimeout  = 5 * time.Second
	loadTimeout     = 30 * time.Second
	prepareTimeout  = 10 * time.Second
	removeTimeout   = 2 * time.Second
)

// Follower implements broker.Policy. One goroutine, Run, follows; everybody reads.
type Follower struct {
	config  Config
	current atomic.Pointer[served]
	hints   chan struct{} // holds one token when somebody says that policy moved

	mu     sync.Mutex // guards status
	status Status

	line line // owned by Run
}

// served is what is handed out, as one: a view is never seen with the lease of
// another.
type served struct {
	view  broker.View
	lease broker.Lease
}

// line is where the follower is.
type line struct {
	started   time.Time
	snapshot  *policy.Snapshot // nil before the first
	contents  contents         // of the snapshot
	timeline  int64            // the largest seen
	reload    bool             // everything is to be loaded anew before anything is believed
	regressed bool             // what was applied is gone from the store
	clock     reference
	trusted   bool          // our clock, when the lease was handed out last
	asked     time.Duration // when the heartbeat was sent that confirmed the snapshot
	confirmed bool          // asked counts
	resync    time.Duration // when the next load of everything is due
	failures  int           // in a row
	problem   string        // what was complained of last
}

// New returns a follower that serves nothing before Run runs.
func New(c Config) *Follower {
	if c.Interval == 0 {
		c.Interval = defaultInterval
	}
	if c.Resync == 0 {
		c.Resync = defaultResync
	}
	f := &Follower{config: c, hints: make(chan struct{}, 1)}
	f.current.Store(&served{})
	f.line.contents = newContents()
	return f
}

// Current returns the view in force and its lease, by one atomic load. The view is
// nil before the first snapshot; the zero Lease has run out.
func (f *Follower) Current() (broker.View, broker.Lease) {
	s := f.current.Load()
	return s.view, s.lease
}

// Run follows until ctx ends. Then the lease is given up, and after it the row of
// the replica: nobody waits for a replica that serves nothing.
func (f *Follower) Run(ctx context.Context) error {
	f.line.started = f.config.Now()
	var listening sync.WaitGroup
	listening.Go(func() { f.listen(ctx) })
	f.follow(ctx)
	listening.Wait()
	f.drop()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), removeTimeout)
	defer cancel()
	if err := f.config.Replicas.RemoveReplica(last, f.config.ID); err != nil {
		return fmt.Errorf("remove the row of the replica: %w", err)
	}
	return nil
}

// publish hands out the snapshot and the lease that it has.
func (f *Follower) publish() {
	s := &served{}
	if f.line.snapshot != nil {
		s.view = f.line.snapshot
	}
	f.line.trusted = f.line.clock.trusted(f.config.Now(), f.config.Boot())
	if f.line.confirmed && f.line.trusted {
		s.lease = broker.NewLease(f.line.asked, f.config.Boot)
	}
	f.current.Store(s)
}

// drop takes the lease away. The next heartbeat that confirms gives a new one.
func (f *Follower) drop() {
	f.line.confirmed = false
	f.publish()
}

// Status is what a follower says of itself, for readiness and metrics.
type Status struct {
	Revision    broker.Revision // that is served, 0 before the first
	LeaseLeft   time.Duration   // of a normal lease; ≤ 0 means that it has run out
	Problem     string          // why the lease is not extended, "" if it is: a word for alarms, a colon, and the rest
	ClockOffset time.Duration   // how far the store's clock is ahead of ours
	Timeline    int64           // of the primary
	Beats       int64           // heartbeats that were answered
	Failures    int64           // steps that failed
	Resyncs     int64           // loads of everything for safety
	Mismatches  int64           // of them, how many did not find what was there
	Reloads     int64           // loads of everything because of a new timeline
	LastResync  time.Time       // of the store's policy as a whole, the first load included
	Quarantined int             // objects that cannot be read
	Findings    []policy.Finding
}

// Ready reports whether tokens may be issued.
func (s Status) Ready() bool { return s.LeaseLeft > 0 }

// Status returns how the follower is. Findings are those of the latest snapshot
// that had any, at most 100.
func (f *Follower) Status() Status {
	f.mu.Lock()
	s := f.status
	s.Findings = slices.Clone(s.Findings)
	f.mu.Unlock()
	view, lease := f.Current()
	if view != nil {
		s.Revision = view.Revision()
	}
	s.LeaseLeft = lease.Left(broker.FreshnessNormal)
	return s
}

func (f *Follower) report(change func(*Status)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(&f.status)
}
