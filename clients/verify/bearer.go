package verify

import (
	"strings"
)

// ParseBearer returns the token of a request. It takes every value that the
// Authorization header has: none, or another scheme, is no credential
// (ReasonCredentialsMissing); two are one too many; and what begins with the word
// Bearer, in any case, goes on with one space and a token (RFC 6750 section 2.1)
// or is malformed. The token is not verified. Errors are *Error.
func ParseBearer(authorization []string) (raw string, err error) {
	switch len(authorization) {
	case 0:
		return "", refuse(ReasonCredentialsMissing, nil)
	case 1:
	default:
		return "", refuse(ReasonCredentialsSeveral, nil)
	}
	scheme, raw, _ := strings.Cut(authorization[0], " ")
	switch {
	case !plainScheme(scheme):
		return "", refuse(ReasonCredentialsMalformed, nil)
	case !strings.EqualFold(scheme, "bearer"):
		return "", refuse(ReasonCredentialsMissing, nil)
	case !b64token(raw):
		return "", refuse(ReasonCredentialsMalformed, nil)
	}
	return raw, nil
}

// plainScheme reports whether text can be the name of a scheme; strings.EqualFold
// knows letters beyond ASCII.
func plainScheme(text string) bool {
	for i := range len(text) {
		if c := text[i]; c <= 0x20 || c >= 0x7f {
			return false
		}
	}
	return text != ""
}

// b64token reports whether text is 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" /
// "+" / "/" ) *"=".
func b64token(text string) bool {
	body := strings.TrimRight(text, "=")
	for i := range len(body) {
		c := body[i]
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return body != ""
}
