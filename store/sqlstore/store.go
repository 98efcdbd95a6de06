package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cambist/cambist/broker"
)

// Store implements the roles of package store over the handles of a room.
type Store struct {
	Writer func() *sql.DB // policy and keys, written
	Reader func() *sql.DB // policy and keys, read
	Report func() *sql.DB // the record, read
	// Classify turns an error of the driver into a *broker.Error.
	Classify func(error) error
	// Changed is run inside a transaction that moved the revision, for a
	// notification that must be sent with the commit. May be nil.
	Changed func(ctx context.Context, tx *sql.Tx, revision broker.Revision) error
	// Committed is run after it was committed. May be nil.
	Committed func()
	// Snapshot are the options of a transaction that reads one snapshot.
	Snapshot *sql.TxOptions
}

// write runs f in one transaction; any error rolls back all of it.
func (s *Store) write(ctx context.Context, f func(*sql.Tx) (broker.Revision, error)) (broker.Revision, error) {
	tx, err := s.Writer().BeginTx(ctx, nil)
	if err != nil {
		return 0, s.Classify(err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing
	revision, err := f(tx)
	if err != nil {
		return 0, s.Classify(err)
	}
	if s.Changed != nil {
		if err := s.Changed(ctx, tx, revision); err != nil {
			return 0, s.Classify(err)
		}
	}
	if err := tx.Commit(); err != nil {
		return 0, s.Classify(err)
	}
	if s.Committed != nil {
		s.Committed()
	}
	return revision, nil
}

// read runs f in one read-only snapshot.
func (s *Store) read(ctx context.Context, db *sql.DB, f func(*sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, s.Snapshot)
	if err != nil {
		return s.Classify(err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(tx); err != nil {
		return s.Classify(err)
	}
	return nil
}

// query appends what scan makes of each row.
func query[T any](ctx context.Context, tx *sql.Tx, scan func(*sql.Rows) (T, error), text string, args ...any) ([]T, error) {
	rows, err := tx.QueryContext(ctx, text, args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var all []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, rows.Err()
}

// bump locks the version row and moves it on. base is what the caller saw, or
// store.AnyRevision.
func bump(ctx context.Context, tx *sql.Tx, base broker.Revision) (broker.Revision, error) {
	const text = `UPDATE policy_version SET revision = revision + 1 RETURNING revision`
	var revision broker.Revision
	if err := tx.QueryRowContext(ctx, text).Scan(&revision); err != nil {
		return 0, err
	}
	if base >= 0 && revision != base+1 {
		return 0, broker.Errorf(broker.CodeStale, broker.ReasonPolicyMoved, "the policy is at revision %d, the change was made against %d; plan again", revision-1, base)
	}
	return revision, nil
}

func current(ctx context.Context, tx *sql.Tx) (broker.Revision, error) {
	var revision broker.Revision
	err := tx.QueryRowContext(ctx, `SELECT revision FROM policy_version`).Scan(&revision)
	return revision, err
}

// micros and fromMicros keep times as the store does; the zero time is 0.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// one turns a missing row into CodeNotFound.
func one(err error, what string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return broker.Errorf(broker.CodeNotFound, "", "there is no such %s", what)
	}
	return err
}

func operation(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}
