package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Times of threats 3.0.
const (
	readHeaderTime = 5 * time.Second // of the TLS handshake too
	readTime       = 7 * time.Second
	writeTime      = 10 * time.Second
	idleTime       = 5 * time.Minute
	finishTime     = 20 * time.Second // for what is under way when the server stops
	maxHeaderBytes = 16 << 10
	maxStreams     = 100
	maxConnections = 20_000
)

// listener is one address with one handler.
type listener struct {
	name   string
	server *http.Server
	net    net.Listener
}

// endpoint says what to listen for.
type endpoint struct {
	name, address string
	handler       http.Handler
	tls           *tls.Config // nil for plain HTTP
	now           func() time.Time
}

// listen binds the address of an endpoint.
func listen(ctx context.Context, e endpoint) (*listener, error) {
	bound, err := (&net.ListenConfig{}).Listen(ctx, "tcp", e.address)
	if err != nil {
		return nil, fmt.Errorf("%s listener: %w", e.name, err)
	}
	return &listener{name: e.name, net: newCapped(bound, maxConnections), server: &http.Server{
		Handler: aged(e.handler, e.now), ConnContext: aging(e.now), TLSConfig: e.tls, ReadHeaderTimeout: readHeaderTime, ReadTimeout: readTime, WriteTimeout: writeTime, IdleTimeout: idleTime,
		MaxHeaderBytes: maxHeaderBytes, HTTP2: &http.HTTP2Config{MaxConcurrentStreams: maxStreams},
	}}, nil
}

// serve serves until stop is called. What goes wrong in handshakes and parsing
// is the clients' and stands in the log at debug.
func (l *listener) serve(log *slog.Logger) error {
	l.server.ErrorLog = slog.NewLogLogger(log.With("listener", l.name).Handler(), slog.LevelDebug)
	var err error
	if l.server.TLSConfig == nil {
		err = l.server.Serve(l.net)
	} else {
		err = l.server.ServeTLS(l.net, "", "")
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("%s listener: %w", l.name, err)
}

// stop stops accepting and lets what is under way finish, for a bounded time.
func (l *listener) stop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	if err := l.server.Shutdown(ctx); err != nil {
		return errors.Join(err, l.server.Close())
	}
	return nil
}

func (l *listener) address() string { return l.net.Addr().String() }

// capped is a listener with at most so many connections open: one more is
// closed at once, so that those who hang on cannot keep others waiting unseen.
type capped struct {
	net.Listener
	slots chan struct{}
}

func newCapped(l net.Listener, limit int) *capped {
	return &capped{l, make(chan struct{}, limit)}
}

// Accept returns the next connection for which there is room.
func (c *capped) Accept() (net.Conn, error) {
	for {
		conn, err := c.Listener.Accept()
		if err != nil {
			return nil, err
		}
		select {
		case c.slots <- struct{}{}:
			return &counted{Conn: conn, leave: sync.OnceFunc(func() { <-c.slots })}, nil
		default:
			_ = conn.Close() // nobody was told that it is open
		}
	}
}

// counted gives its slot back when it is closed, once.
type counted struct {
	net.Conn
	leave func()
}

// Close closes the connection.
func (c *counted) Close() error {
	c.leave()
	return c.Conn.Close()
}
