package verify

import (
	"strings"
)

// Scheme is the authentication scheme that a token is shown with.
type Scheme string

// The schemes.
const (
	SchemeBearer Scheme = "Bearer" // RFC 6750 section 2.1
	SchemeDPoP   Scheme = "DPoP"   // RFC 9449 section 7.1
)

// ParseBearer is ParseAuthorization for a service that knows the scheme Bearer
// alone.
func ParseBearer(authorization []string) (raw string, err error) {
	scheme, raw, err := ParseAuthorization(authorization)
	switch {
	case scheme == SchemeDPoP:
		return "", refuse(ReasonCredentialsMissing, nil)
	case err != nil:
		return "", err
	}
	return raw, nil
}

// ParseAuthorization returns the token of a request and its scheme. It takes
// every value that the Authorization header has: none, or another scheme, is no
// credential (ReasonCredentialsMissing); two are one too many; and what begins
// with the word Bearer or DPoP, in any case, goes on with one space and a token
// (RFC 6750 section 2.1) or is malformed, which is said with the scheme. The token
// is not verified. Errors are *Error.
func ParseAuthorization(authorization []string) (s Scheme, raw string, err error) {
	switch len(authorization) {
	case 0:
		return "", "", refuse(ReasonCredentialsMissing, nil)
	case 1:
	default:
		return "", "", refuse(ReasonCredentialsSeveral, nil)
	}
	word, raw, _ := strings.Cut(authorization[0], " ")
	switch {
	case !plainScheme(word):
		return "", "", refuse(ReasonCredentialsMalformed, nil)
	case strings.EqualFold(word, string(SchemeBearer)):
		s = SchemeBearer
	case strings.EqualFold(word, string(SchemeDPoP)):
		s = SchemeDPoP
	default:
		return "", "", refuse(ReasonCredentialsMissing, nil)
	}
	if !b64token(raw) {
		return s, "", refuse(ReasonCredentialsMalformed, nil)
	}
	return s, raw, nil
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
