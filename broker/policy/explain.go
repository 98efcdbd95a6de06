package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cambist/cambist/broker"
)

// Explanation says how a decision came about, for people. It is made by the
// very code that decides, with a trace.
type Explanation struct {
	Decision broker.Decision
	Checks   []CheckResult
	Near     []NearMapping // nearest first
	Change   string        // the smallest change of policy that would allow it, "" if policy is not what stands in the way
	question *broker.Question
}

// CheckResult is one check and whether it held.
type CheckResult struct {
	Reason broker.Reason
	Held   bool
}

// NearMapping is a mapping that took part, or nearly did.
type NearMapping struct {
	ID      string
	Deny    bool
	Outcome string   // "granted", "denied", or the first part that did not fit
	Misses  []string // every part that did not fit, in words
}

// maxNear bounds how many mappings an explanation names.
const maxNear = 10

// Explain decides the question again and says why. The question must stand on
// this snapshot. It looks at every mapping, so it is not for the hot path.
func (s *Snapshot) Explain(q *broker.Question) Explanation {
	e := Explanation{question: q}
	t := &trace{e: &e, seen: map[string]bool{}}
	e.Decision = broker.Decide(q, t)
	s.rules.all(func(r *rule) bool {
		if !t.seen[r.mapping.ID] && !r.mapping.Deny {
			if near, ok := s.nearly(q, r); ok {
				e.Near = append(e.Near, near)
			}
		}
		return true
	})
	slices.SortStableFunc(e.Near, func(a, b NearMapping) int {
		return cmp.Or(cmp.Compare(len(a.Misses), len(b.Misses)), cmp.Compare(a.ID, b.ID))
	})
	e.Near = e.Near[:min(len(e.Near), maxNear)]
	e.Change = s.change(q, &e)
	return e
}

// trace writes down what Decide tells it.
type trace struct {
	e    *Explanation
	seen map[string]bool
}

// Check notes a check.
func (t *trace) Check(reason broker.Reason, held bool) {
	t.e.Checks = append(t.e.Checks, CheckResult{reason, held})
}

// Mapping notes a candidate.
func (t *trace) Mapping(c *broker.Candidate, outcome broker.Outcome) {
	m := c.Mapping
	t.seen[m.ID] = true
	near := NearMapping{ID: m.ID, Deny: m.Deny, Outcome: string(outcome)}
	if text := t.miss(c, outcome); text != "" && !m.Deny {
		near.Misses = append(near.Misses, text)
	}
	if outcome == broker.OutcomeGranted {
		if lacks := t.e.question.Request.Scopes.Without(m.Scopes); !lacks.IsEmpty() {
			near.Misses = append(near.Misses, fmt.Sprintf("it gives %q, not %q", m.Scopes, lacks))
		}
	}
	if m.Deny && outcome != broker.OutcomeDenied {
		return // a deny that does not apply explains nothing
	}
	t.e.Near = append(t.e.Near, near)
}

func (t *trace) miss(c *broker.Candidate, outcome broker.Outcome) string {
	m, q := c.Mapping, t.e.question
	switch outcome {
	case broker.OutcomeFor:
		return forText(m, q)
	case broker.OutcomeHaving:
		return havingText(m, q)
	case broker.OutcomeQuarantined:
		return "its stored row cannot be read"
	case broker.OutcomeNotInForce:
		return fmt.Sprintf("it is in force from %s to %s", cmp.Or(timeText(m.Since), "ever"), cmp.Or(timeText(m.Until), "ever"))
	case broker.OutcomeImpersonation:
		return "it impersonates, which the resource does not permit"
	case broker.OutcomeBlocked:
		return "it is blocked"
	case broker.OutcomeConditionFalse:
		return "its condition is false: " + t.condition(c)
	case broker.OutcomeConditionError:
		return "its condition cannot be answered: " + t.condition(c)
	case broker.OutcomeClaim:
		return "a claim that it adds has no value"
	}
	return ""
}

// condition shows the text of a when with the values that it read.
func (t *trace) condition(c *broker.Candidate) string {
	compiled, ok := c.Condition.(*condition)
	if !ok {
		return "it was not compiled"
	}
	f := broker.Facts{Question: t.e.question, Captured: c.Captured}
	var values []string
	for _, name := range compiled.Reads() {
		if value, found := f.Lookup(name); found {
			values = append(values, fmt.Sprintf("%s = %q", name, value))
		} else {
			values = append(values, name+" is absent")
		}
	}
	text := compiled.text
	if compiled.err != nil {
		values = append(values, compiled.err.Error())
	}
	return text + " (" + strings.Join(values, ", ") + ")"
}

func forText(m *broker.Mapping, q *broker.Question) string {
	want, have := "itself", "itself"
	if m.For != "" {
		want = "a subject of " + m.For
	}
	if s := q.Subject; s != nil {
		have = "a workload"
		if s.Issuer != nil {
			have = "a subject of " + s.Issuer.Name
		}
	}
	return fmt.Sprintf("it is for %s, the request is for %s", want, have)
}

