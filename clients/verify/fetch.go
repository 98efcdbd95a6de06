package verify

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/cambist/cambist/broker/jws"
)

// fetchTimeout bounds one document, from the lookup of the name to the last byte.
const fetchTimeout = 2 * time.Second

// fetcher gets the key set of one issuer.
type fetcher struct {
	issuer     string
	url, file  string
	algorithms []jws.Algorithm
	client     *http.Client
}

// newFetcher keeps no connection open, so that each fetch looks up the name and
// verifies the server anew.
func newFetcher(c *Config) *fetcher {
	dialer := &net.Dialer{Control: refuseAddress(c.Dev)}
	return &fetcher{
		issuer: c.Issuer, url: c.Keys.URL, file: c.Keys.File, algorithms: c.Algorithms,
		client: &http.Client{
			Timeout:       fetchTimeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			Transport: &http.Transport{
				Proxy:                  nil, // not even the one of the environment
				DialContext:            dialer.DialContext,
				TLSClientConfig:        tlsClient(c),
				DisableKeepAlives:      true,
				DisableCompression:     true,
				MaxResponseHeaderBytes: 32 << 10,
			},
		},
	}
}

func tlsClient(c *Config) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: c.Keys.Roots}
	if c.Keys.Bundles != nil {
		tlsconfig.HookTLSClientConfig(config, c.Keys.Bundles, tlsconfig.AuthorizeID(c.Keys.Server))
	}
	return config
}

var (
	errAddress   = errors.New("the address is of this machine or of its link")
	errNoKeys    = errors.New("no key in the set can be used")
	errDocument  = errors.New("not the metadata of this issuer")
	errElsewhere = errors.New("jwks_uri is not on the host of the issuer; if it should be there, set Keys.URL")
	errFile      = errors.New("not a plain file")
)

// refuseAddress is a net.Dialer.Control that looks at each address right before
// it is connected to, so a name cannot lead to a port of this machine, or to what
// answers on its link: the metadata of a cloud. Private addresses are where most
// brokers are, and the configuration says whom to ask, so those pass.
func refuseAddress(dev bool) func(network, address string, _ syscall.RawConn) error {
	return func(_, address string, _ syscall.RawConn) error {
		to, err := netip.ParseAddrPort(address)
		if err != nil {
			return errAddress
		}
		a := to.Addr().Unmap()
		switch {
		case a.IsLoopback() && dev:
			return nil
		case a.IsLoopback(), a.IsUnspecified(), a.IsLinkLocalUnicast(), a.IsMulticast():
			return errAddress
		}
		return nil
	}
}

// fetch gets the keys once.
func (f *fetcher) fetch(ctx context.Context) fetched {
	body, maxAge, err := f.read(ctx)
	if err != nil {
		return fetched{err: fmt.Errorf("keys: %w", err)}
	}
	set, skipped, err := jws.ParseKeySet(body, f.algorithms)
	if err != nil {
		return fetched{err: fmt.Errorf("keys: %w", err)}
	}
	if set.Len() == 0 {
		return fetched{err: fmt.Errorf("keys: %w", errors.Join(append([]error{errNoKeys}, skipped...)...))}
	}
	return fetched{set: set, skipped: skipped, maxAge: maxAge}
}

func (f *fetcher) read(ctx context.Context) (body []byte, maxAge time.Duration, err error) {
	if f.file != "" {
		body, err = readFile(f.file)
		return body, rereadEvery, err
	}
	where := f.url
	if where == "" {
		if where, err = f.discover(ctx); err != nil {
			return nil, 0, fmt.Errorf("metadata: %w", err)
		}
	}
	return f.get(ctx, where)
}

// discover returns the jwks_uri of the issuer (RFC 8414 section 3). The metadata
// must name the issuer letter by letter, and lead to no other host.
func (f *fetcher) discover(ctx context.Context) (string, error) {
	body, _, err := f.get(ctx, f.issuer+"/.well-known/oauth-authorization-server")
	if err != nil {
		return "", err
	}
	var document struct {
		Issuer  string `json:"issuer"`
		JWKSURI string `json:"jwks_uri"`
	}
	if err := jws.DecodeClaims(body, &document, maxDepth); err != nil || document.Issuer != f.issuer {
		return "", errDocument
	}
	u, err := url.Parse(document.JWKSURI)
	if err != nil || u.User != nil || u.Scheme+"://"+u.Host != f.issuer {
		return "", errElsewhere
	}
	return document.JWKSURI, nil
}

func (f *fetcher) get(ctx context.Context, address string) (body []byte, maxAge time.Duration, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, 0, err
	}
	request.Header.Set("Accept", "application/json")
	request.Header.Set("User-Agent", "cambist")
	response, err := f.client.Do(request)
	if err != nil {
		return nil, 0, err
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return nil, 0, fmt.Errorf("get %s: status %d", address, response.StatusCode)
	}
	body, err = io.ReadAll(io.LimitReader(response.Body, jws.MaxKeySetBytes+1)) // one over the limit is refused when it is parsed
	if err != nil {
		return nil, 0, fmt.Errorf("get %s: %w", address, err)
	}
	return body, refreshAfter(response.Header), nil
}

// refreshAfter returns the max-age of a response (RFC 9111 section 5.2.2.1),
// within our bounds.
func refreshAfter(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(strings.ToLower(strings.Join(h["Cache-Control"], ",")), ",") {
		seconds, ok := strings.CutPrefix(strings.TrimSpace(directive), "max-age=")
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.Trim(seconds, `"`), 10, 31)
		if err != nil {
			break
		}
		return min(max(time.Duration(n)*time.Second, minRefresh), maxRefresh)
	}
	return defaultRefresh
}

// readFile reads a key set from a plain file. It is read anew each time instead
// of watched: that sees every way to change a file. A pipe neither blocks it nor
// is read.
func readFile(name string) ([]byte, error) {
	file, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) //nolint:gosec // the configuration names it
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // it was only read
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errFile
	}
	return io.ReadAll(io.LimitReader(file, jws.MaxKeySetBytes+1))
}
