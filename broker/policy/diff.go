package policy

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/cambist/cambist/broker"
)

// Diff returns the changes that make a set what wanted says, and touch nothing
// else: objects added or changed, and those of the set that wanted no longer
// has, deleted. An object that another set owns, or that is not of this one, is
// an error; with one the changes must not be applied.
func Diff(current, wanted []broker.Object, set string) ([]broker.Object, []Finding) {
	type ref struct {
		kind broker.ObjectKind
		name string
	}
	have := make(map[ref]*broker.Object, len(current))
	for i := range current {
		if !current[i].Deleted {
			have[ref{current[i].Kind, current[i].Name}] = &current[i]
		}
	}
	var changes []broker.Object
	var findings []Finding
	keep := map[ref]bool{}
	for _, w := range wanted {
		r := ref{w.Kind, w.Name}
		f := faults{kind: w.Kind, name: w.Name, found: &findings}
		if !belongs(&w, set) || keep[r] {
			f.add("not-of-the-set", "", "apply each set by itself, blocks by themselves", "it does not belong into a change of the set %q, or stands there twice", set)
			continue
		}
		keep[r] = true
		old := have[r]
		switch {
		case old == nil:
			changes = append(changes, w)
		case old.Set != set:
			f.add("owned-by-another", "", "choose another name, or change it in its own set", "it belongs to the set %q", old.Set)
		case !bytes.Equal(old.Body, w.Body):
			changes = append(changes, w)
		}
	}
	for i := range current {
		if o := &current[i]; o.Set == set && !o.Deleted && o.Kind != broker.KindBlock && !keep[ref{o.Kind, o.Name}] {
			changes = append(changes, broker.Object{Kind: o.Kind, Name: o.Name, Set: set, Deleted: true})
		}
	}
	slices.SortFunc(changes, func(a, b broker.Object) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name)) })
	return changes, findings
}

// belongs reports whether an object may stand in a set: it says so itself, and
// a rule and the set itself have its name.
func belongs(o *broker.Object, set string) bool {
	switch o.Kind {
	case broker.KindSet:
		return o.Set == set && o.Name == set
	case broker.KindMapping:
		return o.Set == set && strings.HasPrefix(o.Name, set+"/")
	case broker.KindIssuer, broker.KindResource:
		return o.Set == set
	default:
		return false // blocks stand outside sets, and what we do not know nowhere
	}
}
