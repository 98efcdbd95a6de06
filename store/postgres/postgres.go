// Package postgres keeps everything in PostgreSQL, 15 or newer: the store of a
// fleet. Four pools keep the heartbeat, the record, administration and reports
// from starving one another.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/migrations"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/sqlstore"
)

// Times of threats 3.0. Loading and migrating have their own.
const (
	connectTimeout = time.Second
	hotTimeout     = 1500 * time.Millisecond // a statement of heartbeat or record
	slowTimeout    = 30 * time.Second        // a statement of administration or report
	appendTimeout  = 500 * time.Millisecond
	deadlines      = 3 // in a row before the pools are swapped
)

// Config says where the database is.
type Config struct {
	DSN string
	// AllowNoFsync accepts a database that may lose what it acknowledged. For
	// tests.
	AllowNoFsync bool
}

// Store is a PostgreSQL database.
type Store struct {
	sqlstore.Store
	config                           Config
	heartbeat, audit, admin, reports *pool

	mu     sync.Mutex // guards misses
	misses int

	listenMu sync.Mutex // held by the one caller of Wait
	listener *pgx.Conn
}

// Open prepares the pools. It does not connect: a server that starts while its
// database is away lives and waits. Check says whether the database will do.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{config: c}
	var err error
	for _, p := range []struct {
		to      **pool
		name    string
		size    int32
		timeout time.Duration
	}{
		{&s.heartbeat, "heartbeat", 1, hotTimeout}, {&s.audit, "audit", 2, hotTimeout},
		{&s.admin, "admin", 8, slowTimeout}, {&s.reports, "report", 2, slowTimeout},
	} {
		if *p.to, err = newPool(ctx, c.DSN, p.name, p.size, p.timeout); err != nil {
			return nil, errors.Join(err, s.Close())
		}
	}
	s.Writer = s.admin.db
	s.Reader = s.admin.db
	s.Report = s.reports.db
	s.Classify = s.classify
	s.Changed = notify
	s.Snapshot = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	return s, nil
}

const channel = "cambist_policy"

func notify(ctx context.Context, tx *sql.Tx, revision broker.Revision) error {
	_, err := tx.ExecContext(ctx, `SELECT pg_notify($1, $2)`, channel, fmt.Sprint(int64(revision)))
	return err
}

