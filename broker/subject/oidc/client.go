package oidc

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/cambist/cambist/broker/jws"
)

// fetchTimeout bounds one document, from the lookup of the name to the last
// byte.
const fetchTimeout = 2 * time.Second

// FetchConfig says where a Fetcher may go. The zero value goes to public
// addresses with certificates that the system trusts.
type FetchConfig struct {
	// PrivateHosts are hosts, by name or address and with a port or without,
	// that may lie on private and loopback addresses. Those that are loopback
	// by their own name may also be asked by http.
	PrivateHosts []string
	// Roots are the authorities to trust; nil means those of the system.
	Roots *x509.CertPool
}

// Validate refuses entries that could never match: a URL, a pattern.
func (c *FetchConfig) Validate() error {
	var faults []error
	for _, host := range c.PrivateHosts {
		if host == "" || strings.ContainsAny(host, "/@*?#% ") {
			faults = append(faults, fmt.Errorf("private host %q is not a host or host:port", host))
		}
	}
	return errors.Join(faults...)
}

// Fetcher gets documents of issuers.
type Fetcher struct {
	client  *http.Client
	private map[string]bool // lower case, with a port or without
}

// NewFetcher returns a Fetcher. It keeps no connection open, so every fetch
// looks up the name, checks the address and verifies the certificate again.
func NewFetcher(c FetchConfig) *Fetcher {
	f := &Fetcher{private: map[string]bool{}}
	for _, host := range c.PrivateHosts {
		f.private[strings.ToLower(host)] = true
	}
	f.client = &http.Client{
		Timeout:       fetchTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  nil, // not even the one of the environment
			DialContext:            f.dial,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Roots},
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 32 << 10,
		},
	}
	return f
}

var (
	errURL     = errors.New("not a URL that is fetched")
	errAddress = errors.New("the address is not public and the host is not listed")
	errLarge   = errors.New("the document is too large")
)

// Fetch gets a document.
func (f *Fetcher) Fetch(ctx context.Context, address string) ([]byte, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.User != nil || u.Fragment != "" || !f.secure(u) {
		return nil, errURL
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, errURL
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "cambist")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("get %s: status %d", address, response.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, jws.MaxKeySetBytes+1))
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", address, err)
	}
	if len(body) > jws.MaxKeySetBytes {
		return nil, fmt.Errorf("get %s: %w", address, errLarge)
	}
	return body, nil
}

// secure reports whether what comes from a URL is what its host sent: over TLS,
// or from this very machine where that is listed.
func (f *Fetcher) secure(u *url.URL) bool {
	switch u.Scheme {
	case "https":
		return true
	case "http":
		port := u.Port()
		if port == "" {
			port = "80"
		}
		return loopback(u.Hostname()) && f.listed(u.Hostname(), port)
	}
	return false
}

func loopback(host string) bool {
	address, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && address.IsLoopback()
}

func (f *Fetcher) listed(host, port string) bool {
	host = strings.ToLower(host)
	return f.private[host] || f.private[net.JoinHostPort(host, port)]
}

// dial connects to a host. Unless it is listed, every address that its name
// stands for is checked right before the connection to it is made.
func (f *Fetcher) dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	if !f.listed(host, port) {
		d.Control = refusePrivate
	}
	return d.DialContext(ctx, network, address)
}

// refusePrivate is a net.Dialer.Control.
func refusePrivate(_, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !public(to.Addr()) {
		return errAddress
	}
	return nil
}
