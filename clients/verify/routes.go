package verify

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cambist/cambist/broker/oauth"
)

// Routes say which scopes open which requests, as the policy of a resource
// writes them: a scope and the routes it opens, each a method or *, a space and a
// path. Segments of a path are literal, * for any one that is not empty, or, at
// the end, ** for one or more, of which the last may be empty. GET does not stand
// for HEAD. A request that no route matches is refused; the zero value refuses
// all.
type Routes struct{ list []route }

type route struct {
	method   string // "*" for any
	segments []string
	rest     bool // a final **
	scopes   oauth.Scopes
}

const maxRoute = 1024 // bytes of a path, as in policy

// NewRoutes reads the routes of scopes. It returns every fault at once.
func NewRoutes(scopes map[string][]string) (*Routes, error) {
	opens := map[string][]string{}
	var faults []error
	for _, scope := range slices.Sorted(maps.Keys(scopes)) {
		for _, text := range scopes[scope] {
			opens[text] = append(opens[text], scope)
		}
	}
	r := &Routes{}
	for _, text := range slices.Sorted(maps.Keys(opens)) {
		compiled, err := parseRoute(text)
		if err == nil {
			compiled.scopes, err = oauth.NewScopes(opens[text]...)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("verify: route %q of %q: %w", text, opens[text], err))
			continue
		}
		r.list = append(r.list, compiled)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return r, nil
}

var errRoute = errors.New(`not "GET /path", with * for any method or one segment, ** at the end for the rest`)

func parseRoute(text string) (route, error) {
	method, path, ok := strings.Cut(text, " ")
	if !ok || method != "*" && !upper(method) || !strings.HasPrefix(path, "/") || len(path) > maxRoute || !literal(path) {
		return route{}, errRoute
	}
	r := route{method: method, segments: strings.Split(path[1:], "/")}
	last := len(r.segments) - 1
	for i, segment := range r.segments {
		switch {
		case segment == "**" && i == last:
			r.rest = true
		case segment == "." || segment == ".." || segment == "" && i != last: // no request has one
			return route{}, errRoute
		case strings.Contains(segment, "*") && segment != "*":
			return route{}, errRoute
		}
	}
	if r.rest {
		r.segments = r.segments[:last]
	}
	return r, nil
}

func upper(text string) bool {
	for i := range len(text) {
		if text[i] < 'A' || text[i] > 'Z' {
			return false
		}
	}
	return text != ""
}

// literal reports whether a path has no character that a request could write in
// two ways, or not at all.
func literal(path string) bool {
	for i := range len(path) {
		if c := path[i]; c <= 0x20 || c >= 0x7f || strings.IndexByte(`?#"\{};%`, c) >= 0 {
			return false
		}
	}
	return true
}

// Check returns nil if a scope of the token opens the request. One that no route
// matches is ReasonRouteUnknown, a path that could be read in two ways
// ReasonRequestMalformed; ReasonScopeMissing lists the scopes any one of which
// would do.
func (r *Routes) Check(t *Token, method string, u *url.URL) error {
	segments, ok := plainPath(u)
	if !ok {
		return refuse(ReasonRequestMalformed, errPath)
	}
	var open oauth.Scopes
	for i := range r.list {
		if !r.list[i].matches(method, segments) {
			continue
		}
		if !t.scopes.Intersect(r.list[i].scopes).IsEmpty() {
			return nil
		}
		open = open.Union(r.list[i].scopes)
	}
	if open.IsEmpty() {
		return refuse(ReasonRouteUnknown, nil)
	}
	return &Error{Reason: ReasonScopeMissing, Scopes: open}
}

func (r *route) matches(method string, segments []string) bool {
	if r.method != "*" && r.method != method || len(segments) < len(r.segments) {
		return false
	}
	if more := len(segments) > len(r.segments); more != r.rest {
		return false
	}
	for i, want := range r.segments {
		if want == "*" && segments[i] == "" || want != "*" && want != segments[i] {
			return false
		}
	}
	return true
}

var errPath = errors.New("the path has more than one reading")

// plainPath returns the segments of a path, decoded, if they are the same for
// whoever decodes it twice, splits it before it decodes it, takes a backslash for
// a slash, merges slashes, resolves dots or cuts parameters off (standards PX-14).
func plainPath(u *url.URL) ([]string, bool) {
	path := u.Path
	if !strings.HasPrefix(path, "/") || strings.Contains(path, "//") || strings.ContainsAny(path, `;\`) || !utf8.ValidString(path) {
		return nil, false
	}
	if escaped := strings.ToLower(u.EscapedPath()); strings.Contains(escaped, "%2f") {
		return nil, false
	}
	for i := range len(path) {
		if c := path[i]; c < 0x20 || c == 0x7f || c == '%' && i+2 < len(path) && hex(path[i+1]) && hex(path[i+2]) {
			return nil, false
		}
	}
	segments := strings.Split(path[1:], "/")
	if slices.Contains(segments, ".") || slices.Contains(segments, "..") {
		return nil, false
	}
	return segments, true
}

func hex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}
