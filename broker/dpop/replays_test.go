package dpop_test

import (
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/dpop"
)

func number(n int) (id [32]byte) {
	binary.BigEndian.PutUint64(id[:], uint64(n)) //nolint:gosec // a label
	return id
}

// Whatever the clock does, no proof is used twice while its end is ahead, no more
// are remembered than there is room for, and while the clock goes forward a new
// one is refused only for want of room.
func TestReplaysModel(t *testing.T) {
	t.Parallel()
	const limit = 8
	rapid.Check(t, func(t *rapid.T) {
		r := dpop.NewReplays(limit)
		used, ends := map[int]bool{}, map[int]time.Time{}
		now, latest := start, start
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(-90, 120).Draw(t, "seconds")) * time.Second / 4)
			if now.After(latest) {
				latest = now
			}
			id := rapid.IntRange(0, 20).Draw(t, "id")
			if ends[id].IsZero() {
				ends[id] = now.Add(time.Duration(rapid.IntRange(1, 66).Draw(t, "life")) * time.Second)
			}
			if !now.Before(ends[id]) {
				continue // too old: its window is checked before
			}
			err := r.Use(number(id), now, ends[id])
			switch {
			case err == nil && used[id]:
				t.Fatalf("%d used twice", id)
			case !used[id] && errors.Is(err, dpop.ErrUsed) && now.Equal(latest):
				t.Fatalf("%d was never used: %v", id, err)
			}
			used[id] = used[id] || err == nil
			counted, said := r.Len()
			if counted != said || counted > limit || errors.Is(err, dpop.ErrFull) && counted != limit {
				t.Fatalf("%d remembered, said %d, %v", counted, said, err)
			}
		}
	})
}

// Of many who use one proof at once, one does.
func TestReplaysRace(t *testing.T) {
	t.Parallel()
	r := dpop.NewReplays(100)
	var won atomic.Int32
	var group sync.WaitGroup
	for i := range 100 {
		group.Go(func() {
			if r.Use(number(i%10), start, start.Add(time.Minute)) == nil {
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 10 {
		t.Errorf("%d of 10", won.Load())
	}
}
