package policy

import (
	"cmp"
	"hash/maphash"
	"maps"
	"slices"

	"github.com/cambist/cambist/broker"
)

// Compile builds the snapshot of a revision from all its objects. It always
// returns one: what cannot be read is quarantined and reported.
func Compile(objects []broker.Object, revision broker.Revision, o Options) (*Snapshot, []Finding) {
	empty := &Snapshot{opts: o, shared: &shared{seed: maphash.MakeSeed(), interner: newInterner(), conditions: newConditions()}}
	return empty.Apply(objects, revision)
}

// Apply returns the snapshot of a later revision, given the latest state of
// every object changed since. It copies what it touches. One goroutine at a
// time may apply to the snapshots of one line.
func (s *Snapshot) Apply(changes []broker.Object, revision broker.Revision) (*Snapshot, []Finding) {
	b := newBuilder(s, revision)
	// Issuers first: conditions are typed by their claims, old ones anew.
	for i := range changes {
		if changes[i].Kind == broker.KindIssuer {
			b.change(&changes[i])
		}
	}
	b.rebind()
	for i := range changes {
		if changes[i].Kind != broker.KindIssuer {
			b.change(&changes[i])
		}
	}
	return b.snapshot(), b.findings
}

// builder makes one snapshot from another.
type builder struct {
	next     *Snapshot
	findings []Finding

	byTarget, byCaller *editor[entry]
	rules              *editor[rule]
	byURI, byName      *editor[resource]
	issuers, names     *editor[broker.Issuer]
	blocks, blockNames *editor[block]
	issuersChanged     []string
	pruned             bool // the conditions were cut to those in use already
}

func newBuilder(s *Snapshot, revision broker.Revision) *builder {
	next := *s
	next.revision = revision
	s.shared.trim(s.rules.count)
	next.shapes, next.loose, next.templates, next.badBlocks = slices.Clone(s.shapes), slices.Clone(s.loose), slices.Clone(s.templates), slices.Clone(s.badBlocks)
	return &builder{
		next: &next, byTarget: edit(s.byTarget), byCaller: edit(s.byCaller), rules: edit(s.rules), byURI: edit(s.byURI), byName: edit(s.byName),
		issuers: edit(s.issuers), names: edit(s.issuerNames), blocks: edit(s.blocks), blockNames: edit(s.blockNames),
	}
}

func (b *builder) snapshot() *Snapshot {
	n := b.next
	n.byTarget, n.byCaller, n.rules, n.byURI, n.byName = b.byTarget.table, b.byCaller.table, b.rules.table, b.byURI.table, b.byName.table
	n.issuers, n.issuerNames, n.blocks, n.blockNames = b.issuers.table, b.names.table, b.blocks.table, b.blockNames.table
	return n
}

func (b *builder) change(o *broker.Object) {
	f := &faults{kind: o.Kind, name: o.Name, found: &b.findings}
	switch o.Kind {
	case broker.KindIssuer:
		b.dropIssuer(o.Name)
		b.issuersChanged = append(b.issuersChanged, o.Name)
		if !o.Deleted {
			b.addIssuer(compileIssuer(o, b.next.opts, f))
		}
	case broker.KindResource:
		b.dropResource(o.Name)
		if !o.Deleted {
			b.addResource(compileResource(o, f))
		}
	case broker.KindMapping:
		b.dropRule(o.Name)
		if !o.Deleted {
			b.addRule(compileMapping(o, b.next.shared.interner, f), f)
		}
	case broker.KindBlock:
		b.dropBlock(o.Kind, o.Name)
		if !o.Deleted {
			b.addBlock(o, f)
		}
	case broker.KindRevocation:
		b.dropBlock(o.Kind, o.Name)
		if !o.Deleted {
			b.addRevocation(o, f)
		}
	case broker.KindSet:
	default:
		f.add("kind-unknown", "", "run a newer cambist", "objects of kind %q are unknown to this program", o.Kind)
	}
}

