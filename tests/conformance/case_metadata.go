package main

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// metadataCases are about RFC 8414 and what the document promises (MD, BC).
func metadataCases() []testCase {
	return []testCase{
		{"MD-1", "the issuer is https without query and fragment, and the document is where RFC 8414 puts it", metadataPlace},
		{"MD-2", "the document names the issuer that it was asked for", metadataIssuer},
		{"MD-3", "grant_types_supported is explicit and has token exchange", metadataGrants},
		{"MD-4", "authentication methods are listed, none is absent, JWT methods have algorithms", metadataMethods},
		{"MD-5", "every URL of the document is https and answers", metadataURLs},
		{"MD-6", "every member is registered", metadataMembers},
		{"MD-7", "what is listed works, what is not listed does not", metadataTrue},
		{"MD-8", "the document is one small cacheable JSON object", metadataDocument},
		{"BC-2", "no client secret is offered", noSecrets},
		{"BC-7", "there is no front channel", noFrontChannel},
		{"MT-8", "the metadata says whether tokens are bound to certificates", boundMetadata},
		{"MT-9", "mtls_endpoint_aliases names endpoints and nothing else", aliases},
	}
}

// document reads what a member of the metadata points to.
func (t *t) document(member string) answer {
	address := str(t.metadata, member)
	t.must(address != "", "the metadata has no %s", member)
	a, err := t.get(t.ctx, address)
	t.last = exchanged{"GET " + address, shown("", a.header, a.body)}
	t.must(err == nil && a.status == http.StatusOK, "%s: %d %v", address, a.status, err)
	return a
}

func metadataPlace(t *t) {
	u, err := url.Parse(t.issuer)
	t.must(err == nil, "the issuer is no URL")
	t.hold(u.Scheme == "https" && u.RawQuery == "" && !u.ForceQuery && u.Fragment == "", "the issuer is %s", t.issuer)
	t.hold(t.metadata["issuer"] != nil, "the document has no issuer") // it was read from the place of RFC 8414
}

func metadataIssuer(t *t) {
	t.hold(t.metadata["issuer"] == t.issuer, "the document is of %v", t.metadata["issuer"])
}

func metadataGrants(t *t) {
	grants := list(t.metadata, "grant_types_supported")
	t.hold(len(grants) > 0, "grant_types_supported is %v: without it authorization_code is claimed", t.metadata["grant_types_supported"])
	t.hold(t.profile.Exchange == nil || slices.Contains(grants, grantExchange), "token exchange is not in %q", grants)
	t.hold(t.profile.Self == nil || slices.Contains(grants, grantSelf), "client_credentials is not in %q", grants)
}

func metadataMethods(t *t) {
	for _, endpoint := range []string{"token", "introspection", "revocation"} {
		methods := list(t.metadata, endpoint+"_endpoint_auth_methods_supported")
		if endpoint == "token" {
			t.hold(len(methods) > 0, "token_endpoint_auth_methods_supported is %v: without it client_secret_basic is claimed", t.metadata["token_endpoint_auth_methods_supported"])
		}
		t.hold(!slices.Contains(methods, "none"), "the %s endpoint takes clients without authentication", endpoint)
		algorithms := list(t.metadata, endpoint+"_endpoint_auth_signing_alg_values_supported")
		signed := slices.ContainsFunc(methods, func(m string) bool { return strings.HasSuffix(m, "_jwt") })
		t.hold(!signed || len(algorithms) > 0, "the %s endpoint takes JWTs and does not say with which algorithms", endpoint)
		t.hold(!slices.Contains(algorithms, "none"), "the %s endpoint lists the algorithm none", endpoint)
	}
}

func metadataURLs(t *t) {
	for name, value := range t.metadata {
		text, _ := value.(string)
		if !strings.HasSuffix(name, "_endpoint") && !strings.HasSuffix(name, "_uri") {
			continue
		}
		u, err := url.Parse(text)
		t.hold(err == nil && u.Scheme == "https" && u.Host != "" && u.Fragment == "", "%s is %q", name, text)
	}
	t.document("jwks_uri")
}

// registered are the members of the IANA registry that a server without a front
// channel may have, with those of OpenID Connect discovery.
var registered = []string{"issuer", "authorization_endpoint", "token_endpoint", "jwks_uri", "registration_endpoint", "scopes_supported", "response_types_supported",
	"response_modes_supported", "grant_types_supported", "token_endpoint_auth_methods_supported", "token_endpoint_auth_signing_alg_values_supported",
	"service_documentation", "ui_locales_supported", "op_policy_uri", "op_tos_uri", "revocation_endpoint", "revocation_endpoint_auth_methods_supported",
	"revocation_endpoint_auth_signing_alg_values_supported", "introspection_endpoint", "introspection_endpoint_auth_methods_supported",
	"introspection_endpoint_auth_signing_alg_values_supported", "code_challenge_methods_supported", "signed_metadata", "device_authorization_endpoint",
	"tls_client_certificate_bound_access_tokens", "mtls_endpoint_aliases", "dpop_signing_alg_values_supported", "authorization_details_types_supported",
	"pushed_authorization_request_endpoint", "require_pushed_authorization_requests", "introspection_signing_alg_values_supported",
	"introspection_encryption_alg_values_supported", "introspection_encryption_enc_values_supported", "authorization_response_iss_parameter_supported",
	"subject_types_supported", "id_token_signing_alg_values_supported", "userinfo_endpoint", "claims_supported", "acr_values_supported", "end_session_endpoint",
	"backchannel_logout_supported", "protected_resources", "client_id_metadata_document_supported", "identity_chaining_requested_token_types_supported",
	"status_list_aggregation_endpoint"}

