package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/postgres"
	"github.com/cambist/cambist/tests/pgtest"
)

var logins atomic.Int64

// login makes a login role that is a member of one group and of nothing else, and
// returns the DSN by which it comes in.
func login(t *testing.T, dsn, group string) string {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	name := fmt.Sprintf("login_%d", logins.Add(1))
	if _, err := conn.Exec(t.Context(), fmt.Sprintf("CREATE ROLE %s LOGIN IN ROLE %s", name, group)); err != nil {
		t.Fatal(err)
	}
	return strings.Replace(dsn, "user=postgres", "user="+name, 1)
}

// forbidden reports whether the database refused for want of a privilege.
func forbidden(err error) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && pg.Code == "42501"
}

var key = store.KeyRow{ID: "k", Purpose: "sign", Algorithm: "ES256", State: "pending", Version: 1, Wrapped: []byte{1}, CreatedAt: time.UnixMicro(1)}

// everything is what a store can do, each as one action. Those that stand on an
// earlier one come after it.
var everything = []struct {
	name string
	do   func(ctx context.Context, s *postgres.Store) error
}{
	{"check", func(ctx context.Context, s *postgres.Store) error { return s.Check(ctx) }},
	{"migrate", func(ctx context.Context, s *postgres.Store) error { _, err := s.Migrate(ctx); return err }},
	{"partitions", func(ctx context.Context, s *postgres.Store) error {
		return s.EnsurePartitions(ctx, time.Now().Add(day))
	}},
	{"heartbeat", func(ctx context.Context, s *postgres.Store) error {
		_, err := s.Heartbeat(ctx, store.Replica{ID: "r"})
		return err
	}},
	{"list replicas", func(ctx context.Context, s *postgres.Store) error { _, err := s.ListReplicas(ctx); return err }},
	{"remove replica", func(ctx context.Context, s *postgres.Store) error { return s.RemoveReplica(ctx, "r") }},
	{"wait", func(ctx context.Context, s *postgres.Store) error { return s.Wait(ctx) }},
	{"load", func(ctx context.Context, s *postgres.Store) error { _, _, err := s.Load(ctx); return err }},
	{"changes", func(ctx context.Context, s *postgres.Store) error { _, _, err := s.Changes(ctx, 0); return err }},
	{"load at", func(ctx context.Context, s *postgres.Store) error { _, err := s.LoadAt(ctx, 1); return err }},
	{"revisions", func(ctx context.Context, s *postgres.Store) error { _, err := s.Revisions(ctx, 0, 1); return err }},
	{"write", func(ctx context.Context, s *postgres.Store) error {
		for _, deleted := range []bool{false, false, true} {
			o := broker.Object{Kind: broker.KindMapping, Name: "s/x", Set: "s", Body: []byte("{}"), Deleted: deleted}
			if deleted {
				o.Body = nil
			}
			if _, err := s.Write(ctx, store.Write{Base: store.AnyRevision, Author: "a", Changes: []broker.Object{o}}); err != nil {
				return err
			}
		}
		return nil
	}},
	{"revoke", func(ctx context.Context, s *postgres.Store) error {
		return s.Revoke(ctx, broker.Revocation{TokenID: fmt.Sprint("t-", logins.Add(1)), At: time.Now(), Until: time.Now().Add(time.Minute)})
	}},
	{"append", func(ctx context.Context, s *postgres.Store) error {
		return s.AppendRecords(ctx, []store.RecordRow{record(logins.Add(1))})
	}},
	{"list records", func(ctx context.Context, s *postgres.Store) error {
		_, err := s.ListRecords(ctx, store.RecordFilter{Limit: 1})
		return err
	}},
	{"last record", func(ctx context.Context, s *postgres.Store) error { _, err := s.LastRecord(ctx, "r"); return err }},
	{"list keys", func(ctx context.Context, s *postgres.Store) error { _, err := s.ListKeys(ctx); return err }},
	{"insert key", func(ctx context.Context, s *postgres.Store) error { return s.InsertKey(ctx, key, 0) }},
	{"update key", func(ctx context.Context, s *postgres.Store) error {
		next := key
		next.Version, next.State = 2, "active"
		return s.UpdateKey(ctx, next)
	}},
	{"stamp", func(ctx context.Context, s *postgres.Store) error { _, err := s.Stamp(ctx); return err }},
	{"set stamp", func(ctx context.Context, s *postgres.Store) error { return s.SetStamp(ctx, "x") }},
}

const day = 24 * time.Hour

