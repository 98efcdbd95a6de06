package policy

// shardBits is how the tables are cut: a change copies the root and the shards
// that it touches, and nothing else.
const (
	shardBits = 10
	numShards = 1 << shardBits
)

// table is a persistent hash multimap: once published it never changes, and a
// changed copy shares all shards that are the same. Equal hashes stand beside
// one another; whoever looks compares the items byte for byte.
type table[T any] struct {
	shards []shard[T] // nil while empty
	count  int
}

type shard[T any] struct {
	slots []slot[T] // a power of two; open addressing
	used  int
}

type slot[T any] struct {
	hash uint64
	item *T
}

// slots returns where an item of that hash would lie. The walk begins at hash
// modulo their number and ends at the first empty one.
func (t *table[T]) slots(hash uint64) []slot[T] {
	if t.shards == nil {
		return nil
	}
	return t.shards[hash>>(64-shardBits)].slots
}

// each calls f for every item of that hash until f returns false.
func (t *table[T]) each(hash uint64, f func(*T) bool) {
	slots := t.slots(hash)
	for i := range slots {
		s := &slots[(int(hash)+i)&(len(slots)-1)] //nolint:gosec // only the low bits count
		if s.item == nil || s.hash == hash && !f(s.item) {
			return
		}
	}
}

// all calls f for every item.
func (t *table[T]) all(f func(*T) bool) {
	for i := range t.shards {
		for _, s := range t.shards[i].slots {
			if s.item != nil && !f(s.item) {
				return
			}
		}
	}
}

// editor makes the next version of a table. Nothing is copied before the first
// change.
type editor[T any] struct {
	table[T]
	owned *[numShards]bool // shards that no published table shares; nil while the root is shared too
}

func edit[T any](t table[T]) *editor[T] { return &editor[T]{table: t} }

// root copies the root, once.
func (e *editor[T]) root() {
	if e.owned != nil {
		return
	}
	shards := make([]shard[T], numShards)
	copy(shards, e.shards)
	e.shards, e.owned = shards, new([numShards]bool)
}

// own returns the shard of a hash for writing, with room for one more.
func (e *editor[T]) own(hash uint64) *shard[T] {
	e.root()
	i := hash >> (64 - shardBits)
	s := &e.shards[i]
	switch {
	case (s.used+1)*4 > len(s.slots)*3:
		s.rebuild(max(4, 2*len(s.slots)), nil)
	case !e.owned[i]:
		s.slots = append([]slot[T](nil), s.slots...)
	}
	e.owned[i] = true
	return s
}

func (e *editor[T]) add(hash uint64, item *T) {
	e.own(hash).put(hash, item)
	e.count++
}

// remove takes out the very item, if it is there.
func (e *editor[T]) remove(hash uint64, item *T) {
	e.root()
	i := hash >> (64 - shardBits)
	s := &e.shards[i]
	before := s.used
	s.rebuild(len(s.slots), item)
	e.owned[i] = true
	e.count -= before - s.used
}

func (s *shard[T]) put(hash uint64, item *T) {
	i := int(hash) & (len(s.slots) - 1) //nolint:gosec // only the low bits count
	for s.slots[i].item != nil {
		i = (i + 1) & (len(s.slots) - 1)
	}
	s.slots[i] = slot[T]{hash, item}
	s.used++
}

// rebuild writes the shard anew at that size, without one item.
func (s *shard[T]) rebuild(size int, without *T) {
	old := s.slots
	s.slots, s.used = make([]slot[T], size), 0
	for _, o := range old {
		if o.item != nil && o.item != without {
			s.put(o.hash, o.item)
		}
	}
}