// Check refuses a server that is too old or does not sync, and a schema that is
// not this program's.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*hotTimeout)
	defer cancel()
	var version int
	var fsync, synchronous string
	err := s.admin.pool().QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('synchronous_commit')`).
		Scan(&version, &fsync, &synchronous)
	switch {
	case err != nil:
		return s.classify(err)
	case version < 150000:
		return fmt.Errorf("PostgreSQL %d is too old: 15 or newer is needed", version/10000)
	case fsync != "on" && !s.config.AllowNoFsync:
		return errors.New("the database runs with fsync off and may lose what it acknowledged; set fsync = on")
	case synchronous == "off" || synchronous == "local":
		return fmt.Errorf("synchronous_commit is %q for this role; it must be on", synchronous)
	}
	files, err := fs.Sub(migrations.Postgres, "postgres")
	if err != nil {
		return err
	}
	return sqlstore.CheckSchema(ctx, s.admin.db(), files)
}

// Migrate creates or upgrades the schema and returns the files it applied. Two
// that run at once wait for one another.
func (s *Store) Migrate(ctx context.Context) ([]string, error) {
	files, err := fs.Sub(migrations.Postgres, "postgres")
	if err != nil {
		return nil, err
	}
	locker, err := lock.NewPostgresSessionLocker()
	if err != nil {
		return nil, err
	}
	return sqlstore.Migrate(ctx, goose.DialectPostgres, s.admin.db(), files, goose.WithSessionLocker(locker))
}

// AppendRecords commits the rows by one statement on a connection of their own.
func (s *Store) AppendRecords(ctx context.Context, rows []store.RecordRow) error {
	const text = `INSERT INTO records (at, replica, segment, seq, id, workload, resource, outcome, body, facts, prev, hash)
		SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[])`
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	n := len(rows)
	at, seq := make([]int64, n), make([]int64, n)
	replica, segment, id, workload, resource, outcome := make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	body, facts, prev, hash := make([][]byte, n), make([][]byte, n), make([][]byte, n), make([][]byte, n)
	for i := range rows {
		r := &rows[i]
		at[i], replica[i], segment[i], seq[i], id[i], workload[i] = r.At.UnixMicro(), r.Replica, r.Segment, r.Seq, r.ID, r.Workload
		resource[i], outcome[i], body[i], facts[i], prev[i], hash[i] = r.Resource, r.Outcome, r.Body, r.Facts, r.Prev, r.Hash
	}
	_, err := s.audit.pool().Exec(ctx, text, at, replica, segment, seq, id, workload, resource, outcome, body, facts, prev, hash)
	if err == nil {
		s.succeeded()
		return nil
	}
	if unknownOutcome(err) {
		return fmt.Errorf("append records: %w: %w", store.ErrUnknownOutcome, s.classify(err))
	}
	return fmt.Errorf("append records: %w", s.classify(err))
}

// Heartbeat writes the replica's row on the primary and returns the revision
// that the very statement saw. A standby cannot write, so it cannot answer.
func (s *Store) Heartbeat(ctx context.Context, r store.Replica) (store.Beat, error) {
	const text = `INSERT INTO replicas (id, version, started_at, seen_at, applied) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version, started_at = excluded.started_at, seen_at = excluded.seen_at, applied = excluded.applied
		RETURNING (SELECT revision FROM policy_version), ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int::bigint,
			(extract(epoch FROM clock_timestamp()) * 1000000)::bigint`
	ctx, cancel := context.WithTimeout(ctx, hotTimeout)
	defer cancel()
	var b store.Beat
	var now int64
	err := s.heartbeat.pool().QueryRow(ctx, text, r.ID, r.Version, r.StartedAt.UnixMicro(), r.SeenAt.UnixMicro(), int64(r.Applied)).Scan(&b.Revision, &b.Timeline, &now)
	if err != nil {
		return store.Beat{}, fmt.Errorf("heartbeat: %w", s.classify(err))
	}
	s.succeeded()
	b.Now = time.UnixMicro(now).UTC()
	return b, nil
}

// Wait returns at the next notification. It keeps one connection of its own,
// and makes a new one after a failure.
func (s *Store) Wait(ctx context.Context) error {
	s.listenMu.Lock()
	defer s.listenMu.Unlock()
	if s.listener == nil {
		conn, err := pgx.ConnectConfig(ctx, s.admin.config.ConnConfig.Copy())
		if err != nil {
			return s.classify(err)
		}
		if _, err := conn.Exec(ctx, "LISTEN "+channel); err != nil {
			return errors.Join(s.classify(err), conn.Close(context.WithoutCancel(ctx)))
		}
		s.listener = conn
	}
	if _, err := s.listener.WaitForNotification(ctx); err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectTimeout)
		defer cancel()
		_ = s.listener.Close(closing) // it is of no more use
		s.listener = nil
		return s.classify(err)
	}
	return nil
}

// EnsurePartitions makes the daily partitions of the record from today up to
// that day. Only the owner may; the default partition takes what has none.
func (s *Store) EnsurePartitions(ctx context.Context, upTo time.Time) error {
	var now int64
	if err := s.admin.pool().QueryRow(ctx, `SELECT (extract(epoch FROM now()) * 1000000)::bigint`).Scan(&now); err != nil {
		return s.classify(err)
	}
	for day := time.UnixMicro(now).UTC().Truncate(24 * time.Hour); day.Before(upTo); day = day.Add(24 * time.Hour) {
		name := pgx.Identifier{"records_" + day.Format("20060102")}.Sanitize()
		text := fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s PARTITION OF records FOR VALUES FROM (%d) TO (%d)`, name, day.UnixMicro(), day.Add(24*time.Hour).UnixMicro())
		if _, err := s.admin.pool().Exec(ctx, text); err != nil {
			return fmt.Errorf("partition %s: %w", name, s.classify(err))
		}
	}
	return nil
}

// Close closes every pool.
func (s *Store) Close() error {
	for _, p := range []*pool{s.heartbeat, s.audit, s.admin, s.reports} {
		if p != nil {
			p.close()
		}
	}
	s.listenMu.Lock()
	defer s.listenMu.Unlock()
	if s.listener != nil {
		ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
		defer cancel()
		return s.listener.Close(ctx)
	}
	return nil
}
