package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// Explanation says how a decision came about, for people. It is made by the
// very code that decides, with a trace.
type Explanation struct {
	Decision broker.Decision
	Checks   []CheckResult // in the order in which they are made
	Near     []NearMapping // nearest first
	Nearest  string        // the URI most like the audience, where no resource has that
	Change   string        // a rule that would allow it, "" if a rule is not what is missing
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
	Outcome string   // an Outcome of Decide, or the first part that did not fit: from, to, captures
	Misses  []string // every part that did not fit, in words; for a deny, what it takes away
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
			if near, ok := nearly(q, r); ok {
				e.Near = append(e.Near, near)
			}
		}
		return true
	})
	slices.SortStableFunc(e.Near, func(a, b NearMapping) int {
		return cmp.Or(cmp.Compare(distance(&a), distance(&b)), cmp.Compare(a.ID, b.ID))
	})
	e.Near = e.Near[:min(len(e.Near), maxNear)]
	if e.Decision.Reason == broker.ReasonResourceUnknown {
		e.Nearest = s.nearestURI(q.Request.Audience)
	}
	e.Change = s.change(q, &e.Decision, t.withheld)
	return e
}

// distance is how far a mapping is from having given what was asked. Denies
// that applied come first: they decided.
func distance(n *NearMapping) int {
	if n.Deny {
		return -1
	}
	return len(n.Misses)
}

// trace writes down what Decide tells it.
type trace struct {
	e        *Explanation
	seen     map[string]bool
	withheld oauth.Scopes // what rules that fit did not give: a condition, a time, a block, a deny
}

// Check notes a check.
func (t *trace) Check(reason broker.Reason, held bool) {
	t.e.Checks = append(t.e.Checks, CheckResult{reason, held})
}

// Mapping notes a candidate. A deny that does not apply explains nothing.
func (t *trace) Mapping(c *broker.Candidate, outcome broker.Outcome) {
	m := c.Mapping
	t.seen[m.ID] = true
	near := NearMapping{ID: m.ID, Deny: m.Deny, Outcome: string(outcome)}
	switch {
	case m.Deny && outcome != broker.OutcomeDenied:
		return
	case m.Deny:
		near.Misses = append(near.Misses, t.taken(m))
	case outcome == broker.OutcomeGranted:
		near.Misses = append(near.Misses, lacks(m, t.e.question)...)
	default:
		near.Misses = append(append(near.Misses, t.miss(c, outcome)), lacks(m, t.e.question)...)
		if outcome != broker.OutcomeFor && outcome != broker.OutcomeHaving {
			t.withheld = t.withheld.Union(m.Scopes)
		}
	}
	t.e.Near = append(t.e.Near, near)
}

// taken says what a deny takes away.
func (t *trace) taken(m *broker.Mapping) string {
	all := m.Scopes
	if m.Scopes.IsEmpty() || m.Quarantined {
		if all = (oauth.Scopes{}); t.e.question.Resource != nil {
			all = t.e.question.Resource.Scopes
		}
	}
	t.withheld = t.withheld.Union(all)
	switch {
	case m.Quarantined:
		return "its stored row cannot be read, so it takes everything away"
	case m.Scopes.IsEmpty():
		return "it takes everything away"
	}
	return fmt.Sprintf("it takes %q away", m.Scopes)
}

func lacks(m *broker.Mapping, q *broker.Question) []string {
	if missing := q.Request.Scopes.Without(m.Scopes); !missing.IsEmpty() {
		return []string{fmt.Sprintf("it gives %q, not %q", m.Scopes, missing)}
	}
	return nil
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
		return forceText(m)
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
	return string(outcome)
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
		value, found := f.Lookup(name)
		switch v := value.(type) {
		case string, []string:
			values = append(values, fmt.Sprintf("%s = %q", name, v))
		default:
			values = append(values, fmt.Sprintf("%s = %v", name, v))
		}
		if !found {
			values[len(values)-1] = name + " is absent"
		}
	}
	if compiled.err != nil {
		values = append(values, compiled.err.Error())
	}
	return compiled.text + " (" + strings.Join(values, ", ") + ")"
}

func forText(m *broker.Mapping, q *broker.Question) string {
	want, have := "the workload itself", "the workload itself"
	switch m.For {
	case "":
	case broker.ForWorkload:
		want = "a workload whose token it received"
	default:
		want = "a user of " + m.For
	}
	switch s := q.Subject; {
	case s == nil:
	case s.Kind == broker.SubjectWorkload:
		have = "a workload whose token it received"
	case s.Issuer != nil:
		have = "a user of " + s.Issuer.Name
	}
	return fmt.Sprintf("it is for %s, the request is for %s", want, have)
}

func forceText(m *broker.Mapping) string {
	switch {
	case m.Since.IsZero():
		return "it ended at " + timeText(m.Until)
	case m.Until.IsZero():
		return "it begins at " + timeText(m.Since)
	}
	return fmt.Sprintf("it is in force from %s to %s", timeText(m.Since), timeText(m.Until))
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
// from, or by its to, or by what they capture, but not by both.
func nearly(q *broker.Question, r *rule) (NearMapping, bool) {
	m := &r.mapping
	near := NearMapping{ID: m.ID}
	from := slices.ContainsFunc(r.from, func(p pattern) bool { return p.matchWorkload(q.Workload.ID) })
	to := false
	if q.Resource != nil {
		var buffer [maxSegments]string
		name := split(q.Resource.Name, &buffer)
		to = slices.ContainsFunc(r.to, func(p pattern) bool { _, ok := p.match(name, nil); return ok })
	}
	switch {
	case from && to:
		near.Outcome, near.Misses = "captures", []string{fmt.Sprintf("what from %s and to %s capture under one name differs", patternTexts(r.from), patternTexts(r.to))}
	case to:
		near.Outcome, near.Misses = "from", []string{"it is from " + patternTexts(r.from)}
	case from:
		near.Outcome, near.Misses = "to", []string{"it is to " + patternTexts(r.to)}
	default:
		return NearMapping{}, false
	}
	s := q.Subject
	fits := s == nil && m.For == "" || s != nil && (s.Kind == broker.SubjectWorkload && m.For == broker.ForWorkload || s.Issuer != nil && m.For == s.Issuer.Name)
	if !fits {
		near.Misses = append(near.Misses, forText(m, q))
	}
	if !m.InForce(q.Now) {
		near.Misses = append(near.Misses, forceText(m))
	}
	near.Misses = append(near.Misses, lacks(m, q)...)
	return near, true
}

func patternTexts(patterns []pattern) string {
	texts := make([]string, len(patterns))
	for i := range patterns {
		texts[i] = patterns[i].text()
	}
	return strings.Join(texts, ", ")
}
