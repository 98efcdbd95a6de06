package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/policy"
)

// conditionOf compiles one when, for corp of base, and returns it with a
// question to ask it of.
func conditionOf(t *testing.T, when string) (broker.Condition, *broker.Question) {
	t.Helper()
	s := compile(t, base+fmt.Sprintf("allow:\n- {name: r, from: '{ns}/web', for: corp, to: api, scopes: [read], when: %q}\n", when))
	issuer, _ := s.Issuer("https://idp.example")
	subject := &broker.Subject{
		Kind: broker.SubjectUser, Sub: "corp:alice", Issuer: issuer, Audience: []string{"cambist"}, IssuedAt: now, ExpiresAt: now.Add(1e12),
		Claims: []broker.Claim{{Name: "email", Value: "alice@a.example"}, {Name: "age", Value: int64(30)}, {Name: "ok", Value: true}, {Name: "groups", Value: []string{"a"}}},
	}
	q := ask(t, s, "shop/web", "https://api.example", subject, "read")
	if len(q.Candidates) != 1 {
		t.Fatalf("%d candidates", len(q.Candidates))
	}
	return q.Candidates[0].Condition, q
}

// What a condition sees is what Facts.Lookup says, with its type.
func TestConditionHolds(t *testing.T) {
	t.Parallel()
	for when, want := range map[string]string{
		`workload.id == "spiffe://prod.example/ns/shop/sa/web"`:                         "true",
		`workload.trust_domain == "prod.example" && workload.path == "/ns/shop/sa/web"`: "true",
		`workload.ns == "shop" && workload.sa == "web" && workload.proof == "mtls"`:     "true",
		`subject.kind == "user" && subject.id == "corp:alice"`:                          "true",
		`subject.issuer == "corp" && subject.client_id == ""`:                           "true",
		`subject.scopes.size() == 0 && subject.actors.size() == 0`:                      "true",
		`request.resource == "api" && request.audience == "https://api.example"`:        "true",
		`"read" in request.scopes && request.grant.endsWith("token-exchange")`:          "true",
		`request.time.getFullYear() == 2026 && request.time.getHours() == 12`:           "true",
		`request.time < timestamp("2026-11-24T12:00:01Z")`:                              "true",
		`user.email.startsWith("alice@") && user.age >= 18 && user.ok`:                  "true",
		`user.groups.exists(g, g == "a") && user.groups.all(g, g != "b")`:               "true",
		`captured.ns == "shop"`:          "true",
		`user.age > 30`:                  "false",
		`"b" in user.groups`:             "false",
		`"x" in user.tags`:               "error", // not in the token
		`!("x" in user.tags)`:            "error",
		`user.age / (user.age - 30) > 0`: "error",
		`request.scopes[3] == "read"`:    "error",
		`["a", "b", "c"].all(x, ["a", "b", "c"].all(y, (x + y).size() > 0 || x == "d"))`: "true",
	} {
		t.Run(when, func(t *testing.T) {
			t.Parallel()
			c, q := conditionOf(t, when)
			holds, err := c.Holds(&broker.Facts{Question: q, Captured: q.Candidates[0].Captured})
			got := fmt.Sprint(holds)
			if err != nil {
				if got = "error"; holds {
					t.Error("it holds in spite of an error")
				}
			}
			if got != want {
				t.Errorf("%s (%v), want %s", got, err, want)
			}
			if d := broker.Decide(q, nil); d.Allowed != (want == "true") {
				t.Errorf("allowed: %v", d.Allowed)
			}
		})
	}
}

// What a condition reads is what the record keeps of it.
func TestConditionReads(t *testing.T) {
	t.Parallel()
	c, _ := conditionOf(t, `user.age > 3 && (captured.ns == workload.ns || user.groups.exists(user_x, user_x == "a") || request.time.getHours() > 3 || user.age < 9)`)
	if want := []string{"captured.ns", "request.time", "user.age", "user.groups", "workload.ns"}; !slices.Equal(c.Reads(), want) {
		t.Errorf("reads %q, want %q", c.Reads(), want)
	}
}

