// Package nethttp guards an HTTP handler with access tokens of Cambist: one line
// around a handler or a mux of any router that is one.
//
// A request gets through with exactly one token that package verify accepts on
// its connection, and with a scope that opens its route. The handler finds the
// token in the context (verify.FromContext), calls on behalf of its subject from
// there, and finds the same in headers, which no client can have written. A token
// that is bound to a key comes with the scheme DPoP and a proof, where the verifier
// is configured for that. Whatever is not decided is refused: 503 while the keys
// of the issuer are not known, never open.
package nethttp

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/verify"
)

// Config is all that a Guard depends on. Verifier is required.
type Config struct {
	// Verifier verifies the tokens. Whoever makes it runs it.
	Verifier *verify.Verifier
	// Peers verifies the client certificates of TLS connections.
	Peers *verify.Peers
	// Peer, instead of Peers, says what else proves the client: a mesh or a
	// proxy in front, which is then the only way to this server. Requests
	// without TLS are accepted with it alone.
	Peer func(*http.Request) (verify.Peer, error)
	// Routes are what Handler lets through, by scope. Without them it lets
	// through whoever has a token, and scopes are for Require; routes that list
	// nothing let nobody through.
	Routes *verify.Routes
	// Strip are more headers to take off each request: those by which a mesh
	// names its clients, if they are not to reach the handler.
	Strip []string
	// Refused, if set, hears of each refusal, with the request as it came.
	Refused func(*http.Request, *verify.Error)
}

// Guard guards handlers. It is safe for use by many goroutines.
type Guard struct {
	config Config
	realm  string
}

// New returns a Guard, or every fault of the configuration. A guard that could
// accept nobody is a fault: one of Peers and Peer says who calls, unless the
// verifier allows bearer tokens or those that are bound to a key.
func New(c Config) (*Guard, error) {
	var faults []error
	if c.Verifier == nil {
		faults = append(faults, errors.New("nethttp: Verifier is not set"))
	}
	switch {
	case c.Peers != nil && c.Peer != nil:
		faults = append(faults, errors.New("nethttp: both Peers and Peer are set"))
	case c.Peers == nil && c.Peer == nil && (c.Verifier == nil || !c.Verifier.AllowsBearer() && !c.Verifier.AcceptsDPoP()):
		faults = append(faults, errors.New("nethttp: neither Peers nor Peer is set, so no token could be shown by whom it was issued to"))
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	c.Strip = slices.Clone(c.Strip)
	return &Guard{config: c, realm: c.Verifier.Audiences()[0]}, nil
}

// Handler lets through to next what the routes allow.
func (g *Guard) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		g.offerNonce(w, r)
		admitted, err := g.admit(r)
		if err == nil && g.config.Routes != nil {
			t, _ := verify.FromContext(admitted.Context())
			err = g.config.Routes.Check(t, r.Method, r.URL)
		}
		if err != nil {
			g.refuse(w, r, err)
			return
		}
		next.ServeHTTP(w, admitted)
	})
}

// Require lets through to a handler whoever has a token with all of the scopes.
// It stands alone, around one handler, or inside Handler, which has verified the
// token then.
func (g *Guard) Require(scopes ...string) func(next http.Handler) http.Handler {
	needed, fault := oauth.NewScopes(scopes...)
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			admitted, err := r, error(nil)
			if r.Context().Value(admittedKey{}) != g {
				g.offerNonce(w, r)
				admitted, err = g.admit(r)
			}
			if err == nil {
				err = g.lacks(admitted.Context(), needed, fault)
			}
			if err != nil {
				g.refuse(w, r, err)
				return
			}
			next.ServeHTTP(w, admitted)
		})
	}
}

// lacks returns what the token of the request lacks. Scopes that are none are in
// no token.
func (g *Guard) lacks(ctx context.Context, needed oauth.Scopes, fault error) error {
	t, ok := verify.FromContext(ctx)
	if fault != nil || !ok || !t.Scopes().Includes(needed) {
		return &verify.Error{Reason: verify.ReasonScopeMissing, Scopes: needed, Err: fault}
	}
	return nil
}

// admittedKey is the key of the guard that admitted a request. Another guard, of
// another audience, does not take its word.
type admittedKey struct{}

