package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Store implements the roles of package store over the handles of a room.
type Store struct {
	Writer  func() *sql.DB // policy and keys, written
	Revoker func() *sql.DB // revocations, written
	Reader  func() *sql.DB // policy and keys as they are in force: what a replica follows
	Report  func() *sql.DB // history, replicas and the record, read
	// Limit bounds every operation, also on a database that answers nothing.
	Limit time.Duration
	// Classify turns an error of the driver into a *broker.Error.
	Classify func(error) error
	// Refused reports whether the database answered a commit with a no. Any other
	// error of a commit leaves its outcome unknown.
	Refused func(error) bool
	// Changed is run inside a transaction that moved the revision, for a
	// notification that must be sent with the commit. May be nil.
	Changed func(ctx context.Context, tx *sql.Tx, revision broker.Revision) error
	// Committed is run after it was committed. May be nil.
	Committed func()
	// Snapshot are the options of a transaction that reads one snapshot.
	Snapshot *sql.TxOptions
}

// write runs f in one transaction that moves the revision, and tells who waits for
// that; any error rolls back all of it, except one of the commit itself: then
// store.ErrUnknownOutcome.
func (s *Store) write(ctx context.Context, f func(context.Context, *sql.Tx) (broker.Revision, error)) (revision broker.Revision, err error) {
	err = s.transact(ctx, s.Writer(), func(ctx context.Context, tx *sql.Tx) error {
		if revision, err = f(ctx, tx); err != nil || s.Changed == nil {
			return err
		}
		return s.Changed(ctx, tx, revision)
	})
	if s.Committed != nil && (err == nil || errors.Is(err, store.ErrUnknownOutcome)) {
		s.Committed()
	}
	if err != nil {
		return 0, err
	}
	return revision, nil
}

// transact runs f in one transaction. Errors are as for write.
func (s *Store) transact(ctx context.Context, db *sql.DB, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return s.Classify(err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit this does nothing
	if err := f(ctx, tx); err != nil {
		return s.Classify(err)
	}
	return s.commit(tx)
}

// commit commits. Only what the database itself refused is known not to be there.
func (s *Store) commit(tx *sql.Tx) error {
	err := tx.Commit()
	switch {
	case err == nil:
		return nil
	case s.Refused(err):
		return s.Classify(err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnknownOutcome, s.Classify(err))
}

// read runs f in one read-only snapshot.
func (s *Store) read(ctx context.Context, db *sql.DB, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	tx, err := db.BeginTx(ctx, s.Snapshot)
	if err != nil {
		return s.Classify(err)
	}
	defer func() { _ = tx.Rollback() }()
	if err := f(ctx, tx); err != nil {
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
// store.AnyRevision. Revocations leave no line of history, and make nothing stale.
func bump(ctx context.Context, tx *sql.Tx, base broker.Revision) (broker.Revision, error) {
	const text = `UPDATE policy_version SET revision = revision + 1 RETURNING revision`
	var revision broker.Revision
	if err := tx.QueryRowContext(ctx, text).Scan(&revision); err != nil {
		return 0, err
	}
	if base < 0 {
		return revision, nil
	}
	var newest broker.Revision
	if err := tx.QueryRowContext(ctx, `SELECT coalesce(max(revision), 0) FROM policy_revisions`).Scan(&newest); err != nil {
		return 0, err
	}
	if newest > base || base >= revision {
		return 0, broker.Errorf(broker.CodeStale, broker.ReasonPolicyMoved, "the policy is at revision %d, the change was made against %d; plan again", newest, base)
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
