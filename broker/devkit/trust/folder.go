package trust

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// The files of a workload, as WriteSVID lays them down.
const (
	SVIDFile   = "svid.pem"     // the certificate, then what leads to the root: curl --cert
	KeyFile    = "svid-key.pem" // its private key, for the owner alone: curl --key
	BundleFile = "bundle.pem"   // the roots of the trust domain: curl --cacert
)

const (
	rootFile    = "ca.pem"
	rootKeyFile = "ca-key.pem"

	typeCertificate = "CERTIFICATE"
	typeKey         = "PRIVATE KEY"

	modePublic fs.FileMode = 0o644
	modeSecret fs.FileMode = 0o600
)

// Open returns the CA that is kept in the folder, and makes folder and CA the
// first time. Of several processes that do so at once all get the same CA: the
// key file holds the root too, and only one can put it there.
func Open(dir string, domain spiffeid.TrustDomain, now func() time.Time) (*CA, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	text, err := readSecret(filepath.Join(dir, rootKeyFile))
	if errors.Is(err, fs.ErrNotExist) {
		made, err := New(domain, now)
		if err != nil {
			return nil, err
		}
		if err := made.roots.now.keep(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("development CA: %w", err)
		}
		text, err = readSecret(filepath.Join(dir, rootKeyFile))
		if err != nil {
			return nil, fmt.Errorf("development CA: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	c := &CA{domain: domain, now: now}
	if c.roots, err = c.load(text); err != nil {
		return nil, fmt.Errorf("development CA in %s: %w (remove the folder for a new one)", dir, err)
	}
	c.roots.dir = dir
	if err := replace(filepath.Join(dir, rootFile), encode(certificates(c.roots.now.all())...), modePublic); err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	return c, nil
}

// keep puts the roots and their keys into the folder unless there are some
// already.
func (s *rootSet) keep(dir string) error {
	text, err := s.text()
	if err != nil {
		return err
	}
	temporary, err := write(dir, text, modeSecret)
	if err != nil {
		return err
	}
	return errors.Join(os.Link(temporary, filepath.Join(dir, rootKeyFile)), os.Remove(temporary))
}

// replace puts the roots and their keys into the folder in place of what is there.
// The keys go last: it is they that are read back.
func (s *rootSet) replace(dir string) error {
	text, err := s.text()
	if err == nil {
		err = replace(filepath.Join(dir, rootFile), encode(certificates(s.all())...), modePublic)
	}
	if err == nil {
		err = replace(filepath.Join(dir, rootKeyFile), text, modeSecret)
	}
	return err
}

// text is what is kept of the roots: for each its certificate and its two keys,
// first the one that signs. The next one is not among them: nothing depends on it.
func (s *rootSet) text() ([]byte, error) {
	var text []byte
	for _, r := range append([]*root{s.signing}, s.old...) {
		key, err := encodeKey(r.key)
		if err != nil {
			return nil, err
		}
		jwtKey, err := encodeKey(r.jwtKey)
		if err != nil {
			return nil, err
		}
		text = slices.Concat(text, encode(r.path...), key, jwtKey)
	}
	return text, nil
}

// load reads the roots back and refuses those that are not for this trust domain
// and one whose time is over: a person who sees either wants to know.
func (c *CA) load(text []byte) (*roots, error) {
	var list []*root
	for len(bytes.TrimSpace(text)) > 0 {
		r, rest, err := c.readRoot(text)
		if err != nil {
			return nil, err
		}
		list, text = append(list, r), rest
	}
	switch {
	case len(list) == 0:
		return nil, errKeyFile
	case !c.now().Before(list[0].path[0].NotAfter):
		return nil, errors.New("its certificate has expired")
	}
	return newRoots(list[0], list[1:]...), nil
}

var errKeyFile = errors.New(rootKeyFile + " does not hold a certificate and its two keys")

// readRoot reads the first root in the text and returns what follows it.
func (c *CA) readRoot(text []byte) (r *root, rest []byte, err error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != typeCertificate {
		return nil, nil, errKeyFile
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return nil, nil, err
	case !slices.Contains(certificate.Subject.Organization, organization):
		return nil, nil, errors.New("this is not a development CA")
	case len(certificate.URIs) != 1 || certificate.URIs[0].String() != c.domain.IDString():
		return nil, nil, fmt.Errorf("it is not for the trust domain %q", c.domain)
	}
	key, rest, err := readKey(rest)
	if err != nil {
		return nil, nil, err
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(certificate.PublicKey) {
		return nil, nil, errors.New("the key is not that of the certificate")
	}
	jwtKey, rest, err := readKey(rest)
	if err != nil {
		return nil, nil, err
	}
	r, err = makeRoot(certificate, key, jwtKey)
	return r, rest, err
}

func readKey(text []byte) (key crypto.Signer, rest []byte, err error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != typeKey {
		return nil, nil, errKeyFile
	}
	parsed, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, nil, err
	}
	key, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, nil, errKeyFile
	}
	return key, rest, nil
}

// WriteSVID lays the SVID and the bundle down in the folder, which it makes if
// need be. Each file is replaced as a whole; the key goes first, so that whoever
// watches the certificate finds its key there.
func WriteSVID(dir string, svid *x509svid.SVID, bundle *x509bundle.Bundle) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write SVID: %w", err)
	}
	key, err := encodeKey(svid.PrivateKey)
	if err != nil {
		return fmt.Errorf("write SVID: %w", err)
	}
	for _, f := range []struct {
		name string
		text []byte
		mode fs.FileMode
	}{
		{KeyFile, key, modeSecret},
		{SVIDFile, encode(svid.Certificates...), modePublic},
		{BundleFile, encode(bundle.X509Authorities()...), modePublic},
	} {
		if err := replace(filepath.Join(dir, f.name), f.text, f.mode); err != nil {
			return fmt.Errorf("write SVID: %w", err)
		}
	}
	return nil
}

func encode(certificates ...*x509.Certificate) []byte {
	var text bytes.Buffer
	for _, c := range certificates {
		text.Write(pem.EncodeToMemory(&pem.Block{Type: typeCertificate, Bytes: c.Raw}))
	}
	return text.Bytes()
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: typeKey, Bytes: der}), nil
}

// readSecret reads a file and refuses one that others may read.
func readSecret(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s may be read by others (chmod 600 %s)", path, path)
	}
	return os.ReadFile(path) //nolint:gosec // the developer names the folder
}

// replace writes a file so that a reader finds the old one or the new one, never
// a part of either.
func replace(path string, text []byte, mode fs.FileMode) error {
	temporary, err := write(filepath.Dir(path), text, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temporary, path); err != nil {
		return errors.Join(err, os.Remove(temporary))
	}
	return nil
}

// write makes a new file with a name of its own. Nobody else may read it before
// its mode says so.
func write(dir string, text []byte, mode fs.FileMode) (path string, err error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(mode), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}
