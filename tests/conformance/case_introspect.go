package main

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
)

// introspectionCases are about RFC 7662 and RFC 7009 (IN, RV).
func introspectionCases() []testCase {
	return []testCase{
		{"IN-1", "nobody introspects without authentication", introspectionNeedsClient},
		{"IN-2", "a token that is not good, or not the caller's to see, is inactive and nothing else", inactiveTokens},
		{"IN-3", "an active token is described as it is", activeToken},
		{"IN-4", "a token that was changed is inactive", changedToken},
		{"IN-6", "an unknown token and one of others look the same", inactiveTokens},
		{"MT-7", "introspection gives the cnf of a bound token", introspectBound},
		{"DP-14", "introspection looks at no proof", introspectionIgnoresProofs},
		{"RV-1", "a client revokes its own tokens and no others", revokeOwn},
		{"RV-2", "an unknown token is revoked already", revokeUnknown},
		{"RV-3", "a hint changes nothing, or is refused by its name", revokeHints},
		{"RV-4", "what was revoked is inactive, and is exchanged no more", revokeOwn},
	}
}

// endpoint returns the URL of another endpoint for the clients of the profile.
func (t *t) endpoint(name string) string {
	alias, _ := t.metadata["mtls_endpoint_aliases"].(map[string]any)
	address := str(alias, name)
	if address == "" || t.needClient("caller").tls == nil {
		address = str(t.metadata, name)
	}
	t.need(address != "", "the metadata has no "+name)
	return address
}

// at sends a form to another endpoint as a client of the profile.
func (t *t) at(address, client string, form url.Values, more http.Header) answer {
	c := call{client: client, form: form}
	header := http.Header{"Content-Type": {formType}}
	t.authenticate(&c, header)
	for name, values := range more {
		header[name] = values
	}
	request, err := http.NewRequestWithContext(t.ctx, http.MethodPost, address, strings.NewReader(c.form.Encode()))
	if err != nil {
		return answer{err: err}
	}
	request.Header = header
	a := read(t.as(client), request)
	t.last = exchanged{shown("POST "+address, header, []byte(c.form.Encode())), shown("", a.header, a.body)}
	return a
}

// introspect asks about a token as a client.
func (t *t) introspect(client, token string) answer {
	return t.at(t.endpoint("introspection_endpoint"), client, url.Values{"token": {token}}, nil)
}

func (t *t) inactive(a answer, what string) {
	members, err := a.object()
	t.hold(err == nil && a.status == http.StatusOK && len(members) == 1 && members["active"] == false, "%s: %d %s", what, a.status, a.body)
}

func (t *t) active(a answer, what string) map[string]any {
	members, err := a.object()
	t.must(err == nil && a.status == http.StatusOK && members["active"] == true, "%s: %d %s", what, a.status, a.body)
	return members
}

func introspectionNeedsClient(t *t) {
	a := t.introspect("", t.jwt())
	t.hold(a.status == http.StatusUnauthorized && a.text("error") == "invalid_client", "nobody: %d %s", a.status, a.body)
}

func inactiveTokens(t *t) {
	t.endpoint("introspection_endpoint")
	t.needClient("stranger")
	token := t.jwt()
	t.active(t.introspect("caller", token), "the token of the caller")
	unknown := t.introspect("stranger", "x")
	t.inactive(unknown, "no token")
	foreign := t.introspect("stranger", token)
	t.inactive(foreign, "a token that is none of the stranger's business")
	t.hold(string(foreign.body) == string(unknown.body), "the two answers differ: %s, %s", foreign.body, unknown.body)
	t.inactive(t.introspect("caller", strings.Repeat(".", 2000)), "dots")
	t.inactive(t.introspect("caller", token+"x"), "a letter more")
	if t.profile.Subject != nil {
		t.inactive(t.introspect("caller", t.profile.Subject.forger.good()), "a token of another issuer")
	}
}

// activeToken: who serves the target sees the claims as they stand in the token.
func activeToken(t *t) {
	t.endpoint("introspection_endpoint")
	t.needClient("next")
	token := t.jwt()
	claims := payload(token)
	members := t.active(t.introspect("next", token), "the token, asked by who serves its target")
	for _, name := range []string{"iss", "sub", "client_id", "scope", "exp", "iat", "jti", "act", "cnf"} {
		t.hold(same(members[name], claims[name]), "%s is %v, in the token %v", name, members[name], claims[name])
	}
	t.hold(equal(audiences(members), audiences(claims)), "aud is %v, in the token %v", members["aud"], claims["aud"])
	t.hold(str(members, "token_type") != "", "there is no token_type")
}

