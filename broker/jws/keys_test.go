package jws_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"os"
	"sync"
	"testing"

	"github.com/cambist/cambist/broker/jws"
)

var algorithms = []jws.Algorithm{
	jws.ES256, jws.ES384, jws.ES512, jws.EdDSA, jws.Ed25519, jws.RS256, jws.RS384, jws.RS512, jws.PS256, jws.PS384, jws.PS512,
}

// rsaKey reads the one RSA key of all tests: making one costs more than all of
// them. It is for tests and signs nothing else.
var rsaKey = sync.OnceValue(func() *rsa.PrivateKey {
	text, err := os.ReadFile("testdata/rsa2048.pem")
	if err != nil {
		panic(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		panic("testdata/rsa2048.pem is not PEM")
	}
	k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		panic(err)
	}
	return k.(*rsa.PrivateKey)
})

func privateKey(t testing.TB, a jws.Algorithm) crypto.Signer {
	t.Helper()
	var k crypto.Signer
	var err error
	switch a {
	case jws.ES256:
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jws.ES384:
		k, err = ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case jws.ES512:
		k, err = ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case jws.EdDSA, jws.Ed25519:
		_, k, err = ed25519.GenerateKey(rand.Reader)
	default:
		k = rsaKey()
	}
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func signer(t testing.TB, a jws.Algorithm) *jws.Signer {
	t.Helper()
	s, err := jws.NewSigner("k1", a, privateKey(t, a))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sign(t testing.TB, s *jws.Signer, typ, payload string) string {
	t.Helper()
	input := s.AppendInput(nil, typ, []byte(payload))
	signature, err := s.Sign(input)
	if err != nil {
		t.Fatal(err)
	}
	return string(jws.AppendToken(nil, input, signature))
}

func sha256Of(s string) []byte {
	h := crypto.SHA256.New()
	h.Write([]byte(s))
	return h.Sum(nil)
}

func b64(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
