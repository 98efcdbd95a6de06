package verify

import (
	"strings"

	"github.com/cambist/cambist/broker/dpop"
	"github.com/cambist/cambist/broker/oauth"
)

// Code is the error of a refused request as RFC 6750 section 3.1 names it: a
// closed list.
type Code string

// The codes.
const (
	CodeNone              Code = "" // no credentials: the challenge names no error
	CodeInvalidRequest    Code = "invalid_request"
	CodeInvalidToken      Code = "invalid_token"
	CodeInsufficientScope Code = "insufficient_scope"
	CodeInvalidProof      Code = "invalid_dpop_proof"      // RFC 9449 section 7.1
	CodeUseNonce          Code = "use_dpop_nonce"          // RFC 9449 section 9: the answer has the nonce
	CodeUnavailable       Code = "temporarily_unavailable" // outside RFC 6750: nothing can be said of the token
)

// Reason is why a request was refused: a closed list, for logs and metrics. It is
// one of these, or one of dpop.Reasons where a proof was refused.
type Reason string

// The reasons.
const (
	ReasonCredentialsMissing   Reason = "credentials_missing"
	ReasonCredentialsSeveral   Reason = "credentials_several"
	ReasonCredentialsMalformed Reason = "credentials_malformed"
	ReasonRequestMalformed     Reason = "request_malformed"
	ReasonConnectionPlain      Reason = "connection_plain"

	ReasonTokenTooLarge    Reason = "token_too_large"
	ReasonTokenMalformed   Reason = "token_malformed"
	ReasonTokenType        Reason = "token_type"
	ReasonTokenAlgorithm   Reason = "token_algorithm"
	ReasonTokenKeyUnknown  Reason = "token_key_unknown"
	ReasonTokenSignature   Reason = "token_signature"
	ReasonTokenClaims      Reason = "token_claims"
	ReasonTokenIssuer      Reason = "token_issuer"
	ReasonTokenAudience    Reason = "token_audience"
	ReasonTokenExpired     Reason = "token_expired"
	ReasonTokenNotYetValid Reason = "token_not_yet_valid"
	ReasonTokenLifetime    Reason = "token_lifetime"

	ReasonCertificateUntrusted Reason = "certificate_untrusted"
	ReasonPeerUnproven         Reason = "peer_unproven"
	ReasonPeerMismatch         Reason = "peer_mismatch"
	ReasonBindingUnknown       Reason = "binding_unknown"
	ReasonBindingUnproven      Reason = "binding_unproven"
	ReasonSchemeMismatch       Reason = "scheme_mismatch"

	ReasonScopeMissing    Reason = "scope_missing"
	ReasonRouteUnknown    Reason = "route_unknown"
	ReasonKeysUnavailable Reason = "keys_unavailable"
)

// refusals says for each reason what the caller is told. The texts hold nothing
// of the request and only characters that error_description may have.
var refusals = map[Reason]struct {
	code Code
	text string
}{
	ReasonCredentialsMissing:   {CodeNone, "an access token is required"},
	ReasonCredentialsSeveral:   {CodeInvalidRequest, "more than one access token was sent"},
	ReasonCredentialsMalformed: {CodeInvalidRequest, "the Authorization header is not a scheme, one space and a token"},
	ReasonRequestMalformed:     {CodeInvalidRequest, "the request is not one that can be authorized"},
	ReasonConnectionPlain:      {CodeInvalidToken, "tokens are not accepted on a connection without TLS"},

	ReasonTokenTooLarge:    {CodeInvalidToken, "the token is too large"},
	ReasonTokenMalformed:   {CodeInvalidToken, "the token is not a signed JWT in compact form"},
	ReasonTokenType:        {CodeInvalidToken, "the token is not an access token: its typ is not at+jwt"},
	ReasonTokenAlgorithm:   {CodeInvalidToken, "the algorithm of the token is not accepted here"},
	ReasonTokenKeyUnknown:  {CodeInvalidToken, "the key of the token is not one of the issuer"},
	ReasonTokenSignature:   {CodeInvalidToken, "the signature of the token does not verify"},
	ReasonTokenClaims:      {CodeInvalidToken, "the claims of the token are not well formed"},
	ReasonTokenIssuer:      {CodeInvalidToken, "the token is of another issuer"},
	ReasonTokenAudience:    {CodeInvalidToken, "the token is for another audience"},
	ReasonTokenExpired:     {CodeInvalidToken, "the token has expired"},
	ReasonTokenNotYetValid: {CodeInvalidToken, "the token is not valid yet"},
	ReasonTokenLifetime:    {CodeInvalidToken, "the token is valid for longer than an access token may be"},

	ReasonCertificateUntrusted: {CodeInvalidToken, "the client certificate does not verify"},
	ReasonPeerUnproven:         {CodeInvalidToken, "the connection proves no workload, and the token is not a bearer token"},
	ReasonPeerMismatch:         {CodeInvalidToken, "the token was issued to another workload than the one of this connection"},
	ReasonBindingUnknown:       {CodeInvalidToken, "the token is bound in a way that cannot be proven here"},
	ReasonBindingUnproven:      {CodeInvalidToken, "the token is bound to a certificate that is not the one of this connection"},
	ReasonSchemeMismatch:       {CodeInvalidToken, "the token is not one for the scheme that it was shown with: DPoP for one that is bound to a key, Bearer for any other"},

	ReasonScopeMissing:    {CodeInsufficientScope, "the token lacks the scope"},
	ReasonRouteUnknown:    {CodeInsufficientScope, "no scope opens this method and path"},
	ReasonKeysUnavailable: {CodeUnavailable, "the keys of the issuer are not known at the moment"},
}

