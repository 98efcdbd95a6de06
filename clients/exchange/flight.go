package exchange

import (
	"context"
	"errors"
	"net/http"
	"time"
)

const (
	// flightTimeout bounds one attempt: some pages of /oauth2/self and the token.
	flightTimeout = 10 * time.Second
	// A refusal is the answer for a random time of these; then the broker is asked
	// again, because policy may have changed.
	minRefusal, maxRefusal = time.Second, 5 * time.Second
	// rejectInterval is how often a resource may turn the tokens of one target away
	// and get a new one for it.
	rejectInterval = 5 * time.Second
)

// flight is one attempt to get a token, shared by all who want it. It is nobody's
// in particular: no caller that goes away ends it.
type flight struct {
	began time.Time
	wire  *wire
	done  chan struct{}
	token *issued // when done: the token, or nil
	err   *Error
}

func (f *flight) landed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

// start begins a flight. While the broker is known to be away it is the one that
// tries, for all. mu is held.
func (c *Client) start(e *entry, r request, w *wire, now time.Time) {
	f := &flight{began: now, wire: w, done: make(chan struct{})}
	e.flight = f
	if c.gate.failures > 0 {
		c.probe = f
	}
	c.work.Go(func() {
		ctx, cancel := context.WithTimeout(c.ctx, flightTimeout)
		defer cancel()
		token, err := c.fetch(ctx, w, r)
		c.land(e, f, token, err)
	})
}

// land takes the outcome of a flight in.
func (c *Client) land(e *entry, f *flight, token *issued, err error) {
	c.mu.Lock()
	now := c.now()
	e.flight = nil
	if c.probe == f {
		c.probe = nil
	}
	had := e.usable(now) != nil
	if err == nil {
		e.token, e.rejected = token, false
		e.forgive()
		c.reached()
		f.token = token
	} else {
		f.err = asError(err).about(e.key.resource)
		c.failed(e, f, now)
	}
	c.mu.Unlock()
	close(f.done)
	if f.err != nil && c.ctx.Err() == nil {
		c.log.Warn("cambist: no new token", "resource", e.key.resource, "as", e.key.as.String(), "old_token_good", had, "error", f.err)
	}
}

// failed counts a failure where it belongs: a broker that cannot be reached, or
// that says that this workload asks too much, is left alone by every request of
// this client; any other answer concerns the one request. mu is held.
func (c *Client) failed(e *entry, f *flight, now time.Time) {
	e.lastErr = f.err
	if f.err.final {
		e.refusal, e.refused, e.refusedTo = f.err, f.wire, now.Add(uniform(minRefusal, maxRefusal))
	}
	switch away := errors.Is(f.err, ErrUnavailable) && (f.err.Status == 0 || f.err.Status == http.StatusTooManyRequests); {
	case away:
	case f.err.Status != 0:
		c.reached()
		e.back.fail(f.began, now, f.err.RetryAfter)
		return
	default: // found here, without asking the broker
		e.back.fail(f.began, now, 0)
		return
	}
	if c.opened == nil {
		c.opened = make(chan struct{})
	}
	c.gate.fail(f.began, now, f.err.RetryAfter)
	c.gateErr = f.err
}

// reached notes that the broker answered, and wakes who waited for that. mu is
// held.
func (c *Client) reached() {
	c.gate, c.gateErr, c.probe = backoff{}, nil, nil
	if c.opened != nil {
		close(c.opened)
		c.opened = nil
	}
}

// reject marks a token that a resource turned away, so that it is renewed. It
// reports whether a new one is to be had: not again and again, as a resource that
// turns everything away would make us ask the broker at every call.
func (c *Client) reject(k key, t *issued) bool {
	marked, another := c.mark(k, t)
	if marked {
		c.log.Warn("cambist: a resource turned a token away", "resource", k.resource, "as", k.as.String())
	}
	return another
}

func (c *Client) mark(k key, t *issued) (marked, another bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	e := c.cache.entry(k, now)
	switch {
	case e.token != t || e.rejected: // it is gone already, or marked by another caller
		return false, true
	case !e.rejectedAt.IsZero() && now.Sub(e.rejectedAt) < rejectInterval:
		return false, false
	}
	e.rejected, e.rejectedAt = true, now
	return true, true
}
