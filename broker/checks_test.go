package broker_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

func TestDecideAllows(t *testing.T) {
	t.Parallel()
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			d := broker.Decide(question(t, way, world(t)), nil)
			if !d.Allowed || d.Reason != "" {
				t.Fatalf("refused: %s %s", d.Reason, d.Public)
			}
		})
	}
}

func TestZeroRefuses(t *testing.T) {
	t.Parallel()
	var d broker.Decision
	if d.Allowed {
		t.Error("the zero Decision allows")
	}
	if d := broker.Decide(&broker.Question{View: &view{}}, nil); d.Allowed {
		t.Error("the zero Question is allowed")
	}
	if _, ok := (broker.Receipt{}).Unsigned(); ok {
		t.Error("the zero Receipt proves something")
	}
	if (broker.Lease{}).Left(time.Hour) > 0 {
		t.Error("the zero Lease holds")
	}
}

// fault breaks exactly one thing about a question that would be allowed.
type fault struct {
	name   string
	reason broker.Reason
	ways   string // the ways it applies to, "" for all
	breaks func(t *testing.T, q *broker.Question, v *view)
}

const exchanges = "foreign onward held"

func at(d time.Duration) time.Time { return start.Add(d) }

var faults = []fault{
	{"no proof", broker.ReasonWorkloadUnproven, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Workload.Proof = broker.ProofNone }},
	{"no path", broker.ReasonWorkloadUnproven, "", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Workload.ID = spiffeid.RequireFromString("spiffe://prod.example")
	}},
	{"proof expired", broker.ReasonWorkloadExpired, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Workload.NotAfter = q.Now }},
	{"client_id of another", broker.ReasonClientIDMismatch, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Request.ClientID = ledger.String() }},
	{"unknown grant", broker.ReasonGrantUnsupported, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Request.Grant = "password" }},
	{"requested id_token", broker.ReasonTokenTypeRequested, "", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Request.RequestedType = oauth.TokenTypeIDToken
	}},
	{"no subject", broker.ReasonSubjectMissing, exchanges, func(_ *testing.T, q *broker.Question, _ *view) { q.Subject = nil }},
	{"subject of client_credentials", broker.ReasonSubjectUnexpected, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Request.Grant = oauth.GrantClientCredentials
	}},
	{"actor of client_credentials", broker.ReasonSubjectUnexpected, "self", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Actor = &broker.Subject{Kind: broker.SubjectWorkload, Sub: q.Workload.ID.String(), ExpiresAt: at(time.Hour)}
	}},
	{"subject is nobody", broker.ReasonSubjectUnknown, exchanges, func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.Kind = broker.SubjectNobody }},
	{"issuer is gone", broker.ReasonSubjectUnknown, exchanges, func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.Issuer = nil }},
	{"issuer is quarantined", broker.ReasonSubjectUnknown, exchanges, func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.Issuer.Quarantined = true }},
	{"workload that is none", broker.ReasonSubjectUnknown, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Kind, q.Subject.Issuer = broker.SubjectWorkload, nil
	}},
	{"subject expired", broker.ReasonSubjectExpired, exchanges, func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.ExpiresAt = q.Now }},
	{"aud not listed", broker.ReasonSubjectNotShown, "foreign", func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.Audience = []string{"api://other"} }},
	{"aud listed for another", broker.ReasonSubjectNotShown, "foreign", func(_ *testing.T, q *broker.Question, v *view) {
		q.Workload = proven(other)
		v.rules[0].from = spiffeid.ID{}
		find(q)
	}},
	{"token of another for itself", broker.ReasonSubjectNotHeld, "held", func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.ClientID = ledger.String() }},
	{"token for an audience one does not serve", broker.ReasonSubjectNotHeld, "onward", func(_ *testing.T, q *broker.Question, v *view) {
		v.resources[0].ServedBy = []spiffeid.ID{ledger}
	}},
	{"own token for another audience", broker.ReasonSubjectNotHeld, "onward", func(_ *testing.T, q *broker.Question, v *view) {
		v.resources[0].ServedBy = nil
		q.Subject.ClientID = q.Workload.ID.String()
	}},
	{"served audience is quarantined", broker.ReasonSubjectNotHeld, "onward", func(_ *testing.T, q *broker.Question, v *view) { v.resources[0].Quarantined = true }},
	{"two audiences", broker.ReasonSubjectNotHeld, "onward held", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Audience = append(q.Subject.Audience, "https://x.example")
	}},
	{"bound to another certificate", broker.ReasonSubjectUnbound, "held", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Confirmation.CertificateThumbprint = "stolen"
	}},
	{"bound to a key that is not proven", broker.ReasonSubjectUnbound, "held", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Confirmation.KeyThumbprint = "jkt"
	}},
	{"cnf of an unknown kind", broker.ReasonSubjectUnbound, "held", func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.Confirmation.Unknown = true }},
	{"actor is another", broker.ReasonActorMismatch, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Actor = &broker.Subject{Kind: broker.SubjectWorkload, Sub: ledger.String(), ExpiresAt: at(time.Hour)}
	}},
	{"actor is a user", broker.ReasonActorMismatch, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Actor = &broker.Subject{Kind: broker.SubjectUser, Sub: q.Workload.ID.String(), ExpiresAt: at(time.Hour)}
	}},
	{"actor expired", broker.ReasonActorExpired, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Actor = &broker.Subject{Kind: broker.SubjectWorkload, Sub: q.Workload.ID.String(), ExpiresAt: q.Now}
	}},
	{"may_act names another", broker.ReasonMayAct, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.MayAct = &broker.Party{Subject: ledger.String()}
	}},
	{"may_act names the caller at another issuer", broker.ReasonMayAct, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.MayAct = &broker.Party{Subject: q.Workload.ID.String(), Issuer: corpURL}
	}},
	{"foreign act", broker.ReasonChainForeign, "foreign", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Actor = &broker.Actor{Party: broker.Party{Subject: "svc", Issuer: corpURL}}
	}},
	{"caller acted before", broker.ReasonChainLoop, "onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Actor = chain(gateway.String(), q.Workload.ID.String())
	}},
	{"chain loops already", broker.ReasonChainLoop, "held onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Actor = chain(gateway.String(), ledger.String(), gateway.String())
	}},
	{"subject acts for itself", broker.ReasonChainLoop, "onward", func(_ *testing.T, q *broker.Question, v *view) {
		q.Subject.Kind, q.Subject.Sub, q.Subject.Issuer = broker.SubjectWorkload, q.Workload.ID.String(), nil
		v.rules[1].mapping.For = broker.ForWorkload
	}},
	{"chain too deep", broker.ReasonChainTooLong, "onward held", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Actor = chain("a", "b", "c", "d", "e")
	}},
	{"one link more than the cap", broker.ReasonChainTooLong, "onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Actor = chain("a", "b", "c", "d")
	}},
	{"chain too long", broker.ReasonChainTooLong, "onward held", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Actor = chain(strings.Repeat("x", 4097))
	}},
	{"too many ancestors", broker.ReasonChainTooLong, "onward held", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Subject.Ancestors = []string{"1", "2", "3", "4"}
	}},
	{"no such audience", broker.ReasonResourceUnknown, "", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Request.Audience = "https://nowhere.example"
		find(q)
	}},
	{"resource of another audience", broker.ReasonResourceUnknown, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Request.Audience += "/"
	}},
	{"resource quarantined", broker.ReasonResourceQuarantined, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Resource.Quarantined = true }},
	{"no mapping", broker.ReasonMappingNone, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) { q.Candidates = nil }},
	{"held token without scopes", broker.ReasonMappingNone, "held", func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.Scopes = oauth.Scopes{} }},
	{"mapping for another issuer", broker.ReasonMappingNone, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.For = "partner"
	}},
	{"received token lacks having", broker.ReasonMappingNone, "onward", func(t *testing.T, q *broker.Question, _ *view) {
		q.Subject.Scopes = scopes(t, "orders.read")
	}},
	{"having where the token is foreign", broker.ReasonMappingNone, "foreign", func(t *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Having = scopes(t, "orders.read")
		q.Subject.Scopes = scopes(t, "orders.read")
	}},
	{"no having where the token is ours", broker.ReasonMappingNone, "onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Having = oauth.Scopes{}
	}},
	{"condition is false", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Conditional, q.Candidates[0].Condition = true, condition{}
	}},
	{"condition fails", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Conditional, q.Candidates[0].Condition = true, condition{holds: true, err: errTest}
	}},
	{"condition is missing", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Conditional = true
	}},
	{"mapping quarantined", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) { q.Candidates[0].Mapping.Quarantined = true }},
	{"mapping not yet in force", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Since = at(time.Nanosecond)
	}},
	{"mapping over", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) { q.Candidates[0].Mapping.Until = q.Now }},
	{"mapping blocked", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, v *view) {
		v.blocks = []broker.Block{{Target: broker.BlockMapping, ID: q.Candidates[0].Mapping.ID}}
	}},
	{"impersonation not permitted", broker.ReasonMappingFailed, "foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Impersonate = true
	}},
	{"claim without a value", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Claims = []broker.ClaimTemplate{{Name: "tier", User: "tier"}}
	}},
	{"capture without a value", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Claims = []broker.ClaimTemplate{{Name: "team", Capture: "ns"}}
	}},
	{"reserved claim", broker.ReasonMappingFailed, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Claims = []broker.ClaimTemplate{{Name: "act", Literal: "x"}}
	}},
	{"denied all", broker.ReasonDenied, "", deny(broker.Mapping{Deny: true, ForAny: true}, nil)},
	{"denied by a quarantined deny", broker.ReasonDenied, "", deny(broker.Mapping{Deny: true, For: "nobody", Quarantined: true}, nil)},
	{"denied by a deny that fails", broker.ReasonDenied, "", deny(broker.Mapping{Deny: true, ForAny: true, Conditional: true}, condition{err: errTest})},
	{"denied by a deny that lost its condition", broker.ReasonDenied, "", deny(broker.Mapping{Deny: true, ForAny: true, Conditional: true}, nil)},
	{"denied by a condition", broker.ReasonDenied, "", deny(broker.Mapping{Deny: true, ForAny: true, Conditional: true}, condition{holds: true})},
	{"denied for the issuer", broker.ReasonDenied, exchanges, deny(broker.Mapping{Deny: true, For: "corp"}, nil)},
	{"bearer proof not named", broker.ReasonProofNotAccepted, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Workload.Proof = broker.ProofKubernetes }},
	{"bearer proof with identity binding", broker.ReasonProofNotAccepted, "", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Workload.Proof, q.Resource.Proofs = broker.ProofKubernetes, broker.NewProofs(broker.ProofKubernetes)
	}},
	{"certificate not shown", broker.ReasonBindingUnproven, "", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Resource.Binding, q.Workload.Thumbprint = broker.BindingCertificate, ""
	}},
	{"key not proven", broker.ReasonBindingUnproven, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Resource.Binding = broker.BindingDPoP }},
	{"no binding known", broker.ReasonBindingUnproven, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Resource.Binding = broker.BindingNone }},
	{"scope that the resource lacks", broker.ReasonScopeUnknown, "", func(t *testing.T, q *broker.Question, _ *view) {
		q.Request.Scopes = q.Request.Scopes.Union(scopes(t, "nonsense"))
	}},
	{"scope not granted", broker.ReasonScopeNotGranted, "", func(t *testing.T, q *broker.Question, _ *view) {
		extra := scopes(t, "extra")
		q.Resource.Scopes = q.Resource.Scopes.Union(extra)
		q.Request.Scopes = q.Request.Scopes.Union(extra)
	}},
	{"one scope denied", broker.ReasonScopeNotGranted, "foreign onward held", func(t *testing.T, q *broker.Question, v *view) {
		deny(broker.Mapping{Deny: true, ForAny: true, Scopes: q.Request.Scopes}, nil)(t, q, v)
	}},
	{"no default", broker.ReasonScopeNoDefault, "", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Request.Scopes, q.Resource.DefaultScopes = oauth.Scopes{}, oauth.Scopes{}
	}},
	{"claims disagree", broker.ReasonClaimConflict, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		first := q.Candidates[0]
		second := *first.Mapping
		first.Mapping.Claims = []broker.ClaimTemplate{{Name: "tier", Literal: "gold"}}
		second.ID, second.Claims = "shop/second", []broker.ClaimTemplate{{Name: "tier", Literal: "silver"}}
		q.Candidates = append(q.Candidates, broker.Candidate{Mapping: &second})
	}},
	{"subject expires too soon", broker.ReasonSubjectExpiring, exchanges, func(_ *testing.T, q *broker.Question, _ *view) { q.Subject.ExpiresAt = at(9 * time.Second) }},
	{"svid expires too soon", broker.ReasonLifetimeExhausted, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Workload.NotAfter = at(9 * time.Second) }},
	{"actor expires too soon", broker.ReasonLifetimeExhausted, exchanges, func(_ *testing.T, q *broker.Question, _ *view) {
		q.Actor = &broker.Subject{Kind: broker.SubjectWorkload, Sub: q.Workload.ID.String(), ExpiresAt: at(9 * time.Second)}
	}},
	{"mapping ends too soon", broker.ReasonLifetimeExhausted, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.Until = at(9 * time.Second)
	}},
	{"mapping ttl too short", broker.ReasonLifetimeExhausted, "self foreign onward", func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates[0].Mapping.TTL = 9 * time.Second
	}},
	{"resource ttl too short", broker.ReasonLifetimeExhausted, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Resource.TTL = 9 * time.Second }},
	{"no cap configured", broker.ReasonLifetimeExhausted, "", func(_ *testing.T, q *broker.Question, _ *view) { q.Limits.TTLCap = 0 }},
}

