package policy

import (
	"cmp"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

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
		if c.deep {
			f.add("condition-actors", "when", "ask for subject.actors[0], who acts now; the others are for the record", "it decides by actors that handed the token on")
		}
	}
	for i := range m.Claims {
		if user := m.Claims[i].User; user != "" && (issuer == nil || !declares(issuer, user)) {
			f.add("claim-unknown", "claims", "declare it under claims of the issuer", "claim %q of the user is not declared", user)
		}
		if name := m.Claims[i].Name; issuer != nil && slices.Contains(issuer.Carry, name) {
			f.add("claim-carried", "claims", "choose another name", "claim %q travels with the user of issuer %q; a rule that set it would speak for the issuer", name, issuer.Name)
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
	if issuer != nil && !m.Deny && m.Having.IsEmpty() {
		l.direct(r, issuer, f)
	}
}

// worldwide reports whether everybody in the world can get a token of the
// issuer: that a token is theirs says nothing.
func worldwide(issuer string) bool {
	switch issuer {
	case "https://accounts.google.com", "https://token.actions.githubusercontent.com", "https://gitlab.com", "https://app.terraform.io", "https://agent.buildkite.com",
		"https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0": // personal accounts
		return true
	}
	return false
}

// direct holds a rule for tokens straight from an issuer: its caller must be
// able to show one, and which user it is must matter where all can have one.
func (l *linter) direct(r *rule, issuer *broker.Issuer, f *faults) {
	if worldwide(issuer.URL) && !r.mapping.Conditional {
		f.add("issuer-shared", "when", "add a when over the claims that tell your tenant apart", "anybody can get a token of %s, so for: %s alone is no condition", issuer.URL, issuer.Name)
	}
	for i := range r.from {
		p := &r.from[i]
		if !p.literal() {
			continue
		}
		id, err := spiffeid.FromString(p.text())
		if err == nil && !slices.ContainsFunc(issuer.Audiences, func(a broker.IssuerAudience) bool { return a.Any || a.Workloads.Match(id) }) {
			f.warn("rule-never", "for", "list it under audiences of the issuer", "%s may not show any token of issuer %q, so this never matches", id, issuer.Name)
		}
	}
}

func (l *linter) issuer(name string) *broker.Issuer {
	var found *broker.Issuer
	l.s.issuerNames.each(l.s.hash(name), func(i *broker.Issuer) bool {
		if i.Name == name {
			found = i
		}
		return found == nil
	})
	return found
}

func declares(i *broker.Issuer, claim string) bool {
	return slices.ContainsFunc(i.Claims, func(r broker.ClaimRule) bool { return r.Name == claim })
}

// targets holds what a rule is to: resources that exist and have its scopes.
func (l *linter) targets(r *rule, f *faults) {
	for i := range r.to {
		p := &r.to[i]
		reach := l.reach(p)
		if len(reach) == 0 {
			f.add("resource-unknown", "to", "declare the resource, or mend the name", "no resource fits %q", p.text())
			continue
		}
		for scope := range r.mapping.Scopes.Names() {
			if !slices.ContainsFunc(reach, func(x *resource) bool { return x.proto.Scopes.Contains(scope) }) {
				f.add("scope-unknown", "scopes", scopeFix(reach), "no resource of %q has the scope %q", p.text(), scope)
			}
		}
		if r.mapping.Impersonate && !slices.ContainsFunc(reach, func(x *resource) bool { return x.proto.Impersonation }) {
			f.add("impersonation", "as", "set impersonation: true on the resource, or delegate", "no resource of %q permits impersonation", p.text())
		}
	}
}

// reach returns the resources and templates that a to pattern can mean. A plain
// name is looked up: sets have thousands of rules to one of thousands.
func (l *linter) reach(p *pattern) []*resource {
	var reach []*resource
	add := func(x *resource) bool {
		if l.meets(p, x) {
			reach = append(reach, x)
		}
		return true
	}
	if !p.literal() {
		l.s.byName.all(add)
		return reach
	}
	if x := l.s.explicit(p.text()); x != nil {
		reach = append(reach, x)
	}
	for _, x := range l.s.templates {
		add(x)
	}
	return reach
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

func scopeFix(reach []*resource) string {
	var names []string
	for _, x := range reach {
		names = slices.AppendSeq(names, x.proto.Scopes.Names())
	}
	if len(names) == 0 {
		return "mend the resource first"
	}
	slices.Sort(names)
	return "use a scope of the resource: " + strings.Join(slices.Compact(names), ", ")
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
