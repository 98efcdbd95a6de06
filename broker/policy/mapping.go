package policy

import (
	"bytes"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// rule is a compiled mapping with its patterns.
type rule struct {
	mapping broker.Mapping
	set     string
	when    string
	from    []pattern
	to      []pattern
	entries []entry
	cond    broker.Condition
}

// compileMapping builds a rule from its body. A fault quarantines it: an allow
// grants nothing then, and a deny takes all where its patterns can be read, and
// everywhere if they cannot.
func compileMapping(o *broker.Object, in *interner, f *faults) *rule {
	var body mappingBody
	r := &rule{set: o.Set, mapping: broker.Mapping{ID: o.Name, Revision: o.Revision}}
	m := &r.mapping
	if err := decode(o.Body, &body); err != nil || body.Effect != effectAllow && body.Effect != effectDeny {
		f.add("object-unreadable", "", "apply the set again", "%v", errBody)
		r.salvage(o, in)
		return r
	}
	m.Deny = body.Effect == effectDeny
	r.compilePatterns(&body, in, f)
	m.For, m.ForAny = in.text(body.For), m.Deny && body.For == ""
	if m.For != "" && m.For != broker.ForWorkload && !issuerName(m.For) {
		f.add("for", "for", "name an issuer, or write workload", "%q is neither an issuer nor workload", m.For)
	}
	m.Having, m.Scopes = in.scopes(body.Having, "having", f), in.scopes(body.Scopes, "scopes", f)
	switch {
	case !m.Deny && m.Scopes.IsEmpty():
		f.add("scopes-missing", "scopes", "name the scopes that it gives", "an allow without scopes gives nothing")
	case !m.Having.IsEmpty() && (m.Deny || m.For == ""):
		f.add("having-without-for", "having", "add for, or leave having out", "having asks for a received token, and only an allow with for has one")
	case m.For == broker.ForWorkload && !m.Deny && m.Having.IsEmpty():
		f.add("workload-without-having", "having", "name the scopes that the received token must carry", "a token for a workload is always ours, so having is needed")
	}
	r.when, m.Conditional = in.text(body.When), body.When != ""
	switch body.As {
	case "", "delegate":
	case "impersonate":
		m.Impersonate = true
	default:
		f.add("as", "as", "use delegate or impersonate", "%q is not a way to act", body.As)
	}
	if m.Deny && (body.As != "" || len(body.PresentedBy) > 0 || len(body.Claims) > 0 || body.TTL != "") {
		f.add("deny-field", "", "leave as, presented_by, claims and ttl out", "a deny gives nothing that these could shape")
	}
	for _, text := range body.PresentedBy {
		id, err := spiffeid.FromString(text)
		if err != nil || id.Path() == "" {
			f.add("presented-by", "presented_by", "name workloads, as ns/sa or by SPIFFE ID", "%q is not a workload", text)
			continue
		}
		m.PresentedBy = append(m.PresentedBy, id)
	}
	r.compileClaims(body.Claims, in, f)
	r.compileTimes(&body, f)
	m.Reason = in.text(body.Reason)
	m.Quarantined = f.count > 0
	return r
}

// salvage reads no more of a bad row than whom it concerns. An allow gives
// nothing; a deny takes all from those, or from everybody if they cannot be read
// or it may have been a deny.
func (r *rule) salvage(o *broker.Object, in *interner) {
	var body struct {
		Effect string   `json:"effect"`
		From   []string `json:"from"`
		To     []string `json:"to"`
	}
	err := json.Unmarshal(o.Body, &body)
	m, f := &r.mapping, &faults{found: new([]Finding)}
	m.Quarantined = true
	if err == nil && body.Effect == effectAllow || err != nil && bytes.HasPrefix(o.Body, []byte(`{"effect":"allow",`)) {
		r.compilePatterns(&mappingBody{From: body.From, To: body.To}, in, f)
		return
	}
	m.Deny, m.ForAny = true, true
	if err != nil || body.Effect != effectDeny {
		body.From = nil // everybody: half a list would be a narrower deny
	}
	r.compilePatterns(&mappingBody{From: body.From, To: body.To}, in, f)
}

func (r *rule) compilePatterns(body *mappingBody, in *interner, f *faults) {
	for _, text := range body.From {
		p, err := parseWorkloadPattern(text)
		if err != nil {
			f.add("pattern", "from", patternFix, "%q is not a pattern for workloads: %v", text, err)
			p = pattern{all: true}
		}
		r.from = append(r.from, in.pattern(p))
	}
	for _, text := range body.To {
		p, err := parseNamePattern(text)
		if err != nil {
			f.add("pattern", "to", patternFix, "%q is not a pattern for resources: %v", text, err)
			p = pattern{all: true}
		}
		if err == nil && p.all && !r.mapping.Deny {
			f.add("to-everything", "to", "name the resources", "only a deny may be for every resource")
		}
		r.to = append(r.to, in.pattern(p))
	}
	if len(r.from) == 0 || len(r.to) == 0 {
		f.add("pattern", "from", "name who, and what for", "from or to is missing")
		r.from, r.to = []pattern{{all: true}}, []pattern{{all: true}}
	}
	if f.count > 0 && !r.mapping.Deny {
		r.from, r.to = nil, nil // an allow that cannot be read need not be found
	}
}

// compileClaims reads the claims that a mapping adds: text, {capture} or
// {user.claim}; whole values, never computed.
func (r *rule) compileClaims(claims map[string]string, in *interner, f *faults) {
	for _, name := range sortedKeys(claims) {
		value := claims[name]
		t := broker.ClaimTemplate{Name: in.text(name)}
		switch inner, braced := strings.CutPrefix(value, "{"); {
		case !braced && !strings.ContainsAny(value, "{}"):
			t.Literal = in.text(value)
		case strings.HasPrefix(inner, "user.") && strings.HasSuffix(inner, "}") && claimName(inner[5:len(inner)-1]):
			t.User = in.text(inner[5 : len(inner)-1])
		default:
			capture, ok := captureName(value)
			if !ok || !r.captured(capture) {
				f.add("claim-value", "claims", "write text, {capture} or {user.claim}", "claim %q has a value that nothing gives", name)
			}
			t.Capture = in.text(capture)
		}
		if broker.ReservedClaim(name) || !claimName(name) {
			f.add("claim-reserved", "claims", "choose another name", "claim %q is registered, reserved or not a name", name)
		}
		r.mapping.Claims = append(r.mapping.Claims, t)
	}
}

// captured reports whether every from pattern, or every to pattern, captures
// the name.
func (r *rule) captured(name string) bool {
	for _, patterns := range [][]pattern{r.from, r.to} {
		all := len(patterns) > 0
		for i := range patterns {
			found := false
			for _, s := range patterns[i].segments {
				found = found || s.kind == segmentCapture && s.text == name
			}
			all = all && found
		}
		if all {
			return true
		}
	}
	return false
}

// timeText is how findings and explanations write a time.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (r *rule) compileTimes(body *mappingBody, f *faults) {
	m := &r.mapping
	var err error
	if body.TTL != "" {
		if m.TTL, err = time.ParseDuration(body.TTL); err != nil || m.TTL < broker.MinTTL || m.TTL > broker.MaxTTLCap {
			f.add("mapping-ttl", "ttl", "give a duration from 10s to 1h", "%q is not a lifetime", body.TTL)
		}
	}
	parse := func(text, field string) (t time.Time) {
		if text == "" {
			return t
		}
		if t, err = time.Parse(time.RFC3339, text); err != nil {
			f.add("time", field, "write it as 2026-12-01T00:00:00Z", "%q is not a time", text)
		}
		return t.UTC()
	}
	m.Since, m.Until = parse(body.Since, "since"), parse(body.Until, "until")
	if !m.Since.IsZero() && !m.Until.IsZero() && !m.Since.Before(m.Until) {
		f.add("time", "until", "put until after since", "it is never in force")
	}
}