// Error is why a request was refused. Its zero value refuses as well.
type Error struct {
	Reason Reason
	Scopes oauth.Scopes // with ReasonScopeMissing: what was missing
	Err    error        // for logs; never holds anything of a token
}

func refuse(r Reason, cause error) *Error { return &Error{Reason: r, Err: cause} }

// Error returns the reason and its cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return "verify: " + string(e.Reason)
	}
	return "verify: " + string(e.Reason) + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Code returns the code of the reason; a reason that is not of the list has
// CodeInvalidToken.
func (e *Error) Code() Code {
	if r, ok := refusals[e.Reason]; ok {
		return r.code
	}
	switch reason := dpop.Reason(e.Reason); {
	case reason == dpop.ReasonNonce:
		return CodeUseNonce
	case reason == dpop.ReasonOverloaded:
		return CodeUnavailable
	case reason.Text() != "":
		return CodeInvalidProof
	}
	return CodeInvalidToken
}

// Description returns what the caller may know.
func (e *Error) Description() string {
	if r, ok := refusals[e.Reason]; ok {
		return r.text
	}
	if text := dpop.Reason(e.Reason).Text(); text != "" {
		return text
	}
	return "the token is not accepted"
}

// Challenge returns the WWW-Authenticate header for the error (RFC 6750 section
// 3). Realm names the service and must need no escaping.
func (e *Error) Challenge(realm string) string { return e.challenge(SchemeBearer, realm) }

func (e *Error) challenge(s Scheme, realm string) string {
	var b strings.Builder
	b.WriteString(string(s) + ` realm="` + realm + `"`)
	if code := e.Code(); code != CodeNone {
		b.WriteString(`, error="` + string(code) + `", error_description="` + e.Description() + `"`)
	}
	if !e.Scopes.IsEmpty() {
		b.WriteString(`, scope="` + e.Scopes.String() + `"`)
	}
	return b.String()
}

// Challenges returns the WWW-Authenticate headers for the refusal of a request
// that used a scheme, "" for none: one for each scheme that is accepted here, with
// the error in the one that was used (RFC 9449 section 7.2).
func (v *Verifier) Challenges(e *Error, used Scheme, realm string) []string {
	if v.proofs == nil {
		return []string{e.Challenge(realm)}
	}
	bearer, bound := e, e
	if used == SchemeDPoP {
		bearer = &Error{Reason: ReasonCredentialsMissing}
	} else {
		bound = &Error{Reason: ReasonCredentialsMissing}
	}
	var names []string
	for _, a := range dpop.Algorithms() {
		names = append(names, string(a))
	}
	return []string{bearer.challenge(SchemeBearer, realm), bound.challenge(SchemeDPoP, realm) + `, algs="` + strings.Join(names, " ") + `"`}
}
