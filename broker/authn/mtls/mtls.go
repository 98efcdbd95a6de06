// Package mtls authenticates workloads by their X.509-SVID on our own TLS
// listener.
//
// The handshake asks for a certificate and takes a connection without one, which
// may read the metadata and the keys; it proves only that the client holds the
// key of what it shows. Whether that is an SVID of a workload is found out by the
// first request that needs to know, with the bundle of the trust domain that the
// SVID names, and is remembered with the connection for as long as neither the
// bundles change nor a certificate of the chain runs out. So each request costs
// two atomic loads, and a CA that has left its bundle is refused by the next
// request on a connection that is years old. Sessions are never resumed; nothing
// here would believe one if they were.
package mtls

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// Config is all that an Authenticator depends on.
type Config struct {
	// Trust holds the bundles that clients are verified with.
	Trust *Trust
	// Source has our own SVID. It is asked in each handshake, so that a new one
	// is used at once and no connection is dropped for it.
	Source x509svid.Source
	// Certificate, if set, may choose another certificate by the name that the
	// client asks for (SNI), for clients that know us by DNS. nil without an error
	// leaves it at our SVID.
	Certificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// Now is the clock.
	Now func() time.Time
}

// Authenticator is the authenticator of one TLS listener. New makes one; the zero
// value refuses.
type Authenticator struct{ config Config }

var _ authn.Authenticator = (*Authenticator)(nil)

// New returns an Authenticator, or every fault of its configuration.
func New(c Config) (*Authenticator, error) {
	var errs []error
	for name, missing := range map[string]bool{"Trust": c.Trust == nil, "Source": c.Source == nil, "Now": c.Now == nil} {
		if missing {
			errs = append(errs, fmt.Errorf("mtls: %s is not set", name))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return &Authenticator{config: c}, nil
}

// TLSConfig returns the configuration for the listener. Verifying in the
// handshake would be too early, for what it finds may change on the open
// connection, and too much, for a stranger may read the keys; only what no bundle
// could ever make right, and what is there to waste our time, ends there.
func (a *Authenticator) TLSConfig() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
		NextProtos:             []string{"h2", "http/1.1"},
		Time:                   a.config.Now,
		GetCertificate:         a.certificate,
		VerifyConnection: func(state tls.ConnectionState) error {
			if len(state.PeerCertificates) == 0 {
				return nil
			}
			return checkLimits(state.PeerCertificates)
		},
	}
}

// certificate chooses what we show. An SVID of ours that has run out is never
// shown: a client that would believe it should rather go to another replica.
func (a *Authenticator) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if a.config.Certificate != nil {
		if c, err := a.config.Certificate(hello); c != nil || err != nil {
			return c, err
		}
	}
	if a.config.Source == nil {
		return nil, errWiring
	}
	svid, err := a.config.Source.GetX509SVID()
	if err != nil {
		return nil, fmt.Errorf("own SVID: %w", err)
	}
	leaf := svid.Certificates[0]
	if !a.config.Now().Before(leaf.NotAfter) {
		return nil, fmt.Errorf("own SVID: expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	c := &tls.Certificate{PrivateKey: svid.PrivateKey, Leaf: leaf, Certificate: make([][]byte, len(svid.Certificates))}
	for i, link := range svid.Certificates {
		c.Certificate[i] = link.Raw
	}
	return c, nil
}

// connection is what is known of one connection. Requests on it share it.
type connection struct {
	owner   *Authenticator
	mu      sync.Mutex // one verification at a time
	verdict atomic.Pointer[verdict]
}

// verdict is the result of one verification and how long it may be believed: for
// one generation of the bundles and one span of time. A good one lasts as long as
// the chain. A bad one lasts a second, since time alone can make it good, and a
// client that insists must not cost a verification each time; it serves requests
// of the second before as well, which read the clock first and came second.
type verdict struct {
	generation  uint64
	from, until time.Time
	workload    broker.Workload
	fault       *CertificateError // nil for a good one
}

const badVerdictLife = time.Second

func (v *verdict) holds(generation uint64, now time.Time) bool {
	return v != nil && v.generation == generation && !now.Before(v.from) && now.Before(v.until)
}

type connectionKey struct{}

// ConnContext belongs into the http.Server of the listener: it gives each
// connection its memory.
func (a *Authenticator) ConnContext(ctx context.Context, _ net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, &connection{owner: a})
}

// errWiring is for a server that was put together wrong: an Authenticator that New
// did not make, or without its own ConnContext. It refuses everybody.
var errWiring = errors.New("mtls: the listener is not set up for this authenticator")

// Authenticate implements authn.Authenticator.
func (a *Authenticator) Authenticate(r *http.Request, f oauth.Form) (broker.Workload, error) {
	if otherCredential(r, f) {
		return broker.Workload{}, broker.Errorf(broker.CodeInvalidRequest, broker.ReasonCredentialsSeveral,
			"here the client certificate is the one credential; send no Authorization header, client_assertion or client_secret")
	}
	c, ok := r.Context().Value(connectionKey{}).(*connection)
	if !ok || c.owner != a || a.config.Trust == nil {
		return broker.Workload{}, broker.AsError(errWiring)
	}
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return broker.Workload{}, broker.Errorf(broker.CodeInvalidClient, broker.ReasonCertificateMissing, "a client certificate is required")
	}
	now := a.config.Now() // before the bundles: what is decided is never older than its time says
	v := c.verdict.Load()
	if !v.holds(a.config.Trust.Generation(), now) {
		v = c.verify(r.TLS.PeerCertificates, now)
	}
	if v.fault != nil {
		return broker.Workload{}, v.fault.refusal() // a new one each time: the caller writes its record id into it
	}
	return v.workload, nil
}

// otherCredential reports whether the request carries any credential besides the
// certificate (RFC 6749 section 2.3).
func otherCredential(r *http.Request, f oauth.Form) bool {
	return len(r.Header["Authorization"]) > 0 || f.Has("client_assertion") || f.Has("client_assertion_type") || f.Has("client_secret")
}

// verify finds the verdict and keeps it. Requests that wait here together have it
// found once.
func (c *connection) verify(shown []*x509.Certificate, now time.Time) *verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.owner.config.Trust.load()
	if v := c.verdict.Load(); v.holds(b.generation, now) {
		return v
	}
	v := judge(shown, b, now)
	c.verdict.Store(v)
	return v
}

// judge verifies and says how long that holds.
func judge(shown []*x509.Certificate, b *bundles, now time.Time) *verdict {
	p, err := verify(shown, b, now)
	if err != nil {
		v := &verdict{generation: b.generation, from: now.Add(-badVerdictLife), until: now.Add(badVerdictLife)}
		if !errors.As(err, &v.fault) {
			v.fault = &CertificateError{Fault: FaultNotTrusted, Err: err}
		}
		return v
	}
	return &verdict{
		generation: b.generation, from: p.notBefore, until: p.notAfter,
		workload: broker.Workload{
			ID: p.id, Proof: broker.ProofMTLS, NotAfter: p.notAfter,
			Thumbprint: jws.CertificateThumbprint(shown[0].Raw), Serial: shown[0].SerialNumber.Text(16),
		},
	}
}
