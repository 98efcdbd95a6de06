package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cambist/cambist/broker"
)

// Lint returns everything that is wrong or odd with a policy: what Compile
// reports, every condition type-checked, names that lead nowhere, and rules
// that can never matter. It is for the moment of writing and may take long.
func Lint(objects []broker.Object, o Options) []Finding {
	s, findings := Compile(objects, 1, o)
	l := linter{s: s, found: findings}
	l.resources()
	l.issuers()
	s.rules.all(func(r *rule) bool { l.rule(r); return true })
	l.shadows()
	slices.SortStableFunc(l.found, func(a, b Finding) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Code, b.Code)) })
	return l.found
}

type linter struct {
	s     *Snapshot
	found []Finding
}

func (l *linter) faults(kind broker.ObjectKind, name string) *faults {
	return &faults{kind: kind, name: name, found: &l.found}
}

func (l *linter) resources() {
	uris := map[string]string{}
	var all []*resource
	l.s.byName.all(func(r *resource) bool { all = append(all, r); return true })
	slices.SortFunc(all, func(a, b *resource) int { return cmp.Compare(a.object, b.object) })
	for _, r := range all {
		f := l.faults(broker.KindResource, r.object)
		if other, ok := uris[r.proto.URI]; ok {
			f.add("uri-twice", "uri", "give each resource a URI of its own", "resource %q has the same uri; neither can be used", other)
		} else if other, ok := uris[flipSlash(r.proto.URI)]; ok {
			f.warn("uri-slash", "uri", "choose URIs that people cannot confuse", "its uri differs from that of %q by a slash alone", other)
		}
		uris[r.proto.URI] = r.object
		if len(r.servedBy) == 0 {
			f.warn("served-by-missing", "served_by", "name the workloads that are this resource", "nobody serves it: nobody can exchange onward or read its feed")
		}
		if r.isTemplate() {
			for _, other := range all {
				if other != r && other.isTemplate() && other.object < r.object && overlap(&r.uri, &other.uri) {
					f.add("uri-twice", "uri", "make the fixed parts of the two URIs differ", "the template %q can build the same uri", other.object)
				}
			}
		}
	}
}

func flipSlash(uri string) string {
	if short, ok := strings.CutSuffix(uri, "/"); ok {
		return short
	}
	return uri + "/"
}

func (l *linter) issuers() {
	urls := map[string]string{}
	for _, i := range l.s.Issuers() {
		if other, ok := urls[i.URL]; ok {
			l.faults(broker.KindIssuer, i.Name).add("issuer-twice", "url", "keep one of them", "issuer %q has the same url; neither can be used", other)
		}
		urls[i.URL] = i.Name
	}
}

func (l *linter) rule(r *rule) {
	m := &r.mapping
	f := l.faults(broker.KindMapping, m.ID)
	if m.Quarantined {
		return // said already
	}
	issuer := l.issuer(m.For)
	if m.For != "" && m.For != broker.ForWorkload && issuer == nil {
		f.add("issuer-unknown", "for", "declare the issuer, or mend the name", "there is no issuer %q", m.For)
	}
	if c, ok := r.cond.(*condition); ok {
		if err := c.compile(); err != nil {
			f.add("condition", "when", c.fix(), "the condition cannot be used: %v", err)
		}
	}
	for i := range m.Claims {
		if user := m.Claims[i].User; user != "" && (issuer == nil || !declares(issuer, user)) {
			f.add("claim-unknown", "claims", "declare it under claims of the issuer", "claim %q of the user is not declared", user)
		}
	}
	if o := l.s.opts; o.Now != nil && !m.Until.IsZero() && !o.Now().Before(m.Until) {
		f.warn("rule-over", "until", "delete it", "it ended at %s", timeText(m.Until))
	}
	for i := range r.from {
		if r.from[i].broad() && !m.Deny {
			f.warn("from-broad", "from", "name a namespace or a workload", "it is for every workload of %s", r.from[i].domain)
		}
	}
	l.targets(r, f)
	l.having(r, f)
}

