package exchange

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/cambist/cambist/broker/oauth"
)

// WithDial replaces how connections are opened.
func WithDial(dial func(ctx context.Context, network, address string) (net.Conn, error)) Option {
	return func(s *settings) { s.dial = dial }
}

// WithLimit bounds the cache.
func WithLimit(entries int) func(*Client) { return func(c *Client) { c.cache.limit = entries } }

// Entries returns how many entries the cache has.
func (c *Client) Entries() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cache.recent.Len()
}

// Holds reports whether the cache holds any token.
func (c *Client) Holds() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at := c.cache.recent.Front(); at != nil; at = at.Next() {
		if entryOf(at).token != nil {
			return true
		}
	}
	return false
}

// Times returns when a token with that life, born at the zero time, is renewed,
// must be renewed and is used last.
func Times(life time.Duration) (renew, must, last time.Duration) {
	var born time.Time
	t := newIssued(granted{secret: oauth.NewSecret("x"), life: life}, Resource{}, nil, born)
	return t.renewAt.Sub(born), t.mustAt.Sub(born), t.lastUse.Sub(born)
}

// Key returns the cache key of a target, comparable.
func Key(ctx context.Context, t Target) (any, error) {
	r, err := t.request(ctx)
	return r.key, err
}

// Answer is what a server answered.
func Answer(status int, header http.Header, body []byte) answer { return answer{status, header, body} }

// ReadGranted reads the answer of a token endpoint.
func ReadGranted(a answer) (secret oauth.Secret, scopes oauth.Scopes, life time.Duration, err error) {
	g, err := readGranted(a, oauth.Scopes{})
	return g.secret, g.scopes, g.life, err
}

// ReadSelf reads a page of /oauth2/self and finds a resource in it.
func ReadSelf(a answer, named string) (uri string, hosts []string, found bool, err error) {
	var page selfPage
	if err := a.read(&page); err != nil {
		return "", nil, false, err
	}
	r, ok := (&catalogue{Self: Self{Resources: page.Resources}}).find(named)
	return r.URI, r.Hosts, ok, nil
}

// Internals returns one of each type that is near a token, for who tries to print
// it.
func (c *Client) Internals() []any {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := []any{c.cache}
	for at := c.cache.recent.Front(); at != nil; at = at.Next() {
		e := entryOf(at)
		all = append(all, e, *e, e.key)
		if e.token != nil {
			all = append(all, e.token, *e.token, e.token.Token, &e.token.Token)
		}
	}
	return all
}

// Backoff is the back-off of one who fails.
type Backoff struct{ b backoff }

// Fail counts a failure and returns when who can wait may ask again.
func (b *Backoff) Fail(now time.Time, retryAfter time.Duration) time.Time {
	b.b.fail(now, now, retryAfter)
	return b.b.next
}

// At returns when to ask for whom something ran out.
func (b *Backoff) At(ranOut time.Time) time.Time { return b.b.at(ranOut) }
