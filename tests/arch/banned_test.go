package arch_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// banned are identifiers of the standard library that code that ships does not
// use outside the wiring: what they read or write comes in as a value instead.
var banned = map[string][]string{
	"time":    {"Now", "Since", "Until", "Sleep"},
	"os":      {"Getenv", "LookupEnv", "Environ"},
	"syscall": {"Getenv", "Environ"},
	// Version 1 takes the last of two equal names and ignores case.
	"encoding/json": {"Unmarshal", "NewDecoder"},
}

// uses calls f for each use of an identifier of an imported package.
func (f *file) uses(call func(importPath, name string, at ast.Node)) {
	names := map[string]string{}
	for importPath, name := range f.imports() {
		names[name] = importPath
	}
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if s, ok := n.(*ast.SelectorExpr); ok {
			if x, ok := s.X.(*ast.Ident); ok && names[x.Name] != "" {
				call(names[x.Name], s.Sel.Name, s)
			}
		}
		return true
	})
}

func isImpure(dir string) bool {
	for _, row := range impure {
		if matchAny(row.rooms, dir) {
			return true
		}
	}
	return false
}

// noClockNoChance: the clock and the environment come in from the wiring; chance
// is crypto/rand, everywhere; nothing happens because a package was imported.
func noClockNoChance(h house) []string {
	var faults []string
	h.files(func(f *file) {
		for imported, name := range f.imports() {
			if imported == "math/rand" || imported == "math/rand/v2" {
				faults = append(faults, f.path+" imports "+imported)
			}
			if name == "." && !f.test {
				faults = append(faults, f.path+" imports "+imported+" into its own names")
			}
		}
		if f.test {
			return
		}
		for _, d := range f.tree.Decls {
			if fn, ok := d.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				faults = append(faults, h.at(fn)+": func init")
			}
		}
		if isImpure(f.dir) || wiring[f.path] != "" {
			return
		}
		f.uses(func(importPath, name string, at ast.Node) {
			if slices.Contains(banned[importPath], name) {
				faults = append(faults, fmt.Sprintf("%s: %s.%s", h.at(at), importPath, name))
			}
		})
	})
	return faults
}

// serverSide is what only a listener needs of net/http.
var serverSide = []string{"Handler", "HandlerFunc", "Handle", "HandleFunc", "Server", "ServeMux", "NewServeMux", "ResponseWriter",
	"ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS", "Error", "Flusher", "Hijacker", "ResponseController"}

// noListeners: the domain, the store, the minters and the keys do not know that
// they are asked over HTTP.
func noListeners(h house) []string {
	var faults []string
	h.files(func(f *file) {
		if f.test || !matchAny(noServer, f.dir) {
			return
		}
		f.uses(func(importPath, name string, at ast.Node) {
			if importPath == "net/http" && slices.Contains(serverSide, name) {
				faults = append(faults, h.at(at)+": http."+name)
			}
		})
	})
	return faults
}

var sqlText = regexp.MustCompile(`^\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+[a-z_]+\s+SET|DELETE\s+FROM\s|CREATE\s+[A-Z]+\s|ALTER\s+[A-Z]+\s|DROP\s+[A-Z]+\s|WITH\s+[a-z_]+\s+AS\s)`)

// sqlAtHome: SQL text stands in the store and nowhere else.
func sqlAtHome(h house) []string {
	var faults []string
	h.files(func(f *file) {
		if f.test || matchAny(sqlRooms, f.dir) {
			return
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
				if text, err := strconv.Unquote(l.Value); err == nil && sqlText.MatchString(text) {
					faults = append(faults, h.at(l)+": SQL outside the store")
				}
			}
			return true
		})
	})
	return faults
}

// testsRun: a test waits for what it waits for, and fails where it cannot run: it
// does not sleep, and it does not skip itself. A property or a fuzz target may
// still skip an input.
func testsRun(h house) []string {
	var faults []string
	h.files(func(f *file) {
		if !f.test {
			return
		}
		f.uses(func(importPath, name string, at ast.Node) {
			if importPath == "time" && name == "Sleep" {
				faults = append(faults, h.at(at)+": time.Sleep")
			}
		})
		for _, d := range f.tree.Decls {
			ast.Walk(skips{func(call ast.Node, name string) { faults = append(faults, h.at(call)+": t."+name) }, ""}, d)
		}
	})
	return faults
}

// skips reports calls of Skip and its kin on test, the *testing.T in scope.
type skips struct {
	report func(call ast.Node, name string)
	test   string
}

// Visit implements ast.Visitor: the parameters of a function change what is in
// scope for its body.
func (v skips) Visit(n ast.Node) ast.Visitor {
	switch n := n.(type) {
	case *ast.FuncDecl:
		v.test = testParameter(n.Type, v.test)
	case *ast.FuncLit:
		v.test = testParameter(n.Type, v.test)
	case *ast.CallExpr:
		s, ok := n.Fun.(*ast.SelectorExpr)
		if !ok {
			return v
		}
		if s.Sel.Name == "Fuzz" {
			return nil
		}
		x, ok := s.X.(*ast.Ident)
		if ok && v.test == x.Name && slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, s.Sel.Name) {
			v.report(n, s.Sel.Name)
		}
	}
	return v
}

// testParameter returns the name of the parameter that is a test, or the one of
// the function around it if no parameter takes its name away.
func testParameter(t *ast.FuncType, outer string) string {
	for _, p := range t.Params.List {
		typ := p.Type
		if star, ok := typ.(*ast.StarExpr); ok {
			typ = star.X
		}
		for _, name := range p.Names {
			if isOf("testing", typ) {
				return name.Name
			}
			if name.Name == outer {
				outer = ""
			}
		}
	}
	return outer
}

func isOf(pkg string, typ ast.Expr) bool {
	s, ok := typ.(*ast.SelectorExpr)
	if !ok {
		return false
	}
	x, ok := s.X.(*ast.Ident)
	return ok && x.Name == pkg
}

var lintException = regexp.MustCompile(`^//nolint:[a-z0-9]+(,[a-z0-9]+)* // \S.*`)

// exceptionsSayWhy: each nolint names its linter and its reason.
func exceptionsSayWhy(h house) []string {
	var faults []string
	h.files(func(f *file) {
		for _, group := range f.tree.Comments {
			for _, c := range group.List {
				if strings.HasPrefix(c.Text, "//nolint") && !lintException.MatchString(c.Text) {
					faults = append(faults, h.at(c)+": nolint without a linter and a reason")
				}
			}
		}
	})
	return faults
}

func TestBanned(t *testing.T) {
	t.Parallel()
	h := load(t, os.DirFS("../.."))
	for name, check := range map[string]func(house) []string{
		"no clock, no chance":   noClockNoChance,
		"no listeners":          noListeners,
		"SQL at home":           sqlAtHome,
		"no package variables":  func(h house) []string { return noPackageVariables(h, tables) },
		"tests run":             testsRun,
		"an exception says why": exceptionsSayWhy,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report(t, check(h))
		})
	}
}
