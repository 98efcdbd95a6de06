package policy_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/policy"
)

const head = "cambist: v1\nset: s\ndefaults: {domain: prod.example}\n"

const base = head + `issuers:
- {name: corp, kind: oidc, url: https://idp.example, audiences: {cambist: any}, accept: [id], claims: {email: string, age: int, ok: bool, groups: [a, b], tags: strings}, carry: [groups]}
resources:
- {name: api, uri: https://api.example, served_by: [x/api], scopes: {read: [], write: []}, impersonation: true}
- {name: "{ns}/{sa}", uri: "https://{sa}.{ns}.example", served_by: ["{ns}/{sa}"], scopes: {call: []}}
`

// Every finding has its code, its line and a fix.
func TestFindings(t *testing.T) {
	t.Parallel()
	allow := func(rule string) string {
		return base + "allow:\n- {name: r, from: x/y, to: api, scopes: [read]" + rule + "}\n"
	}
	issuer := func(fields string) string {
		return head + "issuers:\n- {name: corp, kind: oidc, url: https://i.example" + fields + "}\n"
	}
	good := ", audiences: {cambist: any}, accept: [id]"
	resource := func(fields string) string {
		return head + "resources:\n- {name: api, uri: https://api.example, served_by: [x/y]" + fields + "}\n"
	}
	scoped := ", scopes: {read: []}"
	tests := map[string]struct{ text, code string }{
		"not YAML":                             {"a: [", "yaml-syntax"},
		"empty":                                {"", "file-empty"},
		"a list":                               {"- a", "wrong-type"},
		"no version":                           {"set: s", "version"},
		"another version":                      {"cambist: v2\nset: s", "version"},
		"no set":                               {"cambist: v1", "set-name"},
		"bad set":                              {"cambist: v1\nset: A b", "set-name"},
		"unknown field":                        {head + "alow: []", "field-unknown"},
		"case variant":                         {head + "Allow: []", "field-unknown"},
		"field twice":                          {head + "allow: []\nallow: []", "field-twice"},
		"unknown field of a rule":              {allow(", scope: [x]"), "field-unknown"},
		"trust block":                          {head + "trust: {}", "field-unknown"},
		"anchor":                               {head + "allow: &a []", "yaml-anchor"},
		"merge key":                            {head + "<<: {allow: []}", "wrong-type"},
		"tag":                                  {head + "allow: !!seq []", "yaml-tag"},
		"text for a list":                      {head + "allow: yes", "wrong-type"},
		"list for text":                        {allow(", when: [a]"), "wrong-type"},
		"null for text":                        {allow(", when: null"), "wrong-type"},
		"truth for text":                       {allow(", claims: {admin: true}"), "wrong-type"},
		"number for text":                      {allow(", claims: {level: 1}"), "wrong-type"},
		"number in a list":                     {allow(", having: [1.5]"), "wrong-type"},
		"anchored any":                         {issuer(", audiences: {cambist: &a any}, accept: [id]"), "yaml-anchor"},
		"anchored claim":                       {issuer(good + ", claims: {a: &a [x]}"), "yaml-anchor"},
		"anchored name of a field":             {head + "&a allow: []", "yaml-anchor"},
		"one set twice":                        {head + "---\n" + head, "set-twice"},
		"a lone surrogate":                     {`{"cambist": "v1", "set": "\ud83d"}`, "yaml-syntax"},
		"text for truth":                       {resource(scoped + ", impersonation: 1"), "wrong-type"},
		"bad domain":                           {"cambist: v1\nset: s\ndefaults: {domain: a..b}", "trust-domain"},
		"domain with a final dot":              {"cambist: v1\nset: s\ndefaults: {domain: td.}", "trust-domain"},
		"upper-case domain":                    {"cambist: v1\nset: s\ndefaults: {domain: TD}", "trust-domain"},
		"short name without a domain":          {"cambist: v1\nset: s\nallow:\n- {name: r, from: x/y, to: a, scopes: [b]}", "domain-missing"},
		"neither short nor full":               {allow(", presented_by: a"), "workload-name"},
		"rule name":                            {strings.Replace(allow(""), "name: r", "name: R r", 1), "rule-name"},
		"two rules of a name":                  {base + "allow:\n- {name: r, from: x/y, to: api, scopes: [read]}\ndeny:\n- {name: r, from: x/y, to: api}\n", "name-twice"},
		"two resources of a name":              {head + "resources:\n- {name: a, uri: https://a.example, scopes: {x: []}}\n- {name: a, uri: https://b.example, scopes: {x: []}}", "name-twice"},
		"bad pattern":                          {strings.Replace(allow(""), "x/y", "x/y*", 1), "pattern"},
		"** in between":                        {strings.Replace(allow(""), "x/y", "spiffe://td/**/x", 1), "pattern"},
		"capture twice":                        {strings.Replace(allow(""), "x/y", "'{a}/{a}'", 1), "pattern"},
		"encoded segment":                      {strings.Replace(allow(""), "x/y", "spiffe://td/%61", 1), "pattern"},
		"dot segment":                          {strings.Replace(allow(""), "x/y", "spiffe://td/../x", 1), "pattern"},
		"no path":                              {strings.Replace(allow(""), "x/y", "spiffe://td", 1), "pattern"},
		"too many segments":                    {strings.Replace(allow(""), "x/y", "spiffe://td/"+strings.Repeat("a/", 16)+"a", 1), "pattern"},
		"no from":                              {base + "allow:\n- {name: r, to: api, scopes: [read]}\n", "pattern"},
		"allow to everything":                  {strings.Replace(allow(""), "to: api", "to: '*'", 1), "to-everything"},
		"no scopes":                            {base + "allow:\n- {name: r, from: x/y, to: api}\n", "scopes-missing"},
		"bad scope":                            {strings.Replace(allow(""), "[read]", "['a b']", 1), "scope"},
		"unknown scope":                        {strings.Replace(allow(""), "[read]", "[reed]", 1), "scope-unknown"},
		"unknown resource":                     {strings.Replace(allow(""), "to: api", "to: apj", 1), "resource-unknown"},
		"unknown issuer":                       {allow(", for: corq"), "issuer-unknown"},
		"issuer of all the world":              {strings.Replace(allow(", for: corp"), "https://idp.example", "https://token.actions.githubusercontent.com", 1), "issuer-shared"},
		"an actor that handed on":              {allow(`, for: corp, when: "subject.actors[1] == 'a'"`), "condition-actors"},
		"any of the actors":                    {allow(`, for: corp, when: "'a' in subject.actors"`), "condition-actors"},
		"all of the actors":                    {allow(`, for: corp, when: "subject.actors.all(a, a != 'b')"`), "condition-actors"},
		"an actor by a number that is counted": {allow(`, for: corp, when: "subject.actors[subject.actors.size() - 1] == 'a'"`), "condition-actors"},
		"the actors as a whole":                {allow(`, for: corp, when: "subject.actors == ['a']"`), "condition-actors"},
		"an actor among the allowed":           {allow(`, for: corp, when: "['a'] == subject.actors || true"`), "condition-actors"},
		"a token it may not show":              {strings.Replace(allow(", for: corp"), "{cambist: any}", "{cambist: [x/z]}", 1), "rule-never"},
		"bad for":                              {allow(", for: HTTP"), "for"},
		"having without for":                   {allow(", having: [call]"), "having-without-for"},
		"having of nobody":                     {allow(", for: corp, having: [write]"), "having-unknown"},
		"workload without having":              {allow(", for: workload"), "workload-without-having"},
		"bad as":                               {allow(", as: admin"), "as"},
		"impersonation not permitted":          {strings.Replace(allow(", for: corp, as: impersonate"), "impersonation: true", "impersonation: false", 1), "impersonation"},
		"reserved claim":                       {allow(", claims: {act: x}"), "claim-reserved"},
		"claim from nowhere":                   {allow(", claims: {team: '{ns}'}"), "claim-value"},
		"computed claim":                       {allow(", claims: {team: 'a-{ns}'}"), "claim-value"},
		"carried claim":                        {allow(", for: corp, claims: {groups: x}"), "claim-carried"},
		"undeclared claim":                     {allow(", for: corp, claims: {x: '{user.nothing}'}"), "claim-unknown"},
		"claim of a user without for":          {allow(", claims: {x: '{user.email}'}"), "claim-unknown"},
		"bad ttl":                              {allow(", ttl: soon"), "mapping-ttl"},
		"short ttl":                            {allow(", ttl: 9s"), "mapping-ttl"},
		"bad until":                            {allow(", until: tomorrow"), "time"},
		"until before since":                   {allow(", since: 2026-12-01T00:00:00Z, until: 2026-11-01T00:00:00Z"), "time"},
		"over":                                 {allow(", until: 2026-11-01T00:00:00Z"), "rule-over"},
		"deny that gives":                      {base + "deny:\n- {name: r, from: x/y, to: api, ttl: 1m}\n", "deny-field"},
		"deny with having":                     {base + "deny:\n- {name: r, from: x/y, to: api, for: corp, having: [read]}\n", "having-without-for"},
		"condition syntax":                     {allow(", when: 'a ==='"), "condition"},
		"condition is no truth":                {allow(", when: workload.ns"), "condition"},
		"undeclared attribute":                 {allow(", for: corp, when: user.emial == ''"), "condition"},
		"wrong type in a condition":            {allow(", for: corp, when: user.age == ''"), "condition"},
		"user without for":                     {allow(", when: user.email == ''"), "condition"},
		"regular expression":                   {allow(", when: workload.id.matches('a')"), "condition"},
		"regular expression function":          {allow(", when: \"matches(workload.id, 'a')\""), "condition"},
		"long condition":                       {allow(", when: workload.ns == '" + strings.Repeat("x", 1100) + "'"), "condition"},
		"dear condition":                       {allow(", when: 'request.scopes.all(a, request.scopes.all(b, request.scopes.all(c, a + b + c != workload.id)))'"), "condition"},
		"issuer name":                          {strings.Replace(issuer(good), "name: corp", "name: spiffe", 1), "issuer-name"},
		"issuer kind":                          {strings.Replace(issuer(good), "oidc", "ldap", 1), "issuer-kind"},
		"issuer url":                           {strings.Replace(issuer(good), "https://i.example", "'https://i.example?x'", 1), "issuer-url"},
		"issuer keys over http":                {strings.Replace(issuer(good), "https://i.example", "http://i.example", 1), "issuer-url"},
		"issuer with a fragment":               {strings.Replace(issuer(good), "https://i.example", "'https://i.example#x'", 1), "issuer-url"},
		"issuer with a user":                   {strings.Replace(issuer(good), "https://i.example", "https://u@i.example", 1), "issuer-url"},
		"issuer without a host":                {strings.Replace(issuer(good), "https://i.example", "'https://:443'", 1), "issuer-url"},
		"issuer without a scheme":              {strings.Replace(issuer(good), "https://i.example", "i.example", 1), "issuer-url"},
		"issuer by template":                   {strings.Replace(issuer(good), "https://i.example", "'https://i.example/{tenant}'", 1), "issuer-url"},
		"key set over http":                    {issuer(good + ", jwks_uri: http://i.example/k"), "issuer-jwks"},
		"key set without a host":               {issuer(good + ", jwks_uri: /k"), "issuer-jwks"},
		"issuer keys twice":                    {issuer(good + ", jwks_uri: https://i.example/k, jwks_file: k"), "issuer-jwks"},
		"no accept for oidc":                   {issuer(", audiences: {cambist: any}"), "issuer-accept"},
		"bad accept":                           {issuer(", audiences: {cambist: any}, accept: [refresh]"), "issuer-accept"},
		"symmetric":                            {issuer(good + ", algs: [HS256]"), "issuer-alg"},
		"none":                                 {issuer(good + ", algs: [none]"), "issuer-alg"},
		"no audience":                          {issuer(", accept: [id]"), "issuer-audience"},
		"any for a foreign audience":           {issuer(", accept: [id], audiences: {api: any}"), "issuer-audience-any"},
		"audience for nobody":                  {issuer(", accept: [id], audiences: {api: []}"), "issuer-audience"},
		"claim type":                           {issuer(good + ", claims: {a: float}"), "claim-type"},
		"claim name":                           {issuer(good + ", claims: {a-b: string}"), "claim-name"},
		"carry undeclared":                     {issuer(good + ", carry: [a]"), "claim-unknown"},
		"carry reserved":                       {issuer(good + ", claims: {act: string}, carry: [act]"), "claim-reserved"},
		"actor":                                {issuer(good + ", actors: {x: 'spiffe://TD/a'}"), "issuer-actor"},
		"resource name":                        {strings.Replace(resource(scoped), "name: api", "name: 'A b'", 1), "resource-name"},
		"relative uri":                         {strings.Replace(resource(scoped), "https://api.example", "/x", 1), "resource-uri"},
		"fragment":                             {strings.Replace(resource(scoped), "https://api.example", "'https://a#f'", 1), "resource-uri"},
		"userinfo":                             {strings.Replace(resource(scoped), "https://api.example", "https://u@api.example", 1), "resource-uri"},
		"upper-case host":                      {strings.Replace(resource(scoped), "https://api.example", "https://API.example", 1), "resource-uri"},
		"default port":                         {strings.Replace(resource(scoped), "https://api.example", "https://api.example:443", 1), "resource-uri"},
		"capture beside a label":               {strings.Replace(resource(scoped), "https://api.example", "'https://x{a}.example'", 1), "template"},
		"captures that touch":                  {strings.Replace(resource(scoped), "https://api.example", "'https://{a}{b}.example'", 1), "template"},
		"capture that the uri lacks":           {strings.Replace(resource(scoped), "[x/y]", "['{ns}/y']", 1), "template-capture"},
		"capture that the name lacks":          {strings.Replace(strings.Replace(resource(scoped), "https://api.example", "'https://{ns}.example'", 1), "[x/y]", "['{ns}/y']", 1), "template-capture"},
		"star in a name":                       {strings.Replace(resource(scoped), "name: api", "name: 'a/*'", 1), "resource-name"},
		"host with a slash":                    {resource(scoped + ", hosts: [a/b]"), "resource-host"},
		"host with a brace":                    {resource(scoped + ", hosts: ['a/{b']"), "template"},
		"host without a name":                  {resource(scoped + ", hosts: [':80']"), "resource-host"},
		"host with port 0":                     {resource(scoped + ", hosts: ['a:0']"), "resource-host"},
		"route without a method":               {resource(", scopes: {read: [/x]}"), "route"},
		"route with a lower method":            {resource(", scopes: {read: [get /x]}"), "route"},
		"route without a path":                 {resource(", scopes: {read: [GET x]}"), "route"},
		"route with a query":                   {resource(", scopes: {read: ['GET /x?y']}"), "route"},
		"route with ** in between":             {resource(", scopes: {read: ['GET /**/x']}"), "route"},
		"route with an escape":                 {resource(", scopes: {read: ['GET /x%2f']}"), "route"},
		"route with a parameter":               {resource(", scopes: {read: ['GET /x;y']}"), "route"},
		"route with dots":                      {resource(", scopes: {read: ['GET /x/../y']}"), "route"},
		"route with an empty segment":          {resource(", scopes: {read: ['GET /x//y']}"), "route"},
		"route with half a star":               {resource(", scopes: {read: ['GET /x*']}"), "route"},
		"served by nobody":                     {strings.Replace(resource(scoped), "[x/y]", "['spiffe://td']", 1), "resource-served-by"},
		"no scope at all":                      {resource(""), "resource-scopes"},
		"wildcard scope":                       {resource(", scopes: {'a:*': []}"), "scope-wildcard"},
		"default of another":                   {resource(scoped + ", default_scopes: [write]"), "scope-unknown"},
		"binding":                              {resource(scoped + ", binding: mtls"), "resource-binding"},
		"proof":                                {resource(scoped + ", proof: [basic]"), "resource-proof"},
		"bearer proof with identity":           {resource(scoped + ", proof: [kubernetes]"), "resource-proof-bearer"},
		"resource ttl":                         {resource(scoped + ", ttl: 2h"), "resource-ttl"},
		"freshness":                            {resource(scoped + ", freshness: loose"), "resource-freshness"},
		"alg":                                  {resource(scoped + ", alg: HS256"), "resource-alg"},
		"same uri":                             {base + "- {name: b, uri: https://api.example, scopes: {x: []}}\n", "uri-twice"},
		"a slash more":                         {base + "- {name: b, uri: https://api.example/, scopes: {x: []}}\n", "uri-slash"},
		"templates that meet":                  {base + "- {name: 'z/{ns}/{sa}', uri: 'https://{sa}.{ns}.example', scopes: {x: []}}\n", "uri-twice"},
		"template beside a narrower":           {base + "- {name: 'z/{sa}', uri: 'https://{sa}.prod.example', scopes: {x: []}}\n", "uri-twice"},
		"narrower beside a template":           {base + "- {name: '0/{sa}', uri: 'https://{sa}.prod.example', scopes: {x: []}}\n", "uri-twice"},
		"templates that cross":                 {head + "resources:\n- {name: 'z/{a}', uri: 'https://{a}.x.example', scopes: {x: []}}\n- {name: 'y/{b}', uri: 'https://y.{b}.example', scopes: {x: []}}\n", "uri-twice"},
		"two issuers of one url":               {strings.Replace(base, "resources:", "- {name: corp2, kind: oidc, url: https://idp.example, audiences: {cambist: any}, accept: [id]}\nresources:", 1), "issuer-twice"},
		"served by no one":                     {head + "resources:\n- {name: b, uri: https://api.example, scopes: {x: []}}\n", "served-by-missing"},
		"presented by a trust domain":          {allow(", presented_by: 'spiffe://td'"), "presented-by"},
		"presented by a pattern":               {allow(", presented_by: 'x/*'"), "presented-by"},
		"from everybody":                       {strings.Replace(allow(""), "x/y", "'*'", 1), "from-broad"},
		"shadowed":                             {base + "allow:\n- {name: a, from: x/y, to: api, scopes: [read, write]}\n- {name: b, from: x/y, to: api, scopes: [read]}\n", "rule-shadowed"},
		"denied whole":                         {base + "allow:\n- {name: a, from: x/y, to: api, scopes: [read]}\ndeny:\n- {name: b, from: x/y, to: api}\n", "rule-denied"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			docs, findings := policy.Parse("f.yaml", []byte(tt.text))
			if f := slices.IndexFunc(findings, func(f policy.Finding) bool { return f.Name != "" && f.Kind == "" }); f >= 0 {
				t.Errorf("a name without a kind: %+v", findings[f])
			}
			if !policy.HasErrors(findings) && len(docs) == 1 {
				more := policy.Lint(docs[0].Objects, options)
				docs[0].Locate(more)
				findings = append(findings, more...)
			}
			i := slices.IndexFunc(findings, func(f policy.Finding) bool { return f.Code == tt.code })
			if i < 0 {
				t.Fatalf("findings %v, want %s", findings, tt.code)
			}
			f := findings[i]
			if f.Fix == "" || f.File != "f.yaml" || f.Line == 0 && tt.code != "file-empty" {
				t.Errorf("no place or no fix: %+v", f)
			}
			if text := f.String(); !strings.Contains(text, f.Message) || !strings.HasPrefix(text, "f.yaml:") || !strings.HasSuffix(text, "["+f.Code+"]") {
				t.Errorf("reads %q", text)
			}
		})
	}
}

