package oauth_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/oauth"
)

const canary = "c4n4ry-token"

// Threat R-24: no verb, encoder or logger prints a secret, also not from a
// private field, where no method of the type is called.
func TestSecretNeverPrints(t *testing.T) {
	t.Parallel()
	s := oauth.NewSecret(canary)
	holder := struct {
		Public  oauth.Secret
		private oauth.Secret
		pointer *oauth.Secret
	}{s, s, &s}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%U", "%b", "%e", "%t", "%T", "%p"} {
		fmt.Fprintf(&out, verb+verb+verb+verb+verb+"\n", s, holder, []oauth.Secret{s}, &holder, map[string]any{"k": holder})
	}
	for _, h := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(h).Info("x", "secret", s, "holder", holder, "list", []any{s})
	}
	encoded, err := json.Marshal(holder)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(encoded)
	fmt.Fprint(&out, fmt.Errorf("wrapped: %v", s))
	hexed := fmt.Sprintf("%x", canary)
	if text := out.String(); strings.Contains(text, canary) || strings.Contains(strings.ToLower(text), hexed) {
		t.Errorf("the secret leaked: %s", text)
	}
	if sum := s.SHA256(); sum != sha256.Sum256([]byte(canary)) {
		t.Error("the hash is not the value's")
	}
	if !oauth.NewSecret("").IsZero() {
		t.Error("an empty secret is one")
	}
	if s.Reveal() != canary || s.IsZero() || !(oauth.Secret{}).IsZero() || (oauth.Secret{}).Reveal() != "" {
		t.Error("reveal")
	}
}

// Standards GV-6, TX-12, TX-13, H16.
func TestParseScopes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"a b": "a b", "b a": "a b", "a a": "a", "*": "*", "a:*": "a:*", "!#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~": "!#$%&'()*+,-./09:;<=>?@AZ[]^_`az{|}~",
	} {
		if s, err := oauth.ParseScopes(text); err != nil || s.String() != want {
			t.Errorf("%q: %q, %v", text, s, err)
		}
	}
	bad := []string{"", " ", "a  b", " a", "a ", "a\tb", "a\u00a0b", "a\u200bb", `a"b`, `a\b`, "a\nb", "a\x00", "a\x7f", "é", strings.Repeat("a ", oauth.MaxScopes) + "a"}
	for _, text := range bad {
		if s, err := oauth.ParseScopes(text); !errors.Is(err, oauth.ErrScope) || !s.IsEmpty() {
			t.Errorf("%q: %q, %v", text, s, err)
		}
	}
	if _, err := oauth.ParseScopes(strings.Repeat("a ", oauth.MaxScopes-1) + "a"); err != nil {
		t.Errorf("the limit itself: %v", err)
	}
}

func TestScopesAreSets(t *testing.T) {
	t.Parallel()
	draw := func(t *rapid.T, label string) (oauth.Scopes, map[string]bool) {
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c", "d", "e"}), 0, 6).Draw(t, label)
		s, err := oauth.NewScopes(names...)
		if err != nil {
			t.Fatal(err)
		}
		set := map[string]bool{}
		for _, n := range names {
			set[n] = true
		}
		return s, set
	}
	rapid.Check(t, func(t *rapid.T) {
		a, inA := draw(t, "a")
		b, inB := draw(t, "b")
		for _, n := range []string{"a", "b", "c", "d", "e", "f"} {
			if a.Contains(n) != inA[n] || a.Intersect(b).Contains(n) != (inA[n] && inB[n]) ||
				a.Union(b).Contains(n) != (inA[n] || inB[n]) || a.Without(b).Contains(n) != (inA[n] && !inB[n]) {
				t.Fatalf("%q with %q at %q", a, b, n)
			}
		}
		if a.Includes(b) != b.Without(a).IsEmpty() || a.Equal(b) != (a.Includes(b) && b.Includes(a)) || a.Union(b).Len() != len(a.Union(b).String()+" ")/2 && !a.Union(b).IsEmpty() {
			t.Fatalf("%q with %q", a, b)
		}
		if !a.IsEmpty() {
			if back, err := oauth.ParseScopes(a.String()); err != nil || !back.Equal(a) {
				t.Fatalf("%q prints as %q", a, back)
			}
		}
	})
}

