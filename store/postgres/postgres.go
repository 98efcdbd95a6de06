// Package postgres keeps everything in PostgreSQL, 15 or newer: the store of a
// fleet. Six pools keep the heartbeat, the policy in force, the record,
// revocations, administration and reports from starving one another.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"github.com/cambist/cambist/migrations"
	"github.com/cambist/cambist/store/sqlstore"
)

// Times of threats 3.0. Loading and migrating have their own.
const (
	connectTimeout = time.Second
	hotTimeout     = 1500 * time.Millisecond // a statement of heartbeat or record
	slowTimeout    = 30 * time.Second        // a statement of administration or report
	longTimeout    = 2 * time.Minute         // a whole operation, such as a large write of policy
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
	config                                                Config
	heartbeat, policy, audit, revocations, admin, reports *pool

	hosts   []*pgconn.Config // each host of the DSN, if there are several
	fence   fence
	buffers sync.Pool // of *arrays

	mu     sync.Mutex // guards misses and closed
	misses int
	closed bool
	wait   sync.WaitGroup // for probes and for pools that close behind

	life    context.Context // ends with Close
	end     context.CancelFunc
	hearing hearing
}

// Open prepares the pools. It does not connect: a server that starts while its
// database is away lives and waits. Check says whether the database will do.
func Open(ctx context.Context, c Config) (*Store, error) {
	s := &Store{config: c, hearing: newHearing()}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	s.buffers.New = func() any { return new(arrays) }
	for _, p := range []struct {
		to      **pool
		name    string
		size    int32
		timeout time.Duration
	}{
		{&s.heartbeat, "heartbeat", 1, hotTimeout}, {&s.policy, "policy", 2, slowTimeout}, {&s.audit, "audit", 2, hotTimeout},
		{&s.revocations, "revocation", 2, hotTimeout},
		{&s.admin, "admin", 8, slowTimeout}, {&s.reports, "report", 2, slowTimeout},
	} {
		made, err := s.newPool(ctx, p.name, p.size, p.timeout)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		*p.to = made
	}
	s.hosts = s.heartbeat.hosts()
	s.Writer, s.Revoker, s.Reader, s.Report = s.admin.db, s.revocations.db, s.policy.db, s.reports.db
	s.Limit = longTimeout
	s.Classify, s.Refused = s.classify, refused
	s.Changed = notify
	s.Snapshot = &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}
	return s, nil
}

func (s *Store) pools() []*pool {
	return []*pool{s.heartbeat, s.policy, s.audit, s.revocations, s.admin, s.reports}
}

// Check refuses a server that is too old or does not sync, and a schema that is
// not this program's.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*hotTimeout)
	defer cancel()
	var version int
	var fsync, synchronous string
	err := s.policy.pool().QueryRow(ctx, `SELECT current_setting('server_version_num')::int, current_setting('fsync'), current_setting('synchronous_commit')`).
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
	return sqlstore.CheckSchema(ctx, s.policy.db(), files)
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
	config := s.admin.config.ConnConfig.Copy()
	config.RuntimeParams["statement_timeout"] = "0" // an index takes as long as it takes
	config.ConnectTimeout = slowTimeout
	db := stdlib.OpenDB(*config, stdlib.OptionAfterConnect(becomeOwner))
	applied, err := sqlstore.Migrate(ctx, goose.DialectPostgres, db, files, goose.WithSessionLocker(locker))
	return applied, errors.Join(err, db.Close())
}

// becomeOwner makes what is created belong to the owner, whoever runs the
// migration. The first one makes the owner, and cannot be run by it.
func becomeOwner(ctx context.Context, conn *pgx.Conn) error {
	var can bool
	err := conn.QueryRow(ctx, `SELECT coalesce((SELECT has_schema_privilege(oid, current_schema(), 'CREATE') AND pg_has_role(current_user, oid, 'MEMBER')
		FROM pg_roles WHERE rolname = '`+owner+`'), false)`).Scan(&can)
	if err != nil || !can {
		return err
	}
	_, err = conn.Exec(ctx, `SET ROLE `+owner)
	return err
}

// Close ends whoever waits for a notification and closes every pool.
func (s *Store) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	for _, p := range s.pools() {
		if p != nil {
			p.close()
		}
	}
	s.wait.Wait()
	s.hearing.turn <- struct{}{} // nobody has it for long any more
	defer func() { <-s.hearing.turn }()
	if s.hearing.conn != nil {
		s.deafen(context.Background())
	}
	return nil
}

// fence is what the store knows of who is the primary: the largest timeline that
// any server has shown, and the one cluster that is ours.
type fence struct {
	timeline atomic.Int64
	system   atomic.Int64 // 0 before the first connection
	other    atomic.Bool  // another primary was found beside the one that answered
	probed   atomic.Bool  // a probe is under way
}
