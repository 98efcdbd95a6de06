// Package exchange is the Cambist SDK for a service that calls others: it gets
// access tokens with the identity that the service has anyway, keeps them fresh,
// and puts them on requests. The service stores no secret.
//
// # A service in five lines
//
//	client, err := exchange.New(ctx, exchange.FromEnv())
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	ledger := client.HTTPClient("ledger", exchange.AsSelf)
//	res, err := ledger.Get("https://ledger.finance/accounts")
//
// "ledger" is the name of a resource in policy; `cambist whoami` lists what there
// is for a workload. The first call gets a token; later ones find it in memory.
// FromEnv says which variables the platform sets. Where the SVID comes from the
// SPIFFE Workload API, add the option spiffe.WorkloadAPI() of package
// clients/exchange/spiffe.
//
// # For whom: AsSelf or AsUser
//
// AsSelf is the service in its own name. AsUser is on behalf of whoever called:
// the token that the service received is exchanged for one for the resource, which
// names both (RFC 8693). The received token comes from the context of the request:
// nethttp.Handler puts it there, or WithUser does.
//
//	orders := client.HTTPClient("orders", exchange.AsUser)
//
//	func handle(w http.ResponseWriter, r *http.Request) {
//		req, err := http.NewRequestWithContext(r.Context(), "POST", "https://orders.shop/orders", body)
//		…
//		res, err := orders.Do(req)
//
// There is no default, and no way from one to the other: without a user, a call
// AsUser fails with ErrNoUser and nothing is sent.
//
// # Other faces
//
// Token returns a token for any use. RoundTripper takes a Target, for fewer scopes
// than all or to name the server, and a base of your own. TokenSource is for
// libraries that want an oauth2.TokenSource, RPCCredentials is for gRPC. All share
// one cache.
//
// # Where a token goes
//
// To the hosts of its resource, as policy lists them (or the host of its URI), and
// over https alone; WithPlainHTTP is for meshes and loopback. A request to another
// host is an error; a redirect there is followed without the token.
//
// By default a token is good only in the hands of the workload that it was issued
// to: the resource compares the token with the identity on the connection. The
// connections of HTTPClient show the SVID. The server must prove the name of the
// host, with a certificate of the system's roots or an SVID of our trust domain
// that has that DNS name; where its SVID has none, say which workload it is:
//
//	http.Client{Transport: client.RoundTripper(exchange.Target{
//		Resource: "ledger", As: exchange.AsSelf, Server: "spiffe://prod.example/ns/finance/sa/ledger",
//	}, nil)}
//
// # When things go wrong
//
// Tokens are renewed ahead, in the background and only by use, at 50 to 60 % of
// their life. While the broker is away the old token is served until ten seconds
// before it expires (a tenth of its life for a short one), so a restart or an
// outage of less than 40 % of the life is not seen by callers. Only who has no
// token that is still good waits: as long as its context lets it, at most 30 s.
//
// Errors are *Error; errors.Is tells four kinds:
//
//   - ErrRefused: policy says no. The text ends with the command that explains why.
//   - ErrUnavailable: the broker cannot be reached or is overloaded.
//   - ErrUnknownResource: no such name for this workload.
//   - ErrNoUser: AsUser without a user.
//
// A failed broker is asked again after a random and growing time, one caller for
// all, and never before a Retry-After has passed. A refusal is the answer for one
// to five seconds. Retrying in a loop around this package is not needed.
//
// SVIDs rotate under a running client: new connections use the new one, and a
// token that is bound to a certificate is renewed with it and travels with the
// one that it belongs to until then.
package exchange
