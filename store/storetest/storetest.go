// Package storetest holds every store to the same cases. A room passes all of
// them or is not a store.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Opener returns a fresh, migrated store that is closed when the test ends.
type Opener func(t *testing.T) store.Store

// Run runs every case.
func Run(t *testing.T, open Opener) {
	for name, run := range map[string]func(*testing.T, store.Store){
		"policy":     testPolicy,
		"atomic":     testAtomic,
		"history":    testHistory,
		"writers":    testWriters,
		"records":    testRecords,
		"end":        testLastRecord,
		"keys":       testKeys,
		"replicas":   testReplicas,
		"wait":       testWait,
		"quiet":      testWaitIsQuiet,
		"many":       testManyWait,
		"large":      testLarge,
		"stamp":      testStamp,
		"bad values": testBadValues,

		"revocations":           testRevocations,
		"revocations and plans": testRevocationsAndPlans,
		"revocations end":       testRevocationsEnd,
		"bad revocations":       testBadRevocations,
		"revokers":              testRevokers,
		"check":                 func(t *testing.T, s store.Store) { must(t, s.Check(t.Context())) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, open(t))
		})
	}
}

var at = time.Date(2026, 11, 24, 12, 0, 0, 123456000, time.UTC)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t *testing.T, err error, code broker.Code) {
	t.Helper()
	if err == nil || broker.AsError(err).Code != code {
		t.Fatalf("error %v, want code %v", err, code)
	}
}

func mapping(name, body string) broker.Object {
	return broker.Object{Kind: broker.KindMapping, Name: "s/" + name, Set: "s", Body: []byte(body)}
}

func write(t *testing.T, s store.Store, base broker.Revision, changes ...broker.Object) broker.Revision {
	t.Helper()
	r, err := s.Write(t.Context(), store.Write{Base: base, Author: "me", Reason: "why", At: at, Changes: changes})
	must(t, err)
	return r
}

// show renders objects for comparison.
func show(objects []broker.Object) string {
	var b strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&b, "%s %s %s %s %v@%d\n", o.Kind, o.Name, o.Set, o.Body, o.Deleted, o.Revision)
	}
	return b.String()
}

func testPolicy(t *testing.T, s store.Store) {
	objects, revision, err := s.Load(t.Context())
	if err != nil || len(objects) != 0 || revision != 0 {
		t.Fatalf("a new store holds %v at %d, %v", objects, revision, err)
	}
	if r := write(t, s, 0, mapping("a", `{"é":1}`), mapping("b", `{}`)); r != 1 {
		t.Fatalf("first revision is %d", r)
	}
	write(t, s, 1, mapping("a", `{"v":2}`), broker.Object{Kind: broker.KindMapping, Name: "s/b", Set: "s", Deleted: true})
	objects, revision, err = s.Load(t.Context())
	must(t, err)
	if got, want := show(objects), "mapping s/a s {\"v\":2} false@2\n"; got != want || revision != 2 {
		t.Errorf("at %d: %s", revision, got)
	}
	changes, revision, err := s.Changes(t.Context(), 1)
	must(t, err)
	if got, want := show(changes), "mapping s/a s {\"v\":2} false@2\nmapping s/b s  true@2\n"; got != want || revision != 2 {
		t.Errorf("changes to %d: %s", revision, got)
	}
	if changes, revision, err = s.Changes(t.Context(), 2); err != nil || len(changes) != 0 || revision != 2 {
		t.Errorf("no changes: %v to %d, %v", changes, revision, err)
	}
	_, err = s.Write(t.Context(), store.Write{Base: 1, Author: "me", At: at, Changes: []broker.Object{mapping("c", `{}`)}})
	wantCode(t, err, broker.CodeStale)
	if r := write(t, s, store.AnyRevision, mapping("c", `{}`)); r != 3 {
		t.Errorf("revision %d after a stale write", r)
	}
}

