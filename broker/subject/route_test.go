package subject_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

var _ broker.SubjectVerifier = (*subject.Route)(nil)

// fakeSource is a source that says what it is told and counts.
type fakeSource struct {
	issuer, sub string
	err         error
	verified    *subject.Token
	calls       int
}

func (f *fakeSource) Match(_ broker.View, t *subject.Token) bool {
	return t.UnverifiedIssuer == f.issuer && strings.HasPrefix(t.UnverifiedSubject, f.sub)
}

func (f *fakeSource) Verify(_ context.Context, _ broker.View, _ time.Time, t *subject.Token) (broker.Subject, error) {
	f.calls++
	f.verified = t
	return broker.Subject{Kind: broker.SubjectUser, Sub: f.issuer + f.sub}, f.err
}

// The first source that matches is final: what it refuses nobody else is asked.
func TestRoute(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	refusal := errors.New("refused")
	tests := map[string]struct {
		claims  object
		err     error   // of the first source that matches
		sources []int   // how often each is asked
		want    *string // sub of the answer
	}{
		"by issuer":              {object{"iss": "a", "sub": "x"}, nil, []int{1, 0, 0}, new("a")},
		"the second":             {object{"iss": "b"}, nil, []int{0, 1, 0}, new("b")},
		"by sub, without issuer": {object{"sub": "spiffe://td/a"}, nil, []int{0, 0, 1}, new("spiffe:")},
		"nobody":                 {object{"iss": "c", "sub": "x"}, nil, []int{0, 0, 0}, nil},
		"a refusal is final":     {object{"iss": "a", "sub": "x"}, refusal, []int{1, 0, 0}, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all := []*fakeSource{{issuer: "a"}, {issuer: "b"}, {sub: "spiffe:"}, {issuer: "a"}}
			all[0].err = test.err
			token := sign(t, k, "JWT", "k", test.claims)
			s, err := subject.NewRoute(all[0], all[1], all[2], all[3]).Verify(t.Context(), view{}, now, shown(token, oauth.TokenTypeJWT))
			for i, calls := range append(test.sources, 0) {
				if all[i].calls != calls {
					t.Errorf("source %d was asked %d times", i, all[i].calls)
				}
			}
			switch {
			case test.want != nil:
				if err != nil || s.Sub != *test.want || s.TokenHash != sha256.Sum256([]byte(token)) {
					t.Errorf("%+v, %v", s, err)
				}
			case test.err != nil:
				if !errors.Is(err, test.err) || s.Sub != "" {
					t.Errorf("%+v, %v", s, err)
				}
			default:
				refused(t, err, broker.ReasonTokenIssuer)
			}
		})
	}
}

func TestZeroRouteRefuses(t *testing.T) {
	t.Parallel()
	_, err := new(subject.Route).Verify(t.Context(), view{}, now, shown(sign(t, newKey(t), "at+jwt", "k", object{"iss": "a"}), oauth.TokenTypeJWT))
	refused(t, err, broker.ReasonTokenIssuer)
}

func TestParse(t *testing.T) {
	t.Parallel()
	token := sign(t, newKey(t), "JWT", "k", object{"iss": "i", "sub": "s", "nested": object{"iss": "x"}})
	got, err := subject.Parse(shown(token, oauth.TokenTypeJWT))
	if err != nil {
		t.Fatal(err)
	}
	if got.UnverifiedIssuer != "i" || got.UnverifiedSubject != "s" || got.Type != oauth.TokenTypeJWT || got.JWS.Header().KeyID != "k" || got.Hash != sha256.Sum256([]byte(token)) || got.Raw.Reveal() != token {
		t.Fatalf("%+v", got)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		if text := fmt.Sprintf(verb, got); strings.Contains(text, token[:20]) || strings.Contains(text, token[len(token)-20:]) {
			t.Errorf("%s prints the token", verb)
		}
	}
}

