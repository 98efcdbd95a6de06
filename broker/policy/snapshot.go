package policy

import (
	"cmp"
	"hash/maphash"
	"math/bits"
	"slices"
	"time"

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
	unplaced    int                  // resources whose URI cannot be read: any that a template builds may be theirs
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
			found = &broker.Issuer{Name: min(found.Name, i.Name), URL: url, Quarantined: true}
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
			found = &broker.Resource{Name: min(found.Name, r.proto.Name), URI: uri, Quarantined: true}
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
			made.Name, made.Quarantined = min(found.Name, made.Name), true
		}
		made.Quarantined = made.Quarantined || s.unplaced > 0
		found = made
	}
	return found, found != nil
}

// ResourceNamed returns the resource of that name, which is not one of a template.
func (s *Snapshot) ResourceNamed(name string) (*broker.Resource, bool) {
	if r := s.explicit(name); r != nil {
		return s.Resource(r.proto.URI)
	}
	return nil, false
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
