package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

var errTest = errors.New("test failure")

func decided(t *testing.T, q *broker.Question) broker.Decision {
	t.Helper()
	d := broker.Decide(q, nil)
	if !d.Allowed {
		t.Fatalf("refused: %s: %s", d.Reason, d.Public)
	}
	return d
}

// The lifetime is the least of every bound, in whole seconds.
func TestLifetimeIsTheLeastBound(t *testing.T) {
	t.Parallel()
	issued := start.Truncate(time.Second)
	tests := map[string]struct {
		breaks func(*broker.Question)
		want   time.Time
	}{
		"resource ttl":   {func(*broker.Question) {}, issued.Add(5 * time.Minute)},
		"cap":            {func(q *broker.Question) { q.Limits.TTLCap = time.Minute }, issued.Add(time.Minute)},
		"mapping ttl":    {func(q *broker.Question) { q.Candidates[0].Mapping.TTL = 61 * time.Second }, issued.Add(61 * time.Second)},
		"mapping until":  {func(q *broker.Question) { q.Candidates[0].Mapping.Until = issued.Add(62 * time.Second) }, issued.Add(62 * time.Second)},
		"svid":           {func(q *broker.Question) { q.Workload.NotAfter = issued.Add(63 * time.Second) }, issued.Add(63 * time.Second)},
		"subject token":  {func(q *broker.Question) { q.Subject.ExpiresAt = issued.Add(64 * time.Second) }, issued.Add(64 * time.Second)},
		"part of second": {func(q *broker.Question) { q.Subject.ExpiresAt = issued.Add(64*time.Second + 999*time.Millisecond) }, issued.Add(64 * time.Second)},
		"actor token": {func(q *broker.Question) {
			q.Actor = &broker.Subject{Kind: broker.SubjectWorkload, Sub: q.Workload.ID.String(), ExpiresAt: issued.Add(65 * time.Second)}
		}, issued.Add(65 * time.Second)},
		"mapping that gives nothing does not bound": {func(q *broker.Question) {
			m := *q.Candidates[0].Mapping
			m.ID, m.Scopes, m.TTL = "shop/reader", scopes(t, "orders.read"), 20*time.Second
			q.Candidates = append(q.Candidates, broker.Candidate{Mapping: &m})
		}, issued.Add(5 * time.Minute)},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question(t, "foreign", world(t))
			tt.breaks(q)
			if d := decided(t, q); !d.ExpiresAt.Equal(tt.want) {
				t.Errorf("expires %v, want %v", d.ExpiresAt, tt.want)
			}
		})
	}
}

func TestScopes(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		way    string
		breaks func(*broker.Question)
		want   string
	}{
		"asked":                    {"foreign", func(*broker.Question) {}, "orders.write"},
		"default where none asked": {"foreign", func(q *broker.Question) { q.Request.Scopes = oauth.Scopes{} }, "orders.read"},
		"default is cut to granted": {"foreign", func(q *broker.Question) {
			q.Request.Scopes = oauth.Scopes{}
			q.Resource.DefaultScopes = q.Resource.Scopes
			q.Candidates[0].Mapping.Scopes = scopes(t, "orders.write")
		}, "orders.write"},
		"deny of another scope": {"foreign", func(q *broker.Question) {
			deny(broker.Mapping{Deny: true, ForAny: true, Scopes: scopes(t, "orders.read")}, nil)(t, q, nil)
		}, "orders.write"},
		"deny for another party":  {"foreign", func(q *broker.Question) { deny(broker.Mapping{Deny: true, For: "partner"}, nil)(t, q, nil) }, "orders.write"},
		"deny whose time is over": {"foreign", func(q *broker.Question) { deny(broker.Mapping{Deny: true, ForAny: true, Until: q.Now}, nil)(t, q, nil) }, "orders.write"},
		"deny whose condition fails": {"foreign", func(q *broker.Question) {
			deny(broker.Mapping{Deny: true, ForAny: true, Conditional: true}, condition{})(t, q, nil)
		}, "orders.write"},
		"two mappings add up": {"foreign", func(q *broker.Question) {
			m := *q.Candidates[0].Mapping
			m.ID, m.Scopes = "shop/second", scopes(t, "orders.read")
			q.Candidates[0].Mapping.Scopes = scopes(t, "orders.write")
			q.Candidates = append(q.Candidates, broker.Candidate{Mapping: &m})
			q.Request.Scopes = scopes(t, "orders.read", "orders.write")
		}, "orders.read orders.write"},
		"held token keeps what it has": {"held", func(*broker.Question) {}, "orders.read"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question(t, tt.way, world(t))
			tt.breaks(q)
			if d := decided(t, q); d.Scopes.String() != tt.want {
				t.Errorf("scopes %q, want %q", d.Scopes, tt.want)
			}
		})
	}
}

