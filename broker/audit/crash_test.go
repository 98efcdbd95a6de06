package audit_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/postgres"
	"github.com/cambist/cambist/store/sqlite"
	"github.com/cambist/cambist/tests/pgtest"
)

// crashEnv makes this test binary the recorder that is killed; it says where to.
const crashEnv = "CAMBIST_TEST_AUDIT_CRASH"

// recordUntilKilled records and prints the id of each record that is durable.
func recordUntilKilled(dsn string) {
	ctx := context.Background()
	s, err := openStore(ctx, dsn)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	r := audit.New(config(s))
	go func() { _ = r.Run(ctx) }()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprint(broker.NewID(time.Now()), w)
				if _, err := r.Append(ctx, record(id)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				mu.Lock()
				fmt.Println(id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	os.Exit(1)
}

type closer interface {
	store.Records
	Migrate(ctx context.Context) ([]string, error)
	Close() error
}

func openStore(ctx context.Context, dsn string) (s closer, err error) {
	if path, ok := strings.CutPrefix(dsn, "sqlite://"); ok {
		s, err = sqlite.Open(ctx, sqlite.Config{Path: path})
	} else {
		s, err = postgres.Open(ctx, postgres.Config{DSN: dsn})
	}
	if err == nil {
		_, err = s.Migrate(ctx)
	}
	return s, err
}

// every record that was acknowledged before a kill -9 is there after it, and
// the chain of the next process continues from there.
func TestKill(t *testing.T) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		testKill(t, "sqlite://"+filepath.Join(t.TempDir(), "c.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		testKill(t, pgtest.Start(t, pgtest.Options{Durable: true}).DSN("postgres"))
	})
}

func testKill(t *testing.T, dsn string) {
	const lives, each = 3, 300
	var acknowledged []string
	for range lives {
		acknowledged = append(acknowledged, liveAndDie(t, dsn, each)...)
	}
	s, err := openStore(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r, stop := run(t, config(s))
	if _, err := r.Append(t.Context(), record("after")); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	rows := list(t, s)
	intact(t, rows)
	there := map[string]bool{}
	for _, row := range rows {
		there[row.ID] = true
	}
	for _, id := range acknowledged {
		if !there[id] {
			t.Errorf("%s was acknowledged and is not there", id)
		}
	}
	if len(acknowledged) < lives*each {
		t.Errorf("%d were acknowledged", len(acknowledged))
	}
}

// liveAndDie runs a recorder, kills it after so many acknowledgements, and returns
// all that it gave.
func liveAndDie(t *testing.T, dsn string, after int) (ids []string) {
	t.Helper()
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), crashEnv+"="+dsn)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if ids = append(ids, lines.Text()); len(ids) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if len(ids) < after {
		t.Fatalf("it died by itself: %s", complaint.String())
	}
	return ids
}

