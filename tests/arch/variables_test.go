package arch_test

import (
	"go/ast"
	"go/token"
	"strings"
)

// noPackageVariables: state belongs to values that somebody made. A package
// variable is let be if it is an error, an interface check, embedded files, or an
// unexported table that nothing in its package writes to.
func noPackageVariables(h house, tables map[string]string) []string {
	var faults []string
	found := map[string]bool{}
	for _, dir := range h.dirs() {
		if isImpure(dir) {
			continue
		}
		written := h.packages[dir].written()
		for _, f := range h.packages[dir].files {
			if f.test {
				continue
			}
			f.variables(func(d *ast.GenDecl, s *ast.ValueSpec, i int) {
				name := s.Names[i].Name
				found[dir+"."+name] = true
				if name == "_" || isEmbedded(d, s) || tables[dir+"."+name] != "" {
					return
				}
				var value ast.Expr
				if len(s.Values) == len(s.Names) {
					value = s.Values[i]
				}
				fixed := isError(name, value) || isTable(value) && !ast.IsExported(name)
				if !fixed || written[name] {
					faults = append(faults, h.at(s)+": package variable "+name)
				}
			})
		}
	}
	for name := range tables {
		if !found[name] {
			faults = append(faults, "there is no "+name+" any more: take it off the list")
		}
	}
	return faults
}

// variables calls f for each variable of the package that a file declares.
func (f *file) variables(call func(d *ast.GenDecl, s *ast.ValueSpec, i int)) {
	for _, d := range f.tree.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.VAR {
			continue
		}
		for _, spec := range g.Specs {
			s, ok := spec.(*ast.ValueSpec)
			if !ok {
				continue
			}
			for i := range s.Names {
				call(g, s, i)
			}
		}
	}
}

// isEmbedded reports a go:embed above the variable.
func isEmbedded(d *ast.GenDecl, s *ast.ValueSpec) bool {
	for _, doc := range []*ast.CommentGroup{d.Doc, s.Doc} {
		if doc == nil {
			continue
		}
		for _, c := range doc.List {
			if strings.HasPrefix(c.Text, "//go:embed ") {
				return true
			}
		}
	}
	return false
}

// isError reports errors.New, fmt.Errorf or a pointer to a literal, under a name
// that says error.
func isError(name string, value ast.Expr) bool {
	if !strings.HasPrefix(name, "Err") && !strings.HasPrefix(name, "err") {
		return false
	}
	switch v := value.(type) {
	case *ast.CallExpr:
		s, ok := v.Fun.(*ast.SelectorExpr)
		return ok && (s.Sel.Name == "New" || s.Sel.Name == "Errorf")
	case *ast.UnaryExpr:
		_, ok := v.X.(*ast.CompositeLit)
		return ok && v.Op == token.AND
	}
	return false
}

// isTable reports a literal of an array, a slice, a map or a function.
func isTable(value ast.Expr) bool {
	switch v := value.(type) {
	case *ast.FuncLit:
		return true
	case *ast.CompositeLit:
		switch v.Type.(type) {
		case *ast.ArrayType, *ast.MapType:
			return true
		}
	}
	return false
}

// written returns the names that the code of a package assigns to, takes the
// address of or hands to a builtin that writes. A local variable of the same name
// counts as well: better a false alarm than a silent write.
func (p *pkg) written() map[string]bool {
	found := map[string]bool{}
	mark := func(e ast.Expr) {
		if name := root(e); name != "" {
			found[name] = true
		}
	}
	for _, f := range p.files {
		if f.test {
			continue
		}
		ast.Inspect(f.tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.AssignStmt:
				if n.Tok != token.DEFINE {
					for _, e := range n.Lhs {
						mark(e)
					}
				}
			case *ast.IncDecStmt:
				mark(n.X)
			case *ast.UnaryExpr:
				if n.Op == token.AND {
					mark(n.X)
				}
			case *ast.RangeStmt:
				if n.Tok == token.ASSIGN {
					mark(n.Key)
					mark(n.Value)
				}
			case *ast.CallExpr:
				if fn, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (fn.Name == "delete" || fn.Name == "clear" || fn.Name == "copy") {
					mark(n.Args[0])
				}
			}
			return true
		})
	}
	return found
}

// root returns the name that an expression starts with.
func root(e ast.Expr) string {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x.Name
		case *ast.IndexExpr:
			e = x.X
		case *ast.SelectorExpr:
			e = x.X
		case *ast.SliceExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		default:
			return ""
		}
	}
}