// deny adds a deny to the candidates.
func deny(m broker.Mapping, c broker.Condition) func(*testing.T, *broker.Question, *view) {
	return func(_ *testing.T, q *broker.Question, _ *view) {
		q.Candidates = append(q.Candidates, broker.Candidate{Mapping: &m, Condition: c})
	}
}

// chain builds an act chain, current actor first.
func chain(subjects ...string) *broker.Actor {
	var a *broker.Actor
	for _, s := range slices.Backward(subjects) {
		a = &broker.Actor{Party: broker.Party{Subject: s}, Actor: a}
	}
	return a
}

func TestDecideRefuses(t *testing.T) {
	t.Parallel()
	for _, f := range append(faults, blocks()...) {
		for _, way := range ways {
			if f.ways != "" && !strings.Contains(f.ways, way) {
				continue
			}
			t.Run(string(f.reason)+"/"+f.name+"/"+way, func(t *testing.T) {
				t.Parallel()
				v := world(t)
				q := question(t, way, v)
				f.breaks(t, q, v)
				d := broker.Decide(q, nil)
				if d.Allowed || d.Reason != f.reason {
					t.Fatalf("got allowed=%v reason=%q, want reason %q", d.Allowed, d.Reason, f.reason)
				}
				if d.Code == broker.CodeInternal || d.Public == "" || !d.Scopes.IsEmpty() || !d.ExpiresAt.IsZero() {
					t.Errorf("a refusal with code %v, text %q and scopes %q", d.Code, d.Public, d.Scopes)
				}
			})
		}
	}
}

