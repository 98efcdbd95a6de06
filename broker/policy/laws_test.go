package policy_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
)

// lawWorld is the ground that the properties are played on: two resources, one
// of them at a URI that the template beside them could build too.
const lawWorld = head + `issuers:
- {name: corp, kind: okta, url: "https://acme.okta.com/oauth2/aus1", audiences: {cambist: any}, claims: {groups: [a, b]}, carry: [groups]}
resources:
- {name: api, uri: https://api.example, served_by: [a/x], scopes: {r: [], w: []}, default_scopes: [r]}
- {name: b/y, uri: https://z.b.example, served_by: [b/y], scopes: {r: []}, impersonation: true}
- {name: "{ns}/{sa}", uri: "https://{sa}.{ns}.example", served_by: ["{ns}/{sa}"], scopes: {r: [], w: []}}
`

var (
	lawWorkloads = []string{"a/x", "b/y", "b/z"}
	lawAudiences = []string{"https://api.example", "https://z.b.example", "https://x.a.example", "https://y.b.example"}
	lawScopes    = []string{"r", "w"}
)

// drawLine draws the fields of a rule, without its name.
func drawLine(t *rapid.T, deny bool) string {
	one := func(label string, of ...string) string { return rapid.SampledFrom(of).Draw(t, label) }
	line := ", from: " + one("from", "a/x", `"{ns}/*"`, `"*"`, "b/**", "[a/x, b/z]", `"*/y"`, `"{ns}/{sa}"`)
	to := []string{"api", "b/y", `"{ns}/*"`, `"b/*"`, "[api, a/x]", `"{ns}/{sa}"`, `"{to}"`}
	scopes := []string{", scopes: [r]", ", scopes: [w]", ", scopes: [r, w]"}
	party := []string{"", ", for: corp"}
	if deny {
		to, scopes = append(to, `"*"`), append(scopes, "")
	} else {
		party = append(party, ", for: corp, having: [r]", ", for: workload, having: [w]")
	}
	line += ", to: " + one("to", to...) + one("scopes", scopes...) + one("for", party...)
	return line + one("when", "", "", `, when: 'workload.ns == "a"'`, `, when: 'request.scopes[1] == "r"'`, `, when: '"r" in request.scopes'`)
}

func lawText(rules map[string]string) string {
	var b strings.Builder
	b.WriteString(lawWorld)
	for _, effect := range []string{"allow", "deny"} {
		section := effect + ":\n"
		for _, name := range slices.Sorted(maps.Keys(rules)) {
			if strings.HasPrefix(name, effect) {
				b.WriteString(section + "- {name: " + name + rules[name] + "}\n")
				section = ""
			}
		}
	}
	return b.String()
}

// lawPolicy compiles; t.Fatal of rapid and testing alike.
func lawPolicy(t interface{ Fatalf(string, ...any) }, rules map[string]string) *policy.Snapshot {
	docs, findings := policy.Parse("f", []byte(lawText(rules)))
	if policy.HasErrors(findings) || len(docs) != 1 {
		t.Fatalf("%v", findings)
	}
	s, findings := policy.Compile(docs[0].Objects, 1, options)
	if policy.HasErrors(findings) {
		t.Fatalf("%v", findings)
	}
	return s
}

// grants asks every question of the world, one scope at a time.
func grants(s *policy.Snapshot) map[string]bool {
	granted := map[string]bool{}
	issuer, _ := s.Issuer("https://acme.okta.com/oauth2/aus1")
	subject := func(kind string) *broker.Subject {
		u := &broker.Subject{
			Kind: broker.SubjectUser, Sub: "corp:alice", Issuer: issuer, Audience: []string{"cambist"}, IssuedAt: now, ExpiresAt: now.Add(1e12),
			Claims: []broker.Claim{{Name: "groups", Value: []string{"a"}}},
		}
		switch kind {
		case "self":
			return nil
		case "received":
			u.Issued, u.Audience, u.ClientID = true, []string{"https://api.example"}, id("b/z").String()
			u.Scopes, _ = oauth.NewScopes("r", "w")
		case "workload":
			*u = broker.Subject{Kind: broker.SubjectWorkload, Sub: id("b/z").String(), Issued: true, Audience: []string{"https://x.a.example"}, ClientID: id("b/z").String(), IssuedAt: now, ExpiresAt: now.Add(1e12)}
			u.Scopes, _ = oauth.NewScopes("w")
		}
		return u
	}
	for _, w := range lawWorkloads {
		for _, audience := range lawAudiences {
			r, ok := s.Resource(audience)
			for _, kind := range []string{"self", "user", "received", "workload"} {
				for _, scope := range lawScopes {
					q := &broker.Question{Now: now, View: s, Limits: broker.DefaultLimits(), Workload: broker.Workload{ID: id(w), Proof: broker.ProofMTLS, NotAfter: now.Add(1e12)},
						Request: broker.ExchangeRequest{Grant: oauth.GrantTokenExchange, Audience: audience}, Subject: subject(kind)}
					if q.Request.Scopes, _ = oauth.NewScopes(scope); q.Subject == nil {
						q.Request.Grant = oauth.GrantClientCredentials
					}
					if ok {
						q.Resource, q.Candidates = r, s.Find(nil, q.Workload.ID, r)
					}
					if d := broker.Decide(q, nil); d.Allowed {
						granted[strings.Join([]string{w, audience, kind, scope}, " ")] = true
					}
				}
			}
		}
	}
	return granted
}

