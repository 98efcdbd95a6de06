package dpop_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/tests/dpoptest"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func b64(raw []byte) string { return base64.RawURLEncoding.EncodeToString(raw) }

func newNonces(t testing.TB, seed byte) *dpop.Nonces {
	t.Helper()
	n, err := dpop.NewNonces(bytes.Repeat([]byte{seed}, 32))
	must(t, err)
	return n
}

// Standards DP-10: a nonce is good for a while, at every server with the key, and
// at no other; what is missing, old or made up asks for another.
func TestNonce(t *testing.T) {
	t.Parallel()
	ours := newNonces(t, 1)
	key := dpoptest.New(t)
	fresh := ours.At(start)
	changed := []byte(fresh)
	changed[3] ^= 1
	tests := map[string]struct {
		nonce any
		want  dpop.Reason
	}{
		"fresh":                     {fresh, ""},
		"of another replica":        {newNonces(t, 1).At(start), ""},
		"five minutes old":          {ours.At(start.Add(-5 * time.Minute)), dpop.ReasonNonce}, // the part of a second counts
		"almost five minutes old":   {ours.At(start.Add(-299 * time.Second)), ""},
		"of a clock ahead":          {ours.At(start.Add(5 * time.Second)), ""},
		"of a clock far ahead":      {ours.At(start.Add(7 * time.Second)), dpop.ReasonNonce},
		"none":                      {nil, dpop.ReasonNonce},
		"empty":                     {"", dpop.ReasonNonce},
		"of another key":            {newNonces(t, 2).At(start), dpop.ReasonNonce},
		"its time changed":          {string(changed), dpop.ReasonNonce},
		"padded":                    {fresh + "=", dpop.ReasonNonce},
		"with a line break":         {fresh[:31] + "\n", dpop.ReasonNonce},
		"long":                      {strings.Repeat("A", 4000), dpop.ReasonNonce},
		"a number":                  {1, dpop.ReasonClaims},
		"all zero":                  {strings.Repeat("A", 32), dpop.ReasonNonce},
		"of the end of time":        {b64(append(bytes.Repeat([]byte{0xff}, 8), make([]byte, 16)...)), dpop.ReasonNonce},
		"the MAC alone, at no time": {fresh[11:], dpop.ReasonNonce},
	}
	for name, tt := range tests {
		v := dpop.New(dpop.NewReplays(10), ours)
		_, err := v.Verify([]string{key.Proof(t, dpoptest.For("POST", tokenURL, start).With("nonce", tt.nonce))}, request())
		if reason(err) != tt.want {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
	// A proof that asks for a nonce is not used up: the client may send its jti again.
	v := dpop.New(dpop.NewReplays(10), ours)
	claims := dpoptest.For("POST", tokenURL, start)
	if _, err := v.Verify([]string{key.Proof(t, claims)}, request()); reason(err) != dpop.ReasonNonce {
		t.Error(err)
	}
	if _, err := v.Verify([]string{key.Proof(t, claims.With("nonce", v.Nonce(start)))}, request()); err != nil {
		t.Error(err)
	}
	if newVerifier().Nonce(start) != "" {
		t.Error("a nonce that nobody asks for")
	}
	if ours.At(start) == ours.At(start.Add(time.Second)) || len(fresh) != 32 {
		t.Error("a nonce does not change with time")
	}
}

func TestNonceKey(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 16, 31, 33} {
		if _, err := dpop.NewNonces(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes", n)
		}
	}
	key := []byte("0123456789abcdef0123456789abcdef")
	n, err := dpop.NewNonces(key)
	must(t, err)
	before := n.At(start)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb, *n); strings.Contains(text, "abcdef") || strings.Contains(text, "97 98 99") {
			t.Errorf("%s prints the key: %s", verb, text)
		}
	}
	clear(key)
	if n.At(start) != before {
		t.Error("the key is shared with the caller")
	}
}
