package server

import (
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/kubernetes"
)

// TrustConfig is the trust block: the planes that may assert identities, by trust
// domain.
type TrustConfig map[string]TrustDomain

// TrustDomain says who may assert identities of a trust domain, beside its own
// SVIDs.
type TrustDomain struct {
	Kubernetes KubernetesTrust `json:"kubernetes"`
}

// KubernetesTrust is one cluster whose ServiceAccount tokens prove workloads.
type KubernetesTrust struct {
	Issuer   string `json:"issuer"`    // the iss of its tokens, letter by letter
	Audience string `json:"audience"`  // their aud for us; our issuer identifier if empty
	JWKSURI  string `json:"jwks_uri"`  // where its keys are; if this and the file are empty, found by discovery at the issuer
	JWKSFile string `json:"jwks_file"` // a file with its keys, read again as it changes
}

// UnmarshalJSON reads an entry strictly: a misspelt member must not be a default.
func (d *TrustDomain) UnmarshalJSON(text []byte) error {
	type plain TrustDomain // without this method
	return json.Unmarshal(text, (*plain)(d), json.RejectUnknownMembers(true))
}

// clusters returns the clusters of the settings, by trust domain.
func (c *Config) clusters() []kubernetes.Cluster {
	var list []kubernetes.Cluster
	for _, name := range slices.Sorted(maps.Keys(c.Trust)) {
		domain, err := spiffeid.TrustDomainFromString(name)
		if err != nil {
			continue // Faults has seen to it
		}
		k := c.Trust[name].Kubernetes
		list = append(list, kubernetes.Cluster{Domain: domain, Audience: c.audience(k), Issuer: &broker.Issuer{
			Name: "kubernetes of " + name, URL: k.Issuer, JWKSURI: k.JWKSURI, JWKSFile: k.JWKSFile, Algorithms: kubernetes.Algorithms(),
		}})
	}
	return list
}

func (c *Config) audience(k KubernetesTrust) string {
	if k.Audience == "" {
		return c.Issuer
	}
	return k.Audience
}

func (c *Config) validateTrust(fault func(string, ...any)) {
	type pair struct{ issuer, audience string }
	taken := map[pair]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Trust)) {
		if err := broker.CheckTrustDomain(name); err != nil {
			fault("trust: %w", err)
		}
		k := c.Trust[name].Kubernetes
		c.validateCluster(name, k, fault)
		p := pair{k.Issuer, c.audience(k)}
		if other := taken[p]; other != "" {
			fault("trust.%s.kubernetes: has the issuer and the audience of trust.%s; give each an audience of its own", name, other)
		}
		taken[p] = name
	}
}

// validateCluster holds the audience to one that is ours and nobody else's: our
// issuer identifier or something below it. Those of API servers and of meshes are
// never among them (standards K8-2).
func (c *Config) validateCluster(name string, k KubernetesTrust, fault func(string, ...any)) {
	issuer, err := url.Parse(k.Issuer)
	if err != nil || issuer.Scheme != "https" || issuer.Host == "" || issuer.User != nil || issuer.RawQuery != "" || strings.Contains(k.Issuer, "#") {
		fault("trust.%s.kubernetes.issuer: must be the https URL that tokens of the cluster have as iss", name)
	}
	if k.Issuer == c.Issuer {
		fault("trust.%s.kubernetes.issuer: is this server itself", name)
	}
	if own := c.audience(k); own != c.Issuer && !strings.HasPrefix(own, c.Issuer+"/") {
		fault("trust.%s.kubernetes.audience: must be %s or begin with %s/", name, c.Issuer, c.Issuer)
	}
	uri, err := url.Parse(k.JWKSURI)
	switch {
	case k.JWKSURI != "" && k.JWKSFile != "":
		fault("trust.%s.kubernetes: jwks_uri and jwks_file are both set; choose one", name)
	case k.JWKSURI != "" && (err != nil || uri.Host == "" || uri.Scheme != "https" && uri.Scheme != "http"):
		fault("trust.%s.kubernetes.jwks_uri: must be a URL", name)
	}
	if k.JWKSFile != "" {
		if _, err := os.Stat(k.JWKSFile); err != nil {
			fault("trust.%s.kubernetes.jwks_file: %w", name, err)
		}
	}
}