func (l *linter) issuer(name string) *broker.Issuer {
	for _, i := range l.s.Issuers() {
		if i.Name == name {
			return i
		}
	}
	return nil
}

func declares(i *broker.Issuer, claim string) bool {
	return slices.ContainsFunc(i.Claims, func(r broker.ClaimRule) bool { return r.Name == claim })
}

// targets holds what a rule is to: resources that exist and have its scopes.
func (l *linter) targets(r *rule, f *faults) {
	for i := range r.to {
		p := &r.to[i]
		var reach []*resource
		l.s.byName.all(func(x *resource) bool {
			if l.meets(p, x) {
				reach = append(reach, x)
			}
			return true
		})
		if len(reach) == 0 {
			f.add("resource-unknown", "to", "declare the resource, or mend the name", "no resource fits %q", p.text())
			continue
		}
		for scope := range r.mapping.Scopes.Names() {
			if !slices.ContainsFunc(reach, func(x *resource) bool { return x.proto.Scopes.Contains(scope) }) {
				f.add("scope-unknown", "scopes", "use a scope of the resource: "+scopeList(reach), "no resource of %q has the scope %q", p.text(), scope)
			}
		}
		if r.mapping.Impersonate && !slices.ContainsFunc(reach, func(x *resource) bool { return x.proto.Impersonation }) {
			f.add("impersonation", "as", "set impersonation: true on the resource, or delegate", "no resource of %q permits impersonation", p.text())
		}
	}
}

func (l *linter) meets(p *pattern, x *resource) bool {
	if x.isTemplate() {
		_, ok := partly(&x.name, p, nil)
		return ok
	}
	var buffer [maxSegments]string
	_, ok := p.match(split(x.object, &buffer), nil)
	return ok
}

func scopeList(reach []*resource) string {
	var names []string
	for _, x := range reach {
		names = slices.AppendSeq(names, x.proto.Scopes.Names())
	}
	slices.Sort(names)
	return strings.Join(slices.Compact(names), ", ")
}

// having holds the scopes of a received token to those of the resources that
// the caller may serve.
func (l *linter) having(r *rule, f *faults) {
	for scope := range r.mapping.Having.Names() {
		found := false
		l.s.byName.all(func(x *resource) bool {
			found = found || x.proto.Scopes.Contains(scope) && l.serves(r, x)
			return !found
		})
		if !found {
			f.add("having-unknown", "having", "name a scope of a resource that from serves", "no resource that %q serves has the scope %q", r.from[0].text(), scope)
		}
	}
}

func (l *linter) serves(r *rule, x *resource) bool {
	for i := range x.servedBy {
		sample, ok := x.servedBy[i].build(nil, "a")
		if !ok {
			continue
		}
		domain, path, ok := strings.Cut(strings.TrimPrefix(sample, "spiffe://"), "/")
		if !ok {
			continue
		}
		var buffer [maxSegments]string
		for k := range r.from {
			p := &r.from[k]
			if _, fits := p.match(split(path, &buffer), nil); p.domain == domain && (fits || x.servedBy[i].variable()) {
				return true
			}
		}
	}
	return false
}

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

// text returns the pattern as it is written.
func (p *pattern) text() string {
	if p.all {
		return "*"
	}
	parts := make([]string, 0, len(p.segments)+1)
	for _, s := range p.segments {
		switch s.kind {
		case segmentAny:
			parts = append(parts, "*")
		case segmentCapture:
			parts = append(parts, "{"+s.text+"}")
		default:
			parts = append(parts, s.text)
		}
	}
	if p.rest {
		parts = append(parts, "**")
	}
	text := strings.Join(parts, "/")
	if p.domain != "" {
		return fmt.Sprintf("spiffe://%s/%s", p.domain, text)
	}
	return text
}
