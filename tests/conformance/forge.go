package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// forger makes the tokens of an issuer that the server trusts: good ones, and
// those that a bad issuer or an attacker would make.
type forger struct {
	key    crypto.Signer
	kid    string
	alg    string
	typ    string
	claims map[string]any
	fixed  string // the one token there is, where the key is not known
}

func newForger(key crypto.Signer, s *subject) (*forger, error) {
	f := &forger{key: key, kid: s.KeyID, typ: s.Typ, claims: s.Claims}
	switch k := key.(type) {
	case *ecdsa.PrivateKey:
		f.alg = map[int]string{256: "ES256"}[k.Params().BitSize]
	case *rsa.PrivateKey:
		f.alg = "RS256"
	case ed25519.PrivateKey:
		f.alg = "EdDSA"
	}
	if f.alg == "" {
		return nil, fmt.Errorf("%s: %T is not P-256, RSA or Ed25519", s.Key, key)
	}
	if f.kid == "" {
		sum, err := (&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)
		if err != nil {
			return nil, err
		}
		f.kid = b64(sum)
	}
	return f, nil
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

// good returns a token that the server should take.
func (f *forger) good() string {
	if f.fixed != "" {
		return f.fixed
	}
	return f.with(nil)
}

// header returns the members of a good header.
func (f *forger) header() map[string]any {
	h := map[string]any{"alg": f.alg, "kid": f.kid}
	if f.typ != "" {
		h["typ"] = f.typ
	}
	return h
}

// body returns the claims of a good token, valid for ten minutes.
func (f *forger) body() map[string]any {
	c := maps.Clone(f.claims)
	now := time.Now()
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	c["iat"], c["exp"], c["jti"] = now.Unix()-1, now.Add(10*time.Minute).Unix(), hex.EncodeToString(id[:])
	return c
}

// with returns a good token but for its claims: a nil value takes one away.
func (f *forger) with(claims map[string]any) string {
	return f.sign(object(f.header(), nil), object(f.body(), claims))
}

// headed is with for the header.
func (f *forger) headed(header map[string]any) string {
	return f.sign(object(f.header(), header), object(f.body(), nil))
}

// text returns a token with a piece of JSON put before the end of the claims, so
// that they are what no encoder would print.
func (f *forger) text(more string) string {
	body := object(f.body(), nil)
	return f.sign(object(f.header(), nil), append(body[:len(body)-1], ","+more+"}"...))
}

// headedText is text for the header.
func (f *forger) headedText(more string) string {
	header := object(f.header(), nil)
	return f.sign(append(header[:len(header)-1], ","+more+"}"...), object(f.body(), nil))
}

// object prints members, changed by others.
func object(members, changed map[string]any) []byte {
	merged := maps.Clone(members)
	for name, value := range changed {
		if value == nil {
			delete(merged, name)
		} else {
			merged[name] = value
		}
	}
	raw, err := json.Marshal(merged)
	if err != nil {
		panic("internal error: " + err.Error()) // what a case says is JSON
	}
	return raw
}

// sign signs the very bytes, whatever the header says the algorithm is.
func (f *forger) sign(header, payload []byte) string {
	input := b64(header) + "." + b64(payload)
	return input + "." + b64(signature(f.key, input))
}

// signature signs as JWS does for the kind of key (RFC 7518 section 3).
func signature(key crypto.Signer, input string) []byte {
	sum := sha256.Sum256([]byte(input))
	digest, hash := sum[:], crypto.SHA256
	if _, ok := key.(ed25519.PrivateKey); ok {
		digest, hash = []byte(input), 0
	}
	if k, ok := key.(*ecdsa.PrivateKey); ok {
		r, s, err := ecdsa.Sign(rand.Reader, k, digest)
		if err != nil {
			panic("internal error: " + err.Error())
		}
		size := (k.Params().BitSize + 7) / 8
		raw := make([]byte, 2*size)
		r.FillBytes(raw[:size])
		s.FillBytes(raw[size:])
		return raw
	}
	raw, err := key.Sign(rand.Reader, digest, hash)
	if err != nil {
		panic("internal error: " + err.Error())
	}
	return raw
}

// hmacked returns a good token that is signed with a shared secret instead.
func (f *forger) hmacked(alg string, secret []byte) string {
	input := b64(object(f.header(), map[string]any{"alg": alg})) + "." + b64(object(f.body(), nil))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(input))
	return input + "." + b64(mac.Sum(nil))
}

// chain returns an act claim of so many parties.
func chain(names ...string) map[string]any {
	var act map[string]any
	for i := len(names) - 1; i >= 0; i-- {
		link := map[string]any{"sub": names[i]}
		if act != nil {
			link["act"] = act
		}
		act = link
	}
	return act
}

// deep returns the JSON of an act chain, by hand: an encoder would recurse.
func deep(links int) string {
	return `"act":` + strings.Repeat(`{"sub":"a","act":`, links-1) + `{"sub":"a"}` + strings.Repeat("}", links-1)
}
