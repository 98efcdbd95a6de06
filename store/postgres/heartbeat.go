package postgres

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// timelineText is the timeline that a primary writes on. A promotion begins a new,
// larger one, so of two servers that call themselves primary the larger is right.
const timelineText = `('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::bigint`

// Heartbeat writes the replica's row on the primary and returns the revision
// that the very statement saw. A standby cannot write, so it cannot answer.
func (s *Store) Heartbeat(ctx context.Context, r store.Replica) (store.Beat, error) {
	const text = `INSERT INTO replicas (id, version, started_at, seen_at, applied) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version, started_at = excluded.started_at, seen_at = excluded.seen_at, applied = excluded.applied
		RETURNING (SELECT revision FROM policy_version), ` + timelineText + `, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	if s.fence.other.Swap(false) {
		return store.Beat{}, fmt.Errorf("heartbeat: %w", broker.Unavailable("", time.Second, store.ErrOtherPrimary))
	}
	s.probe()
	ctx, cancel := context.WithTimeout(ctx, hotTimeout)
	defer cancel()
	var b store.Beat
	var now int64
	err := s.heartbeat.pool().QueryRow(ctx, text, r.ID, r.Version, r.StartedAt.UnixMicro(), r.SeenAt.UnixMicro(), int64(r.Applied)).Scan(&b.Revision, &b.Timeline, &now)
	if err == nil {
		err = s.fence.admit(b.Timeline)
	}
	if err != nil {
		return store.Beat{}, fmt.Errorf("heartbeat: %w", s.hot(err))
	}
	s.succeeded()
	b.Now = time.UnixMicro(now).UTC()
	return b, nil
}

var (
	errOldTimeline = errors.New("the server writes an older timeline than another that was seen: it is not the primary any more")
	errOtherSystem = errors.New("the server belongs to another cluster than the one that this process began with")
)

// admit remembers a timeline, and refuses one that is smaller than any before.
func (f *fence) admit(timeline int64) error {
	for {
		known := f.timeline.Load()
		if timeline < known {
			return broker.Unavailable("", time.Second, errOldTimeline)
		}
		if f.timeline.CompareAndSwap(known, timeline) {
			return nil
		}
	}
}

// validate is run on every new connection, so that no pool ever talks to a standby,
// to a server that was demoted and does not know it yet, or to another database
// altogether.
func (f *fence) validate(ctx context.Context, conn *pgconn.PgConn) error {
	system, timeline, err := identify(ctx, conn)
	if err != nil {
		return err
	}
	if !f.system.CompareAndSwap(0, system) && f.system.Load() != system {
		return errOtherSystem
	}
	return f.admit(timeline)
}

// identify asks a server who it is; pgconn.ErrReadOnlyConnection if it takes no
// writes.
func identify(ctx context.Context, conn *pgconn.PgConn) (system, timeline int64, err error) {
	// A standby has no current position, and must not be asked for one.
	const text = `SELECT system_identifier, CASE WHEN current_setting('transaction_read_only') = 'on' OR pg_is_in_recovery() THEN 0 ELSE ` + timelineText + ` END FROM pg_control_system()`
	results, err := conn.Exec(ctx, text).ReadAll()
	if err != nil {
		return 0, 0, err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 || len(results[0].Rows[0]) != 2 {
		return 0, 0, errors.New("internal error: the server did not say who it is")
	}
	row := results[0].Rows[0]
	if system, err = strconv.ParseInt(string(row[0]), 10, 64); err != nil {
		return 0, 0, err
	}
	if timeline, err = strconv.ParseInt(string(row[1]), 10, 64); err == nil && timeline == 0 {
		err = pgconn.ErrReadOnlyConnection
	}
	return system, timeline, err
}

// probe asks, beside the heartbeat, every other host of the DSN whether it is a
// primary of a larger timeline. That tells a primary which was replaced while it
// could not hear of it: it still answers, and what it confirms does not hold.
func (s *Store) probe() {
	if len(s.hosts) == 0 || !s.fence.probed.CompareAndSwap(false, true) {
		return
	}
	s.behind(func() {
		defer s.fence.probed.Store(false)
		ctx, cancel := context.WithTimeout(s.life, connectTimeout)
		defer cancel()
		var asked sync.WaitGroup
		for _, host := range s.hosts { // at once: one that is frozen takes all the time there is
			asked.Go(func() { s.probeHost(ctx, host) })
		}
		asked.Wait()
	})
}

func (s *Store) probeHost(ctx context.Context, host *pgconn.Config) {
	conn, err := pgconn.ConnectConfig(ctx, host)
	if err != nil {
		return // away, or a standby
	}
	defer func() { _ = conn.Close(ctx) }()
	system, timeline, err := identify(ctx, conn)
	if err != nil || system != s.fence.system.Load() {
		return
	}
	if timeline <= s.fence.timeline.Load() || s.fence.admit(timeline) != nil {
		return
	}
	s.fence.other.Store(true)
	s.reset()
}
