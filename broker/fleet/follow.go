package fleet

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// How long a failed step is followed by none, with full jitter. A heartbeat is
// cheap and must be answered within two seconds of the store's return; a load that
// fails is not cheap.
const (
	retryFirst = 200 * time.Millisecond
	retryBeat  = 1500 * time.Millisecond
	retryLoad  = 5 * time.Second
	hintPause  = 50 * time.Millisecond // at least between two hints, however many writes there are
	guardEvery = time.Second
)

// problem is why a lease is not extended, with the word that alarms are made of.
type problem struct {
	word string
	err  error
}

// Error returns the word and the cause.
func (p *problem) Error() string { return p.word + ": " + p.err.Error() }

// Unwrap returns the cause.
func (p *problem) Unwrap() error { return p.err }

// The words, besides broker.ReasonClockUntrusted.
const (
	wordAway      = "store_unavailable" // the heartbeat was not answered, or not by the primary
	wordLoad      = "policy_not_loaded"
	wordRegressed = "policy_regressed"
)

// follow steps until ctx ends.
func (f *Follower) follow(ctx context.Context) {
	for ctx.Err() == nil {
		err := f.step(ctx)
		if ctx.Err() != nil {
			return
		}
		f.complain(err)
		f.pause(ctx, f.delay(err))
	}
}

// delay returns how long to wait after a step.
func (f *Follower) delay(err error) time.Duration {
	limit := retryLoad
	switch p := (*problem)(nil); {
	case !errors.As(err, &p), p.word == string(broker.ReasonClockUntrusted):
		f.line.failures = 0
		return spread(f.config.Interval)
	case p.word == wordAway:
		limit = retryBeat
	}
	f.line.failures = min(f.line.failures+1, 10)
	return chance(min(limit, retryFirst<<(f.line.failures-1)))
}

// pause waits, a hint makes it shorter, and the clock is looked at meanwhile.
func (f *Follower) pause(ctx context.Context, wait time.Duration) {
	for ; wait > 0; wait -= guardEvery {
		timer := time.NewTimer(min(wait, guardEvery))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-f.hints:
			timer.Stop()
			return
		case <-timer.C:
			f.guard()
		}
	}
}

// listen turns what the store says into hints. Whether it hears anything or not,
// the heartbeat is the poll.
func (f *Follower) listen(ctx context.Context) {
	failures := 0
	for ctx.Err() == nil {
		wait := hintPause
		if err := f.config.Replicas.Wait(ctx); err != nil {
			wait = chance(min(retryLoad, retryFirst<<failures))
			failures = min(failures+1, 10)
		} else {
			failures = 0
			select {
			case f.hints <- struct{}{}:
			default:
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

// step asks the store once, takes in what is new, and only then extends the lease:
// it starts when the question was sent.
func (f *Follower) step(ctx context.Context) error {
	asked := f.config.Boot()
	beat, err := f.beat(ctx, asked)
	if err != nil {
		return err
	}
	if err := f.catchUp(ctx, beat.Revision); err != nil {
		if p := (*problem)(nil); errors.As(err, &p) {
			return err
		}
		return &problem{wordLoad, err}
	}
	f.line.asked, f.line.confirmed = asked, true
	f.publish()
	if err := f.clockError(); err != nil {
		return err
	}
	if f.config.Boot() >= f.line.resync {
		f.resync(ctx)
	}
	return nil
}

// beat sends the heartbeat and looks at who answered.
func (f *Follower) beat(ctx context.Context, asked time.Duration) (store.Beat, error) {
	ctx, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	beat, err := f.config.Replicas.Heartbeat(ctx, store.Replica{
		ID: f.config.ID, Version: f.config.Version, StartedAt: f.line.started, SeenAt: f.config.Now(), Applied: f.applied(),
	})
	if err != nil {
		if errors.Is(err, store.ErrOtherPrimary) {
			f.drop()
		}
		return store.Beat{}, &problem{wordAway, err}
	}
	answered := f.config.Boot()
	f.report(func(s *Status) { s.Beats++ })
	known := f.line.timeline
	switch {
	case beat.Timeline < known:
		return store.Beat{}, &problem{wordAway, fmt.Errorf("the server writes timeline %d, and %d was seen: it is not the primary any more", beat.Timeline, known)}
	case beat.Timeline > known && known > 0:
		f.line.reload = true
		f.config.Warn("the primary writes a new timeline: everything is loaded anew", "timeline", beat.Timeline, "before", known)
		f.report(func(s *Status) { s.Reloads++ })
	}
	f.line.clock = reference{now: beat.Now, from: asked, to: answered}
	f.line.timeline = beat.Timeline
	f.report(func(s *Status) { s.Timeline = beat.Timeline })
	return beat, nil
}

func (f *Follower) applied() broker.Revision {
	if f.line.snapshot == nil {
		return 0
	}
	return f.line.snapshot.Revision()
}

// complain keeps what is wrong for the status, and warns when it becomes another
// matter.
func (f *Follower) complain(err error) {
	word, text := "", ""
	if err != nil {
		text = err.Error()
		if p := (*problem)(nil); errors.As(err, &p) {
			word = p.word
		}
	}
	f.report(func(s *Status) {
		s.Problem = text
		if err != nil {
			s.Failures++
		}
	})
	switch {
	case word == f.line.problem:
	case word == "":
		f.config.Warn("the lease on policy is extended again", "revision", int64(f.applied()))
	default:
		f.config.Warn("the lease on policy is not extended", "problem", text)
	}
	f.line.problem = word
}