// list returns every row.
func list(t testing.TB, s store.Records) (rows []store.RecordRow) {
	t.Helper()
	for {
		f := store.RecordFilter{Limit: 1000}
		if n := len(rows); n > 0 {
			f.Before = store.RecordCursor{At: rows[n-1].At, Replica: rows[n-1].Replica, Segment: rows[n-1].Segment, Seq: rows[n-1].Seq}
		}
		page, err := s.ListRecords(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		if rows = append(rows, page...); len(page) < f.Limit {
			return rows
		}
	}
}

// R-10, threats P3, P5, P7: while the database is stopped or frozen Append refuses
// within its timeout, refusals wait, and when it is back both go on by themselves:
// nothing that was promised is missing, and nothing is lost uncounted.
func TestOutage(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]struct {
		begin, end func(*testing.T, *pgtest.Server)
	}{
		"stopped": {func(_ *testing.T, s *pgtest.Server) { s.Stop(pgtest.Fast) }, func(t *testing.T, s *pgtest.Server) { s.Start(t) }},
		"crashed": {func(_ *testing.T, s *pgtest.Server) { s.Stop(pgtest.Immediate) }, func(t *testing.T, s *pgtest.Server) { s.Start(t) }},
		"frozen":  {func(_ *testing.T, s *pgtest.Server) { s.Freeze() }, func(_ *testing.T, s *pgtest.Server) { s.Thaw() }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := pgtest.Start(t, pgtest.Options{Durable: true})
			s := openPostgres(t, server)
			c := config(s)
			c.Limit = 20
			r, stop := run(t, c)
			promised, sent := map[string]bool{}, 0
			try := func(id string) error {
				sent++
				r.Note(refusal(broker.NewID(time.Now())))
				began := time.Now()
				_, err := r.Append(t.Context(), record(id))
				if err == nil {
					promised[id] = true
				}
				// The timeout holds; the rest is a machine that does other things too.
				if took := time.Since(began); took > 5*time.Second || err != nil && broker.AsError(err).Code != broker.CodeUnavailable {
					t.Errorf("after %v: %v", took, err)
				}
				return err
			}
			until(t, func() bool { return try(broker.NewID(time.Now())) == nil })
			fault.begin(t, server)
			for i := range 5 {
				if err := try(name + fmt.Sprint(i)); err == nil {
					t.Error("recorded in a database that is away")
				}
			}
			for range 100 {
				sent++
				r.Note(refusal(broker.NewID(time.Now())))
			}
			fault.end(t, server)
			until(t, func() bool { return try(broker.NewID(time.Now())) == nil })
			until(t, func() bool { return r.Status().Waiting == 0 })
			if err := stop(); err != nil || r.Status().Lost != 0 || r.Status().Failures == 0 {
				t.Errorf("%+v, %v", r.Status(), err)
			}
			rows := list(t, s)
			intact(t, rows)
			allows := 0
			for _, row := range rows {
				delete(promised, row.ID)
				if row.Outcome == "allowed" {
					allows++
				}
			}
			if got := counted(t, rows) - allows; got != sent || len(promised) != 0 {
				t.Errorf("%d of %d refusals counted; promised and missing: %v", got, sent, promised)
			}
		})
	}
}

// until repeats what is to become true; the test's own deadline ends it.
func until(t *testing.T, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-t.Context().Done():
			t.Fatal("it did not become true")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Threat H8 against a real database: rows of the worst inputs are taken, and found
// by their ids.
func TestWorstInputs(t *testing.T) {
	t.Parallel()
	dsn := pgtest.NewMigrated(t, "audit", func(ctx context.Context, dsn string) error {
		s, err := postgres.Open(ctx, postgres.Config{DSN: dsn})
		if err != nil {
			return err
		}
		_, err = s.Migrate(ctx)
		return errors.Join(err, s.Close())
	})
	pg, err := postgres.Open(t.Context(), postgres.Config{DSN: dsn})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pg.Close() }()
	for name, s := range map[string]store.Records{"postgres": pg, "sqlite": openSQLite(t, filepath.Join(t.TempDir(), "c.db"))} {
		t.Run(name, func(t *testing.T) {
			r, stop := run(t, config(s))
			for i, text := range []string{"\x00", "\xff\xfe", "é\u2028\x1b", strings.Repeat("\x01", 70000), strings.Repeat("\U0001f512", 70000), "'); DROP TABLE records; --"} {
				x := record(fmt.Sprint(broker.NewID(start), i))
				x.Resource, x.Detail, x.Reason, x.Request.Audience, x.Subject.Sub, x.Subject.Audience = text, text, broker.Reason(text), text, text, slices.Repeat([]string{text}, 100)
				x.Subject.Actor = &broker.Actor{Party: broker.Party{Subject: text, Issuer: text}}
				x.Claims.Extra = []broker.Claim{{Name: text, Value: text[:min(len(text), 60000)]}}
				x.Subject.Issuer = nil
				if _, err := r.Append(t.Context(), x); err != nil {
					t.Errorf("%.10q: %v", text, err)
					continue
				}
				row, err := s.Record(t.Context(), x.ID, start)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := audit.OpenFacts(&row, reverse{}); err != nil {
					t.Errorf("%.10q: facts: %v", text, err)
				}
			}
			if err := stop(); err != nil {
				t.Error(err)
			}
			intact(t, list(t, s))
		})
	}
}
