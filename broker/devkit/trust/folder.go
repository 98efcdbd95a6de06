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
		if err := made.keep(dir); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("development CA: %w", err)
		}
		text, err = readSecret(filepath.Join(dir, rootKeyFile))
		if err != nil {
			return nil, fmt.Errorf("development CA: %w", err)
		}
	} else if err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	c, err := load(text, domain, now)
	if err != nil {
		return nil, fmt.Errorf("development CA in %s: %w (remove the folder for a new one)", dir, err)
	}
	if err := replace(filepath.Join(dir, rootFile), encode(c.path...), modePublic); err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	return c, nil
}

// keep puts root and key into the folder unless there are some already.
func (c *CA) keep(dir string) error {
	key, err := encodeKey(c.key)
	if err != nil {
		return err
	}
	temporary, err := write(dir, append(encode(c.path...), key...), modeSecret)
	if err != nil {
		return err
	}
	return errors.Join(os.Link(temporary, filepath.Join(dir, rootKeyFile)), os.Remove(temporary))
}

// load reads the CA back and refuses one that is not for this trust domain or
// whose time is over: a person who sees either wants to know.
func load(text []byte, domain spiffeid.TrustDomain, now func() time.Time) (*CA, error) {
	c := &CA{domain: domain, now: now}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		switch block.Type {
		case typeCertificate:
			certificate, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, err
			}
			c.path = append(c.path, certificate)
		case typeKey:
			key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return nil, err
			}
			c.key, _ = key.(crypto.Signer)
		}
	}
	if len(c.path) != 1 || c.key == nil {
		return nil, fmt.Errorf("%s does not hold one certificate and its key", rootKeyFile)
	}
	root := c.path[0]
	public, ok := c.key.Public().(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !public.Equal(root.PublicKey):
		return nil, errors.New("the key is not that of the certificate")
	case !slices.Contains(root.Subject.Organization, organization):
		return nil, errors.New("this is not a development CA")
	case len(root.URIs) != 1 || root.URIs[0].String() != domain.IDString():
		return nil, fmt.Errorf("it is not for the trust domain %q", domain)
	case !now().Before(root.NotAfter):
		return nil, errors.New("its certificate has expired")
	}
	return c, nil
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
