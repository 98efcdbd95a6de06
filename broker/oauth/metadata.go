package oauth

import "encoding/json"

// Metadata is the authorization server metadata of RFC 8414 section 2, with the
// members that OpenID Connect discovery clients demand. Only what is served is
// set; the lists without omitempty are printed even when they are empty, because
// clients refuse a document without them.
type Metadata struct {
	Issuer                                     string            `json:"issuer"`
	TokenEndpoint                              string            `json:"token_endpoint"`
	JWKSURI                                    string            `json:"jwks_uri"`
	IntrospectionEndpoint                      string            `json:"introspection_endpoint,omitempty"`
	RevocationEndpoint                         string            `json:"revocation_endpoint,omitempty"`
	GrantTypesSupported                        []GrantType       `json:"grant_types_supported"`
	ResponseTypesSupported                     []string          `json:"response_types_supported"` // none: there is no front channel
	TokenEndpointAuthMethodsSupported          []string          `json:"token_endpoint_auth_methods_supported"`
	IntrospectionEndpointAuthMethodsSupported  []string          `json:"introspection_endpoint_auth_methods_supported,omitempty"`
	RevocationEndpointAuthMethodsSupported     []string          `json:"revocation_endpoint_auth_methods_supported,omitempty"`
	TokenEndpointAuthSigningAlgValuesSupported []string          `json:"token_endpoint_auth_signing_alg_values_supported,omitempty"`
	SubjectTypesSupported                      []string          `json:"subject_types_supported"`
	IDTokenSigningAlgValuesSupported           []string          `json:"id_token_signing_alg_values_supported"`
	DPoPSigningAlgValuesSupported              []string          `json:"dpop_signing_alg_values_supported,omitempty"` // RFC 9449 section 5.1
	TLSClientCertificateBoundAccessTokens      bool              `json:"tls_client_certificate_bound_access_tokens"`  // RFC 8705 section 3.3
	MTLSEndpointAliases                        map[string]string `json:"mtls_endpoint_aliases,omitempty"`             // RFC 8705 section 5
	ServiceDocumentation                       string            `json:"service_documentation,omitempty"`
}

// MarshalJSON prints a list that is nil as an empty one, never as null: the
// members of RFC 8414 section 2 are arrays.
func (m Metadata) MarshalJSON() ([]byte, error) {
	for _, list := range []*[]string{
		&m.ResponseTypesSupported, &m.TokenEndpointAuthMethodsSupported, &m.SubjectTypesSupported, &m.IDTokenSigningAlgValuesSupported,
	} {
		if *list == nil {
			*list = []string{}
		}
	}
	if m.GrantTypesSupported == nil {
		m.GrantTypesSupported = []GrantType{}
	}
	type plain Metadata // without this method
	return json.Marshal(plain(m))
}
