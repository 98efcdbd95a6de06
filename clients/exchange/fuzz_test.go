package exchange_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
)

// Whatever a server answers, what comes out is a token that a header can carry or
// an error of bounded length in plain text.
func FuzzReadGranted(f *testing.F) {
	f.Add(200, "application/json", "", []byte(goodAnswer))
	f.Add(200, "application/json", "", []byte(`{"access_token":"a\r\nb","token_type":"Bearer","expires_in":1}`))
	f.Add(200, "application/json", "", []byte(`{"access_token":"a","access_token":"b","token_type":"Bearer","expires_in":1e3}`))
	f.Add(400, "application/json", "7", []byte(`{"error":"invalid_scope","error_description":"refused, id 01J: \u0000"}`))
	f.Add(429, "text/html", "99999999999", []byte(strings.Repeat("[", 100)))
	f.Add(503, "application/json", "-1", []byte(`{"error":"temporarily_unavailable"`))
	f.Fuzz(func(t *testing.T, status int, contentType, retryAfter string, body []byte) {
		a := exchange.Answer(status, http.Header{"Content-Type": {contentType}, "Retry-After": {retryAfter}, "X-Request-Id": {retryAfter}}, body)
		secret, scopes, life, err := exchange.ReadGranted(a)
		if err == nil {
			plain := func(c rune) bool { return c <= ' ' || c > '~' }
			if secret.IsZero() || strings.ContainsFunc(secret.Reveal(), plain) || life <= 0 || life > 24*time.Hour || status != 200 {
				t.Errorf("%d: %q %v", status, secret.Reveal(), life)
			}
			if !scopes.IsEmpty() {
				if again, err := oauth.ParseScopes(scopes.String()); err != nil || !again.Equal(scopes) {
					t.Errorf("scopes %q", scopes)
				}
			}
			return
		}
		if !secret.IsZero() {
			t.Error("a token with an error")
		}
		e := asError(t, err)
		if text := err.Error(); len(text) > 1024 || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%q", text)
		}
		if e.RetryAfter < 0 || e.RetryAfter > 5*time.Minute {
			t.Error(e.RetryAfter)
		}
	})
}

// Whatever a broker lists, a resource that is found is the one that was named.
func FuzzReadSelf(f *testing.F) {
	for _, named := range []string{"ledger", "shop/cart", "a/a", "a/b", "https://a.b.svc.prod.example", "*", "urn:x"} {
		f.Add([]byte(selfText), named)
	}
	f.Add([]byte(`{"resources":[{"name":"*","uri":"*:*","hosts":["*"]}],"next":"x"}`), "a")
	f.Fuzz(func(t *testing.T, body []byte, named string) {
		uri, hosts, found, err := exchange.ReadSelf(exchange.Answer(200, header(), body), named)
		if found && err != nil || !found && (uri != "" || len(hosts) > 0) {
			t.Errorf("%q %q %v", uri, hosts, err)
		}
		if found && strings.Contains(named, ":") && uri != named {
			t.Errorf("named %q, found %q", named, uri)
		}
	})
}

// Two targets have one key only if they are the same: by resource, role, set of
// scopes, the user's token and its type (threats C17).
func FuzzKey(f *testing.F) {
	f.Add("a", "b c", "x", "", false, "a", "b", "c", "", false)
	f.Add("a", "b", "xy", "z", true, "ab", "", "x", "yz", true)
	f.Add("a b", "", "", "", true, "a", "b", "", "", false)
	f.Add("l", "a b a", "t", "u", true, "l", "b a", "t", "u", true)
	f.Add(strings.Repeat("l", 1024), "s", "t", "", true, strings.Repeat("l", 1023), "s", "t", "", true)
	target := func(resource, scopes, user, typ string, as bool) exchange.Target {
		t := exchange.Target{Resource: resource, As: exchange.AsSelf, Scopes: strings.Fields(scopes)}
		if as {
			t.As, t.User, t.UserType = exchange.AsUser, oauth.NewSecret(user), oauth.TokenType(typ)
		}
		return t
	}
	set := func(scopes []string) []string {
		scopes = slices.Clone(scopes)
		slices.Sort(scopes)
		return slices.Compact(scopes)
	}
	f.Fuzz(func(t *testing.T, r1, s1, u1, t1 string, as1 bool, r2, s2, u2, t2 string, as2 bool) {
		a, b := target(r1, s1, u1, t1, as1), target(r2, s2, u2, t2, as2)
		ka, errA := exchange.Key(context.Background(), a)
		kb, errB := exchange.Key(context.Background(), b)
		if errA != nil || errB != nil {
			return
		}
		same := a.Resource == b.Resource && a.As == b.As && slices.Equal(set(a.Scopes), set(b.Scopes)) && a.User.Reveal() == b.User.Reveal() && a.UserType == b.UserType
		if (ka == kb) != same {
			t.Errorf("%+v and %+v: %v", a, b, ka == kb)
		}
	})
}