func havingText(m *broker.Mapping, q *broker.Question) string {
	s := q.Subject
	switch {
	case m.Having.IsEmpty():
		return "it takes a token straight from the issuer, this one is ours"
	case s == nil || !s.Issued:
		return fmt.Sprintf("it takes a token of ours with %q, this one is straight from the issuer", m.Having)
	default:
		return fmt.Sprintf("it takes a token with %q for a resource that the caller serves, this one has %q for %q", m.Having, s.Scopes, s.Audience)
	}
}

// nearly says how a mapping that was not found misses the question: by its
// from, or by its to, but not by both.
func (s *Snapshot) nearly(q *broker.Question, r *rule) (NearMapping, bool) {
	near := NearMapping{ID: r.mapping.ID}
	from := slices.ContainsFunc(r.from, func(p pattern) bool { return p.matchWorkload(q.Workload.ID) })
	to := false
	if q.Resource != nil {
		var buffer [maxSegments]string
		name := split(q.Resource.Name, &buffer)
		to = slices.ContainsFunc(r.to, func(p pattern) bool { _, ok := p.match(name, nil); return ok })
	}
	switch {
	case from && to:
		near.Outcome = "captures"
		near.Misses = append(near.Misses, "what from and to capture under one name differs")
	case to:
		near.Outcome = "from"
		near.Misses = append(near.Misses, fmt.Sprintf("it is from %s", patternTexts(r.from)))
	case from:
		near.Outcome = "to"
		near.Misses = append(near.Misses, fmt.Sprintf("it is to %s", patternTexts(r.to)))
	default:
		return NearMapping{}, false
	}
	if s := q.Subject; s == nil && r.mapping.For != "" || s != nil && (s.Issuer == nil && r.mapping.For != broker.ForWorkload || s.Issuer != nil && r.mapping.For != s.Issuer.Name) {
		near.Misses = append(near.Misses, forText(&r.mapping, q))
	}
	if lacks := q.Request.Scopes.Without(r.mapping.Scopes); !lacks.IsEmpty() {
		near.Misses = append(near.Misses, fmt.Sprintf("it gives %q, not %q", r.mapping.Scopes, lacks))
	}
	return near, true
}

func patternTexts(patterns []pattern) string {
	texts := make([]string, len(patterns))
	for i := range patterns {
		texts[i] = patterns[i].text()
	}
	return strings.Join(texts, ", ")
}

// change returns the smallest rule that would allow the request, where a
// missing rule or scope is all that stands in the way.
func (s *Snapshot) change(q *broker.Question, e *Explanation) string {
	if e.Decision.Allowed || q.Resource == nil {
		return ""
	}
	switch e.Decision.Reason {
	case broker.ReasonMappingNone, broker.ReasonMappingFailed, broker.ReasonScopeNotGranted:
	default:
		return ""
	}
	scopes := q.Request.Scopes
	if scopes.IsEmpty() {
		scopes = q.Resource.DefaultScopes
	}
	if scopes.IsEmpty() || slices.ContainsFunc(e.Near, func(n NearMapping) bool { return n.Deny }) {
		return ""
	}
	party := ""
	if sub := q.Subject; sub != nil {
		party = ", for: " + broker.ForWorkload
		if sub.Issuer != nil {
			party = ", for: " + sub.Issuer.Name
		}
		if sub.Issued {
			party += ", having: [" + strings.ReplaceAll(sub.Scopes.String(), " ", ", ") + "]"
		}
	}
	return fmt.Sprintf("allow:\n- {name: new-rule, from: %q%s, to: %q, scopes: [%s]}\n", q.Workload.ID, party, q.Resource.Name, strings.ReplaceAll(scopes.String(), " ", ", "))
}

// Text renders the explanation for a terminal.
func (e *Explanation) Text() string {
	var b strings.Builder
	d, q := &e.Decision, e.question
	if d.Allowed {
		fmt.Fprintf(&b, "allowed: %s gets %q for %s\n", q.Workload.ID, d.Scopes, q.Request.Audience)
	} else {
		fmt.Fprintf(&b, "refused: %s (%s)\n  %s asked %q for %s\n", d.Public, d.Reason, q.Workload.ID, q.Request.Scopes, q.Request.Audience)
	}
	for _, c := range e.Checks {
		if !c.Held {
			fmt.Fprintf(&b, "  check %s did not hold\n", c.Reason)
		}
	}
	if len(e.Near) > 0 {
		b.WriteString("\nmappings, nearest first:\n")
	}
	for _, n := range e.Near {
		kind := "allow"
		if n.Deny {
			kind = "deny"
		}
		fmt.Fprintf(&b, "  %s %s: %s\n", kind, n.ID, n.Outcome)
		for _, miss := range n.Misses {
			fmt.Fprintf(&b, "    %s\n", miss)
		}
	}
	if e.Change != "" {
		fmt.Fprintf(&b, "\nthis would allow it:\n%s", e.Change)
	}
	return b.String()
}
