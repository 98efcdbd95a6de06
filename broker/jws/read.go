package jws

import (
	"bytes"
	"fmt"
	"unicode"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// What follows is for whoever reads claims member by member.

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

// ReadText reads a JSON string and nothing else.
func ReadText(d *jsontext.Decoder) (string, error) {
	token, err := d.ReadToken()
	if err != nil {
		return "", err
	}
	if token.Kind() != '"' {
		return "", errMember
	}
	return token.String(), nil
}

// ReadTexts reads an array of strings and nothing else.
func ReadTexts(value jsontext.Value) ([]string, error) {
	d := jsontext.NewDecoder(bytes.NewBuffer(value))
	if open, err := d.ReadToken(); err != nil || open.Kind() != '[' {
		return nil, errMember
	}
	texts := []string{}
	for d.PeekKind() != ']' {
		text, err := ReadText(d)
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, nil
}

// ReadOpen reads the brace that opens an object and nothing else.
func ReadOpen(d *jsontext.Decoder) error {
	token, err := d.ReadToken()
	if err != nil {
		return err
	}
	if token.Kind() != '{' {
		return errMember
	}
	return nil
}

var errMember = fmt.Errorf("%w: a member has the wrong type", ErrClaims)
