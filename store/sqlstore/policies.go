package sqlstore

import (
	"context"
	"database/sql"
	"strings"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Load returns what is in force, in one snapshot.
func (s *Store) Load(ctx context.Context) (objects []broker.Object, at broker.Revision, err error) {
	err = s.read(ctx, s.Reader(), func(tx *sql.Tx) error {
		if at, err = current(ctx, tx); err != nil {
			return err
		}
		objects, err = query(ctx, tx, scanObject, `SELECT kind, name, set_name, body, false, revision FROM policy_objects ORDER BY kind, name`)
		return err
	})
	return objects, at, operation("load policy", err)
}

// Changes returns the latest state of everything changed after a revision.
func (s *Store) Changes(ctx context.Context, after broker.Revision) (objects []broker.Object, at broker.Revision, err error) {
	const text = `SELECT c.kind, c.name, c.set_name, c.body, c.deleted, c.revision FROM policy_changes c
		WHERE c.revision > $1 AND c.revision = (SELECT max(l.revision) FROM policy_changes l WHERE l.kind = c.kind AND l.name = c.name)
		ORDER BY c.kind, c.name`
	err = s.read(ctx, s.Reader(), func(tx *sql.Tx) error {
		if at, err = current(ctx, tx); err != nil {
			return err
		}
		objects, err = query(ctx, tx, scanObject, text, int64(after))
		return err
	})
	return objects, at, operation("load policy changes", err)
}

// LoadAt returns what was in force at a revision.
func (s *Store) LoadAt(ctx context.Context, at broker.Revision) (objects []broker.Object, err error) {
	const text = `SELECT c.kind, c.name, c.set_name, c.body, c.deleted, c.revision FROM policy_changes c
		WHERE c.revision = (SELECT max(l.revision) FROM policy_changes l WHERE l.kind = c.kind AND l.name = c.name AND l.revision <= $1)
		AND NOT c.deleted ORDER BY c.kind, c.name`
	err = s.read(ctx, s.Reader(), func(tx *sql.Tx) error {
		objects, err = query(ctx, tx, scanObject, text, int64(at))
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
	revision, err := s.write(ctx, func(tx *sql.Tx) (broker.Revision, error) {
		revision, err := bump(ctx, tx, w.Base)
		if err != nil {
			return 0, err
		}
		if _, err := tx.ExecContext(ctx, `INSERT INTO policy_revisions (revision, author, reason, at) VALUES ($1, $2, $3, $4)`,
			int64(revision), w.Author, w.Reason, micros(w.At)); err != nil {
			return 0, err
		}
		for i := range w.Changes {
			if err := writeChange(ctx, tx, revision, &w.Changes[i]); err != nil {
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

func writeChange(ctx context.Context, tx *sql.Tx, revision broker.Revision, o *broker.Object) error {
	const history = `INSERT INTO policy_changes (revision, kind, name, set_name, body, deleted) VALUES ($1, $2, $3, $4, $5, $6)`
	if _, err := tx.ExecContext(ctx, history, int64(revision), string(o.Kind), o.Name, o.Set, string(o.Body), o.Deleted); err != nil {
		return err
	}
	if o.Deleted {
		_, err := tx.ExecContext(ctx, `DELETE FROM policy_objects WHERE kind = $1 AND name = $2`, string(o.Kind), o.Name)
		return err
	}
	const upsert = `INSERT INTO policy_objects (kind, name, set_name, body, revision) VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (kind, name) DO UPDATE SET set_name = excluded.set_name, body = excluded.body, revision = excluded.revision`
	_, err := tx.ExecContext(ctx, upsert, string(o.Kind), o.Name, o.Set, string(o.Body), int64(revision))
	return err
}

// Revisions returns the history, newest first.
func (s *Store) Revisions(ctx context.Context, before broker.Revision, limit int) (list []store.RevisionInfo, err error) {
	err = s.read(ctx, s.Reader(), func(tx *sql.Tx) error {
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
