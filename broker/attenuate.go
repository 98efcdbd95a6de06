package broker

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// grant is what a question would get: the one result of the one attenuation.
// It says how far each bound reaches; the checks say whether that is enough.
type grant struct {
	*Question
	Resource *Resource // never nil: the zero Resource stands for none
	trace    Trace

	shown  bool // foreign token: its aud is listed for the caller
	holder bool // our token: the caller's own, for the same audience (rule a)
	server bool // our token: the caller serves its audience, and asks for another (rule b)

	reach   oauth.Scopes // what the allows and a held token give
	granted oauth.Scopes // reach less what the denies take
	result  oauth.Scopes // what would be issued
	failed  bool         // an allow fitted but failed inside: condition, claim, block, quarantine

	used        []*Mapping // the allows that give a scope of the result
	expiresAt   time.Time
	bySubject   bool // the subject token is what bounds the lifetime
	chain       *Actor
	impersonate bool
	presenters  []spiffeid.ID
	confirm     Confirmation
	claims      []Claim
	conflict    bool // two values for one claim
}

// attenuate computes the grant. It is the one function through which every
// grant type passes: scopes, lifetime, chain and binding are only ever cut here.
func attenuate(q *Question, t Trace) grant {
	g := grant{Question: q, Resource: q.Resource, trace: t}
	if g.Resource == nil {
		g.Resource = &Resource{}
	}
	g.route()
	allows := g.allow()
	g.deny()
	if q.Request.Scopes.IsEmpty() {
		g.result = g.Resource.DefaultScopes.Intersect(g.granted)
	} else {
		g.result = q.Request.Scopes.Intersect(g.granted)
	}
	g.use(allows)
	g.bind()
	g.expire()
	return g
}

// route says by which of the rules of design 5 the caller may use the subject
// token at all.
func (g *grant) route() {
	s := g.Subject
	switch {
	case s == nil:
	case !s.Issued:
		g.shown = s.Issuer != nil && s.Issuer.Shows(g.Workload.ID, s.Audience)
	case len(s.Audience) == 1 && g.Resource.URI != "":
		same := s.Audience[0] == g.Resource.URI
		g.holder = same && s.ClientID == g.Workload.ID.String()
		if !same && g.View != nil {
			r, ok := g.View.Resource(s.Audience[0])
			g.server = ok && !r.Quarantined && r.ServedByWorkload(g.Workload.ID)
		}
	}
}

// allowed is one allow that holds, with the claims that it would add.
type allowed struct {
	mapping *Mapping
	claims  []Claim
}

// allow sums up the allows. A token that the caller holds itself gives its own
// pairs again, and needs no mapping for them.
func (g *grant) allow() []allowed {
	if g.holder {
		g.reach = g.Subject.Scopes
	}
	var held []allowed
	for i := range g.Candidates {
		c := &g.Candidates[i]
		if c.Mapping.Deny {
			continue
		}
		claims, outcome := g.permits(c)
		switch outcome {
		case OutcomeGranted:
			g.reach = g.reach.Union(c.Mapping.Scopes)
			held = append(held, allowed{c.Mapping, claims})
		case OutcomeQuarantined, OutcomeBlocked, OutcomeConditionFalse, OutcomeConditionError, OutcomeClaim, OutcomeImpersonation, OutcomeNotInForce:
			g.failed = true
		}
		if g.trace != nil {
			g.trace.Mapping(c, outcome)
		}
	}
	g.reach = g.reach.Intersect(g.Resource.Scopes)
	return held
}

// permits says whether an allow gives its scopes to this question.
func (g *grant) permits(c *Candidate) ([]Claim, Outcome) {
	m := c.Mapping
	switch {
	case !g.concerns(m):
		return nil, OutcomeFor
	case !g.having(m):
		return nil, OutcomeHaving
	case m.Quarantined:
		return nil, OutcomeQuarantined
	case !m.InForce(g.Now):
		return nil, OutcomeNotInForce
	case m.Impersonate && !g.Resource.Impersonation:
		return nil, OutcomeImpersonation
	case g.View.Blocked(g.Now, BlockMapping, m.ID, g.Now) != nil:
		return nil, OutcomeBlocked
	}
	if m.Conditional {
		if c.Condition == nil {
			return nil, OutcomeConditionError
		}
		ok, err := c.Condition.Holds(&Facts{Question: g.Question, Captured: c.Captured})
		if err != nil {
			return nil, OutcomeConditionError
		}
		if !ok {
			return nil, OutcomeConditionFalse
		}
	}
	claims, ok := g.mappedClaims(c)
	if !ok {
		return nil, OutcomeClaim
	}
	return claims, OutcomeGranted
}

// concerns reports whether the mapping is for this kind of subject.
func (g *grant) concerns(m *Mapping) bool {
	s := g.Subject
	switch {
	case m.Deny && m.ForAny:
		return true
	case s == nil:
		return m.For == ""
	case s.Kind == SubjectWorkload:
		return m.For == ForWorkload
	case s.Kind == SubjectUser && s.Issuer != nil:
		return m.For == s.Issuer.Name
	}
	return false
}

