package workload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"golang.org/x/sys/unix"
)

const (
	// maxPath is the longest path of a socket in bytes: 107 on Linux, 103 on the
	// BSDs and macOS.
	maxPath = 103

	lockName = "development-only.lock"
	newName  = ".new" // a socket that is not ready yet

	hashBytes = 6
	suffix    = ".sock"
	minName   = 2*hashBytes + len(suffix)
)

// takeDir makes the folder, locks it, and removes what is left of sockets of an
// earlier process. The lock goes with the process, however it ends.
func takeDir(name string) (dir string, lock *os.File, err error) {
	dir, err = filepath.Abs(name)
	if err != nil {
		return "", nil, err
	}
	if over := len(dir) + 1 + minName - maxPath; over > 0 {
		return "", nil, fmt.Errorf("the path of %s is %d bytes too long for sockets in it", dir, over)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return "", nil, err
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", nil, fmt.Errorf("%s may be entered by others (chmod 700 %s)", dir, dir)
	}
	lock, err = os.OpenFile(filepath.Join(dir, lockName), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // the developer names the folder
	if err != nil {
		return "", nil, err
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return "", nil, errors.Join(fmt.Errorf("%s is in use by another Workload API that lives", dir), lock.Close())
	}
	if err := sweep(dir); err != nil {
		return "", nil, errors.Join(err, lock.Close())
	}
	return dir, lock, nil
}

// sweep removes sockets with names as ours: with the lock held nobody serves them.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Type() == fs.ModeSocket && (isSocketName(entry.Name()) || entry.Name() == newName) {
			if err := os.Remove(filepath.Join(dir, entry.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// socketName returns the name of a workload's socket, in at most room bytes: the
// same each time, another for each workload, and as much of it for people as
// there is room for.
func socketName(id spiffeid.ID, room int) string {
	sum := sha256.Sum256([]byte(id.String()))
	short := hex.EncodeToString(sum[:hashBytes]) + suffix
	label := strings.NewReplacer("/ns/", "/", "/sa/", "/").Replace(id.Path())
	label = strings.ReplaceAll(strings.TrimPrefix(label, "/"), "/", ".")
	if n := min(len(label), room-len(short)-1); n > 0 {
		return label[:n] + "-" + short
	}
	return short
}

// isSocketName reports whether socketName may have made the name.
func isSocketName(name string) bool {
	name, ok := strings.CutSuffix(name, suffix)
	start := len(name) - 2*hashBytes
	if !ok || start < 0 {
		return false
	}
	_, err := hex.DecodeString(name[start:])
	return err == nil && (start == 0 || name[start-1] == '-')
}

// listen opens a socket for its owner alone. It gets its name when it is ready, so
// that nobody finds it before; it takes no name that is taken.
func listen(path string) (net.Listener, error) {
	temporary := filepath.Join(filepath.Dir(path), newName)
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", temporary)
	if err != nil {
		return nil, err
	}
	if u, ok := l.(*net.UnixListener); ok {
		u.SetUnlinkOnClose(false) // it would look for the name that it had first
	}
	if err := os.Chmod(temporary, 0o600); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(temporary))
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("%s is there already", path), err, l.Close(), os.Remove(temporary))
	}
	if err := os.Rename(temporary, path); err != nil {
		return nil, errors.Join(err, l.Close(), os.Remove(temporary))
	}
	return l, nil
}

// unlink removes a socket, if nobody else has done so.
func unlink(path string) error {
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
