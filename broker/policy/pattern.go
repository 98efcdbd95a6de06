package policy

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// maxSegments bounds a pattern and the paths it can match.
const maxSegments = 16

// pattern matches names made of segments: a SPIFFE path, or the name of a
// resource. Segments compare whole and byte for byte; there are no regular
// expressions.
type pattern struct {
	domain   string // trust domain, "" for the name of a resource
	segments []segment
	rest     bool // a final **: one or more segments follow
	all      bool // matches every name, for a deny
}

type segmentKind uint8

const (
	segmentLiteral segmentKind = iota
	segmentAny
	segmentCapture
)

type segment struct {
	kind segmentKind
	text string // the literal, or the name of the capture
}

var (
	errPatternEmpty   = errors.New("a segment is empty")
	errPatternLong    = errors.New("it has more than 16 segments")
	errPatternRest    = errors.New("** may only stand last")
	errPatternSegment = errors.New("a segment is neither a name, nor *, nor {name}")
	errPatternTwice   = errors.New("a capture stands there twice")
	errPatternDomain  = errors.New("the trust domain is not one that can be used")
)

// patternFix is what a finding says of a pattern that cannot be read.
const patternFix = "write whole segments: a name, {capture} or *, and ** only as the last"

// parseWorkloadPattern reads a SPIFFE ID with *, {name} and ** in its path.
func parseWorkloadPattern(text string) (pattern, error) {
	rest, ok := strings.CutPrefix(text, "spiffe://")
	if !ok {
		return pattern{}, errPatternDomain
	}
	domain, path, ok := strings.Cut(rest, "/")
	if !ok || broker.CheckTrustDomain(domain) != nil {
		return pattern{}, errPatternDomain
	}
	p, err := parseSegments(path, pathByte)
	p.domain = domain
	return p, err
}

// parseNamePattern reads a pattern over the names of resources.
func parseNamePattern(text string) (pattern, error) {
	if text == "*" || text == "**" {
		return pattern{all: true}, nil
	}
	return parseSegments(text, nameByte)
}

func parseSegments(text string, allowed func(byte) bool) (pattern, error) {
	parts := strings.Split(text, "/")
	if len(parts) > maxSegments {
		return pattern{}, errPatternLong
	}
	var p pattern
	for i, part := range parts {
		name, capture := captureName(part)
		switch {
		case part == "":
			return pattern{}, errPatternEmpty
		case part == "**":
			if i != len(parts)-1 {
				return pattern{}, errPatternRest
			}
			p.rest = true
		case part == "*":
			p.segments = append(p.segments, segment{kind: segmentAny})
		case capture:
			for _, s := range p.segments {
				if s.kind == segmentCapture && s.text == name {
					return pattern{}, errPatternTwice
				}
			}
			p.segments = append(p.segments, segment{kind: segmentCapture, text: name})
		case part == "." || part == ".." || !every(part, allowed):
			return pattern{}, errPatternSegment
		default:
			p.segments = append(p.segments, segment{text: part})
		}
	}
	return p, nil
}

// captureName returns the name in {name}.
func captureName(part string) (string, bool) {
	if len(part) < 3 || part[0] != '{' || part[len(part)-1] != '}' {
		return "", false
	}
	name := part[1 : len(part)-1]
	return name, name[0] >= 'a' && name[0] <= 'z' && every(name, func(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '_' })
}

func every(text string, allowed func(byte) bool) bool {
	for i := range len(text) {
		if !allowed(text[i]) {
			return false
		}
	}
	return true
}

// pathByte is the alphabet of a SPIFFE path segment (SPIFFE-ID 2.2).
func pathByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_'
}

// nameByte is the alphabet of the names of policy objects.
func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_' || c == ':'
}

// label reports whether text is a DNS label: all that a capture may take.
func label(text string) bool {
	if text == "" || len(text) > 63 || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	return every(text, labelByte)
}

func labelByte(c byte) bool { return c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' }

// match reports whether the segments fit, and appends what was captured. A
// capture that has a value already fits only the same value.
func (p *pattern) match(segments []string, captured []broker.Capture) ([]broker.Capture, bool) {
	if p.all {
		return captured, true
	}
	if len(segments) < len(p.segments) || len(segments) > len(p.segments) && !p.rest || p.rest && len(segments) == len(p.segments) {
		return captured, false
	}
	for i := range p.segments {
		s := &p.segments[i]
		switch s.kind {
		case segmentLiteral:
			if s.text != segments[i] {
				return captured, false
			}
		case segmentCapture:
			if !label(segments[i]) {
				return captured, false
			}
			if have, ok := lookup(captured, s.text); !ok {
				captured = append(captured, broker.Capture{Name: s.text, Value: segments[i]})
			} else if have != segments[i] {
				return captured, false
			}
		}
	}
	return captured, true
}

func lookup(captured []broker.Capture, name string) (string, bool) {
	for i := range captured {
		if captured[i].Name == name {
			return captured[i].Value, true
		}
	}
	return "", false
}

// literal reports whether the pattern is one name and no more.
func (p *pattern) literal() bool {
	if p.all || p.rest {
		return false
	}
	for i := range p.segments {
		if p.segments[i].kind != segmentLiteral {
			return false
		}
	}
	return true
}

// any reports whether a segment of the pattern is *.
func (p *pattern) any() bool {
	for i := range p.segments {
		if p.segments[i].kind == segmentAny {
			return true
		}
	}
	return false
}

// captures appends the names that the pattern captures.
func (p *pattern) captures(names []string) []string {
	for _, s := range p.segments {
		if s.kind == segmentCapture {
			names = append(names, s.text)
		}
	}
	return names
}

// broad reports whether a workload pattern fixes nothing below the trust domain,
// not even to the same value as the resource.
func (p *pattern) broad() bool {
	for i := range p.segments {
		if s := &p.segments[i]; s.kind == segmentCapture || s.kind == segmentLiteral && (i%2 == 1 || i > 2 || s.text != "ns" && s.text != "sa") {
			return false
		}
	}
	return true
}

// split cuts a name into segments in the given array, without allocating.
func split(name string, into *[maxSegments]string) []string {
	n := 0
	for start := 0; ; n++ {
		if n == maxSegments {
			return nil
		}
		i := strings.IndexByte(name[start:], '/')
		if i < 0 {
			into[n] = name[start:]
			return into[:n+1]
		}
		into[n] = name[start : start+i]
		start += i + 1
	}
}

// matchWorkload reports whether a SPIFFE ID fits a workload pattern.
func (p *pattern) matchWorkload(id spiffeid.ID) bool {
	path := id.Path()
	if path == "" || id.TrustDomain().Name() != p.domain {
		return false
	}
	var buffer [maxSegments]string
	_, ok := p.match(split(path[1:], &buffer), nil)
	return ok
}

// text returns the pattern as it is written.
func (p *pattern) text() string {
	if p.all {
		return "*"
	}
	parts := make([]string, 0, len(p.segments)+1)
	for _, s := range p.segments {
		switch s.kind {
		case segmentAny:
			parts = append(parts, "*")
		case segmentCapture:
			parts = append(parts, "{"+s.text+"}")
		default:
			parts = append(parts, s.text)
		}
	}
	if p.rest {
		parts = append(parts, "**")
	}
	text := strings.Join(parts, "/")
	if p.domain != "" {
		return fmt.Sprintf("spiffe://%s/%s", p.domain, text)
	}
	return text
}
