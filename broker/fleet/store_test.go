package fleet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/fleet"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/postgres"
	"github.com/cambist/cambist/store/sqlite"
	"github.com/cambist/cambist/tests/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func migrate(ctx context.Context, dsn string) error {
	s, err := postgres.Open(ctx, postgres.Config{DSN: dsn})
	if err != nil {
		return err
	}
	_, err = s.Migrate(ctx)
	return errors.Join(err, s.Close())
}

func openPostgres(t testing.TB, dsn string) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), postgres.Config{DSN: dsn, AllowNoFsync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// rooms opens a fresh store of each kind.
var rooms = map[string]func(t *testing.T) store.Store{
	"postgres": func(t *testing.T) store.Store { return openPostgres(t, pgtest.NewMigrated(t, "fleet", migrate)) },
	"sqlite": func(t *testing.T) store.Store {
		s, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(t.TempDir(), "c.db"), NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		if _, err := s.Migrate(context.Background()); err != nil {
			t.Fatal(err)
		}
		return s
	},
}

func inEachRoom(t *testing.T, test func(t *testing.T, s store.Store)) {
	t.Parallel()
	for name, open := range rooms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, open(t))
		})
	}
}

func put(t testing.TB, s store.Policies, changes ...broker.Object) broker.Revision {
	t.Helper()
	revision, err := s.Write(t.Context(), store.Write{Base: store.AnyRevision, Author: "me", At: time.Now(), Changes: changes})
	if err != nil {
		t.Fatal(err)
	}
	return revision
}

