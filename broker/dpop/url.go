package dpop

import "strings"

const maxURL = 2048

// same reports whether an htu is one of the URLs, after both were normalised.
func same(htu string, urls []string) bool {
	theirs, ok := normal(htu)
	if !ok {
		return false
	}
	for _, u := range urls {
		if ours, ok := normal(u); ok && ours == theirs {
			return true
		}
	}
	return false
}

// normal returns an http or https URL in the one form by which URLs are compared
// (RFC 9449 section 4.3, RFC 3986 section 6.2.2 and 6.2.3): without query and
// fragment, scheme and host in lower case, no default port, escapes of what
// needs none undone and the others in upper case, no dot segments. What is not
// such a URL, or names a user, has no normal form.
func normal(text string) (string, bool) {
	if len(text) > maxURL || !plain(text) {
		return "", false
	}
	if i := strings.IndexAny(text, "?#"); i >= 0 {
		text = text[:i]
	}
	scheme, rest, ok := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	if !ok || scheme != "https" && scheme != "http" {
		return "", false
	}
	authority, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		authority, path = rest[:i], rest[i:]
	}
	authority, ok = normalAuthority(scheme, authority)
	if !ok {
		return "", false
	}
	if path, ok = unescape(path); !ok {
		return "", false
	}
	return scheme + "://" + authority + withoutDots(path), true
}

// plain reports whether text is ASCII without spaces, controls and what no URL
// has unescaped.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= 0x20 || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return false
		}
	}
	return true
}

// normalAuthority returns host and port. A host with an escape is none that
// anybody is reached by.
func normalAuthority(scheme, authority string) (string, bool) {
	host, port := strings.ToLower(authority), ""
	if i := strings.LastIndexByte(host, ':'); i > strings.LastIndexByte(host, ']') {
		host, port = host[:i], host[i+1:]
		if strings.Trim(port, "0123456789") != "" {
			return "", false
		}
	}
	bare := host
	if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		bare = strings.ReplaceAll(host[1:len(host)-1], ":", "")
	}
	if bare == "" || strings.ContainsAny(bare, "@%:[]") {
		return "", false
	}
	if port == "" || scheme == "https" && port == "443" || scheme == "http" && port == "80" {
		return host, true
	}
	return host + ":" + port, true
}

// unescape undoes the escapes of unreserved characters and writes the others in
// upper case.
func unescape(path string) (string, bool) {
	if strings.IndexByte(path, '%') < 0 {
		return path, true
	}
	const hex = "0123456789ABCDEF"
	out := make([]byte, 0, len(path))
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			out = append(out, path[i])
			continue
		}
		if i+2 >= len(path) {
			return "", false
		}
		high, low := nibble(path[i+1]), nibble(path[i+2])
		if high > 15 || low > 15 {
			return "", false
		}
		i += 2
		if c := high<<4 | low; unreserved(c) {
			out = append(out, c)
		} else {
			out = append(out, '%', hex[high], hex[low])
		}
	}
	return string(out), true
}

// nibble returns the value of a hexadecimal digit, 16 for what is none.
func nibble(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}

func unreserved(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// withoutDots removes dot segments (RFC 3986 section 5.2.4) from a path that is
// empty or begins with a slash.
func withoutDots(path string) string {
	if path == "" {
		return "/"
	}
	if !strings.Contains(path, "/.") {
		return path
	}
	segments := strings.Split(path[1:], "/")
	kept := segments[:0:len(segments)]
	for i, s := range segments {
		last := i == len(segments)-1
		switch {
		case s == "." && !last:
		case s == ".." && !last:
			kept = kept[:max(len(kept)-1, 0)]
		case s == ".":
			kept = append(kept, "")
		case s == "..":
			kept = append(kept[:max(len(kept)-1, 0)], "")
		default:
			kept = append(kept, s)
		}
	}
	return "/" + strings.Join(kept, "/")
}