func TestGoodPoliciesHaveNoFindings(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"design": designText(t),
		"conditions": base + `allow:
- {name: a, from: x/y, for: corp, to: api, scopes: [read], when: 'user.age >= 18 && user.ok && "a" in user.groups && user.tags.exists(t, t == "x") && user.email.endsWith("@a.example")'}
- {name: b, from: "{ns}/y", to: api, scopes: [read], when: 'captured.ns == workload.ns && request.time < timestamp("2030-01-01T00:00:00Z") && subject.kind == "workload"'}
`,
		"the current actor": base + `allow:
- {name: a, from: x/y, for: corp, to: api, scopes: [read], when: "subject.actors.size() <= 1 && (size(subject.actors) == 0 || subject.actors[0] == 'spiffe://td/a')"}
`,
		"claims": base + "allow:\n- {name: a, from: '{ns}/y', for: corp, to: api, scopes: [read], claims: {tier: gold, team: '{ns}', mail: '{user.email}'}, presented_by: [x/z], as: impersonate, ttl: 1m}\n",
		"onward": base + "allow:\n- {name: a, from: x/api, for: workload, having: [read], to: x/z, scopes: [call]}\n",
		"templates apart": head + `resources:
- {name: "a/{x}", uri: "https://{x}.{x}.a.example", served_by: [x/y], scopes: {r: ["GET /*", "* /**", "POST /a/*/b/**"]}, hosts: ["{x}.a", "h:8080"]}
- {name: "b/{x}", uri: "https://{x}.b.example", served_by: [x/y], scopes: {r: []}}
- {name: "c/{x}", uri: "https://p.q.{x}.example", served_by: [x/y], scopes: {r: []}}
`,
		"issuer of all the world": strings.Replace(base, "https://idp.example", "https://gitlab.com", 1) + "allow:\n- {name: a, from: x/y, for: corp, to: api, scopes: [read], when: user.email == 'a@b.c'}\n",
		"listed to show":          strings.Replace(base, "{cambist: any}", "{other: [x/*], cambist: [x/y]}", 1) + "allow:\n- {name: a, from: [x/y, x/z, '{ns}/q'], for: corp, to: api, scopes: [read]}\n",
		"issuers without TLS": head + `issuers:
- {name: a, kind: oidc, url: "http://127.0.0.1:8080/x", audiences: {cambist: any}, accept: [id]}
- {name: b, kind: oidc, url: "http://b.example", jwks_uri: "https://b.example/k?v=1", audiences: {cambist: any}, accept: [id], actors: {svc: x/y}}
- {name: c, kind: kubernetes, url: "http://c.example", jwks_file: k, audiences: {cambist: any}, algs: [ES256, RS256]}
`,
		"full name": base + "allow:\n- {name: a, from: 'spiffe://other.example/a/b/**', to: '{ns}/*', scopes: [call]}\n",
		"with the escapes of JSON": "{\n\t\"cambist\": \"v1\",\n\t\"set\": \"s\", \"resources\": [{\"name\": \"a\", \"uri\": \"https:\\/\\/a.example\", \"served_by\": [\"spiffe://td/a\"], \"scopes\": {\"r\": []}}]," +
			`"allow": [{"name": "x", "from": "spiffe://td/b", "to": "a", "scopes": ["r"], "reason": "\u00e9 \ud83d\ude00 \\ud83d"}]}`,
		"in JSON": `{"cambist":"v1","set":"s","resources":[{"name":"a","uri":"urn:x:y","served_by":["spiffe://td/a"],"scopes":{"r":[]}}]}`,
	} {
		docs, findings := policy.Parse("f", []byte(text))
		if len(docs) == 1 {
			findings = append(findings, policy.Lint(docs[0].Objects, options)...)
		}
		if len(findings) > 0 {
			t.Errorf("%s: %v", name, findings)
		}
	}
}

