package verify_test

import (
	"strings"
	"testing"

	"github.com/cambist/cambist/clients/verify"
)

// Standards AT-18, H8, PX-13; RFC 6750 section 2.1.
func TestParseBearer(t *testing.T) {
	t.Parallel()
	const none, several, malformed = verify.ReasonCredentialsMissing, verify.ReasonCredentialsSeveral, verify.ReasonCredentialsMalformed
	tests := map[string]struct {
		values []string
		want   verify.Reason
	}{
		"good":               {[]string{"Bearer tok"}, ""},
		"lower case":         {[]string{"bearer tok"}, ""},
		"upper case":         {[]string{"BEARER tok"}, ""},
		"nothing":            {nil, none},
		"basic":              {[]string{"Basic dG9r"}, none},
		"DPoP":               {[]string{"DPoP tok"}, none},
		"two":                {[]string{"Bearer tok", "Bearer tok"}, several},
		"two kinds":          {[]string{"Basic a", "Bearer tok"}, several},
		"empty":              {[]string{""}, malformed},
		"the word alone":     {[]string{"Bearer"}, malformed},
		"no token":           {[]string{"Bearer "}, malformed},
		"two spaces":         {[]string{"Bearer  tok"}, malformed},
		"space in front":     {[]string{" Bearer tok"}, malformed},
		"space behind":       {[]string{"Bearer tok "}, malformed},
		"tab":                {[]string{"Bearer\ttok"}, malformed},
		"two tokens":         {[]string{"Bearer tok, Bearer tok"}, malformed},
		"two words":          {[]string{"Bearer tok tok"}, malformed},
		"parameter":          {[]string{"Bearer token=\"tok\""}, malformed},
		"equals in between":  {[]string{"Bearer t=k"}, malformed},
		"equals alone":       {[]string{"Bearer =="}, malformed},
		"line break":         {[]string{"Bearer tok\r\nX: y"}, malformed},
		"NUL":                {[]string{"Bearer tok\x00"}, malformed},
		"not ASCII":          {[]string{"Bearer töken"}, malformed},
		"scheme of no ASCII": {[]string{"Bea\u017fer tok"}, malformed},
		"a longer word":      {[]string{"Bearers tok"}, none},
	}
	for name, tt := range tests {
		raw, err := verify.ParseBearer(tt.values)
		if reason(err) != tt.want || (raw == "tok") != (tt.want == "") || err != nil && raw != "" {
			t.Errorf("%s: %q, %v, want %q", name, raw, err, tt.want)
		}
	}
	if raw, err := verify.ParseBearer([]string{"Bearer aZ09-._~+/=="}); err != nil || raw != "aZ09-._~+/==" {
		t.Errorf("the whole alphabet: %q, %v", raw, err)
	}
}

// Whatever comes, a token that comes out is the rest of a header that says
// Bearer, and nothing that could end a line or begin another word.
func FuzzParseBearer(f *testing.F) {
	for _, seed := range []string{"Bearer a.b.c", "bearer  x", "BEARER x=", "Basic x", "", "Bearer", "Bea\u212aer x", "Bearer a,b"} {
		f.Add(seed, "")
	}
	f.Add("Bearer a", "Bearer b")
	f.Fuzz(func(t *testing.T, one, two string) {
		values := []string{one}
		if two != "" {
			values = append(values, two)
		}
		raw, err := verify.ParseBearer(values)
		if (err == nil) != (raw != "") {
			t.Fatalf("%q, %v", raw, err)
		}
		if err == nil && (two != "" || len(one) != len("Bearer ")+len(raw) || !strings.HasSuffix(one, " "+raw) || strings.ToLower(one[:6]) != "bearer" ||
			strings.ContainsFunc(raw, func(r rune) bool { return r <= 0x20 || r >= 0x7f || r == ',' || r == '"' })) {
			t.Fatalf("%q of %q", raw, values)
		}
	})
}
