package exchange

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

const (
	dialTimeout      = 5 * time.Second // shared by the addresses of a name
	handshakeTimeout = 3 * time.Second
	idleTimeout      = 30 * time.Second
	maxHeaderBytes   = 64 << 10
	maxConnections   = 32 // to the broker, each in use for milliseconds
	maxRetired       = 4  // wires whose connections may still be busy
)

// wire is one SVID and the connections that were made with it. A rotated SVID is
// a new wire: what is under way ends where it began, what is idle is dropped, and
// a token that is bound to a certificate keeps the wire that it was issued on.
type wire struct {
	*settings
	svid   *x509svid.SVID
	bundle *x509bundle.Bundle // of our own trust domain, nil if there is none
	ca     *x509.CertPool     // of a broker that is known by its DNS name
	since  time.Time
	broker *http.Transport

	mu    sync.Mutex
	peers map[spiffeid.ID]*http.Transport // of resources, by who serves them; the zero ID for by name
}

// expired reports whether the SVID has.
func (w *wire) expired(now time.Time) bool { return !now.Before(w.svid.Certificates[0].NotAfter) }

// wires hands out the wire of the newest SVID.
type wires struct {
	*settings
	rotation sync.Mutex // held by the one who makes a new wire

	mu      sync.Mutex
	current *wire
	retired []*wire
}

// get returns the current wire, a new one if SVID, bundle or CA file changed. An
// SVID that has expired is an error: the broker would say no more than that.
func (s *wires) get(now time.Time) (*wire, error) {
	w := s.newest()
	found, err := s.look(now)
	if err == nil && (w == nil || !found.same(w)) {
		w, err = s.rotate(now)
	}
	switch {
	case err != nil && (w == nil || w.expired(now)):
		return nil, fmt.Errorf("no SVID: %w", err)
	case w.expired(now):
		return nil, fmt.Errorf("no SVID: that of %s expired at %s", w.svid.ID, w.svid.Certificates[0].NotAfter.UTC().Format(time.RFC3339))
	}
	return w, nil // if the source is away, what it gave is still good
}