// Whatever the file is, what is said about it stays bounded.
func TestFindingsAreBounded(t *testing.T) {
	t.Parallel()
	var keys strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for name, text := range map[string]string{"documents": strings.Repeat("---\n", 1<<16), "fields": keys.String(), "deep": strings.Repeat("[", 1<<16)} {
		if _, findings := policy.Parse("f", []byte(text)); len(findings) > 1100 || !policy.HasErrors(findings) {
			t.Errorf("%s: %d findings", name, len(findings))
		}
	}
	if _, findings := policy.Parse("f", []byte("cambist: v1\nset: s\nallow: [\n")); len(findings) != 1 || findings[0].Line < 3 || strings.Contains(findings[0].Message, "line") {
		t.Errorf("the syntax error is at %v", findings)
	}
	if _, findings := policy.Parse("f", make([]byte, 4<<20+1)); len(findings) != 1 || findings[0].Code != "file-too-large" {
		t.Errorf("findings %v", findings)
	}
	rules := strings.Repeat("- {name: r}\n", 10_001)
	if _, findings := policy.Parse("f", []byte(head+"allow:\n"+rules)); len(findings) != 1 || findings[0].Code != "too-many-rules" {
		t.Errorf("%d findings", len(findings))
	}
}

func TestSeveralDocuments(t *testing.T) {
	t.Parallel()
	docs, findings := policy.Parse("f", []byte(base+"---\ncambist: v1\nset: other\n"))
	if len(findings) > 0 || len(docs) != 2 || docs[1].Set != "other" {
		t.Errorf("%v %v", docs, findings)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(base))
	f.Add([]byte(head + "allow:\n- {name: r, from: x/y, to: api, scopes: [read], when: 'a'}\n"))
	f.Add([]byte(`{"cambist":"v1","set":"s"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		docs, findings := policy.Parse("f", text)
		if policy.HasErrors(findings) {
			return
		}
		for _, d := range docs {
			again, err := policy.Export(d.Objects, d.Set)
			if err != nil {
				t.Fatal(err)
			}
			back, findings := policy.Parse("f", again)
			if policy.HasErrors(findings) || len(back) != 1 || dump(back[0].Objects) != dump(d.Objects) {
				t.Fatalf("%q prints as %q: %v", text, again, findings)
			}
			policy.Compile(d.Objects, 1, options)
		}
	})
}
