package broker

import (
	"errors"
	"fmt"
	"time"
)

// Code is the class of an Error. It carries no HTTP status and no OAuth error
// code: package web maps it to both, in one table. The zero value is
// CodeInternal, so that an error nobody classified tells the caller nothing.
type Code uint8

// The codes; package web has the table of what each becomes on the wire.
const (
	CodeInternal             Code = iota // anything not foreseen; fixed text to the caller
	CodeInvalidRequest                   // malformed, or a subject or actor token that is not acceptable (RFC 8693 section 2.2.2)
	CodeInvalidClient                    // the caller is not authenticated (RFC 6749 section 5.2)
	CodeInvalidGrant                     // a jwt-bearer assertion that is not acceptable (RFC 7523 section 3.1)
	CodeInvalidTarget                    // unknown or forbidden audience; never says which (RFC 8693 section 2.2.2)
	CodeInvalidScope                     // scope outside what is granted
	CodeUnauthorizedClient               // the caller may not use this grant type
	CodeUnsupportedGrantType             // a grant type we do not have
	CodeNotFound                         // admin: no such object
	CodeConflict                         // admin: exists already, or a constraint of the store
	CodeStale                            // admin: the version moved since it was read
	CodeForbidden                        // admin: authenticated but not allowed
	CodeRateLimited                      // over quota; RetryAfter is set
	CodeUnavailable                      // a dependency or a lease is away; RetryAfter is set
	CodeInvalidProof                     // a DPoP proof that is not acceptable (RFC 9449 section 5)
	CodeNonceRequired                    // a DPoP proof without a fresh nonce; the answer has one (RFC 9449 section 8)
	numCodes
)

var codeNames = [numCodes]string{
	"internal", "invalid_request", "invalid_client", "invalid_grant", "invalid_target", "invalid_scope",
	"unauthorized_client", "unsupported_grant_type", "not_found", "conflict", "stale", "forbidden",
	"rate_limited", "unavailable", "invalid_dpop_proof", "use_dpop_nonce",
}

// String returns the code's name as it stands in records and logs.
func (c Code) String() string {
	if c >= numCodes {
		return codeNames[CodeInternal]
	}
	return codeNames[c]
}

// Codes returns every code, for tables that must be complete.
func Codes() []Code {
	all := make([]Code, numCodes)
	for i := range all {
		all[i] = Code(i)
	}
	return all
}

// Error is a refusal or a failure with its class. Public is the only text that
// may reach the caller; Err is for logs and is never shown outside.
type Error struct {
	Code       Code
	Reason     Reason        // closed list; stands in the record and in metrics
	Public     string        // what this caller may know; lower case, no token text
	RetryAfter time.Duration // set for CodeUnavailable and CodeRateLimited
	RecordID   string        // id of the record of this refusal, "" if there is none
	Err        error         // the cause, for the log
}

// Error returns the text for the log. It holds no token: causes are typed
// errors of ours, which never carry one.
func (e *Error) Error() string {
	text := e.Code.String()
	if e.Reason != "" {
		text += " (" + string(e.Reason) + ")"
	}
	if e.Public != "" {
		text += ": " + e.Public
	}
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an Error of the given class whose text is public.
func Errorf(code Code, reason Reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: reason, Public: fmt.Sprintf(format, args...)}
}

// Unavailable returns the Error for a dependency that is away; the caller may
// try again after the given time.
func Unavailable(reason Reason, after time.Duration, cause error) *Error {
	return &Error{Code: CodeUnavailable, Reason: reason, Public: "try again later", RetryAfter: after, Err: cause}
}

// AsError returns the Error inside err, or a CodeInternal one that wraps it: an
// error that nobody classified never tells the caller more than that.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Reason: ReasonInternal, Err: err}
}
