package trust

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/jws"
)

const (
	// MaxJWTTTL is the longest life of a JWT-SVID: whoever has it can use it.
	MaxJWTTTL = 5 * time.Minute

	// keyIDPrefix begins the kid of every JWT-SVID: nothing else in one can say
	// what it is.
	keyIDPrefix = "development-only-"
)

// JWTSVID issues a JWT-SVID for the workload, good for the audiences and no
// others. It holds what the standard asks for, and the time at which it was
// issued.
func (c *CA) JWTSVID(id spiffeid.ID, audience []string, ttl time.Duration) (string, error) {
	if err := c.checkID(id); err != nil {
		return "", fmt.Errorf("development CA: %w", err)
	}
	switch {
	case len(audience) == 0 || slices.Contains(audience, ""):
		return "", errors.New("development CA: a JWT-SVID needs an audience")
	case ttl < time.Second || ttl > MaxJWTTTL:
		return "", fmt.Errorf("development CA: a JWT-SVID lives from 1 second to %v", MaxJWTTTL)
	}
	now := c.now()
	payload, err := json.Marshal(struct {
		Subject   string   `json:"sub"`
		Audience  []string `json:"aud"`
		ExpiresAt int64    `json:"exp"`
		IssuedAt  int64    `json:"iat"`
	}{id.String(), audience, now.Add(ttl).Unix(), now.Unix()})
	if err != nil {
		return "", fmt.Errorf("development CA: %w", err)
	}
	signer := c.roots.current().signing.jwt
	input := signer.AppendInput(nil, "JWT", payload)
	signature, err := signer.Sign(input)
	if err != nil {
		return "", fmt.Errorf("development CA: %w", err)
	}
	return string(jws.AppendToken(nil, input, signature)), nil
}

// JWTBundle returns what others need to verify JWT-SVIDs of the trust domain.
func (c *CA) JWTBundle() *jwtbundle.Bundle {
	keys := map[string]crypto.PublicKey{}
	for _, r := range c.roots.current().all() {
		keys[r.jwt.Key().ID()] = r.jwt.Key().Public()
	}
	return jwtbundle.FromJWTAuthorities(c.domain, keys)
}
