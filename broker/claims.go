package broker

import (
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// Claims is what will be signed, before any token format.
type Claims struct {
	Issuer       string
	Subject      string
	SubjectID    SubjectID // origin of a user (RFC 9493), zero for a workload
	Audience     string
	ClientID     string
	ID           string // jti; the id of the record too
	IssuedAt     time.Time
	ExpiresAt    time.Time
	Scopes       oauth.Scopes
	Actor        *Actor
	Confirmation Confirmation
	Txn          string
	Ancestors    []string // jtis of our tokens that it descends from, oldest first
	Revision     Revision
	Presenters   []spiffeid.ID
	Extra        []Claim // carried and mapped claims, by name
}

// reservedClaims are the names that neither a mapping nor a carried claim may
// set: registered ones that mean something to a verifier, and our own.
var reservedClaims = []string{
	"acr", "act", "amr", "anc", "aud", "auth_time", "azp", "client_id", "cnf", "entitlements_uri", "exp", "iat", "iss",
	"jti", "may_act", "nbf", "nonce", "presenters", "rev", "scope", "scp", "sid", "status", "sub", "sub_id", "txn", "typ",
}

// ReservedClaim reports whether no mapping and no carried claim may use the name
// (standards TX-40). Case does not count: a verifier that ignores it would take
// the one for the other, and a strict one refuses the token.
func ReservedClaim(name string) bool {
	_, found := slices.BinarySearch(reservedClaims, strings.ToLower(name))
	return found
}

// mappedClaims builds the claims of an allow; ok is false if one of them has no
// value, which fails the allow.
func (g *grant) mappedClaims(c *Candidate) (claims []Claim, ok bool) {
	for i := range c.Mapping.Claims {
		t := &c.Mapping.Claims[i]
		if ReservedClaim(t.Name) || g.carries(t.Name) {
			return nil, false
		}
		value, found := any(t.Literal), true
		switch {
		case t.Capture != "":
			value, found = capture(c.Captured, t.Capture)
		case t.User != "":
			value, found = nil, false
			if g.Subject != nil {
				value, found = g.Subject.Claim(t.User)
			}
		}
		if !found {
			return nil, false
		}
		claims = append(claims, Claim{Name: t.Name, Value: value})
	}
	return claims, true
}

// carries reports whether the name is of a claim that travels with the user: a
// mapping that set it would speak for the user's issuer at the next hop.
func (g *grant) carries(name string) bool {
	return g.Subject != nil && g.Subject.Issuer != nil && slices.Contains(g.Subject.Issuer.Carry, name)
}

// carried returns the user's claims that travel in our token.
func (g *grant) carried() []Claim {
	s := g.Subject
	if s.Issuer == nil {
		return nil
	}
	var claims []Claim
	for _, name := range s.Issuer.Carry {
		if value, ok := s.Claim(name); ok && !ReservedClaim(name) {
			claims = append(claims, Claim{Name: name, Value: value})
		}
	}
	return claims
}

// addClaims merges claims by name; two values for one name are a conflict.
func (g *grant) addClaims(claims []Claim) {
	for _, c := range claims {
		i := slices.IndexFunc(g.claims, func(have Claim) bool { return have.Name == c.Name })
		switch {
		case i < 0:
			g.claims = append(g.claims, c)
		case !equalValue(g.claims[i].Value, c.Value):
			g.conflict = true
		}
	}
}

func equalValue(a, b any) bool {
	x, ok := a.([]string)
	if !ok {
		if _, list := b.([]string); list {
			return false
		}
		return a == b
	}
	y, ok := b.([]string)
	return ok && slices.Equal(x, y)
}

// collect returns the scopes as a list, never nil.
func collect(s oauth.Scopes) []string {
	return slices.AppendSeq(make([]string, 0, s.Len()), s.Names())
}
