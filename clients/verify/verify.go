package verify

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// Verifier verifies access tokens for one service. It is safe for use by many
// goroutines.
type Verifier struct {
	config Config
	keys   *keys
	proofs *dpop.Verifier // nil: DPoP is not spoken here
}

// New returns a Verifier, or every fault of the configuration. It has no keys
// until Run has fetched them.
func New(c Config) (*Verifier, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Audiences = slices.Clone(c.Audiences)
	c.Algorithms = slices.Clone(c.Algorithms)
	if c.DPoP != nil {
		own := *c.DPoP
		own.BaseURLs = slices.Clone(own.BaseURLs)
		c.DPoP = &own
	}
	if len(c.Algorithms) == 0 {
		c.Algorithms = []jws.Algorithm{jws.ES256}
	}
	if c.Leeway == 0 {
		c.Leeway = defaultLeeway
	}
	if c.MaxStale == 0 {
		c.MaxStale = defaultMaxStale
	}
	return &Verifier{config: c, keys: newKeys(&c), proofs: c.DPoP.verifier()}, nil
}

// Run keeps the keys of the issuer until the context ends: at once, then as often
// as the issuer asks for (each 1 to 15 minutes), and when a token names a key that
// is not known (once in 30 seconds). It may run only once at a time, and nothing
// is verified before it did.
func (v *Verifier) Run(ctx context.Context) error { return v.keys.run(ctx) }

// Ready returns nil while there are keys to verify with.
func (v *Verifier) Ready() error {
	s := v.keys.state.Load()
	if !v.keys.usable(s, v.config.Now()) {
		return s.unusable()
	}
	return nil
}

// Status returns what an operator wants to know of the keys.
func (v *Verifier) Status() KeyStatus {
	s := v.keys.state.Load()
	return KeyStatus{Keys: s.set.Len(), Skipped: slices.Clone(s.skipped), FetchedAt: s.fetchedAt, TriedAt: s.triedAt, Err: s.err}
}

// Audiences returns the audiences of this service.
func (v *Verifier) Audiences() []string { return slices.Clone(v.config.Audiences) }

// AllowsBearer reports whether a token without cnf is accepted from whoever has
// it.
func (v *Verifier) AllowsBearer() bool { return v.config.AllowBearer }

// Verify verifies a token that a request showed on a connection that proved p.
// Whatever is not known to be good is refused; the error is an *Error. It waits
// for nobody, but for a key that is not known yet, and then half a second at the
// longest.
func (v *Verifier) Verify(ctx context.Context, raw string, p Peer) (*Token, error) {
	t, err := v.verify(ctx, raw, shown{peer: p})
	if err != nil {
		return nil, err
	}
	return t, nil
}

// shown is what a request shows besides its token.
type shown struct {
	peer  Peer
	proof *Proof // nil for the scheme Bearer
}

func (v *Verifier) verify(ctx context.Context, raw string, s shown) (*Token, *Error) {
	now := v.config.Now()
	parsed, err := jws.Parse(raw)
	if err != nil {
		return nil, malformed(err)
	}
	header := parsed.Header()
	switch {
	case jws.MediaType(header.Type) != mediaType:
		return nil, refuse(ReasonTokenType, nil)
	case !slices.Contains(v.config.Algorithms, header.Algorithm):
		return nil, refuse(ReasonTokenAlgorithm, nil)
	case header.KeyID == "": // one that no key of ours lacks
		return nil, refuse(ReasonTokenKeyUnknown, nil)
	}
	key, refused := v.key(ctx, parsed, now)
	if refused != nil {
		return nil, refused
	}
	payload, err := parsed.VerifyPayload(key)
	if err != nil {
		return nil, refuse(ReasonTokenSignature, nil)
	}
	var c claims
	if err := jws.DecodeClaims(payload, &c, maxDepth); err != nil {
		return nil, refuse(ReasonTokenClaims, err)
	}
	if c.Issuer != v.config.Issuer {
		return nil, refuse(ReasonTokenIssuer, nil)
	}
	audience, ok := v.audience(c.Audience)
	if !ok {
		return nil, refuse(ReasonTokenAudience, nil)
	}
	if refused := c.checkDates(now, v.config.Leeway); refused != nil {
		return nil, refused
	}
	t, refused := c.token()
	if refused != nil {
		return nil, refused
	}
	if refused := v.checkBinding(&c, s); refused != nil {
		return nil, refused
	}
	if s.proof != nil { // last, so that only who has a good token costs a signature and a place in memory
		if refused := v.checkProof(now, raw, c.Bound.key, s.proof); refused != nil {
			return nil, refused
		}
	}
	t.raw, t.keyID, t.audience, t.presenter = oauth.NewSecret(raw), key.ID(), audience, s.peer.id
	return t, nil
}

func malformed(err error) *Error {
	switch {
	case errors.Is(err, jws.ErrTooLarge):
		return refuse(ReasonTokenTooLarge, nil)
	case errors.Is(err, jws.ErrAlgorithm):
		return refuse(ReasonTokenAlgorithm, nil)
	}
	return refuse(ReasonTokenMalformed, err)
}

// key returns the key that the header names. One that is not known is worth a
// question to the issuer only if the token says that it is the issuer's: tokens
// of others are a common mistake, and must not become a habit of asking.
func (v *Verifier) key(ctx context.Context, parsed jws.Token, now time.Time) (jws.Key, *Error) {
	header := parsed.Header()
	key, refused := v.keys.find(header, now)
	if refused == nil {
		return key, nil
	}
	var unverified struct {
		Issuer string `json:"iss"`
	}
	if err := jws.DecodeClaims(parsed.UnverifiedPayload(), &unverified, maxDepth); err != nil {
		return jws.Key{}, refuse(ReasonTokenClaims, err)
	}
	if unverified.Issuer != v.config.Issuer {
		return jws.Key{}, refuse(ReasonTokenIssuer, nil)
	}
	v.keys.await(ctx)
	return v.keys.find(header, now)
}

// audience returns the first of ours that the token names.
func (v *Verifier) audience(named jws.Audience) (string, bool) {
	for _, ours := range v.config.Audiences {
		if slices.Contains(named, ours) {
			return ours, true
		}
	}
	return "", false
}

// checkBinding holds the token against what the request showed besides it. With a
// cnf every member of it must be proven, whatever the service allows (standards
// MT-6, AT-19, threats F1). A token that is bound to a key comes with the scheme
// DPoP and no other does (RFC 9449 section 7.2); the proof itself is for
// checkProof. Without a cnf the workload of the connection must be the one that
// the token was issued to, or a presenter of it; only AllowBearer lifts that
// (threats F2).
func (v *Verifier) checkBinding(c *claims, s shown) *Error {
	b := &c.Bound
	switch {
	case b.present && (b.unknown || !b.hasCertificate && b.key == "" || b.key != "" && v.proofs == nil):
		return refuse(ReasonBindingUnknown, nil)
	case (b.key != "") != (s.proof != nil):
		return refuse(ReasonSchemeMismatch, nil)
	case b.hasCertificate && (!s.peer.hasLeaf || s.peer.leaf != b.certificate):
		return refuse(ReasonBindingUnproven, nil)
	case b.present || v.config.AllowBearer:
		return nil
	}
	switch id := s.peer.id.String(); {
	case s.peer.id.IsZero():
		return refuse(ReasonPeerUnproven, nil)
	case id != c.ClientID && !slices.Contains(c.Presenters, id):
		return refuse(ReasonPeerMismatch, nil)
	}
	return nil
}
