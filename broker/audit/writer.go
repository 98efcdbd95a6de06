package audit

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// The caps of a body. What is longer is cut at a character, and what was cut
// says how long it was and its hash: no input can make a record fail, or a
// record without bound.
const (
	maxName  = 256  // ids, algorithms, thumbprints
	maxText  = 512  // text for people
	maxURI   = 2048 // SPIFFE IDs, URLs, audiences
	maxScope = 4096
	maxItems = 32       // of a list
	softBody = 48 << 10 // beyond this every text is cut to its hash and every list ends; the store takes 64 KiB
)

// writer appends one JSON object, member by member. It leaves out what is empty,
// so a body is what a JSON library would make of its Entry.
type writer struct {
	buf     []byte
	clipped bool
}

func (w *writer) name(name string) {
	if last := w.buf[len(w.buf)-1]; last != '{' && last != '[' {
		w.buf = append(w.buf, ',')
	}
	if name != "" {
		w.buf = append(w.buf, '"')
		w.buf = append(w.buf, name...)
		w.buf = append(w.buf, '"', ':')
	}
}

// open begins an object. close ends it, and takes it back if it holds nothing.
func (w *writer) open(name string) (mark int) {
	mark = len(w.buf)
	w.name(name)
	w.buf = append(w.buf, '{')
	return mark
}

func (w *writer) close(mark int) {
	if w.buf[len(w.buf)-1] == '{' {
		w.buf = w.buf[:mark]
		return
	}
	w.end()
}

func (w *writer) end() { w.buf = append(w.buf, '}') }

// list writes n items, or as many as the caps allow and one that says how many
// more there were.
func (w *writer) list(name string, n int, item func(i int, more string)) {
	if n == 0 {
		return
	}
	w.name(name)
	w.buf = append(w.buf, '[')
	for i := range n {
		if i == maxItems || len(w.buf) > softBody {
			w.clipped = true
			item(i, "[… "+strconv.Itoa(n-i)+" more]")
			break
		}
		item(i, "")
	}
	w.buf = append(w.buf, ']')
}

func (w *writer) texts(name string, items []string, limit int) {
	w.list(name, len(items), func(i int, more string) {
		w.name("")
		w.quote(cmp.Or(more, items[i]), limit)
	})
}

func (w *writer) text(name, text string, limit int) {
	if text != "" {
		w.name(name)
		w.quote(text, limit)
	}
}

// foreign writes text that the caller chose. A client that sends its token in the
// wrong parameter must not find it in the record.
func (w *writer) foreign(name, text string, limit int) {
	if holdsToken(text) {
		text, w.clipped = mark("token", text), true
	}
	w.text(name, text, limit)
}

func (w *writer) quote(text string, limit int) {
	if len(text) > limit {
		text, w.clipped = cut(text, limit), true
	}
	mark := len(w.buf)
	w.buf = appendQuote(w.buf, text)
	if len(w.buf)-mark != len(text)+2 { // there were escapes
		w.clipped = w.clipped || !utf8.ValidString(text)
	}
	if len(w.buf) > softBody {
		text, w.clipped = cut(text, 0), true
		w.buf = appendQuote(w.buf[:mark], text)
	}
}

// appendQuote writes a JSON string. Bytes that are no UTF-8 become U+FFFD.
func appendQuote(dst []byte, text string) []byte {
	if plain(text) {
		dst = append(dst, '"')
		dst = append(dst, text...)
		return append(dst, '"')
	}
	dst, _ = jsontext.AppendQuote(dst, text) // its error says only that it had to put U+FFFD
	return dst
}

// plain reports whether text needs no escape.
func plain(text string) bool {
	for i := range len(text) {
		if c := text[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return false
		}
	}
	return true
}

// cut returns the beginning of text and says what was cut.
func cut(text string, limit int) string {
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit] + mark("…", text)
}

func mark(what, text string) string {
	sum := sha256.Sum256([]byte(text))
	return "[" + what + " " + strconv.Itoa(len(text)) + " bytes, sha256 " + hex.EncodeToString(sum[:]) + "]"
}

// holdsToken reports whether text holds what looks like a JWT: a base64url text
// that begins as every JSON object does, a dot, and more of the same.
func holdsToken(text string) bool {
	const least = 16
	for {
		at := strings.Index(text, "eyJ")
		if at < 0 {
			return false
		}
		text = text[at:]
		head := base64Length(text)
		if head >= least && head < len(text) && text[head] == '.' && base64Length(text[head+1:]) >= least {
			return true
		}
		text = text[head:]
	}
}

func base64Length(text string) int {
	for i := range len(text) {
		c := text[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '-' && c != '_' {
			return i
		}
	}
	return len(text)
}

func (w *writer) number(name string, n int64) {
	if n != 0 {
		w.name(name)
		w.buf = strconv.AppendInt(w.buf, n, 10)
	}
}

func (w *writer) flag(name string, set bool) {
	if set {
		w.name(name)
		w.buf = append(w.buf, "true"...)
	}
}

func (w *writer) hash(name string, sum *[sha256.Size]byte) {
	if *sum != [sha256.Size]byte{} {
		w.name(name)
		w.buf = append(w.buf, '"')
		w.buf = hex.AppendEncode(w.buf, sum[:])
		w.buf = append(w.buf, '"')
	}
}

// lastTime is the last that RFC 3339 can write; a token may claim a later one.
const lastTime = 253402300799

func (w *writer) time(name string, t time.Time) {
	if !t.IsZero() {
		w.name(name)
		w.instant(t)
	}
}

func (w *writer) instant(t time.Time) {
	if t = t.UTC(); t.Year() < 0 || t.Year() > 9999 {
		t, w.clipped = time.Unix(lastTime, 0).UTC(), true
	}
	w.buf = append(w.buf, '"')
	w.buf = t.AppendFormat(w.buf, time.RFC3339Nano)
	w.buf = append(w.buf, '"')
}

func (w *writer) scopes(name string, s oauth.Scopes) { w.foreign(name, s.String(), maxScope) }

// actors writes a chain, current actor first.
func (w *writer) actors(name string, a *broker.Actor) {
	w.list(name, a.Depth(), func(_ int, more string) {
		if more != "" {
			w.party("", &broker.Party{Subject: more})
			return
		}
		w.party("", &a.Party)
		a = a.Actor
	})
}

func (w *writer) party(name string, p *broker.Party) {
	w.open(name)
	w.text("sub", p.Subject, maxURI)
	w.text("iss", p.Issuer, maxURI)
	w.end()
}
