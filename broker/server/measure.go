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
	m.Counter("policy_heartbeats_total", "Heartbeats that the store answered.", func() float64 { return float64(s.follower.Status().Beats) })
	m.Counter("policy_failures_total", "Steps of following the policy that failed.", func() float64 { return float64(s.follower.Status().Failures) })
	m.Counter("policy_mismatches_total", "Loads of the whole policy that did not find what was there; any is a fault to report.", func() float64 { return float64(s.follower.Status().Mismatches) })
	m.Gauge("store_clock_offset_seconds", "How far the store's clock is ahead of ours.", func() float64 { return s.follower.Status().ClockOffset.Seconds() })
	m.Gauge("issuers_unusable", "Issuers of the policy whose keys are missing or too old.", func() float64 {
		unusable := 0
		for _, issuer := range s.issuers.Status(s.now()) {
			if !issuer.Usable {
				unusable++
			}
		}
		return float64(unusable)
	})
	m.Gauge("identity_svid_left_seconds", "What is left of the life of our own SVID; 0 without one.", func() float64 {
		svid, err := s.identity.GetX509SVID()
		if err != nil {
			return 0
		}
		return svid.Certificates[0].NotAfter.Sub(s.now()).Seconds()
	})
	m.Counter("record_failures_total", "Commits of records that failed or whose outcome is unknown.", func() float64 { return float64(s.recorder.Status().Failures) })
	m.Counter("records_merged_total", "Refusals that were merged into one record with others.", func() float64 { return float64(s.recorder.Status().Merged) })
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
