package storetest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// revocation is one that is in force now.
func revocation(id string) broker.Revocation {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return broker.Revocation{TokenID: id, At: now, Until: now.Add(5 * time.Minute)}
}

// A revocation moves the revision, and comes with the policy of that revision, for
// who loads all of it and for who follows; a second one of a token changes nothing.
func testRevocations(t *testing.T, s store.Store) {
	write(t, s, 0, mapping("a", `{}`))
	first, second := revocation("t-1"), revocation("t-2")
	must(t, s.Revoke(t.Context(), first))
	must(t, s.Revoke(t.Context(), first))
	later := first
	later.Until = later.Until.Add(time.Minute)
	must(t, s.Revoke(t.Context(), later))
	write(t, s, store.AnyRevision, mapping("b", `{}`))
	must(t, s.Revoke(t.Context(), second))

	o1, o2 := first.Object(2), second.Object(4)
	a, b := mapping("a", `{}`), mapping("b", `{}`)
	a.Revision, b.Revision = 1, 3
	objects, revision, err := s.Load(t.Context())
	must(t, err)
	if got, want := show(objects), show([]broker.Object{a, b, o1, o2}); got != want || revision != 4 {
		t.Errorf("at %d: %s, want %s", revision, got, want)
	}
	for after, want := range [][]broker.Object{{a, b, o1, o2}, {b, o1, o2}, {b, o2}, {o2}, nil} {
		changes, to, err := s.Changes(t.Context(), broker.Revision(after))
		must(t, err)
		if got := show(changes); got != show(want) || to != 4 {
			t.Errorf("after %d: %s to %d, want %s", after, got, to, show(want))
		}
	}
	for at, want := range [][]broker.Object{1: {a}, 2: {a, o1}, 3: {a, b, o1}, 4: {a, b, o1, o2}} {
		objects, err := s.LoadAt(t.Context(), broker.Revision(at))
		must(t, err)
		if got := show(objects); at > 0 && got != show(want) {
			t.Errorf("at %d: %s, want %s", at, got, show(want))
		}
	}
	history, err := s.Revisions(t.Context(), 0, 10)
	must(t, err)
	if len(history) != 2 || history[0].Revision != 3 || history[1].Revision != 1 {
		t.Errorf("history %+v", history)
	}
}

// Whoever revokes tokens keeps nobody from changing policy; a change of policy
// makes a plan stale all the same, also behind revocations.
func testRevocationsAndPlans(t *testing.T, s store.Store) {
	write(t, s, 0, mapping("a", `{}`))
	must(t, s.Revoke(t.Context(), revocation("t-1")))
	if r := write(t, s, 1, mapping("b", `{}`)); r != 3 {
		t.Errorf("revision %d", r)
	}
	must(t, s.Revoke(t.Context(), revocation("t-2")))
	for _, base := range []broker.Revision{0, 1, 2, 5, 9} {
		_, err := s.Write(t.Context(), store.Write{Base: base, Author: "me", At: at, Changes: []broker.Object{mapping("c", `{}`)}})
		wantCode(t, err, broker.CodeStale)
	}
	must(t, s.InsertKey(t.Context(), key("k"), 0))
	_, err := s.Write(t.Context(), store.Write{Base: 4, Author: "me", At: at, Changes: []broker.Object{mapping("c", `{}`)}})
	wantCode(t, err, broker.CodeStale)
	if r := write(t, s, 5, mapping("c", `{}`)); r != 6 {
		t.Errorf("revision %d", r)
	}
	// It is no object of policy: nobody writes or lifts one that way.
	for _, o := range []broker.Object{revocation("t-3").Object(0), {Kind: broker.KindRevocation, Name: "t-1", Deleted: true}} {
		_, err := s.Write(t.Context(), store.Write{Base: store.AnyRevision, Author: "me", At: at, Changes: []broker.Object{o}})
		wantCode(t, err, broker.CodeInvalidRequest)
	}
}

// Rows that are over go by themselves, and what is in force stays, however many
// there are.
func testRevocationsEnd(t *testing.T, s store.Store) {
	old := time.Now().Add(-time.Hour)
	names := func() (list []string) {
		objects, _, err := s.Load(t.Context())
		must(t, err)
		for _, o := range objects {
			list = append(list, o.Name)
		}
		return list
	}
	// 100 that are over came while there was nothing to take away: in no order of time.
	for i := range 100 {
		must(t, s.Revoke(t.Context(), broker.Revocation{TokenID: fmt.Sprint("old-", i), At: old, Until: old.Add(time.Duration(i*37%100) * time.Second)}))
		if n := len(names()); n > 17 {
			t.Fatalf("%d rows that are over lie there", n)
		}
	}
	just := revocation("just over")
	just.Until = time.Now().Add(-time.Second)
	must(t, s.Revoke(t.Context(), just))
	for i := range 20 {
		must(t, s.Revoke(t.Context(), revocation(fmt.Sprint("live-", i))))
	}
	got := names()
	if len(got) != 21 || !slices.Contains(got, "just over") || slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, "old") }) {
		t.Errorf("there are %v", got)
	}
}

func testBadRevocations(t *testing.T, s store.Store) {
	far := revocation("far")
	far.Until = time.Now().Add(3 * time.Hour)
	for name, r := range map[string]broker.Revocation{
		"no token": revocation(""), "long": revocation(strings.Repeat("x", 257)), "for ever": far,
	} {
		err := s.Revoke(t.Context(), r)
		if err == nil || broker.AsError(err).Code != broker.CodeInvalidRequest || errors.Is(err, store.ErrUnknownOutcome) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if objects, revision, err := s.Load(t.Context()); err != nil || revision != 0 || len(objects) != 0 {
		t.Errorf("%v at %d, %v", objects, revision, err)
	}
}

// Revocations and writes of many at once have revisions in commit order, none
// twice and none left out, and whoever follows sees each.
func testRevokers(t *testing.T, s store.Store) {
	const each = 30
	var wg sync.WaitGroup
	errs := make([]error, 3*each)
	for i := range each {
		wg.Go(func() { errs[i] = s.Revoke(t.Context(), revocation(fmt.Sprint("t-", i))) })
		wg.Go(func() { errs[each+i] = s.Revoke(t.Context(), revocation(fmt.Sprint("t-", i))) }) // the same, by another
		wg.Go(func() {
			_, errs[2*each+i] = s.Write(t.Context(), store.Write{Base: store.AnyRevision, Author: "w", At: at, Changes: []broker.Object{mapping(fmt.Sprint(i), `{}`)}})
		})
	}
	seen := map[string]broker.Revision{}
	for applied := broker.Revision(0); applied < 2*each; {
		changes, to, err := s.Changes(t.Context(), applied)
		must(t, err)
		for _, c := range changes {
			if _, again := seen[c.Name]; again || c.Revision <= applied || c.Revision > to {
				t.Fatalf("%s at %d, between %d and %d", c.Name, c.Revision, applied, to)
			}
			seen[c.Name] = c.Revision
		}
		if int(to-applied) != len(changes) {
			t.Fatalf("%d changes from %d to %d", len(changes), applied, to)
		}
		applied = to
	}
	wg.Wait()
	must(t, errors.Join(errs...))
	if len(seen) != 2*each {
		t.Errorf("%d seen", len(seen))
	}
}
