package main

import (
	"regexp"
	"strings"
	"time"
)

// policyCases are about who may get what (TX-14 to TX-25, BC).
func policyCases() []testCase {
	return []testCase{
		{"TX-14", "nobody exchanges without authentication", nobodyExchanges},
		{"TX-15", "a client that may not exchange is refused", strangerExchanges},
		{"TX-16", "scopes that are not granted are refused, never trimmed in silence", scopesNotGranted},
		{"TX-17", "a token for one target is not swapped for a forbidden one", targetNotGranted},
		{"TX-18", "a subject token must be for this server or for the caller", subjectAudience},
		{"TX-19", "a token that is bound to a certificate is of no use to another client", stolenBoundToken},
		{"TX-20", "a bad subject token is invalid_request", badSubjects},
		{"TX-21", "an unknown and a forbidden target look the same", sameRefusal},
		{"TX-22", "a token does not outlive its subject token", shortLife},
		{"TX-23", "an exchange uses nothing up", notUsedUp},
		{"BC-1", "a token is for one audience", oneAudience},
		{"BC-3", "the password and the implicit grant are gone", oldGrants},
		{"OI-1", "iss, aud and exp of an upstream token are compared exactly", upstreamTokens},
	}
}

func nobodyExchanges(t *t) {
	a := t.ask(call{form: t.good()})
	t.refused(a, "nobody", "invalid_client")
	t.hold(a.status == 401, "nobody: %d", a.status)
}

func strangerExchanges(t *t) {
	t.needExchange()
	t.needClient("stranger")
	t.refused(t.ask(call{client: "stranger", form: t.good()}), "stranger", "unauthorized_client", "invalid_target", "invalid_request")
}

func scopesNotGranted(t *t) {
	to := t.profile.Exchange
	form := t.good()
	if to == nil {
		to = t.needSelf()
	}
	t.need(to.More != "", "the profile has no more_scope")
	t.refused(t.caller(with(form, "scope", to.More)), to.More, "invalid_scope")
	t.refused(t.caller(with(form, "scope", strings.TrimSpace(form.Get("scope")+" "+to.More))), to.More+" beside a good one", "invalid_scope")
}

func targetNotGranted(t *t) {
	t.need(t.profile.Forbidden != nil, "the profile has no forbidden target")
	form := t.good()
	t.refused(t.caller(forbidden(t, with(form))), "straight", "invalid_target", "invalid_scope")
	token := str(t.granted(t.caller(form), "the good request of the profile"), "access_token")
	t.refused(t.caller(forbidden(t, exchange(t.profile.Forbidden, token, tokenTypes+"access_token"))), "with a token of the caller", "invalid_target", "invalid_request", "invalid_scope")
}

func forbidden(t *t, form map[string][]string) map[string][]string {
	to := t.profile.Forbidden
	return with(form, "audience", to.Audience, "resource", to.Resource, "scope", to.Scope)
}

func subjectAudience(t *t) {
	f := t.needForger()
	for _, aud := range []any{"https://elsewhere.invalid", []string{"https://elsewhere.invalid"}, "", []string{}, t.issuer + "/x", strings.ToUpper(t.issuer)} {
		t.subjectRefused(f.with(map[string]any{"aud": aud}), "aud is elsewhere")
	}
	t.subjectRefused(f.with(map[string]any{"aud": nil}), "no aud")
}

func stolenBoundToken(t *t) {
	to := t.profile.Bound
	t.need(to != nil, "the profile has no bound target")
	t.needClient("stranger")
	token := str(t.granted(t.caller(self(to)), "the bound target"), "access_token")
	t.refused(t.ask(call{client: "stranger", form: exchange(to, token, tokenTypes+"access_token")}), "stolen", "invalid_request", "invalid_target", "unauthorized_client")
	if t.profile.SPIFFE != nil {
		again := t.showing(t.profile.SPIFFE.leaf(t.profile.SPIFFE.ID))
		t.refused(t.ask(call{client: "caller", http: again, form: exchange(to, token, tokenTypes+"access_token")}), "the same client with another certificate", "invalid_request")
	}
}

func badSubjects(t *t) {
	f := t.needForger()
	now := time.Now().Unix()
	t.subjectTaken(f.good(), "a good one")
	t.subjectRefused(f.with(map[string]any{"exp": now - 3600, "iat": now - 7200}), "expired")
	t.subjectRefused(f.with(map[string]any{"nbf": now + 3600}), "not valid yet")
	t.subjectRefused(f.with(map[string]any{"iss": "https://nobody.invalid"}), "an unknown issuer")
	one, other := f.good(), f.good()
	end := func(token string) int { return strings.LastIndexByte(token, '.') + 1 }
	t.subjectRefused(one[:end(one)]+b64(make([]byte, 64)), "a signature of zeros")
	t.subjectRefused(one[:end(one)]+other[end(other):], "the signature of another token")
	t.subjectRefused("x", "no token")
}

// identifiers are what may differ between two refusals.
var identifiers = regexp.MustCompile(`[0-9A-Za-z-]{16,}`)

func sameRefusal(t *t) {
	t.need(t.profile.Forbidden != nil, "the profile has no forbidden target")
	form := with(t.good(), "scope", "")
	one := t.caller(with(form, "audience", t.profile.Forbidden.Audience, "resource", t.profile.Forbidden.Resource))
	two := t.caller(retarget(form, "https://nowhere.invalid"))
	t.refused(one, "forbidden", "invalid_target")
	same := func(a answer) string { return identifiers.ReplaceAllString(string(a.body), "ID") }
	t.hold(one.status == two.status && same(one) == same(two), "forbidden: %s, unknown: %s", one.body, two.body)
}

func shortLife(t *t) {
	f := t.needForger()
	body := t.subjectTaken(f.with(map[string]any{"exp": time.Now().Unix() + 45}), "a subject token with 45 s left")
	seconds, _ := body["expires_in"].(float64)
	t.hold(seconds > 0 && seconds <= 45, "expires_in is %v", body["expires_in"])
}

func notUsedUp(t *t) {
	form := t.good()
	one := str(t.granted(t.caller(form), "once"), "access_token")
	two := str(t.granted(t.caller(form), "again"), "access_token")
	t.hold(one != two, "the two tokens are the same")
}

func oneAudience(t *t) {
	token := str(t.granted(t.caller(t.good()), "the good request of the profile"), "access_token")
	t.need(payload(token) != nil, "the access token is not a JWT")
	t.hold(len(audiences(payload(token))) == 1, "aud is %v", audiences(payload(token)))
}

func oldGrants(t *t) {
	for _, grant := range []string{"password", "implicit"} {
		t.refused(t.caller(with(t.good(), "grant_type", grant, "username", "a", "password", "b")), grant, "unsupported_grant_type")
	}
}

func upstreamTokens(t *t) {
	f := t.needForger()
	issuer, _ := f.claims["iss"].(string)
	for _, other := range []string{issuer + "/", strings.ToUpper(issuer), issuer + "?", " " + issuer} {
		t.subjectRefused(f.with(map[string]any{"iss": other}), "iss "+other)
	}
	for _, name := range []string{"iss", "sub", "aud", "exp"} {
		t.subjectRefused(f.with(map[string]any{name: nil}), "without "+name)
	}
	t.subjectRefused(f.with(map[string]any{"aud": []any{f.claims["aud"], "https://elsewhere.invalid"}}), "a second audience and no azp")
}
