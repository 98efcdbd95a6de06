package arch_test

import (
	"fmt"
	"go/version"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
)

// goFloor is the first Go release without the holes that we know of
// (CVE-2025-68121, CVE-2026-33810).
const goFloor = "go1.26.2"

// versionFloors are the first releases without the holes that we know of, for a
// build that cannot ask the vulnerability database. A module that is not used is
// here so that it does not come in old.
var versionFloors = map[string]string{
	"github.com/go-jose/go-jose/v4":  "v4.1.4",  // CVE-2026-34986
	"github.com/golang-jwt/jwt/v5":   "v5.2.2",  // CVE-2025-30204
	"github.com/jackc/pgx/v5":        "v5.9.2",  // CVE-2026-33816, GHSA-j88v
	"github.com/spiffe/go-spiffe/v2": "v2.8.2",  // a data race in its sources
	"golang.org/x/crypto":            "v0.45.0", // CVE-2025-47914, CVE-2025-58181
	"golang.org/x/net":               "v0.45.0", // CVE-2025-47911, CVE-2025-58190
	"golang.org/x/oauth2":            "v0.27.0", // CVE-2025-22868
}

// modules checks the text of a go.mod: nothing below its floor, and nothing taken
// from another place than its name says.
func modules(text string) []string {
	var faults []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "//")
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) > 0 && (fields[0] == "replace" || fields[0] == "exclude") {
			faults = append(faults, "go.mod: "+fields[0])
		}
		if len(fields) != 2 {
			continue
		}
		if floor, ok := versionFloors[fields[0]]; ok && older(fields[1], floor) {
			faults = append(faults, fmt.Sprintf("%s %s is older than %s", fields[0], fields[1], floor))
		}
	}
	return faults
}

// older compares two versions by their three numbers; of two that are equal in
// them, the one before a release is older.
func older(a, b string) bool {
	x, xPre := numbers(a)
	y, yPre := numbers(b)
	for i := range x {
		if x[i] != y[i] {
			return x[i] < y[i]
		}
	}
	return xPre && !yPre
}

func numbers(v string) (n [3]int, pre bool) {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "v"), "+")
	v, _, pre = strings.Cut(v, "-")
	for i, part := range strings.SplitN(v, ".", 3) {
		k, err := strconv.Atoi(part)
		if err != nil {
			return [3]int{}, true // what cannot be read is the oldest
		}
		n[i] = k
	}
	return n, pre
}

func TestVersions(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	report(t, modules(string(text)))
	if v := runtime.Version(); version.IsValid(v) && version.Compare(v, goFloor) < 0 {
		t.Errorf("built with %s, older than %s", v, goFloor)
	}
}

func TestModulesFinds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"at the floor":      {"require golang.org/x/net v0.45.0", 0},
		"above":             {"require (\n\tgolang.org/x/net v1.0.0 // indirect\n)", 0},
		"below":             {"require golang.org/x/net v0.44.9", 1},
		"below, in a group": {"require (\n\tgolang.org/x/net v0.9.0 // indirect\n)", 1},
		"before the floor":  {"require golang.org/x/net v0.45.0-rc.1", 1},
		"unreadable":        {"require golang.org/x/net vnext", 1},
		"not listed":        {"require example.com/x v0.0.1", 0},
		"replaced":          {"replace golang.org/x/net => ../net", 1},
		"replaced in a row": {"replace (\n\tgolang.org/x/net => ../net\n)", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if faults := modules(c.text); len(faults) != c.want {
				t.Errorf("found %q, want %d", faults, c.want)
			}
		})
	}
}
