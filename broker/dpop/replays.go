package dpop

import (
	"errors"
	"sync"
	"time"
)

// DefaultReplays is how many proofs are remembered where nothing else is said:
// what 4 000 requests a second are in the minute that a proof is good for, at
// some 80 bytes each.
const DefaultReplays = 1 << 18

// Why a proof cannot be used.
var (
	ErrUsed = errors.New("the proof was used before")
	ErrFull = errors.New("too many proofs to remember")
)

// width is the span of a set of proofs that are forgotten together, in seconds.
const width = 16

// Replays remembers the proofs that were used, each until its end. It holds a
// bounded number of them: when there is no room it accepts none, for to forget
// one is to accept it twice.
type Replays struct {
	limit int

	mu    sync.Mutex
	sets  map[int64]map[[32]byte]struct{} // by end, in widths
	n     int                             // proofs in all sets
	floor int64                           // seconds: what ended before may have been forgotten
}

// NewReplays returns a memory of at most limit proofs.
func NewReplays(limit int) *Replays {
	return &Replays{limit: limit, sets: map[int64]map[[32]byte]struct{}{}}
}

// Use marks a proof as used. ErrUsed if it was, or if it may have been and was
// forgotten, which is only so when the clock went back; ErrFull if there is no
// room. From end on the caller must refuse the proof by itself; it must not say
// another end for the same proof.
func (r *Replays) Use(id [32]byte, at, end time.Time) error {
	ends := end.Unix()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget(at.Unix())
	set := r.sets[ends/width]
	if _, used := set[id]; used || ends < r.floor {
		return ErrUsed
	}
	if r.n >= r.limit {
		return ErrFull
	}
	if set == nil {
		set = map[[32]byte]struct{}{}
		r.sets[ends/width] = set
	}
	set[id] = struct{}{}
	r.n++
	return nil
}

// forget drops what has ended. There are few sets: as many as fit into the life
// of a proof.
func (r *Replays) forget(now int64) {
	for k, set := range r.sets {
		if over := (k + 1) * width; over <= now {
			r.n -= len(set)
			delete(r.sets, k)
			r.floor = max(r.floor, over)
		}
	}
}
