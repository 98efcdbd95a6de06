package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

// listed prints what a workload finds for all resources.
func listed(s *policy.Snapshot, w string) []string {
	var all []string
	for _, c := range s.Find(nil, id(w), nil) {
		all = append(all, fmt.Sprintf("%s %s %s %v", c.Mapping.ID, c.Resource.Name, c.Resource.URI, c.Captured))
	}
	return all
}

// Each candidate has captures of its own, however many resources one rule
// reaches.
func TestFindAllCaptures(t *testing.T) {
	t.Parallel()
	s := compile(t, head+`resources:
- {name: x/one, uri: https://one.example, served_by: [a/b], scopes: {r: []}}
- {name: x/two, uri: https://two.example, served_by: [a/b], scopes: {r: []}}
allow:
- {name: a, from: "spiffe://prod.example/{a}/{b}/{c}", to: "x/{d}", scopes: [r]}
`)
	want := []string{
		"s/a x/one https://one.example [{a p} {b q} {c r} {d one}]",
		"s/a x/two https://two.example [{a p} {b q} {c r} {d two}]",
	}
	if got := listed(s, "spiffe://prod.example/p/q/r"); !slices.Equal(got, want) {
		t.Errorf("found %q", got)
	}
}

// What a template builds in full is what its URI resolves to: an explicit
// resource of that name or URI beats it here too.
func TestFindAllPrefersExplicit(t *testing.T) {
	t.Parallel()
	const template = `- {name: "{ns}/{sa}", uri: "https://{sa}.{ns}.example", served_by: ["{ns}/{sa}"], scopes: {r: []}}` + "\n"
	tests := map[string]struct{ resource, want string }{
		"the template alone":                   {"", "s/a shop/web https://web.shop.example []"},
		"an explicit one of that name":         {"- {name: shop/web, uri: https://other.example, served_by: [a/b], scopes: {r: []}}\n", "s/a shop/web https://other.example []"},
		"an explicit one of that uri":          {"- {name: other, uri: https://web.shop.example, served_by: [a/b], scopes: {r: []}}\n", ""},
		"an explicit one of that name and uri": {"- {name: shop/web, uri: https://web.shop.example, served_by: [a/b], scopes: {r: []}}\n", "s/a shop/web https://web.shop.example []"},
	}
	for name, tt := range tests {
		s := compile(t, head+"resources:\n"+template+tt.resource+"allow:\n- {name: a, from: a/b, to: shop/web, scopes: [r]}\n")
		if got := strings.Join(listed(s, "a/b"), "; "); got != tt.want {
			t.Errorf("%s: found %q, want %q", name, got, tt.want)
		}
	}
}