func drawRules(t *rapid.T) map[string]string {
	rules := map[string]string{}
	for i := range rapid.IntRange(0, 5).Draw(t, "allows") {
		rules[fmt.Sprintf("allow-%d", i)] = drawLine(t, false)
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "denies") {
		rules[fmt.Sprintf("deny-%d", i)] = drawLine(t, true)
	}
	return rules
}

// more returns what is in a and not in b.
func more(a, b map[string]bool) []string {
	var names []string
	for name := range a {
		if !b[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// An allow more takes nothing away, a deny more gives nothing, and what the
// deny is for is gone (threats C12).
func TestLawsOfRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		rules := drawRules(t)
		before := grants(lawPolicy(t, rules))
		allowed := maps.Clone(rules)
		allowed["allow-more"] = drawLine(t, false)
		if lost := more(before, grants(lawPolicy(t, allowed))); len(lost) > 0 {
			t.Fatalf("an allow takes away %q\n%s", lost, lawText(allowed))
		}
		denied := maps.Clone(rules)
		denied["deny-more"] = drawLine(t, true)
		if won := more(grants(lawPolicy(t, denied)), before); len(won) > 0 {
			t.Fatalf("a deny gives %q\n%s", won, lawText(denied))
		}
		delete(denied, "deny-more")
		w, scope := rapid.SampledFrom(lawWorkloads).Draw(t, "workload"), rapid.SampledFrom(lawScopes).Draw(t, "scope")
		denied["deny-one"] = fmt.Sprintf(", from: %s, to: api, scopes: [%s]", w, scope)
		after := grants(lawPolicy(t, denied))
		for question := range before {
			hit := strings.HasPrefix(question, w+" https://api.example ") && strings.HasSuffix(question, " "+scope)
			held := strings.Contains(question, " received ") && w == "b/z" // it narrows a token that it holds: denied as well
			if after[question] == hit && !held || held && hit && after[question] {
				t.Fatalf("%q: hit %v, granted %v\n%s", question, hit, after[question], lawText(denied))
			}
		}
	})
}

// Rows that go bad never give a scope (design 8, threats G10, P22): cut, with a
// bit turned, or of a later program.
func TestLawOfBadRows(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		docs, _ := policy.Parse("f", []byte(lawText(drawRules(t))))
		objects := docs[0].Objects
		good, _ := policy.Compile(objects, 1, options)
		before := grants(good)
		i := rapid.IntRange(0, len(objects)-1).Draw(t, "object")
		bad := objects[i]
		bad.Body = slices.Clone(bad.Body)
		at := rapid.IntRange(0, len(bad.Body)-1).Draw(t, "at")
		switch rapid.IntRange(0, 3).Draw(t, "how") {
		case 0:
			bad.Body = bad.Body[:at]
		case 1:
			bad.Body[at] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case 2:
			bad.Body = append([]byte(`{"later":1,`), bad.Body[1:]...)
		default:
			bad.Body = rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "bytes")
		}
		applied, findings := good.Apply([]broker.Object{bad}, 2)
		if applied.Quarantined() == 0 {
			t.Skip("the row is still good")
		}
		if won := more(grants(applied), before); len(won) > 0 || !policy.HasErrors(findings) {
			t.Fatalf("%s %s = %q gives %q, findings %v\n%s", bad.Kind, bad.Name, bad.Body, won, findings, objects[i].Body)
		}
		objects[i] = bad
		fresh, _ := policy.Compile(objects, 2, options)
		if a, b := grants(fresh), grants(applied); !maps.Equal(a, b) {
			t.Fatalf("built at once it gives %v, by a change %v", a, b)
		}
	})
}

