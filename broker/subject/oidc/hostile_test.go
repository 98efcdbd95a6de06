package oidc_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// raw joins a header and claims to a token with a signature that is none.
func raw(t testing.TB, head string, claims any) string {
	t.Helper()
	payload, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(head)) + "." + encode(payload) + "." + encode([]byte("signature"))
}

// What tokens were forged with elsewhere (threats B5, B6, B7, B10; standards
// JW-3, 4, 5, 10, 11). Nobody is asked for anything but the keys of the issuer.
func TestForgeries(t *testing.T) {
	t.Parallel()
	p, _, w := corp(t)
	var canary atomic.Int64
	trap := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { canary.Add(1) }))
	t.Cleanup(trap.Close)
	mine := newKey(t)
	public, err := json.Marshal(jose.JSONWebKey{Key: mine.Public(), KeyID: "k1", Algorithm: "ES256"})
	if err != nil {
		t.Fatal(err)
	}
	expired := p.access().with(object{"iat": start.Unix() - 900, "exp": start.Unix() - 600})
	forged := func(h header) string {
		return sign(t, jose.SigningKey{Algorithm: jose.ES256, Key: mine}, h, p.access())
	}
	body := func(h string) string { return raw(t, h, p.access()) }
	good := p.sign(t, header{"at+jwt", "k1"}, p.access())
	tests := map[string]struct {
		token  string
		reason broker.Reason
	}{
		"none":                {body(`{"alg":"none","kid":"k1","typ":"at+jwt"}`), broker.ReasonTokenAlgorithm},
		"nOnE":                {body(`{"alg":"nOnE","kid":"k1","typ":"at+jwt"}`), broker.ReasonTokenAlgorithm},
		"HS256":               {sign(t, jose.SigningKey{Algorithm: jose.HS256, Key: []byte(p.set())}, header{"at+jwt", "k1"}, p.access()), broker.ReasonTokenAlgorithm},
		"not of the issuer":   {body(`{"alg":"RS256","kid":"k1","typ":"at+jwt"}`), broker.ReasonTokenAlgorithm},
		"jwk in the header":   {body(`{"alg":"ES256","kid":"x","typ":"at+jwt","jwk":` + string(public) + `}`), broker.ReasonTokenMalformed},
		"jku in the header":   {body(`{"alg":"ES256","kid":"x","typ":"at+jwt","jku":"` + trap.URL + `"}`), broker.ReasonTokenMalformed},
		"x5u in the header":   {body(`{"alg":"ES256","kid":"x","typ":"at+jwt","x5u":"` + trap.URL + `"}`), broker.ReasonTokenMalformed},
		"crit":                {body(`{"alg":"ES256","kid":"k1","typ":"at+jwt","crit":["x"],"x":"1"}`), broker.ReasonTokenMalformed},
		"b64":                 {body(`{"alg":"ES256","kid":"k1","typ":"at+jwt","b64":false}`), broker.ReasonTokenMalformed},
		"kid a path":          {forged(header{"at+jwt", "../../keys"}), broker.ReasonTokenKeyUnknown},
		"kid SQL":             {forged(header{"at+jwt", "' OR 1=1 --"}), broker.ReasonTokenKeyUnknown},
		"kid a URL":           {forged(header{"at+jwt", trap.URL}), broker.ReasonTokenKeyUnknown},
		"kid too long":        {forged(header{"at+jwt", strings.Repeat("k", 257)}), broker.ReasonTokenMalformed},
		"another's key":       {forged(header{"at+jwt", "k1"}), broker.ReasonTokenSignature},
		"no kid":              {forged(header{"at+jwt", ""}), broker.ReasonTokenSignature},
		"expired and forged":  {sign(t, jose.SigningKey{Algorithm: jose.ES256, Key: mine}, header{"at+jwt", "k1"}, expired), broker.ReasonTokenSignature},
		"expired":             {p.sign(t, header{"at+jwt", "k1"}, expired), broker.ReasonTokenExpired},
		"a trailing newline":  {good + "\n", broker.ReasonTokenMalformed},
		"padded":              {good + "=", broker.ReasonTokenMalformed},
		"encrypted":           {good + ".a.b", broker.ReasonTokenMalformed},
		"iss with a slash":    {p.sign(t, header{"at+jwt", "k1"}, p.access().with(object{"iss": p.URL + "/"})), broker.ReasonTokenIssuer},
		"iss in capitals":     {p.sign(t, header{"at+jwt", "k1"}, p.access().with(object{"iss": strings.ToUpper(p.URL)})), broker.ReasonTokenIssuer},
		"ISS alone":           {p.sign(t, header{"at+jwt", "k1"}, p.access().with(object{"iss": nil, "ISS": p.URL})), broker.ReasonTokenIssuer},
		"no iss":              {p.sign(t, header{"at+jwt", "k1"}, p.access().with(object{"iss": nil})), broker.ReasonTokenIssuer},
		"iss in an array":     {p.sign(t, header{"at+jwt", "k1"}, p.access().with(object{"iss": []string{p.URL}})), broker.ReasonTokenMalformed},
		"payload of one word": {p.sign(t, header{"at+jwt", "k1"}, []byte(`"x"`)), broker.ReasonTokenMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := w.verify(test.token, oauth.TokenTypeJWT)
			e := refused(t, err, test.reason)
			for _, part := range strings.Split(test.token, ".") {
				if len(part) > 8 && strings.Contains(e.Error(), part) {
					t.Errorf("the refusal holds a part of the token: %v", e)
				}
			}
			if s.Kind != broker.SubjectNobody || canary.Load() != 0 {
				t.Fatalf("%+v, %d requests", s, canary.Load())
			}
		})
	}
}

