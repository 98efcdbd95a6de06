package exchange

import (
	"bytes"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// rereadInterval is how often files are looked at, by use.
const rereadInterval = time.Second

// reread is what some files say. They are read again by use, at most once a
// second; while they say nothing that makes sense, because they are being
// replaced for instance, what they said before holds.
type reread[T any] struct {
	paths []string
	parse func(contents [][]byte) (*T, error)
	now   func() time.Time
	value atomic.Pointer[T]

	mu       sync.Mutex // guards what follows, held by the one who reads
	readAt   time.Time
	contents [][]byte
	trouble  error
}

// get returns what the files say, nil with the reason if they never said
// anything. Whoever comes while another reads gets what is known.
func (r *reread[T]) get() (*T, error) {
	value := r.value.Load()
	if value == nil {
		r.mu.Lock()
	} else if !r.mu.TryLock() {
		return value, nil
	}
	defer r.mu.Unlock()
	if now := r.now(); r.readAt.IsZero() || now.Sub(r.readAt) >= rereadInterval {
		r.readAt = now
		r.read()
	}
	if value = r.value.Load(); value == nil {
		return nil, r.trouble
	}
	return value, nil
}

func (r *reread[T]) read() {
	contents := make([][]byte, len(r.paths))
	for i, path := range r.paths {
		var err error
		if contents[i], err = os.ReadFile(path); err != nil { //nolint:gosec // whoever runs the program names the files
			r.trouble = err
			return
		}
	}
	if r.contents != nil && equal(r.contents, contents) {
		return
	}
	value, err := r.parse(contents)
	if r.trouble = err; err == nil {
		r.contents = contents
		r.value.Store(value)
	}
}

func equal(a, b [][]byte) bool {
	for i := range a {
		if !bytes.Equal(a[i], b[i]) {
			return false
		}
	}
	return true
}
