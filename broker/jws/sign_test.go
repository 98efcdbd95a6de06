package jws_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/jws"
)

// Any payload, any algorithm: what is signed verifies, and with one byte changed
// anywhere in the token it does not.
func TestRoundTripProperty(t *testing.T) {
	t.Parallel()
	signers := map[jws.Algorithm]*jws.Signer{}
	for _, a := range algorithms {
		signers[a] = signer(t, a)
	}
	rapid.Check(t, func(t *rapid.T) {
		s := signers[rapid.SampledFrom(algorithms).Draw(t, "algorithm")]
		payload := rapid.SliceOfN(rapid.Byte(), 1, 200).Draw(t, "payload")
		input := s.AppendInput([]byte("#"), "JWT", payload)[1:]
		signature, err := s.Sign(input)
		if err != nil {
			t.Fatal(err)
		}
		token := jws.AppendToken([]byte("#"), input, signature)[1:]
		parsed, err := jws.Parse(string(token))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parsed.VerifyPayload(s.Key()); err != nil || !bytes.Equal(got, payload) {
			t.Fatalf("%q, %v", got, err)
		}
		at := rapid.IntRange(0, len(token)-1).Draw(t, "at")
		token[at] ^= rapid.ByteRange(1, 255).Draw(t, "change")
		if parsed, err := jws.Parse(string(token)); err == nil {
			if _, err := parsed.VerifyPayload(s.Key()); err == nil {
				t.Fatalf("byte %d may change", at)
			}
		}
	})
}

// RFC 7518 section 3.4: r and s at full length; the same input never signs alike.
func TestSignatureLengths(t *testing.T) {
	t.Parallel()
	for a, want := range map[jws.Algorithm]int{jws.ES256: 64, jws.ES384: 96, jws.ES512: 132, jws.EdDSA: 64, jws.RS256: 256, jws.PS512: 256} {
		s := signer(t, a)
		var seen [][]byte
		for range 40 { // about one in 128 has a short r or s
			signature, err := s.Sign([]byte("input"))
			if err != nil || len(signature) != want {
				t.Fatalf("%s: %d bytes, %v", a, len(signature), err)
			}
			seen = append(seen, signature)
		}
		if fixed := a == jws.EdDSA || a == jws.RS256; bytes.Equal(seen[0], seen[1]) != fixed {
			t.Errorf("%s: two signatures of one input are equal: %v", a, !fixed)
		}
	}
}

