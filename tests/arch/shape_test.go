package arch_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"strings"
	"testing"
)

// The budgets. What outgrows one is two things.
const (
	maxFileLines     = 300
	maxTestFileLines = 600
	maxFunctionLines = 60
	maxParameters    = 4 // with the context
	maxMethods       = 5 // of an interface, embedded ones not counted
	maxNames         = 30
	maxDepth         = 3
)

// sizes: files, functions, parameters, interfaces. Functions of tests may be as
// long as their tables, and a variadic parameter is the tail of the one before.
func sizes(h house, over map[string]int) []string {
	var faults []string
	needed := map[string]bool{}
	add := func(n ast.Node, what, key string, has, limit int) {
		if has <= limit {
			return
		}
		if needed[key] = true; has > over[key] {
			faults = append(faults, fmt.Sprintf("%s: %s of %s: %d, at most %d", h.at(n), what, key, has, max(limit, over[key])))
		}
	}
	h.files(func(f *file) {
		limit := maxFileLines
		if f.test || matchAny(helpers, f.dir) {
			limit = maxTestFileLines
		}
		add(f.tree.Name, "lines", f.path, f.lines, limit)
		ast.Inspect(f.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if !f.test {
					add(n, "lines", f.dir+"."+n.Name.Name, h.set.Position(n.End()).Line-h.set.Position(n.Pos()).Line+1, maxFunctionLines)
					add(n, "parameters", f.dir+"."+n.Name.Name, parameters(n.Type), maxParameters)
				}
			case *ast.InterfaceType:
				methods := 0
				for _, m := range n.Methods.List {
					methods += len(m.Names)
					if fn, ok := m.Type.(*ast.FuncType); ok {
						add(m, "parameters", f.dir+"."+m.Names[0].Name, parameters(fn), maxParameters)
					}
				}
				add(n, "methods", f.dir+" interface", methods, maxMethods)
			}
			return true
		})
	})
	for key := range over {
		if !needed[key] {
			faults = append(faults, key+" is within its budget: take it off the list")
		}
	}
	return faults
}

func parameters(t *ast.FuncType) int {
	count := t.Params.NumFields()
	if count > 0 {
		if _, ok := t.Params.List[len(t.Params.List)-1].Type.(*ast.Ellipsis); ok {
			count--
		}
	}
	return count
}

// depth: at most three folders down.
func depth(h house) []string {
	var faults []string
	for _, dir := range h.dirs() {
		if deep := strings.Count(dir, "/") + 1; deep > maxDepth {
			faults = append(faults, fmt.Sprintf("%s is %d folders deep, at most %d", dir, deep, maxDepth))
		}
	}
	return faults
}

// names counts what a package exports: functions, types, variables, and constants
// that have no type of the package (a type and its constants are one; methods
// belong to their type).
func names(h house, many map[string]string) []string {
	var faults []string
	for _, dir := range h.dirs() {
		own, count := map[string]bool{}, 0
		exports := h.packages[dir].exports()
		for _, e := range exports {
			own[e.name] = own[e.name] || e.kind == token.TYPE
		}
		for _, e := range exports {
			if !e.method && !(e.kind == token.CONST && own[e.of]) {
				count++
			}
		}
		if count > maxNames && many[dir] == "" {
			faults = append(faults, fmt.Sprintf("%s exports %d names, at most %d", dir, count, maxNames))
		}
	}
	return faults
}

// documented: each package says what it is, each exported name what it promises.
// A group of constants or variables may have one comment for all.
func documented(h house) []string {
	var faults []string
	for _, dir := range h.dirs() {
		p, code, doc := h.packages[dir], false, false
		for _, f := range p.files {
			code = code || !f.test
			doc = doc || !f.test && f.tree.Doc != nil
		}
		if code && !doc {
			faults = append(faults, dir+" has no package comment")
		}
		for _, e := range p.exports() {
			if !e.documented {
				faults = append(faults, h.at(e.at)+": "+e.name+" has no comment")
			}
		}
	}
	return faults
}

// export is an exported name of a package.
type export struct {
	kind       token.Token // CONST, TYPE, VAR or FUNC
	name       string
	of         string // the type of a constant or the receiver of a method
	method     bool
	documented bool
	at         ast.Node
}

// exports lists what a package exports: nothing, if it is a command.
func (p *pkg) exports() []export {
	var found []export
	for _, f := range p.files {
		if f.test || f.tree.Name.Name == "main" {
			continue
		}
		for _, d := range f.tree.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				e := export{kind: token.FUNC, name: d.Name.Name, documented: d.Doc != nil, at: d}
				if d.Recv != nil && len(d.Recv.List) == 1 {
					e.method, e.of = true, receiver(d.Recv.List[0].Type)
				}
				if ast.IsExported(e.name) && (!e.method || ast.IsExported(e.of)) {
					found = append(found, e)
				}
			case *ast.GenDecl:
				found = append(found, declared(d)...)
			}
		}
	}
	return found
}

func declared(d *ast.GenDecl) []export {
	var found []export
	of := "" // a constant without type and value repeats those of the one above
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			if s.Name.IsExported() {
				found = append(found, export{kind: token.TYPE, name: s.Name.Name, documented: s.Doc != nil || !d.Lparen.IsValid() && d.Doc != nil, at: s})
			}
		case *ast.ValueSpec:
			if s.Type != nil || len(s.Values) > 0 {
				of = ""
				if id, ok := s.Type.(*ast.Ident); ok {
					of = id.Name
				}
			}
			for _, name := range s.Names {
				if name.IsExported() {
					found = append(found, export{kind: d.Tok, name: name.Name, of: of, documented: d.Doc != nil || s.Doc != nil || s.Comment != nil, at: s})
				}
			}
		}
	}
	return found
}

// receiver returns the name of the type that a method belongs to.
func receiver(e ast.Expr) string {
	switch x := e.(type) {
	case *ast.StarExpr:
		return receiver(x.X)
	case *ast.IndexExpr:
		return receiver(x.X)
	case *ast.IndexListExpr:
		return receiver(x.X)
	case *ast.Ident:
		return x.Name
	}
	return ""
}

func TestShape(t *testing.T) {
	t.Parallel()
	h := load(t, os.DirFS("../.."))
	for name, check := range map[string]func(house) []string{
		"sizes":      func(h house) []string { return sizes(h, over) },
		"depth":      depth,
		"names":      func(h house) []string { return names(h, manyNames) },
		"documented": documented,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report(t, check(h))
		})
	}
}
