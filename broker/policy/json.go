package policy

import (
	"bytes"
	"strconv"
	"unicode/utf16"
)

// yamlEscapes writes the two escapes of JSON that the YAML reader does not know
// as what they mean (RFC 8259 section 7): a solidus, and the surrogate pairs of
// characters above U+FFFF. It leaves files alone that do not begin as JSON, and
// lone surrogates, which the YAML reader refuses.
func yamlEscapes(data []byte) []byte {
	if !bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte("{")) || bytes.IndexByte(data, '\\') < 0 {
		return data
	}
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); i++ {
		rest := data[i:]
		if rest[0] != '\\' || len(rest) == 1 {
			out = append(out, rest[0])
			continue
		}
		if r := utf16.DecodeRune(unit(rest), unit(rest[min(6, len(rest)):])); r != '\uFFFD' {
			out = append(out, string(r)...)
			i += 11
			continue
		}
		if rest[1] != '/' {
			out = append(out, '\\')
		}
		out = append(out, rest[1]) // with its backslash: an escaped one escapes nothing after it
		i++
	}
	return out
}

// unit reads the \uXXXX that text begins with, -1 if it does not.
func unit(text []byte) rune {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
