// Package kubernetes authenticates workloads by the projected token of their
// ServiceAccount, shown as client assertion of the type …:jwt-bearer. The token is
// verified here, with the keys of its cluster; no API server is asked.
//
// A cluster speaks for the one trust domain that the settings give it, and its
// ServiceAccounts become spiffe://<trust domain>/ns/<namespace>/sa/<name>, nothing
// else. What is accepted is narrower than what the API server accepts:
//
//   - aud is the audience of the cluster's entry and nothing else, so no token that
//     the API server or a mesh would take is worth anything here, and none of ours
//     there.
//   - The token belongs to a pod. Those of Secrets, those that kubectl makes by
//     hand and those that the API server lets live for a year are refused.
//   - It was made at most ten minutes ago, to live for at most an hour. A volume with
//     expirationSeconds: 600 always holds one that is young enough; kubelet renews
//     what lives longer too late for us. Within that it may be shown again.
//
// Nothing here sees that a pod is gone before its token is (standards K8-4): the ten
// minutes are how long that may last. TokenReview, which would see it, is not there.
package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// Cluster is one cluster that is believed.
type Cluster struct {
	// Domain is the trust domain that the names of its ServiceAccounts are in.
	Domain spiffeid.TrustDomain
	// Audience is the aud of its tokens for us.
	Audience string
	// Issuer says what the iss of its tokens is, letter by letter, and where its
	// keys are.
	Issuer *broker.Issuer
}

// Keys knows the keys of the clusters. Implemented by oidc.Keys.
type Keys interface {
	// Find returns the key of the issuer by which a token with that header is to
	// be verified. CodeUnavailable if the keys cannot be had.
	Find(ctx context.Context, i *broker.Issuer, h jws.Header, now time.Time) (jws.Key, error)
}

// Assertion implements authn.Assertion. The zero value refuses everybody.
type Assertion struct {
	clusters []Cluster
	keys     Keys
}

var _ authn.Assertion = (*Assertion)(nil)

// New returns the assertion of these clusters. Two clusters may have the same iss,
// for it is what most are installed with (standards K8-6); then their audiences
// tell them apart.
func New(keys Keys, clusters ...Cluster) (*Assertion, error) {
	if keys == nil || len(clusters) == 0 {
		return nil, errors.New("ServiceAccount tokens: keys and at least one cluster are required")
	}
	for i, c := range clusters {
		if c.Domain.IsZero() || c.Audience == "" || c.Issuer == nil || c.Issuer.URL == "" {
			return nil, errors.New("ServiceAccount tokens: a cluster needs a trust domain, an audience and an issuer")
		}
		if slices.ContainsFunc(clusters[:i], func(o Cluster) bool { return o.Issuer.URL == c.Issuer.URL && o.Audience == c.Audience }) {
			return nil, fmt.Errorf("ServiceAccount tokens: two clusters have the issuer %q and the audience %q; give each an audience of its own", c.Issuer.URL, c.Audience)
		}
	}
	return &Assertion{clusters: slices.Clone(clusters), keys: keys}, nil
}

// Algorithms returns those that API servers sign with.
func Algorithms() []string {
	return []string{string(jws.RS256), string(jws.ES256), string(jws.ES384), string(jws.ES512)}
}

// VerifyAssertion implements authn.Assertion.
func (a *Assertion) VerifyAssertion(ctx context.Context, now time.Time, assertion oauth.Secret) (broker.Workload, error) {
	token, err := subject.Parse(broker.SubjectToken{Raw: assertion})
	if err != nil {
		return broker.Workload{}, err
	}
	if err := checkHeader(token.JWS.Header()); err != nil {
		return broker.Workload{}, err
	}
	cluster, err := a.choose(token)
	if err != nil {
		return broker.Workload{}, err
	}
	key, err := a.keys.Find(ctx, cluster.Issuer, token.JWS.Header(), now)
	if err != nil {
		return broker.Workload{}, err
	}
	payload, err := token.Verify(key)
	if err != nil {
		return broker.Workload{}, err
	}
	var c claims
	if err := subject.Decode(payload, &c); err != nil {
		return broker.Workload{}, err
	}
	return c.workload(cluster.Domain, now)
}

// checkHeader refuses what an API server never writes. A typ other than JWT is that
// of another kind of token.
func checkHeader(h jws.Header) error {
	switch {
	case h.Type != "" && h.Type != "JWT":
		return subject.Refuse(broker.ReasonTokenType, "the typ of a ServiceAccount token is JWT, if it has one", nil)
	case h.Extra:
		return subject.Refuse(broker.ReasonTokenMalformed, "the header of a ServiceAccount token has alg, kid and typ and nothing else", nil)
	case !slices.Contains(Algorithms(), string(h.Algorithm)):
		return subject.Refuse(broker.ReasonTokenAlgorithm, "the algorithm of the token is not one of a ServiceAccount token", nil)
	case h.KeyID == "":
		return subject.Refuse(broker.ReasonTokenKeyUnknown, "a ServiceAccount token must have a kid", nil)
	}
	return nil
}

// choose returns the cluster whose iss and aud the token has. Nobody has verified them
// yet, so that grants nothing; but it is these very bytes that the key of that cluster
// must have signed.
func (a *Assertion) choose(t *subject.Token) (*Cluster, error) {
	var unverified struct {
		Audience jws.Audience `json:"aud"`
	}
	if err := subject.Decode(t.JWS.UnverifiedPayload(), &unverified); err != nil {
		return nil, err
	}
	known := false
	for i := range a.clusters {
		c := &a.clusters[i]
		if c.Issuer.URL != t.UnverifiedIssuer {
			continue
		}
		if known = true; slices.Equal(unverified.Audience, jws.Audience{c.Audience}) {
			return c, nil
		}
	}
	if !known {
		return nil, subject.Untrusted()
	}
	return nil, subject.Refuse(broker.ReasonTokenAudience, "aud must be the audience that this broker has for the cluster, and nothing else", nil)
}
