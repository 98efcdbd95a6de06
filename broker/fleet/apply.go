package fleet

import (
	"context"
	"fmt"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

// catchUp brings the snapshot to the revision that the store answered, or further.
func (f *Follower) catchUp(ctx context.Context, told broker.Revision) error {
	switch {
	case f.line.snapshot == nil:
		return f.loadAll(ctx, told)
	case told < f.applied():
		return f.regress("the store is at revision %d, and %d was applied", told, f.applied())
	case f.line.regressed, f.line.reload:
		if err := f.recognise(ctx); err != nil {
			return err
		}
		return f.loadAll(ctx, told)
	case told > f.applied():
		return f.loadChanges(ctx, told)
	}
	return nil
}

// regress remembers that what was applied is gone. Nothing of the store is believed
// from then on, unless recognise finds it again.
func (f *Follower) regress(format string, args ...any) error {
	f.line.regressed = true
	return &problem{wordRegressed, fmt.Errorf(format, args...)}
}

// recognise finds out whether the store's history up to what was applied is the one
// that was applied: the same objects, by the same revisions. A number alone says
// nothing after a failover; it may have been given anew.
func (f *Follower) recognise(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	objects, err := f.config.Policies.LoadAt(ctx, f.applied())
	if err != nil {
		return err
	}
	if !f.line.contents.equal(f.line.contents.of(objects), f.config.Now()) {
		return f.regress("revision %d of the store is not the one that was applied", f.applied())
	}
	f.line.regressed = false
	return nil
}

// loadChanges applies what changed since.
func (f *Follower) loadChanges(ctx context.Context, told broker.Revision) error {
	loading, cancel := context.WithTimeout(ctx, changesTimeout)
	defer cancel()
	changes, to, err := f.config.Policies.Changes(loading, f.applied())
	if err != nil {
		return err
	}
	if to < told {
		return behind(to, told)
	}
	next, findings := f.line.snapshot.Apply(changes, to)
	if err := f.prepare(ctx, to); err != nil {
		return err
	}
	f.line.contents.apply(changes)
	f.take(next, findings)
	return nil
}

// loadAll compiles everything from scratch.
func (f *Follower) loadAll(ctx context.Context, told broker.Revision) error {
	loading, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	objects, at, err := f.config.Policies.Load(loading)
	if err != nil {
		return err
	}
	if at < told {
		return behind(at, told)
	}
	next, findings := policy.Compile(objects, at, f.config.Options)
	if err := f.prepare(ctx, at); err != nil {
		return err
	}
	f.line.contents = f.line.contents.of(objects)
	f.line.reload = false
	f.line.resync = f.config.Boot() + spread(f.config.Resync)
	f.report(func(s *Status) { s.LastResync = f.config.Now() })
	f.take(next, findings)
	return nil
}

// behind is the error of a read that is older than the heartbeat: of a server that
// is not the one which answered it.
func behind(read, told broker.Revision) error {
	return fmt.Errorf("the store answered revision %d to the heartbeat and %d to the load", told, read)
}

func (f *Follower) prepare(ctx context.Context, r broker.Revision) error {
	if f.config.Prepare == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	if err := f.config.Prepare(ctx, r); err != nil {
		return fmt.Errorf("prepare revision %d: %w", r, err)
	}
	return nil
}

// maxFindings bounds what a status holds.
const maxFindings = 100

// take makes a snapshot the one that is served; the lease stays as it is until the
// heartbeat that led here extends it.
func (f *Follower) take(next *policy.Snapshot, findings []policy.Finding) {
	before := 0
	if f.line.snapshot != nil {
		before = f.line.snapshot.Quarantined()
	}
	if now := next.Quarantined(); now != before {
		f.config.Warn("objects of policy cannot be read: they refuse what they concern", "objects", now, "before", before, "revision", int64(next.Revision()))
	}
	f.line.snapshot = next
	f.report(func(s *Status) {
		s.Quarantined = next.Quarantined()
		if len(findings) > 0 || next.Quarantined() == 0 {
			s.Findings = findings[:min(len(findings), maxFindings)]
		}
	})
	f.publish()
}

// resync loads everything for safety: should a change ever have been missed, it
// ends here. If it fails, what is served stays in force, and it is tried again.
func (f *Follower) resync(ctx context.Context) {
	f.line.resync = f.config.Boot() + spread(f.config.Resync/10)
	was, at := f.line.contents, f.applied()
	if err := f.loadAll(ctx, at); err != nil {
		f.config.Warn("policy could not be loaded as a whole", "error", err.Error())
		return
	}
	f.report(func(s *Status) { s.Resyncs++ })
	if f.applied() == at && !was.equal(f.line.contents, f.config.Now()) {
		f.report(func(s *Status) { s.Mismatches++ })
		f.config.Warn("the policy in memory was not that of the store: it has been replaced", "revision", int64(at), "objects", len(f.line.contents.objects), "before", len(was.objects))
	}
}
