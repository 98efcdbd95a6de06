package exchange

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cambist/cambist/broker/oauth"
)

// What errors.Is finds in the errors of this package.
var (
	// ErrNoUser: a call as the user, and the context holds none. The service's own
	// token is never used instead.
	ErrNoUser = errors.New("no user in the context")
	// ErrUnknownResource: no resource of that name is open to this workload.
	ErrUnknownResource = errors.New("unknown resource")
	// ErrRefused: the broker answered no. Asking again changes nothing until
	// policy, scopes or the user's token change.
	ErrRefused = errors.New("refused")
	// ErrUnavailable: no answer, or one that says later. Asking again may help.
	ErrUnavailable = errors.New("broker unavailable")
)

var errClosed = errors.New("the client is closed")

// Error says why there is no token. It holds nothing of any token. errors.Is
// finds one of the sentinels above in it, and the cause: a cancelled context, a
// refused connection.
type Error struct {
	Resource    string          // as the Target names it
	Code        oauth.ErrorCode // of the answer, "" if there was none
	Description string          // of the answer, for people
	RecordID    string          // what `cambist why` explains, "" if there was no answer
	RetryAfter  time.Duration   // how long the broker asked to be left alone
	Status      int             // HTTP status of the answer, 0 if there was none

	kind  error // one of the sentinels
	cause error
	final bool // waiting does not help: who waits is told at once
}

// Error returns what went wrong and what to do next.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "no token for %q", e.Resource)
	for _, part := range []error{e.kind, e.cause} {
		if part != nil {
			b.WriteString(": " + part.Error())
		}
	}
	if e.Code != "" {
		b.WriteString(": " + string(e.Code))
	} else if e.Status != 0 {
		fmt.Fprintf(&b, ": HTTP status %d", e.Status)
	}
	if e.Description != "" {
		b.WriteString(": " + e.Description)
	}
	if next := e.next(); next != "" {
		b.WriteString(" (" + next + ")")
	}
	return b.String()
}

// next returns the one thing to try.
func (e *Error) next() string {
	switch {
	case e.RecordID != "":
		return "cambist why " + e.RecordID
	case errors.Is(e.kind, ErrNoUser):
		return "nethttp.Handler puts the user there, or exchange.WithUser"
	case errors.Is(e.kind, ErrUnknownResource):
		return "cambist whoami lists what there is"
	case errors.Is(e.kind, ErrUnavailable):
		return "check CAMBIST_ISSUER, and that the broker's /readyz answers"
	}
	return ""
}

// Unwrap returns the sentinel and the cause.
func (e *Error) Unwrap() []error {
	var all []error
	for _, err := range []error{e.kind, e.cause} {
		if err != nil {
			all = append(all, err)
		}
	}
	return all
}

// about returns a copy that names the resource: what one caller was told may
// also be the answer for another.
func (e *Error) about(resource string) *Error {
	copied := *e
	copied.Resource = resource
	return &copied
}

func unavailable(cause error) *Error { return &Error{kind: ErrUnavailable, cause: cause} }

// asError makes any error of a flight an *Error.
func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return unavailable(err)
}