// A change that fails takes all others of its write with it.
func testAtomic(t *testing.T, s store.Store) {
	write(t, s, 0, mapping("a", `{}`))
	_, err := s.Write(t.Context(), store.Write{Base: 1, Author: "me", At: at, Changes: []broker.Object{mapping("b", `{}`), mapping("c", `{}`), mapping("b", `{}`)}})
	wantCode(t, err, broker.CodeConflict)
	objects, revision, err := s.Load(t.Context())
	must(t, err)
	if len(objects) != 1 || revision != 1 {
		t.Errorf("%d objects at %d", len(objects), revision)
	}
	history, err := s.Revisions(t.Context(), 0, 10)
	if err != nil || len(history) != 1 {
		t.Errorf("history %v, %v", history, err)
	}
}

func testHistory(t *testing.T, s store.Store) {
	var states []string
	for i := range 12 {
		o := mapping(string(rune('a'+i%3)), fmt.Sprintf(`{"v":%d}`, i))
		if i%4 == 3 {
			o.Body, o.Deleted = nil, true
		}
		write(t, s, broker.Revision(i), o)
		objects, _, err := s.Load(t.Context())
		must(t, err)
		states = append(states, show(objects))
	}
	for i, want := range states {
		objects, err := s.LoadAt(t.Context(), broker.Revision(i+1))
		must(t, err)
		if got := show(objects); got != want {
			t.Errorf("at %d: %s, was %s", i+1, got, want)
		}
	}
	list, err := s.Revisions(t.Context(), 11, 3)
	must(t, err)
	if len(list) != 3 || list[0].Revision != 10 || list[0].Author != "me" || list[0].Reason != "why" || !list[0].At.Equal(at) || len(list[0].Changes) != 1 {
		t.Errorf("history %+v", list)
	}
}

