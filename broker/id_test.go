package broker_test

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
)

func TestIDHoldsItsTime(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	rapid.Check(t, func(t *rapid.T) {
		at := time.UnixMilli(rapid.Int64Range(0, 1<<48-1).Draw(t, "ms"))
		id := broker.NewID(at)
		if got, err := broker.IDTime(id); err != nil || !got.Equal(at) {
			t.Fatalf("%s is of %v, %v, not %v", id, got, err, at)
		}
		if later := broker.NewID(at.Add(time.Millisecond)); at.UnixMilli() < 1<<48-1 && later <= id {
			t.Fatalf("%s does not sort before %s", id, later)
		}
		if seen[id] {
			t.Fatalf("%s twice", id)
		}
		seen[id] = true
	})
}

// Vectors of the ULID specification's layout: all bits of the time, the least
// and the greatest.
func TestIDVectors(t *testing.T) {
	t.Parallel()
	for id, want := range map[string]int64{
		"00000000000000000000000000": 0,
		"7ZZZZZZZZZZZZZZZZZZZZZZZZZ": 1<<48 - 1,
		"01ARZ3NDEKTSV4RRFFQ69G5FAV": 1469922850259,
	} {
		if got, err := broker.IDTime(id); err != nil || got.UnixMilli() != want {
			t.Errorf("%s: %v, %v", id, got, err)
		}
	}
	for _, bad := range []string{"", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "01ARZ3NDEKTSV4RRFFQ69G5FA", "01ARZ3NDEKTSV4RRFFQ69G5FAVV", "01arz3ndektsv4rrffq69g5fav", "01ARZ3NDEKTSV4RRFFQ69G5FAU"} {
		if _, err := broker.IDTime(bad); err == nil {
			t.Errorf("%q is read", bad)
		}
	}
}
