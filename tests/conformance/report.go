package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// outcome is what became of a case.
type outcome string

const (
	passed        outcome = "pass"
	failed        outcome = "FAIL"
	notApplicable outcome = "n/a"
)

// result is one line of the table.
type result struct {
	ID      string  `json:"id"`
	Title   string  `json:"title"`
	Outcome outcome `json:"outcome"`
	Why     string  `json:"why,omitempty"` // it does not apply
	Faults  []fault `json:"faults,omitempty"`
}

// fault is one thing that does not hold, with its evidence.
type fault struct {
	Problem string `json:"problem"`
	Request string `json:"request,omitempty"`
	Answer  string `json:"answer,omitempty"`
}

// report is what a run found.
type report struct {
	Issuer  string   `json:"issuer"`
	Passed  int      `json:"passed"`
	Failed  int      `json:"failed"`
	Absent  int      `json:"not_applicable"`
	Issued  int      `json:"tokens_issued"`
	Late    int      `json:"unavailable"` // answers that said to come again (503)
	Results []result `json:"results"`
}

func (r *report) add(x result) {
	switch x.Outcome {
	case passed:
		r.Passed++
	case failed:
		r.Failed++
	default:
		r.Absent++
	}
	r.Results = append(r.Results, x)
}

func (r *report) writeJSON(out io.Writer) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(r)
}

// writeTable prints a line for each case, and under those that failed the first
// of their faults.
func (r *report) writeTable(out io.Writer) {
	const shown = 5
	for _, x := range r.Results {
		fmt.Fprintf(out, "%-6s %-5s %s\n", x.ID, x.Outcome, x.Title)
		if x.Why != "" {
			fmt.Fprintf(out, "             %s\n", x.Why)
		}
		for i, f := range x.Faults {
			if i == shown {
				fmt.Fprintf(out, "             and %d more\n", len(x.Faults)-shown)
				break
			}
			fmt.Fprintf(out, "             %s\n%s%s", f.Problem, indent("> ", f.Request), indent("< ", f.Answer))
		}
	}
	fmt.Fprintf(out, "\n%s: %d passed, %d failed, %d not applicable; %d tokens issued\n", r.Issuer, r.Passed, r.Failed, r.Absent, r.Issued)
}

func indent(mark, text string) string {
	if text == "" {
		return ""
	}
	return "               " + mark + strings.ReplaceAll(text, "\n", "\n               "+mark) + "\n"
}

// What must not stand in a report whole: tokens, assertions and secrets. The
// first letters are kept, so that two can be told apart.
var (
	compact = regexp.MustCompile(`[A-Za-z0-9_-]{12,}(\.[A-Za-z0-9_-]+){2,}`)
	secrets = regexp.MustCompile(`((?:client_secret|subject_token|actor_token|assertion|client_assertion)=)([^&\s]{8})[^&\s]*`)
)

// shown prints a message for the report.
func shown(first string, header http.Header, body []byte) string {
	var b strings.Builder
	b.WriteString(first)
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range header[name] {
			if name == "Authorization" {
				value, _, _ = strings.Cut(value, " ")
				value += " ..."
			}
			fmt.Fprintf(&b, "\n%s: %s", name, value)
		}
	}
	text := string(body[:min(len(body), maxEvidence)])
	if len(body) > maxEvidence {
		text += fmt.Sprintf("... (%d bytes)", len(body))
	}
	fmt.Fprintf(&b, "\n\n%s", strings.TrimSpace(text))
	return shorten(b.String())
}

func shorten(text string) string {
	text = secrets.ReplaceAllString(text, "$1$2...")
	return compact.ReplaceAllStringFunc(text, func(token string) string { return token[:12] + "..." })
}
