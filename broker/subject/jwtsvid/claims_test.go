package jwtsvid_test

import (
	"bytes"
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// Standards SF-1 to SF-4 and SJ-5: what names a workload, letter by letter. The key
// of each trust domain that could be meant is there.
func TestSubjectIsASPIFFEID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	td255 := strings.Repeat("a", 255)
	domains := map[spiffeid.TrustDomain][]jws.Key{}
	for _, name := range []string{"td", "td.", ".td", "a..b", "1.2.3.4", td255, td255 + "a"} {
		domains[spiffeid.RequireTrustDomainFromString(name)] = []jws.Key{public(t, "k1", jws.ES256, w.prod)}
	}
	w.trust.Set(domains)
	long := func(n int) string { return "spiffe://td/" + strings.Repeat("a", n-len("spiffe://td/")) }
	for _, good := range []string{
		"spiffe://td/a", "spiffe://td/a/b", "spiffe://td/...", "spiffe://td/A-b_c.d", "spiffe://1.2.3.4/a", "spiffe://td./a", "spiffe://.td/a", "spiffe://a..b/a",
		"spiffe://" + td255 + "/a", long(2048),
	} {
		if s, err := w.verify(t, w.token(t, ofWeb().with(object{"sub": good}))); err != nil || s.Sub != good {
			t.Errorf("%.60q: %v", good, err)
		}
	}
	for _, bad := range []any{
		nil, "", "web", "spiffe:", "spiffe:/td/a", "spiffe://", "spiffe:///a", "spiffe://td", "spiffe://td/", "spiffe://TD/a", "SPIFFE://td/a", "Spiffe://td/a",
		"spiffe://td/a/", "spiffe://td//a", "spiffe://td/./a", "spiffe://td/../a", "spiffe://td/%61", "spiffe://t%64/a", "spiffe://td:443/a", "spiffe://u@td/a",
		"spiffe://td/a?x", "spiffe://td/a#x", "spiffe://td/é", "spiffe://td/a b", "spiffe://td/a\x00", "spiffe://[::1]/a", " spiffe://td/a", "spiffe://td/a ",
		"spiffe://td/a\n", "spiffe://td/a*", "https://td/a", "spiffe://td/\u202ea", "spiffe://" + td255 + "a/a", long(2049),
	} {
		s, err := w.verify(t, w.token(t, ofWeb().with(object{"sub": bad})))
		if e := refused(t, s, err, broker.ReasonTokenClaims); !strings.Contains(e.Public, "SPIFFE ID of a workload") {
			t.Errorf("%.60q: %s", bad, e.Public)
		}
	}
}

// CX-8, H11: for us alone, byte for byte.
func TestAudience(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, test := range map[string]struct {
		aud    any
		reason broker.Reason
	}{
		"none":             {nil, broker.ReasonTokenAudience},
		"another":          {"https://other.example", broker.ReasonTokenAudience},
		"ours and another": {[]string{us, "x"}, broker.ReasonTokenAudience},
		"another and ours": {[]string{"x", us}, broker.ReasonTokenAudience},
		"ours twice":       {[]string{us, us}, broker.ReasonTokenAudience},
		"a slash":          {us + "/", broker.ReasonTokenAudience},
		"capitals":         {strings.ToUpper(us), broker.ReasonTokenAudience},
		"token endpoint":   {us + "/oauth2/token", broker.ReasonTokenAudience},
		"a part":           {us[:len(us)-1], broker.ReasonTokenAudience},
		"empty":            {"", broker.ReasonTokenClaims},
		"empty array":      {[]string{}, broker.ReasonTokenClaims},
		"an object":        {object{"x": us}, broker.ReasonTokenClaims},
		"nested":           {[]any{[]string{us}}, broker.ReasonTokenClaims},
		"mixed":            {[]any{us, 1}, broker.ReasonTokenClaims},
	} {
		s, err := w.verify(t, w.token(t, ofWeb().with(object{"aud": test.aud})))
		e := refused(t, s, err, test.reason)
		if strings.Contains(e.Error(), "other.example") {
			t.Errorf("%s: the refusal holds something of the token: %v", name, e)
		}
	}
}

