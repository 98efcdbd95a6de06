package sqlstore

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Load returns what is in force, in one snapshot.
func (s *Store) Load(ctx context.Context) (objects []broker.Object, at broker.Revision, err error) {
	err = s.read(ctx, s.Reader(), func(ctx context.Context, tx *sql.Tx) error {
		if at, err = current(ctx, tx); err != nil {
			return err
		}
		objects, err = query(ctx, tx, scanObject, `SELECT kind, name, set_name, body, false, revision FROM policy_objects ORDER BY kind, name`)
		if err != nil {
			return err
		}
		revoked, err := revocations(ctx, tx, 0, at)
		objects = append(objects, revoked...)
		return err
	})
	return objects, at, operation("load policy", err)
}

// Changes returns the latest state of everything changed after a revision.
func (s *Store) Changes(ctx context.Context, after broker.Revision) (objects []broker.Object, at broker.Revision, err error) {
	const text = `SELECT c.kind, c.name, c.set_name, c.body, c.deleted, c.revision FROM policy_changes c
		WHERE c.revision > $1 AND c.revision = (SELECT max(l.revision) FROM policy_changes l WHERE l.kind = c.kind AND l.name = c.name)
		ORDER BY c.kind, c.name`
	err = s.read(ctx, s.Reader(), func(ctx context.Context, tx *sql.Tx) error {
		if at, err = current(ctx, tx); err != nil {
			return err
		}
		if objects, err = query(ctx, tx, scanObject, text, int64(after)); err != nil {
			return err
		}
		revoked, err := revocations(ctx, tx, after, at)
		objects = append(objects, revoked...)
		return err
	})
	return objects, at, operation("load policy changes", err)
}

// LoadAt returns what was in force at a revision.
func (s *Store) LoadAt(ctx context.Context, at broker.Revision) (objects []broker.Object, err error) {
	const text = `SELECT c.kind, c.name, c.set_name, c.body, c.deleted, c.revision FROM policy_changes c
		WHERE c.revision = (SELECT max(l.revision) FROM policy_changes l WHERE l.kind = c.kind AND l.name = c.name AND l.revision <= $1)
		AND NOT c.deleted ORDER BY c.kind, c.name`
	err = s.read(ctx, s.Report(), func(ctx context.Context, tx *sql.Tx) error {
		if objects, err = query(ctx, tx, scanObject, text, int64(at)); err != nil {
			return err
		}
		revoked, err := revocations(ctx, tx, 0, at)
		objects = append(objects, revoked...)
		return err
	})
	return objects, operation("load policy", err)
}

func scanObject(rows *sql.Rows) (broker.Object, error) {
	var o broker.Object
	var body string
	err := rows.Scan(&o.Kind, &o.Name, &o.Set, &body, &o.Deleted, &o.Revision)
	if !o.Deleted {
		o.Body = []byte(body)
	}
	return o, err
}

// Write appends one revision, all or nothing.
func (s *Store) Write(ctx context.Context, w store.Write) (broker.Revision, error) {
	for i := range w.Changes {
		if err := storable(&w.Changes[i]); err != nil {
			return 0, err
		}
	}
	revision, err := s.write(ctx, func(ctx context.Context, tx *sql.Tx) (broker.Revision, error) {
		revision, err := bump(ctx, tx, w.Base)
		if err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO policy_revisions (revision, author, reason, at) VALUES ($1, $2, $3, $4)`,
			int64(revision), w.Author, w.Reason, micros(w.At)); err != nil {
			return 0, err
		}
		for changes := range slices.Chunk(w.Changes, chunk) {
			if err := writeChanges(ctx, tx, revision, changes); err != nil {
				return 0, err
			}
		}
		return revision, nil
	})
	return revision, operation("write policy", err)
}

// storable refuses what one of the databases would store differently: NUL is
// text to SQLite and an error to PostgreSQL.
func storable(o *broker.Object) error {
	if !o.Kind.Known() || o.Name == "" || strings.ContainsRune(o.Name+o.Set+string(o.Body), 0) || o.Deleted != (len(o.Body) == 0) {
		return broker.Errorf(broker.CodeInvalidRequest, "", "the %s has no name, no body, or a NUL character", o.Kind)
	}
	return nil
}

// chunk is how many objects one statement writes. An import of many thousands
// holds the version for as long as it takes, so it takes few round trips.
const chunk = 200

func writeChanges(ctx context.Context, tx *sql.Tx, revision broker.Revision, changes []broker.Object) error {
	history := newValues(`INSERT INTO policy_changes (revision, kind, name, set_name, body, deleted) VALUES `)
	current := newValues(`INSERT INTO policy_objects (kind, name, set_name, body, revision) VALUES `)
	gone := newValues(`DELETE FROM policy_objects WHERE (kind, name) IN (VALUES `)
	for i := range changes {
		o := &changes[i]
		history.row(int64(revision), string(o.Kind), o.Name, o.Set, string(o.Body), o.Deleted)
		if o.Deleted {
			gone.row(string(o.Kind), o.Name)
		} else {
			current.row(string(o.Kind), o.Name, o.Set, string(o.Body), int64(revision))
		}
	}
	if err := history.exec(ctx, tx, ``); err != nil {
		return err
	}
	if err := current.exec(ctx, tx, ` ON CONFLICT (kind, name) DO UPDATE SET set_name = excluded.set_name, body = excluded.body, revision = excluded.revision`); err != nil {
		return err
	}
	return gone.exec(ctx, tx, `)`)
}

// values is a statement over a list of rows.
type values struct {
	text []byte
	args []any
}

func newValues(text string) *values { return &values{text: []byte(text)} }

func (v *values) row(args ...any) {
	if len(v.args) > 0 {
		v.text = append(v.text, ',')
	}
	mark := byte('(')
	for _, arg := range args {
		v.args = append(v.args, arg)
		v.text = strconv.AppendInt(append(v.text, mark, '$'), int64(len(v.args)), 10)
		mark = ','
	}
	v.text = append(v.text, ')')
}

// exec runs the statement, if there is any row for it.
func (v *values) exec(ctx context.Context, tx *sql.Tx, tail string) error {
	if len(v.args) == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, string(v.text)+tail, v.args...)
	return err
}

// Revisions returns the history, newest first.
func (s *Store) Revisions(ctx context.Context, before broker.Revision, limit int) (list []store.RevisionInfo, err error) {
	err = s.read(ctx, s.Report(), func(ctx context.Context, tx *sql.Tx) error {
		list, err = query(ctx, tx, func(rows *sql.Rows) (r store.RevisionInfo, err error) {
			var at int64
			err = rows.Scan(&r.Revision, &r.Author, &r.Reason, &at)
			r.At = fromMicros(at)
			return r, err
		}, `SELECT revision, author, reason, at FROM policy_revisions WHERE $1 = 0 OR revision < $1 ORDER BY revision DESC LIMIT $2`, int64(before), int64(limit))
		if err != nil {
			return err
		}
		for i := range list {
			list[i].Changes, err = query(ctx, tx, func(rows *sql.Rows) (c store.ObjectRef, err error) {
				err = rows.Scan(&c.Kind, &c.Name, &c.Deleted)
				return c, err
			}, `SELECT kind, name, deleted FROM policy_changes WHERE revision = $1 ORDER BY kind, name`, int64(list[i].Revision))
			if err != nil {
				return err
			}
		}
		return nil
	})
	return list, operation("load history", err)
}
