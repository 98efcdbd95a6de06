package server

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/subject/oidc"
)

// Config is everything that a server is told. Its tags are the flags of `cambist
// serve`; the environment (CAMBIST_…) and the file use the same names. Every
// secret is a path to a file, never a value.
type Config struct {
	Issuer       string         `help:"Issuer identifier: the iss of every token and the base of the metadata." placeholder:"URL"`
	Store        string         `help:"Where policy, keys and records live: postgres://… for a fleet, sqlite:///path for one node." placeholder:"DSN"`
	Replica      string         `help:"Name of this replica; stable over restarts, different from every other." default:"${hostname}"`
	OwnAudiences []string       `help:"More audiences of subject tokens that name this server, beside the issuer and cambist." placeholder:"AUD"`
	Audit        AuditConfig    `embed:"" prefix:"audit-"`
	Keys         KeysConfig     `embed:"" prefix:"keys-"`
	Identity     IdentityConfig `embed:"" prefix:"identity-"`
	Mtls         MtlsConfig     `embed:"" prefix:"mtls-"`
	Public       PublicConfig   `embed:"" prefix:"public-"`
	Ops          OpsConfig      `embed:"" prefix:"ops-"`
	Limits       LimitsConfig   `embed:"" prefix:"limits-"`
	DPoP         DPoPConfig     `embed:"" prefix:"dpop-"`
	Outbound     OutboundConfig `embed:"" prefix:"outbound-"`
	Log          LogConfig      `embed:"" prefix:"log-"`
	Drain        time.Duration  `help:"How long the server stays reachable after it turned unready, before it stops." default:"5s"`

	Assertion AssertionConfig `embed:"" prefix:"assertion-"`
	Trust     TrustConfig     `help:"Trust domain to who else may assert its identities; kubernetes takes issuer, audience, and jwks_uri or jwks_file." placeholder:"TRUST-DOMAIN={\"kubernetes\":{…}}"`
}

// AuditConfig says when a record counts as written. It has no default: whoever
// runs a server must have chosen.
type AuditConfig struct {
	Commit string `help:"Commit point of the record: database (a durable row before any token; refuses while the database is away)." placeholder:"database"`
}

// KeysConfig says how signing keys are protected and when they turn over.
type KeysConfig struct {
	KekFile     string        `help:"File with the key that encrypts private keys at rest: 32 random bytes in base64 (openssl rand -base64 32), mode 0600." placeholder:"PATH"`
	PublishLead time.Duration `help:"How long a key is published before it signs." default:"15m"`
	RotateEvery time.Duration `help:"Age at which a signing key is replaced." default:"24h"`
}

// IdentityConfig says where the server's own SVID and the trust bundles come
// from: the SPIFFE Workload API, or files that are re-read when they change.
type IdentityConfig struct {
	WorkloadAPI string            `help:"Address of the SPIFFE Workload API." placeholder:"unix:///run/spire/agent.sock"`
	Cert        string            `help:"File with the server's X.509-SVID chain in PEM (instead of the Workload API)." placeholder:"PATH"`
	Key         string            `help:"File with its private key in PEM." placeholder:"PATH"`
	Bundles     map[string]string `help:"Trust domain to file with its X.509 bundle in PEM." placeholder:"TRUST-DOMAIN=PATH"`
	JWTBundles  map[string]string `name:"jwt-bundles" help:"Trust domain to file with its SPIFFE bundle (JSON), for JWT-SVIDs that callers show as client assertion or actor token." placeholder:"TRUST-DOMAIN=PATH"`
	Interval    time.Duration     `help:"How often the files are looked at." default:"1s"`
}

// MtlsConfig is the listener for workloads with an X.509-SVID.
type MtlsConfig struct {
	Address string `help:"Address of the mTLS listener." default:":8443"`
	URL     string `name:"url" help:"URL by which workloads reach it; the issuer if empty." placeholder:"URL"`
	Cert    string `help:"File with a certificate for clients that know the server by DNS name; chosen by SNI, else the SVID is shown." placeholder:"PATH"`
	Key     string `help:"File with its private key." placeholder:"PATH"`
}

