package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/postgres"
	"github.com/cambist/cambist/store/storetest"
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

func open(t testing.TB, c postgres.Config) *postgres.Store {
	t.Helper()
	s, err := postgres.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, postgres.Config{DSN: pgtest.NewMigrated(t, "store", migrate), AllowNoFsync: true})
	})
}

func TestCheckRefusesNoFsync(t *testing.T) {
	t.Parallel()
	s := open(t, postgres.Config{DSN: pgtest.NewMigrated(t, "store", migrate)})
	if err := s.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "fsync = on") {
		t.Errorf("error %v", err)
	}
}

func TestCheckNamesTheFix(t *testing.T) {
	t.Parallel()
	s := open(t, postgres.Config{DSN: pgtest.New(t), AllowNoFsync: true})
	if err := s.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "cambist migrate") {
		t.Errorf("error %v", err)
	}
}

func TestMigrateTwice(t *testing.T) {
	t.Parallel()
	s := open(t, postgres.Config{DSN: pgtest.New(t), AllowNoFsync: true})
	for i, want := range []int{1, 0} {
		if applied, err := s.Migrate(context.Background()); err != nil || len(applied) < want || i == 1 && len(applied) != 0 {
			t.Errorf("applied %v, %v", applied, err)
		}
	}
}

func record(seq int64) store.RecordRow {
	return store.RecordRow{
		At: time.UnixMicro(1_800_000_000_000_000 + seq), Replica: "r", Segment: "s", Seq: seq, ID: fmt.Sprint(seq), Workload: "w", Resource: "r", Outcome: "allowed",
		Body: []byte(strings.Repeat("x", 900)), Prev: make([]byte, 32), Hash: make([]byte, 32),
	}
}

// Threats P3, P5, P7, P11: away, read-only or frozen is unavailable, and after
// it service returns by itself.
func TestOutage(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Durable: true})
	ctx := context.Background()
	s := open(t, postgres.Config{DSN: server.DSN("postgres")})
	if _, err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.Check(ctx); err != nil {
		t.Fatal(err)
	}
	seq := int64(0)
	works := func(when string) {
		t.Helper()
		var err error
		for range 20 { // stale connections are found out one by one
			seq++
			if err = s.AppendRecords(ctx, []store.RecordRow{record(seq)}); err == nil {
				if _, err = s.Heartbeat(ctx, store.Replica{ID: "r"}); err == nil {
					return
				}
			}
		}
		t.Fatalf("%s: %v", when, err)
	}
	fails := func(when string) {
		t.Helper()
		seq++
		if err := s.AppendRecords(ctx, []store.RecordRow{record(seq)}); broker.AsError(err).Code != broker.CodeUnavailable {
			t.Errorf("%s: append: %v", when, err)
		}
		if _, err := s.Heartbeat(ctx, store.Replica{ID: "r"}); broker.AsError(err).Code != broker.CodeUnavailable {
			t.Errorf("%s: heartbeat: %v", when, err)
		}
	}
	works("at first")
	for name, how := range map[string]pgtest.Signal{"fast": pgtest.Fast, "immediate": pgtest.Immediate} {
		server.Stop(how)
		fails(name)
		server.Start(t)
		works("after " + name)
	}
	// Every session of the server becomes read-only, as after a demotion.
	alter := func(value string) {
		t.Helper()
		server.Stop(pgtest.Fast)
		server.Configure(t, "default_transaction_read_only", value)
		server.Start(t)
	}
	alter("on")
	fails("read-only")
	alter("off")
	works("after read-only")
}

func BenchmarkAppendRecords(b *testing.B) {
	server := pgtest.Start(b, pgtest.Options{Durable: true})
	s := open(b, postgres.Config{DSN: server.DSN("postgres")})
	if _, err := s.Migrate(context.Background()); err != nil {
		b.Fatal(err)
	}
	seq := int64(0)
	for _, size := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				rows := make([]store.RecordRow, size)
				for i := range rows {
					seq++
					rows[i] = record(seq)
				}
				if err := s.AppendRecords(context.Background(), rows); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}
