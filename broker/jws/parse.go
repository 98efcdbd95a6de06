package jws

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxTokenBytes is the longest token that is looked at (threats 3.0).
const MaxTokenBytes = 16 << 10

const (
	maxHeaderValue = 256
	maxHeaderBytes = 4 << 10
)

// What can be wrong with a token before its signature is looked at. None of the
// texts holds anything of the token.
var (
	ErrTooLarge  = errors.New("token is too large")
	ErrMalformed = errors.New("token is not a compact JWS")
	ErrEncrypted = errors.New("token is encrypted")
	ErrHeader    = errors.New("token header is not acceptable")
	ErrAlgorithm = errors.New("token algorithm is not acceptable")
	ErrSignature = errors.New("token signature does not verify")
)

var strictBase64 = base64.RawURLEncoding.Strict()

// Header is what is read of a JOSE header. Nothing in it names a key by itself:
// jwk, jku, x5u and x5c are refused (RFC 8725 section 3.10), but for the jwk that
// ParseWithKey reads.
type Header struct {
	Algorithm Algorithm
	KeyID     string
	Type      string // typ as it stands there
	Extra     bool   // harmless members besides alg, kid and typ were there
}

// Token is a parsed token, not verified. It keeps the very bytes that were
// signed; nothing is encoded twice. The zero value verifies with no key.
type Token struct {
	header Header
	open   func() parts // a closure, because fmt follows a pointer to a struct: no verb prints a token
}

type parts struct {
	input     string // header and payload, as signed
	payload   []byte
	signature []byte
}

// Parse splits and decodes a compact JWS. It checks length and alphabet in one
// pass before it decodes anything, so hostile input costs no more than that.
func Parse(compact string) (Token, error) { return parse(compact, nil) }

// parse is Parse; an embedded that is not nil receives the jwk of the header,
// which must be there then.
func parse(compact string, embedded *jsontext.Value) (Token, error) {
	if len(compact) > MaxTokenBytes {
		return Token{}, ErrTooLarge
	}
	dots := [2]int{}
	n := 0
	for i := range len(compact) {
		switch c := compact[i]; {
		case c == '.':
			if n < 2 {
				dots[n] = i
			}
			n++
		case 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_':
		default:
			return Token{}, ErrMalformed
		}
	}
	switch {
	case n == 4:
		return Token{}, ErrEncrypted
	case n != 2 || dots[0] == 0 || dots[1] == dots[0]+1 || dots[1] == len(compact)-1:
		return Token{}, ErrMalformed
	case dots[0] > maxHeaderBytes:
		return Token{}, ErrHeader
	}
	raw, err := strictBase64.DecodeString(compact[:dots[0]])
	if err != nil {
		return Token{}, ErrMalformed
	}
	header, err := parseHeader(raw, embedded)
	if err != nil {
		return Token{}, err
	}
	p := parts{input: compact[:dots[1]]}
	if p.payload, err = strictBase64.DecodeString(compact[dots[0]+1 : dots[1]]); err != nil {
		return Token{}, ErrMalformed
	}
	if p.signature, err = strictBase64.DecodeString(compact[dots[1]+1:]); err != nil {
		return Token{}, ErrMalformed
	}
	return Token{header: header, open: func() parts { return p }}, nil
}

// Header returns the header. It is not verified.
func (t Token) Header() Header { return t.header }

// UnverifiedPayload returns the payload before any signature was checked: good
// for choosing whom to ask, for nothing else.
func (t Token) UnverifiedPayload() []byte {
	if t.open == nil {
		return nil
	}
	return t.open().payload
}

// VerifyPayload returns the payload if the key signed it with the algorithm
// that both of them name. ErrAlgorithm if they name two, ErrSignature if the
// key did not sign it.
func (t Token) VerifyPayload(k Key) ([]byte, error) {
	if k.public == nil || t.open == nil || k.algorithm != t.header.Algorithm {
		return nil, ErrAlgorithm
	}
	p := t.open()
	if !k.verify([]byte(p.input), p.signature) {
		return nil, ErrSignature
	}
	return p.payload, nil
}

// refusedMembers change what a token means, or say where its key lies: a
// header that has one of them is refused whatever its value (RFC 7515 section
// 4.1.11, RFC 7797, RFC 8725).
const refusedMembers = " jwk jku x5u x5c crit b64 zip enc cty epk apu apv iv tag p2c p2s "

// parseHeader reads a JOSE header strictly: one object, no duplicate, no case
// variant of a name that counts. Members that it does not know are let pass if
// they are short strings, because real issuers add some (x5t, nonce).
func parseHeader(raw []byte, embedded *jsontext.Value) (Header, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw))
	if open, err := d.ReadToken(); err != nil || open.Kind() != '{' {
		return Header{}, ErrHeader
	}
	var h Header
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil || token.Kind() != '"' {
			return Header{}, ErrHeader
		}
		name := token.String()
		if name == "jwk" && embedded != nil {
			if *embedded, err = d.ReadValue(); err != nil || embedded.Kind() != '{' {
				return Header{}, ErrHeader
			}
			*embedded = embedded.Clone()
			continue
		}
		lower := strings.ToLower(name)
		if strings.Contains(refusedMembers, " "+lower+" ") {
			return Header{}, fmt.Errorf("%w: a member that is never accepted", ErrHeader)
		}
		value, err := d.ReadToken()
		if err != nil || value.Kind() != '"' {
			return Header{}, ErrHeader
		}
		text := value.String()
		if len(text) > maxHeaderValue || hasControl(text) {
			return Header{}, ErrHeader
		}
		switch {
		case name == "alg":
			h.Algorithm = Algorithm(text)
		case name == "kid":
			h.KeyID = text
		case name == "typ":
			h.Type = text
		case lower == "alg" || lower == "kid" || lower == "typ": // the Kelvin sign lowers to k
			return Header{}, fmt.Errorf("%w: a case variant of a member", ErrHeader)
		default:
			h.Extra = true
		}
	}
	if _, err := d.ReadToken(); err != nil {
		return Header{}, ErrHeader
	}
	if d.PeekKind() != 0 || len(bytes.TrimLeft(d.UnreadBuffer(), " \t\r\n")) > 0 {
		return Header{}, ErrHeader
	}
	if !h.Algorithm.Known() {
		return Header{}, ErrAlgorithm
	}
	return h, nil
}

func hasControl(s string) bool {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// MediaType returns a typ in its short form: lower case, without the
// application/ prefix (RFC 7515 section 4.1.9). What is not a plain media type,
// one with parameters for instance, returns "?", which no rule accepts; the
// empty typ returns "".
func MediaType(typ string) string {
	for i := range len(typ) {
		c := typ[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("+-._/", c) >= 0) {
			return "?"
		}
	}
	short := strings.TrimPrefix(strings.ToLower(typ), "application/")
	if strings.Contains(short, "/") || short == "" && typ != "" {
		return "?"
	}
	return short
}
