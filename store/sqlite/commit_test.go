package sqlite_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
	sqlitestore "github.com/cambist/cambist/store/sqlite"
)

// deaf is a connection to a real file whose commits are done and not answered.
type deaf struct{ driver.Conn }

var errDeaf = errors.New("the answer was lost")

func (d deaf) Begin() (driver.Tx, error) {
	tx, err := d.Conn.Begin()
	return deafTx{tx}, err
}

type deafTx struct{ driver.Tx }

func (t deafTx) Commit() error { return errors.Join(t.Tx.Commit(), errDeaf) }

type connector struct{ dsn string }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.Driver().Open(c.dsn)
	return deaf{conn}, err
}

func (connector) Driver() driver.Driver { return &sqlite.Driver{} }

// Threat H4: whatever commits tells when nobody knows what became of it.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	s := open(t, sqlitestore.Config{Path: path, NoSync: true})
	db := sql.OpenDB(connector{"file:" + path + "?_pragma=busy_timeout(1500)"})
	defer func() { _ = db.Close() }()
	s.Writer = func() *sql.DB { return db }
	w := store.Write{Base: store.AnyRevision, Author: "me", At: time.UnixMicro(1), Changes: []broker.Object{{Kind: broker.KindMapping, Name: "s/x", Set: "s", Body: []byte("{}")}}}
	key := store.KeyRow{ID: "k", Purpose: "sign", Algorithm: "ES256", State: "pending", Version: 1, Wrapped: []byte{1}, CreatedAt: time.UnixMicro(1)}
	next := key
	next.Version, next.State = 2, "active"
	hint := make(chan error, 1)
	go func() { hint <- s.Wait(t.Context()) }()
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"append", func() error { return s.AppendRecords(t.Context(), []store.RecordRow{record(1)}) }},
		{"insert key", func() error { return s.InsertKey(t.Context(), key, 0) }},
		{"update key", func() error { return s.UpdateKey(t.Context(), next) }},
	} {
		if err := step.do(); !errors.Is(err, store.ErrUnknownOutcome) || !errors.Is(err, errDeaf) {
			t.Errorf("%s: %v", step.name, err)
		}
	}
	for done := false; !done; {
		if revision, err := s.Write(t.Context(), w); !errors.Is(err, store.ErrUnknownOutcome) || revision != 0 {
			t.Fatalf("write: %d, %v", revision, err)
		}
		select { // whoever waits is told to look
		case err := <-hint:
			if err != nil {
				t.Error(err)
			}
			done = true
		default:
		}
	}
	if _, revision, err := s.Load(t.Context()); err != nil || revision < 3 {
		t.Errorf("revision %d, %v", revision, err)
	}
	if last, err := s.LastRecord(t.Context(), "r"); err != nil || last.Seq != 1 {
		t.Errorf("last %d, %v", last.Seq, err)
	}
}

// What the database refused before the commit is no unknown outcome.
func TestRefusalIsKnown(t *testing.T) {
	t.Parallel()
	s := open(t, sqlitestore.Config{Path: filepath.Join(t.TempDir(), "c.db"), NoSync: true})
	for range 2 {
		err := s.AppendRecords(t.Context(), []store.RecordRow{record(1)})
		if errors.Is(err, store.ErrUnknownOutcome) || err != nil && broker.AsError(err).Code != broker.CodeConflict {
			t.Errorf("error %v", err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Load(ctx); broker.AsError(err).Code != broker.CodeUnavailable {
		t.Errorf("error %v", err)
	}
}

// What was recorded and what was written is not changed past the program either.
func TestAppendOnly(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	s := open(t, sqlitestore.Config{Path: path, NoSync: true})
	if err := s.AppendRecords(t.Context(), []store.RecordRow{record(1)}); err != nil {
		t.Fatal(err)
	}
	w := store.Write{Author: "me", Changes: []broker.Object{{Kind: broker.KindMapping, Name: "s/x", Set: "s", Body: []byte("{}")}}}
	if _, err := s.Write(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"UPDATE records SET outcome = 'x'", "UPDATE policy_changes SET body = 'x'", "DELETE FROM policy_changes",
		"UPDATE policy_version SET revision = revision", "UPDATE policy_version SET revision = revision + 2",
	} {
		if _, err := s.Writer().ExecContext(t.Context(), text); err == nil {
			t.Errorf("%s: done", text)
		}
	}
}
