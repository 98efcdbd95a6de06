// Package trust is a certificate authority for development and for tests: a
// trust domain with roots that can be replaced, SVIDs that conform to the
// standard, and the folder of PEM files with which curl and anything else can
// use them. What it issues says what it is. Nothing here protects a key better
// than a file mode does.
package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

const (
	organization = "Cambist DEVELOPMENT ONLY"
	rootLife     = 365 * 24 * time.Hour
	// backdate lets a machine whose clock is a little behind use a certificate
	// at once.
	backdate = time.Minute
)

// CA issues SVIDs in one trust domain. It is safe for use by many goroutines.
type CA struct {
	domain spiffeid.TrustDomain
	now    func() time.Time
	roots  *roots
	below  *authority // what signs instead of the root, nil for the root itself
}

// authority is a key that signs certificates, and what leads from it to a root.
type authority struct {
	key  crypto.Signer
	path []*x509.Certificate // from its own certificate to the root
}

// New returns a CA with a new root for the trust domain.
func New(domain spiffeid.TrustDomain, now func() time.Time) (*CA, error) {
	if domain.IsZero() || now == nil {
		return nil, errors.New("development CA: it needs a trust domain and a clock")
	}
	c := &CA{domain: domain, now: now}
	first, err := c.newRoot()
	if err != nil {
		return nil, err
	}
	c.roots = newRoots(first)
	return c, nil
}

// Intermediate returns a CA below this one. What it issues carries the
// certificates between it and the root, and verifies with the same bundle. It
// stays below that root: once the root is dropped, nothing of it verifies.
func (c *CA) Intermediate() (*CA, error) {
	above := c.authority()
	certificate, key, err := c.sign(c.template("intermediate"), above)
	if err != nil {
		return nil, err
	}
	below := &authority{key: key, path: append([]*x509.Certificate{certificate}, above.path...)}
	return &CA{domain: c.domain, now: c.now, roots: c.roots, below: below}, nil
}

// Domain returns the trust domain.
func (c *CA) Domain() spiffeid.TrustDomain { return c.domain }

// Bundle returns what others need to verify X.509-SVIDs of the trust domain: its
// roots.
func (c *CA) Bundle() *x509bundle.Bundle {
	return x509bundle.FromX509Authorities(c.domain, certificates(c.roots.current().all()))
}

// authority returns what signs now.
func (c *CA) authority() *authority {
	if c.below != nil {
		return c.below
	}
	return &c.roots.current().signing.authority
}

// ID returns the SPIFFE ID that a short name like shop/web stands for in this
// trust domain, or the ID itself if name is one.
func (c *CA) ID(name string) (spiffeid.ID, error) {
	if strings.Contains(name, "://") {
		id, err := spiffeid.FromString(name)
		if err == nil {
			err = c.checkID(id)
		}
		return id, err
	}
	ns, sa, ok := strings.Cut(name, "/")
	if !ok {
		return spiffeid.ID{}, fmt.Errorf("%q is not a name like shop/web", name)
	}
	return spiffeid.FromSegments(c.domain, "ns", ns, "sa", sa)
}

// checkID refuses what this CA must not put into an SVID (X509-SVID section 2,
// SPIFFE-ID section 2.3).
func (c *CA) checkID(id spiffeid.ID) error {
	switch {
	case !id.MemberOf(c.domain):
		return fmt.Errorf("%q is not in the trust domain %q", id, c.domain)
	case id.Path() == "":
		return fmt.Errorf("%q names a trust domain, not a workload", id)
	case len(id.String()) > 2048:
		return errors.New("the SPIFFE ID is longer than 2048 bytes")
	}
	return nil
}

// template is that of a signing certificate: an SVID itself, of the trust domain
// and so without a path (X509-SVID section 3.2).
func (c *CA) template(kind string) *x509.Certificate {
	return &x509.Certificate{
		Subject: pkix.Name{
			Organization: []string{organization},
			CommonName:   fmt.Sprintf("Cambist development CA (%s), never for production", kind),
		},
		URIs:                  []*url.URL{c.domain.ID().URL()},
		NotAfter:              c.now().Add(rootLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// sign completes the template and issues it for a new key. Without an authority
// above it signs itself.
func (c *CA) sign(template *x509.Certificate, above *authority) (*x509.Certificate, crypto.Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("development CA: %w", err)
	}
	now := c.now()
	template.NotBefore = now.Add(-backdate)
	parent, signer := template, crypto.Signer(key)
	if above != nil {
		parent, signer = above.path[0], above.key
		if template.NotAfter.After(parent.NotAfter) {
			template.NotAfter = parent.NotAfter
		}
	}
	if !now.Before(template.NotAfter.Truncate(time.Second)) { // as the certificate will say it
		return nil, nil, errors.New("development CA: no life is left for a certificate")
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		return nil, nil, fmt.Errorf("development CA: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("development CA: %w", err)
	}
	return certificate, key, nil
}
