package main

import (
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// exchangeCases are about the request and the answer of RFC 8693 (TX-1 to TX-13,
// TX-26 to TX-31, RI).
func exchangeCases() []testCase {
	return []testCase{
		{"TX-1", "grant_type is compared exactly", exactGrant},
		{"TX-2", "subject_token and its type are required", subjectRequired},
		{"TX-3", "actor_token and its type come together", actorHalves},
		{"TX-4", "an unknown token type is refused", unknownTypes},
		{"TX-5", "a foreign token is not an access token of this server", foreignAccessToken},
		{"TX-6", "a token is taken as its declared type and as no other", declaredType},
		{"TX-7", "requested_token_type may be absent, and is honoured or refused", requestedType},
		{"TX-8", "resource is an absolute URI without fragment", badResources},
		{"TX-9", "audience and resource name one token, or none", bothTargets},
		{"TX-10", "a token for some of the targets is never given", severalTargets},
		{"TX-11", "two audiences with scopes that are for one of them are refused", severalTargets},
		{"TX-12", "scope has the grammar of RFC 6749 section 3.3", scopeGrammar},
		{"TX-13", "wildcards in scope mean nothing", scopeWildcards},
		{"TX-26", "the answer has access_token, issued_token_type and token_type", answerMembers},
		{"TX-27", "token_type is Bearer or DPoP for an access token, N_A for another", tokenType},
		{"TX-28", "the answer says which scope was given", answerScope},
		{"TX-29", "expires_in is a number and agrees with exp", expiresIn},
		{"TX-30", "no refresh token is given", noRefreshToken},
		{"TX-31", "answers are not cached", notCached},
		{"RI-1", "a bad resource is invalid_target", badResources},
		{"RI-2", "a target is compared as a whole, never by its beginning", wholeTargets},
		{"RI-3", "another spelling of a target is not the target", spelledTargets},
	}
}

func exactGrant(t *t) {
	form := t.good()
	for _, grant := range []string{strings.ToUpper(form.Get("grant_type")), form.Get("grant_type") + " ", form.Get("grant_type") + "/", "token-exchange", "TOKEN-EXCHANGE"} {
		t.refused(t.caller(with(form, "grant_type", grant)), grant, "unsupported_grant_type")
	}
}

func subjectRequired(t *t) {
	t.needExchange()
	for _, missing := range []string{"subject_token", "subject_token_type"} {
		t.refused(t.caller(with(t.good(), missing, "")), "without "+missing, "invalid_request")
	}
	t.refused(t.caller(with(t.good(), "subject_token", "", "subject_token_type", "")), "without both", "invalid_request")
}

func actorHalves(t *t) {
	_, f := t.needExchange()
	t.refused(t.caller(with(t.good(), "actor_token", f.good())), "a lone actor_token", "invalid_request")
	t.refused(t.caller(with(t.good(), "actor_token_type", tokenTypes+"jwt")), "a lone actor_token_type", "invalid_request")
}

func unknownTypes(t *t) {
	t.needExchange()
	for _, kind := range []string{"jwt", "urn:x", tokenTypes + "JWT", tokenTypes + "nothing", t.profile.Subject.Type + " "} {
		t.refused(t.caller(with(t.good(), "subject_token_type", kind)), kind, "invalid_request")
	}
}

func foreignAccessToken(t *t) {
	t.needExchange()
	t.need(t.profile.Subject.Type != tokenTypes+"access_token", "the subject of the profile is an access token")
	t.refused(t.caller(with(t.good(), "subject_token_type", tokenTypes+"access_token")), "as access_token", "invalid_request")
}

func declaredType(t *t) {
	t.needExchange()
	for _, kind := range []string{"access_token", "refresh_token", "id_token", "saml1", "saml2", "jwt"} {
		if tokenTypes+kind != t.profile.Subject.Type {
			t.refused(t.caller(with(t.good(), "subject_token_type", tokenTypes+kind)), "as "+kind, "invalid_request")
		}
	}
}

func requestedType(t *t) {
	t.needExchange()
	kind := t.granted(t.caller(with(t.good(), "requested_token_type", "")), "without")["issued_token_type"]
	t.hold(kind == tokenTypes+"access_token", "without: issued_token_type is %v", kind)
	kind = t.granted(t.caller(with(t.good(), "requested_token_type", tokenTypes+"access_token")), "access_token")["issued_token_type"]
	t.hold(kind == tokenTypes+"access_token", "issued_token_type is %v", kind)
	for _, other := range []string{tokenTypes + "refresh_token", tokenTypes + "saml2", tokenTypes + "id_token", "urn:x"} {
		a := t.caller(with(t.good(), "requested_token_type", other))
		if a.status == http.StatusOK { // it can make one: then it is one
			t.hold(a.text("issued_token_type") == other, "%s: issued_token_type is %s", other, a.text("issued_token_type"))
			continue
		}
		t.refused(a, other, "invalid_request")
	}
}

func badResources(t *t) {
	for _, resource := range []string{"/x", "x", "https://a.invalid#f", "https://a.invalid#", "a b", "//a.invalid", "https://a.invalid/%zz", ":"} {
		t.refused(t.caller(with(t.good(), "resource", resource)), resource, "invalid_target")
	}
}

func bothTargets(t *t) {
	form := t.good()
	name := form.Get("audience")
	t.need(strings.Contains(name, "://"), "the audience of the profile is not a URI")
	t.granted(t.caller(with(form, "resource", name)), "the same as audience and resource")
	t.refused(t.caller(with(form, "resource", "https://nowhere.invalid")), "an unknown resource beside the audience", "invalid_target")
}

func severalTargets(t *t) {
	form := t.good()
	t.need(form.Has("audience"), "the target of the profile has no audience")
	form.Add("audience", "https://nowhere.invalid")
	t.refused(t.caller(form), "an unknown audience beside a good one", "invalid_target")
	t.need(t.profile.Forbidden != nil, "the profile has no forbidden target")
	form = t.good()
	form.Add("audience", t.profile.Forbidden.name())
	t.refused(t.caller(form), "a forbidden audience beside a good one", "invalid_target")
}

// scopeGrammar: some of these are control characters too, which may be refused
// before anybody asks what they are in.
func scopeGrammar(t *t) {
	form := t.good()
	first, _, _ := strings.Cut(form.Get("scope"), " ")
	t.need(first != "", "the target of the profile has no scope")
	for _, bad := range []string{" " + first, first + " ", first + "  " + first + "x", first + "\u00a0x", first + "\u200b", `"` + first + `"`, first + `\`, first + "é", " "} {
		t.refused(t.caller(set(form, "scope", bad)), bad, "invalid_scope", "invalid_request")
	}
	for _, bad := range []string{first + "\tx", first + "\n", first + "\x00"} {
		t.refused(t.caller(set(form, "scope", bad)), bad, "invalid_scope", "invalid_request")
	}
}

func scopeWildcards(t *t) {
	form := t.good()
	first, _, _ := strings.Cut(form.Get("scope"), " ")
	for _, bad := range []string{"*", first + ":*", first + "*", first[:1] + "*", first + "," + first, ".*", "**", strings.ToUpper(first)} {
		t.refused(t.caller(set(form, "scope", bad)), bad, "invalid_scope")
	}
}

func answerMembers(t *t) {
	t.needExchange()
	body := t.granted(t.caller(t.good()), "the exchange of the profile")
	for _, name := range []string{"access_token", "issued_token_type", "token_type"} {
		t.hold(str(body, name) != "", "%s is %v", name, body[name])
	}
}

func tokenType(t *t) {
	body := t.granted(t.caller(t.good()), "the good request of the profile")
	kind := str(body, "token_type")
	t.hold(strings.EqualFold(kind, "Bearer") || strings.EqualFold(kind, "DPoP"), "token_type is %q", kind)
	if body["issued_token_type"] != nil {
		a := t.caller(with(t.good(), "requested_token_type", tokenTypes+"jwt"))
		t.hold(a.status != http.StatusOK || a.text("token_type") == "N_A", "requested jwt: token_type is %q", a.text("token_type"))
	}
}

func answerScope(t *t) {
	form := t.good()
	body := t.granted(t.caller(form), "the good request of the profile")
	t.hold(equal(scopes(str(body, "scope")), scopes(form.Get("scope"))), "asked for %q, given %v", form.Get("scope"), body["scope"])
}

func expiresIn(t *t) {
	before := time.Now()
	body := t.granted(t.caller(t.good()), "the good request of the profile")
	seconds, ok := body["expires_in"].(float64)
	t.must(ok && seconds > 0 && seconds == math.Trunc(seconds), "expires_in is %v", body["expires_in"])
	claims := payload(str(body, "access_token"))
	t.need(claims != nil, "the access token is not a JWT")
	end, ok := claims["exp"].(float64)
	t.hold(ok && math.Abs(end-float64(before.Unix())-seconds) <= 2, "expires_in is %v, exp %v", seconds, end)
}

func noRefreshToken(t *t) {
	t.hold(t.granted(t.caller(t.good()), "the good request of the profile")["refresh_token"] == nil, "there is a refresh_token")
	a := t.caller(set(t.good(), "scope", strings.TrimSpace(t.good().Get("scope")+" offline_access")))
	t.hold(a.text("refresh_token") == "", "with offline_access there is a refresh_token")
}

func notCached(t *t) {
	t.granted(t.caller(t.good()), "the good request of the profile")
	errorBodies(t) // ask holds it against each
}

func wholeTargets(t *t) {
	form := t.good()
	name := named(form)
	for _, other := range []string{name + "/", name + ".evil.invalid", name + "x", name + "/../x", name[:len(name)-1]} {
		t.refused(t.caller(retarget(form, other)), other, "invalid_target")
	}
}

// named returns the target that a form names.
func named(form url.Values) string {
	if name := form.Get("audience"); name != "" {
		return name
	}
	return form.Get("resource")
}

// retarget replaces what the form names its target with.
func retarget(form url.Values, name string) url.Values {
	if form.Get("audience") != "" {
		form = with(form, "audience", name)
	}
	if form.Get("resource") != "" {
		form = with(form, "resource", name)
	}
	return form
}

func spelledTargets(t *t) {
	form := t.good()
	u, err := url.Parse(named(form))
	t.need(err == nil && u.Scheme == "https" && u.Host != "", "the target of the profile is not an https URI")
	for _, other := range []string{
		"https://user@" + u.Host + u.Path, "http://" + u.Host + u.Path, "https://" + strings.ToUpper(u.Host) + u.Path, "https://" + u.Host + ":443" + u.Path,
		"HTTPS://" + u.Host + u.Path, "https://" + u.Host + "." + u.Path, "https://" + u.Host + u.Path + "?", "https://" + u.Host + u.Path + "/./", "javascript:alert(1)",
		"https://xn--" + u.Host + u.Path, "https://127.0.0.1" + u.Path,
	} {
		for _, parameter := range []string{"audience", "resource"} {
			t.refused(t.caller(with(form, "audience", "", "resource", "", parameter, other)), parameter+" "+other, "invalid_target")
		}
	}
}
