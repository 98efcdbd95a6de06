package policy

import (
	"cmp"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// Workloads returns every workload that the objects name by its full ID, in
// order: callers, those that serve, those that may present or show. Patterns name
// none. Objects that cannot be read name none either.
func Workloads(objects []broker.Object) []spiffeid.ID {
	found := map[spiffeid.ID]bool{}
	add := func(names []string) {
		for _, name := range names {
			if id, err := spiffeid.FromString(name); err == nil && id.Path() != "" { // the grammar of IDs has no *, { or }
				found[id] = true
			}
		}
	}
	for i := range objects {
		o := &objects[i]
		if o.Deleted {
			continue
		}
		switch o.Kind {
		case broker.KindIssuer:
			var body issuerBody
			if decode(o.Body, &body) == nil {
				for _, a := range body.Audiences {
					add(a.Workloads)
				}
			}
		case broker.KindResource:
			var body resourceBody
			if decode(o.Body, &body) == nil {
				add(body.ServedBy)
			}
		case broker.KindMapping:
			var body mappingBody
			if decode(o.Body, &body) == nil {
				add(body.From)
				add(body.PresentedBy)
			}
		}
	}
	ids := make([]spiffeid.ID, 0, len(found))
	for id := range found {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b spiffeid.ID) int { return cmp.Compare(a.String(), b.String()) })
	return ids
}
