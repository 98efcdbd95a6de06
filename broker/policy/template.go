package policy

import (
	"errors"
	"strings"

	"github.com/cambist/cambist/broker"
)

// template is text with {name} captures in it: the URI, the hosts or the
// serving workloads of a resource template.
type template struct {
	text  string
	parts []part // literals and captures in turn
}

type part struct {
	capture bool
	text    string
}

var (
	errTemplateBraces = errors.New("a brace does not close, or what it holds is no name")
	errTemplateApart  = errors.New("two captures must be apart by a character that no label has, such as a dot")
)

// parseTemplate reads text with captures. Between two captures there must be a
// byte that no DNS label contains, so that a match has one reading.
func parseTemplate(text string) (template, error) {
	t := template{text: text}
	for rest := text; rest != ""; {
		open := strings.IndexByte(rest, '{')
		if open < 0 {
			open = len(rest)
		}
		if open > 0 {
			t.parts = append(t.parts, part{text: rest[:open]})
		}
		if rest = rest[open:]; rest == "" {
			break
		}
		end := strings.IndexByte(rest, '}')
		if end < 0 {
			return template{}, errTemplateBraces
		}
		name, ok := captureName(rest[:end+1])
		if !ok {
			return template{}, errTemplateBraces
		}
		t.parts = append(t.parts, part{capture: true, text: name})
		rest = rest[end+1:]
	}
	for i := 1; i < len(t.parts); i++ {
		previous, this := t.parts[i-1], t.parts[i]
		if previous.capture && (this.capture || labelByte(this.text[0])) || this.capture && !previous.capture && labelByte(previous.text[len(previous.text)-1]) {
			return template{}, errTemplateApart
		}
	}
	if strings.ContainsRune(text, '}') != strings.ContainsRune(text, '{') {
		return template{}, errTemplateBraces
	}
	return t, nil
}

// variable reports whether there is a capture in it.
func (t *template) variable() bool {
	for _, p := range t.parts {
		if p.capture {
			return true
		}
	}
	return false
}

// match reads the captures out of text. Whoever calls it builds the text again
// from them and compares: what is not rebuilt byte for byte does not match.
func (t *template) match(text string) ([]broker.Capture, bool) {
	var captured []broker.Capture
	for _, p := range t.parts {
		if !p.capture {
			rest, ok := strings.CutPrefix(text, p.text)
			if !ok {
				return nil, false
			}
			text = rest
			continue
		}
		n := 0
		for n < len(text) && labelByte(text[n]) {
			n++
		}
		if !label(text[:n]) {
			return nil, false
		}
		if have, ok := lookup(captured, p.text); !ok {
			captured = append(captured, broker.Capture{Name: p.text, Value: text[:n]})
		} else if have != text[:n] {
			return nil, false
		}
		text = text[n:]
	}
	return captured, text == ""
}

// build puts values in; a capture without one becomes missing, or fails if that
// is "".
func (t *template) build(captured []broker.Capture, missing string) (string, bool) {
	var b strings.Builder
	for _, p := range t.parts {
		value := p.text
		if p.capture {
			have, ok := lookup(captured, p.text)
			if !ok {
				have = missing
			}
			if value = have; value == "" {
				return "", false
			}
		}
		b.WriteString(value)
	}
	return b.String(), true
}

func (t *template) captures() []string {
	var names []string
	for _, p := range t.parts {
		if p.capture {
			names = append(names, p.text)
		}
	}
	return names
}

// tokens cuts the template at every byte that no label has, and keeps those
// bytes. A capture is always a token of its own.
func (t *template) tokens() []part {
	var tokens []part
	for _, p := range t.parts {
		if p.capture {
			tokens = append(tokens, p)
			continue
		}
		start := 0
		for i := range len(p.text) {
			if labelByte(p.text[i]) {
				continue
			}
			if i > start {
				tokens = append(tokens, part{text: p.text[start:i]})
			}
			tokens = append(tokens, part{text: p.text[i : i+1]})
			start = i + 1
		}
		if start < len(p.text) {
			tokens = append(tokens, part{text: p.text[start:]})
		}
	}
	return tokens
}

// overlap reports whether some text is built by both templates. It may say so
// of two that repeat a capture in different places, never the reverse.
func overlap(a, b *template) bool {
	x, y := a.tokens(), b.tokens()
	if len(x) != len(y) {
		return false
	}
	inX, inY := map[string]string{}, map[string]string{}
	for i := range x {
		switch {
		case x[i].capture && y[i].capture:
		case x[i].capture && !bind(inX, x[i].text, y[i].text), y[i].capture && !bind(inY, y[i].text, x[i].text):
			return false
		case !x[i].capture && !y[i].capture && x[i].text != y[i].text:
			return false
		}
	}
	return true
}

// bind gives a capture a value; false if it cannot have it, or has another.
func bind(values map[string]string, name, value string) bool {
	have, ok := values[name]
	values[name] = value
	return label(value) && (!ok || have == value)
}
