package pgtest_test

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cambist/cambist/tests/pgtest"
)

// dial opens a connection that the test closes.
func dial(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// folder returns where the server of a DSN lives.
func folder(t *testing.T, dsn string) string {
	t.Helper()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return config.Host
}

func TestOnlyASocket(t *testing.T) {
	t.Parallel()
	dsn := pgtest.New(t)
	var addresses, fsync string
	if err := dial(t, dsn).QueryRow(t.Context(), "SELECT current_setting('listen_addresses'), current_setting('fsync')").Scan(&addresses, &fsync); err != nil {
		t.Fatal(err)
	}
	if addresses != "" || fsync != "off" {
		t.Errorf("listens on %q, fsync %s", addresses, fsync)
	}
	if path := filepath.Join(folder(t, dsn), ".s.PGSQL.5432"); len(path) > 107 {
		t.Errorf("the socket's path has %d bytes", len(path))
	}
}

func TestADatabaseIsDropped(t *testing.T) {
	t.Parallel()
	var dsn string
	t.Run("with a connection open", func(t *testing.T) {
		dsn = pgtest.New(t)
		conn, err := pgx.Connect(t.Context(), dsn)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Ping(t.Context()); err != nil { // never closed: a pool that a test forgot
			t.Fatal(err)
		}
	})
	if _, err := pgx.Connect(t.Context(), dsn); err == nil {
		t.Error("the database is still there")
	}
}

func TestImmediateKeepsWhatIsCommitted(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, pgtest.Options{Durable: true})
	if _, err := dial(t, s.DSN("postgres")).Exec(t.Context(), "CREATE TABLE x AS SELECT 7 AS n"); err != nil {
		t.Fatal(err)
	}
	s.Stop(pgtest.Immediate)
	s.Configure(t, "work_mem", "'5MB'")
	s.Start(t)
	var n int
	var fsync, mem string
	if err := dial(t, s.DSN("postgres")).QueryRow(t.Context(), "SELECT n, current_setting('fsync'), current_setting('work_mem') FROM x").Scan(&n, &fsync, &mem); err != nil {
		t.Fatal(err)
	}
	if n != 7 || fsync != "on" || mem != "5MB" {
		t.Errorf("n %d, fsync %s, work_mem %s", n, fsync, mem)
	}
}

// A frozen server answers nobody: neither a new connection nor an old one. A
// frozen server can be stopped.
func TestFreezeAndThaw(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, pgtest.Options{})
	conn := dial(t, s.DSN("postgres"))
	s.Freeze()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := conn.Exec(ctx, "SELECT 1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an open connection: %v", err)
	}
	if _, err := pgx.Connect(ctx, s.DSN("postgres")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a new connection: %v", err)
	}
	s.Thaw()
	if err := dial(t, s.DSN("postgres")).Ping(t.Context()); err != nil {
		t.Error(err)
	}
	s.Freeze()
	s.Stop(pgtest.Fast)
	if _, err := pgx.Connect(t.Context(), s.DSN("postgres")); err == nil {
		t.Error("a stopped server answers")
	}
}

// fatal is a test that may fail without failing this one.
type fatal struct {
	testing.TB
	said string
}

func (f *fatal) Helper() {}

func (f *fatal) Fatalf(format string, args ...any) {
	f.said = format
	for _, a := range args {
		if err, ok := a.(error); ok {
			f.said += " " + err.Error()
		}
	}
	runtime.Goexit()
}

// attempt runs f as a test of its own and returns what it failed with.
func attempt(t *testing.T, f func(testing.TB)) string {
	t.Helper()
	tb, ended := &fatal{TB: t}, make(chan struct{})
	go func() {
		defer close(ended)
		f(tb)
	}()
	<-ended
	return tb.said
}

// A preparation that ends in the middle, by an error or by a test's Fatal, leaves
// no half of a template to the tests after it.
func TestHalfAPreparation(t *testing.T) {
	t.Parallel()
	for name, migrate := range map[string]func(context.Context, string) error{
		"error": func(context.Context, string) error { return errors.New("no") },
		"fatal": func(context.Context, string) error { runtime.Goexit(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for range 2 {
				done := false
				attempt(t, func(tb testing.TB) { pgtest.NewMigrated(tb, "half "+name, migrate); done = true })
				if done {
					t.Error("got a database")
				}
			}
		})
	}
}

func TestStartTwice(t *testing.T) {
	t.Parallel()
	s := pgtest.Start(t, pgtest.Options{})
	if said := attempt(t, func(tb testing.TB) { s.Start(tb) }); !strings.Contains(said, "runs already") {
		t.Errorf("said %q", said)
	}
	if err := dial(t, s.DSN("postgres")).Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

// childVariable makes TestChild start a server and wait.
const childVariable = "CAMBIST_PGTEST_CHILD"

// TestChild is the process of the tests below. It tells where its server is and
// stays until its input ends.
func TestChild(t *testing.T) {
	if os.Getenv(childVariable) == "" {
		return
	}
	dsn := pgtest.New(t)
	if _, err := os.Stdout.WriteString("DSN " + dsn + "\n"); err != nil {
		t.Fatal(err)
	}
	_, _ = bufio.NewReader(os.Stdin).ReadByte()
}

// When the test binary ends, so does its server: at once if it ends in order, and
// when it is killed as well. What the killed one left on disk goes with the next.
func TestServerEndsWithTheProcess(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*exec.Cmd, func() error) error{
		"in order": func(_ *exec.Cmd, stop func() error) error { return stop() },
		"killed":   func(cmd *exec.Cmd, _ func() error) error { return cmd.Process.Kill() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestChild$") //nolint:gosec // this test binary
			cmd.Env = append(os.Environ(), childVariable+"=1")
			in, err := cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			dsn := ""
			for lines := bufio.NewScanner(out); dsn == "" && lines.Scan(); {
				_, dsn, _ = strings.Cut(lines.Text(), "DSN ")
			}
			if conn, err := pgx.Connect(t.Context(), dsn); err != nil {
				t.Fatalf("%q: %v", dsn, err)
			} else {
				_ = conn.Close(t.Context())
			}
			if err := end(cmd, in.Close); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			// The process is gone; the signal of its death may still be on its way.
			for ticks := time.Tick(10 * time.Millisecond); ; <-ticks {
				conn, err := pgx.Connect(t.Context(), dsn)
				if err != nil {
					break
				}
				_ = conn.Close(t.Context())
			}
			pgtest.Start(t, pgtest.Options{})
			if _, err := os.Stat(folder(t, dsn)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("its folder: %v", err)
			}
		})
	}
}
