package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// change returns the smallest rule that would allow the request, where a rule
// is what is missing. It was tried: Decide allows the request with it. What a
// rule that fits withholds it does not give by another way.
func (s *Snapshot) change(q *broker.Question, d *broker.Decision, withheld oauth.Scopes) string {
	if q.Resource == nil || d.Reason != broker.ReasonMappingNone && d.Reason != broker.ReasonScopeNotGranted {
		return ""
	}
	m := broker.Mapping{ID: "new", Scopes: q.Request.Scopes}
	if m.Scopes.IsEmpty() {
		m.Scopes = q.Resource.DefaultScopes
	}
	if of := q.Subject; of != nil {
		if m.For = broker.ForWorkload; of.Issuer != nil {
			m.For = of.Issuer.Name
		}
		if of.Issued {
			m.Having = of.Scopes
		}
	}
	if m.Scopes.IsEmpty() || !m.Scopes.Intersect(withheld).IsEmpty() {
		return ""
	}
	tried := *q
	tried.Candidates = append(slices.Clone(q.Candidates), broker.Candidate{Mapping: &m})
	if !broker.Decide(&tried, nil).Allowed {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "allow:\n- {name: %s, from: %q", s.freeName(ruleName(q)), q.Workload.ID)
	if m.For != "" {
		fmt.Fprintf(&b, ", for: %s", m.For)
	}
	if !m.Having.IsEmpty() {
		fmt.Fprintf(&b, ", having: %s", quoted(m.Having))
	}
	fmt.Fprintf(&b, ", to: %q, scopes: %s}\n", q.Resource.Name, quoted(m.Scopes))
	return b.String()
}

// ruleName makes a name of the last parts of caller and resource.
func ruleName(q *broker.Question) string {
	path, to := q.Workload.ID.Path(), q.Resource.Name
	name := path[strings.LastIndexByte(path, '/')+1:] + "-" + to[strings.LastIndexByte(to, '/')+1:]
	if !objectName(name) || !strings.ContainsFunc(name, func(r rune) bool { return r >= 'a' && r <= 'z' }) {
		return "new-rule"
	}
	return name
}

// freeName returns the name, with a number behind it if a rule of any set has it.
func (s *Snapshot) freeName(name string) string {
	taken := map[string]bool{}
	s.rules.all(func(r *rule) bool {
		_, of, _ := strings.Cut(r.mapping.ID, "/")
		taken[of] = true
		return true
	})
	free := name
	for n := 2; taken[free]; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	return free
}

