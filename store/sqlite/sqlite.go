// Package sqlite keeps everything in one SQLite file: the store of one node and
// the default for trying things out. A commit is on disk when it returns.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/pressly/goose/v3"
	"golang.org/x/sys/unix"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/migrations"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/sqlstore"
)

// Config says where the file is.
type Config struct {
	Path string
	// NoSync leaves commits to the operating system. For tests: what was
	// acknowledged may be lost on a crash.
	NoSync bool
}

// Store is a SQLite file, opened by this process alone.
type Store struct {
	sqlstore.Store
	writer, readers *sql.DB
	lock            *os.File

	mu     sync.Mutex
	change chan struct{} // closed when the policy moves
}

// heartbeatTimeout is how long a heartbeat waits for the one writer.
const heartbeatTimeout = 1500 * time.Millisecond

// leastVersion is the first SQLite without the WAL-reset race of early 2026.
const leastVersion = "3.51.3"

// Open opens or creates the file and locks it against other processes. The
// folder must exist.
func Open(ctx context.Context, c Config) (*Store, error) {
	lock, err := lockFile(c.Path + ".lock")
	if err != nil {
		return nil, err
	}
	s := &Store{lock: lock, change: make(chan struct{})}
	s.Writer = func() *sql.DB { return s.writer }
	s.Revoker = s.Writer
	s.Reader = func() *sql.DB { return s.readers }
	s.Report = s.Reader
	s.Limit = time.Minute
	s.Classify, s.Refused = classify, refused
	s.Committed = s.announce
	if err := s.open(ctx, c); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", c.Path, err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context, c Config) error {
	file, err := os.OpenFile(c.Path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	sync := "FULL"
	if c.NoSync {
		sync = "OFF"
	}
	dsn := "file:" + (&url.URL{Path: c.Path}).EscapedPath() + "?_pragma=busy_timeout(1500)&_pragma=journal_mode(WAL)&_pragma=foreign_keys(1)&_pragma=synchronous(" + sync + ")"
	if s.writer, err = sql.Open("sqlite", dsn+"&_txlock=immediate"); err != nil {
		return err
	}
	// One writer: SQLite has one anyway, and waiting in Go is fair and has a deadline.
	s.writer.SetMaxOpenConns(1)
	if s.readers, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"); err != nil {
		return err
	}
	s.readers.SetMaxOpenConns(4)
	var version string
	if err := s.writer.QueryRowContext(ctx, `SELECT sqlite_version()`).Scan(&version); err != nil {
		return err
	}
	if older(version, leastVersion) {
		return fmt.Errorf("SQLite %s is older than %s, which lost data", version, leastVersion)
	}
	return nil
}

// older compares dotted versions by number.
func older(have, least string) bool {
	var a, b [3]int
	_, _ = fmt.Sscanf(have, "%d.%d.%d", &a[0], &a[1], &a[2])
	_, _ = fmt.Sscanf(least, "%d.%d.%d", &b[0], &b[1], &b[2])
	for i := range a {
		if a[i] != b[i] {
			return a[i] < b[i]
		}
	}
	return false
}

// lockFile holds the file for the life of the process; a second process is told
// which one has it.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the operator names the path
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		held, _ := os.ReadFile(path) //nolint:gosec // the same file
		_ = f.Close()
		return nil, fmt.Errorf("%s is in use by process %s: SQLite serves one process; stop that one, or use PostgreSQL", path, strings.TrimSpace(string(held)))
	}
	if err := f.Truncate(0); err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
		if err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

// Migrate creates or upgrades the schema and returns the files it applied.
func (s *Store) Migrate(ctx context.Context) ([]string, error) {
	files, err := fs.Sub(migrations.SQLite, "sqlite")
	if err != nil {
		return nil, err
	}
	return sqlstore.Migrate(ctx, goose.DialectSQLite3, s.writer, files)
}

// Check refuses a schema that is not this program's.
func (s *Store) Check(ctx context.Context) error {
	files, err := fs.Sub(migrations.SQLite, "sqlite")
	if err != nil {
		return err
	}
	return sqlstore.CheckSchema(ctx, s.readers, files)
}

// Heartbeat writes the replica's row and reads the revision in one transaction.
func (s *Store) Heartbeat(ctx context.Context, r store.Replica) (store.Beat, error) {
	const upsert = `INSERT INTO replicas (id, version, started_at, seen_at, applied) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version, started_at = excluded.started_at, seen_at = excluded.seen_at, applied = excluded.applied
		RETURNING (SELECT revision FROM policy_version), CAST(unixepoch('subsec') * 1000000 AS integer)`
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	var b store.Beat
	var now int64
	err := s.writer.QueryRowContext(ctx, upsert, r.ID, r.Version, r.StartedAt.UnixMicro(), r.SeenAt.UnixMicro(), int64(r.Applied)).Scan(&b.Revision, &now)
	if err != nil {
		return store.Beat{}, fmt.Errorf("heartbeat: %w", classify(err))
	}
	b.Now = time.UnixMicro(now).UTC()
	return b, nil
}

// announce wakes everybody in Wait.
func (s *Store) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.change)
	s.change = make(chan struct{})
}

// Wait returns at the next policy write of this process.
func (s *Store) Wait(ctx context.Context) error {
	s.mu.Lock()
	change := s.change
	s.mu.Unlock()
	select {
	case <-change:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// EnsurePartitions does nothing: SQLite has none.
func (s *Store) EnsurePartitions(context.Context, time.Time) error { return nil }

// Close closes the file and gives up the lock.
func (s *Store) Close() error {
	var errs []error
	for _, db := range []*sql.DB{s.readers, s.writer} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	// Closing alone would leave the lock to a child that was forked meanwhile and
	// has not come to its exec yet.
	errs = append(errs, unix.Flock(int(s.lock.Fd()), unix.LOCK_UN), s.lock.Close())
	return errors.Join(errs...)
}

// classify gives an error of the driver its code.
func classify(err error) error {
	var coded *broker.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return broker.Unavailable("", time.Second, err)
	}
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return err
	}
	switch e.Code() & 0xff {
	case sqlite3.SQLITE_CONSTRAINT:
		if e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY {
			return &broker.Error{Code: broker.CodeConflict, Public: "it exists already", Err: err}
		}
		return &broker.Error{Code: broker.CodeInvalidRequest, Public: "the store does not accept the value", Err: err}
	case sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN:
		return broker.Unavailable("", time.Second, err)
	}
	return err
}

// refused reports whether a commit was answered with a no: another held the file,
// or a constraint did not hold. After an error of the disk nobody knows.
func refused(err error) bool {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return false
	}
	code := e.Code() & 0xff
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_CONSTRAINT
}

// PathOf returns the path that a sqlite:// DSN names, absolute.
func PathOf(dsn string) (string, error) {
	path, ok := strings.CutPrefix(dsn, "sqlite://")
	if !ok || path == "" {
		return "", fmt.Errorf("%q is not sqlite:///path", dsn)
	}
	return filepath.Abs(path)
}
