package exchange

import (
	"fmt"
	"io"
	"net/http"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// HTTPClient returns a client for calls to one resource, by its name or URI, with
// all scopes that this workload has there in that role. See RoundTripper.
func (c *Client) HTTPClient(resource string, as As) *http.Client {
	return &http.Client{Transport: c.RoundTripper(Target{Resource: resource, As: as}, nil)}
}

// RoundTripper adds the target's token to requests, in place of any Authorization
// that they have. AsUser takes the user from the context of each request and fails
// with ErrNoUser if it holds none.
//
// The token goes to the hosts of the resource alone, over https: a request to
// another host is an error, and a redirect there is followed without the token. A
// 401 renews the token and sends the request once more, if its body can be sent
// again.
//
// base sends the requests. If it is nil, connections show the SVID to servers
// that ask for it, which is what a resource with binding identity or certificate
// needs; Target.Server says who must be at the other end. A base of the caller's
// does that itself: a token that is bound to a certificate is for connections
// with that very certificate.
func (c *Client) RoundTripper(t Target, base http.RoundTripper) http.RoundTripper {
	rt := &roundTripper{client: c, target: t, base: base}
	if !t.User.IsZero() {
		rt.fault = fmt.Errorf("target %q: a RoundTripper takes the user from the context of each request", t.Resource)
	}
	if t.Server != "" {
		var err error
		if rt.server, err = spiffeid.FromString(t.Server); err != nil {
			rt.fault = fmt.Errorf("target %q: server %q is not a SPIFFE ID", t.Resource, t.Server)
		} else if base != nil {
			rt.fault = fmt.Errorf("target %q: a base says itself who the server is", t.Resource)
		}
	}
	return rt
}

type roundTripper struct {
	client *Client
	target Target
	base   http.RoundTripper
	server spiffeid.ID
	fault  error
}

// maxDrainBytes is how much of a 401 is read to keep its connection.
const maxDrainBytes = 64 << 10

// RoundTrip implements http.RoundTripper.
func (rt *roundTripper) RoundTrip(req *http.Request) (*http.Response, error) {
	r, token, err := rt.token(req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	if err := token.mayTravel(req.URL, rt.client.plain); err != nil {
		if req.Response == nil { // else it is a redirect (net/http.Request.Response)
			closeBody(req)
			return nil, err
		}
		return rt.stray(req)
	}
	res, err := rt.send(req, req.Body, token)
	if err != nil || res.StatusCode != http.StatusUnauthorized {
		return res, err
	}
	return rt.again(req, res, r, token)
}

// token finds the user of the request and gets the token.
func (rt *roundTripper) token(req *http.Request) (request, *issued, error) {
	if rt.fault != nil {
		return request{}, nil, rt.fault
	}
	r, err := rt.target.request(req.Context())
	if err != nil {
		return request{}, nil, err
	}
	r.paired = rt.base == nil
	token, err := rt.client.get(req.Context(), r)
	return r, token, err
}

// again answers a 401: the token is turned away, and the request sent once more
// with another one if both that and its body can be had. Else the 401 stands.
func (rt *roundTripper) again(req *http.Request, res *http.Response, r request, token *issued) (*http.Response, error) {
	if !rt.client.reject(r.key, token) {
		return res, nil
	}
	body := req.Body
	if body != nil && body != http.NoBody {
		if req.GetBody == nil {
			return res, nil
		}
		var err error
		if body, err = req.GetBody(); err != nil {
			return res, nil //nolint:nilerr // the answer is the 401
		}
	}
	r.not = token
	fresh, err := rt.client.get(req.Context(), r)
	if err != nil || fresh.mayTravel(req.URL, rt.client.plain) != nil {
		if body != nil {
			_ = body.Close()
		}
		return res, nil //nolint:nilerr // the answer is the 401
	}
	_, _ = io.CopyN(io.Discard, res.Body, maxDrainBytes)
	_ = res.Body.Close()
	return rt.send(req, body, fresh)
}

// send sends a copy of the request with the token. The response names the
// request as the caller made it, so that who prints it prints no token.
func (rt *roundTripper) send(req *http.Request, body io.ReadCloser, token *issued) (*http.Response, error) {
	transport := rt.base
	if transport == nil {
		w, err := rt.client.wires.get(rt.client.now())
		if err != nil || rotated(token, w) {
			w = token.wire
		}
		transport = w.peer(rt.server)
	}
	out := req.Clone(req.Context())
	out.Body = body
	if out.Header == nil {
		out.Header = http.Header{}
	}
	out.Header.Set("Authorization", "Bearer "+token.Secret.Reveal())
	res, err := transport.RoundTrip(out)
	if res != nil {
		res.Request = req
	}
	return res, err
}

// stray follows a redirect off the resource: without token and without SVID.
func (rt *roundTripper) stray(req *http.Request) (*http.Response, error) {
	transport := rt.base
	if transport == nil {
		transport = http.DefaultTransport
	}
	out := req.Clone(req.Context())
	out.Header.Del("Authorization")
	return transport.RoundTrip(out)
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}