// ** at the end of to asks for one segment more than stands before it.
func TestFindAllRest(t *testing.T) {
	t.Parallel()
	s := compile(t, base+"allow:\n- {name: a, from: a/b, to: x/y/**, scopes: [call]}\n- {name: b, from: a/b, to: x/**, scopes: [call]}\n")
	if got, want := listed(s, "a/b"), []string{"s/b x/* https://*.x.example []"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// A rule that several of its patterns match is one candidate, with the captures
// of the first in the order of the document, whatever the shapes.
func TestFindFirstPatternWins(t *testing.T) {
	t.Parallel()
	for from, want := range map[string]string{
		`"{ns}/web", "shop/{ns}"`: "[{ns shop}]",
		`"shop/{ns}", "{ns}/web"`: "[{ns web}]",
		`"{ns}/{x}", "{ns}/web"`:  "[{ns shop} {x web}]",
		`"{ns}/web", "{ns}/{x}"`:  "[{ns shop}]",
	} {
		s := compile(t, base+"allow:\n- {name: a, from: ["+from+"], to: api, scopes: [read], claims: {ns: '{ns}'}}\n")
		r, _ := s.Resource("https://api.example")
		found := s.Find(nil, id("shop/web"), r)
		if len(found) != 1 || fmt.Sprint(found[0].Captured) != want {
			t.Errorf("%s: found %v, want %s", from, found, want)
		}
		if all := s.Find(nil, id("shop/web"), nil); len(all) != 1 || fmt.Sprint(all[0].Captured) != want {
			t.Errorf("%s for all: found %v, want %s", from, all, want)
		}
	}
}

// The order is by mapping and resource, and what was in dst stays.
func TestFindAppendsInOrder(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(head + "resources:\n")
	for i := range 40 {
		fmt.Fprintf(&text, "- {name: r%02d, uri: https://r%02d.example, served_by: [a/b], scopes: {r: []}}\n", i, i)
	}
	text.WriteString("allow:\n- {name: b, from: x/y, to: '{any}', scopes: [r]}\n- {name: a, from: x/y, to: '{any}', scopes: [r]}\n")
	s := compile(t, text.String())
	first := broker.Candidate{Mapping: &broker.Mapping{ID: "zz"}}
	found := s.Find([]broker.Candidate{first}, id("x/y"), nil)
	if len(found) != 81 || found[0].Mapping != first.Mapping {
		t.Fatalf("%d found", len(found))
	}
	if !slices.IsSortedFunc(found[1:], func(a, b broker.Candidate) int {
		return strings.Compare(a.Mapping.ID+a.Resource.Name, b.Mapping.ID+b.Resource.Name)
	}) {
		t.Error("not in order")
	}
}

// A row that cannot be read refuses for its URI where that can still be read;
// where it cannot, nothing that a template builds is believed, because it may
// be what that row stood for.
func TestBadResourceDoesNotFallToTemplate(t *testing.T) {
	t.Parallel()
	const uri = "https://web.shop.example"
	objects := parse(t, base+"- {name: special, uri: "+uri+", served_by: [a/b], scopes: {only: []}}\nallow:\n- {name: a, from: x/y, to: 'shop/*', scopes: [call]}\n").Objects
	for name, body := range map[string]string{
		"a field of the future":  `{"uri":"` + uri + `","future":1}`,
		"no JSON":                "\x00",
		"no uri":                 `{}`,
		"another type of uri":    `{"uri":1}`,
		"a uri that is none":     `{"uri":"htt` + "`" + `s://web.shop.example"}`,
		"a whole row at no uri":  `{"uri":"web.shop.example","served_by":[],"scopes":[{"name":"only"}],"binding":"identity","proof":["mtls"],"ttl":"5m","freshness":"normal","alg":"ES256"}`,
		"a uri with half a name": `{"uri":"https://{sa"}`,
	} {
		bad := slices.Clone(objects)
		for i := range bad {
			if bad[i].Name == "special" {
				bad[i].Body = []byte(body)
			}
		}
		s, _ := policy.Compile(bad, 1, options)
		if r, ok := s.Resource(uri); !ok || !r.Quarantined {
			t.Errorf("%s: %+v", name, r)
		}
		if d := broker.Decide(ask(t, s, "x/y", uri, nil, "call"), nil); d.Allowed {
			t.Errorf("%s: issued by the template", name)
		}
		for _, c := range s.Find(nil, id("x/y"), nil) {
			if name != "a field of the future" && !c.Resource.Quarantined {
				t.Errorf("%s: listed %s", name, c.Resource.URI)
			}
		}
		good, _ := s.Apply(objects, 2)
		if r, ok := good.Resource("https://a.b.example"); !ok || r.Quarantined || good.Quarantined() != 0 {
			t.Errorf("%s: after repair %+v", name, r)
		}
	}
}

// A bad template refuses what it would build.
func TestBadTemplateRefuses(t *testing.T) {
	t.Parallel()
	objects := parse(t, base).Objects
	for _, body := range []string{`{"uri":"https://{sa}.{ns}.example","future":1}`, `{"uri":"https://{sa}.{ns}.example","scopes":[],"binding":"x"}`} {
		bad := slices.Clone(objects)
		for i := range bad {
			if bad[i].Name == "{ns}/{sa}" {
				bad[i].Body = []byte(body)
			}
		}
		s, _ := policy.Compile(bad, 1, options)
		if r, ok := s.Resource("https://web.shop.example"); !ok || !r.Quarantined || r.Name != "shop/web" {
			t.Errorf("%s: %+v", body, r)
		}
		if r, ok := s.Resource("https://api.example"); !ok || r.Quarantined {
			t.Errorf("%s took another resource: %+v", body, r)
		}
	}
}

func TestBlockedDoesNotAllocate(t *testing.T) {
	s := design(t)
	one, err := policy.BlockObject(broker.Block{Name: "b", Target: broker.BlockToken, ID: "x", Reason: "y"})
	if err != nil {
		t.Fatal(err)
	}
	blocked, _ := s.Apply([]broker.Object{one}, 2)
	for _, s := range []*policy.Snapshot{s, blocked} {
		if n := testing.AllocsPerRun(100, func() { s.Blocked(now, broker.BlockSubject, "corp:alice", now) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
