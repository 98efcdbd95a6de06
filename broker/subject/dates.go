package subject

import (
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
)

// Skew is how far the clock of who signed a token may differ from ours. It is
// applied here and nowhere else, so it is never added twice (threats B16).
const Skew = 30 * time.Second

// Dates are the dates of a token; embed it in the struct of its claims.
type Dates struct {
	ExpiresAt jws.NumericDate `json:"exp"`
	IssuedAt  jws.NumericDate `json:"iat"`
	NotBefore jws.NumericDate `json:"nbf"`
}

// Check refuses a token that is not valid now. Late is how long after its exp
// it still passes: 0 for tokens that our own clocks dated, Skew for others.
// That forgives a clock, and lengthens nothing: Decide sees the exp as it is.
func (d *Dates) Check(now time.Time, late time.Duration) error {
	switch {
	case d.ExpiresAt == 0 || d.IssuedAt == 0:
		return Refuse(broker.ReasonTokenClaims, "exp and iat are required", nil)
	case d.ExpiresAt <= d.IssuedAt:
		return Refuse(broker.ReasonTokenClaims, "the token expires before it was issued", nil)
	case !now.Before(d.Expires().Add(late)):
		return Refuse(broker.ReasonTokenExpired, "the token has expired", nil)
	case at(d.IssuedAt).After(now.Add(Skew)), at(d.NotBefore).After(now.Add(Skew)):
		return Refuse(broker.ReasonTokenNotYetValid, "the token is not valid yet", nil)
	}
	return nil
}

// Expires returns the exp.
func (d *Dates) Expires() time.Time { return at(d.ExpiresAt) }

// Issued returns the iat.
func (d *Dates) Issued() time.Time { return at(d.IssuedAt) }

func at(n jws.NumericDate) time.Time { return time.Unix(int64(n), 0).UTC() }
