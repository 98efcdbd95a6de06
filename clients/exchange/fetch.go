package exchange

import (
	"context"
	"net/url"
	"time"

	"github.com/cambist/cambist/broker/oauth"
)

// issuer is the broker's name in tokens. It tells its own tokens from others.
type issuer struct {
	url     string
	staleAt time.Time
}

// fetch gets one token. No error of it holds the user's.
func (c *Client) fetch(ctx context.Context, w *wire, r request) (*issued, error) {
	token, err := c.exchange(ctx, w, r)
	return token, withoutSecret(err, r.user)
}

// exchange finds the resource, says what is asked for and asks.
func (c *Client) exchange(ctx context.Context, w *wire, r request) (*issued, error) {
	found, err := c.find(ctx, w, r.resource)
	if err != nil {
		return nil, err
	}
	if found.Binding == "dpop" {
		return nil, &Error{kind: ErrRefused, Description: "the resource wants DPoP, which this version does not speak", final: true}
	}
	form := url.Values{"audience": {found.URI}, "client_id": {w.svid.ID.String()}} // RFC 8705 section 2: client_id is required
	of := role{as: r.as}
	if r.as == AsUser {
		form.Set("grant_type", string(oauth.GrantTokenExchange))
		if of, err = c.show(ctx, w, r, form); err != nil {
			return nil, err
		}
	} else {
		form.Set("grant_type", string(oauth.GrantClientCredentials))
	}
	scopes := r.scopes
	if scopes.IsEmpty() {
		scopes = found.scopes(of)
	}
	if !scopes.IsEmpty() {
		form.Set("scope", scopes.String())
	}
	born := c.now()
	a, err := call(ctx, w, pathToken, form.Encode())
	if err != nil {
		return nil, err
	}
	g, err := readGranted(a, scopes)
	if err != nil {
		return nil, err
	}
	return newIssued(g, found, w, born), nil
}

// show puts the user's token into the form, declared as what it is.
func (c *Client) show(ctx context.Context, w *wire, r request, form url.Values) (role, error) {
	read, ok := peek(r.user)
	if !ok && r.userType == "" {
		return role{}, &Error{kind: ErrRefused, Description: "the user's token is not a signed JWT", final: true}
	}
	name, err := c.issuerURL(ctx, w)
	if err != nil {
		return role{}, err
	}
	declared := r.userType
	if declared == "" {
		declared = read.declare(name)
	}
	form.Set("subject_token", r.user.Reveal())
	form.Set("subject_token_type", string(declared))
	return read.role(name), nil
}

// issuerURL returns the issuer of the broker's metadata (RFC 8414 section 2), read
// again now and then; an old one is better than none.
func (c *Client) issuerURL(ctx context.Context, w *wire) (string, error) {
	now := c.now()
	if known := c.issuer.Load(); known != nil && now.Before(known.staleAt) {
		return known.url, nil
	}
	_, err, _ := c.reads.Do(pathMetadata, func() (any, error) {
		var body struct {
			Issuer string `json:"issuer"`
		}
		a, err := call(ctx, w, pathMetadata, "")
		if err == nil {
			err = a.read(&body)
		}
		if err == nil && body.Issuer == "" {
			err = a.strange("without an issuer")
		}
		if err == nil {
			c.issuer.Store(&issuer{body.Issuer, now.Add(uniform(minCatalogueAge, maxCatalogueAge))})
		}
		return nil, err
	})
	if known := c.issuer.Load(); known != nil {
		return known.url, nil
	}
	return "", err
}
