package pgtest_test

import (
	"context"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/cambist/cambist/tests/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// prepared counts how often the template was made: once in the life of a process.
var prepared atomic.Int32

// Two databases from one template know nothing of one another.
func TestDatabasesAreApart(t *testing.T) {
	t.Parallel()
	open := func() *pgx.Conn {
		dsn := pgtest.NewMigrated(t, "apart", func(ctx context.Context, dsn string) error {
			prepared.Add(1)
			conn, err := pgx.Connect(ctx, dsn)
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(ctx) }()
			_, err = conn.Exec(ctx, "CREATE TABLE x (n int)")
			return err
		})
		conn, err := pgx.Connect(context.Background(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	a, b := open(), open()
	if _, err := a.Exec(context.Background(), "INSERT INTO x VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	var n int
	if err := b.QueryRow(context.Background(), "SELECT count(*) FROM x").Scan(&n); err != nil || n != 0 || prepared.Load() != 1 {
		t.Errorf("%d rows, prepared %d times, %v", n, prepared.Load(), err)
	}
}

func TestStopAndStart(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, pgtest.Options{Durable: true})
	s.Stop(pgtest.Fast)
	if _, err := pgx.Connect(context.Background(), s.DSN("postgres")); err == nil {
		t.Error("a stopped server answers")
	}
	s.Start(t)
	conn, err := pgx.Connect(context.Background(), s.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(context.Background()); err != nil {
		t.Error(err)
	}
}
