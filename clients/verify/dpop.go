package verify

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker/dpop"
)

// DPoPConfig says how the proofs of tokens that are bound to a key are held
// against requests (RFC 9449). BaseURLs is required.
type DPoPConfig struct {
	// BaseURLs are those under which clients call this service: https://host[:port],
	// and after that what a proxy in front takes off the path, if it does. A proof
	// names the URL that its client called: one of these and the path of the
	// request. What the request says of its host is not believed.
	BaseURLs []string
	// Nonces, if set, are demanded in each proof, so that none can be made in
	// advance. Replicas of the service that have one key accept each other's.
	Nonces *dpop.Nonces
	// Proofs is how many proofs are remembered at once, each for a minute, so
	// that none is used twice with this Verifier; when there are more, requests
	// get CodeUnavailable. 0 means dpop.DefaultReplays.
	Proofs int
}

// verifier returns what reads the proofs, nil without a configuration.
func (c *DPoPConfig) verifier() *dpop.Verifier {
	if c == nil {
		return nil
	}
	limit := c.Proofs
	if limit == 0 {
		limit = dpop.DefaultReplays
	}
	return dpop.New(dpop.NewReplays(limit), c.Nonces)
}

func (c *Config) validateDPoP() []error {
	if c.DPoP == nil {
		return nil
	}
	var faults []error
	if len(c.DPoP.BaseURLs) == 0 {
		faults = append(faults, errors.New("verify: DPoP.BaseURLs is empty"))
	}
	for _, base := range c.DPoP.BaseURLs {
		u, err := url.Parse(base)
		if err != nil || u.Host == "" || !quotable(base) || base != u.Scheme+"://"+u.Host+u.EscapedPath() || strings.HasSuffix(base, "/") || u.Scheme != "https" && (u.Scheme != "http" || !c.Dev) {
			faults = append(faults, fmt.Errorf("verify: DPoP base URL %q is not https:// and a host, without a slash at its end", base))
		}
	}
	if c.DPoP.Proofs < 0 {
		faults = append(faults, errors.New("verify: DPoP.Proofs is negative"))
	}
	return faults
}

// Proof is what a request with the scheme DPoP shows besides its token.
type Proof struct {
	Headers []string // every value of the DPoP header
	Method  string
	Path    string // of the request, escaped as it came
}

// AcceptsDPoP reports whether tokens that are bound to a key are accepted.
func (v *Verifier) AcceptsDPoP() bool { return v.proofs != nil }

// Nonce returns the nonce for the DPoP-Nonce header of an answer to a request
// with a proof, "" if none is demanded.
func (v *Verifier) Nonce() string {
	if v.proofs == nil {
		return ""
	}
	return v.proofs.Nonce(v.config.Now())
}

// VerifyDPoP verifies a token that a request showed with the scheme DPoP: as
// Verify does, and then the proof, which must be by the key that the token is
// bound to, for this token, this method, this URL, now, and for the first time.
func (v *Verifier) VerifyDPoP(ctx context.Context, raw string, p Peer, proof Proof) (*Token, error) {
	t, err := v.verify(ctx, raw, shown{peer: p, proof: &proof})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// checkProof holds the proof of a request against the key that its token is bound
// to, which checkBinding has seen to.
func (v *Verifier) checkProof(now time.Time, raw, key string, proof *Proof) *Error {
	if proof.Path != "" && proof.Path[0] != '/' { // it would lengthen the name of a host
		return refuse(Reason(dpop.ReasonRequest), nil)
	}
	urls := slices.Clone(v.config.DPoP.BaseURLs)
	for i := range urls {
		urls[i] += proof.Path
	}
	_, err := v.proofs.Verify(proof.Headers, dpop.Request{At: now, Method: proof.Method, URLs: urls, Token: raw, Key: key})
	var refused *dpop.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused):
		return refuse(Reason(refused.Reason), refused.Err)
	}
	return refuse(ReasonBindingUnproven, err)
}
