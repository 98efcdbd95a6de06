package policy_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The list of findings is closed: each code in the program stands in
// findings.md with its severity, none stands there besides, and each is made by
// a test.
func TestFindingsAreListed(t *testing.T) {
	t.Parallel()
	listed := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (error|warning) \\| \\S").FindAllStringSubmatch(read(t, "findings.md"), -1) {
		if listed[row[1]] != "" {
			t.Errorf("%s is listed twice", row[1])
		}
		listed[row[1]] = row[2]
	}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	made, tests := map[string]bool{}, ""
	call := regexp.MustCompile(`\.(add|warn|fault)\((?:[^"\n]*, )?"([a-z-]+)", |Code: "([a-z-]+)", Severity: (Error)`)
	for _, file := range files {
		text := read(t, file)
		if strings.HasSuffix(file, "_test.go") {
			tests += text
			continue
		}
		for _, m := range call.FindAllStringSubmatch(text, -1) {
			code, severity := m[2]+m[3], "error"
			if m[1] == "warn" {
				severity = "warning"
			}
			if made[code] = true; listed[code] != severity {
				t.Errorf("%s: %s %s is listed as %q", file, severity, code, listed[code])
			}
		}
	}
	for code := range listed {
		if !made[code] {
			t.Errorf("%s is listed, but nothing makes it", code)
		}
		if !strings.Contains(tests, `"`+code+`"`) {
			t.Errorf("no test makes %s", code)
		}
	}
	if len(listed) < 70 {
		t.Errorf("only %d are listed", len(listed))
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file) //nolint:gosec // the test names it
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
