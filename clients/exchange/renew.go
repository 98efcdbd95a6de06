package exchange

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// maxWait is how long a caller without a deadline waits for a broker that does
	// not answer.
	maxWait = 30 * time.Second
	// patience is how long a renewal is waited for by who has a token that is still
	// good.
	patience = time.Second
)

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
	if e.refusal != nil && w != nil && !w.sameSVID(e.refused) {
		e.forgive() // that was about another SVID
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
