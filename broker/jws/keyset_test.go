package jws_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/jws"
)

func ecEntry(t *testing.T, kid string) string {
	t.Helper()
	key, err := jws.NewKey(kid, jws.ES256, privateKey(t, jws.ES256).Public())
	if err != nil {
		t.Fatal(err)
	}
	body, err := jws.MarshalKeySet([]jws.Key{key})
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(string(body), `{"keys":[`), `]}`)
}

// Standards JK-1, 5, 6, 7, threats B18, I4.
func TestParseKeySet(t *testing.T) {
	t.Parallel()
	a, b := ecEntry(t, "a"), ecEntry(t, "b")
	type want struct {
		keys, skipped int
		err           error
	}
	tests := map[string]struct {
		body string
		want want
	}{
		"two":               {`{"keys":[` + a + `,` + b + `]}`, want{2, 0, nil}},
		"empty":             {`{"keys":[]}`, want{}},
		"unknown kty":       {`{"keys":[{"kty":"AKP","alg":"ML-DSA-44","kid":"x","pub":"AA"},` + a + `]}`, want{1, 1, nil}},
		"for encryption":    {`{"keys":[` + strings.Replace(a, `"use":"sig"`, `"use":"enc"`, 1) + `]}`, want{0, 1, nil}},
		"alg not allowed":   {`{"keys":[` + strings.Replace(a, `"alg":"ES256"`, `"alg":"ES384"`, 1) + `]}`, want{0, 1, nil}},
		"off the curve":     {`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE","y":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAE"}]}`, want{0, 1, nil}},
		"RSA 512":           {`{"keys":[{"kty":"RSA","kid":"x","n":"` + strings.Repeat("_", 86) + `","e":"AQAB"}]}`, want{0, 1, nil}},
		"private":           {`{"keys":[` + a + `,` + strings.Replace(b, `"kty"`, `"d":"AA","kty"`, 1) + `]}`, want{0, 0, jws.ErrPrivateKey}},
		"symmetric":         {`{"keys":[{"kty":"oct","k":"AA"}]}`, want{0, 0, jws.ErrPrivateKey}},
		"kid twice":         {`{"keys":[` + a + `,` + strings.Replace(b, `"kid":"b"`, `"kid":"a"`, 1) + `]}`, want{0, 0, jws.ErrKeySet}},
		"member twice":      {`{"keys":[],"keys":[]}`, want{0, 0, jws.ErrKeySet}},
		"no object":         {`[]`, want{0, 0, jws.ErrKeySet}},
		"HTML":              {`<html>`, want{0, 0, jws.ErrKeySet}},
		"too large":         {`{"keys":[]` + strings.Repeat(" ", jws.MaxKeySetBytes) + `}`, want{0, 0, jws.ErrKeySet}},
		"too many":          {`{"keys":[` + strings.Repeat(`{"kty":"x"},`, 64) + `{"kty":"x"}]}`, want{0, 0, jws.ErrKeySet}},
		"key is not object": {`{"keys":[1]}`, want{0, 1, nil}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set, skipped, err := jws.ParseKeySet([]byte(tt.body), []jws.Algorithm{jws.ES256, jws.RS256})
			if !errors.Is(err, tt.want.err) || err != nil && tt.want.err == nil || set.Len() != tt.want.keys || len(skipped) != tt.want.skipped {
				t.Errorf("%d keys, skipped %v, %v", set.Len(), skipped, err)
			}
		})
	}
}

func TestLookup(t *testing.T) {
	t.Parallel()
	set, _, err := jws.ParseKeySet([]byte(`{"keys":[`+ecEntry(t, "a")+`,`+ecEntry(t, "b")+`]}`), algorithms)
	if err != nil {
		t.Fatal(err)
	}
	one, _, err := jws.ParseKeySet([]byte(`{"keys":[`+ecEntry(t, "a")+`]}`), algorithms)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		set  jws.KeySet
		kid  string
		alg  jws.Algorithm
		want bool
	}{
		"by kid":               {set, "a", jws.ES256, true},
		"another algorithm":    {set, "a", jws.ES384, false},
		"unknown kid":          {set, "c", jws.ES256, false},
		"no kid, several keys": {set, "", jws.ES256, false},
		"no kid, one key":      {one, "", jws.ES256, true},
		"empty set":            {jws.KeySet{}, "a", jws.ES256, false},
	} {
		if k, ok := tt.set.Lookup(tt.kid, tt.alg); ok != tt.want || ok && k.Algorithm() != tt.alg {
			t.Errorf("%s: %v", name, ok)
		}
	}
}

func FuzzParseKeySet(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","kid":"x","x":"AA","y":"AA"}]}`))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		set, _, err := jws.ParseKeySet(body, algorithms)
		if err != nil && set.Len() != 0 {
			t.Fatal("keys beside an error")
		}
	})
}
