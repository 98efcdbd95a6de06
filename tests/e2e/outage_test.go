package e2e_test

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/tests/pgtest"
)

// PostgreSQL stops while the server is busy: every request from then on is
// refused with 503 and Retry-After, in bounded time; health and keys keep
// answering; when the database is back the service is too, by itself. Every
// token that a client received has its record, and the chain has no fault.
func TestDatabaseOutage(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]pgtest.Signal{"fast": pgtest.Fast, "crash": pgtest.Immediate} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			database := pgtest.Start(t, pgtest.Options{Durable: true})
			w := newWorld(t, migrated(t, database))
			w.start(t)
			w.ready(t)
			received := w.load(t, func(refused func() int64) {
				database.Stop(stop)
				w.eventually(t, "refused", func() bool { return refused() > 50 })
				a := w.ask(t, "bi/reports", self(ledgerURI))
				if after, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 503 || err != nil || after < 1 || a.text("error") != "temporarily_unavailable" {
					t.Errorf("during the outage: %d %v %s", a.status, a.header, a.body)
				}
				if live := w.probe(t, "/livez"); live.status != 200 {
					t.Errorf("livez: %d", live.status)
				}
				if keys := w.get(t, "/oauth2/jwks"); keys.status != 200 || len(keys.json["keys"].([]any)) == 0 {
					t.Errorf("jwks: %d %s", keys.status, keys.body)
				}
				database.Start(t)
				up := time.Now()
				w.eventually(t, "issued again", func() bool { return w.ask(t, "bi/reports", self(ledgerURI)).status == 200 })
				t.Logf("issued again %s after the database was up", time.Since(up).Round(time.Millisecond))
			})
			w.ready(t)
			must(t, w.stop())
			w.everyTokenRecorded(t, received)
		})
	}
}

// A server that starts while its database is away lives, refuses, and serves as
// soon as it is there.
func TestDatabaseAwayAtStart(t *testing.T) {
	t.Parallel()
	database := pgtest.Start(t, pgtest.Options{Durable: true})
	w := newWorld(t, migrated(t, database))
	database.Stop(pgtest.Fast)
	w.start(t)
	w.eventually(t, "there is an SVID to show", func() bool { return strings.Contains(string(w.probe(t, "/readyz").body), "[+]identity ok") })
	if a := w.ask(t, "bi/reports", self(ledgerURI)); a.status != 503 {
		t.Errorf("%d %s", a.status, a.body)
	}
	if a := w.get(t, "/oauth2/jwks"); a.status != 503 {
		t.Errorf("jwks that are not known: %d %s", a.status, a.body)
	}
	if ready := w.probe(t, "/readyz"); ready.status != 503 {
		t.Errorf("readyz: %d", ready.status)
	}
	if live := w.probe(t, "/livez"); live.status != 200 {
		t.Errorf("livez: %d", live.status)
	}
	database.Start(t)
	w.ready(t)
	w.token(t, "bi/reports", self(ledgerURI))
}

// load asks for tokens from several workers while during runs, and returns the
// ids of those that were received. Any answer but a token and a 503 is a fault.
func (w *world) load(t *testing.T, during func(refused func() int64)) []string {
	t.Helper()
	var mu sync.Mutex
	var received []string
	var refused atomic.Int64
	stop := make(chan struct{})
	var workers sync.WaitGroup
	w.client(t, "bi/reports")
	for range 8 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a := w.ask(t, "bi/reports", self(ledgerURI))
				switch a.status {
				case 200:
					id, _ := claims(t, a.text("access_token"))["jti"].(string)
					mu.Lock()
					received = append(received, id)
					mu.Unlock()
				case 503:
					refused.Add(1)
				default:
					t.Errorf("%d %s", a.status, a.body)
					return
				}
			}
		})
	}
	w.eventually(t, "busy", func() bool { mu.Lock(); defer mu.Unlock(); return len(received) > 100 })
	during(refused.Load)
	close(stop)
	workers.Wait()
	return received
}

// everyTokenRecorded reads the whole record, past the server.
func (w *world) everyTokenRecorded(t *testing.T, received []string) {
	t.Helper()
	o := w.offline(t)
	defer o.Close()
	allowed := map[string]bool{}
	var rows []store.RecordRow
	for before := ""; ; {
		page, err := o.Records(t.Context(), store.RecordFilter{Limit: 1000}, before)
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			allowed[r.ID] = allowed[r.ID] || r.Outcome == "allowed"
		}
		rows = append(rows, page...)
		before = page[len(page)-1].ID
	}
	missing := 0
	for _, id := range received {
		if !allowed[id] {
			missing++
		}
	}
	if missing > 0 || len(received) == 0 {
		t.Errorf("%d of %d tokens have no record", missing, len(received))
	}
	for _, fault := range audit.Verify(rows) {
		t.Error(fault)
	}
	t.Logf("%d tokens received, %d rows, no fault", len(received), len(rows))
}
