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
