package main

import (
	"net/http"
	"net/url"
	"strings"
)

// errorCases are about what a refusal looks like (OE).
func errorCases() []testCase {
	return []testCase{
		{"OE-1", "errors are JSON with a code of the list", errorBodies},
		{"OE-2", "a client that is not proven gets 401, with a challenge if it used Authorization", badClient},
		{"OE-3", "the error codes are those of the RFCs", errorBodies},
		{"OE-4", "error_description is plain ASCII whatever was sent", cleanDescriptions},
		{"OE-5", "errors are never problem+json", noProblemJSON},
		{"OE-6", "client id and secret are form-encoded inside Basic", encodedBasic},
		{"OE-7", "no scope means the documented default, or a refusal", defaultScope},
	}
}

// errorBodies makes one error of each kind; ask holds the rest against each.
func errorBodies(t *t) {
	form := t.good()
	t.refused(t.caller(with(form, "grant_type", "")), "no grant", "invalid_request")
	t.refused(t.caller(with(form, "grant_type", "password")), "password", "unsupported_grant_type")
	t.refused(t.caller(with(form, "scope", "no-such-scope")), "unknown scope", "invalid_scope", "invalid_target")
	t.refused(t.caller(with(form, "resource", "https://nowhere.invalid", "audience", "")), "unknown resource", "invalid_target")
	t.refused(t.ask(call{form: form}), "nobody", "invalid_client")
	t.refused(t.caller(with(form, "grant_type", "urn:x")), "unknown grant", "unsupported_grant_type")
	if form.Has("subject_token") {
		t.refused(t.caller(with(form, "subject_token", "x")), "no token", "invalid_request")
	}
}

func badClient(t *t) {
	a := t.ask(call{form: t.good()})
	t.refused(a, "nobody", "invalid_client")
	t.hold(a.status == http.StatusUnauthorized || a.status == http.StatusBadRequest, "nobody: %d", a.status)
	a = t.ask(call{form: t.good(), header: http.Header{"Authorization": {"Basic eDp5"}}})
	t.refused(a, "Basic of nobody", "invalid_client", "invalid_request")
	if a.text("error") == "invalid_client" {
		t.hold(a.status == http.StatusUnauthorized, "Basic of nobody: %d", a.status)
		t.hold(a.header.Get("WWW-Authenticate") != "", "Basic of nobody: there is no WWW-Authenticate (RFC 6749 section 5.2)")
	}
}

func cleanDescriptions(t *t) {
	form := t.good()
	for _, hostile := range []string{"a\"b", "a\\b", "<script>", "é", "\u202e", "a b", "%0a", "\u200b"} {
		for name := range form {
			t.refused(t.caller(set(form, name, hostile)), name+" "+hostile)
		}
	}
	if t.profile.Subject != nil && t.profile.Subject.forger.key != nil {
		to, f := t.needExchange()
		t.caller(exchange(to, f.with(map[string]any{"sub": "a\nb\"c\\d\u202e"}), t.profile.Subject.Type))
	}
}

func noProblemJSON(t *t) {
	a := t.ask(call{client: "caller", form: with(t.good(), "grant_type", ""), header: http.Header{"Accept": {"application/problem+json"}}})
	t.refused(a, "Accept: application/problem+json", "invalid_request")
	t.hold(!strings.Contains(a.header.Get("Content-Type"), "problem"), "the content type is %q", a.header.Get("Content-Type"))
}

func encodedBasic(t *t) {
	c := t.needClient("caller")
	t.need(c.secret != "" && c.Basic, "the client does not authenticate by Basic")
	t.need(url.QueryEscape(c.ID) != c.ID, "the client's id reads the same when it is encoded")
	t.granted(t.caller(t.good()), "encoded")
	raw := &http.Request{Header: http.Header{}}
	raw.SetBasicAuth(c.ID, c.secret)
	t.refused(t.ask(call{form: t.good(), header: raw.Header}), "not encoded", "invalid_client")
}

func defaultScope(t *t) {
	to, form := t.profile.Exchange, t.good()
	if to == nil {
		to = t.needSelf()
	}
	a := t.caller(with(form, "scope", ""))
	if to.Default == "" {
		t.refused(a, "no scope", "invalid_scope")
		return
	}
	t.hold(equal(scopes(str(t.granted(a, "no scope"), "scope")), scopes(to.Default)), "the answer says scope %q, the default is %q", a.text("scope"), to.Default)
}
