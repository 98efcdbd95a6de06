package server

import (
	"context"
	"net"
	"slices"
	"sync/atomic"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/mint/jwtat"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/issued"
	"github.com/cambist/cambist/broker/subject/oidc"
	"github.com/cambist/cambist/broker/tokenapi"
	"github.com/cambist/cambist/broker/web"
)

// exchanger is the straight line, with what it stands on.
func (s *server) exchanger() *broker.Exchanger {
	return &broker.Exchanger{
		Issuer: s.config.Issuer, Limits: s.limits(),
		Policy: s.follower, Verifier: subject.NewRoute(issued.New(s.config.Issuer, s.ring), oidc.New(s.issuers), s.jwtSVIDs),
		Ledger: s.metrics.Ledger(s.recorder, s.now), Minter: jwtat.New(s.ring), Now: s.now, NewID: broker.NewID,
	}
}

func (s *server) edge(name string) *web.Edge {
	return web.New(web.Config{
		Listener: name, Now: s.now, NewID: broker.NewID, Log: s.access, Concurrent: s.config.Limits.Concurrent, Observe: s.metrics.Observe,
	})
}

// newListeners binds every address.
func (s *server) newListeners(ctx context.Context) error {
	s.access = web.NewAccessLog(s.log, s.config.Log.Access)
	s.quota = web.NewQuota(s.config.Limits.Rate, s.config.Limits.Burst)
	if err := s.listenMtls(ctx); err != nil {
		return err
	}
	if err := s.listenAssertion(ctx); err != nil {
		return err
	}
	if err := s.listenPublic(ctx); err != nil {
		return err
	}
	ops, err := listen(ctx, endpoint{name: "ops", address: s.config.Ops.Address, handler: ops(s.readiness(), s.metrics.Handler(), s.now), now: s.now})
	if err == nil {
		s.listeners = append(s.listeners, ops)
	}
	return err
}

// mtls returns an authenticator that shows our SVID, or the certificate to clients
// that ask for a name on it.
func (s *server) mtls(cert, key string) (*mtls.Authenticator, error) {
	c := mtls.Config{Trust: s.identity.Trust(), Source: s.identity, Now: s.now}
	if cert != "" {
		named, err := newCertificate(cert, key, s.now, s.log.Warn)
		if err != nil {
			return nil, err
		}
		c.Certificate = named.forName
	}
	return mtls.New(c)
}

func (s *server) listenMtls(ctx context.Context) error {
	authenticator, err := s.mtls(s.config.Mtls.Cert, s.config.Mtls.Key)
	if err != nil {
		return err
	}
	edge, line := s.edge("mtls"), s.exchanger()
	handler := tokenapi.New(tokenapi.Config{
		Edge: edge, Authenticator: authenticator, Exchanger: s.metrics.Exchanger(line), Quota: s.quota,
		Documents: s.documents(), Inspector: s.metrics.Inspector(&broker.Inspector{Line: line, Revocations: s.store}), Self: s.config.Limits.Self,
		Proofs: s.proofs, URL: s.workloadsURL(),
	})
	l, err := listen(ctx, endpoint{"mtls", s.config.Mtls.Address, handler, authenticator.TLSConfig(), s.now})
	if err != nil {
		return err
	}
	aging := l.server.ConnContext
	l.server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return authenticator.ConnContext(aging(ctx, c), c)
	}
	s.listeners = append(s.listeners, l)
	return nil
}

func (s *server) listenPublic(ctx context.Context) error {
	if s.config.Public.Address == "" {
		return nil
	}
	shown, err := newCertificate(s.config.Public.Cert, s.config.Public.Key, s.now, s.log.Warn)
	if err != nil {
		return err
	}
	l, err := listen(ctx, endpoint{"public", s.config.Public.Address, tokenapi.NewPublic(s.edge("public"), s.documents()), shown.tlsConfig(), s.now})
	if err == nil {
		s.listeners = append(s.listeners, l)
	}
	return err
}

// workloadsURL is the base of the URLs by which workloads reach the mTLS
// listener.
func (s *server) workloadsURL() string {
	if s.config.Mtls.URL != "" {
		return s.config.Mtls.URL
	}
	return s.config.Issuer
}

// documents renders the metadata anew only when the algorithms of the published
// keys change.
func (s *server) documents() tokenapi.Documents {
	type rendered struct {
		algorithms []string
		body       []byte
	}
	var last atomic.Pointer[rendered]
	return tokenapi.Documents{
		JWKS: s.ring.JWKS,
		Metadata: func() []byte {
			algorithms := s.ring.Algorithms()
			if have := last.Load(); have != nil && slices.Equal(have.algorithms, algorithms) {
				return have.body
			}
			body, err := tokenapi.Metadata(s.config.Issuer, s.workloadsURL(), s.config.Assertion.URL, algorithms)
			if err != nil {
				panic("internal error: " + err.Error()) // strings always encode
			}
			last.Store(&rendered{algorithms, body})
			return body
		},
	}
}

func (s *server) addresses() Addresses {
	var a Addresses
	for _, l := range s.listeners {
		switch l.name {
		case "mtls":
			a.Mtls = l.address()
		case "assertion":
			a.Assertion = l.address()
		case "public":
			a.Public = l.address()
		case "ops":
			a.Ops = l.address()
		}
	}
	return a
}
