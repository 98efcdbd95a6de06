package oauth

import (
	"crypto/sha256"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a token or key that never prints. The value lies behind a pointer,
// so that fmt cannot reach it even in a private field of another struct, where
// no method of ours is called. Reveal is the only way out.
type Secret struct{ raw *string }

// NewSecret returns the secret that holds s.
func NewSecret(s string) Secret { return Secret{raw: &s} }

// Reveal returns the value, "" for the zero Secret.
func (s Secret) Reveal() string {
	if s.raw == nil {
		return ""
	}
	return *s.raw
}

// IsZero reports whether there is no value.
func (s Secret) IsZero() bool { return s.raw == nil || *s.raw == "" }

// SHA256 returns the hash by which records name a token.
func (s Secret) SHA256() [sha256.Size]byte { return sha256.Sum256([]byte(s.Reveal())) }

// String returns a fixed text.
func (s Secret) String() string { return redacted }

// GoString returns a fixed text.
func (s Secret) GoString() string { return redacted }

// Format writes a fixed text for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue returns a fixed text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns a fixed text, so that no encoder writes the value.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