// What does not parse, and why. No text holds anything of the token.
func TestParseRefuses(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	of := func(payload string) string { return sign(t, k, "JWT", "k", []byte(payload)) }
	good := of(`{"iss":"i"}`)
	tests := map[string]struct {
		token  string
		reason broker.Reason
	}{
		"nothing":                 {"", broker.ReasonTokenMalformed},
		"opaque":                  {"d2hhdC1pcy10aGlz", broker.ReasonTokenMalformed},
		"two parts":               {"YQ.YQ", broker.ReasonTokenMalformed},
		"SAML":                    {"<saml:Assertion/>", broker.ReasonTokenMalformed},
		"too large":               {strings.Repeat("a", 16<<10+1), broker.ReasonTokenTooLarge},
		"a million dots":          {strings.Repeat(".", 1_000_000), broker.ReasonTokenTooLarge},
		"encrypted":               {"YQ.YQ.YQ.YQ.YQ", broker.ReasonTokenMalformed},
		"alg none":                {"eyJhbGciOiJub25lIn0.e30.YQ", broker.ReasonTokenAlgorithm},
		"alg HS256":               {"eyJhbGciOiJIUzI1NiJ9.e30.YQ", broker.ReasonTokenAlgorithm},
		"header no JSON":          {"YQ.e30.YQ", broker.ReasonTokenMalformed},
		"two tokens":              {good + " " + good, broker.ReasonTokenMalformed},
		"payload no object":       {of(`[]`), broker.ReasonTokenMalformed},
		"payload cut":             {of(`{"iss":"i"`), broker.ReasonTokenMalformed},
		"payload and more":        {of(`{"iss":"i"}x`), broker.ReasonTokenMalformed},
		"two payloads":            {of(`{"iss":"i"}{}`), broker.ReasonTokenMalformed},
		"iss a number":            {of(`{"iss":1}`), broker.ReasonTokenMalformed},
		"iss null":                {of(`{"iss":null}`), broker.ReasonTokenMalformed},
		"sub an object":           {of(`{"sub":{"a":"b"}}`), broker.ReasonTokenMalformed},
		"iss twice":               {of(`{"iss":"i","iss":"j"}`), broker.ReasonTokenMalformed},
		"iss twice, once escaped": {of(`{"iss":"i","\u0069ss":"j"}`), broker.ReasonTokenMalformed},
		"sub twice":               {of(`{"sub":"s","a":1,"sub":"s"}`), broker.ReasonTokenMalformed},
		"not UTF-8":               {of("{\"iss\":\"\xff\"}"), broker.ReasonTokenMalformed},
		"BOM":                     {of("\ufeff{}"), broker.ReasonTokenMalformed},
		"12 000 deep":             {of(`{"a":` + strings.Repeat("[", 11_990)), broker.ReasonTokenMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := subject.Parse(shown(test.token, oauth.TokenTypeJWT))
			e := refused(t, err, test.reason)
			for _, part := range strings.Split(test.token, ".") {
				if len(part) > 8 && strings.Contains(e.Error(), part) {
					t.Errorf("the refusal holds a part of the token: %v", e)
				}
			}
		})
	}
}

func TestTokenVerify(t *testing.T) {
	t.Parallel()
	k, other := newKey(t), newKey(t)
	token, err := subject.Parse(shown(sign(t, k, "JWT", "k", object{"iss": "i"}), ""))
	if err != nil {
		t.Fatal(err)
	}
	if payload, err := token.Verify(publicKey(t, k, "any kid")); err != nil || string(payload) != `{"iss":"i"}` {
		t.Errorf("%q, %v", payload, err)
	}
	_, err = token.Verify(publicKey(t, other, "k"))
	refused(t, err, broker.ReasonTokenSignature)
	_, err = token.Verify(jws.Key{})
	refused(t, err, broker.ReasonTokenAlgorithm)
}

// The refusal of a wrong choice says which is right (design 6).
func TestWrongType(t *testing.T) {
	t.Parallel()
	for want, right := range map[string][]oauth.TokenType{
		"a token of this type is not accepted from its issuer":                                                             nil,
		"this token must be declared as urn:ietf:params:oauth:token-type:jwt":                                              {oauth.TokenTypeJWT},
		"this token must be declared as urn:ietf:params:oauth:token-type:jwt or urn:ietf:params:oauth:token-type:id_token": {oauth.TokenTypeJWT, oauth.TokenTypeIDToken},
	} {
		if e := refused(t, subject.WrongType(right...), broker.ReasonTokenType); e.Public != want {
			t.Errorf("%q", e.Public)
		}
	}
}

// Names count as what they mean, and letter by letter.
func TestPeek(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for payload, want := range map[string]string{
		`{}`: "|", `{"iss":"i"}`: "i|", ` {"sub" : "s" , "iss":"i"} `: "i|s", `{"\u0069ss":"i"}`: "i|", `{"ISS":"i","Sub":"s"}`: "|",
		`{"iss":"","sub":"a\u00e4"}`: "|aä", `{"a":{"iss":"x"},"b":[{"sub":"y"}]}`: "|",
	} {
		got, err := subject.Parse(shown(sign(t, k, "JWT", "k", []byte(payload)), ""))
		if err != nil || got.UnverifiedIssuer+"|"+got.UnverifiedSubject != want {
			t.Errorf("%s: %+v, %v", payload, got, err)
		}
	}
}

// FuzzPeek signs whatever payload it is given: what is peeked is what the strict
// decoder reads after the signature, or the token is refused by one of them.
func FuzzPeek(f *testing.F) {
	for _, seed := range []string{`{}`, `{"iss":"i","sub":"s"}`, `{"\u0069ss":"i"}`, `{"iss":"i","ISS":"j"}`, `{"a":[{"iss":"x"}],"iss":"i"} `, `{"iss":"i"}{}`, `[[[`} {
		f.Add([]byte(seed))
	}
	k := newKey(f)
	f.Fuzz(func(t *testing.T, payload []byte) {
		token, err := subject.Parse(shown(sign(t, k, "JWT", "k", payload), ""))
		if err != nil {
			if e := broker.AsError(err); e.Code != broker.CodeInvalidRequest || e.Reason != broker.ReasonTokenMalformed && e.Reason != broker.ReasonTokenTooLarge {
				t.Fatalf("%v", err)
			}
			return
		}
		verified, err := token.Verify(publicKey(t, k, "k"))
		if err != nil {
			t.Fatal(err)
		}
		var c struct {
			Issuer  string `json:"iss"`
			Subject string `json:"sub"`
		}
		if err := subject.Decode(verified, &c); err != nil {
			return
		}
		if c.Issuer != token.UnverifiedIssuer || c.Subject != token.UnverifiedSubject {
			t.Fatalf("peeked %q %q, read %q %q", token.UnverifiedIssuer, token.UnverifiedSubject, c.Issuer, c.Subject)
		}
	})
}
