package server

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/fleet"
	"github.com/cambist/cambist/broker/keys"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
	"github.com/cambist/cambist/broker/subject/oidc"
	"github.com/cambist/cambist/broker/telemetry"
	"github.com/cambist/cambist/broker/tokenapi"
	"github.com/cambist/cambist/broker/web"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/postgres"
	"github.com/cambist/cambist/store/sqlite"
)

// server is every part of a running server, put together by build.
type server struct {
	config  Config
	process Process
	log     *slog.Logger
	now     func() time.Time

	store     Store
	identity  *identity
	jwtSVIDs  *jwtsvid.Source
	ring      *keys.Ring
	follower  *fleet.Follower
	recorder  *audit.Recorder
	issuers   *oidc.Keys
	proofs    *dpop.Verifier
	metrics   *telemetry.Metrics
	access    *web.AccessLog
	quota     *web.Quota // one for all listeners: it is the workload's
	listeners []*listener

	policyMoved chan struct{}
	draining    atomic.Bool
}

// Store is what a server keeps its state in.
type Store interface {
	store.Store
	Migrate(ctx context.Context) (applied []string, err error)
}

// OpenStore opens a store by its DSN. It does not wait for a database that is
// away, and asks for no schema.
func OpenStore(ctx context.Context, dsn string) (Store, error) {
	if strings.HasPrefix(dsn, "sqlite:") {
		path, err := sqlite.PathOf(dsn)
		if err != nil {
			return nil, err
		}
		return sqlite.Open(ctx, sqlite.Config{Path: path})
	}
	return postgres.Open(ctx, postgres.Config{DSN: dsn})
}

