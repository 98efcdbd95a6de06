package audit

import "github.com/cambist/cambist/store"

// Rehash returns the row with the hash that it must have: what somebody who can
// write to the store would do.
func Rehash(r store.RecordRow) store.RecordRow {
	sum := hash(&r)
	r.Hash = sum[:]
	return r
}
