package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/cambist/cambist/store"
)

const recordColumns = `at, replica, segment, seq, id, workload, resource, outcome, body, facts, prev, hash`

// Record finds one row by its id. Rows lie by time, so it looks only at the
// millisecond that the id names.
func (s *Store) Record(ctx context.Context, id string, at time.Time) (row store.RecordRow, err error) {
	from := at.Truncate(time.Millisecond)
	rows, err := s.records(ctx, `WHERE at >= $1 AND at < $2 AND id = $3`, micros(from), micros(from.Add(time.Millisecond)), id)
	if err == nil && len(rows) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return store.RecordRow{}, operation("find record", one(err, "record"))
	}
	return rows[0], nil
}

// ListRecords returns the rows that fit the filter, newest first.
func (s *Store) ListRecords(ctx context.Context, f store.RecordFilter) ([]store.RecordRow, error) {
	var where []string
	var args []any
	add := func(text string, values ...any) {
		marks := make([]any, len(values))
		for i, v := range values {
			args = append(args, v)
			marks[i] = len(args)
		}
		where = append(where, fmt.Sprintf(text, marks...))
	}
	if !f.Since.IsZero() {
		add("at >= $%d", micros(f.Since))
	}
	if !f.Until.IsZero() {
		add("at < $%d", micros(f.Until))
	}
	if f.Workload != "" {
		add("workload = $%d", f.Workload)
	}
	if f.Resource != "" {
		add("resource = $%d", f.Resource)
	}
	switch f.Outcome {
	case "":
	case "refused":
		add("outcome <> $%d", "allowed")
	default:
		add("outcome = $%d", f.Outcome)
	}
	if c := f.Before; !c.At.IsZero() {
		add("(at, replica, segment, seq) < ($%d, $%d, $%d, $%d)", micros(c.At), c.Replica, c.Segment, c.Seq)
	}
	clause := ""
	if len(where) > 0 {
		clause = "WHERE " + strings.Join(where, " AND ")
	}
	args = append(args, min(max(f.Limit, 1), 1000))
	rows, err := s.records(ctx, clause+fmt.Sprintf(" ORDER BY at DESC, replica DESC, segment DESC, seq DESC LIMIT $%d", len(args)), args...)
	return rows, operation("list records", err)
}

// LastRecord returns where the chain of a replica ends.
func (s *Store) LastRecord(ctx context.Context, replica string) (store.RecordRow, error) {
	return s.LastRecordSince(ctx, replica, time.UnixMicro(math.MinInt64))
}

// LastRecordSince returns the same among the rows since then, CodeNotFound if there
// are none.
func (s *Store) LastRecordSince(ctx context.Context, replica string, since time.Time) (store.RecordRow, error) {
	rows, err := s.records(ctx, `WHERE replica = $1 AND at >= $2 ORDER BY segment DESC, seq DESC LIMIT 1`, replica, since.UnixMicro())
	if err == nil && len(rows) == 0 {
		err = sql.ErrNoRows
	}
	if err != nil {
		return store.RecordRow{}, operation("find last record", one(err, "record"))
	}
	return rows[0], nil
}

func (s *Store) records(ctx context.Context, clause string, args ...any) (rows []store.RecordRow, err error) {
	err = s.read(ctx, s.Report(), func(ctx context.Context, tx *sql.Tx) error {
		rows, err = query(ctx, tx, scanRecord, `SELECT `+recordColumns+` FROM records `+clause, args...)
		return err
	})
	return rows, err
}

func scanRecord(rows *sql.Rows) (r store.RecordRow, err error) {
	var at int64
	err = rows.Scan(&at, &r.Replica, &r.Segment, &r.Seq, &r.ID, &r.Workload, &r.Resource, &r.Outcome, &r.Body, &r.Facts, &r.Prev, &r.Hash)
	r.At = time.UnixMicro(at).UTC()
	return r, err
}

// AppendRecords commits rows in one transaction, one statement a row. The room
// of a database that can do better does.
func (s *Store) AppendRecords(ctx context.Context, rows []store.RecordRow) error {
	ctx, cancel := context.WithTimeout(ctx, s.Limit)
	defer cancel()
	return operation("append records", s.appendRecords(ctx, rows))
}

func (s *Store) appendRecords(ctx context.Context, rows []store.RecordRow) error {
	tx, err := s.Writer().BeginTx(ctx, nil)
	if err != nil {
		return s.Classify(err)
	}
	defer func() { _ = tx.Rollback() }()
	insert, err := tx.PrepareContext(ctx, `INSERT INTO records (`+recordColumns+`) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`)
	if err != nil {
		return s.Classify(err)
	}
	defer func() { _ = insert.Close() }()
	for i := range rows {
		r := &rows[i]
		if _, err := insert.ExecContext(ctx, r.At.UnixMicro(), r.Replica, r.Segment, r.Seq, r.ID, r.Workload, r.Resource, r.Outcome, r.Body, r.Facts, r.Prev, r.Hash); err != nil {
			return s.Classify(err)
		}
	}
	return s.commit(tx)
}
