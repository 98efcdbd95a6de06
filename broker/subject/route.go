package subject

import (
	"context"
	"strings"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// Source verifies the tokens of one kind.
type Source interface {
	// Match reports whether the token claims to be of this source. It reads
	// what is unverified, so it grants nothing.
	Match(v broker.View, t *Token) bool
	// Verify verifies a token that matched, as the type that it was declared to
	// be. Errors are those of broker.SubjectVerifier. The source need not set
	// TokenHash.
	Verify(ctx context.Context, v broker.View, now time.Time, t *Token) (broker.Subject, error)
}

// Route implements broker.SubjectVerifier over sources. The zero value refuses
// every token.
type Route struct{ sources []Source }

// NewRoute returns a Route that asks the sources in this order.
func NewRoute(sources ...Source) *Route { return &Route{sources: sources} }

// Verify lets the first source that matches verify the token. Its answer is
// final.
func (r *Route) Verify(ctx context.Context, v broker.View, now time.Time, t broker.SubjectToken) (broker.Subject, error) {
	token, err := Parse(t)
	if err != nil {
		return broker.Subject{}, err
	}
	for _, source := range r.sources {
		if !source.Match(v, token) {
			continue
		}
		s, err := source.Verify(ctx, v, now, token)
		if err != nil {
			return broker.Subject{}, err
		}
		s.TokenHash = token.Hash
		return s, nil
	}
	return broker.Subject{}, Untrusted()
}

// Refuse returns the refusal of a token (RFC 8693 section 2.2.2). The text is
// public: it says what is wrong and holds nothing of the token.
func Refuse(reason broker.Reason, public string, cause error) error {
	return &broker.Error{Code: broker.CodeInvalidRequest, Reason: reason, Public: public, Err: cause}
}

// Untrusted returns the refusal of a token whose issuer is not trusted. An
// issuer that is unknown and one that is quarantined look the same.
func Untrusted() error {
	return Refuse(broker.ReasonTokenIssuer, "the token is not from a trusted issuer", nil)
}

// WrongType returns the refusal of a token that was declared as another type
// than it is, and says which type is right. Without a type it says that there
// is none.
func WrongType(right ...oauth.TokenType) error {
	if len(right) == 0 {
		return Refuse(broker.ReasonTokenType, "a token of this type is not accepted from its issuer", nil)
	}
	names := make([]string, len(right))
	for i, r := range right {
		names[i] = string(r)
	}
	return Refuse(broker.ReasonTokenType, "this token must be declared as "+strings.Join(names, " or "), nil)
}