// PublicConfig is the listener that serves only JWKS and metadata.
type PublicConfig struct {
	Address string `help:"Address of the public listener (JWKS and metadata alone); empty turns it off." placeholder:":8445"`
	Cert    string `help:"File with its TLS certificate in PEM." placeholder:"PATH"`
	Key     string `help:"File with its private key in PEM." placeholder:"PATH"`
}

// OpsConfig is the listener for health and metrics.
type OpsConfig struct {
	Address string `help:"Address of the operations listener (plain HTTP: /livez, /readyz, /metrics)." default:"127.0.0.1:9090"`
}

// LimitsConfig are the caps that policy cannot raise.
type LimitsConfig struct {
	TTLCap     time.Duration `name:"ttl-cap" help:"Longest life of any token; at most 1h." default:"15m"`
	ChainDepth int           `help:"Most links of a delegation chain; at most 8." default:"4"`
	Concurrent int           `help:"Requests served at once on a listener; more wait shortly, then get 503." default:"256"`
	Rate       float64       `help:"Requests a second that one workload may make; 0 turns the limit off." default:"200"`
	Burst      int           `help:"Requests that one workload may make at once." default:"400"`
	Self       bool          `help:"Serve GET /oauth2/self." default:"true" negatable:""`
}

// DPoPConfig says what is asked of DPoP proofs (RFC 9449).
type DPoPConfig struct {
	Nonce  bool `help:"Demand a nonce of this server in DPoP proofs: none can be made in advance, at the cost of a round trip now and then. Replicas with one key-encryption key accept each other's." default:"false"`
	Proofs int  `help:"DPoP proofs that are remembered at once, each for a minute, so that none is used twice; when there are more, requests with a proof get 503. 0 means 262144." default:"262144"`
}

// OutboundConfig says what the server may connect to for keys of issuers.
type OutboundConfig struct {
	CAFile       string   `name:"ca-file" help:"File with CA certificates for issuers, besides those of the system." placeholder:"PATH"`
	PrivateHosts []string `help:"Issuer hosts (host or host:port) that may be at private or loopback addresses, and may use plain http at loopback ones." placeholder:"HOST"`
}

// LogConfig says how the server logs.
type LogConfig struct {
	Level  string `help:"Least level that is logged: debug, info, warn or error." default:"info" enum:"debug,info,warn,error"`
	Format string `help:"json or text." default:"json" enum:"json,text"`
	Access bool   `help:"Write an access log line for every request." default:"true" negatable:""`
}

// Faults returns every fault of the configuration at once, each with its fix, or
// nil. It is not named Validate: the flag grammar calls a method of that name by
// itself, before a verb can say more.
func (c *Config) Faults() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	c.validateIssuer(fault)
	switch {
	case c.Store == "":
		fault("store: is missing; give postgres://… or sqlite:///path")
	case !strings.HasPrefix(c.Store, "sqlite://") && !strings.HasPrefix(c.Store, "postgres://") && !strings.HasPrefix(c.Store, "postgresql://"):
		fault("store: must begin with postgres:// or sqlite://")
	}
	if c.Replica == "" {
		fault("replica: is empty; name this replica")
	}
	switch c.Audit.Commit {
	case "database":
	case "":
		fault("audit.commit: must be chosen; set it to database")
	default:
		fault("audit.commit: %q is not one of: database", c.Audit.Commit)
	}
	if c.Keys.KekFile == "" {
		fault("keys.kek_file: is missing; make one with: openssl rand -base64 32 > kek && chmod 600 kek")
	}
	if c.Keys.PublishLead < 0 || c.Keys.RotateEvery <= c.Keys.PublishLead {
		fault("keys.rotate_every: must be longer than keys.publish_lead")
	}
	c.validateIdentity(fault)
	if err := (&oidc.FetchConfig{PrivateHosts: c.Outbound.PrivateHosts}).Validate(); err != nil {
		fault("outbound.private_hosts: %w", err)
	}
	c.validateListeners(fault)
	c.validateAssertion(fault)
	c.validateTrust(fault)
	if c.Limits.TTLCap < broker.MinTTL || c.Limits.TTLCap > broker.MaxTTLCap {
		fault("limits.ttl_cap: must be from %s to %s", broker.MinTTL, broker.MaxTTLCap)
	}
	if c.Limits.ChainDepth < 1 || c.Limits.ChainDepth > 8 {
		fault("limits.chain_depth: must be from 1 to 8")
	}
	if c.Limits.Concurrent < 1 || c.Limits.Rate < 0 || c.Limits.Rate > 0 && c.Limits.Burst < 1 {
		fault("limits: concurrent and burst must be at least 1, rate not negative")
	}
	if c.DPoP.Proofs < 0 {
		fault("dpop.proofs: must not be negative")
	}
	if c.Drain < 0 {
		fault("drain: must not be negative")
	}
	return errors.Join(faults...)
}

