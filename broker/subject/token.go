package subject

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// Token is a subject or actor token, parsed and not verified. What is named
// unverified chooses whom to ask and nothing else.
type Token struct {
	Raw  oauth.Secret
	Type oauth.TokenType // as the caller declared it
	JWS  jws.Token
	Hash [sha256.Size]byte // by which records name it

	UnverifiedIssuer  string // iss, "" if there is none
	UnverifiedSubject string // sub, "" if there is none
}

// Parse reads a token without verifying it.
func Parse(t broker.SubjectToken) (*Token, error) {
	parsed, err := jws.Parse(t.Raw.Reveal())
	if err != nil {
		return nil, malformed(err)
	}
	token := &Token{Raw: t.Raw, Type: t.Type, JWS: parsed, Hash: t.Raw.SHA256()}
	if token.UnverifiedIssuer, token.UnverifiedSubject, err = peek(parsed.UnverifiedPayload()); err != nil {
		return nil, malformed(err)
	}
	return token, nil
}

// Verify returns the payload if the key signed it.
func (t *Token) Verify(k jws.Key) ([]byte, error) {
	payload, err := t.JWS.VerifyPayload(k)
	switch {
	case errors.Is(err, jws.ErrAlgorithm):
		return nil, Refuse(broker.ReasonTokenAlgorithm, "the algorithm of the token is not the one of its key", err)
	case err != nil:
		return nil, Refuse(broker.ReasonTokenSignature, "the signature of the token does not verify", err)
	}
	return payload, nil
}

// maxDepth is how deep the claims of a token may lie: far above what issuers
// send, and too little to cost anything.
const maxDepth = 16

// Decode reads verified claims into a struct, strictly.
func Decode(payload []byte, into any) error {
	if err := jws.DecodeClaims(payload, into, maxDepth); err != nil {
		return Refuse(broker.ReasonTokenClaims, "the claims of the token are not well formed", err)
	}
	return nil
}

func malformed(err error) error {
	switch {
	case errors.Is(err, jws.ErrTooLarge):
		return Refuse(broker.ReasonTokenTooLarge, "the token is too large", err)
	case errors.Is(err, jws.ErrAlgorithm):
		return Refuse(broker.ReasonTokenAlgorithm, "the algorithm of the token is not acceptable", err)
	case errors.Is(err, jws.ErrEncrypted):
		return Refuse(broker.ReasonTokenMalformed, "the token is encrypted", err)
	case errors.Is(err, jws.ErrHeader):
		return Refuse(broker.ReasonTokenMalformed, "the header of the token is not acceptable", err)
	}
	return Refuse(broker.ReasonTokenMalformed, "the token is not a signed JWT in compact form", err)
}

var errPayload = errors.New("token payload is not a JSON object with a plain iss and sub")

// peek reads iss and sub of a payload whose signature nobody has checked. Names
// count letter by letter, and none of the two stands there twice; duplicates of
// others, which nobody reads yet, are left to Decode. Nothing in it recurses: a
// payload 10 000 deep costs as much as a flat one.
func peek(payload []byte) (issuer, sub string, err error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(payload), jsontext.AllowDuplicateNames(true))
	issuers, subs := 0, 0
	if err := jws.ReadOpen(d); err != nil {
		return "", "", errPayload
	}
	for d.PeekKind() != '}' {
		name, err := readMember(d)
		if err != nil {
			return "", "", errPayload
		}
		switch string(name) {
		case "iss":
			issuer, err = jws.ReadText(d)
			issuers++
		case "sub":
			sub, err = jws.ReadText(d)
			subs++
		default:
			err = d.SkipValue()
		}
		if err != nil {
			return "", "", errPayload
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return "", "", errPayload
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) || issuers > 1 || subs > 1 {
		return "", "", errPayload
	}
	return issuer, sub, nil
}

// readMember reads the name of a member. It is good until the next read: no
// string is made of names that nobody looks for.
func readMember(d *jsontext.Decoder) ([]byte, error) {
	quoted, err := d.ReadValue()
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte(quoted, '\\') >= 0 {
		return jsontext.AppendUnquote(nil, quoted)
	}
	return quoted[1 : len(quoted)-1], nil
}
