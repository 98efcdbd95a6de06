package exchange

import (
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Source is where the SVID of this workload and the bundles of trust domains
// come from: workloadapi.X509Source is one. It is asked on every use and answers
// from memory, with the newest that it has.
type Source interface {
	x509svid.Source
	x509bundle.Source
}

// pair makes one Source of two halves.
type pair struct {
	x509svid.Source
	bundles x509bundle.Source
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (p pair) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return p.bundles.GetX509BundleForTrustDomain(td)
}

// The files of a folder with an SVID.
const (
	svidFile   = "svid.pem"     // the certificate, then what leads to a root
	keyFile    = "svid-key.pem" // its private key
	bundleFile = "bundle.pem"   // the roots of its trust domain
)

// folder is a Source of three files that somebody else replaces.
type folder struct {
	files reread[identity]
}

type identity struct {
	svid   *x509svid.SVID
	bundle *x509bundle.Bundle
}

func newFolder(dir string, now func() time.Time, log *slog.Logger) *folder {
	f := &folder{}
	f.files.now, f.files.log, f.files.parse = now, log, parseIdentity
	for _, name := range []string{svidFile, keyFile, bundleFile} {
		f.files.paths = append(f.files.paths, filepath.Join(dir, name))
	}
	return f
}

func parseIdentity(contents [][]byte) (*identity, error) {
	svid, err := x509svid.Parse(contents[0], contents[1])
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", svidFile, keyFile, err)
	}
	bundle, err := x509bundle.Parse(svid.ID.TrustDomain(), contents[2])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", bundleFile, err)
	}
	if bundle.Empty() {
		return nil, fmt.Errorf("%s: no certificate", bundleFile)
	}
	return &identity{svid, bundle}, nil
}

// GetX509SVID implements x509svid.Source.
func (f *folder) GetX509SVID() (*x509svid.SVID, error) {
	i, err := f.files.get()
	if err != nil {
		return nil, err
	}
	return i.svid, nil
}

// GetX509BundleForTrustDomain implements x509bundle.Source.
func (f *folder) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	i, err := f.files.get()
	if err != nil {
		return nil, err
	}
	return i.bundle.GetX509BundleForTrustDomain(td)
}

// newAuthorities returns the CA certificates of a PEM file.
func newAuthorities(path string, now func() time.Time, log *slog.Logger) *reread[x509.CertPool] {
	r := &reread[x509.CertPool]{paths: []string{path}, now: now, log: log}
	r.parse = func(contents [][]byte) (*x509.CertPool, error) {
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(contents[0]) {
			return nil, errors.New("no certificate in " + path)
		}
		return pool, nil
	}
	return r
}
