package fleet

import (
	"encoding/binary"
	"hash/maphash"
	"time"

	"github.com/cambist/cambist/broker"
)

// contents remembers which objects a snapshot was made of, each by a hash of its
// name and one of what it says. It tells whether the store still holds what was
// applied, for 16 bytes an object.
type contents struct {
	seed    maphash.Seed
	objects map[uint64]uint64
	ends    map[uint64]time.Time // of revocations: the store forgets those that are over
}

func newContents() contents { return contents{seed: maphash.MakeSeed()}.of(nil) }

// of returns the contents of these objects alone.
func (c contents) of(objects []broker.Object) contents {
	all := contents{seed: c.seed, objects: make(map[uint64]uint64, len(objects)), ends: map[uint64]time.Time{}}
	all.apply(objects)
	return all
}

// apply takes in the latest state of objects.
func (c contents) apply(objects []broker.Object) {
	for i := range objects {
		o := &objects[i]
		name := c.hash(string(o.Kind), o.Name)
		if o.Deleted {
			delete(c.objects, name)
			continue
		}
		if r, err := broker.ParseRevocation(o); o.Kind == broker.KindRevocation && err == nil {
			c.ends[name] = r.Until
		}
		c.objects[name] = c.hash(o.Set, string(o.Body), string(binary.BigEndian.AppendUint64(nil, uint64(o.Revision)))) //nolint:gosec // a revision is not negative
	}
}

// equal reports whether both are of the same objects, written by the same revisions,
// but for revocations that are over.
func (c contents) equal(other contents, now time.Time) bool {
	return c.within(other, now) && other.within(c, now)
}

func (c contents) within(other contents, now time.Time) bool {
	for name, says := range c.objects {
		if there, ok := other.objects[name]; ok && there == says {
			continue
		}
		if end, ends := c.ends[name]; !ends || now.Before(end) {
			return false
		}
	}
	return true
}

// hash keeps the parts apart by their lengths.
func (c contents) hash(parts ...string) uint64 {
	var h maphash.Hash
	h.SetSeed(c.seed)
	for _, part := range parts {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		_, _ = h.Write(length[:]) // it never fails
		_, _ = h.WriteString(part)
	}
	return h.Sum64()
}
