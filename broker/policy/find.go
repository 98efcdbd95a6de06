package policy

import (
	"cmp"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// Find appends the mappings of a workload for a resource, by ID; see
// broker.View. A mapping that several of its patterns match stands there once,
// with the captures of the first in the order of its document.
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
		slices.SortFunc(found, func(a, b broker.Candidate) int {
			if order := cmp.Compare(a.Mapping.ID, b.Mapping.ID); order != 0 || a.Resource == nil {
				return order
			}
			return cmp.Compare(a.Resource.Name, b.Resource.Name)
		})
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
		s := &slots[(int(hash)+i)&(len(slots)-1)] //nolint:gosec // only the low bits count
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
	captured, ok := e.caller(q.domain, path)
	if !ok {
		return
	}
	if q.resource == nil {
		q.expand(e, captured, path)
		return
	}
	if captured, ok = e.to.match(name, captured); ok && !q.found(e.rule, nil, path, name) {
		q.add(e.rule, captured, nil)
	}
}

// caller returns what the from of an entry captures from a workload.
func (e *entry) caller(domain string, path []string) ([]broker.Capture, bool) {
	if !e.from.all && e.from.domain != domain {
		return nil, false
	}
	return e.from.match(path, nil)
}

// found reports whether the rule is there already, by another pair of its
// patterns; then its captures become those of the first pair that fits.
func (q *finder) found(r *rule, of *broker.Resource, path, name []string) bool {
	if len(r.entries) == 1 {
		return false
	}
	for i := q.first; i < len(q.dst); i++ {
		c := &q.dst[i]
		if c.Mapping != &r.mapping || of != nil && (c.Resource.URI != of.URI || c.Resource.Name != of.Name) {
			continue
		}
		for k := range r.entries {
			e := &r.entries[k]
			if captured, ok := e.caller(q.domain, path); ok {
				if captured, ok = e.to.match(name, captured); ok {
					c.Captured = captured
					break
				}
			}
		}
		return true
	}
	return false
}

func (q *finder) add(r *rule, captured []broker.Capture, of *broker.Resource) {
	q.dst = append(q.dst, broker.Candidate{Mapping: &r.mapping, Condition: r.cond, Captured: captured, Resource: of})
}

// expand adds a mapping for every resource that its to can mean.
func (q *finder) expand(e *entry, captured []broker.Capture, path []string) {
	captured = slices.Clip(captured) // each resource appends captures of its own
	if !e.to.literal() {
		q.s.byName.all(func(r *resource) bool {
			if !r.isTemplate() {
				q.expandTo(e, r, captured, path)
			}
			return true
		})
	} else if r := q.s.explicit(e.to.text()); r != nil {
		q.expandTo(e, r, captured, path)
	}
	for _, t := range q.s.templates {
		q.expandTemplate(e, t, captured, path)
	}
}

func (q *finder) expandTo(e *entry, r *resource, captured []broker.Capture, path []string) {
	var buffer [maxSegments]string
	name := split(r.object, &buffer)
	captured, ok := e.to.match(name, captured)
	if !ok {
		return
	}
	of := &r.proto
	if alone, ok := q.s.Resource(of.URI); !ok || alone != of { // two of one URI are none
		bad := r.proto
		bad.Quarantined = true
		of = &bad
	}
	if !q.found(e.rule, of, path, name) {
		q.add(e.rule, captured, of)
	}
}

// expandTemplate adds the part of a template that the to of an entry can mean.
// Once nothing of its URI is open it must be what that URI resolves to.
func (q *finder) expandTemplate(e *entry, t *resource, captured []broker.Capture, path []string) {
	bound, ok := partly(&t.name, e.to, captured)
	if !ok {
		return
	}
	made, ok := t.instance(bound, "*")
	if !ok {
		return
	}
	if whole, closed := t.instance(bound, ""); closed {
		if q.s.explicit(whole.Name) != nil {
			return
		}
		if made, ok = q.s.Resource(whole.URI); !ok || made.Name != whole.Name {
			return
		}
	} else {
		made.Quarantined = made.Quarantined || q.s.unplaced > 0
	}
	if !q.found(e.rule, made, path, nil) {
		q.add(e.rule, captured, made)
	}
}

// partly says which captures of a template's name a to pattern fixes, given
// what was captured from the caller; ok is false if they cannot meet.
func partly(name, to *pattern, captured []broker.Capture) (bound []broker.Capture, ok bool) {
	if to.all {
		return nil, true
	}
	if len(to.segments) > len(name.segments) || (len(to.segments) < len(name.segments)) != to.rest {
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
