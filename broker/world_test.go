package broker_test

import (
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// The world of these tests: edge/gateway shows a token of the issuer corp to
// get one for orders, shop/orders serves orders and goes on to ledger.
var (
	start   = time.Date(2026, 11, 24, 12, 0, 0, 500e6, time.UTC)
	gateway = spiffeid.RequireFromString("spiffe://prod.example/ns/edge/sa/gateway")
	orders  = spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/orders")
	ledger  = spiffeid.RequireFromString("spiffe://prod.example/ns/finance/sa/ledger")
	other   = spiffeid.RequireFromString("spiffe://prod.example/ns/bi/sa/reports")
)

const (
	ordersURI = "https://orders.prod.example"
	ledgerURI = "https://ledger.prod.example"
	corpURL   = "https://acme.okta.example"
)

func scopes(t testing.TB, names ...string) oauth.Scopes {
	t.Helper()
	s, err := oauth.NewScopes(names...)
	if err != nil {
		t.Fatalf("scopes %q: %v", names, err)
	}
	return s
}

// view is a View over plain lists, with the linear search that the real index
// is held to elsewhere.
type view struct {
	revision  broker.Revision
	resources []*broker.Resource
	issuers   []*broker.Issuer
	rules     []rule
	blocks    []broker.Block
}

type rule struct {
	from      spiffeid.ID // zero means everybody
	to        string      // resource name, "" means every one
	mapping   *broker.Mapping
	condition broker.Condition
}

func (v *view) Revision() broker.Revision { return v.revision }

func (v *view) Resource(uri string) (*broker.Resource, bool) {
	for _, r := range v.resources {
		if r.URI == uri {
			return r, true
		}
	}
	return nil, false
}

func (v *view) Issuer(url string) (*broker.Issuer, bool) {
	for _, i := range v.issuers {
		if i.URL == url {
			return i, true
		}
	}
	return nil, false
}

func (v *view) Find(dst []broker.Candidate, w spiffeid.ID, r *broker.Resource) []broker.Candidate {
	for _, x := range v.rules {
		if !x.from.IsZero() && x.from != w {
			continue
		}
		for _, have := range v.resources {
			if x.to != "" && x.to != have.Name || r != nil && r.Name != have.Name {
				continue
			}
			c := broker.Candidate{Mapping: x.mapping, Condition: x.condition}
			if r == nil {
				c.Resource = have
			}
			dst = append(dst, c)
		}
	}
	return dst
}

func (v *view) Blocked(now time.Time, target broker.BlockTarget, id string, issuedAt time.Time) *broker.Block {
	for i := range v.blocks {
		if b := &v.blocks[i]; b.Target == target && b.ID == id && b.Stops(now, issuedAt) {
			return b
		}
	}
	return nil
}

func (v *view) clone() *view {
	c := *v
	c.resources, c.issuers, c.rules, c.blocks = nil, nil, slices.Clone(v.rules), slices.Clone(v.blocks)
	for _, r := range v.resources {
		x := *r
		c.resources = append(c.resources, &x)
	}
	for _, i := range v.issuers {
		x := *i
		c.issuers = append(c.issuers, &x)
	}
	for i := range c.rules {
		m := *c.rules[i].mapping
		c.rules[i].mapping = &m
	}
	return &c
}

func world(t testing.TB) *view {
	t.Helper()
	proofs := broker.NewProofs(broker.ProofMTLS, broker.ProofLinkerd, broker.ProofXFCC)
	return &view{
		revision: 7,
		issuers: []*broker.Issuer{{
			Name: "corp", URL: corpURL, AcceptJWT: true, AcceptID: true, Carry: []string{"groups"},
			Audiences: []broker.IssuerAudience{{Value: "api://acme", Workloads: broker.NewMatcher(func(id spiffeid.ID) bool { return id == gateway })}},
		}},
		resources: []*broker.Resource{
			{
				Name: "orders", URI: ordersURI, ServedBy: []spiffeid.ID{orders}, Scopes: scopes(t, "orders.read", "orders.write"),
				DefaultScopes: scopes(t, "orders.read"), Binding: broker.BindingIdentity, Proofs: proofs, TTL: 5 * time.Minute,
				Freshness: broker.FreshnessNormal, Algorithm: "ES256",
			},
			{
				Name: "ledger", URI: ledgerURI, ServedBy: []spiffeid.ID{ledger}, Scopes: scopes(t, "ledger.read", "ledger.write"),
				DefaultScopes: scopes(t, "ledger.read"), Binding: broker.BindingIdentity, Proofs: proofs, TTL: 5 * time.Minute,
				Freshness: broker.FreshnessNormal, Algorithm: "ES256",
			},
		},
		rules: []rule{
			{from: gateway, to: "orders", mapping: &broker.Mapping{ID: "shop/gateway-orders", For: "corp", Scopes: scopes(t, "orders.read", "orders.write")}},
			{from: orders, to: "ledger", mapping: &broker.Mapping{ID: "shop/orders-ledger", For: "corp", Having: scopes(t, "orders.write"), Scopes: scopes(t, "ledger.write", "ledger.read")}},
			{from: other, to: "ledger", mapping: &broker.Mapping{ID: "shop/reports", Scopes: scopes(t, "ledger.read")}},
		},
	}
}

func proven(id spiffeid.ID) broker.Workload {
	return broker.Workload{ID: id, Proof: broker.ProofMTLS, Thumbprint: "thumb-" + id.Path(), NotAfter: start.Add(time.Hour)}
}

// The four ways in: for itself, with a token straight from an issuer, onward
// with a token that was received (rule b), narrowing the token one holds (a).
var ways = []string{"self", "foreign", "onward", "held"}

func question(t testing.TB, way string, v *view) *broker.Question {
	t.Helper()
	q := &broker.Question{Now: start, View: v, Limits: broker.DefaultLimits()}
	user := broker.Subject{
		Kind: broker.SubjectUser, Sub: "corp:alice", Origin: broker.SubjectID{Issuer: corpURL, Subject: "alice"}, Issuer: v.issuers[0],
		TokenID: "t-1", KeyID: "k-1", IssuedAt: start.Add(-time.Minute), ExpiresAt: start.Add(time.Hour),
		Claims: []broker.Claim{{Name: "groups", Value: []string{"customer"}}, {Name: "email", Value: "alice@acme.example"}},
	}
	ours := user
	ours.Issued, ours.ClientID, ours.Audience = true, gateway.String(), []string{ordersURI}
	ours.Scopes = scopes(t, "orders.read", "orders.write")
	ours.Actor = &broker.Actor{Party: broker.Party{Subject: gateway.String()}}
	ours.Txn = "txn-1"
	switch way {
	case "self":
		q.Workload = proven(other)
		q.Request = broker.ExchangeRequest{Grant: oauth.GrantClientCredentials, Audience: ledgerURI, Scopes: scopes(t, "ledger.read")}
	case "foreign":
		user.Audience = []string{"api://acme"}
		q.Workload, q.Subject = proven(gateway), &user
		q.Request = broker.ExchangeRequest{Grant: oauth.GrantTokenExchange, Audience: ordersURI, Scopes: scopes(t, "orders.write")}
	case "onward":
		q.Workload, q.Subject = proven(orders), &ours
		q.Request = broker.ExchangeRequest{Grant: oauth.GrantTokenExchange, Audience: ledgerURI, Scopes: scopes(t, "ledger.write")}
	case "held":
		q.Workload, q.Subject = proven(gateway), &ours
		q.Request = broker.ExchangeRequest{Grant: oauth.GrantTokenExchange, Audience: ordersURI, Scopes: scopes(t, "orders.read")}
	}
	find(q)
	return q
}

// find fills in what the Exchanger would look up.
func find(q *broker.Question) {
	q.Resource, q.Candidates = nil, nil
	if r, ok := q.View.Resource(q.Request.Audience); ok {
		q.Resource = r
		q.Candidates = q.View.Find(nil, q.Workload.ID, r)
	}
}

// condition is a Condition with a fixed answer.
type condition struct {
	holds bool
	err   error
	reads []string
}

func (c condition) Holds(*broker.Facts) (bool, error) { return c.holds, c.err }
func (c condition) Reads() []string                   { return c.reads }
