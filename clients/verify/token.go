package verify

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// Token is a verified access token: what Verify returns, and nothing else makes.
// It does not change, and no method of it gives the token's text away.
type Token struct {
	raw       oauth.Secret
	keyID     string
	audience  string // the one of ours
	presenter spiffeid.ID

	issuer    string
	subject   string
	user      User // zero for a workload
	client    spiffeid.ID
	scopes    oauth.Scopes
	actors    []Actor
	id, txn   string
	ancestors []string
	issuedAt  time.Time
	expiresAt time.Time
	revision  int64
	carried   []claim
}

type claim struct {
	name  string
	value any // string, bool, int64 or []string
}

// User is a user at the issuer that it comes from.
type User struct {
	Issuer  string // URL
	Subject string // its sub there
}

// Actor is one link of a delegation chain (RFC 8693 section 4.1).
type Actor struct {
	Subject string
	Issuer  string // "" for the broker's own
}

// Issuer returns the iss.
func (t *Token) Issuer() string { return t.issuer }

// Audience returns the audience of ours that the token is for.
func (t *Token) Audience() string { return t.audience }

// Subject returns the sub: the SPIFFE ID of a workload, or the name of an issuer,
// a colon, and a user. Only that of a workload starts with "spiffe:".
func (t *Token) Subject() string { return t.subject }

// User returns the user that the token is about; ok is false if it is about a
// workload.
func (t *Token) User() (u User, ok bool) { return t.user, t.user != User{} }

// Workload returns the workload that the token was issued to: its client_id.
func (t *Token) Workload() spiffeid.ID { return t.client }

// Presenter returns the workload that the connection of this request proved, zero
// if it proved none. It is that of Workload, or one that the token's presenters
// name, unless the token has a cnf or the service allows bearer tokens.
func (t *Token) Presenter() spiffeid.ID { return t.presenter }

// Scopes returns the scopes.
func (t *Token) Scopes() oauth.Scopes { return t.scopes }

// Has reports whether the token has that scope.
func (t *Token) Has(scope string) bool { return t.scopes.Contains(scope) }

// Actors returns the delegation chain, the current actor first. Only that one
// counts for a decision; the others are for the log (RFC 8693 section 4.1).
func (t *Token) Actors() []Actor { return slices.Clone(t.actors) }

// Claim returns a claim that the policy carried or mapped into the token: a
// string, bool, int64 or []string.
func (t *Token) Claim(name string) (value any, ok bool) {
	for i := range t.carried {
		if t.carried[i].name == name {
			return t.carried[i].copy(), true
		}
	}
	return nil, false
}

// Claims returns every claim that Claim has, in the token's order.
func (t *Token) Claims() iter.Seq2[string, any] {
	return func(yield func(string, any) bool) {
		for i := range t.carried {
			if !yield(t.carried[i].name, t.carried[i].copy()) {
				return
			}
		}
	}
}

func (c *claim) copy() any {
	if list, ok := c.value.([]string); ok {
		return slices.Clone(list)
	}
	return c.value
}

// ID returns the jti, by which the broker's record has the token.
func (t *Token) ID() string { return t.id }

// Txn returns the id of the transaction that the token is a part of, "" if it has
// none.
func (t *Token) Txn() string { return t.txn }

// Ancestors returns the jtis of the tokens that this one descends from, oldest
// first.
func (t *Token) Ancestors() []string { return slices.Clone(t.ancestors) }

// KeyID returns the kid of the key that signed it.
func (t *Token) KeyID() string { return t.keyID }

// Revision returns the revision of the policy that it was issued under.
func (t *Token) Revision() int64 { return t.revision }

// IssuedAt returns the iat.
func (t *Token) IssuedAt() time.Time { return t.issuedAt }

// ExpiresAt returns the exp. A stream that outlives it is for whoever serves it
// to end.
func (t *Token) ExpiresAt() time.Time { return t.expiresAt }

type contextKey struct{}

// NewContext returns a context for the request that the token came with. It
// carries the token for FromContext, and its text for calls on behalf of its
// subject (oauth.UserToken, which clients/exchange reads).
func NewContext(ctx context.Context, t *Token) context.Context {
	return oauth.WithUserToken(context.WithValue(ctx, contextKey{}, t), t.raw)
}

// FromContext returns the verified token of the request; ok is false if there is
// none, and for a Token that Verify did not make.
func FromContext(ctx context.Context) (t *Token, ok bool) {
	t, _ = ctx.Value(contextKey{}).(*Token)
	if t == nil || t.raw.IsZero() {
		return nil, false
	}
	return t, true
}