// A deny whose condition fails applies, and one that is false does not.
func TestConditionOfDeny(t *testing.T) {
	t.Parallel()
	for when, denied := range map[string]bool{
		`workload.ns == "shop"`:            true,
		`workload.ns == "bi"`:              false,
		`request.scopes[3] == "read"`:      true,
		`request.scopes[3] != "read"`:      true,
		`request.audience == "x" && false`: false,
	} {
		s := compile(t, base+fmt.Sprintf("allow:\n- {name: a, from: shop/web, to: api, scopes: [read]}\ndeny:\n- {name: d, from: shop/web, to: api, when: %q}\n", when))
		if d := broker.Decide(ask(t, s, "shop/web", "https://api.example", nil, "read"), nil); d.Allowed == denied {
			t.Errorf("%s: allowed %v", when, d.Allowed)
		}
	}
}

// A row whose condition does not compile got past lint: an allow refuses, a
// deny applies, nothing panics.
func TestConditionThatDoesNotCompile(t *testing.T) {
	t.Parallel()
	objects := parse(t, base+"allow:\n- {name: a, from: shop/web, to: api, scopes: [read]}\n- {name: b, from: shop/web, to: api, scopes: [write], when: user.email == ''}\n").Objects
	s, findings := policy.Compile(objects, 1, options)
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	if d := broker.Decide(ask(t, s, "shop/web", "https://api.example", nil, "write"), nil); d.Reason != broker.ReasonMappingFailed && d.Reason != broker.ReasonScopeNotGranted {
		t.Errorf("allow: %q", d.Reason)
	}
	s, _ = s.Apply(parse(t, head+"deny:\n- {name: d, from: shop/web, to: api, when: user.email == ''}\n").Objects, 2)
	if d := broker.Decide(ask(t, s, "shop/web", "https://api.example", nil, "read"), nil); d.Allowed {
		t.Error("a deny that does not compile does not apply")
	}
}

func TestConditionFixes(t *testing.T) {
	t.Parallel()
	for when, want := range map[string]string{
		`user.emial == "x"`:            "did you mean user.email?",
		`"a" in user.group`:            "did you mean user.groups?",
		`workload.namespace == "x"`:    "it may read captured.ns, request.audience",
		`capture.ns == "x"`:            "did you mean captured.ns?",
		`request.time.getHours("CET")`: "it may read",
		`request.time.getHours("+02:00") == 1 && request.time.getFullYear("CET") == 1`: "it may read",
	} {
		doc := parse(t, base+fmt.Sprintf("allow:\n- {name: r, from: '{ns}/web', for: corp, to: api, scopes: [read], when: '%s'}\n", when))
		findings := policy.Lint(doc.Objects, options)
		if len(findings) != 1 || findings[0].Code != "condition" || findings[0].Field != "when" || !strings.HasPrefix(findings[0].Fix, want) {
			t.Errorf("%s: %v", when, findings)
		}
	}
}

// Time zones are files of the machine, and so no part of a pure condition.
func TestConditionHasNoTimeZones(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek", "getHours", "getMinutes", "getSeconds", "getMilliseconds"} {
		for args, bad := range map[string]bool{"": false, `"UTC"`: true} {
			doc := parse(t, base+fmt.Sprintf("allow:\n- {name: r, from: x/web, to: api, scopes: [read], when: 'request.time.%s(%s) == 1'}\n", name, args))
			if findings := policy.Lint(doc.Objects, options); policy.HasErrors(findings) != bad {
				t.Errorf("%s(%s): %v", name, args, findings)
			}
		}
	}
}

// The bound is on conditions in use: any number may come and go.
func TestConditionsComeAndGo(t *testing.T) {
	t.Parallel()
	rule := func(i, text int) broker.Object {
		return broker.Object{Kind: broker.KindMapping, Name: fmt.Sprintf("s/m%d", i), Set: "s", Body: fmt.Appendf(nil,
			`{"effect":"allow","from":["spiffe://td/a"],"to":["r"],"scopes":["x"],"when":"workload.ns == \"%d\""}`, text)}
	}
	var objects []broker.Object
	for i := range 20_000 {
		objects = append(objects, rule(i, i))
	}
	s, findings := policy.Compile(objects, 1, options)
	if len(findings) != 0 {
		t.Fatal(findings[0])
	}
	if _, findings := s.Apply([]broker.Object{rule(20_000, 20_000)}, 2); len(findings) != 1 || findings[0].Code != "condition-limit" {
		t.Errorf("one too many: %v", findings)
	}
	for i := range 3 {
		if s, findings = s.Apply([]broker.Object{rule(i, 30_000+i)}, broker.Revision(2+i)); len(findings) != 0 {
			t.Fatalf("change %d: %v", i, findings)
		}
	}
}
