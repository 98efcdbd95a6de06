// Package pgtest gives tests a real PostgreSQL: a throw-away server from the
// installed binaries, on a Unix socket alone, that dies with the test binary.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Options say how a server is started.
type Options struct {
	// Durable turns fsync on, for tests of durability.
	Durable bool
}

// Server is a running PostgreSQL.
type Server struct {
	dir     string
	bin     string
	options Options
	cred    *syscall.Credential

	owned *os.File // locked for as long as this process lives

	mu   sync.Mutex
	proc *os.Process
	done chan struct{} // closed when the process has ended
}

// shared is the one server of a test binary for tests that only need a database.
var shared = sync.OnceValues(func() (*Server, error) { return start(Options{}) })

// Main runs the tests of a package that uses New and stops the shared server
// after them.
func Main(m *testing.M) int {
	code := m.Run()
	if used.Load() {
		if s, err := shared(); err == nil {
			s.remove()
		}
	}
	return code
}

var (
	used      atomic.Bool
	databases atomic.Int64
	templates sync.Map // key → *template
)

type template struct {
	once sync.Once
	name string
	err  error // set before the work, so that a panic or a Fatal in it leaves no half of a template
}

// New returns the DSN of a fresh, empty database, dropped when the test ends.
func New(t testing.TB) string { return create(t, "template1") }

// NewMigrated returns the DSN of a fresh database that migrate has prepared. It
// runs once per key; the others are copies.
func NewMigrated(t testing.TB, key string, migrate func(ctx context.Context, dsn string) error) string {
	t.Helper()
	made, _ := templates.LoadOrStore(key, &template{err: errors.New("it was not finished")})
	tmpl := made.(*template) //nolint:errcheck // nothing else is stored
	tmpl.once.Do(func() {
		s := sharedServer(t)
		tmpl.name = fmt.Sprintf("template_%d", databases.Add(1))
		err := s.exec("CREATE DATABASE " + tmpl.name)
		if err == nil {
			err = migrate(context.Background(), s.DSN(tmpl.name))
		}
		tmpl.err = err
	})
	if tmpl.err != nil {
		t.Fatalf("pgtest: prepare %s: %v", key, tmpl.err)
	}
	return create(t, tmpl.name)
}

func create(t testing.TB, from string) string {
	t.Helper()
	s := sharedServer(t)
	name := fmt.Sprintf("test_%d", databases.Add(1))
	if err := s.exec(fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", name, from)); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(func() {
		if err := s.exec("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("pgtest: %v", err)
		}
	})
	return s.DSN(name)
}

func sharedServer(t testing.TB) *Server {
	t.Helper()
	used.Store(true)
	s, err := shared()
	if err != nil {
		t.Fatalf("pgtest: %v (run: make test, which installs what is missing)", err)
	}
	return s
}

// Start starts a server of the test's own, to be stopped and frozen at will. It
// is removed when the test ends.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := start(o)
	if err != nil {
		t.Fatalf("pgtest: %v (run: make test, which installs what is missing)", err)
	}
	t.Cleanup(s.remove)
	return s
}

func start(o Options) (*Server, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	// Not under the test's own folder: the path of a Unix socket has 107 bytes.
	sweep()
	dir, err := os.MkdirTemp("/tmp", prefix)
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, options: o}
	if err := s.own(); err != nil {
		s.remove()
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", s.data(), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync") //nolint:gosec,noctx // our own binary
	initdb.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred}
	initdb.Dir = dir
	if out, err := initdb.CombinedOutput(); err != nil {
		s.remove()
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	if err := s.start(); err != nil {
		s.remove()
		return nil, err
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// DSN returns the connection string of a database of the server.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("postgres:///%s?host=%s&user=postgres", database, s.dir)
}

// PID returns the process ID of the running server's postmaster.
func (s *Server) PID() int { return s.proc.Pid }

// Start starts a stopped server on the same data.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("pgtest: start: %v", err)
	}
}

// Configure sets a parameter of a stopped server.
func (s *Server) Configure(t testing.TB, name, value string) {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(s.data(), "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(f, "%s = %s\n", name, value); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// start forks the server from a thread that lives as long as the server does:
// the kernel sends the death signal when the forking thread ends, not when the
// process does.
func (s *Server) start() error {
	if s.running() {
		return errors.New("it runs already")
	}
	fsync := "off"
	if s.options.Durable {
		fsync = "on"
	}
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-k", s.dir, "-c", "listen_addresses=", "-c", "fsync="+fsync, //nolint:gosec,noctx // our own binary
		"-c", "full_page_writes="+fsync, "-c", "max_connections=200", "-c", "shared_buffers=32MB", "-c", "log_min_messages=fatal")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Pdeathsig: syscall.SIGQUIT}
	cmd.Dir = s.dir
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd.Stdout, cmd.Stderr = log, log
	started, done := make(chan error, 1), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer close(done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is seen by whoever ended it
		}
	}()
	if err := <-started; err != nil {
		return err
	}
	s.mu.Lock()
	s.proc, s.done = cmd.Process, done
	s.mu.Unlock()
	return s.awaitReady(done)
}

func (s *Server) awaitReady(done chan struct{}) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(30 * time.Second)
	for {
		err := s.exec("SELECT 1")
		if err == nil {
			return nil
		}
		select {
		case <-done:
			text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("the server ended at once: %s", text)
		case <-deadline:
			return fmt.Errorf("the server does not answer: %w", err)
		case <-tick.C:
		}
	}
}

// Signal names a way to stop a server.
type Signal = syscall.Signal

// The ways to stop a server: smart is of no use in a test.
const (
	Fast      Signal = syscall.SIGINT  // roll back, disconnect, stop
	Immediate Signal = syscall.SIGQUIT // as a crash
)

// Stop stops the server and returns when it has ended.
func (s *Server) Stop(how Signal) {
	s.mu.Lock()
	proc, done := s.proc, s.done
	s.mu.Unlock()
	if proc == nil {
		return
	}
	s.Thaw() // what is frozen hears no signal but KILL
	_ = proc.Signal(how)
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		_ = proc.Kill()
		<-done
	}
}

func (s *Server) remove() {
	s.Stop(Immediate)
	_ = os.RemoveAll(s.dir)
	if s.owned != nil {
		_ = s.owned.Close()
	}
}

func (s *Server) exec(text string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.DSN("postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, text)
	return errors.Join(err, conn.Close(ctx))
}
