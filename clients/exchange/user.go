package exchange

import (
	"context"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// WithUser returns a context that holds the token which the service received,
// for calls as the user. The adapters of clients/enforce do this for every
// request that they let through; call it only with a token that somebody has
// verified.
func WithUser(ctx context.Context, token oauth.Secret) context.Context {
	return oauth.WithUserToken(ctx, token)
}

// UserFrom returns the token that WithUser, or an adapter, put there.
func UserFrom(ctx context.Context) (token oauth.Secret, ok bool) { return oauth.UserToken(ctx) }

// shown is what a user's token says of itself. Nothing of it is verified: it
// chooses words for the broker, which verifies.
type shown struct {
	typ   string // of the header, in its short form
	Iss   text   `json:"iss"`
	Sub   text   `json:"sub"`
	Scope text   `json:"scope"`

	// By these the kinds of token differ that have the same header.
	Typ        text  `json:"typ"` // Keycloak's
	Nonce      there `json:"nonce"`
	AtHash     there `json:"at_hash"`
	CHash      there `json:"c_hash"`
	Scp        there `json:"scp"`
	ClientID   there `json:"client_id"`
	Cid        there `json:"cid"`
	AppID      there `json:"appid"`
	Kubernetes there `json:"kubernetes.io"`
}

// there says that a member is there, whatever its value.
type there bool

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *there) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*t = true
	return d.SkipValue()
}

// text is a string; a member that is something else says nothing.
type text string

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (t *text) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '"' {
		return d.SkipValue()
	}
	token, err := d.ReadToken()
	if err == nil {
		*t = text(token.String())
	}
	return err
}

const maxTokenDepth = 16

// peek reads a token that is not verified; false if it is no JWT.
func peek(token oauth.Secret) (shown, bool) {
	parsed, err := jws.Parse(token.Reveal())
	if err != nil {
		return shown{}, false
	}
	s := shown{typ: jws.MediaType(parsed.Header().Type)}
	if err := jws.DecodeClaims(parsed.UnverifiedPayload(), &s, maxTokenDepth); err != nil {
		return shown{}, false
	}
	return s, true
}

// declare returns the type that a token is sent as: our own issuer's tokens are
// access tokens; of the others, a typ that says what they are settles it, and
// where it says no more than JWT, the claims do.
func (s *shown) declare(issuer string) oauth.TokenType {
	switch {
	case string(s.Iss) == issuer:
		return oauth.TokenTypeAccessToken
	case s.typ != "" && s.typ != "jwt":
		return oauth.TokenTypeJWT
	case s.Typ == "ID" || bool(s.Nonce || s.AtHash || s.CHash):
		return oauth.TokenTypeIDToken
	case s.Typ != "" || s.Scope != "" || bool(s.Scp || s.ClientID || s.Cid || s.AppID || s.Kubernetes):
		return oauth.TokenTypeJWT
	}
	return oauth.TokenTypeIDToken
}

// role is whom a request is for, as far as it decides which grants count.
type role struct {
	as     As
	own    bool         // the user's token is of our own issuer
	origin string       // then: the name of the issuer that it comes from, or workload
	held   oauth.Scopes // then: what it is good for
}

const forWorkload = "workload"

// role returns whom the token speaks for.
func (s *shown) role(issuer string) role {
	r := role{as: AsUser, own: string(s.Iss) == issuer}
	if !r.own {
		return r
	}
	r.origin, _, _ = strings.Cut(string(s.Sub), ":") // of a user: the issuer's name, then its subject
	if r.origin == "spiffe" {
		r.origin = forWorkload
	}
	if s.Scope != "" {
		r.held, _ = oauth.ParseScopes(string(s.Scope))
	}
	return r
}
