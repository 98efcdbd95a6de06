// Package tokenapi serves the OAuth endpoints: token, introspection, revocation,
// self, JWKS and metadata.
// It turns HTTP into an ExchangeRequest and an IssuedToken back into HTTP; what
// may be issued is decided in package broker, what an error looks like in
// package web.
package tokenapi

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn"
	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/web"
)

// The paths of the endpoints (design 7, RFC 8414 section 3, OpenID Connect
// Discovery section 4).
const (
	PathToken      = "/oauth2/token"
	PathIntrospect = "/oauth2/introspect"
	PathRevoke     = "/oauth2/revoke"
	PathSelf       = "/oauth2/self"
	PathJWKS       = "/oauth2/jwks"
	PathMetadata   = "/.well-known/oauth-authorization-server"
	PathOpenID     = "/.well-known/openid-configuration"
)

// Exchanger decides and issues. Implemented by broker.Exchanger and what
// decorates it.
type Exchanger interface {
	Exchange(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (broker.IssuedToken, error)
	Refuse(w broker.Workload, r broker.ExchangeRequest, cause error) error
	Reach(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) ([]broker.Reachable, error)
}

// Documents is what everybody may read.
type Documents struct {
	// JWKS returns the key set as it is published, with its entity tag; nil while
	// it is not known.
	JWKS func(now time.Time) (body []byte, etag string)
	// Metadata returns the metadata of RFC 8414, rendered.
	Metadata func() []byte
}

// Inspector answers for tokens that were issued. Implemented by broker.Inspector
// and what decorates it.
type Inspector interface {
	Introspect(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (broker.Introspection, error)
	Revoke(ctx context.Context, w broker.Workload, r broker.ExchangeRequest) (revoked bool, err error)
}

// Config says what the API of a workload listener stands on. Every field but
// Inspector, Self and Proofs is required.
type Config struct {
	Edge          *web.Edge
	Authenticator authn.Authenticator
	Exchanger     Exchanger
	Quota         *web.Quota
	Documents     Documents
	Inspector     Inspector // serve POST /oauth2/introspect and /oauth2/revoke; nil where tokens are not answered for
	Self          bool      // serve GET /oauth2/self
	// Proofs reads DPoP proofs, which must be for the token endpoint under URL,
	// the base by which workloads reach this listener. Listeners of one server
	// share it. Without it a request with a proof is refused.
	Proofs *dpop.Verifier
	URL    string
}

type api struct{ Config }

// New returns the handler of a workload listener: every endpoint.
func New(c Config) http.Handler {
	a := &api{c}
	r := chi.NewRouter()
	documents(r, c.Edge, c.Documents)
	r.Handle(PathToken, c.Edge.OAuth(PathToken, a.token, http.MethodPost))
	if c.Inspector != nil {
		r.Handle(PathIntrospect, c.Edge.OAuth(PathIntrospect, a.introspect, http.MethodPost))
		r.Handle(PathRevoke, c.Edge.OAuth(PathRevoke, a.revoke, http.MethodPost))
	}
	if c.Self {
		r.Handle(PathSelf, c.Edge.OAuth(PathSelf, a.self, http.MethodGet))
	}
	return r
}

// NewPublic returns the handler of the public listener: the documents alone.
func NewPublic(e *web.Edge, d Documents) http.Handler {
	r := chi.NewRouter()
	documents(r, e, d)
	return r
}

func documents(r chi.Router, e *web.Edge, d Documents) {
	jwks := func(w *web.Response, r *http.Request) error {
		body, etag := d.JWKS(w.At)
		if body == nil {
			return broker.Unavailable(broker.ReasonSignerUnavailable, time.Second, errNoKeys)
		}
		return web.Document(w, r, web.Doc{ContentType: "application/jwk-set+json", Body: body, ETag: etag, MaxAge: JWKSMaxAge})
	}
	metadata := func(w *web.Response, r *http.Request) error {
		return web.Document(w, r, web.Doc{ContentType: "application/json", Body: d.Metadata(), MaxAge: JWKSMaxAge})
	}
	r.NotFound(e.NotFound().ServeHTTP)
	r.Handle(PathJWKS, e.OAuth(PathJWKS, jwks, http.MethodGet, http.MethodHead))
	r.Handle(PathMetadata, e.OAuth(PathMetadata, metadata, http.MethodGet, http.MethodHead))
	r.Handle(PathOpenID, e.OAuth(PathOpenID, metadata, http.MethodGet, http.MethodHead))
}

var errNoKeys = errors.New("the key ring has not been read yet")

// JWKSMaxAge is how long verifiers may cache the key set (threats 3.0).
const JWKSMaxAge = 5 * time.Minute

// caller authenticates the workload and takes one request out of its quota. The
// refusal of a workload that is over it is recorded, merged with its like.
func (a *api) caller(w *web.Response, r *http.Request, form oauth.Form) (broker.Workload, error) {
	workload, err := a.Authenticator.Authenticate(r, form)
	if err != nil {
		return broker.Workload{}, err
	}
	w.Workload = workload.ID.String()
	if after, ok := a.Quota.Take(workload.ID, w.At); !ok {
		limited := broker.Errorf(broker.CodeRateLimited, broker.ReasonRateLimited, "too many requests of this workload")
		limited.RetryAfter = after
		return broker.Workload{}, a.Exchanger.Refuse(workload, received(w, r), limited)
	}
	return workload, nil
}

// token is POST /oauth2/token: form, caller, request, proof, exchange, answer.
func (a *api) token(w *web.Response, r *http.Request) error {
	form, malformed := web.ReadForm(w, r)
	workload, err := a.caller(w, r, form)
	if err != nil {
		if malformed != nil && broker.AsError(err).Reason == broker.ReasonAssertionMissing {
			return malformed // an assertion may well be in it: two of them, for one
		}
		return err
	}
	request := received(w, r)
	if err = malformed; err == nil {
		err = parse(&request, form)
	}
	if err == nil {
		request.ProofKey, err = a.proofKey(w, r)
	}
	if err != nil {
		return a.Exchanger.Refuse(workload, request, err)
	}
	token, err := a.Exchanger.Exchange(r.Context(), workload, request)
	if err != nil {
		return err
	}
	answer := oauth.TokenResponse{
		AccessToken: token.Token, TokenType: token.Type, ExpiresIn: int64(token.ExpiresAt.Sub(token.IssuedAt) / time.Second), Scope: token.Scopes.String(),
	}
	if request.Grant == oauth.GrantTokenExchange {
		answer.IssuedTokenType = oauth.TokenTypeAccessToken // RFC 8693 section 2.2.1
	}
	web.WriteJSON(w, answer.AppendJSON(make([]byte, 0, 1536))) // RFC 6749 section 5.1
	return nil
}

// received returns the request before anything of it was read: when and where it
// came, for the record.
func received(w *web.Response, r *http.Request) broker.ExchangeRequest {
	o := broker.Origin{RequestID: w.ID, Listener: w.Listener, RemoteAddress: r.RemoteAddr}
	if parents := r.Header["Traceparent"]; len(parents) == 1 && traceParent(parents[0]) {
		o.TraceParent = parents[0]
	}
	if r.TLS != nil {
		o.TLSVersion, o.CipherSuite = tls.VersionName(r.TLS.Version), tls.CipherSuiteName(r.TLS.CipherSuite)
	}
	return broker.ExchangeRequest{At: w.At, Origin: o}
}

// traceParent reports whether text has the shape of the W3C header of that name;
// any other is not kept.
func traceParent(text string) bool {
	const length = 55
	for i := range len(text) {
		if c := text[i]; !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || c == '-') {
			return false
		}
	}
	return len(text) == length
}
