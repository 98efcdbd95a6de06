package main

import (
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// transportCases are about HTTP and the form (HX).
func transportCases() []testCase {
	return []testCase{
		{"HX-1", "the token endpoint takes POST only", onlyPost},
		{"HX-2", "parameters in the URL are refused", noQuery},
		{"HX-3", "only a form is a form", onlyForms},
		{"HX-4", "what cannot be decoded is refused, not half read", brokenForms},
		{"HX-5", "a repeated parameter is refused", repeated},
		{"HX-6", "a parameter without a value counts as absent", emptyValues},
		{"HX-7", "unknown parameters are ignored", unknownParameter},
		{"HX-8", "control characters are refused in every parameter", controls},
		{"HX-9", "bodies, tokens and lists are bounded", bounds},
		{"HX-10", "two client authentications at once are refused", twoAuthentications},
		{"HX-11", "nothing without TLS 1.2 or better", onlyTLS},
		{"HX-12", "JSON names count letter by letter, and once", strictNames},
		{"HX-13", "invalid UTF-8 in a claim is refused", invalidUTF8},
		{"HX-14", "errors never repeat what was sent", noEcho},
	}
}

func onlyPost(t *t) {
	form := t.good()
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete} {
		a := t.ask(call{client: "caller", method: method, query: form.Encode(), body: " "})
		t.hold(a.err == nil && a.status == http.StatusMethodNotAllowed, "%s: %d %v", method, a.status, a.err)
		t.hold(strings.Contains(a.header.Get("Allow"), http.MethodPost), "%s: Allow is %q", method, a.header.Get("Allow"))
	}
}

func noQuery(t *t) {
	form := t.good()
	t.refused(t.ask(call{client: "caller", form: form, query: form.Encode()}), "all of it in the URL too", "invalid_request")
	t.refused(t.ask(call{client: "caller", form: form, query: "scope=" + url.QueryEscape(form.Get("scope"))}), "scope in the URL too", "invalid_request")
	t.refused(t.ask(call{client: "caller", body: "x=y", query: form.Encode()}), "all of it in the URL alone", "invalid_request", "invalid_client")
}

func onlyForms(t *t) {
	form := t.good()
	for _, kind := range []string{"application/json", "text/plain", "multipart/form-data; boundary=x", "application/xml", ""} {
		header := http.Header{"Content-Type": {kind}}
		if kind == "" {
			header = http.Header{"Content-Type": nil}
		}
		t.refused(t.ask(call{client: "caller", form: form, header: header}), "as "+kind, "invalid_request")
	}
	t.refused(t.ask(call{client: "caller", body: `{"grant_type":"client_credentials"}`, header: http.Header{"Content-Type": {"application/json"}}}), "a JSON body", "invalid_request", "invalid_client")
	t.granted(t.ask(call{client: "caller", form: form, header: http.Header{"Content-Type": {formType + "; charset=UTF-8"}}}), "with a charset")
}

func brokenForms(t *t) {
	for _, broken := range []string{"&x=%zz", "&x=%", "&x=%4", "&%zz=x", ";x=y", "&x=a;b"} {
		t.refused(t.ask(call{client: "caller", body: t.withClient(t.good()).Encode() + broken}), broken, "invalid_request")
	}
}

// withClient returns the form with what authenticates caller, for bodies that a
// case writes itself.
func (t *t) withClient(form url.Values) url.Values {
	c := call{client: "caller", form: form}
	header := http.Header{}
	t.authenticate(&c, header)
	t.need(header.Get("Authorization") == "", "the case writes bodies, and the client authenticates by a header")
	return c.form
}

func repeated(t *t) {
	for _, name := range []string{"grant_type", "scope", "subject_token", "subject_token_type", "actor_token", "actor_token_type", "requested_token_type",
		"client_id", "client_assertion", "client_assertion_type", "assertion"} {
		form := t.withClient(t.good())
		value := form.Get(name)
		if value == "" {
			value = "x"
		}
		again := url.Values{name: {value, value}}
		t.refused(t.ask(call{client: "caller", body: with(form, name, "").Encode() + "&" + again.Encode()}), name+" twice", "invalid_request", "invalid_client")
	}
}

func emptyValues(t *t) {
	form := t.good()
	t.granted(t.caller(set(form, "actor_token", "")), "actor_token=")
	t.granted(t.caller(set(form, "requested_token_type", "")), "requested_token_type=")
	t.refused(t.caller(set(form, "grant_type", "")), "grant_type=", "invalid_request")
	if form.Has("subject_token") {
		t.refused(t.caller(set(form, "subject_token", "")), "subject_token=", "invalid_request")
		t.refused(t.caller(set(form, "actor_token", "", "actor_token_type", tokenTypes+"jwt")), "actor_token= with a type", "invalid_request")
	}
}

// set is with, but "" is sent as an empty value.
func set(form url.Values, pairs ...string) url.Values {
	form = copied(form)
	for i := 0; i+1 < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return form
}

func unknownParameter(t *t) {
	t.granted(t.caller(with(t.good(), "foo", "bar", "act", `{"sub":"admin"}`, "aud", "x", "sub", "admin")), "with foo, act, aud and sub")
}

