package policy_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

var dnsLabel = regexp.MustCompile(`\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\z`)

// reference matches one pattern the slow way, written from design 5.
func reference(pattern, name string, captured map[string]string) bool {
	ps, ns := strings.Split(pattern, "/"), strings.Split(name, "/")
	for i, p := range ps {
		if p == "**" {
			return len(ns) > i
		}
		if i >= len(ns) {
			return false
		}
		switch {
		case p == "*":
		case p[0] == '{':
			if have, ok := captured[p]; ok && have != ns[i] || !dnsLabel.MatchString(ns[i]) {
				return false
			}
			captured[p] = ns[i]
		case p != ns[i]:
			return false
		}
	}
	return len(ps) == len(ns)
}

type drawnRule struct {
	from, to string
	deny     bool
	scope    string
}

func drawPath(t *rapid.T, wild bool) string {
	words := []string{"a", "b", "c.d"}
	if wild {
		words = append(words, "*", "{x}", "{y}")
	}
	parts := rapid.SliceOfN(rapid.SampledFrom(words), 1, 4).Draw(t, "path")
	seen := map[string]bool{}
	for i, p := range parts {
		if p[0] == '{' && seen[p] {
			parts[i] = "*"
		}
		seen[p] = true
	}
	if wild && rapid.IntRange(0, 4).Draw(t, "rest") == 0 {
		parts = append(parts, "**")
	}
	return strings.Join(parts, "/")
}

func (d drawnRule) object(name string) broker.Object {
	effect := "allow"
	if d.deny {
		effect = "deny"
	}
	body := fmt.Sprintf(`{"effect":%q,"from":["spiffe://td/%s"],"to":[%q],"scopes":[%q]}`, effect, d.from, d.to, d.scope)
	return broker.Object{Kind: broker.KindMapping, Name: "s/" + name, Set: "s", Body: []byte(body)}
}

func drawRule(t *rapid.T) drawnRule {
	return drawnRule{from: drawPath(t, true), to: drawPath(t, true), deny: rapid.Bool().Draw(t, "deny"), scope: rapid.SampledFrom([]string{"r", "w"}).Draw(t, "scope")}
}

func found(s broker.View, w spiffeid.ID, r *broker.Resource) []string {
	var names []string
	for _, c := range s.Find(nil, w, r) {
		names = append(names, fmt.Sprintf("%s %s %v", c.Mapping.ID, c.Mapping.Scopes, c.Mapping.Deny))
	}
	return names
}

// The index finds what a linear search finds, after any history of changes; and
// a snapshot reached by changes answers as one built at once.
func TestIndexEqualsReference(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rules := map[string]drawnRule{}
		s, _ := policy.Compile(nil, 0, options)
		for revision := range broker.Revision(rapid.IntRange(1, 6).Draw(t, "revisions")) {
			var changes []broker.Object
			for _, name := range rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"1", "2", "3", "4", "5", "6", "7", "8"}), 1, -1, rapid.ID[string]).Draw(t, "changed") {
				if _, ok := rules[name]; ok && rapid.IntRange(0, 2).Draw(t, "delete") == 0 {
					delete(rules, name)
					changes = append(changes, broker.Object{Kind: broker.KindMapping, Name: "s/" + name, Deleted: true})
					continue
				}
				rules[name] = drawRule(t)
				changes = append(changes, rules[name].object(name))
			}
			s, _ = s.Apply(changes, revision+1)
		}
		var all []broker.Object
		for name, r := range rules {
			all = append(all, r.object(name))
		}
		fresh, _ := policy.Compile(all, 99, options)
		for range 10 {
			path, name := drawPath(t, false), drawPath(t, false)
			w := spiffeid.RequireFromString("spiffe://td/" + path)
			r := &broker.Resource{Name: name}
			var want []string
			for rule, d := range rules {
				captured := map[string]string{}
				if reference(d.from, path, captured) && (d.deny && (d.to == "*" || d.to == "**") || reference(d.to, name, captured)) && (d.deny || d.to != "*" && d.to != "**") {
					want = append(want, fmt.Sprintf("s/%s %s %v", rule, d.scope, d.deny))
				}
			}
			slices.Sort(want)
			if got := found(s, w, r); !slices.Equal(got, want) {
				t.Fatalf("%s for %s: found %v, want %v", w, name, got, want)
			}
			if got := found(fresh, w, r); !slices.Equal(got, want) {
				t.Fatalf("%s for %s: built at once found %v, want %v", w, name, got, want)
			}
			if got := found(s, spiffeid.RequireFromString("spiffe://td2/"+path), r); len(got) != 0 {
				t.Fatalf("found in another trust domain: %v", got)
			}
		}
		if s.Mappings() != len(rules) {
			t.Fatalf("%d mappings, want %d", s.Mappings(), len(rules))
		}
	})
}

