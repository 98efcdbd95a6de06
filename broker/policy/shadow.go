package policy

import (
	"cmp"
	"slices"

	"github.com/cambist/cambist/broker"
)

// shadows finds allows that another allow makes idle, and allows that a deny
// makes useless. Only rules of one literal workload and one literal resource
// without a condition are compared: there it is certain.
func (l *linter) shadows() {
	type key struct{ from, to, party string }
	plain := map[key][]*rule{}
	l.s.rules.all(func(r *rule) bool {
		if m := &r.mapping; len(r.from) == 1 && len(r.to) == 1 && r.from[0].literal() && r.to[0].literal() && !m.Conditional && !m.Quarantined && m.Since.IsZero() && m.Until.IsZero() {
			k := key{r.from[0].text(), r.to[0].text(), m.For}
			plain[k] = append(plain[k], r)
		}
		return true
	})
	for _, rules := range plain {
		slices.SortFunc(rules, func(a, b *rule) int { return cmp.Compare(a.mapping.ID, b.mapping.ID) })
		for i, r := range rules {
			for k, other := range rules {
				if i == k || r.mapping.Deny || !covers(&other.mapping, &r.mapping, k < i) {
					continue
				}
				f := l.faults(broker.KindMapping, r.mapping.ID)
				if other.mapping.Deny {
					f.warn("rule-denied", "", "delete it, or narrow the deny", "it never gives anything, because %s denies all of it", other.mapping.ID)
				} else {
					f.warn("rule-shadowed", "", "delete it", "%s gives all that it gives", other.mapping.ID)
				}
				break
			}
		}
	}
}

// covers reports whether a makes b idle. Of two equal rules the first stays.
func covers(a, b *broker.Mapping, first bool) bool {
	if a.Deny {
		return a.Scopes.IsEmpty() || a.Scopes.Includes(b.Scopes)
	}
	same := a.Having.Equal(b.Having) && a.TTL == b.TTL && a.Impersonate == b.Impersonate && len(a.Claims)+len(b.Claims)+len(a.PresentedBy)+len(b.PresentedBy) == 0
	return same && a.Scopes.Includes(b.Scopes) && (first || !b.Scopes.Includes(a.Scopes))
}
