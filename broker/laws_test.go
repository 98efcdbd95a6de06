package broker_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// The small world of the law tests: few names, so that rules meet often.
var (
	lawWorkloads = []spiffeid.ID{gateway, orders, ledger, other}
	lawScopes    = []string{"a", "b", "c"}
	lawIssuer    = &broker.Issuer{Name: "corp", URL: corpURL, Audiences: []broker.IssuerAudience{{Value: "us", Any: true}}}
)

func drawScopes(t *rapid.T, label string, least int) oauth.Scopes {
	s, err := oauth.NewScopes(rapid.SliceOfNDistinct(rapid.SampledFrom(lawScopes), least, -1, rapid.ID[string]).Draw(t, label)...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func drawWorkload(t *rapid.T, label string) spiffeid.ID {
	return rapid.SampledFrom(lawWorkloads).Draw(t, label)
}

func drawRule(t *rapid.T, i int) rule {
	m := &broker.Mapping{
		ID: fmt.Sprintf("law/%d", i), Deny: rapid.IntRange(0, 5).Draw(t, "deny") == 0, For: rapid.SampledFrom([]string{"", "corp", broker.ForWorkload}).Draw(t, "for"),
		Scopes: drawScopes(t, "scopes", 1), TTL: time.Duration(rapid.IntRange(0, 400).Draw(t, "ttl")) * time.Second,
		Impersonate: rapid.IntRange(0, 3).Draw(t, "impersonate") == 0,
	}
	if m.Deny {
		m.ForAny = rapid.Bool().Draw(t, "any")
	} else if m.For != "" && rapid.Bool().Draw(t, "onward") {
		m.Having = drawScopes(t, "having", 1)
	}
	r := rule{from: drawWorkload(t, "from"), to: rapid.SampledFrom([]string{"r0", "r1", "r2"}).Draw(t, "to"), mapping: m}
	if rapid.IntRange(0, 3).Draw(t, "conditional") == 0 {
		m.Conditional = true
		r.condition = condition{holds: rapid.Bool().Draw(t, "holds")}
	}
	return r
}

func drawView(t *rapid.T) *view {
	v := &view{revision: 1, issuers: []*broker.Issuer{lawIssuer}}
	all, _ := oauth.NewScopes(lawScopes...)
	for i := range 3 {
		v.resources = append(v.resources, &broker.Resource{
			Name: fmt.Sprintf("r%d", i), URI: fmt.Sprintf("https://r%d.example", i), ServedBy: []spiffeid.ID{drawWorkload(t, "served by")},
			Scopes: all, DefaultScopes: drawScopes(t, "default", 0), Proofs: broker.NewProofs(broker.ProofMTLS), Algorithm: "ES256",
			Binding:   rapid.SampledFrom([]broker.Binding{broker.BindingIdentity, broker.BindingCertificate}).Draw(t, "binding"),
			Freshness: broker.FreshnessNormal, TTL: time.Duration(rapid.IntRange(20, 600).Draw(t, "ttl")) * time.Second,
			Impersonation: rapid.Bool().Draw(t, "impersonation"),
		})
	}
	for i := range rapid.IntRange(1, 12).Draw(t, "rules") {
		v.rules = append(v.rules, drawRule(t, i))
	}
	return v
}

// drawQuestion asks something of the view, with the given subject or none.
func drawQuestion(t *rapid.T, v *view, now time.Time, s *broker.Subject) *broker.Question {
	w := broker.Workload{ID: drawWorkload(t, "caller"), Proof: broker.ProofMTLS, NotAfter: now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "svid")) * time.Second)}
	w.Thumbprint = "thumb-" + w.ID.Path()
	q := &broker.Question{Now: now, View: v, Workload: w, Subject: s, Limits: broker.DefaultLimits()}
	q.Request = broker.ExchangeRequest{Grant: oauth.GrantClientCredentials, Audience: rapid.SampledFrom(v.resources).Draw(t, "audience").URI, Scopes: drawScopes(t, "asked", 0)}
	if s != nil {
		q.Request.Grant = oauth.GrantTokenExchange
	}
	find(q)
	return q
}

func foreign(now time.Time, ttl int) *broker.Subject {
	return &broker.Subject{
		Kind: broker.SubjectUser, Sub: "corp:alice", Issuer: lawIssuer, Origin: broker.SubjectID{Issuer: corpURL, Subject: "alice"},
		Audience: []string{"us"}, IssuedAt: now, ExpiresAt: now.Add(time.Duration(ttl) * time.Second), TokenID: "f",
	}
}

// received turns an issued token into what a verifier would make of it.
func received(q *broker.Question, d broker.Decision) *broker.Subject {
	s := &broker.Subject{
		Kind: broker.SubjectWorkload, Sub: q.Workload.ID.String(), Issued: true, Audience: []string{q.Resource.URI}, ClientID: q.Workload.ID.String(),
		Scopes: d.Scopes, TokenID: "t", IssuedAt: q.Now, ExpiresAt: d.ExpiresAt, Actor: d.Actor, Confirmation: d.Confirmation,
	}
	if q.Subject != nil {
		s.Kind, s.Sub, s.Origin, s.Issuer = q.Subject.Kind, q.Subject.Sub, q.Subject.Origin, q.Subject.Issuer
	}
	return s
}

// Law 2: along any chain of exchanges each (resource, scope) either came in or
// one mapping gives it whose having the incoming token satisfies; lifetime,
// actor chain and binding never widen.
func TestLawNeverGrow(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		now := start
		var s *broker.Subject
		if rapid.Bool().Draw(t, "user") {
			s = foreign(now, rapid.IntRange(1, 900).Draw(t, "subject life"))
		}
		for range 5 {
			q := drawQuestion(t, v, now, s)
			d := broker.Decide(q, nil)
			if !d.Allowed {
				continue
			}
			lawful(t, q, d)
			s = received(q, d)
			now = now.Add(time.Duration(rapid.IntRange(0, 30).Draw(t, "wait")) * time.Second)
		}
	})
}

