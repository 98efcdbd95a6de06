package exchange

import (
	"crypto/rand"
	"encoding/binary"
	"time"
)

const (
	minBackoff = time.Second
	maxBackoff = time.Minute
	// maxRetryAfter bounds what is believed of a Retry-After.
	maxRetryAfter = 5 * time.Minute
)

// uniform returns a random duration from the half-open interval.
func uniform(from, to time.Duration) time.Duration {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return from + time.Duration(float64(binary.BigEndian.Uint64(b[:])>>11)/(1<<53)*float64(to-from))
}

// backoff says when to ask again after a failure: exponential, with full jitter,
// so that a thousand clients that failed together do not come back together. The
// zero value lets everything through.
type backoff struct {
	failures int
	failedAt time.Time
	next     time.Time // for who can wait
	urgent   time.Time // for whom something has run out since it failed
}

// fail counts a failure. One of a request that began before the last failure is
// of the same outage and counts no second time.
func (b *backoff) fail(began, now time.Time, retryAfter time.Duration) {
	if b.failures > 0 && !began.After(b.failedAt) {
		return
	}
	ceiling := maxBackoff
	if b.failures < 6 {
		ceiling = minBackoff << b.failures
	}
	b.failures++
	b.failedAt = now
	b.next = now.Add(retryAfter + uniform(0, ceiling))
	b.urgent = now.Add(retryAfter + uniform(0, minBackoff))
}

// at returns when to ask again. ranOut is when something last ran out for who
// asks: the time to renew ahead, the token itself. What ran out after the failure
// does not wait for the whole back-off; a Retry-After holds for all.
func (b *backoff) at(ranOut time.Time) time.Time {
	if b.failures > 0 && ranOut.After(b.failedAt) && b.urgent.Before(b.next) {
		return b.urgent
	}
	return b.next
}
