package tokenapi

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/cambist/cambist/broker/oauth"
)

// Metadata returns the metadata document (RFC 8414 section 2): nothing that is
// not served. workloads is the URL of the mTLS listener, assertions that of the
// listener for client assertions, "" if there is none; algorithms are those of the
// published keys, which OpenID clients read as what to accept.
func Metadata(issuer, workloads, assertions string, algorithms []string) ([]byte, error) {
	methods := []string{"tls_client_auth", "spiffe_x509"}
	m := oauth.Metadata{
		Issuer:                            issuer,
		TokenEndpoint:                     workloads + PathToken,
		JWKSURI:                           issuer + PathJWKS,
		IntrospectionEndpoint:             workloads + PathIntrospect,
		RevocationEndpoint:                workloads + PathRevoke,
		GrantTypesSupported:               []oauth.GrantType{oauth.GrantClientCredentials, oauth.GrantTokenExchange},
		TokenEndpointAuthMethodsSupported: methods,
		IntrospectionEndpointAuthMethodsSupported: methods,
		RevocationEndpointAuthMethodsSupported:    methods,
		SubjectTypesSupported:                     []string{"public"},
		IDTokenSigningAlgValuesSupported:          algorithms,
		DPoPSigningAlgValuesSupported:             proofAlgorithms(),
		TLSClientCertificateBoundAccessTokens:     true,
		MTLSEndpointAliases: map[string]string{
			"token_endpoint": workloads + PathToken, "introspection_endpoint": workloads + PathIntrospect,
			"revocation_endpoint": workloads + PathRevoke,
		},
	}
	if assertions != "" { // who can do mTLS finds it by the alias (RFC 8705 section 5)
		m.TokenEndpoint = assertions + PathToken
		m.TokenEndpointAuthMethodsSupported = append(slices.Clip(methods), "spiffe_jwt")
		m.TokenEndpointAuthSigningAlgValuesSupported = []string{"RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512"}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("render metadata: %w", err)
	}
	return append(body, '\n'), nil
}
