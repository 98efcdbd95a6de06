package policy

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cambist/cambist/broker"
)

// maxFindings bounds what is said about one file: a file of another kind has a
// fault on every line.
const maxFindings = 1000

// reader walks the nodes of one document and collects everything that is wrong
// with it, each with its line. It reads YAML and, because YAML contains it,
// JSON; what makes YAML surprising is refused: anchors, aliases, tags, merges.
type reader struct {
	file     string
	kind     broker.ObjectKind // of the object being read, for findings
	name     string
	findings []Finding
}

func (r *reader) full() bool { return len(r.findings) >= maxFindings }

func (r *reader) fault(n *yaml.Node, code, fix, format string, args ...any) {
	if r.full() {
		return
	}
	r.findings = append(r.findings, Finding{
		Code: code, Severity: Error, File: r.file, Line: n.Line, Column: n.Column, Kind: r.kind, Name: r.name, Message: fmt.Sprintf(format, args...), Fix: fix,
	})
}

// fields reads a mapping node into its known fields. Unknown, repeated and
// wrongly cased names are reported.
func (r *reader) fields(n *yaml.Node, known ...string) map[string]*yaml.Node {
	found := map[string]*yaml.Node{}
	if !r.plain(n) {
		return found
	}
	if n.Kind != yaml.MappingNode {
		r.fault(n, "wrong-type", "write it as name: value pairs", "this must be a mapping")
		return found
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		name := key.Value
		switch {
		case !r.plain(key): // said already
		case key.Kind != yaml.ScalarNode || name == "<<":
			r.fault(key, "wrong-type", "use plain names", "this is not the name of a field")
		case found[name] != nil:
			r.fault(key, "field-twice", "keep one of them", "field %q stands there twice", name)
		case len(known) == 0 || slices.Contains(known, name):
			found[name] = value
		default:
			r.unknown(key, name, known)
		}
	}
	return found
}

func (r *reader) unknown(key *yaml.Node, name string, known []string) {
	if r.full() {
		return
	}
	for _, k := range known {
		if strings.EqualFold(k, name) || strings.EqualFold(strings.ReplaceAll(k, "_", ""), strings.NewReplacer("_", "", "-", "").Replace(name)) {
			r.fault(key, "field-unknown", fmt.Sprintf("write %q", k), "field %q is unknown", name)
			return
		}
	}
	if best := nearest(name, known); best != "" {
		r.fault(key, "field-unknown", fmt.Sprintf("did you mean %q?", best), "field %q is unknown", name)
		return
	}
	r.fault(key, "field-unknown", "fields are: "+strings.Join(known, ", "), "field %q is unknown", name)
}

// nearest returns the name of the list that differs least, "" if all differ much.
func nearest(name string, known []string) string {
	best, distance := "", 3
	for _, k := range known {
		if len(name) > len(k)+distance {
			continue
		}
		if d := edits(name, k); d < distance {
			best, distance = k, d
		}
	}
	return best
}

// edits returns how many letters differ (Levenshtein), for did-you-mean.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for k := range row {
		row[k] = k
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for k := range len(b) {
			cost := last
			if a[i] != b[k] {
				cost++
			}
			last = row[k+1]
			row[k+1] = min(cost, row[k+1]+1, row[k]+1)
		}
	}
	return row[len(b)]
}

// plain refuses what is not plain data.
func (r *reader) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		r.fault(n, "yaml-anchor", "write it out", "anchors and aliases are not read")
		return false
	case n.Style&yaml.TaggedStyle != 0:
		r.fault(n, "yaml-tag", "leave the tag out", "tags are not read")
		return false
	}
	return true
}

// text reads a string. A number, a truth value or null is not text unless it is
// quoted: what it means must not depend on who reads the file. A time is text.
func (r *reader) text(n *yaml.Node) string {
	if n == nil || !r.plain(n) {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!timestamp" {
		r.fault(n, "wrong-type", "write text, in quotes if it looks like a number or a truth value", "this must be text")
		return ""
	}
	return n.Value
}

// list reads a list of strings, or one string as a list of it.
func (r *reader) list(n *yaml.Node) []string {
	if n == nil || !r.plain(n) {
		return nil
	}
	if n.Kind == yaml.ScalarNode {
		return []string{r.text(n)}
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(n, "wrong-type", "write it as [a, b]", "this must be a list")
		return nil
	}
	var all []string
	for _, item := range n.Content {
		all = append(all, r.text(item))
	}
	return all
}

// items reads a list of nodes.
func (r *reader) items(n *yaml.Node) []*yaml.Node {
	if n == nil || !r.plain(n) {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.fault(n, "wrong-type", "write it as a list with - before each", "this must be a list")
		return nil
	}
	return n.Content
}

func (r *reader) truth(n *yaml.Node) bool {
	if n == nil || !r.plain(n) {
		return false
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
		r.fault(n, "wrong-type", "write true or false", "this must be true or false")
	}
	return n.Value == "true"
}
