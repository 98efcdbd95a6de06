package dpop_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/tests/dpoptest"
)

// Whatever comes as a header, the answer is a reason of the list or a proof by
// the one key that can sign here, and no text of the header stands in it.
func FuzzVerify(f *testing.F) {
	// The workers of a fuzz run are processes of their own: the key is the same in all.
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), bytes.Repeat([]byte{7}, 32))
	must(f, err)
	key := dpoptest.NewKey(f, jws.ES256, private)
	good := key.Proof(f, dpoptest.For("POST", tokenURL, start))
	for _, seed := range []string{
		good, strings.Replace(good, ".", "..", 1), good[1:], "", "a.b.c", strings.Repeat(".", 9000),
		key.Sign(f, strings.Replace(key.Header(), `"kty"`, `"d":"canary","kty"`, 1), "{}"), key.Sign(f, key.Header(), `{"jti":"canary","htm":"POST","htu":"x","iat":1e9}`),
	} {
		f.Add(seed)
	}
	known := map[dpop.Reason]bool{}
	for _, r := range dpop.Reasons() {
		known[r] = true
	}
	f.Fuzz(func(t *testing.T, header string) {
		got, err := newVerifier().Verify([]string{header}, request())
		if err == nil {
			if got.Key != key.Thumbprint || got.ID == "" {
				t.Fatalf("%+v of %q", got, header)
			}
			return
		}
		if !known[reason(err)] || got != (dpop.Proof{}) || strings.Contains(err.Error(), "canary") {
			t.Fatalf("%v", err)
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	key := dpoptest.New(b)
	proof := []string{key.Proof(b, dpoptest.For("POST", tokenURL, start))}
	v := dpop.New(dpop.NewReplays(0), nil) // full: all work but the last is done
	b.ReportAllocs()
	for b.Loop() {
		if _, err := v.Verify(proof, request()); reason(err) != dpop.ReasonOverloaded {
			b.Fatal(err)
		}
	}
}