// until waits for what is to become true; the test's own deadline ends it.
func until(t testing.TB, r *replica, done func() bool) {
	t.Helper()
	for !done() {
		select {
		case <-t.Context().Done():
			t.Fatalf("it did not become true: %+v", r.Status())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func serves(r *replica, revision broker.Revision) func() bool {
	return func() bool { return r.Status().Ready() && r.revision() == revision }
}

// deaf is a store whose notifications are all lost.
type deaf struct{ store.Replicas }

func (deaf) Wait(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// A write is served by every replica, whether anybody hears of it or not, and each
// says so in its row; at the end the rows are gone.
func TestReplicasFollow(t *testing.T) {
	inEachRoom(t, func(t *testing.T, s store.Store) {
		hears := follow(t, s, s, func(c *fleet.Config) { c.ID = "hears" })
		polls := follow(t, s, deaf{s}, func(c *fleet.Config) { c.ID = "polls" })
		for i := range 3 {
			revision := put(t, s, mapping(fmt.Sprint(i)))
			for _, r := range []*replica{hears, polls} {
				until(t, r, serves(r, revision))
			}
		}
		until(t, polls, func() bool {
			rows, err := s.ListReplicas(t.Context())
			return err == nil && len(rows) == 2 && rows[0].Applied == 3 && rows[1].Applied == 3
		})
		for _, r := range []*replica{hears, polls} {
			if s := r.Status(); s.Problem != "" || s.ClockOffset.Abs() > time.Second || s.Failures != 0 {
				t.Errorf("%+v", s)
			}
			r.end(t)
		}
		if rows, err := s.ListReplicas(t.Context()); err != nil || len(rows) != 0 {
			t.Errorf("rows %+v, %v", rows, err)
		}
	})
}

// watched is a store that remembers which revisions a follower was given.
type watched struct {
	store.Policies
	mu   sync.Mutex
	seen []broker.Revision
}

func (w *watched) Changes(ctx context.Context, after broker.Revision) ([]broker.Object, broker.Revision, error) {
	changes, to, err := w.Policies.Changes(ctx, after)
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range changes {
		w.seen = append(w.seen, c.Revision)
	}
	return changes, to, err
}

// Threat G4: of fifty writers at once each revision is seen once, in order, and
// what is served only moves on.
func TestManyWriters(t *testing.T) {
	inEachRoom(t, func(t *testing.T, s store.Store) {
		const writers = 50
		w := &watched{Policies: s}
		var served []broker.Revision
		r := follow(t, w, s, func(c *fleet.Config) {
			c.Prepare = func(_ context.Context, at broker.Revision) error { served = append(served, at); return nil }
		})
		until(t, r, serves(r, 0))
		var wg sync.WaitGroup
		for i := range writers {
			wg.Go(func() { put(t, s, mapping(fmt.Sprint(i))) })
		}
		until(t, r, serves(r, writers))
		wg.Wait()
		r.end(t)
		if !slices.IsSorted(served) || served[len(served)-1] != writers {
			t.Errorf("served %v", served)
		}
		slices.Sort(w.seen) // within one answer they come by name
		for i, revision := range w.seen {
			if revision != broker.Revision(i+1) {
				t.Fatalf("seen %v", w.seen)
			}
		}
		if len(w.seen) != writers {
			t.Errorf("%d of %d revisions were seen", len(w.seen), writers)
		}
	})
}

// Threat P22: rows that were written past the program, blank, torn or of another
// world, stop nobody and are found; the next write is served.
func TestPoisonedRows(t *testing.T) {
	t.Parallel()
	dsn := pgtest.NewMigrated(t, "fleet", migrate)
	s := openPostgres(t, dsn)
	put(t, s, mapping("good"))
	r := follow(t, s, s, nil)
	until(t, r, serves(r, 1))
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	bodies := []string{"{", "null", "[]", "{}", " ", `{"effect":"deny"}`, `{"effect":"allow","from":null}`, "\u0001\u2028", `{"a":1}`}
	kinds := []string{"mapping", "resource", "issuer", "block", "set"}
	revision := broker.Revision(1)
	for _, kind := range kinds {
		for i, body := range bodies {
			revision++
			tx, err := conn.Begin(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range []struct {
				text string
				args []any
			}{
				{"UPDATE policy_version SET revision = revision + 1", nil},
				{"INSERT INTO policy_revisions VALUES ($1, 'x', '', 0)", []any{int64(revision)}},
				{"INSERT INTO policy_changes VALUES ($1, $2, $3, '', $4, false)", []any{int64(revision), kind, fmt.Sprint("\u0002bad ", i), body}},
				{"INSERT INTO policy_objects VALUES ($2, $3, '', $4, $1)", []any{int64(revision), kind, fmt.Sprint("\u0002bad ", i), body}},
			} {
				if _, err := tx.Exec(t.Context(), step.text, step.args...); err != nil {
					t.Fatalf("%s: %v", step.text, err)
				}
			}
			if err := tx.Commit(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	last := put(t, s, mapping("after"))
	until(t, r, serves(r, last))
	if s := r.Status(); s.Quarantined < 20 || len(s.Findings) == 0 || s.Problem != "" || last != revision+1 {
		t.Errorf("quarantined %d, %d findings, problem %q", s.Quarantined, len(s.Findings), s.Problem)
	}
	again := follow(t, s, s, func(c *fleet.Config) { c.ID = "r2" }) // from scratch it comes to the same
	until(t, again, serves(again, last))
	if a, b := r.Status(), again.Status(); a.Quarantined != b.Quarantined {
		t.Errorf("quarantined %d by deltas and %d at once", a.Quarantined, b.Quarantined)
	}
	r.end(t)
	again.end(t)
}

// Threats P1, P3, P5, P7: while the database is stopped, crashed or frozen what is
// there is served, and when it is back both replicas follow by themselves. One that
// starts meanwhile serves nothing and then serves.
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
			if err := migrate(t.Context(), server.DSN("postgres")); err != nil {
				t.Fatal(err)
			}
			a, b := openPostgres(t, server.DSN("postgres")), openPostgres(t, server.DSN("postgres"))
			put(t, a, mapping("a"))
			first := follow(t, a, a, func(c *fleet.Config) { c.ID = "first" })
			until(t, first, serves(first, 1))
			fault.begin(t, server)
			late := follow(t, b, b, func(c *fleet.Config) { c.ID = "late" })
			until(t, first, func() bool { return first.Status().Problem != "" })
			until(t, late, func() bool { return late.Status().Problem != "" })
			if s := first.Status(); !s.Ready() || s.Revision != 1 {
				t.Errorf("%+v", s)
			}
			if s := late.Status(); s.Ready() || s.Revision != 0 {
				t.Errorf("%+v", s)
			}
			fault.end(t, server)
			back := time.Now()
			until(t, late, serves(late, 1))
			t.Logf("from the return of the database to a lease: %v", time.Since(back))
			for { // the first write may meet a connection that is gone
				_, err := a.Write(t.Context(), store.Write{Base: 1, Author: "me", Changes: []broker.Object{mapping("b")}})
				if err == nil || broker.AsError(err).Code == broker.CodeStale {
					break
				}
			}
			for _, r := range []*replica{first, late} {
				until(t, r, serves(r, 2))
				r.end(t)
			}
		})
	}
}

// BenchmarkReturn measures how long after the start of a stopped PostgreSQL a
// replica has a lease again.
func BenchmarkReturn(b *testing.B) {
	server := pgtest.Start(b, pgtest.Options{Durable: true})
	if err := migrate(b.Context(), server.DSN("postgres")); err != nil {
		b.Fatal(err)
	}
	s := openPostgres(b, server.DSN("postgres"))
	r := follow(b, s, s, nil)
	until(b, r, serves(r, 0))
	var longest, sum time.Duration
	for b.Loop() {
		server.Stop(pgtest.Fast)
		until(b, r, func() bool { return r.Status().Problem != "" })
		beats := r.Status().Beats
		server.Start(b)
		back := time.Now()
		until(b, r, func() bool { return r.Status().Beats > beats && r.Status().Problem == "" })
		sum, longest = sum+time.Since(back), max(longest, time.Since(back))
	}
	b.ReportMetric(float64(sum.Milliseconds())/float64(b.N), "ms/return")
	b.ReportMetric(float64(longest.Milliseconds()), "ms/longest")
}

// BenchmarkCurrent is what each request pays twice.
func BenchmarkCurrent(b *testing.B) {
	f := newFake()
	r := follow(b, f, f, nil)
	until(b, r, func() bool { return r.Status().Ready() })
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if view, _ := r.Current(); view == nil {
				b.Error("nothing is served")
			}
		}
	})
}
