package sqlstore

import (
	"context"
	"database/sql"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// ListKeys returns every key, oldest first.
func (s *Store) ListKeys(ctx context.Context) (keys []store.KeyRow, err error) {
	err = s.read(ctx, s.Reader(), func(ctx context.Context, tx *sql.Tx) error {
		keys, err = query(ctx, tx, scanKey, `SELECT id, purpose, algorithm, state, version, public, wrapped,
			created_at, published_at, activated_at, retired_at FROM keys ORDER BY created_at, id`)
		return err
	})
	return keys, operation("list keys", err)
}

func scanKey(rows *sql.Rows) (k store.KeyRow, err error) {
	var created, published, activated, retired int64
	err = rows.Scan(&k.ID, &k.Purpose, &k.Algorithm, &k.State, &k.Version, &k.Public, &k.Wrapped, &created, &published, &activated, &retired)
	k.CreatedAt, k.PublishedAt, k.ActivatedAt, k.RetiredAt = fromMicros(created), fromMicros(published), fromMicros(activated), fromMicros(retired)
	return k, err
}

// InsertKey adds a key if there are as many of its purpose and algorithm as the
// caller saw. The version row is locked first, so two callers cannot both see
// the same number.
func (s *Store) InsertKey(ctx context.Context, k store.KeyRow, expect int) error {
	_, err := s.write(ctx, func(ctx context.Context, tx *sql.Tx) (broker.Revision, error) {
		revision, err := bump(ctx, tx, store.AnyRevision)
		if err != nil {
			return 0, err
		}
		var have int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM keys WHERE purpose = $1 AND algorithm = $2`, k.Purpose, k.Algorithm).Scan(&have); err != nil {
			return 0, err
		}
		if have != expect {
			return 0, broker.Errorf(broker.CodeConflict, "", "there are %d keys of this kind, not %d", have, expect)
		}
		if err := keyRevision(ctx, tx, revision, k); err != nil {
			return 0, err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO keys (id, purpose, algorithm, state, version, public, wrapped, created_at, published_at, activated_at, retired_at)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, k.ID, k.Purpose, k.Algorithm, k.State, k.Version, k.Public, k.Wrapped,
			micros(k.CreatedAt), micros(k.PublishedAt), micros(k.ActivatedAt), micros(k.RetiredAt))
		return revision, err
	})
	return operation("insert key", err)
}

// UpdateKey stores the next version of a key.
func (s *Store) UpdateKey(ctx context.Context, k store.KeyRow) error {
	_, err := s.write(ctx, func(ctx context.Context, tx *sql.Tx) (broker.Revision, error) {
		revision, err := bump(ctx, tx, store.AnyRevision)
		if err != nil {
			return 0, err
		}
		if err := keyRevision(ctx, tx, revision, k); err != nil {
			return 0, err
		}
		done, err := tx.ExecContext(ctx, `UPDATE keys SET state = $1, version = $2, wrapped = $3, published_at = $4, activated_at = $5, retired_at = $6
			WHERE id = $7 AND version = $8`, k.State, k.Version, k.Wrapped, micros(k.PublishedAt), micros(k.ActivatedAt), micros(k.RetiredAt), k.ID, k.Version-1)
		if err != nil {
			return 0, err
		}
		if n, err := done.RowsAffected(); err != nil || n != 1 {
			return 0, broker.Errorf(broker.CodeStale, "", "the key was changed by another")
		}
		return revision, nil
	})
	return operation("update key", err)
}

// keyRevision writes the line of history that a change of keys leaves.
func keyRevision(ctx context.Context, tx *sql.Tx, revision broker.Revision, k store.KeyRow) error {
	_, err := tx.ExecContext(ctx, `INSERT INTO policy_revisions (revision, author, reason, at) VALUES ($1, $2, $3, $4)`,
		int64(revision), "cambist", "key "+k.ID+" is "+k.State, micros(k.CreatedAt))
	return err
}
