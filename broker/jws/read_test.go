package jws_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker/jws"
)

// Standards HX-13, H14.
func TestValidName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a", "alice@acme.example", "jürgen 王", "a b", "aaaa", "\U0001F600"} {
		if !jws.ValidName(name, 32) {
			t.Errorf("%q is refused", name)
		}
	}
	for _, name := range []string{"", strings.Repeat("a", 33), "a\x00", "a\nb", "a\tb", "a\x7f", "a\u0085b", "a\xff", "a\ufffdb", "a\u2028b", "a\u2029b", "a\u200eb", "a\u061cb"} {
		if jws.ValidName(name, 32) {
			t.Errorf("%q passes", name)
		}
	}
	for _, r := range "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069" {
		if jws.ValidName("a"+string(r)+"b", 32) {
			t.Errorf("%U passes", r)
		}
	}
}

// Each reads the one thing that it is for.
func TestReadMembers(t *testing.T) {
	t.Parallel()
	for _, value := range []string{`"a"`, `""`, `1`, `null`, `true`, `{}`, `[]`, `["a"]`, `["a","b"]`, `["a",1]`, `[["a"]]`, `{"a":1}`} {
		text, textErr := jws.ReadText(jsontext.NewDecoder(bytes.NewBufferString(value)))
		if want := value == `"a"` || value == `""`; (textErr == nil) != want || want && text != strings.Trim(value, `"`) {
			t.Errorf("text of %s: %q, %v", value, text, textErr)
		}
		texts, textsErr := jws.ReadTexts(jsontext.Value(value))
		if want := map[string]string{`[]`: "", `["a"]`: "a", `["a","b"]`: "a,b"}; (textsErr == nil) != (value == `[]` || want[value] != "") || textsErr == nil && strings.Join(texts, ",") != want[value] {
			t.Errorf("texts of %s: %q, %v", value, texts, textsErr)
		}
		if err := jws.ReadOpen(jsontext.NewDecoder(bytes.NewBufferString(value))); (err == nil) != strings.HasPrefix(value, "{") {
			t.Errorf("object of %s: %v", value, err)
		}
	}
}
