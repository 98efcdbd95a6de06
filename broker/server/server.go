package server

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"
)

// Process is what a server is given by the process that runs it.
type Process struct {
	Log     *slog.Logger
	Version string
	// Store, if set, is used instead of the one that the configuration names, and
	// is closed when the server stops.
	Store Store
	// Stamp is the mark that the store must bear: none, for a server that is not
	// for trying things out.
	Stamp string
	// Ready is called once, when every listener is bound. May be nil.
	Ready func(Addresses)
}

// Addresses are where a server listens; "" for a listener that is off.
type Addresses struct{ Mtls, Assertion, Public, Ops string }

// Run serves until ctx ends, then turns unready, lets balancers see it, finishes
// what is under way and closes the store. It lives while its database, its
// issuers or its Workload API are away, and refuses. An error is one of
// configuration, or of a part that could not go on.
func Run(ctx context.Context, c Config, p Process) error {
	if err := c.Faults(); err != nil {
		return err
	}
	s, err := build(ctx, c, p)
	if err != nil {
		return err
	}
	return errors.Join(s.run(ctx), s.store.Close())
}

// run starts everything and stops it in the reverse order: requests first, then
// what they stand on, the record last, so that no request outlives what it needs.
func (s *server) run(ctx context.Context) error {
	for _, l := range s.listeners {
		defer l.net.Close() //nolint:errcheck // Shutdown has closed it; this is for a start that failed
	}
	inner, stopInner := context.WithCancel(context.WithoutCancel(ctx))
	defer stopInner()
	group, failed := errgroup.WithContext(inner)
	last, stopLast := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLast()
	var recorder errgroup.Group
	recorder.Go(func() error { return s.recorder.Run(last) })
	recorder.Go(func() error { return s.access.Run(last) })

	group.Go(func() error { s.identity.Run(inner); return nil })
	group.Go(func() error { s.issuers.Run(inner); return nil })
	group.Go(func() error { return s.follower.Run(inner) })
	group.Go(func() error { return s.maintain(inner) })
	for _, l := range s.listeners {
		group.Go(func() error { return l.serve(s.log) })
	}
	if s.process.Ready != nil {
		s.process.Ready(s.addresses())
	}
	s.log.Info("serving", "issuer", s.config.Issuer, "replica", s.config.Replica, "version", s.process.Version, "addresses", s.addresses())

	select {
	case <-ctx.Done():
		s.drain(failed)
	case <-failed.Done(): // a part ended by itself: the others must not go on
	}
	var stops errgroup.Group
	for _, l := range s.listeners {
		stops.Go(func() error { return l.stop(context.WithoutCancel(ctx)) })
	}
	err := stops.Wait()
	stopInner()
	err = errors.Join(err, group.Wait())
	stopLast()
	err = errors.Join(err, recorder.Wait())
	s.log.Info("stopped", "error", err)
	return err
}

// drain turns unready and waits until whoever sends requests has seen it.
func (s *server) drain(failed context.Context) {
	s.draining.Store(true)
	s.log.Info("draining", "for", s.config.Drain)
	timer := time.NewTimer(s.config.Drain)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-failed.Done():
	}
}

// maintain keeps the key ring going: first keys for algorithms that resources
// ask for, and rotation. Several replicas may do so at once.
func (s *server) maintain(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-s.policyMoved:
		}
		if err := s.tendKeys(ctx); err != nil && ctx.Err() == nil {
			s.log.Warn("the key ring was not tended", "error", err)
		}
		timer.Reset(tendInterval(s.follower.Status().Revision > 0 && s.keysReady(s.now()) == nil))
	}
}

// tendInterval returns how long to wait until keys are looked at again: often
// while there are none, with a random part so that replicas do not keep step.
func tendInterval(ready bool) time.Duration {
	var b [1]byte
	_, _ = rand.Read(b[:]) // it never fails
	if !ready {
		return time.Second + time.Duration(b[0])*time.Millisecond
	}
	return 30*time.Second + time.Duration(b[0])*40*time.Millisecond
}

func (s *server) tendKeys(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := s.ring.EnsureSealer(ctx); err != nil {
		return fmt.Errorf("facts key: %w", err)
	}
	for _, algorithm := range s.algorithms() {
		if err := s.ring.Ensure(ctx, algorithm); err != nil {
			return fmt.Errorf("key for %s: %w", algorithm, err)
		}
	}
	return s.ring.Tick(ctx)
}
