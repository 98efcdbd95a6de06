package web

import (
	"net/http"
	"strconv"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// rendered is what a code becomes on the wire.
type rendered struct {
	status int
	code   oauth.ErrorCode
}

// render is THE table: every code has one status and one OAuth error code (RFC
// 6749 section 5.2, RFC 8693 section 2.2.2), and nothing else in Cambist chooses
// one. What it does not know is a fault of ours.
func render(c broker.Code) rendered {
	switch c {
	case broker.CodeInvalidRequest:
		return rendered{http.StatusBadRequest, oauth.ErrorInvalidRequest}
	case broker.CodeInvalidClient:
		return rendered{http.StatusUnauthorized, oauth.ErrorInvalidClient}
	case broker.CodeInvalidGrant:
		return rendered{http.StatusBadRequest, oauth.ErrorInvalidGrant}
	case broker.CodeInvalidTarget:
		return rendered{http.StatusBadRequest, oauth.ErrorInvalidTarget}
	case broker.CodeInvalidScope:
		return rendered{http.StatusBadRequest, oauth.ErrorInvalidScope}
	case broker.CodeUnauthorizedClient:
		return rendered{http.StatusBadRequest, oauth.ErrorUnauthorizedClient}
	case broker.CodeUnsupportedGrantType:
		return rendered{http.StatusBadRequest, oauth.ErrorUnsupportedGrantType}
	case broker.CodeNotFound:
		return rendered{http.StatusNotFound, oauth.ErrorInvalidRequest}
	case broker.CodeConflict:
		return rendered{http.StatusConflict, oauth.ErrorInvalidRequest}
	case broker.CodeStale:
		return rendered{http.StatusPreconditionFailed, oauth.ErrorInvalidRequest}
	case broker.CodeForbidden:
		return rendered{http.StatusForbidden, oauth.ErrorUnauthorizedClient}
	case broker.CodeRateLimited:
		// Outside RFC 6749 section 5.2; the status is what counts.
		return rendered{http.StatusTooManyRequests, oauth.ErrorTemporarilyUnavailable}
	case broker.CodeUnavailable:
		return rendered{http.StatusServiceUnavailable, oauth.ErrorTemporarilyUnavailable}
	case broker.CodeInvalidProof:
		return rendered{http.StatusBadRequest, oauth.ErrorInvalidDPoPProof}
	case broker.CodeNonceRequired:
		return rendered{http.StatusBadRequest, oauth.ErrorUseDPoPNonce}
	}
	return rendered{http.StatusInternalServerError, oauth.ErrorServerError}
}

// writeOAuth answers with the error body of RFC 6749 section 5.2. The
// description names the record, so that `cambist why` can say the rest to whom
// may know it.
func writeOAuth(w *Response, e *broker.Error) {
	to := render(e.Code)
	h := w.Header()
	noStore(h)
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		h["Retry-After"] = []string{strconv.FormatInt(int64(seconds), 10)}
	}
	text := e.Public
	switch {
	case to.status == http.StatusInternalServerError:
		text = "internal error, id " + w.ID // whatever it says, it was not classified
	case e.RecordID != "":
		text = "refused, id " + e.RecordID + ": " + e.Public
	}
	body := oauth.ErrorResponse{Code: to.code, Description: text}
	writeBody(w, to.status, "application/json", body.AppendJSON(make([]byte, 0, 256)))
}

// noStore forbids every cache to keep the answer (RFC 6749 section 5.1).
func noStore(h http.Header) {
	h["Cache-Control"] = []string{"no-store"}
	h["Pragma"] = []string{"no-cache"}
}

func writeBody(w *Response, status int, contentType string, body []byte) {
	h := w.Header()
	h["Content-Type"] = []string{contentType}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // a client that went away is not told so
}
