package policy

import (
	"cmp"
	"slices"
	"strings"
)

// keys returns where an entry lies, by shape and caller, without and with the
// resource.
func (b *builder) keys(e *entry) (caller, target uint64) {
	sh := shapeOf(e.from)
	caller = mix(b.next.hash(e.from.domain), sh.key())
	for i := range e.from.segments {
		if s := &e.from.segments[i]; s.kind == segmentLiteral {
			caller = mix(caller, b.next.hash(s.text))
		}
	}
	if !e.to.literal() {
		return caller, mix(caller, anyTarget)
	}
	names := make([]string, len(e.to.segments))
	for i := range e.to.segments {
		names[i] = e.to.segments[i].text
	}
	return caller, mix(caller, b.next.hash(strings.Join(names, "/")))
}

// shape counts one more pattern of a shape, or one less. ok is false if there
// are too many shapes for a new one.
func (b *builder) shape(p *pattern, by int) (ok bool) {
	want := shapeOf(p)
	for i := range b.next.shapes {
		sh := &b.next.shapes[i]
		if sh.key() != want.key() {
			continue
		}
		if sh.users += by; sh.users == 0 {
			b.next.shapes = slices.Delete(b.next.shapes, i, i+1)
		}
		return true
	}
	if by < 0 || len(b.next.shapes) == maxShapes {
		return false
	}
	want.users = by
	b.next.shapes = append(b.next.shapes, want)
	slices.SortFunc(b.next.shapes, func(x, y shape) int { return cmp.Compare(x.key(), y.key()) })
	return true
}

func (b *builder) dropRule(id string) {
	b.rules.each(b.next.hash(id), func(r *rule) bool {
		if r.mapping.ID != id {
			return true
		}
		b.quarantine(r.mapping.Quarantined, -1)
		for i := range r.entries {
			e := &r.entries[i]
			loose := len(b.next.loose)
			b.next.loose = slices.DeleteFunc(b.next.loose, func(have *entry) bool { return have == e })
			if len(b.next.loose) == loose {
				caller, target := b.keys(e)
				b.byCaller.remove(caller, e)
				b.byTarget.remove(target, e)
				b.shape(e.from, -1)
			}
		}
		b.rules.remove(b.next.hash(id), r)
		return false
	})
}

func (b *builder) addRule(r *rule, f *faults) {
	b.quarantine(r.mapping.Quarantined, 1)
	b.condition(r, f)
	b.rules.add(b.next.hash(r.mapping.ID), r)
	r.entries = make([]entry, 0, len(r.from)*len(r.to))
	for i := range r.from {
		for k := range r.to {
			r.entries = append(r.entries, entry{rule: r, from: &r.from[i], to: &r.to[k]})
		}
	}
	for i := range r.entries {
		e := &r.entries[i]
		switch {
		case e.from.all || !b.shape(e.from, 1):
			if !e.from.all {
				f.warn("too-many-shapes", "from", "use the same forms of pattern as other rules", "there are more than %d forms of pattern; this one is slower", maxShapes)
			}
			b.next.loose = append(b.next.loose, e)
		default:
			caller, target := b.keys(e)
			b.byCaller.add(caller, e)
			b.byTarget.add(target, e)
		}
	}
}