// A token without a kid finds the one key that there is; the record names it.
func TestNoKidNeedsOneKey(t *testing.T) {
	t.Parallel()
	p, _, w := corp(t)
	s, err := w.verify(p.sign(t, header{"at+jwt", ""}, p.access()), oauth.TokenTypeJWT)
	if err != nil || s.KeyID != "k1" {
		t.Fatalf("%+v, %v", s, err)
	}
}

// What is accepted was signed over exactly these bytes.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	p, _, w := corp(t)
	token := p.sign(t, header{"at+jwt", "k1"}, p.access())
	for i := range len(token) {
		for _, changed := range []string{token[:i] + string(token[i]^1) + token[i+1:], token[:i] + token[i+1:]} {
			if s, err := w.verify(changed, oauth.TokenTypeJWT); err == nil {
				t.Fatalf("byte %d may change: %+v", i, s)
			}
		}
	}
}

// FuzzClaims signs whatever payload it is given. What is accepted is complete
// and belongs to its issuer.
func FuzzClaims(f *testing.F) {
	p, i, w := corp(f)
	for _, seed := range []object{p.access(), p.id(), p.access().with(object{"act": object{"sub": "svc-web"}, "groups": []string{"x"}, "scp": "a b"})} {
		raw, err := json.Marshal(seed)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw, "JWT", true)
		f.Add(raw, "at+jwt", false)
	}
	f.Fuzz(func(t *testing.T, payload []byte, typ string, id bool) {
		as := oauth.TokenTypeJWT
		if id {
			as = oauth.TokenTypeIDToken
		}
		s, err := w.verify(p.sign(t, header{typ, "k1"}, payload), as)
		if err != nil {
			if e := broker.AsError(err); e.Code != broker.CodeInvalidRequest || e.Reason == "" {
				t.Fatalf("%v", err)
			}
			return
		}
		switch {
		case s.Kind != broker.SubjectUser || s.Issuer != i || s.Sub != "corp:"+s.Origin.Subject || s.Origin.Issuer != p.URL || s.Origin.Subject == "":
			t.Fatalf("nobody of the issuer: %+v", s)
		case s.Issued || s.ClientID != "" || s.Txn != "" || len(s.Ancestors)+len(s.Presenters) > 0:
			t.Fatalf("it passes for one of ours: %+v", s)
		case len(s.Audience) == 0 || id && len(s.Audience) != 1 || !s.ExpiresAt.After(s.IssuedAt) || s.ExpiresAt.IsZero():
			t.Fatalf("incomplete: %+v", s)
		}
		for _, c := range s.Claims {
			if c.Name != "email" && c.Name != "admin" && c.Name != "level" && c.Name != "teams" && c.Name != "groups" {
				t.Fatalf("claim %q was not declared", c.Name)
			}
		}
	})
}
