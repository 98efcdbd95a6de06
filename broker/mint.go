package broker

import (
	"context"
	"time"

	"github.com/cambist/cambist/broker/oauth"
)

// Minter turns claims into a signed token, in two steps with the record
// between them.
type Minter interface {
	// Encode chooses the key and returns the very bytes that Mint will sign.
	// It signs nothing. CodeUnavailable if no key of the algorithm is active.
	Encode(c *Claims, algorithm string) (Unsigned, error)
	// Mint signs the bytes that the receipt proves recorded. A receipt that
	// proves nothing fails, as does a key that may no longer sign.
	Mint(ctx context.Context, r Receipt) (oauth.Secret, error)
}

// Unsigned is what will be signed: header and claims, encoded.
type Unsigned struct {
	Input     []byte   // the JWS signing input (RFC 7515 section 5.1)
	Hash      [32]byte // SHA-256 of Input
	KeyID     string
	Algorithm string
}

// Receipt proves that the record of these bytes is durable. Only the Exchanger
// makes one, after the Ledger said so; the zero value proves nothing.
type Receipt struct {
	unsigned Unsigned
	at       Position
}

// Unsigned returns the recorded bytes; ok is false for a receipt that proves
// nothing.
func (r Receipt) Unsigned() (u Unsigned, ok bool) {
	return r.unsigned, r.at.Seq > 0 && len(r.unsigned.Input) > 0
}

// Position returns where the record lies.
func (r Receipt) Position() Position { return r.at }

// IssuedToken is a token that was issued, recorded and may leave.
type IssuedToken struct {
	Token     oauth.Secret
	ID        string
	Type      string // token_type: Bearer, or DPoP where a key is bound
	Scopes    oauth.Scopes
	IssuedAt  time.Time
	ExpiresAt time.Time
}
