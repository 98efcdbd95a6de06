package exchange

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

// Client gets tokens from one broker and keeps them fresh. One client serves a
// whole process: it is safe for use by many goroutines, and what they share is
// what makes tokens cheap.
type Client struct {
	*settings
	wires  wires
	known  atomic.Pointer[catalogue]
	issuer atomic.Pointer[issuer]
	reads  singleflight.Group // of what is read beside tokens

	ctx    context.Context // of everything in the background; ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu      sync.Mutex // guards what follows; never held across I/O
	cache   cache
	gate    backoff // from the broker as a whole
	gateErr *Error
	probe   *flight       // that finds out for all whether the broker is back
	opened  chan struct{} // closed when the broker answers again; nil while it does
}

const sweepInterval = 10 * time.Second

// New returns a client. It opens the source of the SVID, waiting as long as the
// context lets it, and fails if there is none; it does not wait for the broker,
// so that a service starts without one. Close the client when it is done with.
func New(ctx context.Context, options ...Option) (*Client, error) {
	s := newSettings()
	for _, option := range options {
		option(s)
	}
	if err := s.resolve(ctx); err != nil {
		return nil, fmt.Errorf("exchange: %w", err)
	}
	c := &Client{settings: s, wires: wires{settings: s}, cache: newCache(maxEntries)}
	if _, err := c.wires.get(c.now()); err != nil {
		return nil, errors.Join(fmt.Errorf("exchange: %w", err), s.close())
	}
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	c.work.Go(c.sweep)
	return c, nil
}

// Close ends the client and waits for all that it started. Tokens that it gave
// stay valid; calls that wait for one fail.
func (c *Client) Close() error {
	c.mu.Lock()
	c.cancel()
	c.mu.Unlock()
	c.work.Wait()
	c.wires.close()
	return c.settings.close()
}

func (s *settings) close() error {
	if s.opened == nil {
		return nil
	}
	return s.opened.Close()
}

// Token returns a token for the target. It returns one from memory if it is good,
// which it is nearly always: tokens are renewed ahead, by use, in the background.
// Else it asks the broker, for as long as the context lets it and at most 30 s;
// many callers for one target ask once. Errors are *Error, or say what is wrong
// with the target.
func (c *Client) Token(ctx context.Context, t Target) (Token, error) {
	r, err := t.request(ctx)
	if err != nil {
		return Token{}, err
	}
	found, err := c.get(ctx, r)
	if err != nil {
		return Token{}, err
	}
	return found.Token, nil
}

// sweep forgets what is over, until Close.
func (c *Client) sweep() {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-tick.C:
			c.mu.Lock()
			c.cache.sweep(c.now(), c.opened != nil)
			c.mu.Unlock()
		}
	}
}
