package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"go.yaml.in/yaml/v3"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/insight"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/plan"
	"github.com/cambist/cambist/broker/policy"
)

type testCmd struct {
	fileFlags
	policyFlags
	Tests []string `arg:"" help:"Files with cases: what is given, and what is expected." placeholder:"TESTS"`
}

// Run decides every case of the files on the policy of the files, without a
// server, and says which were decided otherwise than expected, and why.
func (c *testCmd) Run(a *app) error {
	documents, findings, err := c.read()
	if err != nil {
		return err
	}
	p := plan.Compare(nil, documents, c.options())
	if a.report(append(findings, p.Findings...)) {
		return exitError{exitLocal}
	}
	snapshot, _ := policy.Compile(p.Changes, 1, c.options())
	passed, failed := 0, 0
	for _, path := range c.Tests {
		cases, err := readCases(path)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		for i := range cases.Tests {
			t := &cases.Tests[i]
			why, faults, err := t.run(snapshot, cases.Defaults.Domain)
			if err != nil {
				return fmt.Errorf("%s:%d: %s: %w", path, t.line, t.Name, err)
			}
			if len(faults) == 0 {
				passed++
				continue
			}
			failed++
			fmt.Fprintf(a.stdout, "%s:%d: %s: %s\n", path, t.line, t.Name, strings.Join(faults, "; "))
			for line := range strings.Lines(why.Text()) {
				fmt.Fprint(a.stdout, strings.TrimRight("    "+line, " \n")+"\n")
			}
		}
	}
	fmt.Fprintf(a.stdout, "%d passed, %d failed\n", passed, failed)
	if failed > 0 {
		return exitError{exitDenied}
	}
	return nil
}

// caseFile is a file of cases.
type caseFile struct {
	Cambist  string `yaml:"cambist"`
	Defaults struct {
		Domain string `yaml:"domain"`
	} `yaml:"defaults"`
	Tests []testCase `yaml:"tests"`
}

// testCase is one case.
type testCase struct {
	Name   string `yaml:"name"`
	Given  given  `yaml:"given"`
	Expect expect `yaml:"expect"`
	line   int
}

type given struct {
	From     string   `yaml:"from"`
	To       string   `yaml:"to"`
	Scopes   []string `yaml:"scopes"`
	User     *user    `yaml:"user"`
	Received *struct {
		By     string   `yaml:"by"`
		To     string   `yaml:"to"`
		Scopes []string `yaml:"scopes"`
	} `yaml:"received"`
	At time.Time `yaml:"at"`
}

type user struct {
	Issuer   string         `yaml:"issuer"`
	Sub      string         `yaml:"sub"`
	Audience string         `yaml:"audience"`
	Claims   map[string]any `yaml:"claims"`
}

// expect is allowed, refused or the reason of a refusal; or that with what is
// granted.
type expect struct {
	Outcome  string        `yaml:"outcome"`
	Scopes   []string      `yaml:"scopes"`
	Mappings []string      `yaml:"mappings"`
	TTL      time.Duration `yaml:"ttl"`
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (e *expect) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		return node.Decode(&e.Outcome)
	}
	type plain expect
	e.Outcome = "allowed"
	return strict(node, (*plain)(e))
}

// UnmarshalYAML implements yaml.Unmarshaler.
func (t *testCase) UnmarshalYAML(node *yaml.Node) error {
	type plain testCase
	t.line = node.Line
	return strict(node, (*plain)(t))
}

// strict decodes a part of a document as strictly as the whole: yaml forgets that
// for what decodes itself.
func strict(node *yaml.Node, v any) error {
	text, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	return decoder.Decode(v)
}

func readCases(path string) (*caseFile, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	var f caseFile
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case f.Cambist != "v1":
		return nil, errors.New(`it must begin with "cambist: v1"`)
	case len(f.Tests) == 0:
		return nil, errors.New("it has no tests")
	}
	if err := decoder.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is a second document in it")
	}
	return &f, nil
}

