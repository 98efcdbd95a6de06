package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// lane is where the table stands and whose tests are asked.
type lane struct {
	dir, file, table string
	args             []string // more arguments of go test
}

// check is one entry of the table: its name, and where its function stands.
type check struct {
	name       string
	start, end int // offsets of the function literal
}

// find returns the entries of a table of composite literals, in order. Each has
// one function literal; its first element names it.
func find(source []byte, table string) ([]check, error) {
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, "", source, 0)
	if err != nil {
		return nil, err
	}
	var checks []check
	for _, entry := range entries(parsed, table) {
		literal, ok := entry.(*ast.CompositeLit)
		if !ok || len(literal.Elts) == 0 {
			return nil, fmt.Errorf("an entry of %s is not a literal", table)
		}
		i := slices.IndexFunc(literal.Elts, func(e ast.Expr) bool { _, ok := e.(*ast.FuncLit); return ok })
		if i < 0 {
			return nil, fmt.Errorf("an entry of %s has no function", table)
		}
		at := func(p token.Pos) int { return files.Position(p).Offset }
		first, holds := literal.Elts[0], literal.Elts[i]
		checks = append(checks, check{string(source[at(first.Pos()):at(first.End())]), at(holds.Pos()), at(holds.End())})
	}
	if len(checks) == 0 {
		return nil, fmt.Errorf("no table %s", table)
	}
	return checks, nil
}

func entries(f *ast.File, table string) []ast.Expr {
	for _, d := range f.Decls {
		group, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, s := range group.Specs {
			if v, ok := s.(*ast.ValueSpec); ok && len(v.Names) == 1 && v.Names[0].Name == table && len(v.Values) == 1 {
				if literal, ok := v.Values[0].(*ast.CompositeLit); ok {
					return literal.Elts
				}
			}
		}
	}
	return nil
}

// disable returns the source with one check that holds always. The function
// stays where it is, so that what it alone uses is still used.
func (c check) disable(source []byte) []byte {
	function := source[c.start:c.end]
	return slices.Concat(source[:c.start], []byte("always("), function, []byte(")"), source[c.end:],
		[]byte("\n// always takes a check and answers for it.\nfunc always[T any](func(T) bool) func(T) bool { return func(T) bool { return true } }\n"))
}

// test runs the tests of the package over another text of the file and returns
// the test that fails, "" if none does. An error means that they did not run.
func (l *lane) test(ctx context.Context, source []byte) (killer string, err error) {
	scratch, err := os.MkdirTemp("", "mutate")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // the system clears what is left
	root, err := filepath.Abs(l.dir)
	if err != nil {
		return "", err
	}
	text, overlay := filepath.Join(scratch, "source.go"), filepath.Join(scratch, "overlay.json")
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(root, l.file): text}})
	if err == nil {
		err = errors.Join(os.WriteFile(text, source, 0o600), os.WriteFile(overlay, replace, 0o600)) //nolint:gosec // below a folder of our own
	}
	if err != nil {
		return "", err
	}
	args := []string{"test", "-overlay=" + overlay, "-vet=off", "-failfast", "-json", "-timeout=5m", "./" + filepath.ToSlash(filepath.Dir(l.file))}
	cmd := exec.CommandContext(ctx, "go", append(args, l.args...)...) //nolint:gosec // go, over a file of ours
	cmd.Dir = root
	var faults bytes.Buffer
	cmd.Stderr = &faults
	out, err := cmd.Output()
	killer = failed(out)
	if exit := (*exec.ExitError)(nil); err != nil && (killer == "" || !errors.As(err, &exit)) {
		return "", fmt.Errorf("go test: %w: %s%s", err, faults.Bytes(), tail(out))
	}
	return killer, nil
}

// failed returns the test that failed first: the innermost, which ends before
// those around it.
func failed(events []byte) string {
	lines := bufio.NewScanner(bytes.NewReader(events))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct{ Action, Test string }
		if json.Unmarshal(lines.Bytes(), &e) == nil && e.Action == "fail" && e.Test != "" {
			return e.Test
		}
	}
	return ""
}

func tail(out []byte) []byte { return out[max(0, len(out)-2000):] }
