package oauth

import "unicode/utf8"

// Limits of a form (standards HX-9). They are checked before anything is
// decoded, so a hostile body costs one pass at most.
const (
	MaxFormBytes      = 64 << 10
	maxParameters     = 64
	maxTargets        = 10
	maxParameterBytes = 16 << 10
)

// FormError says which parameter is wrong and how, never with its value.
type FormError struct {
	Parameter string // "a parameter" for one that no RFC names, "" where the body as a whole is at fault
	Problem   string
}

// Error returns the problem, with the parameter's name where there is one.
func (e *FormError) Error() string {
	if e.Parameter == "" {
		return e.Problem
	}
	return e.Parameter + " " + e.Problem
}

// Form is a token request as it was sent, parsed strictly. A parameter without
// a value counts as absent (RFC 6749 section 3.2).
type Form struct{ fields []field }

type field struct{ name, value string }

// ParseForm reads an application/x-www-form-urlencoded body. Unlike net/url it
// refuses what it cannot read in full, a repeated parameter other than audience
// and resource (RFC 6749 section 3.2, RFC 8693 section 2.1), control
// characters and invalid UTF-8. Errors are *FormError.
func ParseForm(body []byte) (Form, error) {
	if len(body) > MaxFormBytes {
		return Form{}, &FormError{Problem: "the body is too large"}
	}
	var f Form
	targets := 0
	for rest := string(body); rest != ""; {
		var pair string
		pair, rest = cut(rest, '&')
		if pair == "" {
			continue
		}
		rawName, rawValue := cut(pair, '=')
		name, ok := unescape(rawName)
		if !ok || name == "" {
			return Form{}, &FormError{Problem: "the body is not well formed"}
		}
		value, ok := unescape(rawValue)
		switch known := knownParameter(name); {
		case !ok:
			return Form{}, &FormError{Parameter: known, Problem: "is not well formed"}
		case len(value) > maxParameterBytes:
			return Form{}, &FormError{Parameter: known, Problem: "is too long"}
		case len(f.fields) == maxParameters:
			return Form{}, &FormError{Problem: "too many parameters"}
		case name == "audience" || name == "resource":
			if targets++; targets > maxTargets {
				return Form{}, &FormError{Parameter: name, Problem: "is sent too often"}
			}
		case f.sent(name):
			return Form{}, &FormError{Parameter: known, Problem: "is sent more than once"}
		}
		f.fields = append(f.fields, field{name, value})
	}
	return f, nil
}

// sent reports whether the name stood in the body, with a value or without.
func (f Form) sent(name string) bool {
	for i := range f.fields {
		if f.fields[i].name == name {
			return true
		}
	}
	return false
}

// Get returns the value of a parameter, "" if it is absent.
func (f Form) Get(name string) string {
	for i := range f.fields {
		if f.fields[i].name == name && f.fields[i].value != "" {
			return f.fields[i].value
		}
	}
	return ""
}

// Has reports whether a parameter has a value.
func (f Form) Has(name string) bool { return f.Get(name) != "" }

// All returns every value of a parameter, in order.
func (f Form) All(name string) []string {
	var values []string
	for i := range f.fields {
		if f.fields[i].name == name && f.fields[i].value != "" {
			values = append(values, f.fields[i].value)
		}
	}
	return values
}

// knownParameter returns the name if it is one of the RFCs', so that an error
// never repeats text that the caller made up.
func knownParameter(name string) string {
	switch name {
	case "grant_type", "scope", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type",
		"client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion", "audience", "resource", "token", "token_type_hint":
		return name
	}
	return "a parameter"
}

// cut splits at the first sep; the rest is empty if there is none.
func cut(s string, sep byte) (before, after string) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// unescape decodes %XX and +, and refuses what RFC 6749 appendix B does not
// produce: broken escapes, semicolons, control characters, invalid UTF-8.
func unescape(s string) (string, bool) {
	plain := true
	for i := range len(s) {
		switch c := s[i]; {
		case c == '%' || c == '+':
			plain = false
		case c == ';' || c < 0x20 || c == 0x7f:
			return "", false
		}
	}
	if plain {
		return s, wellFormed(s)
	}
	decoded := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch c {
		case '+':
			c = ' '
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			high, low := unhex(s[i+1]), unhex(s[i+2])
			if high > 15 || low > 15 {
				return "", false
			}
			c = high<<4 | low
			i += 2
			if c < 0x20 || c == 0x7f {
				return "", false
			}
		}
		decoded = append(decoded, c)
	}
	text := string(decoded)
	return text, wellFormed(text)
}

// wellFormed reports whether s is UTF-8 without the control characters of the
// second block (U+0080 to U+009F), which some terminals and logs obey; the
// caller has refused the ASCII ones.
func wellFormed(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == 0xc2 && s[i+1] < 0xa0 {
			return false
		}
	}
	return utf8.ValidString(s)
}

// unhex returns the value of a hexadecimal digit, 255 for any other byte.
func unhex(c byte) byte {
	switch {
	case '0' <= c && c <= '9':
		return c - '0'
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}