// Revisions of many writers are in commit order, without a gap, and whoever
// follows sees each change.
func testWriters(t *testing.T, s store.Store) {
	const writers = 50
	var wg sync.WaitGroup
	revisions := make([]broker.Revision, writers)
	errs := make([]error, writers)
	for i := range writers {
		wg.Go(func() {
			revisions[i], errs[i] = s.Write(t.Context(), store.Write{Base: store.AnyRevision, Author: "w", At: at, Changes: []broker.Object{mapping(fmt.Sprint(i), `{}`)}})
		})
	}
	seen := map[string]bool{}
	for applied := broker.Revision(0); applied < writers; {
		changes, to, err := s.Changes(t.Context(), applied)
		must(t, err)
		for _, c := range changes {
			if c.Revision <= applied || c.Revision > to || seen[c.Name] {
				t.Fatalf("%s at %d, between %d and %d", c.Name, c.Revision, applied, to)
			}
			seen[c.Name] = true
		}
		if int(to-applied) != len(changes) {
			t.Fatalf("%d changes from %d to %d", len(changes), applied, to)
		}
		applied = to
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	slices.Sort(revisions)
	for i, r := range revisions {
		if r != broker.Revision(i+1) {
			t.Fatalf("revisions %v", revisions)
		}
	}
}

func row(seq int64, id string) store.RecordRow {
	hash := make([]byte, 32)
	hash[0] = byte(seq) //nolint:gosec // any byte will do
	return store.RecordRow{
		At: at.Add(time.Duration(seq) * time.Millisecond), Replica: "r1", Segment: "s1", Seq: seq, ID: id, Workload: "spiffe://td/w", Resource: "ledger",
		Outcome: "allowed", Body: []byte(`{"n":1}`), Prev: []byte{}, Hash: hash,
	}
}

func testRecords(t *testing.T, s store.Store) {
	must(t, s.EnsurePartitions(t.Context(), time.Now().Add(48*time.Hour)))
	var rows []store.RecordRow
	for i := int64(1); i <= 25; i++ {
		r := row(i, fmt.Sprintf("id-%d", i))
		if i%5 == 0 {
			r.Outcome, r.Facts = "denied", []byte{0, 1}
		}
		rows = append(rows, r)
	}
	must(t, s.AppendRecords(t.Context(), rows[:20]))
	must(t, s.AppendRecords(t.Context(), rows[20:]))
	got, err := s.Record(t.Context(), "id-10", rows[9].At)
	must(t, err)
	if got.Seq != 10 || got.Outcome != "denied" || string(got.Facts) != "\x00\x01" || !got.At.Equal(rows[9].At) || len(got.Hash) != 32 {
		t.Errorf("row %+v", got)
	}
	if plain, err := s.Record(t.Context(), "id-9", rows[8].At); err != nil || plain.Facts != nil {
		t.Errorf("no facts became %v, %v", plain.Facts, err)
	}
	_, err = s.Record(t.Context(), "id-10", rows[3].At)
	wantCode(t, err, broker.CodeNotFound)
	last, err := s.LastRecord(t.Context(), "r1")
	if err != nil || last.Seq != 25 {
		t.Errorf("last %d, %v", last.Seq, err)
	}
	_, err = s.LastRecord(t.Context(), "r2")
	wantCode(t, err, broker.CodeNotFound)
	wantPages(t, s)
	// All or nothing, also here: the second row is there already.
	err = s.AppendRecords(t.Context(), []store.RecordRow{row(26, "id-26"), rows[0]})
	wantCode(t, err, broker.CodeConflict)
	if errors.Is(err, store.ErrUnknownOutcome) {
		t.Error("a refusal of the database is not an unknown outcome")
	}
	_, err = s.Record(t.Context(), "id-26", row(26, "").At)
	wantCode(t, err, broker.CodeNotFound)
}

// testLastRecord: the newest segment counts, wherever its rows lie in time: long
// ago, or not long.
func testLastRecord(t *testing.T, s store.Store) {
	for i, ago := range []time.Duration{400 * 24 * time.Hour, 30 * 24 * time.Hour, time.Hour, 0} {
		r := row(1, fmt.Sprint("chain-", i))
		r.At, r.Replica, r.Segment = time.Now().Add(-ago), "r3", fmt.Sprint("s", i)
		other := row(2, fmt.Sprint("chain-", i, "-2"))
		other.At, other.Replica, other.Segment = r.At, "r3", r.Segment
		must(t, s.AppendRecords(t.Context(), []store.RecordRow{other, r}))
		last, err := s.LastRecord(t.Context(), "r3")
		if err != nil || last.ID != other.ID {
			t.Errorf("%v ago: last is %s, %v", ago, last.ID, err)
		}
	}
}

func wantPages(t *testing.T, s store.Store) {
	t.Helper()
	var seqs []int64
	var cursor store.RecordCursor
	for {
		page, err := s.ListRecords(t.Context(), store.RecordFilter{Before: cursor, Limit: 10})
		must(t, err)
		if len(page) == 0 {
			break
		}
		for _, r := range page {
			seqs = append(seqs, r.Seq)
		}
		end := page[len(page)-1]
		cursor = store.RecordCursor{At: end.At, Replica: end.Replica, Segment: end.Segment, Seq: end.Seq}
	}
	if len(seqs) != 25 || seqs[0] != 25 || seqs[24] != 1 {
		t.Errorf("pages %v", seqs)
	}
	for name, tt := range map[string]struct {
		filter store.RecordFilter
		want   int
	}{
		"refused":  {store.RecordFilter{Outcome: "refused"}, 5},
		"allowed":  {store.RecordFilter{Outcome: "allowed"}, 20},
		"denied":   {store.RecordFilter{Outcome: "denied", Workload: "spiffe://td/w", Resource: "ledger"}, 5},
		"other":    {store.RecordFilter{Workload: "spiffe://td/x"}, 0},
		"since":    {store.RecordFilter{Since: row(21, "").At}, 5},
		"until":    {store.RecordFilter{Until: row(21, "").At}, 20},
		"resource": {store.RecordFilter{Resource: "orders"}, 0},
	} {
		tt.filter.Limit = 100
		if list, err := s.ListRecords(t.Context(), tt.filter); err != nil || len(list) != tt.want {
			t.Errorf("%s: %d rows, %v", name, len(list), err)
		}
	}
}

func key(id string) store.KeyRow {
	return store.KeyRow{ID: id, Purpose: "sign", Algorithm: "ES256", State: "pending", Version: 1, Public: []byte("{}"), Wrapped: []byte{1, 2}, CreatedAt: at}
}

func testKeys(t *testing.T, s store.Store) {
	// Two replicas that make the first key at once leave one.
	var wg sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		wg.Go(func() { errs[i] = s.InsertKey(t.Context(), key(fmt.Sprint("k", i)), 0) })
	}
	wg.Wait()
	made := 0
	for _, err := range errs {
		if err == nil {
			made++
		} else {
			wantCode(t, err, broker.CodeConflict)
		}
	}
	keys, err := s.ListKeys(t.Context())
	if err != nil || made != 1 || len(keys) != 1 {
		t.Fatalf("%d made, %d there, %v", made, len(keys), err)
	}
	k := keys[0]
	if !k.CreatedAt.Equal(at) || !k.PublishedAt.IsZero() || string(k.Wrapped) != "\x01\x02" {
		t.Errorf("key %+v", k)
	}
	// Of many that move a key on, one does.
	k.State, k.Version, k.ActivatedAt = "active", 2, at
	for i := range errs {
		wg.Go(func() { errs[i] = s.UpdateKey(t.Context(), k) })
	}
	wg.Wait()
	moved := 0
	for _, err := range errs {
		if err == nil {
			moved++
		} else {
			wantCode(t, err, broker.CodeStale)
		}
	}
	_, revision, err := s.Load(t.Context())
	if err != nil || moved != 1 || revision != 2 {
		t.Errorf("moved %d times, revision %d, %v", moved, revision, err)
	}
	k.State = "lost"
	k.Version = 3
	wantCode(t, s.UpdateKey(t.Context(), k), broker.CodeInvalidRequest)
}