func actors(a *broker.Actor) []string {
	var names []string
	for ; a != nil; a = a.Actor {
		names = append(names, a.Subject)
	}
	return names
}

func TestChain(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		way    string
		breaks func(*broker.Question)
		want   []string
	}{
		"itself has none":            {"self", func(*broker.Question) {}, nil},
		"first actor":                {"foreign", func(*broker.Question) {}, []string{gateway.String()}},
		"current actor is outermost": {"onward", func(*broker.Question) {}, []string{orders.String(), gateway.String()}},
		"narrowing keeps the chain":  {"held", func(*broker.Question) {}, []string{gateway.String()}},
		"equal neighbours collapse": {"onward", func(q *broker.Question) { q.Subject.Actor = chain(orders.String(), gateway.String()) },
			[]string{orders.String(), gateway.String()}},
		"believed foreign act stays": {"foreign", func(q *broker.Question) {
			q.Subject.Issuer.Delegates = true
			q.Subject.Actor = &broker.Actor{Party: broker.Party{Subject: "svc", Issuer: corpURL}}
		}, []string{gateway.String(), "svc"}},
		"impersonation leaves the caller out": {"foreign", func(q *broker.Question) {
			q.Resource.Impersonation, q.Candidates[0].Mapping.Impersonate = true, true
		}, nil},
		"impersonation drops no earlier actor": {"onward", func(q *broker.Question) {
			q.Resource.Impersonation, q.Candidates[0].Mapping.Impersonate = true, true
		}, []string{gateway.String()}},
		"one delegate among the mappings is enough": {"foreign", func(q *broker.Question) {
			second := *q.Candidates[0].Mapping
			second.ID = "shop/second"
			q.Resource.Impersonation, q.Candidates[0].Mapping.Impersonate = true, true
			q.Candidates = append(q.Candidates, broker.Candidate{Mapping: &second})
		}, []string{gateway.String()}},
		"a cap is reached": {"onward", func(q *broker.Question) { q.Subject.Actor = chain("a", "b", "c") }, []string{orders.String(), "a", "b", "c"}},
		"may_act names the caller": {"foreign", func(q *broker.Question) { q.Subject.MayAct = &broker.Party{Subject: gateway.String()} },
			[]string{gateway.String()}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question(t, tt.way, world(t))
			tt.breaks(q)
			if diff := cmp.Diff(tt.want, actors(decided(t, q).Actor)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestBinding(t *testing.T) {
	t.Parallel()
	thumb := proven(gateway).Thumbprint
	tests := map[string]struct {
		way    string
		breaks func(*broker.Question)
		want   broker.Confirmation
	}{
		"identity adds none": {"foreign", func(*broker.Question) {}, broker.Confirmation{}},
		"certificate": {"foreign", func(q *broker.Question) { q.Resource.Binding = broker.BindingCertificate },
			broker.Confirmation{CertificateThumbprint: thumb}},
		"dpop": {"foreign", func(q *broker.Question) { q.Resource.Binding, q.Request.ProofKey = broker.BindingDPoP, "jkt" },
			broker.Confirmation{KeyThumbprint: "jkt"}},
		"a held binding stays": {"held", func(q *broker.Question) { q.Subject.Confirmation.CertificateThumbprint = thumb },
			broker.Confirmation{CertificateThumbprint: thumb}},
		"a held key stays beside a certificate": {"held", func(q *broker.Question) {
			q.Resource.Binding, q.Request.ProofKey, q.Subject.Confirmation.KeyThumbprint = broker.BindingCertificate, "jkt", "jkt"
		}, broker.Confirmation{CertificateThumbprint: thumb, KeyThumbprint: "jkt"}},
		"bearer proof where a resource names it": {"foreign", func(q *broker.Question) {
			q.Workload.Proof, q.Resource.Proofs, q.Resource.Binding = broker.ProofJWTSVID, broker.NewProofs(broker.ProofJWTSVID), broker.BindingBearer
		}, broker.Confirmation{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question(t, tt.way, world(t))
			tt.breaks(q)
			if d := decided(t, q); d.Confirmation != tt.want {
				t.Errorf("cnf %+v, want %+v", d.Confirmation, tt.want)
			}
		})
	}
}

func TestPresenters(t *testing.T) {
	t.Parallel()
	second := func(q *broker.Question, presenters ...spiffeid.ID) {
		m := *q.Candidates[0].Mapping
		m.ID, m.PresentedBy = "shop/second", presenters
		q.Candidates = append(q.Candidates, broker.Candidate{Mapping: &m})
	}
	tests := map[string]struct {
		way    string
		breaks func(*broker.Question)
		want   []spiffeid.ID
	}{
		"none":    {"foreign", func(*broker.Question) {}, nil},
		"mapping": {"foreign", func(q *broker.Question) { q.Candidates[0].Mapping.PresentedBy = []spiffeid.ID{other} }, []spiffeid.ID{other}},
		"only what every mapping names": {"foreign", func(q *broker.Question) {
			q.Candidates[0].Mapping.PresentedBy = []spiffeid.ID{other, ledger}
			second(q, ledger)
		}, []spiffeid.ID{ledger}},
		"none where one names none": {"foreign", func(q *broker.Question) {
			second(q)
			q.Candidates[0].Mapping.PresentedBy = []spiffeid.ID{other}
		}, nil},
		"a narrowed token keeps its own": {"held", func(q *broker.Question) { q.Subject.Presenters = []string{other.String()} }, []spiffeid.ID{other}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			q := question(t, tt.way, world(t))
			tt.breaks(q)
			d := decided(t, q)
			if len(d.Presenters) != len(tt.want) {
				t.Fatalf("presenters %v, want %v", d.Presenters, tt.want)
			}
			for i := range tt.want {
				if d.Presenters[i] != tt.want[i] {
					t.Errorf("presenters %v, want %v", d.Presenters, tt.want)
				}
			}
		})
	}
}

func TestClaims(t *testing.T) {
	t.Parallel()
	q := question(t, "foreign", world(t))
	q.Candidates[0].Captured = []broker.Capture{{Name: "ns", Value: "edge"}}
	q.Candidates[0].Mapping.Claims = []broker.ClaimTemplate{
		{Name: "tier", Literal: "gold"}, {Name: "team", Capture: "ns"}, {Name: "mail", User: "email"},
	}
	want := []broker.Claim{
		{Name: "tier", Value: "gold"}, {Name: "team", Value: "edge"}, {Name: "mail", Value: "alice@acme.example"},
		{Name: "groups", Value: []string{"customer"}},
	}
	if diff := cmp.Diff(want, decided(t, q).Claims); diff != "" {
		t.Error(diff)
	}
}

// A mapping cannot set a claim that travels with the user: the next hop would
// take it for what the issuer said, were it the same value or the user's first.
func TestCarriedClaimsAreTheIssuers(t *testing.T) {
	t.Parallel()
	for _, value := range []broker.ClaimTemplate{{Name: "groups", Literal: "finance"}, {Name: "groups", User: "groups"}} {
		q := question(t, "foreign", world(t))
		q.Candidates[0].Mapping.Claims = []broker.ClaimTemplate{value}
		if d := broker.Decide(q, nil); d.Allowed || d.Reason != broker.ReasonMappingFailed {
			t.Errorf("%+v: %+v", value, d)
		}
	}
}

// Claims of a mapping that gives nothing do not reach the token, and so cannot
// disagree either.
func TestUnusedMappingAddsNoClaim(t *testing.T) {
	t.Parallel()
	q := question(t, "self", world(t))
	m := *q.Candidates[0].Mapping
	m.ID, m.Scopes, m.Claims = "shop/writer", scopes(t, "ledger.write"), []broker.ClaimTemplate{{Name: "tier", Literal: "gold"}}
	q.Candidates = append(q.Candidates, broker.Candidate{Mapping: &m})
	d := decided(t, q)
	if len(d.Claims) != 0 || len(d.Mappings) != 1 {
		t.Errorf("claims %v of mappings %v", d.Claims, d.Mappings)
	}
}

func TestReservedClaims(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"iss", "sub", "aud", "exp", "iat", "nbf", "jti", "act", "may_act", "cnf", "client_id", "scope", "anc", "rev", "txn", "presenters", "sub_id"} {
		if !broker.ReservedClaim(name) {
			t.Errorf("%q is not reserved", name)
		}
	}
	if !broker.ReservedClaim("Sub") || !broker.ReservedClaim("SCOPE") {
		t.Error("case makes a name free")
	}
	if broker.ReservedClaim("groups") {
		t.Error("groups is reserved")
	}
}

func TestTraceNamesOutcomes(t *testing.T) {
	t.Parallel()
	q := question(t, "foreign", world(t))
	q.Candidates = append(q.Candidates,
		broker.Candidate{Mapping: &broker.Mapping{ID: "x/for", For: "partner", Scopes: scopes(t, "orders.read")}},
		broker.Candidate{Mapping: &broker.Mapping{ID: "x/deny", Deny: true, ForAny: true, Scopes: scopes(t, "orders.read")}})
	seen := &traced{held: map[broker.Reason]bool{}}
	broker.Decide(q, seen)
	want := []broker.Outcome{broker.OutcomeGranted, broker.OutcomeFor, broker.OutcomeDenied}
	if diff := cmp.Diff(want, seen.outcomes); diff != "" {
		t.Error(diff)
	}
}
