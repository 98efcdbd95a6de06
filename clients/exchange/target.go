package exchange

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/cambist/cambist/broker/oauth"
)

// As says for whom a call is made. There is no default: the zero value is
// refused.
type As int

// For whom.
const (
	_      As = iota
	AsSelf    // the service itself, in its own name
	AsUser    // whoever the token speaks for that the service received: RFC 8693, delegation
)

// String returns self, user or unknown.
func (a As) String() string {
	switch a {
	case AsSelf:
		return "self"
	case AsUser:
		return "user"
	}
	return "unknown"
}

// Target says which token is wanted.
type Target struct {
	// Resource is the name of the resource, as policy has it and /oauth2/self lists
	// it, or its URI. A resource of a template whose name has more than one
	// variable is named by its URI.
	Resource string
	// As says for whom.
	As As
	// Scopes are what is asked for; the broker grants all of them or refuses. None
	// means all that /oauth2/self lists for this workload in this role, less what
	// hangs on a condition if something else remains; where it lists nothing, the
	// default of the resource.
	Scopes []string
	// User is the user's token. The zero value means the one that the context
	// holds; a RoundTripper takes it from there alone.
	User oauth.Secret
	// UserType is how the user's token is declared. Empty, which is right for
	// almost every issuer, means by its iss and by what it says of itself; where
	// that is too little, the broker's refusal names the type to put here.
	UserType oauth.TokenType
	// Server is the SPIFFE ID of who serves the resource, for a RoundTripper
	// without a base: nobody else is spoken to. Empty means whoever proves the
	// host's name, by a certificate of the system's roots or of our trust domain.
	Server string
}

// key is what makes two requests the same. It is compared field by field and in
// full: there is nothing to collide (scopes are tokens without spaces, sorted).
type key struct {
	resource string
	as       As
	scopes   string
	user     [32]byte // SHA-256 of the user's token; tokens themselves are no keys
	userType oauth.TokenType
}

// request is one call for a token.
type request struct {
	key
	scopes oauth.Scopes
	user   oauth.Secret
	paired bool    // the token will travel on its own wire
	not    *issued // any but this one
}

const maxResourceBytes = 1024

// request checks a target and finds the user.
func (t Target) request(ctx context.Context) (request, error) {
	scopes, err := oauth.NewScopes(t.Scopes...)
	switch {
	case t.Resource == "" || len(t.Resource) > maxResourceBytes || strings.ContainsFunc(t.Resource, func(c rune) bool { return c <= ' ' || c > '~' }):
		return request{}, errors.New("target: name the resource or give its URI")
	case t.As != AsSelf && t.As != AsUser:
		return request{}, fmt.Errorf("target %q: say AsSelf or AsUser", t.Resource)
	case err != nil:
		return request{}, fmt.Errorf("target %q: %w", t.Resource, err)
	case t.As == AsSelf && (!t.User.IsZero() || t.UserType != ""):
		return request{}, fmt.Errorf("target %q: AsSelf takes no user", t.Resource)
	}
	r := request{key: key{resource: t.Resource, as: t.As, scopes: scopes.String(), userType: t.UserType}, scopes: scopes, user: t.User}
	if t.As == AsSelf {
		return r, nil
	}
	if r.user.IsZero() {
		r.user, _ = UserFrom(ctx)
	}
	if r.user.IsZero() {
		return request{}, &Error{Resource: t.Resource, kind: ErrNoUser, final: true}
	}
	r.key.user = r.user.SHA256()
	return r, nil
}
