package audit

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/cambist/cambist/store"
)

// A row's hash is made in two steps, so that the many who append do the long one
// and the one who commits the short one: content covers every column that a row
// has before it has its place, link adds the place. Every part has its length
// before it: no two rows hash alike by shifting bytes from one column to the next.

// appendColumns writes what the content of a row covers, up to its body.
func appendColumns(dst []byte, r *store.RecordRow) []byte {
	dst = appendNumber(dst, r.At.UnixMicro())
	for _, text := range [...]string{r.Replica, r.ID, r.Workload, r.Resource, r.Outcome} {
		dst = append(appendNumber(dst, int64(len(text))), text...)
	}
	return dst
}

func appendNumber(dst []byte, n int64) []byte {
	return binary.BigEndian.AppendUint64(dst, uint64(n)) //nolint:gosec // the bits are what counts
}

// content returns the hash of a whole row without its place.
func content(r *store.RecordRow) [sha256.Size]byte {
	all := appendColumns(make([]byte, 0, 512+len(r.Body)+len(r.Facts)), r)
	all = append(appendNumber(all, int64(len(r.Body))), r.Body...)
	all = append(appendNumber(all, int64(len(r.Facts))), r.Facts...)
	return sha256.Sum256(all)
}

// link returns the hash of a row at its place.
func link(r *store.RecordRow, content *[sha256.Size]byte) [sha256.Size]byte {
	all := make([]byte, 0, 256) // on the stack
	all = append(appendNumber(all, int64(len(r.Prev))), r.Prev...)
	all = append(all, content[:]...)
	all = append(appendNumber(all, int64(len(r.Segment))), r.Segment...)
	all = appendNumber(all, r.Seq)
	return sha256.Sum256(all)
}

// hash returns what the Hash of a row must be.
func hash(r *store.RecordRow) [sha256.Size]byte {
	c := content(r)
	return link(r, &c)
}