// having reports whether the received token is what an allow asks for: straight
// from the issuer without having, else ours, for a resource that the caller
// serves, with those scopes.
func (g *grant) having(m *Mapping) bool {
	s := g.Subject
	switch {
	case s == nil:
		return m.Having.IsEmpty()
	case s.Issued:
		return g.server && !m.Having.IsEmpty() && s.Scopes.Includes(m.Having)
	default:
		return g.shown && m.Having.IsEmpty()
	}
}

// deny takes away what the denies name. Whatever fails inside a deny applies it.
func (g *grant) deny() {
	g.granted = g.reach
	for i := range g.Candidates {
		c := &g.Candidates[i]
		m := c.Mapping
		if !m.Deny {
			continue
		}
		outcome := g.forbids(c)
		if outcome == OutcomeDenied {
			if m.Scopes.IsEmpty() || m.Quarantined {
				g.granted = oauth.Scopes{}
			} else {
				g.granted = g.granted.Without(m.Scopes)
			}
		}
		if g.trace != nil {
			g.trace.Mapping(c, outcome)
		}
	}
}

func (g *grant) forbids(c *Candidate) Outcome {
	m := c.Mapping
	switch {
	case m.Quarantined:
		return OutcomeDenied
	case !g.concerns(m):
		return OutcomeFor
	case !m.InForce(g.Now):
		return OutcomeNotInForce
	case !m.Conditional || c.Condition == nil:
		return OutcomeDenied
	}
	ok, err := c.Condition.Holds(&Facts{Question: g.Question, Captured: c.Captured})
	if ok || err != nil {
		return OutcomeDenied
	}
	return OutcomeConditionFalse
}

// use adds up the allows that give a scope of the result: only those bound its
// lifetime, its presenters and its claims, and only if all of them impersonate
// is the caller left out of the chain.
func (g *grant) use(allows []allowed) {
	g.impersonate = true
	for i := range allows {
		m := allows[i].mapping
		if m.Scopes.Intersect(g.result).IsEmpty() {
			continue
		}
		if len(g.used) == 0 {
			g.presenters = m.PresentedBy
		} else {
			g.presenters = common(g.presenters, m.PresentedBy)
		}
		g.used = append(g.used, m)
		g.impersonate = g.impersonate && m.Impersonate
		g.addClaims(allows[i].claims)
	}
	s := g.Subject
	switch {
	case s == nil:
		return
	case g.holder: // no allow fits such a token (see having): it is narrowed, as it is
		g.chain = s.Actor
		g.keepPresenters()
	case g.impersonate && len(g.used) > 0:
		g.chain = s.Actor
	default:
		g.chain = nextChain(&g.Workload, s)
	}
	g.addClaims(g.carried())
}

// keepPresenters keeps the presenters of a token that the caller narrows.
func (g *grant) keepPresenters() {
	for _, p := range g.Subject.Presenters {
		if id, err := spiffeid.FromString(p); err == nil {
			g.presenters = append(g.presenters, id)
		}
	}
}

// bind sets what the token will be bound to. A held token's own binding stays
// on it, whatever the resource says today.
func (g *grant) bind() {
	switch g.Resource.Binding {
	case BindingCertificate:
		g.confirm.CertificateThumbprint = g.Workload.Thumbprint
	case BindingDPoP:
		g.confirm.KeyThumbprint = g.Request.ProofKey
	}
	if g.holder {
		if held := g.Subject.Confirmation; held.CertificateThumbprint != "" {
			g.confirm.CertificateThumbprint = held.CertificateThumbprint
		}
		if held := g.Subject.Confirmation; held.KeyThumbprint != "" {
			g.confirm.KeyThumbprint = held.KeyThumbprint
		}
	}
}

// expire sets the end of the token: the earliest of every bound, in whole
// seconds, so that the exp on the wire is never later than what was decided.
func (g *grant) expire() {
	issuedAt := g.Now.Truncate(time.Second)
	end := issuedAt.Add(min(g.Resource.TTL, g.Limits.TTLCap))
	for _, m := range g.used {
		if m.TTL > 0 {
			end = earlier(end, issuedAt.Add(m.TTL))
		}
		if !m.Until.IsZero() {
			end = earlier(end, m.Until)
		}
	}
	end = earlier(end, g.Workload.NotAfter)
	if g.Actor != nil {
		end = earlier(end, g.Actor.ExpiresAt)
	}
	if s := g.Subject; s != nil && s.ExpiresAt.Before(end) {
		end, g.bySubject = s.ExpiresAt, true
	}
	g.expiresAt = end.Truncate(time.Second)
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// common returns the workloads in both lists.
func common(a, b []spiffeid.ID) []spiffeid.ID {
	var both []spiffeid.ID
	for _, x := range a {
		for _, y := range b {
			if x == y {
				both = append(both, x)
				break
			}
		}
	}
	return both
}
