package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// groups are how many ids each part of the checklist has: none is forgotten. SC-9
// is of WIT-SVIDs, IN-7 and IN-8 of RFC 9701: not of P0.
var groups = map[string]int{"HX": 14, "TX": 41, "OE": 7, "MT": 16, "DP": 14, "AT": 19, "MD": 8, "IN": 6, "RV": 5, "RI": 3, "JB": 7, "JW": 20, "BC": 7,
	"SF": 6, "SX": 6, "SJ": 8, "SB": 9, "SC": 9, "K8-": 7, "OI": 4, "JK": 10, "PD": 2, "H": 26}

// open is how many ids nothing proves. It only gets smaller.
const open = 0

// row is one line of ids.txt.
type row struct{ id, how, what, why string }

func readIDs(t *testing.T) []row {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "ids.txt"))
	must(t, err)
	var rows []row
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		r := row{}
		fields := []*string{&r.id, &r.how, &r.what, &r.why}
		for i, part := range strings.SplitN(line, " ", len(fields)) {
			*fields[i] = part
		}
		rows = append(rows, r)
	}
	return rows
}

// Every id is proven by a case, by a test that exists, or is said not to be.
func TestIDs(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	for _, c := range cases() {
		have[c.id] = true
	}
	listed, count, unproven := map[string]row{}, map[string]int{}, 0
	for _, r := range readIDs(t) {
		if _, twice := listed[r.id]; twice {
			t.Errorf("%s is listed twice", r.id)
		}
		listed[r.id] = r
		count[group(r.id)]++
		// A case may be there before its feature, or for other servers than ours.
		if beside := r.how == "not-built" || r.how == "test"; have[r.id] != (r.how == "case") && !(beside && have[r.id]) {
			t.Errorf("%s is listed as %q, and the suite has a case for it: %t", r.id, r.how, have[r.id])
		}
		switch r.how {
		case "case":
		case "test":
			if !isTest(t, r.what, r.why) {
				t.Errorf("%s: %s has no %s", r.id, r.what, r.why)
			}
		case "design":
			if r.why == "" {
				t.Errorf("%s does not say why", r.id)
			}
		case "not-built":
			if r.why == "" {
				t.Errorf("%s does not say what is not built", r.id)
			}
		case "open":
			unproven++
			t.Logf("nothing proves %s: %s %s", r.id, r.what, r.why)
		default:
			t.Errorf("%s: how is that proven: %q", r.id, r.how)
		}
	}
	for id := range have {
		if _, ok := listed[id]; !ok {
			t.Errorf("the case %s is not of the list", id)
		}
	}
	for name, n := range groups {
		if count[name] != n {
			t.Errorf("%s has %d ids, %d are listed", name, n, count[name])
		}
	}
	if unproven != open {
		t.Errorf("%d ids are open, and the test expects %d", unproven, open)
	}
}

func group(id string) string {
	if strings.HasPrefix(id, "K8-") {
		return "K8-"
	}
	return strings.TrimRight(id, "-0123456789")
}

// isTest reports whether a folder of the repository has a test of that name.
func isTest(t *testing.T, folder, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("..", "..", filepath.FromSlash(folder), "*_test.go"))
	must(t, err)
	declared := regexp.MustCompile(`(?m)^func ` + regexp.QuoteMeta(name) + `\(t \*testing\.T\)`)
	return slices.ContainsFunc(files, func(path string) bool {
		raw, err := os.ReadFile(path) //nolint:gosec // a file of the repository
		must(t, err)
		return name != "" && declared.Match(raw)
	})
}

// built holds that nothing that is listed as not built stands in the metadata.
func built(t *testing.T, metadata map[string]any) {
	t.Helper()
	raw, err := json.Marshal(metadata)
	must(t, err)
	for _, r := range readIDs(t) {
		if r.how == "not-built" && r.what != "-" && strings.Contains(string(raw), r.what) {
			t.Errorf("%s is listed as not built (%s), and the metadata has %s: it needs a case", r.id, r.why, r.what)
		}
	}
}
