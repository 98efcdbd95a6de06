package main

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// self and exchange are good requests, to be spoiled.
func self(to *target) url.Values {
	form := url.Values{"grant_type": {grantSelf}}
	for name, value := range map[string]string{"audience": to.Audience, "resource": to.Resource, "scope": to.Scope} {
		if value != "" {
			form.Set(name, value)
		}
	}
	return form
}

func exchange(to *target, token, kind string) url.Values {
	form := self(to)
	form.Set("grant_type", grantExchange)
	form.Set("subject_token", token)
	form.Set("subject_token_type", kind)
	return form
}

// good returns a request of caller that must succeed: an exchange where the
// profile has one.
func (t *t) good() url.Values {
	if t.profile.Exchange != nil && t.profile.Subject != nil {
		return exchange(t.profile.Exchange, t.profile.Subject.forger.good(), t.profile.Subject.Type)
	}
	return self(t.needSelf())
}

// with returns a form with other values; "" takes a parameter away.
func with(form url.Values, pairs ...string) url.Values {
	form = copied(form)
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Del(pairs[i])
		if pairs[i+1] != "" {
			form.Set(pairs[i], pairs[i+1])
		}
	}
	return form
}

// caller asks as caller.
func (t *t) caller(form url.Values) answer { return t.ask(call{client: "caller", form: form}) }

// granted holds that a token was given, and returns the body.
func (t *t) granted(a answer, what string) map[string]any {
	members, err := a.object()
	t.must(err == nil && a.status == http.StatusOK && a.text("access_token") != "", "%s: want a token, the answer is %s", what, a.said())
	return members
}

// refused holds that no token was given, with one of these errors; none means any.
func (t *t) refused(a answer, what string, want ...string) {
	code, wanted := a.text("error"), strings.Join(want, " or ")
	if len(want) == 0 {
		wanted = "a refusal"
	}
	t.hold(a.err == nil && a.status >= 400 && a.status < 500 && a.text("access_token") == "" && (len(want) == 0 || slices.Contains(want, code)),
		"%s: want %s, the answer is %s", what, wanted, a.said())
}

// noToken is refused where the connection may end instead.
func (t *t) noToken(a answer, what string) {
	t.hold(a.err != nil || a.status >= 400 && a.status < 500 && a.text("access_token") == "", "%s: want a refusal, the answer is %s", what, a.said())
}

// subjectRefused sends a subject token that must not be taken (RFC 8693 section
// 2.2.2: invalid_request).
func (t *t) subjectRefused(token, what string) {
	to, _ := t.needExchange()
	t.refused(t.caller(exchange(to, token, t.profile.Subject.Type)), what, "invalid_request")
}

// subjectTaken sends one that must be.
func (t *t) subjectTaken(token, what string) map[string]any {
	to, _ := t.needExchange()
	return t.granted(t.caller(exchange(to, token, t.profile.Subject.Type)), what)
}