func same(a, b any) bool {
	x, err := json.Marshal(a)
	if err != nil {
		return false
	}
	y, err := json.Marshal(b)
	return err == nil && string(x) == string(y)
}

func changedToken(t *t) {
	t.endpoint("introspection_endpoint")
	token := t.jwt()
	parts := strings.Split(token, ".")
	for what, change := range map[string]map[string]any{"scope": {"scope": "admin"}, "exp": {"exp": 1 << 40}, "sub": {"sub": "admin"}, "nothing but a claim more": {"x": 1}} {
		t.inactive(t.introspect("caller", parts[0]+"."+b64(object(payload(token), change))+"."+parts[2]), "the same token with another "+what)
	}
	t.inactive(t.introspect("caller", b64([]byte(`{"alg":"none"}`))+"."+parts[1]+"."), "the same claims with alg none")
	t.active(t.introspect("caller", token), "the token that was changed")
}

func introspectBound(t *t) {
	t.endpoint("introspection_endpoint")
	t.need(t.profile.Bound != nil, "the profile has no bound target")
	token := str(t.granted(t.caller(self(t.profile.Bound)), "the bound target"), "access_token")
	members := t.active(t.introspect("caller", token), "the bound token")
	t.hold(members["cnf"] != nil && same(members["cnf"], payload(token)["cnf"]), "cnf is %v, in the token %v", members["cnf"], payload(token)["cnf"])
}

func introspectionIgnoresProofs(t *t) {
	address := t.endpoint("introspection_endpoint")
	t.active(t.at(address, "caller", url.Values{"token": {t.jwt()}}, http.Header{"Dpop": {"x"}}), "with a proof that is none")
}

func (t *t) revoke(client, token string, more url.Values) answer {
	form := copied(more)
	form.Set("token", token)
	return t.at(t.endpoint("revocation_endpoint"), client, form, nil)
}

func revokeOwn(t *t) {
	t.endpoint("revocation_endpoint")
	t.needClient("stranger")
	token := t.jwt()
	t.active(t.introspect("caller", token), "before")
	a := t.revoke("stranger", token, nil)
	t.hold(a.err == nil && a.status < 500, "revoked by a stranger: %d %v", a.status, a.err)
	t.active(t.introspect("caller", token), "after a stranger revoked it")
	a = t.revoke("", token, nil)
	t.hold(a.status == http.StatusUnauthorized, "revoked by nobody: %d", a.status)
	a = t.revoke("caller", token, nil)
	t.must(a.status == http.StatusOK, "revoked by the caller: %d %s", a.status, a.body)
	for range caseTime / answerTime { // it may take the server a moment to tell all its parts
		if a = t.introspect("caller", token); a.text("error") == "" && strings.Contains(string(a.body), "false") || !t.wait("1") {
			break
		}
	}
	t.inactive(a, "after the caller revoked it")
	if t.profile.Onward != nil && t.profile.client("next") != nil {
		t.refused(t.ask(call{client: "next", form: exchange(t.profile.Onward, token, tokenTypes+"access_token")}), "exchanged after it was revoked", "invalid_request")
	}
}

func revokeUnknown(t *t) {
	t.endpoint("revocation_endpoint")
	for _, token := range []string{"x", "a.b.c", "e30.e30.AA"} {
		a := t.revoke("caller", token, nil)
		t.hold(a.status == http.StatusOK, "%s: %d %s", token, a.status, a.body)
	}
	a := t.revoke("caller", "", nil)
	t.refused(a, "no token", "invalid_request")
}

func revokeHints(t *t) {
	t.endpoint("revocation_endpoint")
	for _, hint := range []string{"access_token", "refresh_token", "nonsense"} {
		a := t.revoke("caller", t.jwt(), url.Values{"token_type_hint": {hint}})
		t.hold(a.status == http.StatusOK || a.status == http.StatusBadRequest && a.text("error") == "unsupported_token_type", "hint %s: %d %s", hint, a.status, a.body)
	}
}