// validateIssuer holds the issuer to RFC 8414 section 2: https, no query, no
// fragment. It is compared byte for byte ever after, so it must be canonical.
func (c *Config) validateIssuer(fault func(string, ...any)) {
	if c.Issuer == "" {
		fault("issuer: is missing; give the https URL that clients and verifiers know this server by")
		return
	}
	u, err := url.Parse(c.Issuer)
	switch {
	case err != nil || u.Scheme != "https" || u.Host == "" || u.User != nil:
		fault("issuer: must be an https URL with a host")
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(c.Issuer, "#"):
		fault("issuer: must have no query and no fragment")
	case u.Path != "":
		fault("issuer: must have no path, not even a slash: the well-known documents stand at its root")
	case u.String() != c.Issuer || u.Host != strings.ToLower(u.Host):
		fault("issuer: is not canonical; write %q", strings.ToLower(u.Scheme+"://"+u.Host))
	}
}

func (c *Config) validateIdentity(fault func(string, ...any)) {
	i := c.Identity
	files := i.Cert != "" || i.Key != "" || len(i.Bundles)+len(i.JWTBundles) > 0
	switch {
	case i.WorkloadAPI == "" && !files:
		fault("identity: give identity.workload_api, or identity.cert, identity.key and identity.bundles")
	case i.WorkloadAPI != "" && files:
		fault("identity: workload_api and files are both set; choose one")
	case files && (i.Cert == "" || i.Key == "" || len(i.Bundles) == 0):
		fault("identity: cert, key and bundles belong together; one of them is missing")
	}
	for name, files := range map[string]map[string]string{"bundles": i.Bundles, "jwt_bundles": i.JWTBundles} {
		for td := range files {
			if err := broker.CheckTrustDomain(td); err != nil {
				fault("identity.%s: %w", name, err)
			}
		}
	}
	if files && i.Interval < 100*time.Millisecond {
		fault("identity.interval: must be at least 100ms")
	}
}

func (c *Config) validateListeners(fault func(string, ...any)) {
	for name, address := range map[string]string{"mtls": c.Mtls.Address, "assertion": c.Assertion.Address, "public": c.Public.Address, "ops": c.Ops.Address} {
		if address == "" && (name == "public" || name == "assertion") {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			fault("%s.address: %q is not host:port", name, address)
		}
	}
	if (c.Mtls.Cert == "") != (c.Mtls.Key == "") {
		fault("mtls: cert and key belong together")
	}
	if c.Mtls.URL != "" && !isOrigin(c.Mtls.URL) {
		fault("mtls.url: must be https://host[:port]")
	}
	if c.Public.Address != "" && (c.Public.Cert == "" || c.Public.Key == "") {
		fault("public: the listener needs public.cert and public.key")
	}
	for _, file := range []string{c.Keys.KekFile, c.Identity.Cert, c.Identity.Key, c.Mtls.Cert, c.Mtls.Key, c.Assertion.Cert, c.Assertion.Key, c.Public.Cert, c.Public.Key, c.Outbound.CAFile} {
		if file == "" {
			continue
		}
		if _, err := os.Stat(file); err != nil {
			fault("%v", err)
		}
	}
}
