package bench_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func selfCommand(w *world) *exec.Cmd {
	return exec.Command(os.Args[0], "-floor="+w.address, "-floor-dir="+w.dir) //nolint:gosec // this very binary
}

// BenchmarkServer is the table of the package comment.
func BenchmarkServer(b *testing.B) {
	for _, store := range []string{"postgres", "sqlite"} {
		b.Run(store, func(b *testing.B) {
			w := newWorld(b)
			w.serve(b, w.store(b, store))
			server, address := w.process.Process.Pid, w.address
			w.floor(b)
			floor, floorAddress := w.process.Process.Pid, w.address
			for _, grant := range []string{"client_credentials", "exchange"} {
				for _, inFlight := range []int{1, 16, 64} {
					b.Run(fmt.Sprintf("%s/%d", grant, inFlight), func(b *testing.B) {
						forms := w.forms(b, grant, min(b.N, 4096))
						unit := signature(b)
						under := w.drive(b, floorAddress, forms, inFlight, floor)
						b.ResetTimer()
						over := w.drive(b, address, forms, inFlight, server)
						b.ReportMetric(float64(over.cpu)/unit, "sig/req")
						b.ReportMetric(float64(under.cpu)/unit, "floor-sig/req")
						b.ReportMetric(float64(over.cpu-under.cpu)/unit, "over-floor-sig/req")
						if w.pgPID != 0 {
							b.ReportMetric(float64(over.database)/unit, "db-sig/req")
						}
						b.ReportMetric(over.perSecond, "req/s")
						b.ReportMetric(over.p50.Seconds()*1e3, "p50-ms")
						b.ReportMetric(over.p99.Seconds()*1e3, "p99-ms")
						b.ReportMetric(float64(resident(b, server))/(1<<20), "MiB")
						b.ReportMetric(unit, "ns/sig")
						b.ReportMetric(0, "ns/op") // what it would say is req/s again
					})
				}
			}
		})
	}
}

// result is what one run cost, a request.
type result struct {
	cpu, database time.Duration
	perSecond     float64
	p50, p99      time.Duration
}

// drive posts b.N forms with so many in flight and reads what the process used.
func (w *world) drive(b *testing.B, address string, forms []string, inFlight, pid int) result {
	b.Helper()
	client := &http.Client{Transport: w.transport(inFlight)}
	defer client.CloseIdleConnections()
	send := func(n int) []time.Duration {
		took := make([]time.Duration, n)
		var next atomic.Int64
		var workers sync.WaitGroup
		for range inFlight {
			workers.Go(func() {
				for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
					began := time.Now()
					if _, err := post(client, address, forms[int(i)%len(forms)]); err != nil {
						b.Error(err)
						return
					}
					took[i] = time.Since(began)
				}
			})
		}
		workers.Wait()
		return took
	}
	send(4 * inFlight) // connections are made, and what is done once is done
	cpu, database := used(b, pid), w.databaseUsed(b)
	began := time.Now()
	took := send(b.N)
	elapsed := time.Since(began)
	n := time.Duration(b.N)
	r := result{cpu: (used(b, pid) - cpu) / n, database: (w.databaseUsed(b) - database) / n, perSecond: float64(b.N) / elapsed.Seconds()}
	slices.Sort(took)
	r.p50, r.p99 = took[len(took)/2], took[len(took)*99/100]
	return r
}

// signature returns the CPU time of one P-256 signature, in nanoseconds, on a
// thread of its own.
func signature(b *testing.B) float64 {
	b.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(b, err)
	digest := sha256.Sum256([]byte("x"))
	const n = 2000
	done := make(chan time.Duration)
	go func() {
		began := threadTime()
		for range n {
			if _, err := ecdsa.SignASN1(rand.Reader, private, digest[:]); err != nil {
				b.Error(err)
			}
		}
		done <- threadTime() - began
	}()
	return float64((<-done).Nanoseconds()) / n
}

// threadTime reads the CPU clock of the process: nothing else runs in it while
// it is read twice.
func threadTime() time.Duration {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_PROCESS_CPUTIME_ID, &t) // it cannot fail
	return time.Duration(t.Nano())
}

// used returns the CPU time of a process, to the nanosecond where the kernel
// says so.
func used(b *testing.B, pid int) time.Duration {
	b.Helper()
	var total time.Duration
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	must(b, err)
	for _, task := range tasks {
		raw, err := os.ReadFile(task) //nolint:gosec // of a process of ours
		if err != nil {
			continue // a thread that ended
		}
		first, _, _ := strings.Cut(string(raw), " ")
		n, err := strconv.ParseInt(first, 10, 64)
		must(b, err)
		total += time.Duration(n)
	}
	return total
}

// databaseUsed sums up PostgreSQL and all its processes.
func (w *world) databaseUsed(b *testing.B) time.Duration {
	b.Helper()
	if w.pgPID == 0 {
		return 0
	}
	total := used(b, w.pgPID)
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", w.pgPID, w.pgPID))
	must(b, err)
	for _, child := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(child)
		must(b, err)
		total += used(b, pid)
	}
	return total
}

// resident returns the memory of a process in bytes.
func resident(b *testing.B, pid int) int64 {
	b.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	must(b, err)
	fields := strings.Fields(string(raw))
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	must(b, err)
	return pages * int64(os.Getpagesize())
}
