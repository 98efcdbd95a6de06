package exchange

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
)

var errOtherHost = errors.New("no token for this host")

// mayTravel says why the token must not go to that URL: nil if it may. Hosts are
// compared with their ports, the usual one of the scheme if they name none.
func (t *issued) mayTravel(u *url.URL, plain bool) error {
	usual := "443"
	switch {
	case u.Scheme == "http" && plain:
		usual = "80"
	case u.Scheme != "https":
		return fmt.Errorf("%w: that for %s travels over https alone, not %s://%s (WithPlainHTTP where a mesh encrypts)", errOtherHost, t.Resource, u.Scheme, u.Host)
	}
	want := hostPort(u.Host, usual)
	if slices.ContainsFunc(t.hosts, func(host string) bool { return hostPort(host, usual) == want }) {
		return nil
	}
	return fmt.Errorf("%w: %q is none of %s (policy lists %s)", errOtherHost, u.Host, t.Resource, strings.Join(t.hosts, ", "))
}

// hostPort returns host:port in lower case.
func hostPort(text, usual string) string {
	u := url.URL{Host: strings.ToLower(text)}
	host, port := u.Hostname(), u.Port()
	if port == "" {
		port = usual
	}
	return net.JoinHostPort(host, port)
}

// RPCCredentials adds tokens to gRPC calls. It implements PerRPCCredentials of
// google.golang.org/grpc/credentials, which this package does not import:
//
//	grpc.NewClient(address, grpc.WithPerRPCCredentials(client.RPCCredentials(target)), …)
type RPCCredentials struct {
	client *Client
	target Target
}

// RPCCredentials returns the target's tokens for gRPC. As everywhere, they go to
// the hosts of the resource alone, and AsUser takes the user from the context of
// each call.
func (c *Client) RPCCredentials(t Target) *RPCCredentials { return &RPCCredentials{c, t} }

// GetRequestMetadata returns the authorization of one call. uri names the host
// and the service.
func (p *RPCCredentials) GetRequestMetadata(ctx context.Context, uri ...string) (map[string]string, error) {
	if len(uri) == 0 {
		return nil, fmt.Errorf("%w: the call names none", errOtherHost)
	}
	u, err := url.Parse(uri[0])
	if err != nil {
		return nil, fmt.Errorf("%w: the call names none", errOtherHost)
	}
	r, err := p.target.request(ctx)
	if err != nil {
		return nil, err
	}
	token, err := p.client.get(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := token.mayTravel(u, false); err != nil { // gRPC says https whatever the transport is
		return nil, err
	}
	return map[string]string{"authorization": "Bearer " + token.Secret.Reveal()}, nil
}

// RequireTransportSecurity reports true, but for WithPlainHTTP.
func (p *RPCCredentials) RequireTransportSecurity() bool { return !p.client.plain }
