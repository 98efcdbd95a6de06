package oauth

import "strconv"

// TokenResponse is the body of a successful token request (RFC 6749 section
// 5.1, RFC 8693 section 2.2.1).
type TokenResponse struct {
	AccessToken     Secret
	IssuedTokenType TokenType // "" for a grant that has none
	TokenType       string
	ExpiresIn       int64  // seconds
	Scope           string // "" is left out: RFC 6749 section 3.3 knows no empty scope
}

// AppendJSON appends the body to dst. It is written by hand because it is on
// the way of every token: no reflection, and the secret is revealed only here.
func (r *TokenResponse) AppendJSON(dst []byte) []byte {
	dst = append(dst, `{"access_token":`...)
	dst = appendString(dst, r.AccessToken.Reveal())
	if r.IssuedTokenType != "" {
		dst = append(dst, `,"issued_token_type":`...)
		dst = appendString(dst, string(r.IssuedTokenType))
	}
	dst = append(dst, `,"token_type":`...)
	dst = appendString(dst, r.TokenType)
	dst = append(dst, `,"expires_in":`...)
	dst = strconv.AppendInt(dst, r.ExpiresIn, 10)
	if r.Scope != "" {
		dst = append(dst, `,"scope":`...)
		dst = appendString(dst, r.Scope)
	}
	return append(dst, "}\n"...)
}

// ErrorResponse is the body of a refused request (RFC 6749 section 5.2).
type ErrorResponse struct {
	Code        ErrorCode
	Description string // cleaned when written
	URI         string
}

// AppendJSON appends the body to dst. A code that is not of the list becomes
// server_error: an unknown word never leaves.
func (r *ErrorResponse) AppendJSON(dst []byte) []byte {
	code := r.Code
	if !code.Valid() {
		code = ErrorServerError
	}
	dst = append(dst, `{"error":`...)
	dst = appendString(dst, string(code))
	if r.Description != "" {
		dst = append(dst, `,"error_description":`...)
		dst = appendString(dst, CleanDescription(r.Description))
	}
	if r.URI != "" {
		dst = append(dst, `,"error_uri":`...)
		dst = appendString(dst, r.URI)
	}
	return append(dst, "}\n"...)
}

// CleanDescription returns text with every byte that RFC 6749 section 5.2 does
// not permit in error_description replaced by a question mark.
func CleanDescription(text string) string {
	clean := []byte(text)
	for i, c := range clean {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			clean[i] = '?'
		}
	}
	return string(clean)
}

// appendString appends a JSON string. What it is given is ASCII by grammar;
// anything that is not is escaped, byte by byte, so the output is always JSON.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < 0x20 || c > 0x7e:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
