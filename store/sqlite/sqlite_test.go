package sqlite_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/store/sqlite"
	"github.com/cambist/cambist/store/storetest"
)

// crashEnv makes this test binary the writer that is killed.
const crashEnv = "CAMBIST_TEST_SQLITE_CRASH"

func TestMain(m *testing.M) {
	if path := os.Getenv(crashEnv); path != "" {
		writeUntilKilled(path)
	}
	os.Exit(m.Run())
}

func open(t testing.TB, c sqlite.Config) *sqlite.Store {
	t.Helper()
	s, err := sqlite.Open(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.Migrate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) store.Store {
		return open(t, sqlite.Config{Path: filepath.Join(t.TempDir(), "c.db"), NoSync: true})
	})
}

func TestSecondProcessIsRefused(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	open(t, sqlite.Config{Path: path})
	_, err := sqlite.Open(context.Background(), sqlite.Config{Path: path})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Errorf("error %v", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

func TestCheckNamesTheFix(t *testing.T) {
	t.Parallel()
	s, err := sqlite.Open(context.Background(), sqlite.Config{Path: filepath.Join(t.TempDir(), "c.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Check(context.Background()); err == nil || !strings.Contains(err.Error(), "cambist migrate") {
		t.Errorf("error %v", err)
	}
}

// Every row that was acknowledged before a kill -9 is there after it.
func TestKillLosesNothing(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "c.db")
	cmd := exec.Command(os.Args[0]) //nolint:gosec // this test binary
	cmd.Env = append(os.Environ(), crashEnv+"="+path)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if acknowledged++; acknowledged == 200 {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	s := open(t, sqlite.Config{Path: path})
	last, err := s.LastRecord(context.Background(), "r")
	if err != nil || last.Seq < int64(acknowledged) || acknowledged < 200 {
		t.Errorf("acknowledged %d, found %d, %v", acknowledged, last.Seq, err)
	}
}

func writeUntilKilled(path string) {
	ctx := context.Background()
	s, err := sqlite.Open(ctx, sqlite.Config{Path: path})
	if err == nil {
		_, err = s.Migrate(ctx)
	}
	for seq := int64(1); err == nil; seq++ {
		if err = s.AppendRecords(ctx, []store.RecordRow{record(seq)}); err == nil {
			fmt.Println(seq)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func record(seq int64) store.RecordRow {
	return store.RecordRow{
		At: time.UnixMicro(1_800_000_000_000_000 + seq), Replica: "r", Segment: "s", Seq: seq, ID: fmt.Sprint(seq), Workload: "w", Resource: "r", Outcome: "allowed",
		Body: []byte(strings.Repeat("x", 900)), Prev: make([]byte, 32), Hash: make([]byte, 32),
	}
}

func BenchmarkAppendRecords(b *testing.B) {
	for _, size := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, sqlite.Config{Path: filepath.Join(b.TempDir(), "c.db")})
			seq := int64(0)
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
