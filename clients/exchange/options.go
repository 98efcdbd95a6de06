package exchange

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Option is a setting of New. Of two that set the same the later counts.
type Option func(*settings)

// settings are those of one client. They do not change after New.
type settings struct {
	url       string // of the broker, without a path
	serverURL *url.URL
	serverIDs string
	serverID  spiffeid.ID // the broker, if it is known by its SPIFFE ID
	caFile    string
	ca        *reread[x509.CertPool] // else the CA that its name is proven by

	dir    string
	open   func(context.Context) (Source, error)
	source Source
	opened io.Closer // what New opened and Close closes

	roots *x509.CertPool // of the system
	plain bool
	log   *slog.Logger
	now   func() time.Time
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	errs  []error // faults that an option found
}

// WithURL sets the URL of the broker's mTLS listener, as
// https://cambist.cambist.svc:8443.
func WithURL(u string) Option { return func(s *settings) { s.url = u } }

// WithServerID names the broker by its SPIFFE ID: the client talks to that
// workload and to no other.
func WithServerID(id string) Option {
	return func(s *settings) { s.serverIDs, s.caFile = id, "" }
}

// WithServerCA names the broker by the host of its URL, proven by the CA
// certificates of a PEM file, which is read again when it changes. It is for a
// broker without a SPIFFE ID.
func WithServerCA(file string) Option {
	return func(s *settings) { s.serverIDs, s.caFile = "", file }
}

// WithSource sets where SVID and bundles come from. They stay the caller's to
// close.
func WithSource(svids x509svid.Source, bundles x509bundle.Source) Option {
	return func(s *settings) {
		if svids == nil || bundles == nil {
			s.fault("WithSource needs both, where SVIDs and where bundles come from")
		}
		s.source, s.dir = pair{svids, bundles}, ""
	}
}

// WithSVIDDir takes SVID and bundle from a folder with svid.pem, svid-key.pem and
// bundle.pem, which are read again when they change.
func WithSVIDDir(dir string) Option {
	return func(s *settings) { s.dir, s.source = dir, nil }
}

// WithSourceFrom sets what opens a Source, if nothing else names one: neither
// WithSource nor a folder. New calls it with its context; Close closes the source
// if it is an io.Closer. Package spiffe has one for the SPIFFE Workload API.
func WithSourceFrom(open func(context.Context) (Source, error)) Option {
	return func(s *settings) { s.open = open }
}

// WithPlainHTTP lets tokens travel over http:// to the hosts of their resource:
// where a mesh encrypts the connection, or on loopback. Without it they travel
// over https:// alone. It changes nothing for the broker, which is https:// always.
func WithPlainHTTP() Option { return func(s *settings) { s.plain = true } }

// WithLogger sets who is told of what a caller does not see: renewals that fail
// while the old token is still good, new SVIDs, tokens that a resource rejects.
// Nothing is logged without it. No token is logged ever.
func WithLogger(l *slog.Logger) Option { return func(s *settings) { s.log = l } }

// WithClock sets the clock, for tests: it must go on, as waiting is real.
func WithClock(now func() time.Time) Option {
	return func(s *settings) {
		if now != nil {
			s.now = now
		}
	}
}

// resolve checks the settings and opens the source. It reports every fault at
// once.
func (s *settings) resolve(ctx context.Context) error {
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.roots, _ = x509.SystemCertPool() // a system without any has nobody to trust by name alone
	if s.roots == nil {
		s.roots = x509.NewCertPool()
	}
	s.checkServer()
	if s.dir != "" {
		s.source = newFolder(s.dir, s.now, s.log)
	} else if s.source == nil && s.open == nil {
		s.fault("there is no SVID: set CAMBIST_SVID_DIR, or give New the option spiffe.WorkloadAPI() or WithSource")
	}
	if len(s.errs) > 0 {
		return errors.Join(s.errs...)
	}
	if s.source == nil {
		source, err := s.open(ctx)
		if err != nil {
			return err
		}
		s.source = source
		s.opened, _ = source.(io.Closer)
	}
	return nil
}

// checkServer makes sure that the broker has a name that it can prove. There is
// no such thing as any member of the trust domain.
func (s *settings) checkServer() {
	u, err := url.Parse(s.url)
	switch {
	case s.url == "":
		s.fault("the broker has no URL: set CAMBIST_URL")
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || strings.Trim(u.Path, "/")+u.RawQuery+u.Fragment != "":
		s.fault("the URL of the broker must be https://HOST[:PORT]")
	default:
		u.Path, u.RawPath = "", ""
		s.serverURL = u
	}
	switch {
	case s.serverIDs != "" && s.caFile != "":
		s.fault("the broker is named twice: keep one of CAMBIST_SERVER_ID and CAMBIST_CA_FILE")
	case s.serverIDs != "":
		if s.serverID, err = spiffeid.FromString(s.serverIDs); err != nil {
			s.fault("the server ID %q is not a SPIFFE ID: %w", s.serverIDs, err)
		} else if s.serverID.Path() == "" {
			s.fault("the server ID %q is a trust domain: name the one workload that is the broker", s.serverIDs)
		}
	case s.caFile != "":
		s.ca = newAuthorities(s.caFile, s.now, s.log)
		if _, err := s.ca.get(); err != nil {
			s.fault("CA of the broker: %w", err)
		}
	default:
		s.fault("the broker has no name: set CAMBIST_SERVER_ID to its SPIFFE ID, or CAMBIST_CA_FILE to the CA of its DNS name")
	}
}

func (s *settings) fault(format string, args ...any) {
	s.errs = append(s.errs, fmt.Errorf(format, args...))
}
