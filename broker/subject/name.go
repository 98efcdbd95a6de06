package subject

import (
	"errors"
	"unicode"
	"unicode/utf8"
)

var errParty = errors.New("a party is not named well")

// ValidName reports whether text may name somebody: not empty, at most that
// many bytes, valid UTF-8, without control characters, line separators or
// characters that turn the direction of what is shown around them. U+FFFD is
// refused too: it is what broken text is repaired to, and two names may have
// become one there.
func ValidName(text string, most int) bool {
	if text == "" || len(text) > most {
		return false
	}
	for _, r := range text {
		if r == utf8.RuneError || unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' {
			return false
		}
	}
	return true
}
