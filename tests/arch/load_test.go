package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/cambist/cambist"

// house is the source of the module, all build tags together.
type house struct {
	set      *token.FileSet
	packages map[string]*pkg // by folder, relative to the root of the module
}

type pkg struct {
	dir   string
	files []*file
}

type file struct {
	path  string
	dir   string
	test  bool
	lines int
	tree  *ast.File
}

// load reads every Go file under fsys. Folders that the go command leaves out are
// left out here, and so are generated files: nobody edits them.
func load(t *testing.T, fsys fs.FS) house {
	t.Helper()
	h := house{set: token.NewFileSet(), packages: map[string]*pkg{}}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			base := d.Name()
			skip := base == "testdata" || base == "vendor" || base == "node_modules" || name == "zz" ||
				name != "." && strings.ContainsAny(base[:1], "._")
			if skip {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		tree, err := parser.ParseFile(h.set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		if ast.IsGenerated(tree) {
			return nil
		}
		dir := path.Dir(name)
		if h.packages[dir] == nil {
			h.packages[dir] = &pkg{dir: dir}
		}
		h.packages[dir].files = append(h.packages[dir].files, &file{
			path: name, dir: dir, test: strings.HasSuffix(name, "_test.go"),
			lines: strings.Count(string(text), "\n"), tree: tree,
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// dirs returns the folders in order.
func (h house) dirs() []string { return slices.Sorted(maps.Keys(h.packages)) }

// files calls f for every file, in order.
func (h house) files(f func(*file)) {
	for _, dir := range h.dirs() {
		for _, file := range h.packages[dir].files {
			f(file)
		}
	}
}

// at says where a node stands.
func (h house) at(n ast.Node) string {
	p := h.set.Position(n.Pos())
	return p.Filename + ":" + strconv.Itoa(p.Line)
}

// imports returns what a file imports: the path, and the name that it goes by in
// the file.
func (f *file) imports() map[string]string {
	found := map[string]string{}
	for _, s := range f.tree.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			continue // the parser has seen it
		}
		found[p] = lastName(p)
		if s.Name != nil {
			found[p] = s.Name.Name
		}
	}
	return found
}

// lastName guesses the name of a package from its path: for the standard library,
// which is all that it is asked for, the guess is right.
func lastName(p string) string {
	base := path.Base(p)
	if len(base) > 1 && base[0] == 'v' && strings.Trim(base[1:], "0123456789") == "" {
		base = path.Base(path.Dir(p))
	}
	return base
}

// ours returns the folder of a package of this module.
func ours(importPath string) (string, bool) {
	return strings.CutPrefix(importPath, module+"/")
}

// match reports whether a folder fits a pattern: path.Match by segment, and a
// final /** for the folder itself and all below it.
func match(pattern, dir string) bool {
	if above, ok := strings.CutSuffix(pattern, "/**"); ok {
		return dir == above || strings.HasPrefix(dir, above+"/")
	}
	ok, err := path.Match(pattern, dir)
	return err == nil && ok
}

func matchAny(patterns []string, dir string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return match(p, dir) })
}
