package dpop_test

import (
	"net/url"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/dpop"
)

// Standards DP-3: the normal form of RFC 3986 section 6.2.2 and 6.2.3.
func TestNormal(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"https://h/token":                       "https://h/token",
		"https://H:443/token":                   "https://h/token",
		"HTTPS://h:/token":                      "https://h/token",
		"http://h:80/":                          "http://h/",
		"http://h:443/":                         "http://h:443/",
		"https://h:80/":                         "https://h:80/",
		"https://h":                             "https://h/",
		"https://h?x":                           "https://h/",
		"https://h#x":                           "https://h/",
		"https://h/a?b=https://i/c#d":           "https://h/a",
		"https://h/a#b?c":                       "https://h/a",
		"https://h/%7Ea/%61%2f%c3%bc":           "https://h/~a/a%2F%C3%BC",
		"https://h/a/./b/../c/.":                "https://h/a/c/",
		"https://h/a/..":                        "https://h/",
		"https://h/../../a":                     "https://h/a",
		"https://h/%2e%2E/a/%2e":                "https://h/a/",
		"https://h//a//":                        "https://h//a//",
		"https://h/.well-known/x":               "https://h/.well-known/x",
		"https://[2001:DB8::1]:8443/x":          "https://[2001:db8::1]:8443/x",
		"https://[::1]":                         "https://[::1]/",
		"https://h/a;b=c,d@e:f!$&'()*+":         "https://h/a;b=c,d@e:f!$&'()*+",
		"":                                      "",
		"h/token":                               "",
		"//h/token":                             "",
		"/token":                                "",
		"ftp://h/":                              "",
		"https:///token":                        "",
		"https://:443/token":                    "",
		"https://u@h/token":                     "",
		"https://u:p@h/token":                   "",
		"https://h%2eexample/":                  "",
		"https://h:44a/":                        "",
		"https://[::1/":                         "",
		"https://::1/":                          "",
		"https://[]/":                           "",
		"https://h/%":                           "",
		"https://h/%4":                          "",
		"https://h/%4g":                         "",
		"https://h/ä":                           "",
		"https://h/ x":                          "",
		"https://h/\x00":                        "",
		"https://h\\@i/":                        "",
		"https://h/" + strings.Repeat("a", 3e3): "",
	} {
		if got, ok := dpop.Normal(text); got != want || ok != (want != "") {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// Other spellings of one URL have one form, and that form is its own.
func TestNormalSpellings(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		host := rapid.StringMatching(`[a-z][a-z0-9-]{0,8}(\.[a-z]{2,5})?`).Draw(t, "host")
		path := rapid.StringMatching(`(/[a-zA-Z0-9._~-]{1,4}){0,4}/?`).Draw(t, "path")
		form, ok := dpop.Normal("https://" + host + path)
		if !ok {
			t.Fatal("no form")
		}
		if again, ok := dpop.Normal(form); !ok || again != form {
			t.Fatalf("%s is not its own form, but %s", form, again)
		}
		var spelled strings.Builder
		for i := range len(path) {
			if c := path[i]; c != '/' && rapid.Bool().Draw(t, "escape") {
				spelled.WriteString("%" + string("0123456789abcdef"[c>>4]) + string("0123456789ABCDEF"[c&15]))
			} else {
				spelled.WriteByte(c)
			}
		}
		text := rapid.SampledFrom([]string{"https://", "HTTPS://", "hTTps://"}).Draw(t, "scheme") + strings.ToUpper(host) +
			rapid.SampledFrom([]string{"", ":", ":443"}).Draw(t, "port") + spelled.String() + rapid.SampledFrom([]string{"", "?q", "#f", "?q#f"}).Draw(t, "rest")
		if got, ok := dpop.Normal(text); !ok || got != form {
			t.Fatalf("%s is %s, not %s", text, got, form)
		}
	})
}

// removeDots is RFC 3986 section 5.2.4, letter by letter.
func removeDots(in string) string {
	out := ""
	for in != "" {
		switch {
		case strings.HasPrefix(in, "/./"):
			in = in[2:]
		case in == "/.":
			in = "/"
		case strings.HasPrefix(in, "/../"), in == "/..":
			in = "/" + strings.TrimPrefix(in[3:], "/")
			out = out[:max(strings.LastIndexByte(out, '/'), 0)]
		default:
			end := strings.IndexByte(in[1:], '/') + 1
			if end == 0 {
				end = len(in)
			}
			out, in = out+in[:end], in[end:]
		}
	}
	return out
}

// What has a normal form is a URL of the same host for net/url too, the form is
// its own, and its dots went as the RFC says.
func FuzzNormal(f *testing.F) {
	for _, seed := range []string{"https://h:443/a/../b?c#d", "HTTP://[::1]:80/%2e%2E/%61", "https://u@h/", "https://h/%", "https://h//a/./", "https://h/a/..", "http://0/..//", "https://h/a/./../.b/..c/..."} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		form, ok := dpop.Normal(text)
		if !ok {
			if form != "" {
				t.Fatalf("%q of %q", form, text)
			}
			return
		}
		if again, ok := dpop.Normal(form); !ok || again != form {
			t.Fatalf("%q is not its own form, but %q", form, again)
		}
		theirs, err := url.Parse(text)
		if err != nil { // net/url is stricter about hosts and ports
			return
		}
		ours, err := url.Parse(form)
		if err != nil || !strings.EqualFold(ours.Hostname(), theirs.Hostname()) || ours.User != nil || ours.RawQuery != "" || ours.Fragment != "" {
			t.Fatalf("%q: %+v of %+v, %v", text, ours, theirs, err)
		}
		if theirs.Path != "" && !strings.Contains(text, "%") && ours.Path != removeDots(theirs.Path) {
			t.Fatalf("%q: %q, want %q", text, ours.Path, removeDots(theirs.Path))
		}
	})
}