// quoted writes scopes as a list whose items mean themselves in YAML.
func quoted(scopes oauth.Scopes) string {
	var list []string
	for scope := range scopes.Names() {
		list = append(list, fmt.Sprintf("%q", scope))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// nearestURI returns the URI of the resource that is most like the audience, ""
// if none is much like it.
func (s *Snapshot) nearestURI(audience string) string {
	var uris []string
	s.byName.all(func(r *resource) bool {
		if !r.isTemplate() && r.placed {
			uris = append(uris, r.proto.URI)
		}
		return true
	})
	slices.Sort(uris)
	if i := slices.IndexFunc(uris, func(uri string) bool { return strings.EqualFold(uri, audience) || flipSlash(uri) == audience }); i >= 0 {
		return uris[i]
	}
	return nearest(audience, uris)
}

// Text renders the explanation for a terminal.
func (e *Explanation) Text() string {
	var b strings.Builder
	d, q := &e.Decision, e.question
	if d.Allowed {
		fmt.Fprintf(&b, "allowed: %s gets %q for %s\n", q.Workload.ID, d.Scopes, q.Request.Audience)
	} else {
		asked := "the default scopes"
		if !q.Request.Scopes.IsEmpty() {
			asked = fmt.Sprintf("%q", q.Request.Scopes)
		}
		fmt.Fprintf(&b, "refused: %s asked for %s of %s\n", q.Workload.ID, asked, q.Request.Audience)
	}
	if !d.Allowed {
		fmt.Fprintf(&b, "  because %s (%s)\n", reasonText(d.Reason), d.Reason)
	}
	for _, c := range e.Checks {
		if !c.Held && c.Reason != d.Reason && !follows(c.Reason, d.Reason) {
			fmt.Fprintf(&b, "  also: %s (%s)\n", reasonText(c.Reason), c.Reason)
		}
	}
	if e.Nearest != "" {
		fmt.Fprintf(&b, "\nthe nearest resource is %s\n", e.Nearest)
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

// follows reports whether a check fails for no other cause than that an earlier
// one failed: to say so as well would hide what else is wrong.
func follows(r, first broker.Reason) bool {
	granted := []broker.Reason{
		broker.ReasonMappingNone, broker.ReasonMappingFailed, broker.ReasonDenied, broker.ReasonScopeNotGranted, broker.ReasonScopeNoDefault,
	}
	switch first {
	case broker.ReasonResourceUnknown, broker.ReasonResourceQuarantined:
		return slices.Contains(append(granted, broker.ReasonProofNotAccepted, broker.ReasonBindingUnproven, broker.ReasonScopeUnknown,
			broker.ReasonSubjectExpiring, broker.ReasonLifetimeExhausted), r)
	case broker.ReasonSubjectMissing, broker.ReasonSubjectUnexpected, broker.ReasonSubjectUnknown, broker.ReasonSubjectNotShown, broker.ReasonSubjectNotHeld,
		broker.ReasonMappingNone, broker.ReasonMappingFailed, broker.ReasonDenied, broker.ReasonScopeUnknown, broker.ReasonScopeNotGranted:
		return slices.Contains(granted, r)
	case broker.ReasonWorkloadExpired, broker.ReasonSubjectExpired, broker.ReasonActorExpired, broker.ReasonSubjectExpiring:
		return r == broker.ReasonSubjectExpiring || r == broker.ReasonLifetimeExhausted
	}
	return false
}

// reasonText says in plain words what it means that a check did not hold.
func reasonText(r broker.Reason) string {
	texts := map[broker.Reason]string{
		broker.ReasonWorkloadUnproven:    "the caller proved no identity",
		broker.ReasonWorkloadExpired:     "the caller's proof of identity has expired",
		broker.ReasonClientIDMismatch:    "client_id names another than the caller",
		broker.ReasonGrantUnsupported:    "the grant type is none of ours",
		broker.ReasonTokenTypeRequested:  "another type of token than access_token was asked for",
		broker.ReasonSubjectMissing:      "an exchange needs a subject token",
		broker.ReasonSubjectUnexpected:   "this grant takes no subject or actor token",
		broker.ReasonSubjectUnknown:      "the subject token is of an issuer that is not trusted, or whose row cannot be read",
		broker.ReasonSubjectExpired:      "the subject token has expired",
		broker.ReasonSubjectNotShown:     "no audience of the subject token is listed for the caller under audiences of its issuer",
		broker.ReasonSubjectNotHeld:      "the subject token is ours, but neither issued to the caller for this audience nor for a resource that the caller serves",
		broker.ReasonSubjectUnbound:      "the request does not prove the key or certificate that the subject token is bound to",
		broker.ReasonActorMismatch:       "the actor token is of another workload than the caller",
		broker.ReasonActorExpired:        "the actor token has expired",
		broker.ReasonMayAct:              "may_act in the subject token names another than the caller",
		broker.ReasonChainForeign:        "the subject token has an act, and its issuer is not believed to make one (delegates)",
		broker.ReasonChainLoop:           "the chain of actors comes back to one of its own",
		broker.ReasonChainTooLong:        "the chain of actors, or of tokens, is too long",
		broker.ReasonBlocked:             "a block stops the caller, the subject, an actor, the key or the token",
		broker.ReasonResourceUnknown:     "no resource has this audience as its uri, byte for byte",
		broker.ReasonResourceQuarantined: "the resource cannot be used: its row cannot be read, or another has the same uri",
		broker.ReasonMappingNone:         "no mapping is from this caller to this resource for this subject",
		broker.ReasonMappingFailed:       "a mapping fits, but something in it fails",
		broker.ReasonDenied:              "denies leave nothing of what is granted",
		broker.ReasonProofNotAccepted:    "the resource does not take this proof of identity",
		broker.ReasonBindingUnproven:     "the request does not prove the binding that the resource asks for",
		broker.ReasonScopeUnknown:        "a scope that was asked for is none of the resource's",
		broker.ReasonScopeNotGranted:     "a scope that was asked for is not granted, or denied",
		broker.ReasonScopeNoDefault:      "no scope was asked for, and no default scope is granted",
		broker.ReasonClaimConflict:       "two mappings give one claim different values",
		broker.ReasonSubjectExpiring:     "the subject token expires too soon",
		broker.ReasonLifetimeExhausted:   "less than 10 seconds of lifetime are left under all bounds",
	}
	if text, ok := texts[r]; ok {
		return text
	}
	return strings.ReplaceAll(string(r), "_", " ")
}