// Whatever pattern is accepted, it matches what the reference says, with the
// captures that it says; and none that is accepted has an empty segment, a
// character that names do not have, or half a wildcard.
func FuzzPattern(f *testing.F) {
	f.Add("a/b", "r", "a/b", "r")
	f.Add("{x}/*", "{x}/{y}", "a/b", "a/c")
	f.Add("a/**", "r/**", "a/b/c", "r/s")
	f.Add("{x}/{x}", "*", "a/a", "r")
	f.Add("%61", "{x", "a", "x}")
	f.Add("a*", "a**", "ab", "abc")
	whole := regexp.MustCompile(`\A([A-Za-z0-9._:-]+|\*|\*\*|\{[a-z][a-z0-9_]*\})\z`)
	f.Fuzz(func(t *testing.T, from, to, path, name string) {
		body, err := json.Marshal(map[string]any{"effect": "allow", "from": []string{"spiffe://td/" + from}, "to": []string{to}, "scopes": []string{"r"}})
		w, badID := spiffeid.FromString("spiffe://td/" + path)
		if err != nil || badID != nil || strings.Count(path, "/") > 15 || strings.Count(name, "/") > 15 {
			return
		}
		s, findings := policy.Compile([]broker.Object{{Kind: broker.KindMapping, Name: "s/a", Set: "s", Body: body}}, 1, options)
		got := s.Find(nil, w, &broker.Resource{Name: name})
		if len(findings) > 0 {
			if len(got) > 0 && !got[0].Mapping.Quarantined {
				t.Fatalf("found in spite of %v", findings)
			}
			return
		}
		for _, segment := range append(strings.Split(from, "/"), strings.Split(to, "/")...) {
			if !whole.MatchString(segment) || segment == "." || segment == ".." {
				t.Fatalf("segment %q is accepted", segment)
			}
		}
		captured := map[string]string{}
		if want := reference(from, path, captured) && reference(to, name, captured); want != (len(got) == 1) {
			t.Fatalf("from %q to %q: %q for %q is found %v, want %v", from, to, path, name, len(got), want)
		}
		for _, c := range got {
			for _, v := range c.Captured {
				if captured["{"+v.Name+"}"] != v.Value || len(captured) != len(c.Captured) {
					t.Fatalf("captured %v, want %v", c.Captured, captured)
				}
			}
		}
	})
}

// More forms of pattern than the index has room for are found all the same.
func TestManyShapes(t *testing.T) {
	t.Parallel()
	var objects []broker.Object
	for mask := range 128 {
		parts := make([]string, 7)
		for i := range parts {
			if parts[i] = "*"; mask&(1<<i) != 0 {
				parts[i] = "a"
			}
		}
		objects = append(objects, drawnRule{from: strings.Join(parts, "/"), to: "r", scope: "r"}.object(fmt.Sprint(mask)))
	}
	s, findings := policy.Compile(objects, 1, options)
	if len(findings) != 64 || findings[0].Code != "too-many-shapes" || policy.HasErrors(findings) {
		t.Errorf("%d findings", len(findings))
	}
	if got := found(s, spiffeid.RequireFromString("spiffe://td/a/a/a/a/a/a/a"), &broker.Resource{Name: "r"}); len(got) != 128 {
		t.Errorf("found %d", len(got))
	}
	for i := range objects {
		objects[i].Deleted = true
	}
	s, _ = s.Apply(objects, 2)
	if got := found(s, spiffeid.RequireFromString("spiffe://td/a/a/a/a/a/a/a"), &broker.Resource{Name: "r"}); len(got) != 0 || s.Mappings() != 0 {
		t.Errorf("found %v after all are gone", got)
	}
}