func controls(t *t) {
	form := t.good()
	for _, bad := range []string{"\x00", "\x1f", "\x7f", "\r\n", "\xff"} {
		for name := range form {
			t.refused(t.caller(set(form, name, form.Get(name)+bad)), fmt.Sprintf("%s with %q", name, bad))
		}
		t.refused(t.caller(set(form, "unknown", "a"+bad)), fmt.Sprintf("an unknown parameter with %q", bad), "invalid_request")
	}
}

func bounds(t *t) {
	form := t.good()
	long := strings.Repeat("a", 1<<20)
	t.noToken(t.caller(set(form, "subject_token", long)), "a token of 1 MiB")
	t.noToken(t.caller(set(form, "pad", long)), "a parameter of 1 MiB")
	t.refused(t.caller(set(form, "subject_token", long[:20<<10]+".a.a")), "a token of 20 KiB", "invalid_request")
	many := copied(form)
	for _, name := range []string{"audience", "resource"} {
		for range 100 * len(form[name]) {
			many.Add(name, form.Get(name))
		}
	}
	t.refused(t.caller(many), "the same target 101 times", "invalid_request", "invalid_target")
	if t.profile.Subject != nil && t.profile.Exchange != nil && t.profile.Subject.forger.key != nil {
		padded := t.profile.Subject.forger.with(map[string]any{"pad": long[:100<<10]})
		t.noToken(t.caller(set(form, "subject_token", padded)), "a token that is good, and has 100 KiB")
	}
	t.refused(t.caller(set(form, "scope", strings.TrimSuffix(strings.Repeat("a ", 10_000), " "))), "10 000 scopes", "invalid_request", "invalid_scope")
}

func twoAuthentications(t *t) {
	form := t.good()
	basic := http.Header{"Authorization": {"Basic " + base64.StdEncoding.EncodeToString([]byte("someone:secret"))}}
	if c := t.needClient("caller"); c.secret != "" && c.Basic {
		form.Set("client_secret", c.secret)
		basic = nil
	}
	t.refused(t.ask(call{client: "caller", form: form, header: basic}), "and Basic", "invalid_request", "invalid_client")
	assertion := with(form, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", "client_assertion", "e30.e30.AA")
	t.refused(t.caller(assertion), "and a client assertion", "invalid_request", "invalid_client")
	t.refused(t.caller(with(form, "client_secret", "secret-of-somebody")), "and a client secret", "invalid_request", "invalid_client")
}

func onlyTLS(t *t) {
	u, err := url.Parse(t.token)
	t.must(err == nil && u.Scheme == "https", "the token endpoint is %s", t.token)
	host := u.Host
	if u.Port() == "" {
		host = net.JoinHostPort(host, "443")
	}
	plain, err := http.NewRequestWithContext(t.ctx, http.MethodPost, "http://"+host+u.Path, strings.NewReader(t.withClient(t.good()).Encode()))
	t.must(err == nil, "%v", err)
	plain.Header.Set("Content-Type", formType)
	t.noToken(read(t.as("caller"), plain), "plain HTTP")
	old := t.showing(nil)
	transport, ok := old.Transport.(*http.Transport)
	t.must(ok, "internal error: not our transport")
	transport.TLSClientConfig.MinVersion, transport.TLSClientConfig.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 // that it is refused is what is tested
	a := t.ask(call{client: "caller", form: t.good(), http: old})
	t.hold(a.err != nil, "TLS 1.1 was accepted: %d", a.status)
}

func strictNames(t *t) {
	f := t.needForger()
	sub := `"sub":"admin"`
	for _, more := range []string{sub, `"aud":"x"`, `"exp":9999999999`, `"iss":"x"`, `"act":{},"act":{}`} {
		t.subjectRefused(f.text(more), "claims that repeat "+more)
	}
	for _, more := range []string{`"SUB":"admin"`, `"\u017fub":"admin"`} {
		// Another name is not this claim; a server that does not refuse it must at
		// least not believe it.
		to, _ := t.needExchange()
		a := t.caller(exchange(to, f.text(more), t.profile.Subject.Type))
		t.hold(a.status != http.StatusOK || !strings.Contains(str(payload(a.text("access_token")), "sub"), "admin"), "claims with %s: the subject became admin", more)
	}
}

func invalidUTF8(t *t) {
	f := t.needForger()
	t.subjectRefused(f.text("\"x\":\"\xff\""), "a claim with the byte FF")
	t.subjectRefused(f.text("\"x\":\"\xc0\xaf\""), "a claim with an overlong form")
	t.subjectRefused(f.with(map[string]any{"sub": nil, "x": "y"}), "no sub")
	body := strings.Replace(string(object(f.body(), map[string]any{"sub": "SUBJECT"})), "SUBJECT", "a\xff", 1)
	t.subjectRefused(f.sign(object(f.header(), nil), []byte(body)), "a sub with the byte FF")
}

func noEcho(t *t) {
	form := t.good()
	const canary = "canary-0d5b8f1e4c7a"
	for name := range form {
		a := t.caller(set(form, name, canary))
		t.refused(a, name)
		t.hold(!strings.Contains(string(a.body), canary), "the answer repeats %s", name)
	}
}