func lawful(t *rapid.T, q *broker.Question, d broker.Decision) {
	for scope := range d.Scopes.Names() {
		if !cameIn(q, scope) && !slices.ContainsFunc(q.Candidates, func(c broker.Candidate) bool { return gives(q, c, scope) }) {
			t.Fatalf("scope %q came from nowhere", scope)
		}
		for _, c := range q.Candidates {
			if c.Mapping.Deny && refers(q, c.Mapping) && (c.Condition == nil || c.Condition.(condition).holds) && c.Mapping.Scopes.Contains(scope) {
				t.Fatalf("scope %q is denied by %s", scope, c.Mapping.ID)
			}
		}
	}
	if !q.Request.Scopes.IsEmpty() && !d.Scopes.Equal(q.Request.Scopes) {
		t.Fatalf("asked %q, got %q: trimmed in silence", q.Request.Scopes, d.Scopes)
	}
	bounds := []time.Time{q.Workload.NotAfter, q.Now.Add(q.Resource.TTL), q.Now.Add(q.Limits.TTLCap)}
	for _, m := range d.Mappings {
		if m.TTL > 0 {
			bounds = append(bounds, q.Now.Add(m.TTL))
		}
	}
	if q.Subject != nil {
		bounds = append(bounds, q.Subject.ExpiresAt)
		grownChain(t, q, d)
	}
	for _, b := range bounds {
		if d.ExpiresAt.After(b) {
			t.Fatalf("expires %v, after the bound %v", d.ExpiresAt, b)
		}
	}
	if q.Resource.Binding == broker.BindingCertificate && d.Confirmation.CertificateThumbprint != q.Workload.Thumbprint {
		t.Fatalf("bound to %+v", d.Confirmation)
	}
}

// grownChain holds the new chain to: the received one, with at most the caller
// on top.
func grownChain(t *rapid.T, q *broker.Question, d broker.Decision) {
	had, has := actors(q.Subject.Actor), actors(d.Actor)
	if len(has) == len(had)+1 && has[0] == q.Workload.ID.String() {
		has = has[1:]
	}
	if !slices.Equal(had, has) {
		t.Fatalf("chain %v became %v", had, actors(d.Actor))
	}
	if len(d.Mappings) > 0 && d.Actor.Depth() == len(had) && (len(had) == 0 || had[0] != q.Workload.ID.String()) {
		for _, m := range d.Mappings {
			if !m.Impersonate {
				t.Fatalf("the caller is left out although %s delegates", m.ID)
			}
		}
	}
}

func cameIn(q *broker.Question, scope string) bool {
	s := q.Subject
	return s != nil && s.Issued && slices.Equal(s.Audience, []string{q.Resource.URI}) && s.ClientID == q.Workload.ID.String() &&
		(s.Confirmation.CertificateThumbprint == "" || s.Confirmation.CertificateThumbprint == q.Workload.Thumbprint) && s.Scopes.Contains(scope)
}

func refers(q *broker.Question, m *broker.Mapping) bool {
	switch {
	case m.Deny && m.ForAny:
		return true
	case q.Subject == nil:
		return m.For == ""
	case q.Subject.Kind == broker.SubjectWorkload:
		return m.For == broker.ForWorkload
	default:
		return m.For == q.Subject.Issuer.Name
	}
}

// gives is the reference for one allow, written from design 5 and not from the
// code under test.
func gives(q *broker.Question, c broker.Candidate, scope string) bool {
	m, s := c.Mapping, q.Subject
	if m.Deny || !m.Scopes.Contains(scope) || !refers(q, m) || m.Conditional && !c.Condition.(condition).holds || m.Impersonate && !q.Resource.Impersonation {
		return false
	}
	if s == nil || !s.Issued {
		return m.Having.IsEmpty()
	}
	if m.Having.IsEmpty() || !s.Scopes.Includes(m.Having) || s.Audience[0] == q.Resource.URI {
		return false
	}
	served, _ := q.View.Resource(s.Audience[0])
	return served.ServedByWorkload(q.Workload.ID)
}

// Decide twice is the same answer; one more allow takes nothing away; one more
// deny gives nothing.
func TestLawMonotone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		v := drawView(t)
		var s *broker.Subject
		if rapid.Bool().Draw(t, "user") {
			s = foreign(start, 600)
		}
		q := drawQuestion(t, v, start, s)
		q.Request.Scopes = oauth.Scopes{}
		q.Resource.DefaultScopes = q.Resource.Scopes // so that the result is all that is granted
		first := broker.Decide(q, nil)
		if again := broker.Decide(q, nil); again.Allowed != first.Allowed || !again.Scopes.Equal(first.Scopes) || !again.ExpiresAt.Equal(first.ExpiresAt) {
			t.Fatal("two answers to one question")
		}
		extra := drawRule(t, 99)
		extra.mapping.TTL = 0
		extra.mapping.Claims = nil
		more := *q
		more.Candidates = append(slices.Clone(q.Candidates), broker.Candidate{Mapping: extra.mapping, Condition: extra.condition})
		then := broker.Decide(&more, nil)
		if extra.mapping.Deny {
			if !first.Scopes.Includes(then.Scopes) {
				t.Fatalf("a deny gave %q to %q", then.Scopes, first.Scopes)
			}
		} else if first.Allowed && !then.Scopes.Includes(first.Scopes) {
			t.Fatalf("an allow took from %q: %q (%s)", first.Scopes, then.Scopes, then.Reason)
		}
	})
}
