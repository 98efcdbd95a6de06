package verify_test

import (
	"net/http"
	"net/url"
	"path"
	"strings"
	"testing"

	"github.com/cambist/cambist/clients/verify"
)

func newRoutes(t testing.TB, scopes map[string][]string) *verify.Routes {
	t.Helper()
	r, err := verify.NewRoutes(scopes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func tokenWith(t testing.TB, scope string) *verify.Token {
	t.Helper()
	s := newSigner(t, "k1")
	token, err := asWeb(t, newVerifier(t, nil, s), sign(t, s, "at+jwt", workloadClaims().with("scope", scope).json(t)))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// requestURL parses what stands in a request line, as a server does.
func requestURL(t testing.TB, target string) *url.URL {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// What is not listed is refused; each route opens to its scopes and no other.
func TestRoutes(t *testing.T) {
	t.Parallel()
	routes := newRoutes(t, map[string][]string{
		"ledger.read": {"GET /accounts/**", "GET /accounts", "HEAD /accounts/*/balance"}, "ledger.write": {"POST /entries", "PUT /entries/*"},
		"audit": {"GET /accounts/**", "* /audit/**"}, "root": {"GET /"}, "call": {"* /any/*/c"}, "odd": {"GET /caf:e/@x,y!$&'()+=~"},
	})
	const missing, unknown = verify.ReasonScopeMissing, verify.ReasonRouteUnknown
	tests := []struct {
		scope, method, target string
		want                  verify.Reason
		needs                 string
	}{
		{"ledger.read", "GET", "/accounts/1", "", ""},
		{"ledger.read", "GET", "/accounts/1/x/2", "", ""},
		{"ledger.read", "GET", "/accounts/", "", ""},
		{"ledger.read", "GET", "/accounts", "", ""},
		{"ledger.read", "GET", "/accounts?x=//../;", "", ""},
		{"audit", "GET", "/accounts/1", "", ""},
		{"audit", "GET", "/accounts", missing, "ledger.read"},
		{"audit", "DELETE", "/audit/x", "", ""},
		{"audit", "get", "/audit/x", "", ""},
		{"audit", "DELETE", "/audit", unknown, ""},
		{"ledger.write", "GET", "/accounts/1", missing, "audit ledger.read"},
		{"ledger.write", "POST", "/entries", "", ""},
		{"ledger.write", "POST", "/entries/", unknown, ""},
		{"ledger.write", "PUT", "/entries/1", "", ""},
		{"ledger.write", "PUT", "/entries/%61%20b", "", ""},
		{"ledger.write", "PUT", "/entries/", unknown, ""},
		{"ledger.write", "PUT", "/entries/1/2", unknown, ""},
		{"ledger.write", "PUT", "/entries", unknown, ""},
		{"ledger.write", "POST", "/Entries", unknown, ""},
		{"ledger.write", "POST", "/entries2", unknown, ""},
		{"ledger.write", "post", "/entries", unknown, ""},
		{"ledger.read", "HEAD", "/accounts/1", unknown, ""},
		{"ledger.read", "HEAD", "/accounts/1/balance", "", ""},
		{"root", "GET", "/", "", ""},
		{"ledger.read", "GET", "/", missing, "root"},
		{"call", "PATCH", "/any/b/c", "", ""},
		{"call", "PATCH", "/any/*/c", "", ""},
		{"call", "PATCH", "/any/b/d", unknown, ""},
		{"odd", "GET", "/caf:e/@x,y!$&'()+=~", "", ""},
		{"odd", "GET", "/caf%3ae/%40x,y!$&'()+=~", "", ""},
		{"ledger.read", "GET", "/other", unknown, ""},
	}
	for _, tt := range tests {
		err := routes.Check(tokenWith(t, tt.scope), tt.method, requestURL(t, tt.target))
		if reason(err) != tt.want {
			t.Errorf("%s %s with %s: %v, want %q", tt.method, tt.target, tt.scope, err, tt.want)
		} else if tt.want == missing && err.(*verify.Error).Scopes.String() != tt.needs { //nolint:errorlint // reason has seen that it is one
			t.Errorf("%s %s needs %q, want %q", tt.method, tt.target, err.(*verify.Error).Scopes, tt.needs) //nolint:errorlint // likewise
		}
	}
	for name, empty := range map[string]*verify.Routes{"zero": {}, "of nothing": newRoutes(t, nil), "of a scope that opens nothing": newRoutes(t, map[string][]string{"a": {}})} {
		if err := empty.Check(tokenWith(t, "a"), "GET", requestURL(t, "/")); reason(err) != unknown {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Standards PX-14: a path that two readers could read in two ways is refused,
// whatever its route says.
func TestRoutesRefusePaths(t *testing.T) {
	t.Parallel()
	routes, token := newRoutes(t, map[string][]string{"all": {"* /**"}}), tokenWith(t, "all")
	for _, target := range []string{
		"/a%2fb", "/a%2Fb", "/a%5cb", "/a%5Cb", "/a\\b", "/./a", "/a/.", "/a/..", "/../a", "/a/../b", "/%2e%2e/a", "/a/%2E/b", "/.%2e/a", "//a", "/a//b", "/a//",
		"/a;b", "/a;v=1/b", "/a%3bb", "/a/..;/b", "/a%00", "/a%0d%0a", "/a%7f", "/a%09b", "/%252e%252e/a", "/a%252fb", "/a%25zz%2541", "/%ff", "/%c0%af", "/%ed%a0%80",
	} {
		if err := routes.Check(token, "GET", requestURL(t, target)); reason(err) != verify.ReasonRequestMalformed {
			t.Errorf("%s: %v", target, err)
		}
	}
	for _, u := range []*url.URL{{}, {Path: "*"}, {Path: "a"}, {Opaque: "a"}, {Path: "/a/b", RawPath: "/a%2fb"}} {
		if err := routes.Check(token, http.MethodConnect, u); reason(err) != verify.ReasonRequestMalformed {
			t.Errorf("%#v: %v", u, err)
		}
	}
	for _, target := range []string{"/", "/a", "/a/", "/...", "/.a", "/a..b", "/%20", "/%C3%A9", "/100%25", "/a%25z", "/%3f", "/a:b@c"} {
		if err := routes.Check(token, "GET", requestURL(t, target)); err != nil {
			t.Errorf("%s: %v", target, err)
		}
	}
}

func TestNewRoutesRefuses(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"", "GET", "/a", "GET  /a", "get /a", "G3T /a", "GET a", "GET *", "GET /a b", "GET /a?b", "GET /a#b", `GET /a"`, `GET /a\b`, "GET /{id}", "GET /a;b", "GET /a%20b", "GET /é",
		"GET /a\x7f", "GET /a*", "GET /**/a", "GET /***", "GET /a/../b", "GET /./a", "GET //a", "GET /a//b", "GET /" + strings.Repeat("a", 1024),
	} {
		if r, err := verify.NewRoutes(map[string][]string{"s": {"GET /good", text}}); err == nil || r != nil {
			t.Errorf("%q: %+v", text, r)
		}
	}
	if _, err := verify.NewRoutes(map[string][]string{"a b": {"GET /a"}, "c": {"x", "y"}}); err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("not every fault at once: %v", err)
	}
	if _, err := verify.NewRoutes(map[string][]string{"s": {"GET /", "GET /a/", "* /**", "GET /a/*/**", "GET /" + strings.Repeat("a", 1023)}}); err != nil {
		t.Error(err)
	}
}

// Whatever gets through reads the same for a reader that cleans paths and one
// that splits the escaped path before it decodes, and its route is one of ours.
func FuzzRoutes(f *testing.F) {
	routes, token := newRoutes(f, map[string][]string{"s": {"GET /pub/**", "GET /one/*"}}), tokenWith(f, "s")
	for _, seed := range []string{"/pub/a", "/pub/../x", "/pub/%2e%2e/x", "/one/a", "/one/a%2fb", "/pub//x", "/pub/;/x", "/pub/%252e", "/one/\\", "/pub/a?b=/../"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil || routes.Check(token, "GET", u) != nil {
			return
		}
		escaped := strings.Split(u.EscapedPath(), "/")
		for i, segment := range escaped {
			if escaped[i], err = url.PathUnescape(segment); err != nil {
				t.Fatalf("%q: %v", target, err)
			}
		}
		trailing := ""
		if strings.HasSuffix(u.Path, "/") {
			trailing = "/"
		}
		if strings.Join(escaped, "/") != u.Path || path.Clean(u.Path)+trailing != u.Path || strings.ContainsAny(u.Path, "\\;\x00") {
			t.Fatalf("%q has two readings", target)
		}
		if !strings.HasPrefix(u.Path, "/pub/") && (!strings.HasPrefix(u.Path, "/one/") || strings.Count(u.Path, "/") != 2) {
			t.Fatalf("%q is open", target)
		}
	})
}

// A token opens a route if it has any scope that lists it.
func TestRoutesNeedOneScope(t *testing.T) {
	t.Parallel()
	table := map[string][]string{"a": {"GET /x"}, "b": {"GET /x", "GET /y"}, "c": {"GET /z"}}
	routes := newRoutes(t, table)
	for _, scope := range []string{"a", "b", "c", "a b", "a c", "b c", "a b c", "d"} {
		token := tokenWith(t, scope)
		for _, target := range []string{"/x", "/y", "/z"} {
			want := false
			for name, list := range table {
				for _, route := range list {
					want = want || token.Has(name) && route == "GET "+target
				}
			}
			if err := routes.Check(token, "GET", requestURL(t, target)); (err == nil) != want {
				t.Errorf("%s with %s: %v", target, scope, err)
			}
		}
	}
}
