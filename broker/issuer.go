package broker

import (
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// Issuer is a trusted source of subject tokens: how its tokens are verified,
// who may show them, and which of their claims are ever seen.
type Issuer struct {
	Set         string
	Name        string // short name; prefix of the sub of its users
	URL         string // the iss of its tokens, compared byte for byte
	JWKSURI     string // "" means by discovery at URL
	JWKSFile    string // keys from a local file instead of the network
	Algorithms  []string
	AcceptJWT   bool     // access tokens, sent as …:jwt
	AcceptID    bool     // ID tokens, sent as …:id_token
	AccessTypes []string // media types of the typ header of its access tokens; "" in the list means absent
	Audiences   []IssuerAudience
	Claims      []ClaimRule
	Carry       []string // claims that travel in our token
	ScopeClaim  string   // claim that holds the token's scopes, "" for none
	SubClaim    string   // claim that names the user, "sub" mostly
	Delegates   bool     // whether an act in its tokens is believed
	Actors      []ActorName
	Quarantined bool
}

// Accepts reports whether a token declared as typ may come from this issuer.
func (i *Issuer) Accepts(typ oauth.TokenType) bool {
	return i.AcceptJWT && typ == oauth.TokenTypeJWT || i.AcceptID && typ == oauth.TokenTypeIDToken
}

// Shows reports whether the workload may show a token of this issuer with the
// given aud. One listed audience suffices; a workload that is listed for none
// of them may not.
func (i *Issuer) Shows(w spiffeid.ID, aud []string) bool {
	for k := range i.Audiences {
		a := &i.Audiences[k]
		if slices.Contains(aud, a.Value) && (a.Any || a.Workloads.Match(w)) {
			return true
		}
	}
	return false
}

// IssuerAudience says who may show a token that carries an audience. Any is
// legal only for an audience that names the broker.
type IssuerAudience struct {
	Value     string
	Any       bool
	Workloads Matcher
}

// Matcher is a compiled set of workload patterns. The zero value matches none.
type Matcher struct{ match []func(spiffeid.ID) bool }

// NewMatcher returns a Matcher that matches what any of the functions matches.
func NewMatcher(match ...func(spiffeid.ID) bool) Matcher { return Matcher{match: match} }

// Match reports whether id is in the set.
func (m Matcher) Match(id spiffeid.ID) bool {
	for _, f := range m.match {
		if f(id) {
			return true
		}
	}
	return false
}

// ClaimType is the type that a declared claim must have.
type ClaimType uint8

// The claim types. The zero value admits nothing.
const (
	ClaimNone    ClaimType = iota
	ClaimString            // a JSON string
	ClaimBool              // true or false
	ClaimInt               // an integer
	ClaimStrings           // an array of strings
	ClaimEnum              // an array of strings, cut to the values listed
)

// ClaimRule declares one claim that conditions, templates and records may see.
type ClaimRule struct {
	Name   string
	Type   ClaimType
	Values []string // ClaimEnum only
}

// ActorName maps the name that an issuer gives an actor to a workload.
type ActorName struct {
	Subject  string // as the issuer writes it
	Workload spiffeid.ID
}