func (s *wires) newest() *wire {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// rotate makes a new wire current. It looks again, one caller after the other, so
// that nobody who looked earlier brings an old SVID back.
func (s *wires) rotate(now time.Time) (*wire, error) {
	s.rotation.Lock()
	defer s.rotation.Unlock()
	before := s.newest()
	w, err := s.look(now)
	if err != nil || before != nil && w.same(before) {
		return before, err
	}
	w.broker = w.toBroker()
	s.mu.Lock()
	s.current = w
	if before != nil {
		s.retired = append(s.retired, before)
	}
	old := slices.Clone(s.retired)
	if n := len(s.retired) - maxRetired; n > 0 {
		s.retired = slices.Delete(s.retired, 0, n)
	}
	s.mu.Unlock()
	if before != nil {
		s.log.Info("cambist: new SVID or new roots", "spiffe_id", w.svid.ID.String(), "not_after", w.svid.Certificates[0].NotAfter.UTC())
	}
	for _, w := range old {
		w.closeIdle()
	}
	return w, nil
}

// look reads what a wire is made of.
func (s *wires) look(now time.Time) (*wire, error) {
	svid, err := s.source.GetX509SVID()
	if err != nil {
		return nil, err
	}
	if len(svid.Certificates) == 0 || svid.PrivateKey == nil {
		return nil, errors.New("the source gave one without a certificate or key")
	}
	w := &wire{settings: s.settings, svid: svid, since: now}
	if w.bundle, err = s.source.GetX509BundleForTrustDomain(svid.ID.TrustDomain()); err != nil {
		w.bundle = nil // who must be verified by it will not be
	}
	if s.ca != nil {
		if w.ca, err = s.ca.get(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

func (s *wires) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.retired {
		w.closeIdle()
	}
	s.current.closeIdle()
}

// same reports whether connections of both would be the same.
func (w *wire) same(o *wire) bool {
	bundle := w.bundle == o.bundle || w.bundle != nil && o.bundle != nil && w.bundle.Equal(o.bundle)
	return w.sameSVID(o) && bundle && w.ca == o.ca
}

func (w *wire) sameSVID(o *wire) bool {
	return w == o || w.svid == o.svid || w.svid.Certificates[0].Equal(o.svid.Certificates[0])
}

func (w *wire) closeIdle() {
	w.broker.CloseIdleConnections()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, peer := range w.peers {
		peer.CloseIdleConnections()
	}
}

// peer returns the transport to a resource that is served by that workload, or
// by whoever proves the name of the host if the ID is zero.
func (w *wire) peer(server spiffeid.ID) *http.Transport {
	w.mu.Lock()
	defer w.mu.Unlock()
	peer := w.peers[server]
	if peer != nil {
		return peer
	}
	verify := w.verifyName
	if !server.IsZero() {
		verify = w.verifyID(server)
	}
	peer = w.transport(verify)
	peer.MaxIdleConnsPerHost = 64
	if w.peers == nil {
		w.peers = map[spiffeid.ID]*http.Transport{}
	}
	w.peers[server] = peer
	return peer
}

// toBroker returns the transport to the broker: it is known by its SPIFFE ID, or
// by its name and the CA that was given.
func (w *wire) toBroker() *http.Transport {
	verify := w.verifyID(w.serverID)
	if w.ca != nil {
		verify = func(c *tls.Config) { c.RootCAs = w.ca }
	}
	t := w.transport(verify)
	t.MaxResponseHeaderBytes, t.DisableCompression = maxHeaderBytes, true // nothing that unfolds
	// HTTP/1.1: a request that is given up takes its connection along, where one of
	// HTTP/2 would stay, dead or not, and carry the next.
	t.ForceAttemptHTTP2 = false
	t.MaxConnsPerHost, t.MaxIdleConnsPerHost = maxConnections, maxConnections
	return t
}

// transport returns connections that show this wire's SVID and check the other
// side by verify. There is no session cache, so every connection is a full
// handshake: it proves who both sides are now. No proxy stands between: it could
// not pass the SVID on.
func (w *wire) transport(verify func(*tls.Config)) *http.Transport {
	certificate := tls.Certificate{PrivateKey: w.svid.PrivateKey, Leaf: w.svid.Certificates[0]}
	for _, link := range w.svid.Certificates {
		certificate.Certificate = append(certificate.Certificate, link.Raw)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &certificate, nil
		},
		Time: w.now,
	}
	verify(config)
	return &http.Transport{
		DialContext: w.dial, TLSClientConfig: config, TLSHandshakeTimeout: handshakeTimeout, ForceAttemptHTTP2: true,
		IdleConnTimeout: idleTimeout, ExpectContinueTimeout: time.Second,
		HTTP2: &http.HTTP2Config{SendPingTimeout: 10 * time.Second, PingTimeout: 5 * time.Second}, // a connection that died in silence
	}
}

var errOtherServer = errors.New("the server is another workload")

// verifyID accepts that one workload, by the bundle of its trust domain as it is
// at the time of the handshake. crypto/tls knows no SPIFFE IDs, so its own
// verification is off and this one is in its place.
func (w *wire) verifyID(want spiffeid.ID) func(*tls.Config) {
	return func(c *tls.Config) {
		c.InsecureSkipVerify = true
		c.VerifyConnection = func(state tls.ConnectionState) error {
			id, _, err := x509svid.Verify(state.PeerCertificates, w.source, x509svid.WithTime(w.now()))
			switch {
			case err != nil:
				return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
			case want.IsZero() || id != want:
				return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: fmt.Errorf("%w: %s, not %s", errOtherServer, id, want)}
			}
			return nil
		}
	}
}

// verifyName leaves the verification to crypto/tls, with the roots of the system
// and those of our trust domain: an SVID with the DNS name of the host will do.
func (w *wire) verifyName(c *tls.Config) {
	roots := w.roots.Clone()
	if w.bundle != nil {
		for _, authority := range w.bundle.X509Authorities() {
			roots.AddCert(authority)
		}
	}
	c.RootCAs = roots
}

// dialer is how connections are opened unless a test says otherwise.
func dialer() func(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}).DialContext
}
