package sqlite_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/cambist/cambist/store/sqlite"
)

// A child that was forked while the store was open, and has not come to its exec
// yet, has the file of the lock open too. Close gives the lock up all the same.
func TestCloseGivesUpTheLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "x.db")
	first, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	inherited := -1
	for fd := range 1024 {
		if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd)); err == nil && name == path+".lock" {
			if inherited, err = unix.Dup(fd); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	if inherited < 0 {
		t.Fatal("the lock is not open")
	}
	defer func() { _ = unix.Close(inherited) }()
	if second, err := sqlite.Open(t.Context(), sqlite.Config{Path: path}); err == nil {
		_ = second.Close()
		t.Fatal("two have it at once")
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := sqlite.Open(t.Context(), sqlite.Config{Path: path})
	if err != nil {
		t.Fatalf("it was closed: %v", err)
	}
	if err := again.Close(); err != nil {
		t.Error(err)
	}
}