// Whatever rests in the store, nothing panics, and a row that cannot be read
// never gives a scope that was not given before (design 8, threats G10, P22).
func FuzzRows(f *testing.F) {
	for _, kind := range []string{"issuer", "resource", "mapping", "block", "set", "x"} {
		f.Add(kind, "a", []byte(`{"effect":"allow","from":["spiffe://td/**"],"to":["ledger"],"scopes":["ledger.write"]`))
		f.Add(kind, "ledger", []byte(`{"uri":"https://ledger.prod.example"}`))
		f.Add(kind, "corp", []byte(`{"url":"https://acme.okta.com/oauth2/aus1","kind":"okta"}`))
		f.Add(kind, "b", []byte(`{"target":"subject","id":"x","reason":"y"}`))
	}
	s := design(f)
	before := broker.Decide(ask(f, s, "bi/reports", ledgerURI, nil, "ledger.read", "ledger.write"), nil)
	f.Fuzz(func(t *testing.T, kind, name string, body []byte) {
		after, _ := s.Apply([]broker.Object{{Kind: broker.ObjectKind(kind), Name: name, Set: "x", Body: body}}, 2)
		d := broker.Decide(ask(t, after, "bi/reports", ledgerURI, nil, "ledger.read", "ledger.write"), nil)
		if after.Quarantined() > 0 && d.Allowed && !before.Allowed {
			t.Fatalf("a row that cannot be read gives %q", d.Scopes)
		}
		_ = broker.Decide(ask(t, after, "shop/web", ordersURI, nil), nil)
		after.Find(nil, id("shop/web"), nil)
		policy.Lint([]broker.Object{{Kind: broker.ObjectKind(kind), Name: name, Set: "x", Body: body}}, options)
	})
}

// A quarantined row of each kind refuses all in its scope, and nothing besides.
func TestQuarantine(t *testing.T) {
	t.Parallel()
	s := design(t)
	tests := map[string]struct {
		object  broker.Object
		reports broker.Reason // of bi/reports for ledger; "" for allowed
		web     broker.Reason // of shop/web on behalf of a customer
	}{
		"allow":                   {broker.Object{Kind: broker.KindMapping, Name: "shop/reports", Body: []byte(`{"effect":"allow","x":1}`)}, broker.ReasonMappingNone, ""},
		"allow with a bad ttl":    {broker.Object{Kind: broker.KindMapping, Name: "shop/reports", Body: []byte(`{"effect":"allow","from":["spiffe://prod.example/ns/bi/sa/reports"],"to":["ledger"],"scopes":["ledger.read"],"ttl":"x"}`)}, broker.ReasonMappingFailed, ""},
		"allow of the future":     {broker.Object{Kind: broker.KindMapping, Name: "shop/reports", Body: []byte(`{"effect":"allow","from":["spiffe://prod.example/ns/bi/sa/reports"],"to":["ledger"],"scopes":["ledger.read"],"quota":1}`)}, broker.ReasonMappingFailed, ""},
		"deny of the future":      {broker.Object{Kind: broker.KindMapping, Name: "shop/new", Body: []byte(`{"effect":"deny","from":["spiffe://prod.example/ns/shop/**"],"to":["orders"],"scopes":["x"],"quota":1}`)}, "", broker.ReasonDenied},
		"deny cut in its list":    {broker.Object{Kind: broker.KindMapping, Name: "shop/new", Body: []byte(`{"effect":"deny","to":["orders"],"from":["spiffe://prod.example/ns/x/sa/y","sp`)}, broker.ReasonDenied, broker.ReasonDenied},
		"deny with a bad pattern": {broker.Object{Kind: broker.KindMapping, Name: "shop/new", Body: []byte(`{"effect":"deny","from":["spiffe://prod.example/ns/x/sa/y","a b"],"to":["orders","ledger"]}`)}, broker.ReasonDenied, broker.ReasonDenied},
		"deny of two effects":     {broker.Object{Kind: broker.KindMapping, Name: "shop/new", Body: []byte(`{"effect":"deny","effect":"deny","from":["spiffe://prod.example/ns/x/sa/y"],"to":["orders"]}`)}, broker.ReasonDenied, broker.ReasonDenied},
		"another effect":          {broker.Object{Kind: broker.KindMapping, Name: "shop/new", Body: []byte(`{"effect":"audit","from":["spiffe://prod.example/ns/x/sa/y"],"to":["orders"]}`)}, broker.ReasonDenied, broker.ReasonDenied},
		"issuer of the future":    {broker.Object{Kind: broker.KindIssuer, Name: "corp", Body: []byte(`{"url":"https://acme.okta.com/oauth2/aus1","future":1}`)}, "", broker.ReasonSubjectUnknown},
		"block of the future":     {broker.Object{Kind: broker.KindBlock, Name: "b", Body: []byte(`{"target":"workload","id":"spiffe://prod.example/ns/bi/sa/reports","reason":"x","future":1}`)}, broker.ReasonBlocked, ""},
		"block with a bad time":   {broker.Object{Kind: broker.KindBlock, Name: "b", Body: []byte(`{"target":"workload","id":"spiffe://prod.example/ns/bi/sa/reports","reason":"x","until":"soon"}`)}, broker.ReasonBlocked, ""},
		"block of a new target":   {broker.Object{Kind: broker.KindBlock, Name: "b", Body: []byte(`{"target":"region","id":"x","reason":"x"}`)}, broker.ReasonBlocked, broker.ReasonBlocked},
		"deny":                    {broker.Object{Kind: broker.KindMapping, Name: "shop/staging-no-money", Body: []byte(`{"effect":"deny","x":1}`)}, broker.ReasonDenied, broker.ReasonDenied},
		"garbage":                 {broker.Object{Kind: broker.KindMapping, Name: "shop/new", Body: []byte("\x00")}, broker.ReasonDenied, broker.ReasonDenied},
		"deny with a bad time":    {broker.Object{Kind: broker.KindMapping, Name: "shop/new", Body: []byte(`{"effect":"deny","from":["spiffe://prod.example/ns/bi/**"],"to":["*"],"scopes":["call"],"until":"x"}`)}, broker.ReasonDenied, ""},
		"resource":                {broker.Object{Kind: broker.KindResource, Name: "ledger", Body: []byte(`{"uri":"https://ledger.prod.example","served_by":[],"scopes":[{"name":"ledger.read"}],"binding":"?","proof":["mtls"],"ttl":"5m","freshness":"normal","alg":"ES256"}`)}, broker.ReasonResourceQuarantined, ""},
		"resource without a uri":  {broker.Object{Kind: broker.KindResource, Name: "ledger", Body: []byte(`{`)}, broker.ReasonResourceUnknown, ""},
		"issuer":                  {broker.Object{Kind: broker.KindIssuer, Name: "corp", Body: []byte(`{"url":"https://acme.okta.com/oauth2/aus1","kind":"?","audiences":[{"value":"cambist","any":true}]}`)}, "", broker.ReasonSubjectUnknown},
		"block":                   {broker.Object{Kind: broker.KindBlock, Name: "b", Body: []byte(`{}`)}, broker.ReasonBlocked, broker.ReasonBlocked},
		"an object of the future": {broker.Object{Kind: "quota", Name: "q", Body: []byte(`{}`)}, "", ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, findings := policy.Compile(append(objectsOf(t), tt.object), 2, options)
			if name != "an object of the future" && bad.Quarantined() != 1 || !policy.HasErrors(findings) {
				t.Errorf("%d quarantined, findings %v", bad.Quarantined(), findings)
			}
			if want := map[string]string{"garbage": "object-unreadable", "an object of the future": "kind-unknown"}[name]; want != "" && findings[0].Code != want {
				t.Errorf("finding %v, want %s", findings[0], want)
			}
			if d := broker.Decide(ask(t, bad, "bi/reports", ledgerURI, nil, "ledger.read"), nil); d.Reason != tt.reports {
				t.Errorf("reports: %q, want %q", d.Reason, tt.reports)
			}
			subject := user(t, s, "customer")
			subject.Issuer, _ = bad.Issuer(subject.Origin.Issuer)
			if d := broker.Decide(ask(t, bad, "shop/web", ordersURI, subject, "orders.write"), nil); d.Reason != tt.web {
				t.Errorf("web: %q, want %q", d.Reason, tt.web)
			}
		})
	}
}