// Threat G14, design 8: a member of a role can do what the role is for, and the
// database itself refuses all the rest.
func TestRolesOfTheStore(t *testing.T) {
	t.Parallel()
	for group, can := range map[string]string{
		"cambist_issue": "check migrate heartbeat list replicas remove replica wait load changes load at revisions revoke append list records last record list keys stamp",
		"cambist_admin": "check migrate list replicas wait load changes load at revisions write append list records last record stamp",
		"cambist_keys":  "check migrate wait list keys insert key update key stamp",
		"cambist_owner": "check migrate partitions heartbeat list replicas remove replica wait load changes load at revisions write revoke append list records last record list keys insert key update key stamp set stamp",
	} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			dsn := pgtest.NewMigrated(t, "store", migrate)
			s := open(t, postgres.Config{DSN: login(t, dsn, group), AllowNoFsync: true})
			for _, action := range everything {
				switch err := action.do(t.Context(), s); {
				case strings.Contains(" "+can+" ", " "+action.name+" "):
					if err != nil && broker.AsError(err).Code != broker.CodeNotFound {
						t.Errorf("may not %s: %v", action.name, err)
					}
				case !forbidden(err):
					t.Errorf("%s: %v, want 42501", action.name, err)
				}
			}
		})
	}
}

// What goes past the store is refused as well: nobody who serves can change what
// was recorded, keys, or history.
func TestRolesOfTheSchema(t *testing.T) {
	t.Parallel()
	dsn := pgtest.NewMigrated(t, "store", migrate)
	s := open(t, postgres.Config{DSN: dsn, AllowNoFsync: true})
	if err := s.EnsurePartitions(t.Context(), time.Now().Add(day)); err != nil {
		t.Fatal(err)
	}
	row := record(1)
	row.At = time.Now()
	if err := s.AppendRecords(t.Context(), []store.RecordRow{record(1), row}); err != nil {
		t.Fatal(err)
	}
	if err := s.InsertKey(t.Context(), key, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(t.Context(), store.Write{Base: 1, Author: "a", Changes: []broker.Object{{Kind: broker.KindMapping, Name: "s/x", Set: "s", Body: []byte("{}")}}}); err != nil {
		t.Fatal(err)
	}
	partition := "records_" + time.Now().UTC().Format("20060102")
	// The triggers hold for everybody, the owner too.
	never := []string{
		"UPDATE records SET body = ''", "DELETE FROM records", "UPDATE " + partition + " SET body = ''", "DELETE FROM " + partition, "DELETE FROM records_default",
		"UPDATE policy_changes SET body = '{}'", "DELETE FROM policy_changes", "UPDATE policy_revisions SET author = 'x'", "DELETE FROM policy_revisions",
		"UPDATE policy_version SET revision = revision", "UPDATE policy_version SET revision = 1", "UPDATE policy_version SET revision = revision + 2", "DELETE FROM policy_version",
	}
	served := append([]string{
		"TRUNCATE records", "TRUNCATE " + partition, "DROP TABLE records", "DROP TABLE " + partition, "ALTER TABLE records DISABLE TRIGGER ALL", "INSERT INTO " + partition + " SELECT * FROM records",
		"TRUNCATE keys", "DELETE FROM keys", "UPDATE keys SET public = ''", "UPDATE keys SET id = 'x'", "DROP TABLE keys",
		"INSERT INTO goose_db_version (version_id, is_applied) VALUES (9, true)", "CREATE TABLE mine (n int)", "SET ROLE cambist_owner", "CREATE ROLE mine",
		"DELETE FROM revocations", "UPDATE revocations SET until = 0", "TRUNCATE revocations", "INSERT INTO revocations (id, at, until, revision) VALUES ('x', 0, 0, 1)",
		"SELECT revocation_moves_version()", "ALTER FUNCTION revocation_moves_version() SECURITY INVOKER", "DROP TRIGGER revocations_move_version ON revocations",
		"INSERT INTO store_stamp (stamp) VALUES ('x')", "UPDATE store_stamp SET stamp = 'x'",
	}, never...)
	for group, cannot := range map[string][]string{
		"cambist_issue": append([]string{"UPDATE policy_version SET revision = revision + 1", "INSERT INTO policy_objects VALUES ('mapping', 'x', 's', '{}', 1)", "DELETE FROM policy_objects", "UPDATE keys SET state = 'gone'"}, served...),
		"cambist_admin": append([]string{"UPDATE keys SET state = 'gone'", "SELECT wrapped FROM keys", "INSERT INTO revocations (id, at, until) VALUES ('x', 0, 0)", "DELETE FROM replicas", "UPDATE replicas SET applied = 9"}, served...),
		"cambist_keys":  append([]string{"SELECT id FROM revocations", "DELETE FROM policy_objects", "INSERT INTO records SELECT * FROM records", "SELECT body FROM records", "INSERT INTO policy_changes VALUES (1, 'mapping', 'x', 's', '{}', false)", "DELETE FROM replicas"}, served...),
		"cambist_owner": never,
	} {
		t.Run(group, func(t *testing.T) {
			t.Parallel()
			conn, err := pgx.Connect(t.Context(), login(t, dsn, group))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close(context.Background()) }()
			for _, text := range cannot {
				if _, err := conn.Exec(t.Context(), text); !forbidden(err) {
					t.Errorf("%s: %v, want 42501", text, err)
				}
			}
		})
	}
}

