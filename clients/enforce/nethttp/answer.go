package nethttp

import (
	"errors"
	"io"
	"net/http"

	"github.com/cambist/cambist/clients/verify"
)

// retryAfter is what a client is told when there are no keys to verify with.
const retryAfter = "5"

// status is the one table from codes to HTTP (RFC 6750 section 3.1). A code that
// it does not have refuses as well.
func status(c verify.Code) int {
	switch c {
	case verify.CodeInvalidRequest:
		return http.StatusBadRequest
	case verify.CodeInsufficientScope:
		return http.StatusForbidden
	case verify.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusUnauthorized
}

// refuse answers a request that does not get through.
func (g *Guard) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refused := &verify.Error{}
	if !errors.As(err, &refused) {
		refused = &verify.Error{Reason: verify.ReasonRequestMalformed, Err: err}
	}
	if g.config.Refused != nil {
		g.config.Refused(r, refused)
	}
	h := w.Header()
	code := status(refused.Code())
	if code == http.StatusServiceUnavailable {
		h.Set("Retry-After", retryAfter)
	} else {
		used, _, _ := verify.ParseAuthorization(r.Header["Authorization"]) // what is wrong with it is said already
		h["Www-Authenticate"] = g.config.Verifier.Challenges(refused, used, g.realm)
	}
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = io.WriteString(w, refused.Description()+"\n") // a client that went away is not told so
}