// A set is not what its maker does with the names afterwards.
func TestScopesDoNotAlias(t *testing.T) {
	t.Parallel()
	names := []string{"b", "a"}
	s, err := oauth.NewScopes(names...)
	if err != nil {
		t.Fatal(err)
	}
	names[0], names[1] = "x", "y"
	if s.String() != "a b" {
		t.Errorf("%q", s)
	}
	empty, err := oauth.NewScopes()
	if err != nil || !empty.IsEmpty() || empty.String() != "" {
		t.Errorf("%q, %v", empty, err)
	}
	if _, err := oauth.NewScopes("a", ""); !errors.Is(err, oauth.ErrScope) {
		t.Errorf("empty name: %v", err)
	}
	if _, err := oauth.NewScopes(strings.Split(strings.Repeat("a,", oauth.MaxScopes)+"a", ",")...); !errors.Is(err, oauth.ErrScope) {
		t.Errorf("too many: %v", err)
	}
	if got := slices.Collect(s.Names()); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("names %q", got)
	}
}

func TestSetQuestionsDoNotAllocate(t *testing.T) {
	a, _ := oauth.NewScopes("a", "b", "c")
	b, _ := oauth.NewScopes("b", "c")
	if n := testing.AllocsPerRun(100, func() { _ = a.Contains("b") && a.Includes(b) && a.Equal(a) && a.Intersect(a).Equal(a.Union(b)) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestParseForm(t *testing.T) {
	t.Parallel()
	f, err := oauth.ParseForm([]byte("grant_type=client_credentials&scope=a+b%20c&audience=x&resource=y&resource=z&empty=&foo=bar&&client_id"))
	if err != nil {
		t.Fatal(err)
	}
	if f.Get("grant_type") != "client_credentials" || f.Get("scope") != "a b c" || f.Has("empty") || f.Has("client_id") || f.Get("foo") != "bar" {
		t.Errorf("%+v", f)
	}
	if f, err := oauth.ParseForm([]byte("audience=&audience=b&audience=c")); err != nil || f.Get("audience") != "b" || len(f.All("audience")) != 2 {
		t.Errorf("an audience without a value is not absent: %+v, %v", f, err)
	}
	if got := f.All("resource"); len(got) != 2 || got[0] != "y" || got[1] != "z" || len(f.All("nothing")) != 0 {
		t.Errorf("resources %q", got)
	}
}

// Standards HX-4, HX-5, HX-8, HX-9, H17: each refused, none echoed.
func TestParseFormRefuses(t *testing.T) {
	t.Parallel()
	bad := map[string]string{
		"broken escape":         "scope=%zz",
		"cut escape":            "scope=%4",
		"cut escape at the end": "scope=a%",
		"semicolon":             "scope=a;grant_type=b",
		"NUL":                   "scope=a%00b",
		"raw control character": "scope=a\nb",
		"escaped newline":       "scope=a%0Ab",
		"DEL":                   "scope=%7f",
		"invalid UTF-8":         "scope=%ff",
		"raw invalid UTF-8":     "scope=\xff",
		"raw DEL":               "scope=\x7f",
		"next line":             "scope=a%C2%85",
		"raw next line":         "scope=a\u0085",
		"cut UTF-8":             "scope=\xc2",
		"no name":               "=a",
		"broken name":           "%zz=a",
		"value too long":        "subject_token=" + strings.Repeat("a", 16<<10+1),
		"body too large":        strings.Repeat("a", oauth.MaxFormBytes+1),
		"too many parameters":   strings.Repeat("a=b&", 1) + many(64),
		"too many audiences":    strings.Repeat("audience=a&", 11),
		"targets together":      strings.Repeat("audience=a&resource=b&", 6),
		"control in a name":     "scope%00=a",
		"invalid UTF-8 name":    "%ff=a",
		"unknown name twice":    "x1=" + canary + "&x1=b",
	}
	for _, name := range []string{
		"grant_type", "scope", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type",
		"client_id", "client_assertion", "client_assertion_type", "assertion",
	} {
		bad["repeated "+name] = name + "=" + canary + "&" + name + "=b"
		bad["repeated without a value "+name] = name + "=&" + name + "=" + canary
	}
	for name, body := range bad {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := oauth.ParseForm([]byte(body))
			var form *oauth.FormError
			if !errors.As(err, &form) {
				t.Fatalf("error %v", err)
			}
			if strings.Contains(err.Error(), canary) || strings.Contains(err.Error(), "x1") {
				t.Errorf("echoed: %v", err)
			}
		})
	}
	for name, body := range map[string]string{
		"value and targets": "subject_token=" + strings.Repeat("a", 16<<10) + "&" + strings.Repeat("audience=a&", 10),
		"parameters":        many(64),
		"body":              strings.Repeat("&", oauth.MaxFormBytes),
		"escapes":           "scope=%41%4a%4A%25%26%3B%C2%A0&foo=%2b",
	} {
		if _, err := oauth.ParseForm([]byte(body)); err != nil {
			t.Errorf("the limit itself, %s: %v", name, err)
		}
	}
}

// The name of the parameter is told only where an RFC made it up.
func TestFormErrorNames(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		"scope=a&scope=b":        "scope is sent more than once",
		"token_type_hint=%zz":    "token_type_hint is not well formed",
		canary + "=%zz":          "a parameter is not well formed",
		"x=%zz&" + canary + "=b": "a parameter is not well formed",
		"%zz=" + canary:          "the body is not well formed",
		many(65):                 "too many parameters",
	} {
		if _, err := oauth.ParseForm([]byte(body)); err == nil || err.Error() != want {
			t.Errorf("%q: %v", body, err)
		}
	}
}

