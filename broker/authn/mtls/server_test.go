package mtls_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/oauth"
)

var serverID = spiffeid.RequireFromString("spiffe://broker.example/cambist")

// clock is set by hand.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) now() time.Time   { return *c.at.Load() }
func (c *clock) set(at time.Time) { c.at.Store(&at) }

// own is the SVID of the server, which a test may replace.
type own struct{ svid atomic.Pointer[x509svid.SVID] }

func (o *own) GetX509SVID() (*x509svid.SVID, error) {
	if s := o.svid.Load(); s != nil {
		return s, nil
	}
	return nil, errors.New("none yet")
}

// server is a real TLS server: /open answers anybody, / names the workload.
type server struct {
	addr        string
	clock       *clock
	own         *own
	ca          *pki // of the server's trust domain
	auth        *mtls.Authenticator
	connections atomic.Int64
	failures    lines // of handshakes
}

// lines are what is written to a log.
type lines chan string

func (l lines) Write(text []byte) (int, error) {
	l <- string(text)
	return len(text), nil
}

func newServer(t testing.TB, trust *mtls.Trust, change func(*mtls.Config)) *server {
	t.Helper()
	s := &server{clock: newClock(start), own: &own{}, ca: newRoot(t), failures: make(lines, 100)}
	s.own.svid.Store(s.newSVID(t))
	config := mtls.Config{Trust: trust, Source: s.own, Now: s.clock.now}
	if change != nil {
		change(&config)
	}
	var err error
	if s.auth, err = mtls.New(config); err != nil {
		t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/open", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, "open") })
	mux.HandleFunc("/", s.whoami)
	h := &http.Server{
		Handler: mux, TLSConfig: s.auth.TLSConfig(), ConnContext: s.auth.ConnContext, ReadHeaderTimeout: time.Minute,
		ErrorLog: log.New(s.failures, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
	}
	done := make(chan error, 1)
	go func() { done <- h.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		_ = h.Close()
		<-done
	})
	s.addr = listener.Addr().String()
	return s
}

// newSVID issues an SVID of the server from below its root.
func (s *server) newSVID(t testing.TB) *x509svid.SVID {
	t.Helper()
	between := s.ca.below(t, nil)
	return between.svid(t, serverID, nil, between)
}

func (s *server) whoami(w http.ResponseWriter, r *http.Request) {
	workload, err := s.auth.Authenticate(r, oauth.Form{})
	if err != nil {
		e := broker.AsError(err)
		answer(w, http.StatusUnauthorized, fmt.Sprintf("%s %s %s", e.Code, e.Reason, fault(err)))
		return
	}
	answer(w, http.StatusOK, fmt.Sprintf("%s resumed=%t", workload.ID, r.TLS.DidResume))
}

func answer(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) //nolint:gosec // no browser reads it
}

// client is a SPIFFE client with one connection at a time, over HTTP/2 or 1.1.
func (s *server) client(t testing.TB, svid *x509svid.SVID, http2 bool) *http.Client {
	t.Helper()
	set := x509bundle.NewSet(s.ca.bundle(serverID.TrustDomain()))
	config := tlsconfig.TLSClientConfig(set, tlsconfig.AuthorizeID(serverID))
	if svid != nil {
		config = tlsconfig.MTLSClientConfig(svid, set, tlsconfig.AuthorizeID(serverID))
	}
	return clientWith(t, config, http2)
}

func clientWith(t testing.TB, config *tls.Config, http2 bool) *http.Client {
	t.Helper()
	config.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: http2}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// get returns status and body, "" and the error if there was no answer.
func (s *server) get(t testing.TB, c *http.Client, path string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), http.MethodGet, "https://"+s.addr+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Forwarded-Client-Cert", "URI=spiffe://td1.example/admin") // never believed here
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body), nil
}

// expect asks and compares.
func (s *server) expect(t testing.TB, c *http.Client, path, want string) {
	t.Helper()
	if got, err := s.get(t, c, path); err != nil || got != want {
		t.Errorf("%s: %q, %v; want %q", path, got, err, want)
	}
}

const (
	asWeb     = "200 spiffe://td1.example/ns/shop/sa/web resumed=false"
	missing   = "401 invalid_client certificate_missing "
	untrusted = "401 invalid_client certificate_untrusted "
)

// plainName is a DNS name of the server.
const plainName = "broker.test"
