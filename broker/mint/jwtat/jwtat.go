// Package jwtat mints access tokens in the JWT profile of RFC 9068: compact JWS,
// typ at+jwt, signed with a key of the ring. Encode writes the very bytes that
// Mint signs after the record of them is durable.
package jwtat

import (
	"context"
	"crypto/sha256"
	"errors"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// typ is the media type of every token (RFC 9068 section 2.1).
const typ = "at+jwt"

// maxInput bounds header and claims, encoded, so that a token with its headers
// passes proxies with their usual 8 KiB (standards AT-10). It is refused, never
// cut.
const maxInput = 6 << 10

// Keys hands out signers. Implemented by keys.Ring.
type Keys interface {
	// Signer returns the active signer of an algorithm, CodeUnavailable if
	// there is none.
	Signer(algorithm string) (*jws.Signer, error)
	// SignerByID returns the signer of a key that may still sign.
	SignerByID(id string) (*jws.Signer, error)
}

// Minter implements broker.Minter. The zero value panics.
type Minter struct{ keys Keys }

// New returns a minter that signs with these keys.
func New(keys Keys) *Minter { return &Minter{keys: keys} }

// errReceipt says that nothing proves the record: a fault of ours, so nothing
// is signed.
var errReceipt = errors.New("internal error: a receipt that proves nothing")

// Encode writes the signing input of the claims for the active key of the
// algorithm. CodeInvalidRequest for claims that no token can hold.
func (m *Minter) Encode(c *broker.Claims, algorithm string) (broker.Unsigned, error) {
	signer, err := m.keys.Signer(algorithm)
	if err != nil {
		return broker.Unsigned{}, err
	}
	payload, err := appendClaims(make([]byte, 0, 768), c)
	if err != nil {
		return broker.Unsigned{}, &broker.Error{Code: broker.CodeInvalidRequest, Reason: broker.ReasonTokenClaims, Public: "a claim is not valid UTF-8", Err: err}
	}
	input := signer.AppendInput(make([]byte, 0, 192+len(payload)*4/3), typ, payload)
	if len(input) > maxInput {
		return broker.Unsigned{}, broker.Errorf(broker.CodeInvalidRequest, broker.ReasonTokenTooLarge, "the token would be larger than %d bytes", maxInput)
	}
	return broker.Unsigned{Input: input, Hash: sha256.Sum256(input), KeyID: signer.Key().ID(), Algorithm: algorithm}, nil
}

// Mint signs the bytes of the receipt with the key that they name. A key that
// stopped signing since is CodeUnavailable.
func (m *Minter) Mint(_ context.Context, r broker.Receipt) (oauth.Secret, error) {
	u, ok := r.Unsigned()
	if !ok {
		return oauth.Secret{}, errReceipt
	}
	signer, err := m.keys.SignerByID(u.KeyID)
	if err != nil {
		return oauth.Secret{}, err
	}
	signature, err := signer.Sign(u.Input)
	if err != nil {
		return oauth.Secret{}, broker.Unavailable(broker.ReasonSignerUnavailable, time.Second, err)
	}
	return oauth.NewSecret(string(jws.AppendToken(nil, u.Input, signature))), nil
}

// writer appends members to a JSON object; the first error stays.
type writer struct {
	dst []byte
	err error
}

func (w *writer) name(name string) {
	if w.dst[len(w.dst)-1] != '{' {
		w.dst = append(w.dst, ',')
	}
	w.dst = append(w.dst, '"')
	w.dst = append(w.dst, name...)
	w.dst = append(w.dst, `":`...)
}

func (w *writer) quote(text string) {
	next, err := jsontext.AppendQuote(w.dst, text)
	if err != nil {
		w.err = errors.Join(w.err, err)
		return
	}
	w.dst = next
}

func (w *writer) text(name, value string) {
	w.name(name)
	w.quote(value)
}

func (w *writer) number(name string, n int64) {
	w.name(name)
	w.dst = strconv.AppendInt(w.dst, n, 10)
}

func (w *writer) list(name string, items []string) {
	w.name(name)
	w.dst = append(w.dst, '[')
	for i, item := range items {
		if i > 0 {
			w.dst = append(w.dst, ',')
		}
		w.quote(item)
	}
	w.dst = append(w.dst, ']')
}

func (w *writer) open(name string) {
	w.name(name)
	w.dst = append(w.dst, '{')
}

func (w *writer) close() { w.dst = append(w.dst, '}') }

// appendClaims writes the payload (design 6). It is written by hand because it
// is on the way of every token; a test holds it to a JSON library.
func appendClaims(dst []byte, c *broker.Claims) ([]byte, error) {
	w := &writer{dst: append(dst, '{')}
	w.text("iss", c.Issuer)
	w.text("sub", c.Subject)
	w.text("aud", c.Audience)
	w.number("exp", c.ExpiresAt.Unix())
	w.number("iat", c.IssuedAt.Unix())
	w.text("jti", c.ID)
	w.text("client_id", c.ClientID)
	w.text("scope", c.Scopes.String())
	if !c.SubjectID.IsZero() {
		w.open("sub_id")
		w.text("format", "iss_sub")
		w.text("iss", c.SubjectID.Issuer)
		w.text("sub", c.SubjectID.Subject)
		w.close()
	}
	depth := 0
	for a := c.Actor; a != nil; a = a.Actor {
		depth++
		w.open("act")
		w.text("sub", a.Subject)
		if a.Issuer != "" {
			w.text("iss", a.Issuer)
		}
	}
	for range depth {
		w.close()
	}
	if !c.Confirmation.IsZero() {
		w.open("cnf")
		if t := c.Confirmation.CertificateThumbprint; t != "" {
			w.text("x5t#S256", t)
		}
		if t := c.Confirmation.KeyThumbprint; t != "" {
			w.text("jkt", t)
		}
		w.close()
	}
	w.text("txn", c.Txn)
	if len(c.Ancestors) > 0 {
		w.list("anc", c.Ancestors)
	}
	w.number("rev", int64(c.Revision))
	if len(c.Presenters) > 0 {
		presenters := make([]string, len(c.Presenters))
		for i, p := range c.Presenters {
			presenters[i] = p.String()
		}
		w.list("presenters", presenters)
	}
	for i := range c.Extra {
		w.extra(&c.Extra[i])
	}
	w.close()
	return w.dst, w.err
}

// extra writes a carried or mapped claim. A type that broker.Claim does not
// know is an error: nothing is signed that was not understood.
func (w *writer) extra(c *broker.Claim) {
	if broker.ReservedClaim(c.Name) {
		w.err = errors.Join(w.err, errors.New("internal error: a reserved claim"))
		return
	}
	if w.dst[len(w.dst)-1] != '{' {
		w.dst = append(w.dst, ',')
	}
	w.quote(c.Name)
	w.dst = append(w.dst, ':')
	switch v := c.Value.(type) {
	case string:
		w.quote(v)
	case bool:
		w.dst = strconv.AppendBool(w.dst, v)
	case int64:
		w.dst = strconv.AppendInt(w.dst, v, 10)
	case []string:
		w.dst = append(w.dst, '[')
		for i, item := range v {
			if i > 0 {
				w.dst = append(w.dst, ',')
			}
			w.quote(item)
		}
		w.dst = append(w.dst, ']')
	default:
		w.err = errors.Join(w.err, errors.New("internal error: a claim of an unknown type"))
	}
}