func objectsOf(t testing.TB) []broker.Object { t.Helper(); return parse(t, designText(t)).Objects }

// A change of an issuer's claims types the conditions anew.
func TestIssuerChangeRebindsConditions(t *testing.T) {
	t.Parallel()
	s := design(t)
	for _, o := range objectsOf(t) {
		if o.Kind == broker.KindIssuer {
			o.Body = []byte(strings.Replace(string(o.Body), `"name":"groups","type":"enum","values":["customer","finance"]`, `"name":"groups","type":"string"`, 1))
			o.Body = []byte(strings.Replace(string(o.Body), `"carry":["groups"]`, `"carry":[]`, 1))
			changed, findings := s.Apply([]broker.Object{o}, 2)
			if len(findings) > 0 {
				t.Fatal(findings)
			}
			subject := user(t, changed, "customer")
			if d := broker.Decide(ask(t, changed, "shop/web", ordersURI, subject, "orders.write"), nil); d.Reason != broker.ReasonMappingFailed {
				t.Errorf("a condition over another type: %q", d.Reason)
			}
			back, _ := changed.Apply(objectsOf(t), 3)
			if d := broker.Decide(ask(t, back, "shop/web", ordersURI, user(t, back, "customer"), "orders.write"), nil); !d.Allowed {
				t.Errorf("after it was changed back: %q", d.Reason)
			}
		}
	}
}
