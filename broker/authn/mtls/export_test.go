package mtls

import (
	"crypto/x509"
	"net/http"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Verify is the rules for a client certificate alone, without a connection.
func Verify(shown []*x509.Certificate, t *Trust, now time.Time) (id spiffeid.ID, notBefore, notAfter time.Time, err error) {
	p, err := verify(shown, t.load(), now)
	return p.id, p.notBefore, p.notAfter, err
}

// Locked calls f while every lock that a request could meet is taken.
func (a *Authenticator) Locked(r *http.Request, f func()) {
	c := r.Context().Value(connectionKey{}).(*connection)
	c.mu.Lock()
	defer c.mu.Unlock()
	a.config.Trust.mu.Lock()
	defer a.config.Trust.mu.Unlock()
	f()
}