// build puts a server together, from the bottom up. Nothing runs yet but the
// listeners are bound, so that what cannot be had is known before anything
// begins.
func build(ctx context.Context, c Config, p Process) (*server, error) {
	s := &server{config: c, process: p, log: p.Log, now: time.Now, metrics: telemetry.New(p.Version), policyMoved: make(chan struct{}, 1)}
	var err error
	if s.store = p.Store; s.store == nil {
		if s.store, err = OpenStore(ctx, c.Store); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(context.Context) error{s.checkStore, s.newIdentity, s.newKeys, s.newPolicy, s.newRecord, s.newIssuers, s.newListeners} {
		if err := step(ctx); err != nil {
			for _, l := range s.listeners {
				err = errors.Join(err, l.net.Close())
			}
			return nil, errors.Join(err, s.store.Close())
		}
	}
	s.measure()
	return s, nil
}

// checkStore refuses a store that will not do. One that is away will be asked
// again, by whoever needs it.
func (s *server) checkStore(ctx context.Context) error {
	err := s.store.Check(ctx)
	var coded *broker.Error
	if errors.As(err, &coded) && coded.Code == broker.CodeUnavailable {
		s.log.Warn("the store is away; the server lives, refuses, and waits for it", "error", err)
		return nil
	}
	if err != nil {
		return err
	}
	stamp, err := s.store.Stamp(ctx)
	if err == nil && stamp != s.process.Stamp {
		err = fmt.Errorf("the store is marked %q and is not for serving; make another with: cambist migrate --store DSN", stamp)
	}
	return err
}

func (s *server) newIdentity(context.Context) error {
	i := s.config.Identity
	var err error
	s.identity, err = newIdentity(identitySource{
		WorkloadAPI: i.WorkloadAPI, Cert: i.Cert, Key: i.Key, Bundles: i.Bundles, JWTBundles: i.JWTBundles, Interval: i.Interval, Now: s.now, Log: s.log,
	})
	if err != nil {
		return err
	}
	s.jwtSVIDs, err = jwtsvid.New(s.config.Issuer, s.identity.Keys())
	return err
}

func (s *server) newKeys(context.Context) error {
	kek, err := keys.ReadKEK(s.config.Keys.KekFile)
	if err != nil {
		return err
	}
	s.ring = keys.New(keys.Config{
		Store: s.store, KEK: kek, Now: s.now, PublishLead: s.config.Keys.PublishLead, RotateEvery: s.config.Keys.RotateEvery,
		TTLCap: s.config.Limits.TTLCap, MaxAge: tokenapi.JWKSMaxAge,
	})
	return s.newProofs(kek)
}

// newProofs makes what reads DPoP proofs. Nonces are made under a key that every
// replica has.
func (s *server) newProofs(kek keys.KEK) error {
	limit := s.config.DPoP.Proofs
	if limit == 0 {
		limit = dpop.DefaultReplays
	}
	var nonces *dpop.Nonces
	if s.config.DPoP.Nonce {
		key, err := kek.Derive("dpop nonce")
		if err != nil {
			return err
		}
		if nonces, err = dpop.NewNonces(key); err != nil {
			return err
		}
	}
	s.proofs = dpop.New(dpop.NewReplays(limit), nonces)
	return nil
}

func (s *server) policyOptions() policy.Options {
	return policy.Options{Issuer: s.config.Issuer, OwnAudiences: s.config.OwnAudiences, Now: s.now}
}

// snapshot returns the policy in force, nil before there is one.
func (s *server) snapshot() *policy.Snapshot {
	view, _ := s.follower.Current()
	snapshot, _ := view.(*policy.Snapshot)
	return snapshot
}

// algorithms returns those that keys are needed for: the default, and what
// resources ask for.
func (s *server) algorithms() []string {
	list := []string{"ES256"}
	if snapshot := s.snapshot(); snapshot != nil {
		list = append(list, snapshot.Algorithms()...)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

func (s *server) newIssuers(context.Context) error {
	fetch := oidc.FetchConfig{PrivateHosts: s.config.Outbound.PrivateHosts}
	if file := s.config.Outbound.CAFile; file != "" {
		pem, err := os.ReadFile(file) //nolint:gosec // the operator names the path
		if err != nil {
			return fmt.Errorf("outbound.ca_file: %w", err)
		}
		if fetch.Roots, err = x509.SystemCertPool(); err != nil {
			fetch.Roots = x509.NewCertPool()
		}
		if !fetch.Roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("outbound.ca_file: %s holds no certificate", file)
		}
	}
	var clusters []*broker.Issuer
	for _, c := range s.config.clusters() {
		clusters = append(clusters, c.Issuer)
	}
	s.issuers = oidc.NewKeys(oidc.Config{
		Issuers: func() []*broker.Issuer {
			if snapshot := s.snapshot(); snapshot != nil {
				return append(snapshot.Issuers(), clusters...)
			}
			return clusters
		},
		Fetch: oidc.NewFetcher(fetch).Fetch, Now: s.now,
	})
	return nil
}

// newPolicy prepares the follower of the policy. Keys move the same revision, so
// they are read before a revision is believed.
func (s *server) newPolicy(context.Context) error {
	s.follower = fleet.New(fleet.Config{
		Policies: s.store, Replicas: s.store, ID: s.config.Replica, Version: s.process.Version, Options: s.policyOptions(), Now: s.now, Boot: boot,
		Prepare: func(ctx context.Context, _ broker.Revision) error {
			select {
			case s.policyMoved <- struct{}{}:
			default:
			}
			return s.ring.Refresh(ctx)
		},
		Warn: s.log.Warn,
	})
	return nil
}

func (s *server) newRecord(context.Context) error {
	s.recorder = audit.New(audit.Config{
		Records: s.store, Sealer: s.ring, Replica: s.config.Replica, Version: s.process.Version, Limits: s.limits(), Now: s.now, NewID: broker.NewID, Warn: s.log.Warn,
	})
	return nil
}

func (s *server) limits() broker.Limits {
	return broker.Limits{TTLCap: s.config.Limits.TTLCap, ChainDepth: s.config.Limits.ChainDepth}
}

// Migrate creates or upgrades the schema of a store, and says what it applied.
func Migrate(ctx context.Context, dsn string) (applied []string, err error) {
	opened, err := OpenStore(ctx, dsn)
	if err != nil {
		return nil, err
	}
	applied, err = opened.Migrate(ctx)
	return applied, errors.Join(err, opened.Close())
}
