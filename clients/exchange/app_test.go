package exchange_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/jws"
)

// app is a resource: it compares the token with the certificate on the wire, as a
// guard does, and remembers what it was sent.
type app struct {
	s        *standIn
	audience string
	mu       sync.Mutex
	calls    []call
	answer   func(w http.ResponseWriter, r *http.Request, n int) bool // n counts calls from 1
	fault    string                                                   // the first call that a guard would refuse, and why
}

type call struct {
	host, path, authorization, body, thumbprint string
}

// newApp serves a resource at that address.
func newApp(t testing.TB, s *standIn, address, audience string) *app {
	t.Helper()
	id, err := s.ca.ID("finance/ledger")
	if err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(address, ":")
	svid, err := s.ca.SVID(id, 24*time.Hour, host)
	if err != nil {
		t.Fatal(err)
	}
	return newAppWith(t, s, address, audience, svid)
}

func newAppWith(t testing.TB, s *standIn, address, audience string, svid *x509svid.SVID) *app {
	t.Helper()
	a := &app{s: s, audience: audience}
	serve(t, s.net.listen(t, address), s.ca, svid, a)
	return a
}

func (a *app) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	c := call{host: r.Host, path: r.URL.Path, authorization: r.Header.Get("Authorization"), body: string(body)}
	if r.TLS != nil && len(r.TLS.PeerCertificates) > 0 {
		c.thumbprint = thumbprint(r.TLS.PeerCertificates[0])
	}
	a.mu.Lock()
	a.calls = append(a.calls, c)
	n, answer := len(a.calls), a.answer
	if why := a.check(c); why != "" && a.fault == "" {
		a.fault = why
	}
	a.mu.Unlock()
	if answer != nil && answer(w, r, n) {
		return
	}
	_, _ = io.WriteString(w, "ok")
}

// check returns why a guard would refuse the call. mu is held.
func (a *app) check(c call) string {
	raw, ok := strings.CutPrefix(c.authorization, "Bearer ")
	if !ok {
		return "no token"
	}
	token, err := jws.Parse(raw)
	if err != nil {
		return err.Error()
	}
	payload, err := token.VerifyPayload(a.s.signer.Key())
	if err != nil {
		return err.Error()
	}
	var claims struct {
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
		Confirm  struct {
			Thumbprint string `json:"x5t#S256"`
		} `json:"cnf"`
	}
	switch err := jws.DecodeClaims(payload, &claims, 8); {
	case err != nil:
		return err.Error()
	case claims.Audience != a.audience:
		return "for " + claims.Audience
	case time.Now().Unix() >= claims.Expires:
		return "expired"
	case claims.Confirm.Thumbprint != "" && claims.Confirm.Thumbprint != c.thumbprint:
		return "the certificate is not that of the token"
	}
	return ""
}

func (a *app) seen() []call {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]call(nil), a.calls...)
}

// problem returns what a guard would have refused.
func (a *app) problem() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.fault
}

// watched says when a connection is closed.
type watched struct {
	net.Conn
	closed chan<- struct{}
}

func (w *watched) Close() error {
	w.closed <- struct{}{}
	return w.Conn.Close()
}

// clientTLS is the TLS of a service of this trust domain, by the words of go-spiffe.
func (s *standIn) clientTLS() *tls.Config {
	roots := x509.NewCertPool()
	for _, root := range s.ca.Bundle().X509Authorities() {
		roots.AddCert(root)
	}
	return &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}
}
