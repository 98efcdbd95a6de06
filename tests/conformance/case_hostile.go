package main

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// hostileCases are the hostile input matrix at the token endpoint (H1 to H26).
// Where a row is what other ids say, it runs their cases.
func hostileCases() []testCase {
	return []testCase{
		{"H1", "alg none, empty, missing, an array", noNone},
		{"H2", "HMAC with the public key of the issuer", algorithmConfusion},
		{"H3", "keys and URLs in the header", headerKeys},
		{"H4", "hostile kid", hostileKeyIDs},
		{"H5", "repeated names and other cases", func(t *t) { repeatedNames(t); otherCase(t) }},
		{"H6", "crit and b64", func(t *t) { critical(t); unencoded(t) }},
		{"H7", "encrypted tokens and bombs", noEncryption},
		{"H8", "other serialisations", onlyCompact},
		{"H9", "hostile dates", dates},
		{"H10", "one leeway for clocks, and a small one", leeway},
		{"H11", "hostile aud", hostileAudiences},
		{"H12", "hostile act", actBounded},
		{"H13", "huge tokens, forms and a million dots", hugeInput},
		{"H14", "odd Unicode", oddUnicode},
		{"H15", "hostile certificates", func(t *t) { oneURI(t); badLeaves(t); signingCertificate(t); otherDomain(t) }},
		{"H16", "hostile scope", func(t *t) { scopeGrammar(t); scopeWildcards(t) }},
		{"H17", "hostile forms", func(t *t) { repeated(t); noQuery(t); onlyForms(t); brokenForms(t); spaces(t) }},
		{"H18", "hostile resource", func(t *t) { badResources(t); spelledTargets(t) }},
		{"H19", "TLS sessions", noResumption},
		{"H22", "tokens of another kind", otherKinds},
		{"H23", "a flood of unknown keys", keyFlood},
		{"H26", "may_act and act without an actor token", func(t *t) { mayAct(t); actKept(t) }},
	}
}

// leeway: a token that expired 90 seconds ago is refused by everybody, one that
// ends in 90 is taken. In between a threshold lies, and only one.
func leeway(t *t) {
	f := t.needForger()
	to, _ := t.needExchange()
	now := time.Now().Unix()
	for _, late := range []int64{-3600, -90} {
		t.subjectRefused(f.with(map[string]any{"exp": now + late, "iat": now + late - 600}), fmt.Sprintf("exp %d s", late))
		t.subjectRefused(f.with(map[string]any{"nbf": now - late, "iat": now - 1}), fmt.Sprintf("nbf in %d s", -late))
		t.subjectRefused(f.with(map[string]any{"iat": now - late}), fmt.Sprintf("iat in %d s", -late))
	}
	taken := false
	for late := int64(-80); late <= 90; late += 10 {
		a := t.caller(exchange(to, f.with(map[string]any{"exp": now + late, "iat": now - 600}), t.profile.Subject.Type))
		ok := a.status == http.StatusOK
		t.hold(ok || !taken, "exp %d s was refused, and an earlier one taken", late)
		seconds, _ := mustObject(a)["expires_in"].(float64)
		t.hold(!ok || int64(seconds) <= late, "exp %d s: the token lives for %v s", late, seconds)
		taken = taken || ok
	}
	t.hold(taken, "exp in 90 s was refused")
}

func mustObject(a answer) map[string]any {
	members, err := a.object()
	if err != nil {
		return nil
	}
	return members
}

func hostileAudiences(t *t) {
	f := t.needForger()
	good := f.claims["aud"]
	many := make([]any, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("https://a%d.invalid", i)
	}
	for what, aud := range map[string]any{
		"nested": []any{[]any{good}}, "mixed": []any{good, 1, nil}, "an object": map[string]any{}, "empty": "", "no one": []any{}, "1000": many, "a number": 1, "a prefix": fmt.Sprint(good) + "2",
		"an empty name": []any{good, ""}, "true": true,
	} {
		t.subjectRefused(f.with(map[string]any{"aud": aud}), "aud is "+what)
	}
}

func hugeInput(t *t) {
	bounds(t)
	if t.profile.Subject == nil || t.profile.Exchange == nil {
		return
	}
	for what, token := range map[string]string{
		"a million dots": strings.Repeat(".", 1_000_000), "a thousand dots": strings.Repeat(".", 1000), "deep JSON": b64([]byte(strings.Repeat("[", 5000))) + ".e30.AA",
		"deep claims": "e30." + b64([]byte(strings.Repeat(`{"a":`, 2000))) + ".AA",
	} {
		t.noToken(t.caller(exchange(t.profile.Exchange, token, t.profile.Subject.Type)), what)
	}
	t.noToken(t.ask(call{client: "caller", body: strings.Repeat("a=b&", 10_000) + "grant_type=x"}), "10 000 parameters")
	if f := t.profile.Subject.forger; f.key != nil {
		t.noToken(t.caller(exchange(t.profile.Exchange, f.text(`"x":`+strings.Repeat("[", 3000)+strings.Repeat("]", 3000)), t.profile.Subject.Type)), "claims 3000 deep")
		t.subjectTaken(f.good(), "a good token after all that")
	}
}

func oddUnicode(t *t) {
	invalidUTF8(t)
	f := t.needForger()
	for _, sub := range []string{"a\u0000b", "a\nb", "\u202eadmin", "", "\u0085"} {
		a := t.caller(exchange(t.profile.Exchange, f.with(map[string]any{"sub": sub}), t.profile.Subject.Type))
		t.hold(a.status == http.StatusBadRequest, "sub %q: %d", sub, a.status)
	}
	t.subjectRefused(f.text(`"x":"\ud800"`), "half a surrogate")
	t.refused(t.caller(set(t.good(), "scope", t.good().Get("scope")+"\u202e")), "scope with a mark that turns text round", "invalid_scope", "invalid_request")
}

// spaces: + and %20 are the same in a form.
func spaces(t *t) {
	body := t.withClient(t.good()).Encode()
	t.granted(t.ask(call{client: "caller", body: body + "&x=a+b&y=a%20b"}), "with + and %20")
}

// keyFlood: many tokens with keys that nobody knows; the server must keep
// answering, and take a good token meanwhile. How often it asked its issuer is
// for a test with an issuer to see.
func keyFlood(t *t) {
	f := t.needForger()
	const tokens = 200
	form := func(i int) call {
		token := f.headed(map[string]any{"kid": fmt.Sprintf("unknown-%d", i)})
		return call{client: "caller", form: exchange(t.profile.Exchange, token, t.profile.Subject.Type)}
	}
	t.subjectTaken(f.good(), "a good token before")
	for i := range tokens {
		a := t.ask(form(i))
		t.hold(a.err == nil && a.text("access_token") == "" && (a.status == http.StatusBadRequest || a.status == http.StatusTooManyRequests || a.status == http.StatusServiceUnavailable), "an unknown key: %d %v", a.status, a.err)
	}
	t.subjectTaken(f.good(), "a good token after")
}
