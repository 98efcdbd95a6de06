package policy

import (
	"fmt"
	"strings"

	"github.com/cambist/cambist/broker"
)

// Severity says whether a finding stops a write.
type Severity string

// The severities.
const (
	Error   Severity = "error"
	Warning Severity = "warning"
)

// Finding is one thing that is wrong, or odd, with a policy, with its place and
// its fix. Code is stable and from the closed list of findings.md.
type Finding struct {
	Code     string
	Severity Severity
	File     string // "" for an object that comes from a store
	Line     int
	Column   int
	Kind     broker.ObjectKind
	Name     string // of the object, "" for the document itself
	Field    string
	Message  string
	Fix      string
}

// String returns the finding as one line: place, severity, message, fix.
func (f Finding) String() string {
	var b strings.Builder
	switch {
	case f.File != "" && f.Line > 0:
		fmt.Fprintf(&b, "%s:%d:%d: ", f.File, f.Line, f.Column)
	case f.File != "":
		fmt.Fprintf(&b, "%s: ", f.File)
	}
	fmt.Fprintf(&b, "%s: ", f.Severity)
	if f.Name != "" {
		fmt.Fprintf(&b, "%s %s: ", f.Kind, f.Name)
	}
	b.WriteString(f.Message)
	if f.Fix != "" {
		fmt.Fprintf(&b, "; %s", f.Fix)
	}
	fmt.Fprintf(&b, " [%s]", f.Code)
	return b.String()
}

// HasErrors reports whether any finding is an error.
func HasErrors(findings []Finding) bool {
	for _, f := range findings {
		if f.Severity == Error {
			return true
		}
	}
	return false
}

// faults collects the findings of one object.
type faults struct {
	kind  broker.ObjectKind
	name  string
	found *[]Finding
	count int
}

func (f *faults) add(code, field, fix, format string, args ...any) {
	f.count++
	*f.found = append(*f.found, Finding{
		Code: code, Severity: Error, Kind: f.kind, Name: f.name, Field: field, Message: fmt.Sprintf(format, args...), Fix: fix,
	})
}

func (f *faults) warn(code, field, fix, format string, args ...any) {
	*f.found = append(*f.found, Finding{
		Code: code, Severity: Warning, Kind: f.kind, Name: f.name, Field: field, Message: fmt.Sprintf(format, args...), Fix: fix,
	})
}
