package postgres

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/cambist/cambist/store"
)

// AppendRecords commits the rows by one statement on a connection of their own.
// It is on the way of every token, so the arrays are written by hand: one buffer
// for all of them instead of several values a row.
func (s *Store) AppendRecords(ctx context.Context, rows []store.RecordRow) error {
	ctx, cancel := context.WithTimeout(ctx, appendTimeout)
	defer cancel()
	err := s.insertRecords(ctx, rows)
	switch {
	case err == nil:
		s.succeeded()
		return nil
	case unknownOutcome(err):
		return fmt.Errorf("append records: %w: %w", store.ErrUnknownOutcome, s.hot(err))
	}
	return fmt.Errorf("append records: %w", s.hot(err))
}

func (s *Store) insertRecords(ctx context.Context, rows []store.RecordRow) error {
	const name, text = "append_records", `INSERT INTO records (at, replica, segment, seq, id, workload, resource, outcome, body, facts, prev, hash)
		SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::bytea[], $10::bytea[], $11::bytea[], $12::bytea[])`
	c, err := s.audit.pool().Acquire(ctx)
	if err != nil {
		return &notSent{err}
	}
	defer c.Release()
	statement, err := c.Conn().Prepare(ctx, name, text) // once a connection
	if err != nil {
		return &notSent{err}
	}
	a := s.buffers.Get().(*arrays) //nolint:errcheck // nothing else is in the pool
	defer s.buffers.Put(a)
	a.fill(rows)
	binaryFormat := []int16{1}
	return c.Conn().PgConn().ExecStatement(ctx, statement, a.values(), binaryFormat, nil).Read().Err
}

// notSent is a failure before anything was sent that could be committed.
type notSent struct{ error }

// Unwrap returns the cause.
func (e *notSent) Unwrap() error { return e.error }

// SafeToRetry says so to pgconn.SafeToRetry.
func (*notSent) SafeToRetry() bool { return true }

// arrays are the columns of rows in PostgreSQL's binary format of arrays.
type arrays struct {
	buf    []byte
	ends   []int
	params [][]byte
}

func (a *arrays) fill(rows []store.RecordRow) {
	a.buf, a.ends = a.buf[:0], a.ends[:0]
	a.numbers(rows, func(r *store.RecordRow) int64 { return r.At.UnixMicro() })
	a.texts(rows, func(r *store.RecordRow) string { return r.Replica })
	a.texts(rows, func(r *store.RecordRow) string { return r.Segment })
	a.numbers(rows, func(r *store.RecordRow) int64 { return r.Seq })
	a.texts(rows, func(r *store.RecordRow) string { return r.ID })
	a.texts(rows, func(r *store.RecordRow) string { return r.Workload })
	a.texts(rows, func(r *store.RecordRow) string { return r.Resource })
	a.texts(rows, func(r *store.RecordRow) string { return r.Outcome })
	a.blobs(rows, func(r *store.RecordRow) []byte { return r.Body })
	a.blobs(rows, func(r *store.RecordRow) []byte { return r.Facts })
	a.blobs(rows, func(r *store.RecordRow) []byte { return r.Prev })
	a.blobs(rows, func(r *store.RecordRow) []byte { return r.Hash })
}

// head writes the head of an array of one dimension: that, whether there may be a
// NULL, the type, how many there are, and that they count from 1.
func (a *arrays) head(oid uint32, n int) {
	for _, v := range [...]uint32{1, 1, oid, uint32(n), 1} { //nolint:gosec // as many as wait at once
		a.buf = binary.BigEndian.AppendUint32(a.buf, v)
	}
}

func (a *arrays) numbers(rows []store.RecordRow, of func(*store.RecordRow) int64) {
	a.head(pgtype.Int8OID, len(rows))
	for i := range rows {
		a.length(8)
		a.buf = binary.BigEndian.AppendUint64(a.buf, uint64(of(&rows[i]))) //nolint:gosec // two's complement, as PostgreSQL has it
	}
	a.ends = append(a.ends, len(a.buf))
}

func (a *arrays) texts(rows []store.RecordRow, of func(*store.RecordRow) string) {
	a.head(pgtype.TextOID, len(rows))
	for i := range rows {
		text := of(&rows[i])
		a.length(len(text))
		a.buf = append(a.buf, text...)
	}
	a.ends = append(a.ends, len(a.buf))
}

func (a *arrays) blobs(rows []store.RecordRow, of func(*store.RecordRow) []byte) {
	a.head(pgtype.ByteaOID, len(rows))
	for i := range rows {
		blob := of(&rows[i])
		if blob == nil {
			a.length(-1) // NULL
			continue
		}
		a.length(len(blob))
		a.buf = append(a.buf, blob...)
	}
	a.ends = append(a.ends, len(a.buf))
}

func (a *arrays) length(n int) {
	a.buf = binary.BigEndian.AppendUint32(a.buf, uint32(int32(n))) //nolint:gosec // a row has at most 64 KiB
}

// values returns the columns; the buffer does not move any more.
func (a *arrays) values() [][]byte {
	a.params = a.params[:0]
	begin := 0
	for _, end := range a.ends {
		a.params = append(a.params, a.buf[begin:end:end])
		begin = end
	}
	return a.params
}
