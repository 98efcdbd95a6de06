package policy_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

// What a set prints reads back to the same objects.
func TestExportRoundTrip(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{"design": designText(t), "base": base + `allow:
- {name: a, from: ["{ns}/y", spiffe://other.example/a/**], for: corp, to: [api, "x/*"], scopes: [read, call], claims: {tier: "true", n: "12"}, presented_by: [x/z], as: impersonate, ttl: 1m, since: 2026-01-01T00:00:00Z, reason: "a: b # c"}
deny:
- {name: b, from: "*", to: "*", when: 'workload.ns == "x"'}
`} {
		doc := parse(t, text)
		printed, err := policy.Export(doc.Objects, doc.Set)
		if err != nil {
			t.Fatal(err)
		}
		again := parse(t, string(printed))
		if want, got := dump(doc.Objects), dump(again.Objects); want != got {
			t.Errorf("%s:\n%s\nbecame\n%s\nby\n%s", name, want, got, printed)
		}
		twice, err := policy.Export(again.Objects, doc.Set)
		if err != nil || !bytes.Equal(printed, twice) {
			t.Errorf("%s prints in two ways: %v", name, err)
		}
	}
}

func dump(objects []broker.Object) string {
	var lines []string
	for _, o := range objects {
		lines = append(lines, fmt.Sprintf("%s %s %s %s", o.Kind, o.Name, o.Set, o.Body))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

func TestDiff(t *testing.T) {
	t.Parallel()
	current := parse(t, base+"allow:\n- {name: a, from: x/y, to: api, scopes: [read]}\n- {name: b, from: x/y, to: api, scopes: [write]}\n").Objects
	foreign := broker.Object{Kind: broker.KindMapping, Name: "t/a", Set: "t", Body: []byte("{}")}
	block := broker.Object{Kind: broker.KindBlock, Name: "b1", Set: "s", Body: []byte("{}")}
	current = append(current, foreign, block)
	wanted := parse(t, base+"allow:\n- {name: a, from: x/z, to: api, scopes: [read]}\n- {name: c, from: x/y, to: api, scopes: [write]}\n").Objects
	changes, findings := policy.Diff(current, wanted, "s")
	var got []string
	for _, c := range changes {
		got = append(got, fmt.Sprint(c.Name, c.Deleted))
	}
	if want := []string{"s/afalse", "s/btrue", "s/cfalse"}; !slices.Equal(got, want) || len(findings) > 0 {
		t.Errorf("changes %v, findings %v", got, findings)
	}
	if changes, _ := policy.Diff(wanted, wanted, "s"); len(changes) != 0 {
		t.Errorf("a difference to itself: %v", changes)
	}
	again := slices.Clone(wanted)
	for i := range again {
		again[i].Deleted = true
	}
	if changes, _ := policy.Diff(again, wanted, "s"); len(changes) != len(wanted) {
		t.Errorf("what was deleted is not added again: %v", changes)
	}
	for name, o := range map[string]broker.Object{
		"another set":        {Kind: broker.KindIssuer, Name: "corp", Set: "t"},
		"name of another":    {Kind: broker.KindMapping, Name: "t/a", Set: "s"},
		"another set itself": {Kind: broker.KindSet, Name: "t", Set: "s"},
		"a block":            {Kind: broker.KindBlock, Name: "b", Set: "s"},
		"an unknown kind":    {Kind: "quota", Name: "q", Set: "s"},
		"the same again":     wanted[len(wanted)-1],
	} {
		if _, findings := policy.Diff(current, append(slices.Clone(wanted), o), "s"); len(findings) != 1 || findings[0].Code != "not-of-the-set" {
			t.Errorf("%s: findings %v", name, findings)
		}
	}
	stolen := []broker.Object{{Kind: broker.KindResource, Name: "api", Set: "t", Body: []byte("{}")}}
	if _, findings := policy.Diff(stolen, wanted, "s"); len(findings) != 1 || findings[0].Code != "owned-by-another" {
		t.Errorf("findings %v", findings)
	}
}

// Text that YAML could take for something else.
var oddTexts = []string{
	"", "a", "true", "null", "~", "12", "1e3", "0x1", "2026-01-01", "a: b", "- x", " lead", "trail ", "a\nb", "a\nb\n", "\nx", "\n  x\ny", "#x", "a #b", "'", "\"", "\\",
	"é", "\u0085", "\u2028", "\ufeff", "😀", "<<", "=", "!t", "&a", "*a", "%x", "@x", "`x", "[a]", "{a}", "a,b", "?", "-", "\t", "yes", "...", "---",
}

// Whatever a document holds, its export reads back to the same objects.
func TestExportReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		odd := rapid.OneOf(rapid.SampledFrom(oddTexts), rapid.String())
		workload := rapid.SampledFrom([]string{"a/b", "*", "a/*", "a/**", "**", "{x}/b", "*/*", "spiffe://other/x", "spiffe://prod.example/ns/a/sa/b/c", "spiffe://prod.example/ns/*/sa/**", "spiffe://prod.example/x/**", "spiffe://prod.example/ns//sa/x"})
		list := func(g *rapid.Generator[string]) []string { return rapid.SliceOfN(g, 1, 3).Draw(t, "list") }
		rule := map[string]any{"name": "r", "from": list(workload), "to": list(odd), "scopes": list(odd), "having": list(odd), "when": odd.Draw(t, "when"), "reason": odd.Draw(t, "reason"),
			"claims": map[string]string{odd.Draw(t, "claim"): odd.Draw(t, "value")}, "presented_by": list(workload), "ttl": odd.Draw(t, "ttl"), "for": odd.Draw(t, "for")}
		resource := map[string]any{"name": odd.Draw(t, "resource"), "uri": odd.Draw(t, "uri"), "served_by": list(workload), "hosts": list(odd), "scopes": map[string][]string{odd.Draw(t, "scope"): list(odd), "y": {}},
			"binding": odd.Draw(t, "binding"), "impersonation": rapid.Bool().Draw(t, "impersonation"), "proof": list(odd), "ttl": odd.Draw(t, "ttl"), "alg": odd.Draw(t, "alg")}
		issuer := map[string]any{"name": odd.Draw(t, "issuer"), "kind": odd.Draw(t, "kind"), "url": odd.Draw(t, "url"), "audiences": map[string]any{odd.Draw(t, "aud"): list(workload), "b": "any"}, "accept": list(odd),
			"claims": map[string]any{odd.Draw(t, "claim"): odd.Draw(t, "type"), "b": list(odd)}, "carry": list(odd), "delegates": rapid.Bool().Draw(t, "delegates"), "actors": map[string]string{odd.Draw(t, "actor"): workload.Draw(t, "who")}}
		raw, err := json.Marshal(map[string]any{"cambist": "v1", "set": "s", "defaults": map[string]string{"domain": "prod.example"}, "issuers": []any{issuer}, "resources": []any{resource}, "allow": []any{rule}})
		if err != nil {
			t.Fatal(err)
		}
		docs, findings := policy.Parse("f", raw)
		if policy.HasErrors(findings) {
			t.Skip("not a document")
		}
		printed, err := policy.Export(docs[0].Objects, "s")
		if err != nil {
			t.Fatal(err)
		}
		again, findings := policy.Parse("f", printed)
		if policy.HasErrors(findings) || dump(again[0].Objects) != dump(docs[0].Objects) {
			t.Fatalf("%s\nprints as\n%s\n%v", raw, printed, findings)
		}
	})
}

// A row that cannot be read is not exported as something else.
func TestExportRefusesBadRows(t *testing.T) {
	t.Parallel()
	for kind, bodies := range map[broker.ObjectKind][]string{
		broker.KindMapping:  {"", "{", `{"effect":"audit"}`, `{"effect":"issuers"}`, `{"effect":"allow","x":1}`},
		broker.KindResource: {"", `{"x":1}`},
		broker.KindIssuer:   {"", `{"x":1}`},
	} {
		for _, body := range bodies {
			if out, err := policy.Export([]broker.Object{{Kind: kind, Name: "s/a", Set: "s", Body: []byte(body)}}, "s"); err == nil {
				t.Errorf("%s %q is printed as %s", kind, body, out)
			}
		}
	}
}