// The trigger of a revocation has rights that its caller does not have: it is not
// led to tables of the caller's own.
func TestRevocationTriggerIsNotMisled(t *testing.T) {
	t.Parallel()
	dsn := pgtest.NewMigrated(t, "store", migrate)
	conn, err := pgx.Connect(t.Context(), login(t, dsn, "cambist_issue"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, text := range []string{
		"CREATE TEMP TABLE policy_version (revision bigint)", "INSERT INTO pg_temp.policy_version VALUES (41)", "GRANT ALL ON pg_temp.policy_version TO PUBLIC",
		"INSERT INTO public.revocations (id, at, until) VALUES ('t', 0, (extract(epoch FROM now()) * 1000000)::bigint)",
	} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
	}
	var moved, own, marked int64
	if err := conn.QueryRow(t.Context(), "SELECT (SELECT revision FROM public.policy_version), (SELECT revision FROM pg_temp.policy_version), (SELECT revision FROM public.revocations)").
		Scan(&moved, &own, &marked); err != nil || moved != 1 || own != 41 || marked != 1 {
		t.Errorf("revision %d, of the caller's own table %d, of the revocation %d, %v", moved, own, marked, err)
	}
}

// The first migration can be run by whoever owns the database and may make roles;
// all that it makes belongs to the owner, also what a member of the owner makes.
func TestOwner(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	name := fmt.Sprintf("dba_%d", logins.Add(1))
	for _, text := range []string{"CREATE ROLE " + name + " LOGIN CREATEROLE", fmt.Sprintf("ALTER DATABASE %s OWNER TO %s", conn.Config().Database, name)} {
		if _, err := conn.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	// Another test may have made the roles: then an administrator lets it have the owner.
	if _, err := conn.Exec(t.Context(), "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'cambist_owner') THEN GRANT cambist_owner TO "+name+" WITH ADMIN OPTION; END IF; END $$"); err != nil {
		t.Fatal(err)
	}
	s := open(t, postgres.Config{DSN: strings.Replace(dsn, "user=postgres", "user="+name, 1), AllowNoFsync: true})
	if applied, err := s.Migrate(t.Context()); err != nil || len(applied) != 2 {
		t.Fatalf("applied %v, %v", applied, err)
	}
	member := open(t, postgres.Config{DSN: login(t, dsn, "cambist_owner"), AllowNoFsync: true})
	if err := member.EnsurePartitions(t.Context(), time.Now().Add(day)); err != nil {
		t.Fatal(err)
	}
	var others string
	if err := conn.QueryRow(t.Context(), `SELECT coalesce(string_agg(relname, ' '), '') FROM pg_class WHERE relnamespace = 'public'::regnamespace AND pg_get_userbyid(relowner) <> 'cambist_owner'`).
		Scan(&others); err != nil || others != "" {
		t.Errorf("not the owner's: %s, %v", others, err)
	}
}

// What a later migration makes belongs to the owner too, whoever runs it.
func TestBecomeOwner(t *testing.T) {
	t.Parallel()
	dsn := pgtest.NewMigrated(t, "store", migrate)
	for name, tt := range map[string]struct{ dsn, want string }{
		"member":       {login(t, dsn, "cambist_owner"), "cambist_owner"},
		"superuser":    {dsn, "cambist_owner"},
		"no member":    {login(t, dsn, "cambist_issue"), "login"},
		"first of all": {pgtest.New(t), "postgres"},
	} {
		conn, err := pgx.Connect(t.Context(), tt.dsn)
		if err != nil {
			t.Fatal(err)
		}
		var who string
		if err := postgres.BecomeOwner(t.Context(), conn); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := conn.QueryRow(t.Context(), "SELECT current_user").Scan(&who); err != nil || !strings.HasPrefix(who, tt.want) {
			t.Errorf("%s: is %s, %v", name, who, err)
		}
		if err := conn.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// Rows that came before their partition do not keep the days after from having one.
func TestPartitionsGoOn(t *testing.T) {
	t.Parallel()
	dsn := pgtest.NewMigrated(t, "store", migrate)
	s := open(t, postgres.Config{DSN: dsn, AllowNoFsync: true})
	row := record(1)
	row.At = time.Now()
	if err := s.AppendRecords(t.Context(), []store.RecordRow{row}); err != nil {
		t.Fatal(err)
	}
	today := time.Now().UTC().Format("20060102")
	if err := s.EnsurePartitions(t.Context(), time.Now().Add(3*day)); err == nil || !strings.Contains(err.Error(), today) || strings.Count(err.Error(), "partition \"records_2") != 1 {
		t.Errorf("error %v", err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var made int
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_inherits WHERE inhparent = 'records'::regclass").Scan(&made); err != nil || made != 1+3 {
		t.Errorf("%d partitions, %v", made, err)
	}
	tomorrow := record(2)
	tomorrow.At = time.Now().Add(day)
	if err := s.AppendRecords(t.Context(), []store.RecordRow{tomorrow}); err != nil {
		t.Error(err)
	}
	if got, err := s.Record(t.Context(), tomorrow.ID, tomorrow.At); err != nil || got.Seq != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}
