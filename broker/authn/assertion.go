package authn

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// Assertion verifies one kind of client assertion (RFC 7521 section 4.2): a
// signed token that says which workload shows it.
type Assertion interface {
	// VerifyAssertion returns the workload that the assertion proves. Errors are
	// *broker.Error; a refusal may have the code for a token that is not
	// acceptable.
	VerifyAssertion(ctx context.Context, now time.Time, assertion oauth.Secret) (broker.Workload, error)
}

// Assertions implements Authenticator for a listener where workloads prove
// themselves by an assertion in the form. Its type alone says who verifies it,
// and that answer is final: what one kind refuses is not shown to another. The
// zero value refuses everybody.
type Assertions struct {
	now   func() time.Time
	kinds map[oauth.AssertionType]Assertion
}

var _ Authenticator = (*Assertions)(nil)

// NewAssertions returns an Authenticator for these kinds, at least one.
func NewAssertions(now func() time.Time, kinds map[oauth.AssertionType]Assertion) (*Assertions, error) {
	if now == nil || len(kinds) == 0 {
		return nil, errors.New("assertions: a clock and at least one kind are required")
	}
	for name, kind := range kinds {
		if kind == nil {
			return nil, fmt.Errorf("assertions: %s has nobody who verifies it", name)
		}
	}
	return &Assertions{now: now, kinds: maps.Clone(kinds)}, nil
}

// Authenticate implements Authenticator. A client_id that is sent beside the
// assertion adds nothing and may only agree with it (RFC 7521 section 4.2):
// broker.Decide holds every request to that.
func (a *Assertions) Authenticate(r *http.Request, f oauth.Form) (broker.Workload, error) {
	if otherCredential(r, f) {
		return broker.Workload{}, broker.Errorf(broker.CodeInvalidRequest, broker.ReasonCredentialsSeveral,
			"here the client_assertion is the one credential; send no Authorization header, client_secret or client certificate")
	}
	kind, err := a.kind(f)
	if err != nil {
		return broker.Workload{}, err
	}
	w, err := kind.VerifyAssertion(r.Context(), a.now(), oauth.NewSecret(f.Get("client_assertion")))
	if err != nil {
		return broker.Workload{}, refusal(err)
	}
	return w, nil
}

// otherCredential reports whether the request carries any credential besides the
// assertion (RFC 6749 section 2.3). The listener asks for no certificate, so one
// that is there means that it was set up wrong.
func otherCredential(r *http.Request, f oauth.Form) bool {
	return len(r.Header["Authorization"]) > 0 || f.Has("client_secret") || r.TLS != nil && len(r.TLS.PeerCertificates) > 0
}

// kind returns who verifies the assertion of a form.
func (a *Assertions) kind(f oauth.Form) (Assertion, error) {
	switch typed, shown := f.Has("client_assertion_type"), f.Has("client_assertion"); {
	case !typed && !shown:
		return nil, broker.Errorf(broker.CodeInvalidClient, broker.ReasonAssertionMissing, "a client_assertion is required")
	case !typed || !shown:
		return nil, broker.Errorf(broker.CodeInvalidRequest, broker.ReasonRequestMalformed, "client_assertion and client_assertion_type belong together")
	}
	kind := a.kinds[oauth.AssertionType(f.Get("client_assertion_type"))]
	if kind == nil {
		return nil, broker.Errorf(broker.CodeInvalidClient, broker.ReasonTokenType, "the client_assertion_type is not accepted here")
	}
	return kind, nil
}

// refusal returns the error for a caller who did not prove himself: an assertion
// that is not acceptable is the client's fault and not the request's (RFC 7521
// section 4.2.1). What is no refusal, a key that cannot be had above all, stays
// what it is.
func refusal(err error) error {
	e := *broker.AsError(err)
	if e.Code == broker.CodeInvalidRequest {
		e.Code = broker.CodeInvalidClient
	}
	return &e
}
