package plan

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"
)

// members splits a JSON object into one text for each of its members. What is
// not an object is one text.
func members(body []byte) [][]byte {
	d := jsontext.NewDecoder(bytes.NewReader(body))
	if d.PeekKind() != '{' {
		return [][]byte{body}
	}
	if _, err := d.ReadToken(); err != nil {
		return [][]byte{body}
	}
	var list [][]byte
	for d.PeekKind() == '"' {
		name, err := d.ReadValue()
		if err != nil {
			return [][]byte{body}
		}
		line := append(bytes.Clone(name), ": "...)
		value, err := d.ReadValue()
		if err != nil {
			return [][]byte{body}
		}
		list = append(list, append(line, value...))
	}
	return list
}
