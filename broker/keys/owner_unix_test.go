//go:build unix

package keys_test

import (
	"io/fs"
	"syscall"
	"testing"

	"github.com/cambist/cambist/broker/keys"
)

// secret is the state of a file, as the system tells it.
type secret struct {
	fs.FileInfo
	mode  fs.FileMode
	owner uint32
}

func (s secret) Mode() fs.FileMode { return s.mode }
func (s secret) Sys() any          { return &syscall.Stat_t{Uid: s.owner} }

// A secret is for its owner; what root owns its group may read, and no more.
func TestCheckSecret(t *testing.T) {
	t.Parallel()
	for mode, want := range map[fs.FileMode]struct{ root, user bool }{
		0o400: {true, true}, 0o600: {true, true}, 0o700: {true, true},
		0o440: {true, false}, 0o640: {true, false},
		0o620: {false, false}, 0o610: {false, false}, 0o660: {false, false}, 0o604: {false, false}, 0o602: {false, false}, 0o601: {false, false}, 0o777: {false, false},
	} {
		for owner, ok := range map[uint32]bool{0: want.root, 65532: want.user} {
			if err := keys.CheckSecret(secret{mode: mode, owner: owner}); (err == nil) != ok {
				t.Errorf("%o of %d: %v", mode, owner, err)
			}
		}
	}
}
