package exchange

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxWait is how long a caller without a deadline waits for a broker that does
	// not answer.
	maxWait = 30 * time.Second
	// patience is how long a renewal is waited for by who has a token that is still
	// good.
	patience = time.Second
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
	done  chan struct{}
	token *issued // when done: the token, or nil
	err   *Error
}

// outcome is what a caller gets now: a token, an error, or something to wait for.
type outcome struct {
	token  *issued
	err    *Error
	flight *flight         // of this target
	done   <-chan struct{} // wait for this, at most until then
	until  time.Time
	idle   bool // nobody asks before then
}

// get returns a token that is good now. It returns at once if there is one,
// renewing it in the background if that is due; else it waits for the broker, as
// long as the context lets it and at most maxWait.
func (c *Client) get(ctx context.Context, r request) (*issued, error) {
	now := c.now()
	limit := now.Add(maxWait)
	var last *Error
	for {
		w, noSVID := c.wires.get(now)
		o := c.look(r, now, w, noSVID)
		if o.token != nil {
			return o.token, nil
		}
		if o.err != nil {
			last = o.err
			if o.err.final || r.not != nil || o.idle && (o.until.After(limit) || before(ctx, o.until)) {
				return nil, o.err.about(r.resource)
			}
		}
		o.until = earlier(o.until, limit)
		if err := c.wait(ctx, o); err != nil {
			return nil, gaveUp(r, err, last)
		}
		if f := o.flight; f != nil && f.landed() {
			if f.token != nil {
				return f.token, nil
			}
			last = f.err
		}
		if now = c.now(); !now.Before(limit) {
			return nil, gaveUp(r, errNoAnswer, last)
		}
	}
}

func (f *flight) landed() bool {
	select {
	case <-f.done:
		return true
	default:
		return false
	}
}

var errNoAnswer = errors.New("no answer in 30 s")

// before reports whether the context ends before then: who cannot wait that long
// is told now.
func before(ctx context.Context, then time.Time) bool {
	deadline, ok := ctx.Deadline()
	return ok && deadline.Before(then)
}

// gaveUp is the error of who waits no longer, with what the broker said last.
func gaveUp(r request, why error, last *Error) error {
	e := &Error{Resource: r.resource, cause: why, kind: ErrUnavailable}
	switch {
	case errors.Is(why, context.Canceled):
		e.kind = nil
	case errors.Is(why, errClosed):
		e.kind, e.final = nil, true
	case last != nil:
		e = last.about(r.resource)
		if e.cause = why; last.cause != nil {
			e.cause = fmt.Errorf("%w, then %w", last.cause, why)
		}
	}
	return e
}

// wait waits for what an outcome says.
func (c *Client) wait(ctx context.Context, o outcome) error {
	timer := time.NewTimer(o.until.Sub(c.now()))
	defer timer.Stop()
	select {
	case <-o.done:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ctx.Done():
		return errClosed
	}
	return nil
}

// look is the whole decision, under the lock and without I/O.
func (c *Client) look(r request, now time.Time, w *wire, noSVID error) outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx.Err() != nil {
		return outcome{err: &Error{cause: errClosed, final: true}}
	}
	e := c.cache.entry(r.key, now)
	token := e.usable(now)
	if token != nil && token == r.not {
		token = nil
	}
	if token != nil && !e.due(now, w) {
		return outcome{token: token}
	}
	at, why := c.mayAsk(e, now, w)
	if e.flight == nil && c.probe == nil && noSVID == nil && !now.Before(at) {
		c.start(e, r, w, now)
	}
	f := e.flight
	switch {
	case token != nil && f != nil && e.must(&r, now, w) && now.Before(f.began.Add(patience)):
		return outcome{flight: f, done: f.done, until: f.began.Add(patience)}
	case token != nil:
		return outcome{token: token}
	case f != nil:
		return outcome{flight: f, done: f.done, until: now.Add(maxWait)}
	case noSVID != nil:
		return outcome{err: &Error{kind: ErrUnavailable, cause: noSVID, final: true}}
	case now.Before(e.refusedTo):
		return outcome{err: e.refusal}
	case c.probe != nil:
		return outcome{err: c.gateErr, done: c.probe.done, until: now.Add(maxWait)}
	}
	return outcome{err: why, done: c.opened, until: at, idle: true}
}

// mayAsk returns when the broker may be asked for this entry, and why not before:
// when neither the broker as a whole nor this request of it is to be left alone.
// Who is refused and has no token asks again as soon as the refusal is over, so
// that a new rule counts in seconds; a renewal that is refused is not that urgent.
// mu is held.
func (c *Client) mayAsk(e *entry, now time.Time, w *wire) (time.Time, *Error) {
	ranOut := e.ranOut(now, w)
	at, why := e.refusedTo, e.lastErr
	if e.refusal == nil || e.usable(now) != nil {
		at = later(at, e.back.at(ranOut))
	}
	if gate := c.gate.at(ranOut); gate.After(at) || why == nil {
		return gate, c.gateErr
	}
	return at, why
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// start begins a flight. While the broker is known to be away it is the one that
// tries, for all. mu is held.
func (c *Client) start(e *entry, r request, w *wire, now time.Time) {
	f := &flight{began: now, done: make(chan struct{})}
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
		e.refusal, e.refusedTo, e.lastErr, e.back = nil, time.Time{}, nil, backoff{}
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
		e.refusal, e.refusedTo = f.err, now.Add(uniform(minRefusal, maxRefusal))
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
