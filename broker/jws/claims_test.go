package jws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/jws"
)

type claims struct {
	Issuer   string          `json:"iss"`
	Subject  string          `json:"sub"`
	Audience jws.Audience    `json:"aud"`
	Expires  jws.NumericDate `json:"exp"`
}

func TestDecodeClaims(t *testing.T) {
	t.Parallel()
	var c claims
	err := jws.DecodeClaims([]byte(`{"iss":"i","sub":"s","aud":["a","b"],"exp":1800000000.9,"other":{"Sub":1,"x":[1,2]}}`+"\n"), &c, 8)
	if err != nil || c.Issuer != "i" || c.Subject != "s" || len(c.Audience) != 2 || c.Expires != 1800000000 {
		t.Fatalf("%+v %v", c, err)
	}
}

// Standards HX-12, HX-13, JW-7, 8, 9, 15, 16, AT-13, H5, H9, H11, H12, H14.
func TestDecodeClaimsRefuses(t *testing.T) {
	t.Parallel()
	tests := map[string]string{
		"nothing":            ``,
		"array":              `[]`,
		"string":             `"x"`,
		"cut":                `{"sub":"a"`,
		"trailing object":    `{"sub":"a"}{}`,
		"trailing text":      `{"sub":"a"}x`,
		"BOM":                "\ufeff{}",
		"UTF-16":             "{\x00}\x00",
		"duplicate":          `{"sub":"a","sub":"a"}`,
		"duplicate inside":   `{"act":{"sub":"a","sub":"b"}}`,
		"escaped duplicate":  `{"sub":"a","\u0073ub":"b"}`,
		"case variant":       `{"sub":"a","SUB":"b"}`,
		"case variant alone": `{"Sub":"a"}`,
		"long s":             `{"sub":"a","\u017fub":"c"}`,
		"Kelvin sign":        `{"\u212aeys":[]}`,
		"case variant aud":   `{"aud":"a","AUD":"evil"}`,
		"invalid UTF-8":      "{\"sub\":\"\xff\"}",
		"overlong":           "{\"sub\":\"\xc0\xaf\"}",
		"lone surrogate":     `{"sub":"\ud800"}`,
		"sub a number":       `{"sub":1}`,
		"aud empty":          `{"aud":[]}`,
		"aud empty string":   `{"aud":""}`,
		"aud nested":         `{"aud":[["me"]]}`,
		"aud object":         `{"aud":{}}`,
		"aud mixed":          `{"aud":["me",1,null]}`,
		"aud null":           `{"aud":null}`,
		"aud with empty":     `{"aud":["me",""]}`,
		"aud many":           `{"aud":[` + strings.Repeat(`"a",`, 32) + `"a"]}`,
		"exp string":         `{"exp":"1800000000"}`,
		"exp true":           `{"exp":true}`,
		"exp null":           `{"exp":null}`,
		"exp negative":       `{"exp":-1}`,
		"exp small":          `{"exp":1e3}`,
		"exp large":          `{"exp":9e18}`,
		"exp 1e300":          `{"exp":1e300}`,
		"exp 1e400":          `{"exp":1e400}`,
		"exp milliseconds":   `{"exp":1800000000000}`,
		"exp object":         `{"exp":{}}`,
		"deep":               strings.Repeat(`{"a":`, 9) + `1` + strings.Repeat(`}`, 9),
		"very deep":          strings.Repeat(`{"act":`, 20000) + `1` + strings.Repeat(`}`, 20000),
		"deep array":         `{"a":` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `}`,
		"wide":               `{` + members(257) + `}`,
		"NaN":                `{"exp":NaN}`,
	}
	for name, payload := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var c claims
			if err := jws.DecodeClaims([]byte(payload), &c, 8); !errors.Is(err, jws.ErrClaims) {
				t.Errorf("error %v, claims %+v", err, c)
			}
		})
	}
	var c claims
	for name, payload := range map[string]string{
		"at the depth":  strings.Repeat(`{"a":`, 8) + `1` + strings.Repeat(`}`, 8),
		"at the width":  `{` + members(256) + `}`,
		"variant below": `{"a":{"SUB":1}}`,
	} {
		if err := jws.DecodeClaims([]byte(payload), &c, 8); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func members(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = fmt.Sprintf(`"m%d":1`, i)
	}
	return strings.Join(list, ",")
}

// What we accept encoding/json accepts, and reads the same where names are
// exact.
func FuzzDecodeClaims(f *testing.F) {
	for _, seed := range []string{`{}`, `{"iss":"a","aud":"b","exp":1800000000}`, `{"aud":["a"]}`, `{"sub":"\u00e9"}`, `{"exp":1.8e9}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		var c claims
		if jws.DecodeClaims(payload, &c, 8) != nil {
			return
		}
		d := json.NewDecoder(bytes.NewReader(payload))
		d.UseNumber()
		var m map[string]any
		if err := d.Decode(&m); err != nil {
			t.Fatalf("encoding/json refuses %q: %v", payload, err)
		}
		if s, ok := m["sub"].(string); ok != (c.Subject != "" || ok && s == "") || ok && s != c.Subject {
			t.Fatalf("%q: sub %q", payload, c.Subject)
		}
	})
}

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
