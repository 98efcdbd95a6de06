package oauth

// GrantType is a grant_type of the token endpoint.
type GrantType string

// The grant types that we serve.
const (
	GrantClientCredentials GrantType = "client_credentials"                              // RFC 6749 section 4.4
	GrantTokenExchange     GrantType = "urn:ietf:params:oauth:grant-type:token-exchange" // RFC 8693 section 2.1
	GrantJWTBearer         GrantType = "urn:ietf:params:oauth:grant-type:jwt-bearer"     // RFC 7523 section 2.1
)

// AssertionType is a client_assertion_type of the token endpoint.
type AssertionType string

// The assertion types that workloads prove themselves with.
const (
	AssertionJWTSPIFFE AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe" // draft-ietf-oauth-spiffe-client-auth
	AssertionJWTBearer AssertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 section 2.2
)

// TokenType is a token type identifier (RFC 8693 section 3).
type TokenType string

// The token types of RFC 8693 section 3, and our own for JWT-SVIDs.
const (
	TokenTypeAccessToken  TokenType = "urn:ietf:params:oauth:token-type:access_token" // issued by us, and by nobody else
	TokenTypeRefreshToken TokenType = "urn:ietf:params:oauth:token-type:refresh_token"
	TokenTypeIDToken      TokenType = "urn:ietf:params:oauth:token-type:id_token"
	TokenTypeSAML1        TokenType = "urn:ietf:params:oauth:token-type:saml1"
	TokenTypeSAML2        TokenType = "urn:ietf:params:oauth:token-type:saml2"
	TokenTypeJWT          TokenType = "urn:ietf:params:oauth:token-type:jwt"
	TokenTypeJWTSVID      TokenType = "urn:cambist:token-type:jwt-svid"
)

// Known reports whether the type is one of the list. Known is not accepted:
// each subject source says which it takes.
func (t TokenType) Known() bool {
	switch t {
	case TokenTypeAccessToken, TokenTypeRefreshToken, TokenTypeIDToken, TokenTypeSAML1, TokenTypeSAML2, TokenTypeJWT, TokenTypeJWTSVID:
		return true
	}
	return false
}

// ErrorCode is the error of an OAuth error response: a closed list.
type ErrorCode string

// The error codes, with the section that defines each.
const (
	ErrorInvalidRequest       ErrorCode = "invalid_request"        // RFC 6749 section 5.2
	ErrorInvalidClient        ErrorCode = "invalid_client"         // RFC 6749 section 5.2
	ErrorInvalidGrant         ErrorCode = "invalid_grant"          // RFC 6749 section 5.2
	ErrorUnauthorizedClient   ErrorCode = "unauthorized_client"    // RFC 6749 section 5.2
	ErrorUnsupportedGrantType ErrorCode = "unsupported_grant_type" // RFC 6749 section 5.2
	ErrorInvalidScope         ErrorCode = "invalid_scope"          // RFC 6749 section 5.2
	ErrorInvalidTarget        ErrorCode = "invalid_target"         // RFC 8707 section 2
	ErrorInvalidDPoPProof     ErrorCode = "invalid_dpop_proof"     // RFC 9449 section 5
	ErrorUseDPoPNonce         ErrorCode = "use_dpop_nonce"         // RFC 9449 section 8
	ErrorUnsupportedTokenType ErrorCode = "unsupported_token_type" // RFC 7009 section 2.2.1

	ErrorInvalidAuthorizationDetails ErrorCode = "invalid_authorization_details" // RFC 9396 section 5

	ErrorServerError            ErrorCode = "server_error"            // RFC 6749 section 4.1.2.1, outside 5.2: the status counts
	ErrorTemporarilyUnavailable ErrorCode = "temporarily_unavailable" // likewise
)

// Valid reports whether the code is one of the list.
func (c ErrorCode) Valid() bool {
	switch c {
	case ErrorInvalidRequest, ErrorInvalidClient, ErrorInvalidGrant, ErrorUnauthorizedClient, ErrorUnsupportedGrantType, ErrorInvalidScope,
		ErrorInvalidTarget, ErrorInvalidDPoPProof, ErrorUseDPoPNonce, ErrorUnsupportedTokenType,
		ErrorInvalidAuthorizationDetails, ErrorServerError, ErrorTemporarilyUnavailable:
		return true
	}
	return false
}
