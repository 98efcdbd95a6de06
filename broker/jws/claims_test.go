package jws_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	strict "github.com/go-json-experiment/json"

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

func TestAudience(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string][]string{`{"aud":"a b"}`: {"a b"}, `{"aud":["a"]}`: {"a"}, `{"aud":["b","a"],"exp":1800000000}`: {"b", "a"}, `{}`: nil} {
		var c claims
		if err := jws.DecodeClaims([]byte(payload), &c, 8); err != nil || !slices.Equal(c.Audience, want) {
			t.Errorf("%s: %q, %v", payload, c.Audience, err)
		}
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
		"exp just below":     `{"exp":999999999.9}`,
		"exp just above":     `{"exp":100000000000}`,
		"exp array":          `{"exp":[1800000000]}`,
		"exp hex":            `{"exp":0x6b49d200}`,
		"exp leading zero":   `{"exp":01800000000}`,
		"exp plus":           `{"exp":+1800000000}`,
		"aud cut":            `{"aud":["a"`,
		"aud number":         `{"aud":1}`,
		"aud true":           `{"aud":true}`,
		"long array":         `{"a":[` + strings.Repeat("1,", 2048) + `1]}`,
		"wide below":         `{"a":{` + members(257) + `}}`,
		"text behind":        `{"sub":"a"},`,
		"brace behind":       `{"sub":"a"}}`,
		"NUL behind":         "{\"sub\":\"a\"}\x00",
		"BOM behind":         "{\"sub\":\"a\"}\ufeff",
		"comment":            `{"sub":"a"/**/}`,
		"null":               `null`,
		"comma at the end":   `{"sub":"a",}`,
		"name without value": `{"sub"}`,
		"raw newline":        "{\"sub\":\"a\nb\"}",
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
		"array":         `{"a":[` + strings.Repeat("1,", 2047) + `1]}`,
		"space around":  " \t\r\n{} \t\r\n",
		"exp lowest":    `{"exp":1000000000}`,
		"exp highest":   `{"exp":99999999999.9}`,
		"exp exponent":  `{"exp":1.8e9}`,
		"variant value": `{"sub":"AUD","other":"SUB"}`,
		"aud string":    `{"aud":"a"}`,
		"aud 32":        `{"aud":[` + strings.Repeat(`"a",`, 31) + `"a"]}`,
		"capitals":      `{"Department":"x","É":1}`,
		"direction":     `{"sub":"a\u202eb"}`,
	} {
		if err := jws.DecodeClaims([]byte(payload), &c, 8); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Standards HX-12, JW-8: every name that counts, alone and in each kind of other
// spelling.
func TestDecodeClaimsVariants(t *testing.T) {
	t.Parallel()
	for _, name := range strings.Fields("iss sub aud exp nbf iat jti scope scp client_id act may_act cnf azp sub_id txn anc presenters rev typ nonce keys") {
		for _, spelling := range []string{
			strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], strings.Replace(name, "s", "\u017f", 1), strings.Replace(name, "k", "\u212a", 1),
		} {
			var m map[string]any
			err := jws.DecodeClaims([]byte(`{"`+spelling+`":"x"}`), &m, 8)
			if (err != nil) != (spelling != name) {
				t.Errorf("%q: %v", spelling, err)
			}
		}
	}
}

// The depth is the caller's to say: an act chain may be longer than claims are.
func TestDecodeClaimsDepth(t *testing.T) {
	t.Parallel()
	for depth := 1; depth < 12; depth++ {
		payload := []byte(strings.Repeat(`{"act":`, depth) + `1` + strings.Repeat(`}`, depth))
		for limit := 1; limit < 12; limit++ {
			var m map[string]any
			if err := jws.DecodeClaims(payload, &m, limit); (err != nil) != (depth > limit) {
				t.Errorf("depth %d, limit %d: %v", depth, limit, err)
			}
		}
	}
}

// No error holds anything of a payload.
func TestClaimsErrorsAreSilent(t *testing.T) {
	t.Parallel()
	for _, payload := range []string{
		`{"sub":"c4n4ry","sub":"c4n4ry"}`, `{"c4n4ry":"a","c4n4ry":1}`, `{"sub":c4n4ry}`, `{"exp":"c4n4ry"}`, `{"aud":["c4n4ry",1]}`,
		`{"sub":"c4n4ry"}c4n4ry`, `{"SUB":"c4n4ry"}`, `{"sub":["c4n4ry"]}`, "{\"sub\":\"c4n4ry\xff\"}",
	} {
		var c claims
		if err := jws.DecodeClaims([]byte(payload), &c, 8); err == nil || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%q: %v", payload, err)
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
		var again map[string]any
		if err := strict.Unmarshal(payload, &again); err != nil || len(again) != len(m) {
			t.Fatalf("%q: %d members, %d members, %v", payload, len(m), len(again), err)
		}
		if s, ok := m["sub"].(string); ok != (c.Subject != "" || ok && s == "") || ok && s != c.Subject {
			t.Fatalf("%q: sub %q", payload, c.Subject)
		}
	})
}