// admit verifies the one token of a request and returns the request that the
// handler gets: with the token in its context and our headers on it, without what
// a client wrote in their place.
func (g *Guard) admit(r *http.Request) (*http.Request, error) {
	if g.config.Peer == nil && r.TLS == nil { // somebody came past what ends TLS (threats F12)
		return nil, &verify.Error{Reason: verify.ReasonConnectionPlain}
	}
	scheme, raw, err := g.credentials(r)
	if err != nil {
		return nil, err
	}
	if tokenInQuery(r) {
		return nil, &verify.Error{Reason: verify.ReasonCredentialsSeveral}
	}
	if namesOurs(r.Header["Connection"]) {
		return nil, &verify.Error{Reason: verify.ReasonRequestMalformed, Err: errConnection}
	}
	peer, err := g.peer(r)
	if err != nil {
		return nil, err
	}
	var t *verify.Token
	if scheme == verify.SchemeDPoP {
		t, err = g.config.Verifier.VerifyDPoP(r.Context(), raw, peer, verify.Proof{Headers: r.Header[headerProof], Method: r.Method, Path: r.URL.EscapedPath()})
	} else {
		t, err = g.config.Verifier.Verify(r.Context(), raw, peer)
	}
	if err != nil {
		return nil, err
	}
	headers, err := t.Headers()
	if err != nil {
		return nil, err
	}
	admitted := r.WithContext(context.WithValue(verify.NewContext(r.Context(), t), admittedKey{}, g))
	admitted.Header = g.clean(r.Header)
	for _, h := range headers {
		admitted.Header[h.Name] = []string{h.Value}
	}
	admitted.Trailer = nil // they come after everything was checked
	return admitted, nil
}

const headerProof, headerNonce = "Dpop", "Dpop-Nonce" // as net/http spells them

// credentials returns the one token of a request and its scheme. Where DPoP is
// not accepted that word is as strange as any other.
func (g *Guard) credentials(r *http.Request) (verify.Scheme, string, error) {
	if g.config.Verifier.AcceptsDPoP() {
		return verify.ParseAuthorization(r.Header["Authorization"])
	}
	raw, err := verify.ParseBearer(r.Header["Authorization"])
	return verify.SchemeBearer, raw, err
}

// offerNonce puts the next nonce on the answer to a request with a proof, where
// nonces are demanded (RFC 9449 section 8.2). A cache must not hand it to others,
// so unless the handler says otherwise the answer is not stored.
func (g *Guard) offerNonce(w http.ResponseWriter, r *http.Request) {
	if len(r.Header[headerProof]) == 0 {
		return
	}
	if nonce := g.config.Verifier.Nonce(); nonce != "" {
		w.Header()[headerNonce] = []string{nonce}
		w.Header().Set("Cache-Control", "no-store")
	}
}

// peer returns what the connection proves. An error of Config.Peer that says
// nothing else is a peer that nothing proves.
func (g *Guard) peer(r *http.Request) (verify.Peer, error) {
	switch {
	case g.config.Peers != nil:
		return g.config.Peers.FromTLS(r.TLS)
	case g.config.Peer != nil:
		peer, err := g.config.Peer(r)
		if e := (*verify.Error)(nil); err == nil || errors.As(err, &e) {
			return peer, err
		}
		return verify.Peer{}, &verify.Error{Reason: verify.ReasonPeerUnproven, Err: err}
	}
	return verify.Peer{}, nil
}

// clean returns the headers without any that the handler could take for ours.
func (g *Guard) clean(h http.Header) http.Header {
	kept := h.Clone()
	for name := range kept {
		if verify.ReservedHeader(name) || slices.ContainsFunc(g.config.Strip, func(s string) bool { return verify.SameHeader(s, name) }) {
			delete(kept, name)
		}
	}
	return kept
}

// tokenInQuery reports whether the request carries a second token where RFC 6750
// section 2.3 once had one. None is ever read from there.
func tokenInQuery(r *http.Request) bool {
	return strings.Contains(r.URL.RawQuery, "access_token") && r.URL.Query().Has("access_token")
}

var errConnection = errors.New("a Connection header names one of ours, which a proxy behind would remove")

// namesOurs reports whether a Connection header would have a reverse proxy remove
// the token or our headers on the next hop (standards PX-19).
func namesOurs(connection []string) bool {
	for _, value := range connection {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); verify.ReservedHeader(name) || strings.EqualFold(name, "authorization") {
				return true
			}
		}
	}
	return false
}