// blocks makes one fault for each thing that a block can stop.
func blocks() []fault {
	set := func(target broker.BlockTarget, id func(*broker.Question) string, prepare func(*broker.Question)) func(*testing.T, *broker.Question, *view) {
		return func(_ *testing.T, q *broker.Question, v *view) {
			if prepare != nil {
				prepare(q)
			}
			v.blocks = []broker.Block{{Target: target, ID: id(q)}}
		}
	}
	return []fault{
		{"caller", broker.ReasonBlocked, "", set(broker.BlockWorkload, func(q *broker.Question) string { return q.Workload.ID.String() }, nil)},
		{"caller as subject", broker.ReasonBlocked, "", set(broker.BlockSubject, func(q *broker.Question) string { return q.Workload.ID.String() }, nil)},
		{"subject", broker.ReasonBlocked, exchanges, set(broker.BlockSubject, func(q *broker.Question) string { return q.Subject.Sub }, nil)},
		{"issuer", broker.ReasonBlocked, exchanges, set(broker.BlockIssuer, func(*broker.Question) string { return corpURL }, nil)},
		{"key", broker.ReasonBlocked, exchanges, set(broker.BlockKey, func(q *broker.Question) string { return q.Subject.KeyID }, nil)},
		{"token", broker.ReasonBlocked, exchanges, set(broker.BlockToken, func(q *broker.Question) string { return q.Subject.TokenID }, nil)},
		{"ancestor", broker.ReasonBlocked, "onward held", set(broker.BlockToken, func(*broker.Question) string { return "grandparent" },
			func(q *broker.Question) { q.Subject.Ancestors = []string{"grandparent", "parent"} })},
		{"client of the subject token", broker.ReasonBlocked, "onward held", set(broker.BlockWorkload, func(q *broker.Question) string { return q.Subject.ClientID }, nil)},
		{"earlier actor", broker.ReasonBlocked, "onward", set(broker.BlockWorkload, func(*broker.Question) string { return "spiffe://prod.example/first" },
			func(q *broker.Question) { q.Subject.Actor = chain(gateway.String(), "spiffe://prod.example/first") })},
		{"earlier actor as subject", broker.ReasonBlocked, "onward", set(broker.BlockSubject, func(*broker.Question) string { return gateway.String() }, nil)},
		{"workload subject", broker.ReasonBlocked, "onward", set(broker.BlockWorkload, func(*broker.Question) string { return other.String() },
			func(q *broker.Question) {
				q.Subject.Kind, q.Subject.Sub, q.Subject.Issuer = broker.SubjectWorkload, other.String(), nil
				q.Candidates[0].Mapping.For = broker.ForWorkload
			})},
		{"actor token", broker.ReasonBlocked, exchanges, set(broker.BlockToken, func(*broker.Question) string { return "actor-jti" },
			func(q *broker.Question) {
				q.Actor = &broker.Subject{Kind: broker.SubjectWorkload, Sub: q.Workload.ID.String(), TokenID: "actor-jti", ExpiresAt: at(time.Hour)}
			})},
		{"issued before", broker.ReasonBlocked, exchanges, func(_ *testing.T, q *broker.Question, v *view) {
			v.blocks = []broker.Block{{Target: broker.BlockSubject, ID: q.Subject.Sub, NotBefore: q.Subject.IssuedAt.Add(time.Second)}}
		}},
	}
}

