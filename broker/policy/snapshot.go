package policy

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// maxShapes bounds how many kinds of pattern a snapshot has: Find looks once
// for each. Rules beyond it still work, one by one, and lint says so.
const maxShapes = 64

// Snapshot is all policy at one revision, compiled. It implements broker.View
// and never changes; Apply makes the next one.
type Snapshot struct {
	revision broker.Revision
	opts     Options
	shared   *shared

	shapes      []shape
	byTarget    table[entry] // shape, caller, resource
	byCaller    table[entry] // shape, caller
	loose       []*entry     // what no shape fits
	rules       table[rule]  // by ID
	byURI       table[resource]
	byName      table[resource] // templates too, by their own name
	templates   []*resource
	issuers     table[broker.Issuer] // by URL
	issuerNames table[broker.Issuer]
	blocks      table[block] // by target and ID
	blockNames  table[block]
	badBlocks   []*broker.Block // blocks that could not be read: they stop everything
	quarantined int
}

// Options are what policy must know of the server it is for.
type Options struct {
	Issuer       string   // our issuer URL
	OwnAudiences []string // aud values that name us besides that and "cambist"
	// Now is for lint, which warns of rules that are over. May be nil.
	Now func() time.Time
}

// names reports whether an audience names this broker.
func (o *Options) names(aud string) bool {
	return aud == "cambist" || aud != "" && aud == o.Issuer || slices.Contains(o.OwnAudiences, aud)
}

// shared is what all snapshots of one line of versions have in common. The
// interner belongs to the one writer.
type shared struct {
	seed       maphash.Seed
	interner   *interner
	conditions *conditions
}

// shape is a kind of workload pattern: how many segments, which of them are
// literal, whether more may follow. Patterns of one shape are found by one hash.
type shape struct {
	segments uint8
	rest     bool
	literals uint16
	users    int // patterns that have it
}

func (s shape) key() uint64 {
	k := uint64(s.segments)<<32 | uint64(s.literals)<<8
	if s.rest {
		k |= 1
	}
	return k
}

func shapeOf(p *pattern) shape {
	s := shape{segments: uint8(len(p.segments)), rest: p.rest} //nolint:gosec // at most 16
	for i := range p.segments {
		if p.segments[i].kind == segmentLiteral {
			s.literals |= 1 << i
		}
	}
	return s
}

// entry is one pair of a from and a to pattern of a rule.
type entry struct {
	rule     *rule
	from, to *pattern
}

// mix folds one hash into another; the order counts.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd6e8feb86659fd93)
	return high ^ low ^ bits.RotateLeft64(a, 23)
}

// anyTarget stands for the resource of an entry whose to is a pattern.
const anyTarget = 0x2545f4914f6cdd1d

func (s *Snapshot) hash(text string) uint64 { return maphash.String(s.shared.seed, text) }

// Revision returns the revision that the snapshot is of.
func (s *Snapshot) Revision() broker.Revision { return s.revision }

// Quarantined returns how many objects could not be read.
func (s *Snapshot) Quarantined() int { return s.quarantined }

// Mappings returns how many mappings there are.
func (s *Snapshot) Mappings() int { return s.rules.count }

// Algorithms returns the signing algorithms that resources ask for, sorted.
func (s *Snapshot) Algorithms() []string {
	var list []string
	s.byName.all(func(r *resource) bool {
		if a := r.proto.Algorithm; !r.proto.Quarantined && !slices.Contains(list, a) {
			list = append(list, a)
		}
		return true
	})
	slices.Sort(list)
	return list
}