// Every pair of bytes after a percent sign and every raw byte: what net/url
// reads we read alike, unless it is one of the bytes that we refuse.
func TestParseFormEveryByte(t *testing.T) {
	t.Parallel()
	check := func(raw string) {
		form, err := oauth.ParseForm([]byte("scope=x" + raw + "y"))
		want, queryErr := url.QueryUnescape("x" + raw + "y")
		bad := queryErr != nil || !utf8.ValidString(want) || strings.ContainsFunc(want, unicode.IsControl)
		if (err != nil) != bad || err == nil && form.Get("scope") != want {
			t.Errorf("%q: %q, %v; net/url %q, %v", raw, form.Get("scope"), err, want, queryErr)
		}
	}
	for a := range 256 {
		if a != '&' && a != ';' {
			check(string([]byte{byte(a)}))
			check("%C2%" + fmt.Sprintf("%02X", a))
		}
		for b := range 256 {
			if a != '&' && a != ';' && b != '&' && b != ';' {
				check("%" + string([]byte{byte(a), byte(b)}))
			}
		}
	}
}

func many(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "p%d=v&", i)
	}
	return b.String()
}

// What we accept net/url reads the same.
func FuzzParseForm(f *testing.F) {
	for _, seed := range []string{"a=b", "grant_type=x&scope=a+b", "a=%41&b=%e2%82%ac", "=", "&&", "a", "a==b", "audience=a&audience=b"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		form, err := oauth.ParseForm(body)
		if err != nil {
			return
		}
		values, err := url.ParseQuery(string(body))
		if err != nil {
			t.Fatalf("net/url refuses %q: %v", body, err)
		}
		for name, all := range values {
			want := slices.DeleteFunc(slices.Clone(all), func(v string) bool { return v == "" })
			if got := form.All(name); !slices.Equal(got, want) {
				t.Fatalf("%q: %q, net/url %q", name, got, all)
			}
			if form.Has(name) != (len(want) > 0) || form.Has(name) && form.Get(name) != want[0] {
				t.Fatalf("%q: first is %q, net/url %q", name, form.Get(name), all)
			}
		}
	})
}

func TestTokenResponse(t *testing.T) {
	t.Parallel()
	r := oauth.TokenResponse{AccessToken: oauth.NewSecret("a.b.c"), IssuedTokenType: oauth.TokenTypeAccessToken, TokenType: "Bearer", ExpiresIn: 300, Scope: "x y"}
	var got map[string]any
	if err := json.Unmarshal(r.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	if got["access_token"] != "a.b.c" || got["issued_token_type"] != string(oauth.TokenTypeAccessToken) || got["token_type"] != "Bearer" || got["expires_in"] != 300.0 || got["scope"] != "x y" || len(got) != 5 {
		t.Errorf("%v", got)
	}
	r.IssuedTokenType = ""
	if bytes.Contains(r.AppendJSON(nil), []byte("issued_token_type")) {
		t.Error("issued_token_type of a grant that has none")
	}
}

// Standards OE-1, OE-3, OE-4.
func TestErrorResponse(t *testing.T) {
	t.Parallel()
	r := oauth.ErrorResponse{Code: "made_up", Description: "a \"b\"\n\\ \xff é", URI: "https://x/\""}
	var got map[string]string
	if err := json.Unmarshal(r.AppendJSON(nil), &got); err != nil {
		t.Fatal(err)
	}
	if got["error"] != "server_error" || strings.ContainsAny(got["error_description"], "\"\\\n\xff") {
		t.Errorf("%v", got)
	}
}
