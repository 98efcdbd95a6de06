package policy_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

func TestBlockRoundTrip(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 12, 0, 0, 500_000_000, time.UTC)
	for _, b := range []broker.Block{
		{Name: "a", Target: broker.BlockWorkload, ID: "spiffe://td/a", Reason: "x"},
		{Name: "b", Target: broker.BlockSubject, ID: "corp:alice", Reason: "left <us>", NotBefore: at, Until: at.Add(time.Hour)},
		{Name: "c", Target: broker.BlockIssuer, ID: "https://idp.example", Reason: "x", Until: at},
	} {
		o, err := policy.BlockObject(b)
		if err != nil {
			t.Fatal(err)
		}
		if o.Kind != broker.KindBlock || o.Name != b.Name || o.Set != "" {
			t.Errorf("object %+v", o)
		}
		back, err := policy.DecodeBlock(&o)
		if diff := cmp.Diff(b, back); diff != "" || err != nil {
			t.Errorf("%v %s", err, diff)
		}
	}
}

// A token that was issued in the second of not_before, but before it, is stopped.
func TestBlockKeepsFractions(t *testing.T) {
	t.Parallel()
	b := broker.Block{Name: "a", Target: broker.BlockToken, ID: "x", Reason: "y", NotBefore: now.Add(500 * time.Millisecond)}
	o, err := policy.BlockObject(b)
	if err != nil {
		t.Fatal(err)
	}
	s, _ := policy.Compile([]broker.Object{o}, 1, options)
	if s.Blocked(now.Add(time.Minute), broker.BlockToken, "x", now) == nil {
		t.Error("what was issued half a second before is not stopped")
	}
}

func TestBlockRefuses(t *testing.T) {
	t.Parallel()
	good := broker.Block{Name: "a", Target: broker.BlockWorkload, ID: "spiffe://td/a", Reason: "x"}
	for name, change := range map[string]func(*broker.Block){
		"no name":        func(b *broker.Block) { b.Name = "" },
		"no id":          func(b *broker.Block) { b.ID = "" },
		"no reason":      func(b *broker.Block) { b.Reason = "" },
		"no target":      func(b *broker.Block) { b.Target = "" },
		"other target":   func(b *broker.Block) { b.Target = "region" },
		"short name":     func(b *broker.Block) { b.ID = "shop/web" },
		"trust domain":   func(b *broker.Block) { b.ID = "spiffe://td" },
		"invalid UTF-8":  func(b *broker.Block) { b.Reason = "\xff" },
		"pattern for id": func(b *broker.Block) { b.ID = "spiffe://td/*" },
	} {
		b := good
		change(&b)
		if o, err := policy.BlockObject(b); err == nil {
			t.Errorf("%s: %s", name, o.Body)
		}
	}
	for _, body := range []string{"", "{}", `{"target":"token","id":"x","reason":"y","x":1}`, `{"target":"token","id":"","reason":"y"}`, `{"target":"token","id":"x","reason":"y","not_before":"z"}`} {
		if b, err := policy.DecodeBlock(&broker.Object{Kind: broker.KindBlock, Name: "a", Body: []byte(body)}); err == nil {
			t.Errorf("%s is %+v", body, b)
		}
	}
}

// Blocks that cannot be read count as quarantined until they are lifted.
func TestBadBlocksAreCounted(t *testing.T) {
	t.Parallel()
	object := func(name, body string) broker.Object {
		return broker.Object{Kind: broker.KindBlock, Name: name, Body: []byte(body)}
	}
	s, _ := policy.Compile([]broker.Object{object("a", `{}`), object("b", `{"target":"token","id":"x","until":"z"}`), object("c", `{"target":"token","id":"x","reason":"y"}`)}, 1, options)
	if s.Quarantined() != 2 {
		t.Errorf("%d quarantined", s.Quarantined())
	}
	s, _ = s.Apply([]broker.Object{{Kind: broker.KindBlock, Name: "a", Deleted: true}, {Kind: broker.KindBlock, Name: "b", Deleted: true}}, 2)
	if s.Quarantined() != 0 || s.Blocked(now, broker.BlockToken, "x", now) == nil || s.Blocked(now, broker.BlockToken, "y", now) != nil {
		t.Errorf("%d quarantined after they are lifted", s.Quarantined())
	}
}

// A revocation stops its token until it ends, beside blocks of the same name and of
// the same token; one that cannot be read stops it for ever, and nothing else.
func TestRevocations(t *testing.T) {
	t.Parallel()
	over, live := broker.Revocation{TokenID: "over", Until: now}, broker.Revocation{TokenID: "live", Until: now.Add(time.Second)}
	bad := broker.Object{Kind: broker.KindRevocation, Name: "bad", Body: []byte(`{"until":"x"}`)}
	block, err := policy.BlockObject(broker.Block{Name: "live", Target: broker.BlockToken, ID: "live", Reason: "x", Until: now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	s, findings := policy.Compile([]broker.Object{over.Object(1), live.Object(1), bad, block}, 1, options)
	stopped := func(s *policy.Snapshot, at time.Time) (list []string) {
		for _, id := range []string{"over", "live", "bad", "other"} {
			if s.Blocked(at, broker.BlockToken, id, at) != nil {
				list = append(list, id)
			}
		}
		return list
	}
	if d := cmp.Diff([]string{"live", "bad"}, stopped(s, now)); d != "" || s.Quarantined() != 1 || len(findings) != 1 || findings[0].Code != "object-unreadable" {
		t.Errorf("%s, %v", d, findings)
	}
	if d := cmp.Diff([]string{"live", "bad"}, stopped(s, now.Add(time.Minute))); d != "" {
		t.Errorf("the block ended with the revocation: %s", d)
	}
	// Each goes without the other.
	lifted, _ := s.Apply([]broker.Object{{Kind: broker.KindBlock, Name: "live", Deleted: true}, {Kind: broker.KindRevocation, Name: "bad", Deleted: true}}, 2)
	if d := cmp.Diff([]string{"live"}, stopped(lifted, now)); d != "" || len(stopped(lifted, now.Add(time.Minute))) != 0 || lifted.Quarantined() != 0 {
		t.Error(d)
	}
	gone, _ := s.Apply([]broker.Object{{Kind: broker.KindRevocation, Name: "live", Deleted: true}}, 2)
	if d := cmp.Diff([]string{"live", "bad"}, stopped(gone, now.Add(time.Minute))); d != "" {
		t.Error(d)
	}
}
