package subject_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The list of reasons is closed: every reason that these rooms give stands in it,
// none is made up on the spot, and each is given in a test of the same room.
func TestReasonsAreListed(t *testing.T) {
	t.Parallel()
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\t(Reason\w+) +Reason = "[a-z_]+"`).FindAllStringSubmatch(read(t, "../reason.go"), -1) {
		listed[m[1]] = true
	}
	used := regexp.MustCompile(`broker\.(Reason\w*)`)
	madeUp := regexp.MustCompile(`broker\.Reason\(|Refuse\([^b]|Reason: +"`)
	for _, room := range []string{".", "issued", "jwtsvid", "oidc"} {
		files, err := filepath.Glob(filepath.Join(room, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", room, err)
		}
		code, tests := "", ""
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				tests += read(t, file)
				continue
			}
			code += read(t, file)
		}
		code = strings.ReplaceAll(code, "func Refuse(reason", "")
		if m := madeUp.FindString(code); m != "" {
			t.Errorf("%s: %q makes a reason up", room, m)
		}
		reasons := used.FindAllStringSubmatch(code, -1)
		if len(reasons) == 0 {
			t.Errorf("%s gives no reason at all", room)
		}
		for _, m := range reasons {
			if m[1] != "Reason" && !listed[m[1]] {
				t.Errorf("%s: %s is not listed", room, m[1])
			}
			if !strings.Contains(tests, m[0]) {
				t.Errorf("%s: no test gives %s", room, m[1])
			}
		}
	}
	if len(listed) < 50 {
		t.Errorf("only %d are listed", len(listed))
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	raw, err := os.ReadFile(file) //nolint:gosec // the files of this package
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
