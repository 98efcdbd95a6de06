package workload_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/devkit/workload"
)

// Only its owner can open a socket, twice over.
func TestPermissions(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	path := w.add(t, web)
	for name, want := range map[string]os.FileMode{
		path: os.ModeSocket | 0o600, w.dir: os.ModeDir | 0o700, filepath.Join(w.dir, "development-only.lock"): 0o600,
	} {
		info, err := os.Lstat(name)
		must(t, err)
		if info.Mode() != want {
			t.Errorf("%s: %v, want %v", name, info.Mode(), want)
		}
	}
	wantFiles(t, w.dir, path)
}

// A folder that others may enter is not made safe in passing: it may be /tmp.
func TestFolderOfOthers(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o755, 0o710, 0o701, 0o777} {
		dir := shortDir(t)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.Chmod(dir, mode))
		if _, err := workload.New(workload.Config{CA: newCA(t, time.Now), Dir: dir, Now: time.Now}); err == nil || !strings.Contains(err.Error(), "chmod 700") {
			t.Errorf("%o: %v", mode, err)
		}
	}
	file := filepath.Join(t.TempDir(), "f")
	must(t, os.WriteFile(file, nil, 0o600))
	if _, err := workload.New(workload.Config{CA: newCA(t, time.Now), Dir: file, Now: time.Now}); err == nil {
		t.Error("a file is no folder")
	}
}

// Only what can be ours is removed, and only what is free is taken.
func TestNothingElseIsTouched(t *testing.T) {
	t.Parallel()
	dir := shortDir(t)
	must(t, os.Mkdir(dir, 0o700))
	first := start(t, workload.Config{Dir: dir})
	path := first.add(t, web)
	first.stop()

	others := []string{"agent.sock", "ab.sock", "shop.web-0123456789ab.txt", "shop.web0123456789ab.sock", "shop.web-0123456789ag.sock"}
	for _, name := range others {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		must(t, err)
		defer l.Close()
	}
	must(t, os.WriteFile(path, []byte("precious"), 0o600))
	stale, err := net.Listen("unix", filepath.Join(dir, "0123456789ab.sock"))
	must(t, err)
	unready, err := net.Listen("unix", filepath.Join(dir, ".new"))
	must(t, err)
	for _, l := range []net.Listener{stale, unready} {
		l.(*net.UnixListener).SetUnlinkOnClose(false)
		must(t, l.Close())
	}

	second := start(t, workload.Config{Dir: dir})
	if _, err := second.Add(web); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a file was taken: %v", err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" { //nolint:gosec // a file of this test
		t.Errorf("%q, %v", text, err)
	}
	last := second.add(t, orders)
	var want []string
	for _, name := range append(others, filepath.Base(path), filepath.Base(last)) {
		want = append(want, filepath.Join(dir, name))
	}
	slices.Sort(want)
	wantFiles(t, dir, want...)
}

// A socket that is closed takes no other name with it, not even the one that it had
// first.
func TestCloseTouchesNothing(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	w.add(t, web)
	next := filepath.Join(w.dir, ".new")
	must(t, os.WriteFile(next, nil, 0o600))
	must(t, w.Remove(web))
	if _, err := os.Lstat(next); err != nil {
		t.Errorf("another's is gone: %v", err)
	}
}

// However long a folder's path is, a socket in it can be opened, or there is none.
func TestLongFolder(t *testing.T) {
	t.Parallel()
	base := shortDir(t)
	for length, fits := range map[int]bool{60: true, 70: true, 80: true, 84: true, 85: true, 86: false, 120: false} {
		dir := base + strings.Repeat("d", length-len(base))
		s, err := workload.New(workload.Config{CA: newCA(t, time.Now), Dir: dir, Now: time.Now})
		if (err == nil) != fits || err != nil && !strings.Contains(err.Error(), "bytes too long") {
			t.Errorf("%d bytes: %v", length, err)
		}
		if err != nil {
			continue
		}
		stop := run(t, s)
		for _, id := range []spiffeid.ID{web, spiffeid.RequireFromPath(domain, "/"+strings.Repeat("a", 200))} {
			path, err := s.Add(id)
			must(t, err)
			if len(path) > 103 || len(path) < 86 && id != web {
				t.Errorf("%d bytes: %d for %s", length, len(path), path)
			}
			if shown(t, path) == "" {
				t.Errorf("%s does not answer", path)
			}
		}
		stop()
	}
}

// A relative folder has absolute paths: a client may stand elsewhere.
func TestRelativeFolder(t *testing.T) {
	base, err := os.MkdirTemp("", "w")
	must(t, err)
	defer os.RemoveAll(base)
	t.Chdir(base)
	w := start(t, workload.Config{Dir: "sockets"})
	if path := w.add(t, web); !filepath.IsAbs(path) || shown(t, path) == "" {
		t.Errorf("%s", path)
	}
	w.stop()
}

// People see whose socket it is.
func TestSocketNames(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	for id, want := range map[string]string{
		web.String():                               "shop.web-",
		"spiffe://dev.cambist.invalid/a":           "a-",
		"spiffe://dev.cambist.invalid/a/b.c":       "a.b.c-",
		"spiffe://dev.cambist.invalid/ns/a/sa/b/c": "a.b.c-",
		"spiffe://dev.cambist.invalid/ns/a.b/sa/c": "a.b.c-",
		"spiffe://dev.cambist.invalid/ns/a/sa/b.c": "a.b.c-",
		"spiffe://dev.cambist.invalid/.hidden":     ".hidden-",
		"spiffe://dev.cambist.invalid/x/ns/a/sa/b": "x.a.b-",
	} {
		path := w.add(t, spiffeid.RequireFromString(id))
		if name := filepath.Base(path); !strings.HasPrefix(name, want) || len(name) != len(want)+17 {
			t.Errorf("%s: %s", id, name)
		}
	}
	if n := len(w.Sockets()); n != 8 {
		t.Errorf("%d sockets for 8 workloads", n)
	}
}

// Each workload has a socket of its own, the same whenever it is added.
func TestNamesAreTheirOwn(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	segment := rapid.StringMatching(`[ab.]{1,3}`).Filter(func(s string) bool { return s != "." && s != ".." })
	rapid.Check(t, func(t *rapid.T) {
		a := spiffeid.RequireFromSegments(domain, rapid.SliceOfN(segment, 1, 4).Draw(t, "a")...)
		b := spiffeid.RequireFromSegments(domain, rapid.SliceOfN(segment, 1, 4).Draw(t, "b")...)
		pathA, err := w.Add(a)
		if err != nil {
			t.Fatal(err)
		}
		pathB, err := w.Add(b)
		if err != nil {
			t.Fatal(err)
		}
		if (pathA == pathB) != (a == b) {
			t.Fatalf("%s: %s, %s: %s", a, pathA, b, pathB)
		}
		if w.Remove(a) != nil || a != b && w.Remove(b) != nil {
			t.Fatal("not removed")
		}
		if again, err := w.Add(a); err != nil || again != pathA || w.Remove(a) != nil {
			t.Fatalf("%s, then %s: %v", pathA, again, err)
		}
	})
}
