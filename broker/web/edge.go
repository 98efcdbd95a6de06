package web

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker"
)

// Config says what an edge stands on. Every field but Observe is required.
type Config struct {
	Listener   string // its name in records, logs and metrics
	Now        func() time.Time
	NewID      func(time.Time) string
	Log        *AccessLog
	Concurrent int // requests served at once; more wait for queueTime, then get 503
	// Observe is told of every answer. May be nil.
	Observe func(listener, route string, status int, took time.Duration)
}

// queueTime is how long a request may wait for a slot. What a handler then does
// is bounded where it waits: by the recorder, by the keys of an issuer. Its
// context is that of the connection, so a client that goes away ends its work.
const queueTime = 100 * time.Millisecond

// Edge is one listener's way from HTTP to handlers and back.
type Edge struct {
	config Config
	slots  chan struct{}
}

// New returns the edge of a listener.
func New(c Config) *Edge { return &Edge{config: c, slots: make(chan struct{}, c.Concurrent)} }

// Response is the answer to one request, and what the log should know of it.
type Response struct {
	http.ResponseWriter
	ID       string    // also x-request-id
	At       time.Time // when the request came
	Listener string
	Workload string // who asked, as soon as that is proven
	status   int
	err      *broker.Error
}

// WriteHeader writes the status and remembers it.
func (w *Response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap returns the writer inside, for http.ResponseController.
func (w *Response) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// Handler answers one request, or returns an error and has written nothing.
type Handler func(w *Response, r *http.Request) error

// OAuth returns the handler of a route whose errors have the body of RFC 6749
// section 5.2. Other methods than the listed ones get 405.
func (e *Edge) OAuth(route string, h Handler, methods ...string) http.Handler {
	allow := strings.Join(methods, ", ")
	return http.HandlerFunc(func(inner http.ResponseWriter, r *http.Request) {
		now := e.config.Now()
		w := &Response{ResponseWriter: inner, ID: e.config.NewID(now), At: now, Listener: e.config.Listener}
		w.Header()["X-Request-Id"] = []string{w.ID}
		defer e.finish(w, r, route)
		if len(methods) > 0 && !slices.Contains(methods, r.Method) {
			w.Header().Set("Allow", allow)
			w.err = broker.Errorf(broker.CodeInvalidRequest, broker.ReasonRequestMalformed, "the method is not allowed here")
			noStore(w.Header())
			writeBody(w, http.StatusMethodNotAllowed, "application/json", []byte("{\"error\":\"invalid_request\"}\n"))
			return
		}
		if err := e.limited(w, r, h); err != nil {
			w.err = broker.AsError(err)
			if w.status == 0 {
				writeOAuth(w, w.err)
			}
		}
	})
}

// NotFound answers for every path that no route has.
func (e *Edge) NotFound() http.Handler {
	return e.OAuth("", func(*Response, *http.Request) error {
		return broker.Errorf(broker.CodeNotFound, broker.ReasonRequestMalformed, "there is nothing here")
	})
}

// limited runs the handler in one of the slots.
func (e *Edge) limited(w *Response, r *http.Request, h Handler) error {
	select {
	case e.slots <- struct{}{}:
	default:
		timer := time.NewTimer(queueTime)
		defer timer.Stop()
		select {
		case e.slots <- struct{}{}:
		case <-r.Context().Done():
			return broker.Unavailable(broker.ReasonOverloaded, time.Second, r.Context().Err())
		case <-timer.C:
			return broker.Unavailable(broker.ReasonOverloaded, time.Second, errors.New("too many requests at once"))
		}
	}
	defer func() { <-e.slots }()
	return h(w, r)
}

// finish writes the log line, and answers for a handler that panicked: the
// process lives, and what was half done is discarded with the stack. A panic
// after the answer began aborts the connection, so that half an answer is never
// taken for a whole one.
func (e *Edge) finish(w *Response, r *http.Request, route string) {
	abort := false
	if cause := recover(); cause != nil {
		if cause == http.ErrAbortHandler { //nolint:errorlint // the documented sentinel, compared as net/http does
			panic(cause)
		}
		w.err = &broker.Error{Code: broker.CodeInternal, Reason: broker.ReasonInternal, Err: errPanic{stack()}}
		if abort = w.status != 0; !abort {
			writeOAuth(w, w.err)
		}
	}
	if w.status == 0 {
		w.status = http.StatusOK // what net/http writes for a handler that wrote nothing
	}
	took := e.config.Now().Sub(w.At)
	e.config.Log.add(entry{
		at: w.At, took: took, listener: e.config.Listener, id: w.ID, method: method(r.Method), route: route, status: w.status, workload: w.Workload,
		remote: r.RemoteAddr, err: w.err,
	})
	if e.config.Observe != nil {
		e.config.Observe(e.config.Listener, route, w.status, took)
	}
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// method keeps what a client made up out of the log.
func method(name string) string {
	switch name {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return name
	}
	return "_OTHER"
}