func metadataMembers(t *t) {
	own := strings.ReplaceAll(hostOf(t.issuer), ".", "_")
	for name := range t.metadata {
		t.hold(slices.Contains(registered, name) || strings.Contains(name, "://") || strings.Contains(name, ":") || strings.HasPrefix(name, own), "%s is not registered and has no prefix", name)
	}
}

func hostOf(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// metadataTrue probes each claim: a grant that is listed may refuse the request,
// but not the grant, and one that is not listed must.
func metadataTrue(t *t) {
	grants := list(t.metadata, "grant_types_supported")
	for _, grant := range []string{grantSelf, grantExchange, "urn:ietf:params:oauth:grant-type:jwt-bearer", "authorization_code", "refresh_token", "password", "urn:ietf:params:oauth:grant-type:device_code"} {
		a := t.caller(with(t.good(), "grant_type", grant))
		unsupported := a.text("error") == "unsupported_grant_type"
		t.hold(unsupported != slices.Contains(grants, grant), "%s: the metadata lists it: %t; answered with %d %s", grant, slices.Contains(grants, grant), a.status, a.text("error"))
	}
	for _, name := range []string{"introspection_endpoint", "revocation_endpoint"} {
		if address := str(t.metadata, name); address != "" {
			a := t.post(address, url.Values{"token": {"x"}})
			t.hold(a.err == nil && a.status != http.StatusNotFound && a.status < 500, "%s: %d %v", address, a.status, a.err)
		}
	}
}

// post sends a form of caller to another endpoint.
func (t *t) post(address string, form url.Values) answer {
	request, err := http.NewRequestWithContext(t.ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{err: err}
	}
	request.Header.Set("Content-Type", formType)
	a := read(t.as("caller"), request)
	t.last = exchanged{shown("POST "+address, request.Header, []byte(form.Encode())), shown("", a.header, a.body)}
	return a
}

func metadataDocument(t *t) {
	u, err := url.Parse(t.issuer)
	t.must(err == nil, "the issuer is no URL")
	a, err := t.get(context.WithoutCancel(t.ctx), u.Scheme+"://"+u.Host+wellKnown+strings.TrimSuffix(u.Path, "/"))
	t.must(err == nil && a.status == http.StatusOK, "%d %v", a.status, err)
	t.hold(strings.HasPrefix(a.header.Get("Content-Type"), "application/json"), "the content type is %q", a.header.Get("Content-Type"))
	t.hold(len(a.body) <= 64<<10, "the document has %d bytes", len(a.body))
	cache := a.header.Get("Cache-Control")
	t.hold(strings.Contains(cache, "max-age=") && !strings.Contains(cache, "no-store"), "Cache-Control is %q", cache)
}

func noSecrets(t *t) {
	for _, method := range list(t.metadata, "token_endpoint_auth_methods_supported") {
		t.hold(!strings.HasPrefix(method, "client_secret"), "the method %s is offered", method)
	}
	t.hold(t.metadata["token_endpoint_auth_methods_supported"] != nil, "no method is listed, which offers client_secret_basic")
}

func noFrontChannel(t *t) {
	t.hold(t.metadata["authorization_endpoint"] == nil, "there is an authorization endpoint")
	t.hold(len(list(t.metadata, "response_types_supported")) == 0, "there are response types")
}

func boundMetadata(t *t) {
	t.need(t.needClient("caller").tls != nil, "the client shows no certificate")
	says, _ := t.metadata["tls_client_certificate_bound_access_tokens"].(bool)
	t.hold(says == (t.profile.Bound != nil), "tls_client_certificate_bound_access_tokens is %v, and the profile has a bound target: %t", t.metadata["tls_client_certificate_bound_access_tokens"], t.profile.Bound != nil)
}

func aliases(t *t) {
	alias, ok := t.metadata["mtls_endpoint_aliases"].(map[string]any)
	t.need(ok, "there are no aliases")
	for name, value := range alias {
		address, _ := value.(string)
		u, err := url.Parse(address)
		t.hold(strings.HasSuffix(name, "_endpoint") && err == nil && u.Scheme == "https", "the alias %s is %v", name, value)
	}
}
