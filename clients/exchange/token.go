package exchange

import (
	"context"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// Token is an access token for one resource.
type Token struct {
	// Secret is the token. Reveal is the only way to its text; nothing prints it.
	Secret oauth.Secret
	// Resource is the URI of the resource: the audience.
	Resource string
	// Scopes are what it is good for.
	Scopes oauth.Scopes
	// ExpiresAt is when it stops to be valid. Do not keep it that long: ask for a
	// token before each use, which costs nothing while one is there.
	ExpiresAt time.Time
}

// issued is a token as it is kept, with the times of its life on the monotonic
// clock. It does not change.
type issued struct {
	Token
	hosts   []string // where it may be sent, host or host:port
	wire    *wire    // that it was issued on
	bound   bool     // to the certificate of that wire (RFC 8705)
	renewAt time.Time
	mustAt  time.Time
	lastUse time.Time
}

const (
	lastUseMargin = 10 * time.Second
	mustMargin    = time.Minute
)

// newIssued draws the times of a token's life, which began before it was asked
// for: renewed ahead at a uniform 50 to 60 % of its life, so that tokens that
// were born together do not come back together; renewed first and used then in
// its last minute or fifth; not used in its last ten seconds or tenth.
func newIssued(g granted, r Resource, w *wire, born time.Time) *issued {
	host := ""
	if u, err := url.Parse(r.URI); err == nil && (u.Scheme == "https" || u.Scheme == "http") {
		host = u.Host
	}
	t := &issued{
		Token:   Token{Secret: g.secret, Resource: r.URI, Scopes: g.scopes, ExpiresAt: born.Add(g.life)},
		wire:    w,
		bound:   boundToCertificate(g.secret),
		renewAt: born.Add(uniform(g.life/2, g.life*6/10)),
		mustAt:  born.Add(g.life - min(mustMargin, g.life/5)),
		lastUse: born.Add(g.life - min(lastUseMargin, g.life/10)),
	}
	if host != "" {
		t.hosts = append(t.hosts, host)
	}
	t.hosts = append(t.hosts, r.Hosts...)
	return t
}

// boundToCertificate reports whether a token of our own names the thumbprint of
// a certificate. A token is opaque to clients; this only decides that it is
// renewed with the SVID.
func boundToCertificate(token oauth.Secret) bool {
	parsed, err := jws.Parse(token.Reveal())
	if err != nil {
		return false
	}
	var claims struct {
		Confirmation struct {
			Thumbprint text `json:"x5t#S256"`
		} `json:"cnf"`
	}
	return jws.DecodeClaims(parsed.UnverifiedPayload(), &claims, maxTokenDepth) == nil && claims.Confirmation.Thumbprint != ""
}

// TokenSource returns the target's tokens as golang.org/x/oauth2 wants them. The
// context lives as long as the source: it holds the user, if the target is as
// the user. What it returns prints as it is: hand it to a transport, not to a
// log. Its Expiry is not the end of the token but when to ask again, in a second,
// so that tokens are renewed ahead here too.
func (c *Client) TokenSource(ctx context.Context, t Target) oauth2.TokenSource {
	return tokenSource{ctx, c, t}
}

type tokenSource struct {
	ctx    context.Context
	client *Client
	target Target
}

// oauthDelta is how long before Expiry oauth2 takes a token for expired.
const oauthDelta = 10 * time.Second

// Token implements oauth2.TokenSource.
func (s tokenSource) Token() (*oauth2.Token, error) {
	r, err := s.target.request(s.ctx)
	if err != nil {
		return nil, err
	}
	t, err := s.client.get(s.ctx, r)
	if err != nil {
		return nil, err
	}
	again := s.client.now().Add(oauthDelta + time.Second)
	return &oauth2.Token{AccessToken: t.Secret.Reveal(), TokenType: "Bearer", Expiry: earlier(again, t.ExpiresAt)}, nil
}
