package sqlstore

import (
	"context"
	"database/sql"

	"github.com/cambist/cambist/broker"
)

// Revoke commits a revocation. A trigger moves the revision with it: whoever may
// revoke needs no other right to do so. Nobody is woken for it, or who holds tokens
// could make the whole fleet ask at once, as often as they please: the next
// heartbeat of each replica finds it.
func (s *Store) Revoke(ctx context.Context, r broker.Revocation) error {
	return operation("revoke", s.transact(ctx, s.Revoker(), func(ctx context.Context, tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO revocations (id, at, until) VALUES ($1, $2, $3) ON CONFLICT (id) DO NOTHING`,
			r.TokenID, micros(r.At), micros(r.Until))
		return err
	}))
}

// revocations returns those that were made after a revision, up to another.
func revocations(ctx context.Context, tx *sql.Tx, after, to broker.Revision) ([]broker.Object, error) {
	return query(ctx, tx, func(rows *sql.Rows) (broker.Object, error) {
		var r broker.Revocation
		var until int64
		var revision broker.Revision
		err := rows.Scan(&r.TokenID, &until, &revision)
		r.Until = fromMicros(until)
		return r.Object(revision), err
	}, `SELECT id, until, revision FROM revocations WHERE revision > $1 AND revision <= $2 ORDER BY id`, int64(after), int64(to))
}
