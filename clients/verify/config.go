package verify

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/jws"
)

// Config is all that a Verifier depends on. Issuer, Audiences and Now are
// required.
type Config struct {
	// Issuer is the issuer identifier of the broker, letter by letter.
	Issuer string
	// Audiences are the URIs by which policy calls this service. A token must
	// be for one of them, letter by letter.
	Audiences []string
	// Algorithms are those that tokens may be signed with. None means ES256.
	Algorithms []jws.Algorithm
	// Keys says where the keys of the issuer are. The zero value finds them by
	// discovery.
	Keys KeySource
	// AllowBearer accepts a token without cnf from whoever has it. A token with
	// cnf is held to it all the same.
	AllowBearer bool
	// DPoP accepts tokens that are bound to a key (RFC 9449), with a proof of
	// that key. Nil refuses them.
	DPoP *DPoPConfig
	// Leeway is how far the clock of the broker may differ from ours; it is used
	// for exp, iat and nbf alike. 0 means 10 seconds, 30 are the most.
	Leeway time.Duration
	// MaxStale is how long the last keys serve while no new ones can be had,
	// after which nothing is accepted. 0 means 24 hours.
	MaxStale time.Duration
	// Dev permits an issuer and keys on loopback, by http too.
	Dev bool
	// Now is the clock.
	Now func() time.Time
}

// KeySource says where the JWK Set of the issuer is and how its server proves who
// it is. Without URL and File it is where the metadata of the issuer say (RFC
// 8414), which must be on the issuer's own host.
type KeySource struct {
	URL  string // of the set
	File string // a file with the set, read again and again

	Roots *x509.CertPool // authorities for the server's name; nil means those of the system

	// Bundles and Server, both or neither, are for a server that shows an
	// X.509-SVID: it must be the one of this very ID.
	Bundles x509bundle.Source
	Server  spiffeid.ID
}

const (
	defaultLeeway   = 10 * time.Second
	maxLeeway       = 30 * time.Second
	defaultMaxStale = 24 * time.Hour
	maxMaxStale     = 7 * 24 * time.Hour
	maxAudience     = 1024 // bytes
)

// Validate returns every fault of the configuration at once.
func (c *Config) Validate() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf("verify: "+format, args...)) }
	if u, err := url.Parse(c.Issuer); err != nil || u.Host == "" || c.Issuer != u.Scheme+"://"+u.Host || !c.fetchable(u) {
		add("Issuer %q is not https:// and a host%s", c.Issuer, c.devHint())
	}
	if len(c.Audiences) == 0 {
		add("Audiences is empty")
	}
	for _, a := range c.Audiences {
		if !quotable(a) || len(a) > maxAudience {
			add("audience %q is not a URI", a)
		}
	}
	for _, a := range c.Algorithms {
		if !a.Known() {
			add("algorithm %q is not known", a)
		}
	}
	if c.Leeway < 0 || c.Leeway > maxLeeway {
		add("Leeway is %v, at most %v", c.Leeway, maxLeeway)
	}
	if c.MaxStale != 0 && (c.MaxStale < maxRefresh || c.MaxStale > maxMaxStale) {
		add("MaxStale is %v, from %v to %v", c.MaxStale, maxRefresh, maxMaxStale)
	}
	if c.Now == nil {
		add("Now is not set")
	}
	return errors.Join(slices.Concat(faults, c.validateKeys(), c.validateDPoP())...)
}

func (c *Config) validateKeys() []error {
	var faults []error
	k := &c.Keys
	if k.URL != "" && k.File != "" {
		faults = append(faults, errors.New("verify: Keys has both a URL and a File"))
	}
	if k.URL != "" {
		if u, err := url.Parse(k.URL); err != nil || u.Host == "" || u.User != nil || u.Fragment != "" || !c.fetchable(u) {
			faults = append(faults, fmt.Errorf("verify: Keys.URL %q is not an https URL%s", k.URL, c.devHint()))
		}
	}
	if (k.Bundles == nil) != k.Server.IsZero() {
		faults = append(faults, errors.New("verify: Keys needs both Bundles and Server, or neither"))
	}
	if k.Bundles != nil && k.Roots != nil {
		faults = append(faults, errors.New("verify: Keys has both Bundles and Roots"))
	}
	return faults
}

// fetchable reports whether keys may come from that URL: over TLS, and from this
// very machine for development alone. An issuer on loopback is that of `cambist
// dev`, and whoever has a port of this machine could be it.
func (c *Config) fetchable(u *url.URL) bool {
	local := loopback(u.Hostname())
	return u.Scheme == "https" && (!local || c.Dev) || u.Scheme == "http" && local && c.Dev
}

func (c *Config) devHint() string {
	if c.Dev {
		return ", nor http:// and a loopback host"
	}
	return ", or is on loopback, which needs Dev"
}

// loopback reports whether a host is this machine by its very name. Names that
// merely stand for such an address are found when they are connected to.
func loopback(host string) bool {
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	a, err := netip.ParseAddr(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || err == nil && (a.Unmap().IsLoopback() || a.Unmap().IsUnspecified())
}

// quotable reports whether text is printable ASCII that needs no escaping in a
// quoted string: it stands in challenges.
func quotable(text string) bool {
	return text != "" && !slices.ContainsFunc([]byte(text), func(c byte) bool { return c <= 0x20 || c >= 0x7f || c == '"' || c == '\\' })
}
