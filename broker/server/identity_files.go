package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/keys"
)

const maxIdentityFile = 1 << 20

// readIdentity reads all the files. It does so on each look, and compares what
// they say instead of their times: links that are moved, and clocks of other
// machines, make times a bad witness.
func readIdentity(c *identitySource) identityFinding {
	f := identityFinding{bundles: make(bundles[authorities], len(c.Bundles))}
	f.svid, f.svidErr = readSVID(c.Cert, c.Key)
	for name, path := range c.Bundles {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			continue // newIdentity has seen to it
		}
		f.bundles[domain] = foundAuthorities(readFile(path, mtls.ParseBundle))
	}
	return f
}

// readFile reads what parse understands; an error names the file.
func readFile[T any](path string, parse func([]byte) (T, error)) (T, error) {
	var none T
	text, err := readIdentityFile(path, false)
	if err != nil {
		return none, err
	}
	bundle, err := parse(text)
	if err != nil {
		return none, fmt.Errorf("%s: %w", path, err)
	}
	return bundle, nil
}

// readSVID reads certificate and key, which must belong together, and lets
// go-spiffe look at the rest. The key may stand in any of the forms that OpenSSL
// writes.
func readSVID(certPath, keyPath string) (*x509svid.SVID, error) {
	cert, err := readIdentityFile(certPath, false)
	if err != nil {
		return nil, err
	}
	key, err := readIdentityFile(keyPath, true)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("%s and %s: %w", certPath, keyPath, err)
	}
	var chain []byte
	for _, der := range pair.Certificate {
		chain = append(chain, der...)
	}
	private, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", keyPath, err)
	}
	svid, err := x509svid.ParseRaw(chain, private)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", certPath, err)
	}
	return svid, nil
}

// readIdentityFile reads a file of reasonable size. A secret one that others may
// read is refused, as the key-encryption key is; the file that is checked is the
// one that is read.
func readIdentityFile(path string, secret bool) ([]byte, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if !info.Mode().IsRegular() { // to open a pipe would wait for its writer
		return nil, fmt.Errorf("%s is not a file", path)
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the path
	if err != nil {
		return nil, err
	}
	text, err := readOpen(f, secret)
	return text, errors.Join(err, f.Close())
}

func readOpen(f *os.File, secret bool) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case secret:
		if err := keys.CheckSecret(info); err != nil {
			return nil, fmt.Errorf("%s: %w (chmod 600 %s)", f.Name(), err, f.Name())
		}
	}
	text, err := io.ReadAll(io.LimitReader(f, maxIdentityFile+1))
	if err == nil && len(text) > maxIdentityFile {
		err = fmt.Errorf("%s is larger than 1 MiB", f.Name())
	}
	return text, err
}