// A snapshot reached by any history answers every question as one built at
// once from what the history left.
func TestLawOfHistories(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s, _ := policy.Compile(nil, 0, options)
		state := map[string]broker.Object{}
		for revision := range broker.Revision(rapid.IntRange(1, 5).Draw(t, "revisions")) {
			changes := drawChanges(t, state)
			for _, o := range changes {
				if key := string(o.Kind) + " " + o.Name; o.Deleted {
					delete(state, key)
				} else {
					state[key] = o
				}
			}
			before := describe(s)
			next, _ := s.Apply(changes, revision+1)
			if again := describe(s); again != before {
				t.Fatalf("the old snapshot changed from\n%s\nto\n%s", before, again)
			}
			s = next
		}
		fresh, _ := policy.Compile(slices.Collect(maps.Values(state)), s.Revision(), options)
		if got, want := describe(s), describe(fresh); got != want {
			t.Fatalf("by changes\n%s\nat once\n%s", got, want)
		}
	})
}

func drawChanges(t *rapid.T, state map[string]broker.Object) []broker.Object {
	docs, _ := policy.Parse("f", []byte(lawText(drawRules(t))))
	pool := docs[0].Objects
	for i := range pool {
		switch rapid.IntRange(0, 9).Draw(t, "kept") {
		case 0:
			pool[i].Body = []byte(rapid.SampledFrom([]string{"", "{}", `{"uri":"https://z.b.example","x":1}`, `{"url":"https://acme.okta.com/oauth2/aus1","x":1}`, `{"effect":"deny","from":["spiffe://prod.example/ns/b/**"],"to":["api"],"x":1}`}).Draw(t, "bad"))
		case 1:
			pool[i].Body = []byte(strings.NewReplacer("z.b.example", "api.example", "aus1", "aus2", `"groups","type":"enum"`, `"groups","type":"strings"`, `"ES256"`, `"EdDSA"`).Replace(string(pool[i].Body)))
		}
	}
	for _, target := range []broker.BlockTarget{broker.BlockWorkload, broker.BlockMapping} {
		id := map[broker.BlockTarget]string{broker.BlockWorkload: id("a/x").String(), broker.BlockMapping: "s/allow-0"}[target]
		body := fmt.Sprintf(`{"target":%q,"id":%q,"reason":"x"%s}`, target, id, rapid.SampledFrom([]string{"", `,"until":"2026-11-24T11:00:00Z"`, `,"until":"x"`}).Draw(t, "until"))
		pool = append(pool, broker.Object{Kind: broker.KindBlock, Name: "block-" + string(target), Body: []byte(body)})
	}
	pool = append(pool, broker.Object{Kind: broker.KindRevocation, Name: "block-workload", Body: []byte(rapid.SampledFrom([]string{"", `{"until":"2026-11-24T11:00:00Z"}`, `{"until":"2030-11-24T11:00:00Z"}`}).Draw(t, "revoked"))})
	var changes []broker.Object
	seen := map[string]bool{}
	for _, key := range slices.Sorted(maps.Keys(state)) {
		pool = append(pool, state[key])
	}
	for _, o := range pool {
		key := string(o.Kind) + " " + o.Name
		if _, there := state[key]; seen[key] || rapid.Bool().Draw(t, "left out") {
			continue
		} else if there && rapid.Bool().Draw(t, "deleted") {
			o = broker.Object{Kind: o.Kind, Name: o.Name, Set: o.Set, Deleted: true}
		}
		seen[key] = true
		changes = append(changes, o)
	}
	return changes
}

// describe prints all that a snapshot answers about the world.
func describe(s *policy.Snapshot) string {
	var b strings.Builder
	fmt.Fprintln(&b, s.Mappings(), s.Quarantined(), s.Blocked(now, broker.BlockToken, "block-workload", now) != nil, s.Algorithms(), slices.Sorted(maps.Keys(grants(s))))
	for _, i := range s.Issuers() {
		fmt.Fprintln(&b, i.Name, i.URL, i.Quarantined, i.Claims)
	}
	for _, url := range []string{"https://acme.okta.com/oauth2/aus1", "https://acme.okta.com/oauth2/aus2", ""} {
		i, ok := s.Issuer(url)
		fmt.Fprintln(&b, url, ok, ok && i.Quarantined)
	}
	for _, uri := range append([]string{""}, lawAudiences...) {
		r, ok := s.Resource(uri)
		fmt.Fprintln(&b, uri, ok)
		for _, w := range lawWorkloads {
			if ok {
				for _, c := range s.Find(nil, id(w), r) {
					fmt.Fprintln(&b, w, r.Quarantined, c.Mapping.ID, c.Mapping.Quarantined, c.Captured)
				}
			}
			fmt.Fprintln(&b, s.Blocked(now, broker.BlockWorkload, id(w).String(), now) != nil, s.Blocked(now, broker.BlockMapping, "s/allow-0", now) != nil)
		}
	}
	for _, w := range lawWorkloads {
		for _, c := range s.Find(nil, id(w), nil) {
			fmt.Fprintln(&b, w, c.Mapping.ID, c.Resource.Name, c.Resource.URI, c.Resource.Quarantined, c.Captured)
		}
	}
	return b.String()
}
