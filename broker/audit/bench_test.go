package audit_test

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/tests/pgtest"
)

// discard is a store that takes everything at once: what is left is our own work.
type discard struct{ store.Records }

func (discard) AppendRecords(context.Context, []store.RecordRow) error { return nil }

func (discard) LastRecord(context.Context, string) (store.RecordRow, error) {
	return store.RecordRow{}, broker.Errorf(broker.CodeNotFound, "", "none")
}

// gcm seals as the key ring does.
type gcm struct{ cipher.AEAD }

func (g gcm) Seal(plain, additional []byte) ([]byte, error) {
	return g.AEAD.Seal([]byte("keyid678"), nil, plain, additional), nil
}

func newGCM(b *testing.B) gcm {
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		b.Fatal(err)
	}
	return gcm{aead}
}

// BenchmarkAppend measures how long a record takes to be durable, and how many a
// second are, with so many waiting at once. Rows are those of a workload for
// itself (self) and of a user's token exchanged (user).
func BenchmarkAppend(b *testing.B) {
	stores := map[string]func(b *testing.B) store.Records{
		"none": func(*testing.B) store.Records { return discard{} },
		"postgres": func(b *testing.B) store.Records {
			return openPostgres(b, pgtest.Start(b, pgtest.Options{Durable: true}))
		},
		"sqlite": func(b *testing.B) store.Records { return openSQLite(b, filepath.Join(b.TempDir(), "c.db")) },
	}
	records := map[string]func() *broker.Record{
		"user": func() *broker.Record { return record(broker.NewID(start)) },
		"self": func() *broker.Record {
			x := record(broker.NewID(start))
			x.Subject, x.Actor, x.Facts, x.Claims.Extra, x.Claims.Actor = nil, nil, nil, nil, nil
			x.Request.Subject, x.Request.Actor, x.Request.ProofKey = nil, nil, ""
			return x
		},
	}
	for _, name := range []string{"none", "postgres", "sqlite"} {
		b.Run(name, func(b *testing.B) {
			records0 := stores[name](b)
			for kind, made := range records {
				for _, waiters := range []int{1, 16, 64} {
					b.Run(fmt.Sprint(kind, "/", waiters), func(b *testing.B) { benchmarkAppend(b, records0, made, waiters) })
				}
			}
		})
	}
}

func benchmarkAppend(b *testing.B, s store.Records, made func() *broker.Record, waiters int) {
	c := config(s)
	c.Sealer, c.Replica = newGCM(b), broker.NewID(start)
	r, _ := run(b, c)
	if _, err := r.Append(b.Context(), made()); err != nil {
		b.Fatal(err)
	}
	work := make(chan *broker.Record, waiters)
	done := make(chan error, waiters)
	b.ReportAllocs()
	b.ResetTimer()
	for range waiters {
		go func() {
			var err error
			for x := range work {
				if _, failed := r.Append(context.Background(), x); failed != nil {
					err = failed
				}
			}
			done <- err
		}()
	}
	x := made()
	for range b.N {
		work <- x
	}
	close(work)
	for range waiters {
		if err := <-done; err != nil {
			b.Error(err)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
	b.ReportMetric(float64(waiters)*b.Elapsed().Seconds()/float64(b.N)*1e6, "µs/append")
}

// BenchmarkEncode is what a caller pays before it waits.
func BenchmarkEncode(b *testing.B) {
	c := config(discard{})
	c.Sealer = newGCM(b)
	r := audit.New(c)
	x := record(broker.NewID(start))
	b.ReportAllocs()
	for b.Loop() {
		audit.Encode(r, x)
	}
}

func openPostgres(t testing.TB, server *pgtest.Server) closer {
	return mustOpen(t, server.DSN("postgres"))
}

func openSQLite(t testing.TB, path string) closer { return mustOpen(t, "sqlite://"+path) }

func mustOpen(t testing.TB, dsn string) closer {
	t.Helper()
	s, err := openStore(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}
