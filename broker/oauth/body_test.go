package oauth_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"strconv"
	"strings"
	"testing"

	strict "github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"

	"github.com/cambist/cambist/broker/oauth"
)

// constants returns the constants of a type as names.go declares them, so that
// a word added there and not to the type's method fails here.
func constants(t *testing.T, typeName string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "names.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var values []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != typeName {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			values = append(values, text)
		}
		return true
	})
	return values
}

// Standards OE-3: the list, the whole list, and nothing else.
func TestErrorCodesAreClosed(t *testing.T) {
	t.Parallel()
	want := []string{
		"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target",
		"invalid_dpop_proof", "use_dpop_nonce", "unsupported_token_type", "invalid_authorization_details", "server_error", "temporarily_unavailable",
	}
	if diff := cmp.Diff(want, constants(t, "ErrorCode")); diff != "" {
		t.Error(diff)
	}
	for _, code := range want {
		if !oauth.ErrorCode(code).Valid() {
			t.Errorf("%q is not valid", code)
		}
		if got := string((&oauth.ErrorResponse{Code: oauth.ErrorCode(code)}).AppendJSON(nil)); got != `{"error":"`+code+"\"}\n" {
			t.Errorf("%q is written as %s", code, got)
		}
	}
	for _, code := range []oauth.ErrorCode{"", "Invalid_Request", "invalid_request ", "access_denied"} {
		if code.Valid() {
			t.Errorf("%q is valid", code)
		}
	}
}

// RFC 8693 section 3.
func TestTokenTypesAreClosed(t *testing.T) {
	t.Parallel()
	const prefix = "urn:ietf:params:oauth:token-type:"
	want := []string{
		prefix + "access_token", prefix + "refresh_token", prefix + "id_token", prefix + "saml1", prefix + "saml2", prefix + "jwt",
		"urn:cambist:token-type:jwt-svid",
	}
	if diff := cmp.Diff(want, constants(t, "TokenType")); diff != "" {
		t.Error(diff)
	}
	for _, name := range want {
		if !oauth.TokenType(name).Known() || oauth.TokenType(strings.ToUpper(name)).Known() {
			t.Errorf("%q", name)
		}
	}
	grants := []string{"client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange", "urn:ietf:params:oauth:grant-type:jwt-bearer"}
	if diff := cmp.Diff(grants, constants(t, "GrantType")); diff != "" {
		t.Error(diff)
	}
}

// A body is what it was when it was last read by a client; the order of members
// is part of it only for people.
func TestBodiesAsWritten(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ got, want string }{
		"token": {
			string((&oauth.TokenResponse{AccessToken: oauth.NewSecret("a.b.c"), IssuedTokenType: oauth.TokenTypeJWT, TokenType: "DPoP", ExpiresIn: 60, Scope: "x y"}).AppendJSON([]byte("#"))),
			`#{"access_token":"a.b.c","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"DPoP","expires_in":60,"scope":"x y"}` + "\n",
		},
		"token without scope": {
			string((&oauth.TokenResponse{AccessToken: oauth.NewSecret("a"), TokenType: "Bearer", ExpiresIn: 1}).AppendJSON(nil)),
			`{"access_token":"a","token_type":"Bearer","expires_in":1}` + "\n",
		},
		"error": {
			string((&oauth.ErrorResponse{Code: oauth.ErrorInvalidScope, Description: "scope \"a\"", URI: "https://x/e"}).AppendJSON(nil)),
			`{"error":"invalid_scope","error_description":"scope ?a?","error_uri":"https://x/e"}` + "\n",
		},
		"escapes": {
			string((&oauth.TokenResponse{AccessToken: oauth.NewSecret("a~\"\\\n\x7f\xff"), TokenType: "B"}).AppendJSON(nil)),
			`{"access_token":"a~\"\\\u000a\u007f\u00ff","token_type":"B","expires_in":0}` + "\n",
		},
	}
	for name, tt := range tests {
		if diff := cmp.Diff(tt.want, tt.got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if !json.Valid([]byte(strings.TrimPrefix(tt.got, "#"))) {
			t.Errorf("%s: not JSON", name)
		}
	}
}

// Standards OE-4: every byte, one by one.
func TestCleanDescription(t *testing.T) {
	t.Parallel()
	for c := range 256 {
		want := "a?b"
		if c == 0x20 || c == 0x21 || 0x23 <= c && c <= 0x5b || 0x5d <= c && c <= 0x7e {
			want = "a" + string(rune(c)) + "b"
		}
		if got := oauth.CleanDescription("a" + string([]byte{byte(c)}) + "b"); got != want {
			t.Errorf("byte %#x: %q", c, got)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	least := `{"issuer":"","token_endpoint":"","jwks_uri":"","grant_types_supported":[],"response_types_supported":[],` +
		`"token_endpoint_auth_methods_supported":[],"subject_types_supported":[],"id_token_signing_alg_values_supported":[],` +
		`"tls_client_certificate_bound_access_tokens":false}`
	full := oauth.Metadata{
		Issuer: "https://sts.example", TokenEndpoint: "https://sts.example/oauth2/token", JWKSURI: "https://sts.example/oauth2/jwks",
		IntrospectionEndpoint: "https://sts.example/oauth2/introspect", RevocationEndpoint: "https://sts.example/oauth2/revoke",
		GrantTypesSupported:                        []oauth.GrantType{oauth.GrantClientCredentials},
		TokenEndpointAuthMethodsSupported:          []string{"tls_client_auth"},
		TokenEndpointAuthSigningAlgValuesSupported: []string{"ES256"},
		SubjectTypesSupported:                      []string{"public"},
		IDTokenSigningAlgValuesSupported:           []string{"ES256"},
		DPoPSigningAlgValuesSupported:              []string{"ES256"},
		TLSClientCertificateBoundAccessTokens:      true,
		MTLSEndpointAliases:                        map[string]string{"token_endpoint": "https://mtls.sts.example/oauth2/token"},
		ServiceDocumentation:                       "https://docs.example",
	}
	wantFull := `{"issuer":"https://sts.example","token_endpoint":"https://sts.example/oauth2/token","jwks_uri":"https://sts.example/oauth2/jwks",` +
		`"introspection_endpoint":"https://sts.example/oauth2/introspect","revocation_endpoint":"https://sts.example/oauth2/revoke",` +
		`"grant_types_supported":["client_credentials"],"response_types_supported":[],"token_endpoint_auth_methods_supported":["tls_client_auth"],` +
		`"token_endpoint_auth_signing_alg_values_supported":["ES256"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["ES256"],` +
		`"dpop_signing_alg_values_supported":["ES256"],"tls_client_certificate_bound_access_tokens":true,` +
		`"mtls_endpoint_aliases":{"token_endpoint":"https://mtls.sts.example/oauth2/token"},"service_documentation":"https://docs.example"}`
	for want, m := range map[string]oauth.Metadata{least: {}, wantFull: full} {
		for encoder, marshal := range map[string]func() ([]byte, error){
			"encoding/json": func() ([]byte, error) { return json.Marshal(m) },
			"pointer":       func() ([]byte, error) { return json.Marshal(&m) },
			"strict":        func() ([]byte, error) { return strict.Marshal(m) },
		} {
			if got, err := marshal(); err != nil || string(got) != want {
				t.Errorf("%s: %v: %s", encoder, err, cmp.Diff(want, string(got)))
			}
		}
	}
	if full.ResponseTypesSupported != nil {
		t.Error("marshalling changed the value")
	}
}
