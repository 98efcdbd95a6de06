package arch_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// floorOf returns the floor of a folder and how many rows give it one.
func floorOf(dir string) (floor, rows int) {
	for _, row := range floors {
		for _, room := range row.rooms {
			if match(room, dir) {
				floor = row.floor
				rows++
			}
		}
	}
	return floor, rows
}

// everyRoomHasAFloor: exactly one row for each package.
func everyRoomHasAFloor(h house) []string {
	var faults []string
	for _, dir := range h.dirs() {
		if _, rows := floorOf(dir); rows != 1 {
			faults = append(faults, fmt.Sprintf("%s has %d rows in the table of floors", dir, rows))
		}
	}
	return faults
}

// importsPointDown: code that ships imports lower floors only.
func importsPointDown(h house) []string {
	var faults []string
	h.files(func(f *file) {
		from, _ := floorOf(f.dir)
		for imported := range f.imports() {
			dir, ok := ours(imported)
			if !ok || f.test {
				continue
			}
			if to, rows := floorOf(dir); rows == 1 && to >= from {
				faults = append(faults, fmt.Sprintf("%s (floor %d) imports %s (floor %d)", f.path, from, dir, to))
			}
		}
	})
	return faults
}

// testsStayAtHome: a test may import any room but commands, and of tests/* only
// the helpers.
func testsStayAtHome(h house) []string {
	var faults []string
	h.files(func(f *file) {
		for imported := range f.imports() {
			dir, ok := ours(imported)
			if !ok || !f.test || dir == f.dir {
				continue
			}
			if match("cmd/*", dir) || match("tests/*", dir) && !matchAny(testRooms, dir) {
				faults = append(faults, fmt.Sprintf("%s imports %s", f.path, dir))
			}
		}
	})
	return faults
}

// clientsAreLight: a client takes no part of the broker but its leaves.
func clientsAreLight(h house) []string {
	var faults []string
	h.files(func(f *file) {
		if f.test || !match("clients/**", f.dir) {
			return
		}
		for imported := range f.imports() {
			if dir, ok := ours(imported); ok && !matchAny(clientRooms, dir) {
				faults = append(faults, fmt.Sprintf("%s imports %s", f.path, dir))
			}
		}
	})
	return faults
}

// strangersStayOut: a suite for any server imports nothing of ours, in its tests
// neither.
func strangersStayOut(h house) []string {
	var faults []string
	h.files(func(f *file) {
		if !matchAny(strangers, f.dir) {
			return
		}
		for imported := range f.imports() {
			if dir, ok := ours(imported); ok && dir != f.dir {
				faults = append(faults, fmt.Sprintf("%s imports %s", f.path, dir))
			}
		}
	})
	return faults
}

// outsideByTable: what is not ours and not the standard library has a row, and
// the row names who imports it. A row also names modules by their first part, so
// that a new major version is a new row.
func outsideByTable(h house) []string {
	var faults []string
	h.files(func(f *file) {
		for imported := range f.imports() {
			first, _, _ := strings.Cut(imported, "/")
			if _, own := ours(imported); own || f.test || !strings.Contains(first, ".") {
				continue
			}
			best, allowed := "", false
			for _, row := range outside {
				if (imported == row.path || strings.HasPrefix(imported, row.path+"/")) && len(row.path) > len(best) {
					best, allowed = row.path, matchAny(row.rooms, f.dir)
				}
			}
			if !allowed {
				faults = append(faults, fmt.Sprintf("%s imports %s", f.path, imported))
			}
		}
	})
	return faults
}

func TestImports(t *testing.T) {
	t.Parallel()
	h := load(t, os.DirFS("../.."))
	for name, check := range map[string]func(house) []string{
		"every room has a floor": everyRoomHasAFloor,
		"imports point down":     importsPointDown,
		"tests stay at home":     testsStayAtHome,
		"clients are light":      clientsAreLight,
		"strangers stay out":     strangersStayOut,
		"outside by table":       outsideByTable,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report(t, check(h))
		})
	}
}

// The data is read by the go command as well: what a client pulls in through
// others is not seen in its files.
func TestClientsPullInLittle(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-e", "-json=ImportPath,Deps", "./...")
	cmd.Dir = "../.."
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); d.More(); {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := d.Decode(&p); err != nil {
			t.Fatal(err)
		}
		dir, _ := ours(p.ImportPath)
		if !matchAny([]string{"clients/verify", "clients/exchange", "clients/admin", "broker/oauth", "broker/jws", "broker/dpop"}, dir) {
			continue
		}
		for _, dep := range p.Deps {
			if slices.ContainsFunc(light, func(heavy string) bool { return dep == heavy || strings.HasPrefix(dep, heavy+"/") }) {
				t.Errorf("%s pulls in %s", dir, dep)
			}
		}
	}
}

// report fails with every fault.
func report(t *testing.T, faults []string) {
	t.Helper()
	slices.Sort(faults)
	for _, fault := range slices.Compact(faults) {
		t.Error(fault)
	}
}
