package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// prefix starts the name of a server's folder. The folder stands in /tmp, not
// under the test's own: the path of a Unix socket has 107 bytes.
const prefix = "cambist-pg"

// oldest is the oldest major version of PostgreSQL that we support.
const oldest = 15

// own takes the server's folder: for the user that the server runs as, and, by a
// lock that the kernel drops when this process ends however it ends, for this
// process.
func (s *Server) own() error {
	// Under its name only when it is locked: an unlocked one says that its owner
	// is gone.
	path := filepath.Join(s.dir, "owner")
	f, err := os.OpenFile(path+".new", os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // our own folder
	if err != nil {
		return err
	}
	s.owned = f
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil
	}
	// initdb and postgres refuse root.
	if s.cred, err = unprivileged(); err != nil {
		return err
	}
	return os.Chown(s.dir, int(s.cred.Uid), int(s.cred.Gid))
}

// sweep removes the folders of processes that were killed before they could. Their
// servers died with them.
func sweep() {
	dirs, err := filepath.Glob("/tmp/" + prefix + "*")
	if err != nil {
		return
	}
	for _, dir := range dirs {
		f, err := os.OpenFile(filepath.Join(dir, "owner"), os.O_RDWR|syscall.O_NOFOLLOW, 0) //nolint:gosec // a folder of ours, or of another user whom we cannot harm
		if err != nil {
			continue
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			// The mark of the owner goes last: if anything stays, the next one tries again.
			if os.RemoveAll(filepath.Join(dir, "data")) == nil {
				_ = os.RemoveAll(dir)
			}
		}
		_ = f.Close()
	}
}

// unprivileged returns whom the server runs as when the tests run as root.
func unprivileged() (*syscall.Credential, error) {
	u, err := user.Lookup("nobody")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// binaries finds the folder of the newest installed server.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, path)
	}
	if out, err := exec.Command("pg_config", "--bindir").Output(); err == nil { //nolint:noctx // answers at once
		found = append(found, filepath.Join(strings.TrimSpace(string(out)), "postgres"))
	}
	best, dir := 0, ""
	for _, path := range found {
		if v := major(path); v > best {
			best, dir = v, filepath.Dir(path)
		}
	}
	if dir == "" {
		return "", errors.New("no PostgreSQL server is installed")
	}
	if best < oldest {
		return "", fmt.Errorf("PostgreSQL %d in %s is older than %d", best, dir, oldest)
	}
	return dir, nil
}

var versionText = regexp.MustCompile(`\(PostgreSQL\) (\d+)`)

// major asks a server program for its version; 0 if it does not say.
func major(path string) int {
	out, err := exec.Command(path, "--version").Output() //nolint:noctx // an installed server; answers at once
	if err != nil {
		return 0
	}
	m := versionText.FindSubmatch(out)
	if m == nil {
		return 0
	}
	v, err := strconv.Atoi(string(m[1]))
	if err != nil {
		return 0
	}
	return v
}
