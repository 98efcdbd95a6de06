package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

const assertionTypes = "urn:ietf:params:oauth:client-assertion-type:"

// assertionCases are about client assertions (JB, SC), for a caller that
// authenticates by one.
func assertionCases() []testCase {
	return []testCase{
		{"JB-1", "sub, aud and exp of an assertion are required", assertionClaims},
		{"JB-2", "client_id beside an assertion must be its subject", assertionClientID},
		{"JB-3", "an assertion is for the issuer identifier alone", assertionAudience},
		{"JB-4", "a token of another kind is no assertion", assertionKinds},
		{"JB-5", "an assertion that a client made is used once", assertionOnce},
		{"SC-1", "client_assertion_type says what the one assertion is", assertionTypesHeld},
		{"SC-2", "an assertion is verified whole", func(t *t) { assertionClaims(t); assertionAudience(t); assertionSignature(t) }},
		{"SC-3", "client_id beside a JWT-SVID must be its subject", assertionClientID},
		{"SC-7", "iss of an assertion leads nowhere", assertionIssuer},
	}
}

// needAssertion returns what makes the assertions of caller, proven good first.
func (t *t) needAssertion() *subject {
	s := t.needClient("caller").Assertion
	t.need(s != nil, "the client authenticates by no assertion")
	t.granted(t.assert(s.Type, s.forger.good()), "a good assertion")
	return s
}

func (t *t) assert(kind, assertion string) answer {
	return t.caller(with(t.good(), "client_assertion_type", kind, "client_assertion", assertion))
}

func (t *t) notAsserted(s *subject, assertion, what string) {
	t.refused(t.assert(s.Type, assertion), what, "invalid_client")
}

func assertionClaims(t *t) {
	s := t.needAssertion()
	f, now := s.forger, time.Now().Unix()
	for _, name := range []string{"sub", "aud", "exp"} {
		t.notAsserted(s, f.with(map[string]any{name: nil}), "without "+name)
	}
	t.notAsserted(s, f.with(map[string]any{"exp": now - 600, "iat": now - 1200}), "expired")
	t.notAsserted(s, f.with(map[string]any{"exp": now + 365*86400}), "good for a year")
	t.notAsserted(s, f.with(map[string]any{"iat": now + 3600, "exp": now + 4000}), "of the future")
	t.notAsserted(s, f.with(map[string]any{"sub": "somebody-else"}), "of another subject")
	t.notAsserted(s, f.text(fmt.Sprintf(`"sub":%q`, f.claims["sub"])), "with sub twice")
}

func assertionAudience(t *t) {
	s := t.needAssertion()
	for _, aud := range []any{t.token, t.issuer + "/", []string{t.issuer, "https://elsewhere.invalid"}, "https://elsewhere.invalid", []string{}, strings.ToUpper(t.issuer)} {
		t.notAsserted(s, s.forger.with(map[string]any{"aud": aud}), fmt.Sprint("aud ", aud))
	}
}

func assertionSignature(t *t) {
	s := t.needAssertion()
	one, other := s.forger.good(), s.forger.with(map[string]any{"x": 1})
	end := func(token string) int { return strings.LastIndexByte(token, '.') + 1 }
	t.notAsserted(s, one[:end(one)]+other[end(other):], "the signature of another")
	t.notAsserted(s, one[:end(one)], "no signature")
	own := forger{key: newKey(), kid: s.forger.kid, alg: "ES256", typ: s.forger.typ, claims: s.forger.claims}
	t.notAsserted(s, own.good(), "another key")
	t.notAsserted(s, s.forger.headed(map[string]any{"alg": "none"}), "alg none")
	t.notAsserted(s, "x", "no token")
}

func assertionClientID(t *t) {
	t.needAssertion()
	t.refused(t.caller(with(t.good(), "client_id", "somebody-else")), "client_id of another", "invalid_client", "invalid_request")
}

func assertionKinds(t *t) {
	s := t.needAssertion()
	for _, kind := range kinds {
		if kind != "client-authentication+jwt" && kind != s.forger.typ {
			t.notAsserted(s, s.forger.headed(map[string]any{"typ": kind}), "typ "+kind)
		}
	}
	t.notAsserted(s, str(t.granted(t.caller(t.good()), "the good request of the profile"), "access_token"), "a token of the server")
	if t.profile.Subject != nil {
		t.notAsserted(s, t.profile.Subject.forger.good(), "a subject token")
	}
}

func assertionOnce(t *t) {
	s := t.needAssertion()
	t.need(s.Type == assertionTypes+"jwt-bearer", "the assertions of the profile are not made by their client")
	assertion := s.forger.good()
	t.granted(t.assert(s.Type, assertion), "once")
	t.notAsserted(s, assertion, "again")
}

func assertionTypesHeld(t *t) {
	s := t.needAssertion()
	for _, kind := range []string{"urn:x", assertionTypes + "saml2-bearer", strings.ToUpper(s.Type), s.Type + " "} {
		t.refused(t.assert(kind, s.forger.good()), kind, "invalid_client", "invalid_request")
	}
	t.refused(t.assert("", s.forger.good()), "no type", "invalid_client", "invalid_request")
	form := with(t.good(), "client_assertion_type", s.Type, "client_id", t.needClient("caller").ID)
	t.refused(t.ask(call{client: "caller", body: form.Encode()}), "no assertion", "invalid_client", "invalid_request")
	two := url.Values{"client_assertion": {s.forger.good(), s.forger.good()}}
	t.refused(t.ask(call{client: "caller", body: form.Encode() + "&" + two.Encode()}), "two assertions", "invalid_request", "invalid_client")
}

func assertionIssuer(t *t) {
	s := t.needAssertion()
	var asked atomic.Int64
	canary := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer canary.Close()
	own := forger{key: newKey(), kid: "k", alg: "ES256", typ: s.forger.typ, claims: s.forger.claims}
	t.notAsserted(s, own.with(map[string]any{"iss": canary.URL}), "of an issuer that would be asked for its keys")
	t.hold(asked.Load() == 0, "the issuer was asked %d times", asked.Load())
}