// run decides a case. Faults say what is otherwise than expected.
func (t *testCase) run(s *policy.Snapshot, domain string) (why policy.Explanation, faults []string, err error) {
	h, err := t.Given.hypothesis(domain)
	if err != nil {
		return why, nil, err
	}
	if why, err = insight.Suppose(s, h, broker.DefaultLimits()); err != nil {
		return why, nil, err
	}
	faults, err = t.Expect.compare(&why.Decision, h.At)
	return why, faults, err
}

func (g *given) hypothesis(domain string) (*insight.Hypothesis, error) {
	h := &insight.Hypothesis{At: g.At, Resource: g.To}
	if h.At.IsZero() {
		h.At = time.Now()
	}
	var err, more error
	h.Workload, err = workloadID(g.From, domain)
	if h.Scopes, more = oauth.NewScopes(g.Scopes...); more != nil {
		err = errors.Join(err, fmt.Errorf("scopes: %w", more))
	}
	if u := g.User; u != nil {
		h.User = &insight.User{Issuer: u.Issuer, Subject: u.Sub, Audience: u.Audience}
		if u.Sub == "" {
			err = errors.Join(err, errors.New("user: who is it? give sub"))
		}
		if h.User.Claims, more = json.Marshal(u.Claims); more != nil {
			err = errors.Join(err, fmt.Errorf("claims: %w", more))
		}
		if len(u.Claims) == 0 {
			h.User.Claims = nil
		}
	}
	if r := g.Received; r != nil {
		h.Received = &insight.Received{Resource: r.To}
		if h.Received.By, more = workloadID(r.By, domain); more != nil {
			err = errors.Join(err, fmt.Errorf("received: %w", more))
		}
		if h.Received.Scopes, more = oauth.NewScopes(r.Scopes...); more != nil {
			err = errors.Join(err, fmt.Errorf("received: scopes: %w", more))
		}
	}
	return h, err
}

// workloadID reads an ID, or ns/sa in the default trust domain.
func workloadID(text, domain string) (spiffeid.ID, error) {
	if strings.HasPrefix(text, "spiffe://") {
		return spiffeid.FromString(text)
	}
	ns, sa, ok := strings.Cut(text, "/")
	if !ok || strings.Contains(sa, "/") || ns == "" || sa == "" {
		return spiffeid.ID{}, fmt.Errorf("%q is neither ns/sa nor a SPIFFE ID", text)
	}
	if domain == "" {
		return spiffeid.ID{}, fmt.Errorf("%q needs a trust domain: give defaults: {domain: …}", text)
	}
	return spiffeid.FromString("spiffe://" + domain + "/ns/" + ns + "/sa/" + sa)
}

// compare says what of a decision is otherwise.
func (e *expect) compare(d *broker.Decision, at time.Time) (faults []string, err error) {
	outcome := "allowed"
	if !d.Allowed {
		outcome = string(d.Reason)
	}
	switch {
	case e.Outcome == "refused":
		if d.Allowed {
			faults = append(faults, "allowed, not refused")
		}
	case e.Outcome != "allowed" && !slices.Contains(broker.CheckReasons(), broker.Reason(e.Outcome)):
		return nil, fmt.Errorf("expect: %q is not allowed, refused or a reason of a refusal", e.Outcome)
	case e.Outcome != outcome:
		faults = append(faults, fmt.Sprintf("%s, not %s", outcome, e.Outcome))
	}
	if !d.Allowed {
		return faults, nil
	}
	want, err := oauth.NewScopes(e.Scopes...)
	if err != nil {
		return nil, fmt.Errorf("expect: scopes: %w", err)
	}
	if len(e.Scopes) > 0 && want.String() != d.Scopes.String() {
		faults = append(faults, fmt.Sprintf("scopes %q, not %q", d.Scopes, want))
	}
	var mappings []string
	for _, m := range d.Mappings {
		mappings = append(mappings, m.ID)
	}
	slices.Sort(mappings)
	if expected := slices.Sorted(slices.Values(e.Mappings)); len(expected) > 0 && !slices.Equal(expected, mappings) {
		faults = append(faults, fmt.Sprintf("by %q, not %q", mappings, expected))
	}
	if got := d.ExpiresAt.Sub(at.Truncate(time.Second)); e.TTL > 0 && got != e.TTL {
		faults = append(faults, fmt.Sprintf("for %s, not %s", got, e.TTL))
	}
	return faults, nil
}
