package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const table = `package toy

type check struct {
	name  string
	holds func(int) bool
}

var checks = [...]check{
	{"positive", func(n int) bool { return n > 0 }},
	{"small", func(n int) bool {
		return n < 100
	}},
}

func ok(n int) bool {
	for _, c := range checks {
		if !c.holds(n) {
			return false
		}
	}
	return true
}
`

const half = `package toy

import "testing"

func TestOK(t *testing.T) {
	t.Run("negative", func(t *testing.T) {
		if ok(-1) {
			t.Error("taken")
		}
	})
}
`

const whole = half + `
func TestLarge(t *testing.T) {
	if ok(100) {
		t.Error("taken")
	}
}
`

// toy is a module with a table of two checks and the given tests.
func toy(t *testing.T, tests string) *lane {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module toy\n\ngo 1.26.0\n", "toy/checks.go": table, "toy/toy_test.go": tests} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	return &lane{dir: dir, file: "toy/checks.go", table: "checks"}
}

func TestLane(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tests, want string
		only        int
		err         error
	}{
		"all are killed":    {whole, " 0  killed    \"positive\"                   by TestOK/negative\n 1  killed    \"small\"                      by TestLarge\n", -1, nil},
		"one survives":      {half, " 0  killed    \"positive\"                   by TestOK/negative\n 1  SURVIVED  \"small\"\n", -1, errSurvived},
		"only the other":    {half, " 0  killed    \"positive\"                   by TestOK/negative\n", 0, nil},
		"only the survivor": {half, " 1  SURVIVED  \"small\"\n", 1, errSurvived},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			if err := toy(t, c.tests).run(t.Context(), &out, c.only); !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("%v, want %v", err, c.err)
			}
			if out.String() != c.want {
				t.Errorf("printed\n%s", out.String())
			}
		})
	}
}

// Whatever keeps the tests from telling is an error, never a check that was
// killed.
func TestLaneFails(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		tests string
		spoil func(*lane)
		want  string
	}{
		"tests that fail anyway":  {strings.Replace(whole, "ok(-1)", "!ok(-1)", 1), func(*lane) {}, "fails before anything is disabled"},
		"tests that do not build": {whole + "x", func(*lane) {}, "go test"},
		"no such table":           {whole, func(l *lane) { l.table = "others" }, "no table others"},
		"no such file":            {whole, func(l *lane) { l.file = "toy/others.go" }, "others.go"},
		"an argument too many":    {whole, func(l *lane) { l.args = []string{"-nonsense"} }, "go test"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := toy(t, c.tests)
			c.spoil(l)
			var out bytes.Buffer
			if err := l.run(t.Context(), &out, -1); err == nil || !strings.Contains(err.Error(), c.want) || out.Len() > 0 {
				t.Errorf("%v, %q", err, out.String())
			}
		})
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	checks, err := find([]byte(table), "checks")
	if err != nil || len(checks) != 2 || checks[1].name != `"small"` {
		t.Fatalf("%v %+v", err, checks)
	}
	off := string(checks[1].disable([]byte(table)))
	if !strings.Contains(off, "always(func(n int) bool {\n\t\treturn n < 100\n\t})}") || !strings.Contains(off, `{"positive", func(n int) bool { return n > 0 }}`) {
		t.Errorf("%s", off)
	}
	for name, text := range map[string]string{
		"not Go": "x", "empty": "package x\nvar checks = []check{}", "a call": "package x\nvar checks = []check{f()}", "no function": "package x\nvar checks = []check{{1}}",
	} {
		if _, err := find([]byte(text), "checks"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