// Issuers returns every issuer, by name.
func (s *Snapshot) Issuers() []*broker.Issuer {
	var list []*broker.Issuer
	s.issuerNames.all(func(i *broker.Issuer) bool { list = append(list, i); return true })
	slices.SortFunc(list, func(a, b *broker.Issuer) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Issuer returns the issuer with exactly that URL. Two of one URL are none that
// can be trusted: a quarantined one stands for both.
func (s *Snapshot) Issuer(url string) (*broker.Issuer, bool) {
	var found *broker.Issuer
	s.issuers.each(s.hash(url), func(i *broker.Issuer) bool {
		switch {
		case i.URL != url:
		case found != nil:
			found = &broker.Issuer{Name: found.Name, URL: url, Quarantined: true}
			return false
		default:
			found = i
		}
		return true
	})
	return found, found != nil
}

// Resource returns the resource with exactly that URI: an explicit one, else
// the one that a template builds byte for byte. Where two claim it, a
// quarantined one stands for both.
func (s *Snapshot) Resource(uri string) (*broker.Resource, bool) {
	var found *broker.Resource
	s.byURI.each(s.hash(uri), func(r *resource) bool {
		switch {
		case r.proto.URI != uri:
		case found != nil:
			found = &broker.Resource{Name: found.Name, URI: uri, Quarantined: true}
			return false
		default:
			found = &r.proto
		}
		return true
	})
	if found != nil {
		return found, true
	}
	for _, t := range s.templates {
		captured, ok := t.uri.match(uri)
		if !ok {
			continue
		}
		made, ok := t.instance(captured, "")
		if !ok || made.URI != uri || s.explicit(made.Name) != nil {
			continue
		}
		if found != nil {
			return &broker.Resource{Name: made.Name, URI: uri, Quarantined: true}, true
		}
		found = made
	}
	return found, found != nil
}

// explicit returns the resource of that name which is no template.
func (s *Snapshot) explicit(name string) *resource {
	var found *resource
	s.byName.each(s.hash(name), func(r *resource) bool {
		if r.object == name && !r.isTemplate() {
			found = r
		}
		return found == nil
	})
	return found
}

// Blocked returns a block in force on the target.
func (s *Snapshot) Blocked(now time.Time, target broker.BlockTarget, id string, issuedAt time.Time) *broker.Block {
	if len(s.badBlocks) > 0 {
		return s.badBlocks[0]
	}
	if s.blocks.count == 0 {
		return nil
	}
	var found *broker.Block
	s.blocks.each(s.blockHash(target, id), func(b *block) bool {
		if b.Target == target && b.ID == id && b.Stops(now, issuedAt) {
			found = &b.Block
		}
		return found == nil
	})
	return found
}

func (s *Snapshot) blockHash(target broker.BlockTarget, id string) uint64 {
	return mix(s.hash(string(target)), s.hash(id))
}

// Find appends the mappings of a workload for a resource, by ID; see
// broker.View.
func (s *Snapshot) Find(dst []broker.Candidate, w spiffeid.ID, r *broker.Resource) []broker.Candidate {
	var pathBuffer, nameBuffer [maxSegments]string // on the stack: nothing keeps them
	q := finder{s: s, dst: dst, first: len(dst), domain: w.TrustDomain().Name(), resource: r}
	var path, name []string
	if text := w.Path(); text != "" {
		path = split(text[1:], &pathBuffer)
	}
	if r != nil {
		name = split(r.Name, &nameBuffer)
	}
	q.run(path, name)
	if found := q.dst[q.first:]; len(found) > 1 {
		slices.SortFunc(found, func(a, b broker.Candidate) int { return cmp.Compare(a.Mapping.ID, b.Mapping.ID) })
	}
	return q.dst
}

// finder is one run of Find. The segments it compares are not among its fields:
// what it finds is kept, and they would be kept with it.
type finder struct {
	s        *Snapshot
	dst      []broker.Candidate
	first    int
	domain   string
	resource *broker.Resource
}

func (q *finder) run(path, name []string) {
	var hashes [maxSegments]uint64
	for i, segment := range path {
		hashes[i] = q.s.hash(segment)
	}
	domain := q.s.hash(q.domain)
	var target uint64
	if q.resource != nil {
		target = q.s.hash(q.resource.Name)
	}
	for i := range q.s.shapes {
		sh := &q.s.shapes[i]
		n := int(sh.segments)
		if n > len(path) || n < len(path) && !sh.rest || n == len(path) && sh.rest {
			continue
		}
		key := mix(domain, sh.key())
		for k := range n {
			if sh.literals&(1<<k) != 0 {
				key = mix(key, hashes[k])
			}
		}
		if q.resource == nil {
			q.probe(&q.s.byCaller, key, path, name)
			continue
		}
		q.probe(&q.s.byTarget, mix(key, target), path, name)
		q.probe(&q.s.byTarget, mix(key, anyTarget), path, name)
	}
	for _, e := range q.s.loose {
		q.try(e, path, name)
	}
}

func (q *finder) probe(t *table[entry], hash uint64, path, name []string) {
	slots := t.slots(hash)
	for i := range slots {
		s := &slots[(int(hash)+i)&(len(slots)-1)]
		if s.item == nil {
			return
		}
		if s.hash == hash {
			q.try(s.item, path, name)
		}
	}
}

// try compares an entry byte for byte and adds its mapping if it fits.
func (q *finder) try(e *entry, path, name []string) {
	if !e.from.all && e.from.domain != q.domain {
		return
	}
	captured, ok := e.from.match(path, nil)
	if !ok {
		return
	}
	if q.resource == nil {
		q.expand(e, captured)
		return
	}
	if captured, ok = e.to.match(name, captured); ok {
		q.add(e.rule, captured, nil)
	}
}

func (q *finder) add(r *rule, captured []broker.Capture, of *broker.Resource) {
	for i := q.first; i < len(q.dst); i++ {
		if c := &q.dst[i]; c.Mapping == &r.mapping && (of == nil || c.Resource.Name == of.Name) {
			return
		}
	}
	q.dst = append(q.dst, broker.Candidate{Mapping: &r.mapping, Condition: r.cond, Captured: captured, Resource: of})
}

// expand adds a mapping for every resource that its to can mean.
func (q *finder) expand(e *entry, captured []broker.Capture) {
	shards := q.s.byName.shards
	for i := range shards {
		for k := range shards[i].slots {
			if r := shards[i].slots[k].item; r != nil {
				q.expandTo(e, r, captured)
			}
		}
	}
}

func (q *finder) expandTo(e *entry, r *resource, captured []broker.Capture) {
	if !r.isTemplate() {
		var buffer [maxSegments]string
		if all, ok := e.to.match(split(r.object, &buffer), captured); ok {
			q.add(e.rule, all, &r.proto)
		}
		return
	}
	if bound, ok := partly(&r.name, e.to, captured); ok {
		if made, ok := r.instance(bound, "*"); ok {
			q.add(e.rule, captured, made)
		}
	}
}

// partly says which captures of a template's name a to pattern fixes, given
// what was captured from the caller; ok is false if they cannot meet.
func partly(name, to *pattern, captured []broker.Capture) (bound []broker.Capture, ok bool) {
	if to.all {
		return nil, true
	}
	if len(to.segments) > len(name.segments) || len(to.segments) < len(name.segments) && !to.rest {
		return nil, false
	}
	for i := range to.segments {
		value := ""
		switch s := &to.segments[i]; s.kind {
		case segmentLiteral:
			value = s.text
		case segmentCapture:
			value, _ = lookup(captured, s.text)
		}
		switch n := &name.segments[i]; {
		case value == "":
		case n.kind == segmentLiteral && n.text != value:
			return nil, false
		case n.kind == segmentCapture:
			if have, found := lookup(bound, n.text); found && have != value || !label(value) {
				return nil, false
			}
			bound = append(bound, broker.Capture{Name: n.text, Value: value})
		}
	}
	return bound, true
}