func (b *builder) quarantine(bad bool, by int) {
	if bad {
		b.next.quarantined += by
	}
}

func (b *builder) dropIssuer(name string) {
	b.names.each(b.next.hash(name), func(i *broker.Issuer) bool {
		if i.Name != name {
			return true
		}
		b.quarantine(i.Quarantined, -1)
		b.issuers.remove(b.next.hash(i.URL), i)
		b.names.remove(b.next.hash(name), i)
		return false
	})
}

func (b *builder) addIssuer(i *broker.Issuer) {
	b.quarantine(i.Quarantined, 1)
	b.issuers.add(b.next.hash(i.URL), i)
	b.names.add(b.next.hash(i.Name), i)
}

func (b *builder) issuer(name string) *broker.Issuer {
	var found *broker.Issuer
	b.names.each(b.next.hash(name), func(i *broker.Issuer) bool {
		if i.Name == name {
			found = i
		}
		return found == nil
	})
	return found
}

func (b *builder) dropResource(name string) {
	b.byName.each(b.next.hash(name), func(r *resource) bool {
		if r.object != name {
			return true
		}
		b.quarantine(r.proto.Quarantined, -1)
		if !r.placed {
			b.next.unplaced--
		}
		if r.isTemplate() {
			b.next.templates = slices.DeleteFunc(b.next.templates, func(t *resource) bool { return t == r })
		} else {
			b.byURI.remove(b.next.hash(r.proto.URI), r)
		}
		b.byName.remove(b.next.hash(name), r)
		return false
	})
}

func (b *builder) addResource(r *resource) {
	b.quarantine(r.proto.Quarantined, 1)
	b.byName.add(b.next.hash(r.object), r)
	if !r.placed {
		b.next.unplaced++
	}
	if r.isTemplate() {
		b.next.templates = append(b.next.templates, r)
		slices.SortFunc(b.next.templates, func(x, y *resource) int { return cmp.Compare(x.object, y.object) })
		return
	}
	b.byURI.add(b.next.hash(r.proto.URI), r)
}

// condition gives a rule its compiled when. Without one a conditional allow
// refuses and a conditional deny applies.
func (b *builder) condition(r *rule, f *faults) {
	r.cond = nil
	if !r.mapping.Conditional {
		return
	}
	known, issuer, captures := b.next.shared.conditions, b.issuer(r.mapping.For), r.allCaptures()
	c, err := known.get(r.when, issuer, captures)
	if err != nil && !b.pruned {
		b.pruned = true
		known.keep(b.conditions())
		c, err = known.get(r.when, issuer, captures)
	}
	if err != nil {
		f.add("condition-limit", "when", "reuse conditions", "%v", err)
		return
	}
	r.cond = c
}

// conditions returns the conditions that the rules have.
func (b *builder) conditions() map[*condition]bool {
	live := map[*condition]bool{}
	b.rules.all(func(r *rule) bool {
		if c, ok := r.cond.(*condition); ok {
			live[c] = true
		}
		return true
	})
	return live
}

// allCaptures returns the captures that every pair of patterns of the rule gives.
func (r *rule) allCaptures() []string {
	names := map[string]bool{}
	for _, patterns := range [][]pattern{r.from, r.to} {
		for i := range patterns {
			for _, name := range patterns[i].captures(nil) {
				if r.captured(name) {
					names[name] = true
				}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}

// rebind types conditions anew where the claims of their issuer changed.
func (b *builder) rebind() {
	if len(b.issuersChanged) == 0 {
		return
	}
	var affected []*rule
	b.rules.all(func(r *rule) bool {
		if r.mapping.Conditional && slices.Contains(b.issuersChanged, r.mapping.For) {
			affected = append(affected, r)
		}
		return true
	})
	for _, r := range affected {
		again := *r
		b.dropRule(r.mapping.ID)
		b.addRule(&again, &faults{kind: broker.KindMapping, name: r.mapping.ID, found: &b.findings})
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