// The signature of one RSA algorithm is not one of another, with the same key.
func TestRSAAlgorithmsAreApart(t *testing.T) {
	t.Parallel()
	private := rsaKey()
	for _, a := range algorithms[5:] {
		for _, b := range algorithms[5:] {
			one, errOne := jws.NewSigner("", a, private)
			other, errOther := jws.NewSigner("", b, private)
			if err := errors.Join(errOne, errOther); err != nil {
				t.Fatal(err)
			}
			input := other.AppendInput(nil, "", []byte("{}"))
			signature, err := one.Sign(input)
			if err != nil {
				t.Fatal(err)
			}
			parsed, err := jws.Parse(string(jws.AppendToken(nil, input, signature)))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parsed.VerifyPayload(other.Key()); (err == nil) != (a == b) {
				t.Errorf("signed %s, read as %s: %v", a, b, err)
			}
		}
	}
	s, err := jws.NewSigner("", jws.PS256, private)
	if err != nil {
		t.Fatal(err)
	}
	input := s.AppendInput(nil, "", []byte("{}"))
	signature, err := rsa.SignPSS(rand.Reader, private, crypto.SHA256, sha256Of(string(input)), &rsa.PSSOptions{SaltLength: 20})
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := jws.Parse(string(jws.AppendToken(nil, input, signature)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parsed.VerifyPayload(s.Key()); !errors.Is(err, jws.ErrSignature) {
		t.Errorf("a salt of another length: %v", err)
	}
}

func TestAppendInput(t *testing.T) {
	t.Parallel()
	private := privateKey(t, jws.ES256)
	for name, tt := range map[string]struct{ typ, kid, header string }{
		"all":     {"at+jwt", "k", `{"alg":"ES256","kid":"k","typ":"at+jwt"}`},
		"no kid":  {"JWT", "", `{"alg":"ES256","typ":"JWT"}`},
		"no typ":  {"", "k", `{"alg":"ES256","kid":"k"}`},
		"quotes":  {"JWT", `k","alg":"none`, `{"alg":"ES256","kid":"k\",\"alg\":\"none","typ":"JWT"}`},
		"no UTF8": {"JWT", "k\xff", "{\"alg\":\"ES256\",\"kid\":\"k\ufffd\",\"typ\":\"JWT\"}"},
	} {
		s, err := jws.NewSigner(tt.kid, jws.ES256, private)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := string(s.AppendInput([]byte("x"), tt.typ, []byte("{}"))), "x"+b64(tt.header)+"."+b64("{}"); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// remote is a key that is somewhere else: all that is known of it is what
// crypto.Signer says, and change is what goes wrong on the way.
type remote struct {
	crypto.Signer
	change func(signature []byte) ([]byte, error)
}

func (r remote) Sign(random io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	signature, err := r.Signer.Sign(random, digest, o)
	if err != nil || r.change == nil {
		return signature, err
	}
	return r.change(signature)
}

func TestRemoteSigner(t *testing.T) {
	t.Parallel()
	for _, a := range algorithms {
		s, err := jws.NewSigner("k1", a, remote{Signer: privateKey(t, a)})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SelfTest(); err != nil {
			t.Errorf("%s: %v", a, err)
		}
		token, err := jws.Parse(sign(t, s, "JWT", "{}"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := token.VerifyPayload(s.Key()); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
}

// What a remote key returns is not believed.
func TestRemoteSignerFaults(t *testing.T) {
	t.Parallel()
	away := errors.New("away")
	pair := func(r, s *big.Int) []byte {
		der, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	huge := new(big.Int).Lsh(big.NewInt(1), 600)
	faults := map[string]struct {
		alg    jws.Algorithm
		change func([]byte) ([]byte, error)
		want   error
	}{
		"away":           {jws.ES256, func([]byte) ([]byte, error) { return nil, away }, away},
		"nothing":        {jws.ES256, func([]byte) ([]byte, error) { return nil, nil }, jws.ErrSignature},
		"no DER":         {jws.ES256, func([]byte) ([]byte, error) { return make([]byte, 64), nil }, jws.ErrSignature},
		"more behind":    {jws.ES256, func(s []byte) ([]byte, error) { return append(s, 0), nil }, jws.ErrSignature},
		"another pair":   {jws.ES256, func([]byte) ([]byte, error) { return pair(big.NewInt(1), big.NewInt(1)), nil }, jws.ErrSignature},
		"zero":           {jws.ES256, func([]byte) ([]byte, error) { return pair(new(big.Int), new(big.Int)), nil }, jws.ErrSignature},
		"negative":       {jws.ES256, func([]byte) ([]byte, error) { return pair(big.NewInt(1), big.NewInt(-1)), nil }, jws.ErrSignature},
		"r too long":     {jws.ES256, func([]byte) ([]byte, error) { return pair(huge, big.NewInt(1)), nil }, jws.ErrSignature},
		"s too long":     {jws.ES256, func([]byte) ([]byte, error) { return pair(big.NewInt(1), huge), nil }, jws.ErrSignature},
		"RSA changed":    {jws.RS256, func(s []byte) ([]byte, error) { s[9] ^= 1; return s, nil }, jws.ErrSignature},
		"PSS away":       {jws.PS256, func([]byte) ([]byte, error) { return nil, away }, away},
		"Ed25519 change": {jws.EdDSA, func(s []byte) ([]byte, error) { s[9] ^= 1; return s, nil }, jws.ErrSignature},
	}
	for name, tt := range faults {
		s, err := jws.NewSigner("k1", tt.alg, remote{privateKey(t, tt.alg), tt.change})
		if err != nil {
			t.Fatal(err)
		}
		if signature, err := s.Sign([]byte("input")); !errors.Is(err, tt.want) || signature != nil {
			t.Errorf("%s: %d bytes, %v", name, len(signature), err)
		}
		if err := s.SelfTest(); err == nil {
			t.Errorf("%s: the self test passes", name)
		}
	}
}

type noPublic struct{ crypto.Signer }

func (noPublic) Public() crypto.PublicKey { return nil }

func TestNewSignerRefuses(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		alg     jws.Algorithm
		private crypto.Signer
	}{
		"nothing":          {jws.ES256, nil},
		"nil EC key":       {jws.ES256, (*ecdsa.PrivateKey)(nil)},
		"nil RSA key":      {jws.RS256, (*rsa.PrivateKey)(nil)},
		"short Ed25519":    {jws.EdDSA, ed25519.PrivateKey("short")},
		"another curve":    {jws.ES384, privateKey(t, jws.ES256)},
		"another family":   {jws.RS256, privateKey(t, jws.ES256)},
		"HMAC":             {"HS256", privateKey(t, jws.ES256)},
		"nothing public":   {jws.ES256, noPublic{}},
		"remote, unfit":    {jws.ES384, remote{Signer: privateKey(t, jws.ES256)}},
		"unknown EC curve": {jws.ES256, &ecdsa.PrivateKey{PublicKey: ecdsa.PublicKey{Curve: elliptic.P256()}}},
	} {
		if s, err := jws.NewSigner("k", tt.alg, tt.private); !errors.Is(err, jws.ErrKey) || s != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A private key whose public half is another's must not come into use.
func TestSelfTestFails(t *testing.T) {
	t.Parallel()
	one, two := privateKey(t, jws.EdDSA).(ed25519.PrivateKey), privateKey(t, jws.EdDSA).(ed25519.PrivateKey)
	mixed := ed25519.PrivateKey(bytes.Join([][]byte{one[:32], two[32:]}, nil))
	s, err := jws.NewSigner("k", jws.EdDSA, mixed)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SelfTest(); err == nil {
		t.Error("the self test passes")
	}
}

// Law 6: whatever prints a token or a signer, or something that holds one, prints
// neither token nor key.
func TestNothingPrints(t *testing.T) {
	t.Parallel()
	private := privateKey(t, jws.EdDSA).(ed25519.PrivateKey)
	s, err := jws.NewSigner("k1", jws.EdDSA, private)
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, s, "JWT", `{"sub":"c4n4ry"}`)
	parsed, err := jws.Parse(token)
	if err != nil {
		t.Fatal(err)
	}
	holder := struct {
		token  jws.Token
		signer *jws.Signer
	}{parsed, s}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&out, strings.Repeat(verb+" ", 6)+"\n", parsed, &parsed, s, *s, holder, &holder)
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "token", parsed, "signer", s, "value", *s, "holder", holder)
	}
	text := strings.ToLower(out.String())
	numbers := strings.Trim(fmt.Sprint([]byte(private[:8])), "[]")
	for name, secret := range map[string]string{
		"payload": "c4n4ry", "payload hex": hex.EncodeToString([]byte("c4n4ry")), "token": strings.ToLower(token[:40]),
		"payload numbers": strings.Trim(fmt.Sprint([]byte("c4n4ry")), "[]"), "key hex": hex.EncodeToString(private[:8]), "key numbers": numbers,
	} {
		if strings.Contains(text, secret) {
			t.Errorf("%s leaked", name)
		}
	}
}