func testReplicas(t *testing.T, s store.Store) {
	write(t, s, 0, mapping("a", `{}`))
	r := store.Replica{ID: "r1", Version: "v1", StartedAt: at, SeenAt: at, Applied: 0}
	beat, err := s.Heartbeat(t.Context(), r)
	must(t, err)
	if beat.Revision != 1 || time.Since(beat.Now).Abs() > time.Minute {
		t.Errorf("beat %+v", beat)
	}
	r.Applied, r.SeenAt = 1, at.Add(time.Second)
	_, err = s.Heartbeat(t.Context(), r)
	must(t, err)
	list, err := s.ListReplicas(t.Context())
	if err != nil || len(list) != 1 || list[0].Applied != 1 || !list[0].SeenAt.Equal(r.SeenAt) {
		t.Errorf("replicas %+v, %v", list, err)
	}
	must(t, s.RemoveReplica(t.Context(), "r1"))
	if list, err = s.ListReplicas(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("replicas %+v, %v", list, err)
	}
}

// Wait wakes for a policy write. It is a hint: the first call may return without
// one, and the test writes until the hint comes.
func testWait(t *testing.T, s store.Store) {
	woken := make(chan error)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			err := s.Wait(t.Context())
			select {
			case woken <- err:
			case <-done:
				return
			}
		}
	}()
	hints := 0
	for i := broker.Revision(0); hints < 3; i++ {
		write(t, s, i, mapping("a", fmt.Sprintf(`{"v":%d}`, i)))
		select {
		case err := <-woken:
			must(t, err)
			hints++
		default:
			if i > 2000 {
				t.Fatal("nobody was woken")
			}
		}
	}
}

