package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// ListReplicas returns every replica, by ID.
func (s *Store) ListReplicas(ctx context.Context) (list []store.Replica, err error) {
	err = s.read(ctx, s.Report(), func(ctx context.Context, tx *sql.Tx) error {
		list, err = query(ctx, tx, func(rows *sql.Rows) (r store.Replica, err error) {
			var started, seen int64
			err = rows.Scan(&r.ID, &r.Version, &started, &seen, &r.Applied)
			r.StartedAt, r.SeenAt = fromMicros(started), fromMicros(seen)
			return r, err
		}, `SELECT id, version, started_at, seen_at, applied FROM replicas ORDER BY id`)
		return err
	})
	return list, operation("list replicas", err)
}

// RemoveReplica deletes the row of a replica.
func (s *Store) RemoveReplica(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	_, err := s.Writer().ExecContext(ctx, `DELETE FROM replicas WHERE id = $1`, id)
	return operation("remove replica", s.Classify(err))
}

// Stamp returns the mark of the store.
func (s *Store) Stamp(ctx context.Context) (stamp string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	err = s.Writer().QueryRowContext(ctx, `SELECT stamp FROM store_stamp`).Scan(&stamp)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return stamp, operation("read stamp", s.Classify(err))
}

// SetStamp marks the store, once.
func (s *Store) SetStamp(ctx context.Context, stamp string) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	if _, err := s.Writer().ExecContext(ctx, `INSERT INTO store_stamp (stamp) VALUES ($1) ON CONFLICT (only_row) DO NOTHING`, stamp); err != nil {
		return operation("set stamp", s.Classify(err))
	}
	have, err := s.Stamp(ctx)
	if err == nil && have != stamp {
		err = broker.Errorf(broker.CodeConflict, "", "the store is marked %q already", have)
	}
	return err
}
