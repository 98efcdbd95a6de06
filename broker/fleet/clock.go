package fleet

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cambist/cambist/broker"
)

// maxOffset is how far our clock may be from the store's.
const maxOffset = time.Second

// reference is one reading of the store's clock: it said now at some moment between
// two readings of the boot clock. From there on the boot clock says what time it
// must be, whatever happens to the date of this machine and whether the store
// answers or not.
type reference struct {
	now      time.Time
	from, to time.Duration
}

// offset returns how far the store's clock is ahead of ours: the least that the
// reading allows, and the middle of what it allows.
func (r reference) offset(wall time.Time, boot time.Duration) (least, middle time.Duration) {
	low := r.now.Add(boot - r.to).Sub(wall)
	high := r.now.Add(boot - r.from).Sub(wall)
	middle = low + (high-low)/2
	switch {
	case low > 0:
		return low, middle
	case high < 0:
		return high, middle
	}
	return 0, middle
}

// trusted reports whether our clock may be as right as the store's. Without a
// reading it is not.
func (r reference) trusted(wall time.Time, boot time.Duration) bool {
	least, _ := r.offset(wall, boot)
	return !r.now.IsZero() && least.Abs() <= maxOffset
}

// guard looks at the clock without asking the store: a step of the date takes the
// lease away, and its return gives it back.
func (f *Follower) guard() {
	if !f.line.confirmed || f.clockError() == nil == f.line.trusted {
		return
	}
	f.publish()
	if err := f.clockError(); err != nil {
		f.complain(err)
	}
}

// clockError returns what is wrong with the clock, nil if nothing is.
func (f *Follower) clockError() error {
	wall, boot := f.config.Now(), f.config.Boot()
	least, middle := f.line.clock.offset(wall, boot)
	f.report(func(s *Status) { s.ClockOffset = middle })
	if f.line.clock.trusted(wall, boot) {
		return nil
	}
	return &problem{string(broker.ReasonClockUntrusted), fmt.Errorf("the store's clock is ahead of this machine's by %v at least", least.Round(time.Millisecond))}
}

// chance returns a span of less than limit, drawn evenly.
func chance(limit time.Duration) time.Duration {
	var raw [8]byte
	_, _ = rand.Read(raw[:])                                                      // it never fails
	return time.Duration(binary.BigEndian.Uint64(raw[:]) % uint64(max(limit, 1))) //nolint:gosec // less than limit
}

// spread returns the span, give or take a fifth.
func spread(span time.Duration) time.Duration { return span - span/5 + chance(2*span/5) }
