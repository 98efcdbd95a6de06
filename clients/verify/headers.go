package verify

import (
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// Header is a header by which the application behind a guard learns whom a
// request is from.
type Header struct{ Name, Value string }

// The headers. Workload is whom the token was issued to; actors, a JSON array of
// {"sub","iss"}, current actor first, stands only where there are some; user, a
// JSON object of the claims that the token carries, only where the subject is a
// user.
const (
	HeaderSubject  = "X-Cambist-Subject"
	HeaderWorkload = "X-Cambist-Workload"
	HeaderScope    = "X-Cambist-Scope"
	HeaderActors   = "X-Cambist-Actors"
	HeaderUser     = "X-Cambist-User"
)

const (
	reservedPrefix = "x-cambist-"
	maxHeader      = 16 << 10 // bytes of one value
)

// ReservedHeader reports whether a header is one that a guard sets, or that
// somebody behind it could take for one: any spelling of a name that begins with
// x-cambist-. A guard removes those that a client sent before it sets its own.
func ReservedHeader(name string) bool {
	return len(name) >= len(reservedPrefix) && SameHeader(name[:len(reservedPrefix)], reservedPrefix)
}

// SameHeader reports whether two names may be one to a server somewhere: without
// regard to case, and to what stands between letters and digits, for there are
// servers to which X_Cambist.Subject is X-Cambist-Subject.
func SameHeader(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if foldByte(a[i]) != foldByte(b[i]) {
			return false
		}
	}
	return true
}

func foldByte(c byte) byte {
	switch {
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	}
	return '-'
}

var errHeader = errors.New("a header for the application would be too large")

// Headers returns the headers for the token. Values are printable ASCII: in
// subject a byte that is not, a space and a percent sign are percent-encoded, in
// JSON they are \u escapes. One too large to be passed on is an *Error; none is
// ever cut.
func (t *Token) Headers() ([]Header, error) {
	headers := append(make([]Header, 0, 5),
		Header{HeaderSubject, percent(t.subject)},
		Header{HeaderWorkload, t.client.String()},
		Header{HeaderScope, t.scopes.String()})
	if len(t.actors) > 0 {
		headers = append(headers, Header{HeaderActors, actorsJSON(t.actors)})
	}
	if _, ok := t.User(); ok {
		headers = append(headers, Header{HeaderUser, claimsJSON(t.carried)})
	}
	for i := range headers {
		if len(headers[i].Value) > maxHeader {
			return nil, refuse(ReasonTokenTooLarge, errHeader)
		}
	}
	return headers, nil
}

// percent encodes what is not printable ASCII, so that decoding gives text back
// byte for byte.
func percent(text string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(text) {
		c := text[i]
		if c > 0x20 && c < 0x7f && c != '%' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hexDigits[c>>4])
		b.WriteByte(hexDigits[c&15])
	}
	return b.String()
}

func actorsJSON(actors []Actor) string {
	text := []byte{'['}
	for i, a := range actors {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `{"sub":`...)
		text = quote(text, a.Subject)
		if a.Issuer != "" {
			text = append(text, `,"iss":`...)
			text = quote(text, a.Issuer)
		}
		text = append(text, '}')
	}
	return string(append(text, ']'))
}

func claimsJSON(claims []claim) string {
	text := []byte{'{'}
	for i, c := range claims {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(quote(text, c.name), ':')
		switch v := c.value.(type) {
		case string:
			text = quote(text, v)
		case bool:
			text = strconv.AppendBool(text, v)
		case int64:
			text = strconv.AppendInt(text, v, 10)
		case []string:
			text = append(text, '[')
			for j, item := range v {
				if j > 0 {
					text = append(text, ',')
				}
				text = quote(text, item)
			}
			text = append(text, ']')
		}
	}
	return string(append(text, '}'))
}

// quote appends a JSON string in ASCII. What it is given was read from strict
// JSON, so it is valid UTF-8.
func quote(dst []byte, text string) []byte {
	quoted, _ := jsontext.AppendQuote(nil, text)
	for len(quoted) > 0 {
		r, size := utf8.DecodeRune(quoted)
		switch {
		case r < 0x7f:
			dst = append(dst, quoted[0])
		case r > 0xffff: // a surrogate pair
			r -= 0x10000
			dst = unicodeEscape(unicodeEscape(dst, 0xd800+r>>10), 0xdc00+r&0x3ff)
		default:
			dst = unicodeEscape(dst, r)
		}
		quoted = quoted[size:]
	}
	return dst
}

func unicodeEscape(dst []byte, r rune) []byte {
	const hexDigits = "0123456789abcdef"
	return append(dst, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
}
