package exchange

import (
	"bytes"
	"log/slog"
	"os"
	"slices"
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
	log   *slog.Logger
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
	contents, err := r.contentsNow()
	if err == nil && r.contents != nil && slices.EqualFunc(r.contents, contents, bytes.Equal) {
		r.trouble = nil
		return
	}
	var value *T
	if err == nil {
		value, err = r.parse(contents)
	}
	if err == nil {
		r.contents = contents
		r.value.Store(value)
	} else if r.contents != nil && (r.trouble == nil || r.trouble.Error() != err.Error()) {
		r.log.Warn("cambist: what the files said before holds", "error", err)
	}
	r.trouble = err
}

func (r *reread[T]) contentsNow() ([][]byte, error) {
	contents := make([][]byte, len(r.paths))
	for i, path := range r.paths {
		var err error
		if contents[i], err = os.ReadFile(path); err != nil { //nolint:gosec // whoever runs the program names the files
			return nil, err
		}
	}
	return contents, nil
}