// SJ-4, SJ-6, H9: each date that may be wrong, at the second at which it becomes so.
// Now is half a second past a whole one.
func TestDates(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := now.Unix()
	for name, test := range map[string]struct {
		dates  object
		reason broker.Reason
		public string
	}{
		"no exp":                 {object{"exp": nil}, broker.ReasonTokenClaims, "exp is required"},
		"neither":                {object{"exp": nil, "iat": nil}, broker.ReasonTokenClaims, "exp is required"},
		"exp a string":           {object{"exp": "1"}, broker.ReasonTokenClaims, ""},
		"exp 1e300":              {object{"exp": 1e300}, broker.ReasonTokenClaims, ""},
		"exp negative":           {object{"exp": -1}, broker.ReasonTokenClaims, ""},
		"exp before iat":         {object{"exp": at, "iat": at}, broker.ReasonTokenClaims, "before it was issued"},
		"expired":                {object{"exp": at - 30, "iat": at - 40}, broker.ReasonTokenExpired, "has expired"},
		"expired within skew":    {object{"exp": at - 29, "iat": at - 40}, "", ""},
		"old":                    {object{"iat": at - 300}, broker.ReasonTokenExpired, "5 minutes"},
		"not yet old":            {object{"iat": at - 299}, "", ""},
		"iat to come":            {object{"iat": at + 31, "exp": at + 60}, broker.ReasonTokenNotYetValid, ""},
		"iat within skew":        {object{"iat": at + 30, "exp": at + 60}, "", ""},
		"nbf to come":            {object{"nbf": at + 31}, broker.ReasonTokenNotYetValid, ""},
		"nbf within skew":        {object{"nbf": at + 30}, "", ""},
		"an hour":                {object{"exp": at + 3600}, "", ""},
		"longer":                 {object{"exp": at + 3601}, broker.ReasonTokenClaims, "an hour"},
		"longer, and not new":    {object{"iat": at - 200, "exp": at - 200 + 3601}, broker.ReasonTokenClaims, "an hour"},
		"longer by the clock":    {object{"iat": at + 10, "exp": at + 3601}, broker.ReasonTokenClaims, "an hour"},
		"without iat":            {object{"iat": nil, "exp": at + 300}, "", ""},
		"without iat, longer":    {object{"iat": nil, "exp": at + 301}, broker.ReasonTokenClaims, "without iat"},
		"without iat, long":      {object{"iat": nil, "exp": at + 86400}, broker.ReasonTokenClaims, "without iat"},
		"without iat, expired":   {object{"iat": nil, "exp": at - 30}, broker.ReasonTokenExpired, "has expired"},
		"without iat, over":      {object{"iat": nil, "exp": at}, broker.ReasonTokenExpired, "5 minutes"},
		"without iat, not over":  {object{"iat": nil, "exp": at + 1}, "", ""},
		"without iat, nbf later": {object{"iat": nil, "exp": at + 300, "nbf": at + 31}, broker.ReasonTokenNotYetValid, ""},
		"iat null":               {object{"iat": json.RawMessage("null")}, broker.ReasonTokenClaims, ""},
	} {
		s, err := w.verify(t, w.token(t, ofWeb().with(test.dates)))
		if test.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if e := refused(t, s, err, test.reason); !strings.Contains(e.Public, test.public) {
			t.Errorf("%s: %s", name, e.Public)
		}
	}
}

// H10, law of this room: from the first second to the last, and nowhere else. A
// JWT-SVID cannot be shown for longer than five minutes and the skew of one clock.
func TestWindow(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := now.Unix()
	for name, test := range map[string]struct {
		claims      object
		first, last int // seconds from at
	}{
		"five minutes":         {ofWeb(), -30, 300},
		"half an hour":         {ofWeb().with(object{"exp": at + 1800}), -30, 300},
		"two minutes":          {ofWeb().with(object{"exp": at + 120}), -30, 149},
		"without iat, in ten":  {ofWeb().with(object{"iat": nil, "exp": at + 600}), 300, 600},
		"without iat, in five": {ofWeb().with(object{"iat": nil}), 0, 300},
	} {
		token := w.token(t, test.claims)
		near := func(s, edge int) bool { return edge-3 <= s && s <= edge+3 }
		for s := -400; s <= 700; s++ {
			if s%20 != 0 && !near(s, test.first) && !near(s, test.last) {
				continue
			}
			_, err := w.verifyAt(t, time.Unix(at+int64(s), 0), token, oauth.TokenTypeJWTSVID)
			if (err == nil) != (test.first <= s && s <= test.last) {
				t.Fatalf("%s, at second %d: %v", name, s, err)
			}
		}
	}
}