func TestEveryCheckHasAFault(t *testing.T) {
	t.Parallel()
	for _, reason := range broker.CheckReasons() {
		if !slices.ContainsFunc(append(faults, blocks()...), func(f fault) bool { return f.reason == reason }) {
			t.Errorf("no fault breaks only %q", reason)
		}
	}
}

// A block that is over, or that stops only what was issued earlier, stops
// nothing else.
func TestBlocksEnd(t *testing.T) {
	t.Parallel()
	v := world(t)
	q := question(t, "foreign", v)
	v.blocks = []broker.Block{
		{Target: broker.BlockWorkload, ID: gateway.String(), Until: q.Now},
		{Target: broker.BlockSubject, ID: q.Subject.Sub, NotBefore: q.Subject.IssuedAt},
	}
	if d := broker.Decide(q, nil); !d.Allowed {
		t.Fatalf("refused: %s", d.Reason)
	}
}

// With a trace every check runs, also on a question that has nothing to run on.
func TestTraceRunsEveryCheck(t *testing.T) {
	t.Parallel()
	seen := &traced{held: map[broker.Reason]bool{}}
	broker.Decide(&broker.Question{View: &view{}}, seen)
	for _, reason := range broker.CheckReasons() {
		if _, ok := seen.held[reason]; !ok {
			t.Errorf("check %q was not traced", reason)
		}
	}
}

type traced struct {
	held     map[broker.Reason]bool
	outcomes []broker.Outcome
}

func (t *traced) Mapping(_ *broker.Candidate, o broker.Outcome) { t.outcomes = append(t.outcomes, o) }
func (t *traced) Check(r broker.Reason, held bool)              { t.held[r] = held }
