// Package authn says who calls. Each room proves an identity in one way; a
// listener has exactly one of them, and there is no fallback from one to
// another.
package authn

import (
	"net/http"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// Authenticator proves the workload behind a request. The form was parsed
// strictly before, because client assertions are form fields; an authenticator
// that does not read them refuses a request that carries one (RFC 6749 section
// 2.3). Errors are *broker.Error with CodeInvalidClient, or CodeInvalidRequest
// for a second credential.
type Authenticator interface {
	Authenticate(r *http.Request, f oauth.Form) (broker.Workload, error)
}