// Many may wait: a write wakes every one, and each can be ended by itself.
func testManyWait(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	var woken [3]atomic.Int64
	for i := range woken {
		waiting.Go(func() {
			for s.Wait(ctx) == nil {
				woken[i].Add(1)
			}
		})
	}
	for i := broker.Revision(0); woken[0].Load() < 3 || woken[1].Load() < 3 || woken[2].Load() < 3; i++ {
		write(t, s, i, mapping("a", fmt.Sprintf(`{"v":%d}`, i)))
	}
	one, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Wait(one) }()
	end()
	if err := <-ended; err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("the one that was ended was told %v", err)
	}
	cancel()
	waiting.Wait()
}

// Without a write nobody is woken for ever: at most the hints that were under way.
func testWaitIsQuiet(t *testing.T, s store.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	for calls := 0; ; calls++ {
		if err := s.Wait(ctx); err != nil {
			if ctx.Err() == nil {
				t.Errorf("error %v", err)
			}
			return
		}
		if calls > 2 {
			t.Fatal("woken again and again")
		}
	}
}

func testStamp(t *testing.T, s store.Store) {
	stamp, err := s.Stamp(t.Context())
	if err != nil || stamp != "" {
		t.Fatalf("stamp %q, %v", stamp, err)
	}
	must(t, s.SetStamp(t.Context(), "dev"))
	must(t, s.SetStamp(t.Context(), "dev"))
	wantCode(t, s.SetStamp(t.Context(), "prod"), broker.CodeConflict)
	if stamp, err = s.Stamp(t.Context()); err != nil || stamp != "dev" {
		t.Errorf("stamp %q, %v", stamp, err)
	}
}

func testBadValues(t *testing.T, s store.Store) {
	for name, o := range map[string]broker.Object{
		"unknown kind":    {Kind: "x", Name: "n", Body: []byte("{}")},
		"no name":         {Kind: broker.KindMapping, Body: []byte("{}")},
		"long name":       mapping(strings.Repeat("n", 512), `{}`),
		"NUL in the name": mapping("a\x00b", `{}`),
		"NUL in the body": mapping("a", "{\x00}"),
		"no body":         {Kind: broker.KindMapping, Name: "n"},
		"deleted body":    {Kind: broker.KindMapping, Name: "n", Body: []byte("{}"), Deleted: true},
		"large body":      mapping("a", `{"x":"`+strings.Repeat("x", 256<<10)+`"}`),
	} {
		_, err := s.Write(t.Context(), store.Write{Base: 0, Author: "me", At: at, Changes: []broker.Object{o}})
		if err == nil || broker.AsError(err).Code != broker.CodeInvalidRequest {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, revision, err := s.Load(t.Context()); err != nil || revision != 0 {
		t.Errorf("revision %d, %v", revision, err)
	}
	must(t, s.AppendRecords(t.Context(), []store.RecordRow{row(1, "é\u2028\x1b")}))
}

// Many objects in one write, and gone in the next: what an import does.
func testLarge(t *testing.T, s store.Store) {
	const n = 3000
	changes := make([]broker.Object, n)
	for i := range changes {
		changes[i] = mapping(fmt.Sprintf("m%04d", i), fmt.Sprintf(`{"v":%d}`, i))
	}
	write(t, s, 0, changes...)
	objects, revision, err := s.Load(t.Context())
	must(t, err)
	if len(objects) != n || revision != 1 || string(objects[n-1].Body) != fmt.Sprintf(`{"v":%d}`, n-1) {
		t.Errorf("%d objects at %d", len(objects), revision)
	}
	for i := range changes {
		changes[i].Body, changes[i].Deleted = nil, i%2 == 0
		if i%2 == 1 {
			changes[i].Body = []byte(`{"v":"again"}`)
		}
	}
	write(t, s, 1, changes...)
	objects, revision, err = s.Load(t.Context())
	must(t, err)
	if len(objects) != n/2 || revision != 2 || string(objects[0].Body) != `{"v":"again"}` || objects[0].Name != "s/m0001" {
		t.Errorf("%d objects at %d", len(objects), revision)
	}
	deltas, _, err := s.Changes(t.Context(), 1)
	if err != nil || len(deltas) != n {
		t.Errorf("%d changes, %v", len(deltas), err)
	}
}