// interner shares equal strings, scope sets and segments between the rules of
// all snapshots: a million mappings have few distinct ones.
type interner struct {
	texts map[string]string
	sets  map[string]oauth.Scopes
	names map[string][]segment
}

func newInterner() *interner {
	return &interner{texts: map[string]string{}, sets: map[string]oauth.Scopes{}, names: map[string][]segment{}}
}

// trim forgets what was interned once most of it can only be of rules that are
// gone. Sharing begins anew; nothing that snapshots hold is lost.
func (s *shared) trim(rules int) {
	if in := s.interner; len(in.texts)+len(in.sets)+len(in.names) > 16*rules+1<<16 {
		s.interner = newInterner()
	}
}

func (in *interner) text(s string) string {
	if s == "" {
		return ""
	}
	if have, ok := in.texts[s]; ok {
		return have
	}
	in.texts[s] = s
	return s
}

func (in *interner) scopes(names []string, field string, f *faults) oauth.Scopes {
	if len(names) == 0 {
		return oauth.Scopes{}
	}
	key := strings.Join(names, " ")
	if have, ok := in.sets[key]; ok {
		return have
	}
	s, err := oauth.NewScopes(names...)
	if err != nil {
		f.add("scope", field, "use printable characters without spaces, quotes and backslashes", "a scope is not well formed")
		return oauth.Scopes{}
	}
	in.sets[key] = s
	return s
}

func (in *interner) pattern(p pattern) pattern {
	p.domain = in.text(p.domain)
	var key strings.Builder
	for _, s := range p.segments {
		key.WriteByte(byte('0' + s.kind))
		key.WriteString(s.text)
		key.WriteByte('/')
	}
	if have, ok := in.names[key.String()]; ok {
		p.segments = have
		return p
	}
	for i := range p.segments {
		p.segments[i].text = in.text(p.segments[i].text)
	}
	in.names[key.String()] = p.segments
	return p
}