// What else claims may be (H5, H12, H14).
func TestClaims(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	good, err := json.Marshal(ofWeb())
	must(t, err)
	more := func(members string) []byte {
		return []byte(string(bytes.TrimSuffix(good, []byte("}"))) + members + "}")
	}
	for name, test := range map[string]struct {
		payload []byte
		reason  broker.Reason
		public  string
	}{
		"good":             {more(``), "", ""},
		"sub twice":        {more(`,"sub":"` + web + `"`), broker.ReasonTokenMalformed, ""},
		"SUB too":          {more(`,"SUB":"` + web + `"`), broker.ReasonTokenClaims, ""},
		"long s":           {more(`,"\u017fub":"x"`), broker.ReasonTokenClaims, ""},
		"no object":        {[]byte(`["a"]`), broker.ReasonTokenMalformed, ""},
		"text behind":      {append(more(``), 'x'), broker.ReasonTokenMalformed, ""},
		"not UTF-8":        {more(",\"x\":\"\xff\""), broker.ReasonTokenMalformed, ""},
		"deep":             {more(`,"x":` + strings.Repeat(`[`, 17) + strings.Repeat(`]`, 17)), broker.ReasonTokenClaims, ""},
		"sub a number":     {[]byte(`{"sub":1}`), broker.ReasonTokenMalformed, ""},
		"jti a number":     {more(`,"jti":1`), broker.ReasonTokenClaims, ""},
		"jti long":         {more(`,"jti":"` + strings.Repeat("j", 257) + `"`), broker.ReasonTokenClaims, "jti"},
		"jti at the limit": {more(`,"jti":"` + strings.Repeat("j", 256) + `"`), "", ""},
		"jti turned":       {more(`,"jti":"a\u202eb"`), broker.ReasonTokenClaims, "jti"},
		"act a string":     {more(`,"act":"` + web + `"`), broker.ReasonTokenClaims, ""},
		"act of nobody":    {more(`,"act":{}`), broker.ReasonTokenClaims, ""},
		"act deep":         {more(`,"act":` + strings.Repeat(`{"act":`, 20000) + `1` + strings.Repeat(`}`, 20000)), broker.ReasonTokenTooLarge, ""},
		"may_act by email": {more(`,"may_act":{"sub":"` + web + `","email":"a@b"}`), broker.ReasonMayAct, ""},
		"cnf a string":     {more(`,"cnf":"x"`), broker.ReasonTokenClaims, ""},
	} {
		s, err := w.verify(t, w.token(t, test.payload))
		if test.reason == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if e := refused(t, s, err, test.reason); !strings.Contains(e.Public, test.public) {
			t.Errorf("%s: %s", name, e.Public)
		}
	}
}

// What a refusal says of claims was true once: who has no key hears nothing of them.
func TestSignatureComesFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, changes := range map[string]object{
		"expired": {"exp": now.Unix() - 600}, "another aud": {"aud": "x"}, "no path": {"sub": "spiffe://prod.example"}, "a bad act": {"act": 1},
	} {
		s, err := w.verify(t, sign(t, jose.ES256, newKey(t), header{"kid": "k1"}, ofWeb().with(changes)))
		if e := refused(t, s, err, broker.ReasonTokenSignature); e.Public == "" {
			t.Error(name)
		}
	}
}

// FuzzClaims signs whatever payload it is given. What is accepted is a workload of
// the trust domain whose key signed, for us, now.
func FuzzClaims(f *testing.F) {
	w := newWorld(f)
	for _, seed := range []object{
		ofWeb(), ofWeb().with(object{"iat": nil, "jti": "j", "aud": us}), ofWeb().with(object{"act": object{"sub": web}, "cnf": object{"kid": "x"}, "may_act": object{"sub": web}}),
		ofWeb().with(object{"sub": "spiffe://partner.example/a"}), ofWeb().with(object{"sub": "spiffe://prod.example"}),
	} {
		payload, err := json.Marshal(seed)
		must(f, err)
		f.Add(payload)
	}
	route := subject.NewRoute(w.source(f))
	f.Fuzz(func(t *testing.T, payload []byte) {
		s, err := route.Verify(context.Background(), w.view, now, broker.SubjectToken{Raw: oauth.NewSecret(w.token(t, payload)), Type: oauth.TokenTypeJWTSVID})
		if err != nil {
			if e := broker.AsError(err); e.Code != broker.CodeInvalidRequest || e.Reason == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		id, ok := s.WorkloadID()
		switch {
		case !ok || id.String() != s.Sub || !id.MemberOf(prod) || id.Path() == "":
			t.Fatalf("no workload of the trust domain: %+v", s)
		case len(s.Audience) != 1 || s.Audience[0] != us || s.KeyID != "k1":
			t.Fatalf("not for us: %+v", s)
		case !now.Before(s.ExpiresAt.Add(subject.Skew)) || s.ExpiresAt.Sub(now) > time.Hour || now.Sub(s.IssuedAt) > 5*time.Minute && !s.IssuedAt.IsZero():
			t.Fatalf("not now: %+v", s)
		case s.Issued || s.ClientID != "" || s.Issuer != nil || !s.Origin.IsZero() || !s.Scopes.IsEmpty() || s.Txn != "" || len(s.Ancestors)+len(s.Presenters)+len(s.Claims) > 0:
			t.Fatalf("it passes for something else: %+v", s)
		}
	})
}
