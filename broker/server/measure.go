package server

import (
	"errors"
	"fmt"
	"time"

	"github.com/cambist/cambist/broker"
)

var (
	errDraining = errors.New("the server is stopping")
	errPolicy   = errors.New("no policy has been loaded yet")
	errLease    = errors.New("the policy could not be confirmed for too long; the database does not answer, or not as it should")
	errKeys     = errors.New("there is no active signing key of an algorithm that the policy needs")
)

// readiness is what must hold for requests to be sent here, each in words that
// say what is missing.
func (s *server) readiness() []readiness {
	return []readiness{
		{"running", func(time.Time) error {
			if s.draining.Load() {
				return errDraining
			}
			return nil
		}},
		{"identity", s.identity.Ready},
		{"policy", s.policyReady},
		{"keys", s.keysReady},
	}
}

func (s *server) policyReady(time.Time) error {
	status := s.follower.Status()
	switch {
	case status.Ready():
		return nil
	case status.Revision == 0:
		return because(errPolicy, status.Problem)
	}
	return because(errLease, status.Problem)
}

// because adds the cause, where one is known.
func because(err error, cause string) error {
	if cause == "" {
		return err
	}
	return fmt.Errorf("%w (%s)", err, cause)
}

// keysReady asks for a key of every algorithm that the policy needs: a resource
// whose tokens nobody can sign is a part of the service that is not there.
func (s *server) keysReady(time.Time) error {
	for _, algorithm := range s.algorithms() {
		if _, err := s.ring.Signer(algorithm); err == nil {
			continue
		}
		_, bad := s.ring.Status()
		if err := errors.Join(bad...); err != nil {
			return because(fmt.Errorf("%w: %s", errKeys, algorithm), err.Error())
		}
		return fmt.Errorf("%w: %s", errKeys, algorithm)
	}
	return nil
}

// measure registers what is read when somebody asks.
func (s *server) measure() {
	m := s.metrics
	m.Gauge("policy_revision", "Revision of the policy that is served.", func() float64 { return float64(s.follower.Status().Revision) })
	m.Gauge("policy_lease_left_seconds", "What is left of the lease of normal freshness; at 0 or below every request is refused.", func() float64 {
		_, lease := s.follower.Current()
		return lease.Left(broker.FreshnessNormal).Seconds()
	})
	m.Gauge("policy_mappings", "Mappings in the policy.", func() float64 {
		if snapshot := s.snapshot(); snapshot != nil {
			return float64(snapshot.Mappings())
		}
		return 0
	})
	m.Gauge("policy_quarantined", "Policy objects that cannot be read and therefore refuse.", func() float64 {
		if snapshot := s.snapshot(); snapshot != nil {
			return float64(snapshot.Quarantined())
		}
		return 0
	})
	m.Gauge("records_waiting", "Records that wait to be committed.", func() float64 { return float64(s.recorder.Status().Waiting) })
	m.Counter("records_lost_total", "Refusals that could not be recorded. Issued tokens are never among them.", func() float64 { return float64(s.recorder.Status().Lost) })
	m.Counter("access_log_dropped_total", "Access log lines that were lost.", func() float64 { return float64(s.access.Dropped()) })
	m.Gauge("ready", "1 if the server is ready.", func() float64 {
		for _, c := range s.readiness() {
			if c.check(s.now()) != nil {
				return 0
			}
		}
		return 1
	})
}
