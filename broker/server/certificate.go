package server

import (
	"crypto/tls"
	"fmt"
	"os"
	"sync"
	"time"
)

// certificate is a TLS certificate from files, read again when they change, for
// clients that know the server by a DNS name.
type certificate struct {
	cert, key string
	now       func() time.Time
	warn      func(text string, args ...any)

	mu      sync.Mutex // guards what follows
	current *tls.Certificate
	looked  time.Time
	stamp   string
}

// certificateInterval is how often the files are looked at, at most.
const certificateInterval = 10 * time.Second

// newCertificate reads the files once; a server does not start without what it
// was told to show.
func newCertificate(cert, key string, now func() time.Time, warn func(string, ...any)) (*certificate, error) {
	c := &certificate{cert: cert, key: key, now: now, warn: warn}
	loaded, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("certificate %s: %w", cert, err)
	}
	c.current, c.stamp, c.looked = &loaded, stampOf(cert, key), now()
	return c, nil
}

// get returns the certificate. Files that changed and cannot be read leave the
// last good one in place: half a renewal is no reason to serve nobody.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if now.Sub(c.looked) < certificateInterval {
		return c.current, nil
	}
	c.looked = now
	stamp := stampOf(c.cert, c.key)
	if stamp == c.stamp {
		return c.current, nil
	}
	loaded, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		c.warn("the certificate changed and cannot be read, the old one is shown", "file", c.cert, "error", err)
		return c.current, nil
	}
	c.current, c.stamp = &loaded, stamp
	return c.current, nil
}

// tlsConfig is for a listener that shows this certificate to everybody and asks
// for none.
func (c *certificate) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get, SessionTicketsDisabled: true}
}

// forName returns the certificate only to clients that ask for a name that is
// on it: everybody else is shown the SVID.
func (c *certificate) forName(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	current, err := c.get(hello)
	if err != nil || hello.ServerName == "" || current.Leaf == nil || current.Leaf.VerifyHostname(hello.ServerName) != nil {
		return nil, err
	}
	return current, nil
}

// stampOf names the state of files, by what their folder says of them.
func stampOf(paths ...string) string {
	stamp := ""
	for _, path := range paths {
		info, err := os.Stat(path)
		if err != nil {
			stamp += path + ": " + err.Error() + "\n"
			continue
		}
		stamp += fmt.Sprintf("%s: %d bytes at %d\n", path, info.Size(), info.ModTime().UnixNano())
	}
	return stamp
}
