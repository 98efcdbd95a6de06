package web

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/cambist/cambist/broker"
)

// logQueue is how many lines may wait. The record is the truth; a log that is
// slower than the server loses lines and says how many.
const logQueue = 4096

// AccessLog writes one line a request, without the request waiting for it.
type AccessLog struct {
	out     *slog.Logger
	all     bool
	lines   chan entry
	dropped atomic.Int64
}

type entry struct {
	at       time.Time
	took     time.Duration
	listener string
	id       string
	method   string
	route    string
	status   int
	workload string
	remote   string
	err      *broker.Error
}

// NewAccessLog returns a log that writes to out as long as Run runs. Without all
// only answers of 500 and above are written.
func NewAccessLog(out *slog.Logger, all bool) *AccessLog {
	return &AccessLog{out: out, all: all, lines: make(chan entry, logQueue)}
}

func (l *AccessLog) add(e entry) {
	if !l.all && e.status < 500 {
		return
	}
	select {
	case l.lines <- e:
	default:
		l.dropped.Add(1)
	}
}

// Dropped returns how many lines were lost since the start.
func (l *AccessLog) Dropped() int64 { return l.dropped.Load() }

// Run writes lines until ctx ends, then those that still wait.
func (l *AccessLog) Run(ctx context.Context) error {
	told, last := int64(0), time.Time{}
	tell := func() {
		if dropped := l.dropped.Load(); dropped != told {
			l.out.Warn("access log lines were lost", "lines", dropped-told)
			told = dropped
		}
	}
	defer tell()
	for {
		select {
		case e := <-l.lines:
			l.write(&e)
			if e.at.Sub(last) >= time.Second { // a log that cannot keep up is not told so at every line
				last = e.at
				tell()
			}
		case <-ctx.Done():
			for len(l.lines) > 0 {
				e := <-l.lines
				l.write(&e)
			}
			return nil
		}
	}
}

// write prints a line. What stands in it is ours or proven, never a parameter,
// a header or a path that a client made up.
func (l *AccessLog) write(e *entry) {
	route := e.route
	if route == "" {
		route = "(unknown)"
	}
	attrs := make([]slog.Attr, 0, 12)
	attrs = append(attrs,
		slog.String("request_id", e.id), slog.String("listener", e.listener), slog.String("method", e.method), slog.String("route", route),
		slog.Int("status", e.status), slog.Int64("duration_us", e.took.Microseconds()), slog.String("remote", e.remote))
	if e.workload != "" {
		attrs = append(attrs, slog.String("workload", e.workload))
	}
	level := slog.LevelInfo
	if e.err != nil {
		attrs = append(attrs, slog.String("error", e.err.Code.String()), slog.String("reason", string(e.err.Reason)))
		if e.err.Err != nil {
			attrs = append(attrs, slog.String("cause", e.err.Err.Error()))
		}
	}
	if e.status >= 500 {
		level = slog.LevelError
	}
	l.out.LogAttrs(context.Background(), level, "request", attrs...)
}

// errPanic holds where a handler panicked, not with what: a panic's value may
// hold anything, a token too.
type errPanic struct{ stack string }

func (e errPanic) Error() string { return "panic at " + e.stack }

// stack names the functions that panicked, without arguments.
func stack() string {
	var callers [16]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(4, callers[:])])
	text := ""
	for more := true; more; {
		var f runtime.Frame
		f, more = frames.Next()
		text += fmt.Sprintf("%s:%d ", f.Function, f.Line)
	}
	return text
}
