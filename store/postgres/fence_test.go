package postgres_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/postgres"
	"github.com/cambist/cambist/tests/pgtest"
)

// folder is where a server lives; its socket is there.
func folder(t *testing.T, s *pgtest.Server) string {
	t.Helper()
	c, err := pgx.ParseConfig(s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	return c.Host
}

// both is the DSN of two servers, the first of which is tried first.
func both(t *testing.T, a, b *pgtest.Server) string {
	t.Helper()
	return fmt.Sprintf("postgres:///postgres?host=%s,%s&port=5432,5432&user=postgres", folder(t, a), folder(t, b))
}

// promoted returns a server with the data of a stopped one, on the next timeline:
// what a standby is after its promotion. It is stopped too.
func promoted(t *testing.T, from *pgtest.Server) *pgtest.Server {
	t.Helper()
	s := pgtest.Start(t, pgtest.Options{})
	s.Stop(pgtest.Fast)
	data := filepath.Join(folder(t, s), "data")
	if err := os.RemoveAll(data); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("cp", "-a", filepath.Join(folder(t, from), "data"), data).CombinedOutput(); err != nil { //nolint:gosec // folders of our own
		t.Fatalf("%v: %s", err, out)
	}
	signal := filepath.Join(data, "recovery.signal")
	if err := os.WriteFile(signal, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(signal, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	s.Configure(t, "restore_command", "'false'")
	s.Start(t) // recovers, finds no more, and begins a new timeline
	conn, err := pgx.Connect(t.Context(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	for recovering := true; recovering; {
		if err := conn.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&recovering); err != nil {
			t.Fatal(err)
		}
	}
	s.Stop(pgtest.Fast)
	return s
}

// beat sends heartbeats until one is answered as wanted: connections to a server
// that went away are found out one by one.
func beat(t *testing.T, s *postgres.Store, want func(store.Beat, error) bool) store.Beat {
	t.Helper()
	var b store.Beat
	var err error
	for range 200 {
		if b, err = s.Heartbeat(t.Context(), store.Replica{ID: "r"}); want(b, err) {
			return b
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("%+v, %v", b, err)
	return b
}

func on(timeline int64) func(store.Beat, error) bool {
	return func(b store.Beat, err error) bool { return err == nil && b.Timeline == timeline }
}

// Threats G8, P8, P10: after a promotion the store finds the new primary and never
// goes back to the old one, whatever that one says; and while both live, it says
// that what the old one confirmed does not hold.
func TestOldPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	old := pgtest.Start(t, pgtest.Options{})
	if err := migrate(t.Context(), old.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	old.Stop(pgtest.Fast)
	young := promoted(t, old)
	old.Start(t)
	s := open(t, postgres.Config{DSN: both(t, old, young), AllowNoFsync: true})
	first := beat(t, s, on(1))
	if _, _, err := s.Load(t.Context()); err != nil { // connections of every pool to the old one
		t.Fatal(err)
	}
	young.Start(t)
	beat(t, s, func(_ store.Beat, err error) bool {
		return errors.Is(err, store.ErrOtherPrimary) && broker.AsError(err).Code == broker.CodeUnavailable
	})
	if b := beat(t, s, on(first.Timeline+1)); b.Revision != 0 {
		t.Errorf("beat %+v", b)
	}
	// A write goes to the new one, and a read comes from there.
	if _, err := s.Write(t.Context(), store.Write{Base: 0, Author: "me", Changes: []broker.Object{{Kind: broker.KindMapping, Name: "s/x", Set: "s", Body: []byte("{}")}}}); err != nil {
		t.Fatal(err)
	}
	if _, revision, err := s.Load(t.Context()); err != nil || revision != 1 {
		t.Errorf("revision %d, %v", revision, err)
	}
	young.Stop(pgtest.Fast)
	for range 5 {
		if b, err := s.Heartbeat(t.Context(), store.Replica{ID: "r"}); err == nil {
			t.Fatalf("the old primary was asked again: %+v", b)
		}
	}
	if _, revision, err := s.Load(t.Context()); err == nil {
		t.Errorf("the old primary was read: revision %d", revision)
	}
	young.Start(t)
	beat(t, s, on(first.Timeline+1))
}

// few sends at most so many heartbeats until one is answered on the timeline.
func few(t *testing.T, s *postgres.Store, most int, timeline int64) {
	t.Helper()
	var err error
	for range most {
		var b store.Beat
		if b, err = s.Heartbeat(t.Context(), store.Replica{ID: "r"}); err == nil && b.Timeline == timeline {
			return
		}
	}
	t.Errorf("after %d heartbeats: %v", most, err)
}

// Threats P7, G9: a primary that is frozen keeps its connections and answers none;
// after three deadlines they are given up, and the new primary is found.
func TestFrozenPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	old := pgtest.Start(t, pgtest.Options{})
	if err := migrate(t.Context(), old.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	old.Stop(pgtest.Fast)
	young := promoted(t, old)
	old.Start(t)
	s := open(t, postgres.Config{DSN: both(t, old, young), AllowNoFsync: true})
	beat(t, s, on(1))
	old.Freeze()
	young.Start(t)
	few(t, s, 6, 2)
	if _, revision, err := s.Load(t.Context()); err != nil || revision != 0 {
		t.Errorf("revision %d, %v", revision, err)
	}
}

// Threats P11, G9: a server that was demoted answers that it is read-only. Where one
// name leads to the primary, the connections to it are let go for the name to lead
// to the new one.
func TestReadOnlyPrimaryIsLeft(t *testing.T) {
	t.Parallel()
	old := pgtest.Start(t, pgtest.Options{})
	if err := migrate(t.Context(), old.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	old.Stop(pgtest.Fast)
	young := promoted(t, old)
	old.Start(t)
	name, err := os.MkdirTemp("/tmp", "cambist-name")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(name) }()
	point := func(to *pgtest.Server) {
		t.Helper()
		_ = os.Remove(filepath.Join(name, "primary"))
		if err := os.Symlink(folder(t, to), filepath.Join(name, "primary")); err != nil {
			t.Fatal(err)
		}
	}
	point(old)
	s := open(t, postgres.Config{DSN: "postgres:///postgres?user=postgres&host=" + filepath.Join(name, "primary"), AllowNoFsync: true})
	beat(t, s, on(1))
	young.Start(t)
	point(young)
	conn, err := pgx.Connect(t.Context(), old.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, text := range []string{"ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	beat(t, s, func(_ store.Beat, err error) bool {
		return broker.AsError(err).Code == broker.CodeUnavailable && err != nil
	})
	few(t, s, 3, 2)
}

// Threat P23: another cluster behind the same address is not ours.
func TestOtherClusterIsRefused(t *testing.T) {
	t.Parallel()
	ours, other := pgtest.Start(t, pgtest.Options{}), pgtest.Start(t, pgtest.Options{})
	for _, s := range []*pgtest.Server{ours, other} {
		if err := migrate(t.Context(), s.DSN("postgres")); err != nil {
			t.Fatal(err)
		}
	}
	other.Stop(pgtest.Fast)
	s := open(t, postgres.Config{DSN: both(t, ours, other), AllowNoFsync: true})
	beat(t, s, on(1))
	other.Start(t)
	ours.Stop(pgtest.Fast)
	for range 5 {
		if _, err := s.Heartbeat(t.Context(), store.Replica{ID: "r"}); err == nil || broker.AsError(err).Code != broker.CodeUnavailable {
			t.Fatalf("error %v", err)
		}
	}
	ours.Start(t)
	beat(t, s, on(1))
}

// Threats H4, P24: when the commit of a policy, a key or a record was sent and not
// answered, nobody says that it failed, nor that it succeeded.
func TestUnknownOutcome(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	if err := migrate(t.Context(), server.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	s := open(t, postgres.Config{DSN: server.DSN("postgres"), AllowNoFsync: true})
	object := broker.Object{Kind: broker.KindMapping, Name: "s/x", Set: "s", Body: []byte("{}")}
	w := store.Write{Base: store.AnyRevision, Author: "me", Changes: []broker.Object{object}}
	if _, err := s.Write(t.Context(), w); err != nil { // opens connections while commits are answered
		t.Fatal(err)
	}
	if err := s.AppendRecords(t.Context(), []store.RecordRow{record(1)}); err != nil {
		t.Fatal(err)
	}
	admin, err := pgx.Connect(t.Context(), server.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = admin.Close(context.Background()) }()
	// Commits now wait for a standby that there is not.
	for _, text := range []string{"ALTER SYSTEM SET synchronous_standby_names = 'nobody'", "SELECT pg_reload_conf()"} {
		if _, err := admin.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	stuck := func(want int) {
		t.Helper()
		limit, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for have := -1; have != want; {
			if err := admin.QueryRow(limit, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&have); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A reload is in force some time after it was asked for: when a commit waits.
	for answered := true; answered; {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		probe, err := pgx.Connect(t.Context(), server.DSN("postgres"))
		if err == nil {
			_, err = probe.Exec(ctx, "SELECT pg_logical_emit_message(true, 'probe', '')")
			_ = probe.Close(context.WithoutCancel(ctx))
		}
		answered = err == nil
		cancel()
	}
	stuck(0)
	for name, do := range map[string]func(context.Context) error{
		"write":  func(ctx context.Context) error { _, err := s.Write(ctx, w); return err },
		"key":    func(ctx context.Context) error { return s.InsertKey(ctx, key, 0) },
		"append": func(ctx context.Context) error { return s.AppendRecords(ctx, []store.RecordRow{record(2)}) },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- do(ctx) }()
		if name != "append" { // that one gives up by itself
			stuck(1)
			cancel()
		}
		if err := <-done; !errors.Is(err, store.ErrUnknownOutcome) || broker.AsError(err).Code != broker.CodeUnavailable {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		stuck(0) // the server has heard of it
	}
	// And indeed they were committed.
	if _, revision, err := s.Load(t.Context()); err != nil || revision != 3 {
		t.Errorf("revision %d, %v", revision, err)
	}
	if last, err := s.LastRecord(t.Context(), "r"); err != nil || last.Seq != 2 {
		t.Errorf("last %d, %v", last.Seq, err)
	}
}

// Threat P7: a frozen server is known to be away in time, and nothing that was not
// sent is called unknown; when it thaws service returns by itself.
func TestFrozen(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{})
	if err := migrate(t.Context(), server.DSN("postgres")); err != nil {
		t.Fatal(err)
	}
	s := open(t, postgres.Config{DSN: server.DSN("postgres"), AllowNoFsync: true})
	if err := s.AppendRecords(t.Context(), []store.RecordRow{record(1)}); err != nil {
		t.Fatal(err)
	}
	server.Freeze()
	unknown := 0
	for seq := int64(2); seq < 8; seq++ {
		began := time.Now()
		err := s.AppendRecords(t.Context(), []store.RecordRow{record(seq)})
		if broker.AsError(err).Code != broker.CodeUnavailable || time.Since(began) > 2*time.Second {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		if errors.Is(err, store.ErrUnknownOutcome) {
			unknown++
		}
	}
	if unknown != 1 { // the one connection that was open
		t.Errorf("%d outcomes are unknown", unknown)
	}
	server.Thaw()
	var err error
	for seq := int64(8); seq < 40; seq++ {
		if err = s.AppendRecords(t.Context(), []store.RecordRow{record(seq)}); err == nil {
			return
		}
	}
	t.Error(err)
}

// What a connection is for stands in the server's list, so that an operator sees
// which pool is busy; and every one of them waits for the disk.
func TestPoolsHaveNames(t *testing.T) {
	t.Parallel()
	dsn := pgtest.NewMigrated(t, "store", migrate)
	s := open(t, postgres.Config{DSN: dsn, AllowNoFsync: true})
	for _, action := range everything {
		if err := action.do(t.Context(), s); err != nil && broker.AsError(err).Code != broker.CodeNotFound {
			t.Fatalf("%s: %v", action.name, err)
		}
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var names string
	if err := conn.QueryRow(t.Context(), `SELECT string_agg(DISTINCT application_name, ',' ORDER BY application_name) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'cambist%'`).Scan(&names); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"heartbeat", "policy", "audit", "admin", "report"} {
		if !strings.Contains(names, "cambist "+want) {
			t.Errorf("no connection is called %q: %s", want, names)
		}
	}
	for name, db := range map[string]*sql.DB{"admin": s.Writer(), "policy": s.Reader(), "report": s.Report()} {
		for setting, want := range map[string]string{"statement_timeout": "30s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "10s", "synchronous_commit": "on"} {
			var have string
			if err := db.QueryRowContext(t.Context(), "SHOW "+setting).Scan(&have); err != nil || have != want {
				t.Errorf("%s: %s is %q, %v", name, setting, have, err)
			}
		}
	}
}
