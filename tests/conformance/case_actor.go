package main

import (
	"strings"
)

// actorCases are about act and may_act (TX-32 to TX-41).
func actorCases() []testCase {
	return []testCase{
		{"TX-32", "the current actor is outermost, the oldest deepest", actorOrder},
		{"TX-34", "exp, nbf and aud inside act and may_act mean nothing and do not travel", datesInAct},
		{"TX-35", "the actor is who authenticated, never a request field", actorIsProven},
		{"TX-36", "may_act is enforced, also without an actor token", mayAct},
		{"TX-37", "an act that came is in the token that goes", actKept},
		{"TX-38", "act chains are bounded", actBounded},
		{"TX-39", "a chain that comes back to one of its own is refused", actLoops},
		{"TX-41", "scope is one string, client_id is who asked", scopeAndClient},
	}
}

// onward returns the claims of the token that next gets for the token of caller.
func (t *t) onward(first string) map[string]any {
	t.need(t.profile.Onward != nil, "the profile has no onward")
	t.needClient("next")
	a := t.ask(call{client: "next", form: exchange(t.profile.Onward, first, tokenTypes+"access_token")})
	return payload(str(t.granted(a, "onward"), "access_token"))
}

// first returns the token that caller gets for a subject token.
func (t *t) first(subject string) string {
	return str(t.subjectTaken(subject, "the exchange of the profile"), "access_token")
}

func (c *client) name() string {
	if c.Sub != "" {
		return c.Sub
	}
	return c.ID
}

func actorOrder(t *t) {
	_, f := t.needExchange()
	token := t.first(f.good())
	caller := t.needClient("caller").name()
	t.hold(equal(actors(payload(token)), []string{caller}), "the actors of the first token are %q, want %q", actors(payload(token)), caller)
	claims := t.onward(token)
	want := []string{t.needClient("next").name(), caller}
	t.hold(equal(actors(claims), want), "the actors of the second token are %q, want %q", actors(claims), want)
	t.hold(str(claims, "sub") == str(payload(token), "sub"), "sub changed from %q to %q", str(payload(token), "sub"), str(claims, "sub"))
}

func datesInAct(t *t) {
	f := t.needForger()
	s := t.profile.Subject
	t.need(s.Actor != "" || s.Delegates, "the issuer of the profile makes neither act nor may_act")
	if s.Actor != "" {
		t.subjectTaken(f.with(map[string]any{"may_act": map[string]any{"sub": s.Actor, "exp": 1, "nbf": 1 << 40, "aud": "x"}}), "dates in may_act")
	}
	if s.Delegates {
		token := t.first(f.with(map[string]any{"act": map[string]any{"sub": "front", "exp": 1, "nbf": 1 << 40, "aud": "x"}}))
		act, _ := payload(token)["act"].(map[string]any)
		for act != nil {
			t.hold(act["exp"] == nil && act["nbf"] == nil && act["aud"] == nil, "the act of the token has dates or an audience: %v", act)
			act, _ = act["act"].(map[string]any)
		}
	}
}

func actorIsProven(t *t) {
	_, f := t.needExchange()
	a := t.caller(with(t.good(), "act", `{"sub":"admin"}`, "actor", "admin"))
	claims := payload(str(t.granted(a, "with act and actor in the form"), "access_token"))
	t.hold(equal(actors(claims), []string{t.needClient("caller").name()}), "the actors are %q", actors(claims))
	t.refused(t.caller(with(t.good(), "actor_token", f.good(), "actor_token_type", t.profile.Subject.Type)), "the subject as its own actor", "invalid_request")
}

func mayAct(t *t) {
	f := t.needForger()
	for _, party := range []any{
		map[string]any{"sub": "somebody-else"}, map[string]any{"sub": t.needClient("caller").name() + "x"}, map[string]any{}, "caller", []any{}, map[string]any{"sub": 1},
		map[string]any{"sub": t.needClient("caller").name(), "iss": "https://nobody.invalid"},
	} {
		t.subjectRefused(f.with(map[string]any{"may_act": party}), "may_act names another")
	}
	if t.profile.Subject.Actor != "" {
		t.subjectTaken(f.with(map[string]any{"may_act": map[string]any{"sub": t.profile.Subject.Actor}}), "may_act names the caller")
	}
}

func actKept(t *t) {
	_, f := t.needExchange()
	caller := t.needClient("caller").name()
	if t.profile.Subject.Delegates && f.key != nil {
		token := t.first(f.with(map[string]any{"act": chain("front")}))
		t.hold(equal(actors(payload(token)), []string{caller, "front"}), "the actors are %q", actors(payload(token)))
	}
	// The holder of a token narrows it: what stands in act stays (Keycloak #52691
	// is about the shape of the request, this about the content of the token).
	token := t.first(f.good())
	a := t.caller(exchange(t.profile.Exchange, token, tokenTypes+"access_token"))
	if a.status == 200 {
		t.hold(equal(actors(payload(a.text("access_token"))), []string{caller}), "the actors of the narrowed token are %q", actors(payload(a.text("access_token"))))
	}
	if t.profile.Onward != nil && t.profile.client("next") != nil {
		claims := t.onward(token)
		t.hold(strings.Join(actors(claims), " ") == t.needClient("next").name()+" "+caller, "the actors of the onward token are %q", actors(claims))
	}
}

func actBounded(t *t) {
	f := t.needForger()
	for _, links := range []int{20, 100, 500, 1000, 20_000} { // the longest are refused for their size, the shorter for their depth
		t.subjectRefused(f.text(deep(links)), "an act of many")
	}
	for _, bad := range []string{`"act":"x"`, `"act":[]`, `"act":{}`, `"act":null`, `"act":{"sub":1}`, `"act":{"sub":"a","act":"b"}`, `"act":{"sub":"a","role":"admin"}`} {
		t.subjectRefused(f.text(bad), bad)
	}
	if !t.profile.Subject.Delegates || t.profile.MaxActors == 0 {
		return
	}
	names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"}[:min(t.profile.MaxActors, 10)]
	t.subjectTaken(f.with(map[string]any{"act": chain(names[1:]...)}), "as many actors as may be, with the caller")
	t.subjectRefused(f.with(map[string]any{"act": chain(names...)}), "one actor more")
}

func actLoops(t *t) {
	f := t.needForger()
	t.need(t.profile.Subject.Delegates, "the issuer of the profile makes no act")
	t.subjectRefused(f.with(map[string]any{"act": chain("a", "b", "a")}), "a, b, a")
	if t.profile.Subject.Actor != "" {
		t.subjectRefused(f.with(map[string]any{"act": chain("a", t.profile.Subject.Actor)}), "the caller acted before")
	}
}

func scopeAndClient(t *t) {
	body := t.granted(t.caller(t.good()), "the good request of the profile")
	claims := payload(str(body, "access_token"))
	t.need(claims != nil, "the access token is not a JWT")
	_, ok := claims["scope"].(string)
	t.hold(ok, "the claim scope is %v", claims["scope"])
	t.hold(str(claims, "client_id") == t.needClient("caller").ID, "client_id is %q", str(claims, "client_id"))
	a := t.caller(with(t.good(), "client_id", "somebody-else"))
	t.refused(a, "client_id of another", "invalid_client", "invalid_request")
}
