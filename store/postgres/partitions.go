package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// owner is the role that owns the schema: it alone makes and drops partitions.
const owner = "cambist_owner"

const day = 24 * time.Hour

// LastRecord returns where the chain of a replica ends. It looks at the last days
// first: to plan over a year of partitions takes a tenth of a second and a lock on
// each, and a fleet that comes back at once would run out of locks.
func (s *Store) LastRecord(ctx context.Context, replica string) (store.RecordRow, error) {
	now, err := s.clock(ctx)
	if err != nil {
		return store.RecordRow{}, err
	}
	for _, days := range [...]time.Duration{2, 35} {
		row, err := s.LastRecordSince(ctx, replica, now.Add(-days*day))
		if err == nil || broker.AsError(err).Code != broker.CodeNotFound {
			return row, err
		}
	}
	return s.Store.LastRecord(ctx, replica)
}

// clock returns the time of the database.
func (s *Store) clock(ctx context.Context) (time.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, slowTimeout)
	defer cancel()
	var now int64
	if err := s.reports.pool().QueryRow(ctx, `SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint`).Scan(&now); err != nil {
		return time.Time{}, s.classify(err)
	}
	return time.UnixMicro(now).UTC(), nil
}

// EnsurePartitions makes the daily partitions of the record from today up to
// that day. Only a member of the owner may; the default partition takes what has
// none. A day that cannot be made, as rows of it lie in the default partition
// already, does not stop the days after it.
func (s *Store) EnsurePartitions(ctx context.Context, upTo time.Time) error {
	now, err := s.clock(ctx)
	if err != nil {
		return err
	}
	var failed []error
	for from := now.Truncate(day); from.Before(upTo); from = from.Add(day) {
		if err := s.ensurePartition(ctx, from); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (s *Store) ensurePartition(ctx context.Context, from time.Time) error {
	name := pgx.Identifier{"records_" + from.Format("20060102")}.Sanitize()
	err := pgx.BeginFunc(ctx, s.admin.pool(), func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, "SET LOCAL ROLE "+owner); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf(`CREATE TABLE IF NOT EXISTS %s PARTITION OF records FOR VALUES FROM (%d) TO (%d) WITH (toast_tuple_target = 8160)`, name, from.UnixMicro(), from.Add(day).UnixMicro()))
		return err
	})
	if err != nil {
		return fmt.Errorf("partition %s: %w", name, s.classify(err))
	}
	return nil
}
