package audit

import (
	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Rehash returns the row with the hash that it must have: what somebody who can
// write to the store would do.
func Rehash(r store.RecordRow) store.RecordRow {
	sum := hash(&r)
	r.Hash = sum[:]
	return r
}

// Encode makes the row of a record, as Append does before it waits.
func Encode(r *Recorder, x *broker.Record) store.RecordRow {
	p, _ := r.encode(x, &extra{})
	return p.row
}

// Merged returns what stands for many, as it is kept.
func Merged(r *Recorder) (kept []broker.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.notes.merged {
		kept = append(kept, m.record)
	}
	return kept
}
