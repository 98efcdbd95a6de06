package jwtsvid

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// Bundles knows the keys of each trust domain. Implemented by Trust.
type Bundles interface {
	// Keys returns the keys with which the trust domain signs JWT-SVIDs; ok is
	// false for a trust domain that is not trusted. It takes no lock.
	Keys(domain spiffeid.TrustDomain) (keys jws.KeySet, ok bool)
}

// Source implements subject.Source for JWT-SVIDs. The zero value matches nothing.
type Source struct {
	issuer  string
	bundles Bundles
}

// New returns the source of the JWT-SVIDs for the broker with that issuer
// identifier. Without one it would accept those for everybody, and is not made
// (standards SJ-4).
func New(issuer string, bundles Bundles) (*Source, error) {
	if issuer == "" || bundles == nil {
		return nil, errors.New("JWT-SVIDs: an audience and bundles are required")
	}
	return &Source{issuer: issuer, bundles: bundles}, nil
}

// Match reports whether the token is to be read as a JWT-SVID: it is declared as
// one, or looks like one and like nothing else. The tokens of ours and those of
// issuers that policy names are never so, wherever this source stands in a Route.
func (s *Source) Match(v broker.View, t *subject.Token) bool {
	if s.issuer == "" || t.UnverifiedIssuer == s.issuer {
		return false
	}
	if t.UnverifiedIssuer != "" {
		if _, known := v.Issuer(t.UnverifiedIssuer); known {
			return false
		}
	}
	return t.Type == oauth.TokenTypeJWTSVID || strings.HasPrefix(t.UnverifiedSubject, "spiffe://") && typed(t.JWS.Header().Type)
}

// typed reports whether a typ is one of a JWT-SVID (JWT-SVID section 2.3), letter
// by letter.
func typed(typ string) bool { return typ == "" || typ == "JWT" || typ == "JOSE" }

// Verify verifies a JWT-SVID. It does no input or output.
func (s *Source) Verify(_ context.Context, _ broker.View, now time.Time, t *subject.Token) (broker.Subject, error) {
	return s.VerifySVID(now, t)
}

// VerifySVID is Verify for who has no policy to look at: the rules for a JWT-SVID
// are the same for a client that proves itself with one.
func (s *Source) VerifySVID(now time.Time, t *subject.Token) (broker.Subject, error) {
	if s.bundles == nil {
		return broker.Subject{}, subject.Untrusted()
	}
	if t.Type != oauth.TokenTypeJWTSVID {
		return broker.Subject{}, subject.WrongType(oauth.TokenTypeJWTSVID)
	}
	if err := checkHeader(t.JWS.Header()); err != nil {
		return broker.Subject{}, err
	}
	signer, err := spiffeid.FromString(t.UnverifiedSubject)
	if err != nil {
		return broker.Subject{}, badSubject(err)
	}
	domain := signer.TrustDomain()
	key, err := s.key(domain, t.JWS.Header())
	if err != nil {
		return broker.Subject{}, err
	}
	payload, err := t.Verify(key)
	if err != nil {
		return broker.Subject{}, err
	}
	var c claims
	if err := subject.Decode(payload, &c); err != nil {
		return broker.Subject{}, err
	}
	if err := c.check(s.issuer, domain, now); err != nil {
		return broker.Subject{}, err
	}
	made := c.subject()
	made.KeyID = key.ID()
	return made, nil
}

// algorithms returns those of a JWT-SVID (JWT-SVID section 2.1).
func algorithms() []jws.Algorithm {
	return []jws.Algorithm{jws.RS256, jws.RS384, jws.RS512, jws.ES256, jws.ES384, jws.ES512, jws.PS256, jws.PS384, jws.PS512}
}

// checkHeader refuses what the header of a JWT-SVID may not be (JWT-SVID section 2).
func checkHeader(h jws.Header) error {
	switch {
	case !typed(h.Type):
		return subject.Refuse(broker.ReasonTokenType, "the typ of a JWT-SVID is JWT or JOSE, if it has one", nil)
	case h.Extra:
		return subject.Refuse(broker.ReasonTokenMalformed, "the header of a JWT-SVID has alg, kid and typ and nothing else", nil)
	case !slices.Contains(algorithms(), h.Algorithm):
		return subject.Refuse(broker.ReasonTokenAlgorithm, "the algorithm of the token is not one of a JWT-SVID", nil)
	case h.KeyID == "":
		return subject.Refuse(broker.ReasonTokenKeyUnknown, "a JWT-SVID must have a kid", nil)
	}
	return nil
}

// key returns the key of the trust domain that the header names.
func (s *Source) key(domain spiffeid.TrustDomain, h jws.Header) (jws.Key, error) {
	keys, ok := s.bundles.Keys(domain)
	if !ok {
		return jws.Key{}, subject.Untrusted()
	}
	key, ok := keys.Lookup(h.KeyID, h.Algorithm)
	if !ok {
		return jws.Key{}, subject.Refuse(broker.ReasonTokenKeyUnknown, "the key of the token is unknown or no longer trusted", nil)
	}
	return key, nil
}
