package issued_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/issued"
)

var equal = cmp.Options{
	cmp.Comparer(func(a, b oauth.Scopes) bool { return a.Equal(b) }),
	cmp.Comparer(func(a, b *broker.Issuer) bool { return a == b }),
}

func scopes(t testing.TB, names ...string) oauth.Scopes {
	t.Helper()
	s, err := oauth.NewScopes(names...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Every member of a Subject that a token of ours fills.
func TestVerify(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	thumbprint := strings.Repeat("A", 43)
	base := broker.Subject{
		Kind: broker.SubjectWorkload, Sub: web, Issued: true, Audience: []string{"https://orders.prod.example"}, ClientID: web,
		Scopes: scopes(t, "orders.read", "orders.write"), TokenID: "01J", KeyID: w.kid, Txn: "01T",
		IssuedAt: now.Truncate(time.Second), ExpiresAt: now.Truncate(time.Second).Add(300 * time.Second),
	}
	of := func(change func(*broker.Subject)) broker.Subject { s := base; change(&s); return s }
	alice := of(func(s *broker.Subject) {
		s.Kind, s.Sub, s.Origin, s.Issuer = broker.SubjectUser, "corp:alice", broker.SubjectID{Issuer: corpURL, Subject: "alice"}, w.corp
		s.Actor, s.Ancestors, s.Presenters = &broker.Actor{Party: broker.Party{Subject: web}}, []string{"01A"}, []string{orders}
		s.Claims = []broker.Claim{{Name: "groups", Value: []string{"customer"}}, {Name: "tier", Value: int64(3)}}
	})
	tests := map[string]struct {
		claims object
		want   broker.Subject
	}{
		"workload":            {ofWorkload(), base},
		"user":                {ofUser(), alice},
		"aud in an array":     {ofWorkload().with(object{"aud": []string{"https://orders.prod.example"}}), base},
		"without txn and rev": {ofWorkload().with(object{"txn": nil, "rev": nil}), of(func(s *broker.Subject) { s.Txn = "" })},
		"chain": {ofUser().with(object{"act": object{"sub": orders, "exp": 1, "act": object{"sub": "svc", "iss": corpURL, "aud": []int{1}}}}), func() broker.Subject {
			s := alice
			s.Actor = &broker.Actor{Party: broker.Party{Subject: orders}, Actor: &broker.Actor{Party: broker.Party{Subject: "svc", Issuer: corpURL}}}
			return s
		}()},
		"bound": {ofWorkload().with(object{"cnf": object{"x5t#S256": thumbprint, "jkt": thumbprint}}), of(func(s *broker.Subject) {
			s.Confirmation = broker.Confirmation{CertificateThumbprint: thumbprint, KeyThumbprint: thumbprint}
		})},
		"bound to what we do not know": {ofWorkload().with(object{"cnf": object{"kid": "k"}}), of(func(s *broker.Subject) { s.Confirmation.Unknown = true })},
		"may act":                      {ofWorkload().with(object{"may_act": object{"sub": orders, "exp": 1}}), of(func(s *broker.Subject) { s.MayAct = &broker.Party{Subject: orders} })},
		"nobody may act":               {ofWorkload().with(object{"may_act": object{}}), of(func(s *broker.Subject) { s.MayAct = &broker.Party{} })},
		"iat in 30 s":                  {ofWorkload().with(object{"iat": now.Unix() + 30, "nbf": now.Unix() + 30}), of(func(s *broker.Subject) { s.IssuedAt = s.IssuedAt.Add(30 * time.Second) })},
		"many presenters":              {ofWorkload().with(object{"presenters": slices.Repeat([]string{orders}, 80)}), of(func(s *broker.Subject) { s.Presenters = slices.Repeat([]string{orders}, 80) })},
		"a claim that is not carried":  {ofUser().with(object{"email": "a@acme.example", "other": 1}), alice},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := w.token(t, test.claims)
			got, err := w.verify(token, oauth.TokenTypeAccessToken)
			if err != nil {
				t.Fatal(err)
			}
			test.want.TokenHash = sha256.Sum256([]byte(token))
			if diff := cmp.Diff(test.want, got, equal); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	deep := func(n int) string {
		return `{"iss":"` + us + `","act":` + strings.Repeat(`{"sub":"a","act":`, n) + `{"sub":"a"}` + strings.Repeat("}", n) + `}`
	}
	id := func(o object) object { return ofUser().with(object{"sub_id": o}) }
	claims := broker.ReasonTokenClaims
	tests := map[string]struct {
		claims any
		reason broker.Reason
	}{
		"expired this second":        {ofWorkload().with(object{"exp": now.Unix(), "iat": now.Unix() - 9}), broker.ReasonTokenExpired},
		"iat in 31 s":                {ofWorkload().with(object{"iat": now.Unix() + 31}), broker.ReasonTokenNotYetValid},
		"nbf in 31 s":                {ofWorkload().with(object{"nbf": now.Unix() + 31}), broker.ReasonTokenNotYetValid},
		"exp before iat":             {ofWorkload().with(object{"exp": now.Unix() + 10, "iat": now.Unix() + 10}), claims},
		"no exp":                     {ofWorkload().with(object{"exp": nil}), claims},
		"no iat":                     {ofWorkload().with(object{"iat": nil}), claims},
		"no sub":                     {ofWorkload().with(object{"sub": nil}), claims},
		"no aud":                     {ofWorkload().with(object{"aud": nil}), claims},
		"two aud":                    {ofWorkload().with(object{"aud": []string{"a", "b"}}), claims},
		"no jti":                     {ofWorkload().with(object{"jti": nil}), claims},
		"no client_id":               {ofWorkload().with(object{"client_id": nil}), claims},
		"client_id no workload":      {ofWorkload().with(object{"client_id": "web"}), claims},
		"client_id a trust domain":   {ofWorkload().with(object{"client_id": "spiffe://prod.example"}), claims},
		"client_id too long":         {ofWorkload().with(object{"client_id": web + strings.Repeat("a", 2048)}), claims},
		"no scope":                   {ofWorkload().with(object{"scope": nil}), claims},
		"scope an array":             {ofWorkload().with(object{"scope": []string{"a"}}), claims},
		"scope with two spaces":      {ofWorkload().with(object{"scope": "a  b"}), claims},
		"sub of another scheme case": {ofWorkload().with(object{"sub": "SPIFFE://prod.example/a"}), claims},
		"sub a trust domain":         {ofWorkload().with(object{"sub": "spiffe://prod.example"}), claims},
		"sub no SPIFFE ID":           {ofWorkload().with(object{"sub": "spiffe:web"}), claims},
		"sub too long":               {ofWorkload().with(object{"sub": web + strings.Repeat("a", 2048)}), claims},
		"sub turned round":           {ofUser().with(object{"sub": "corp:al\u202eice", "sub_id": object{"format": "iss_sub", "iss": corpURL, "sub": "al\u202eice"}}), claims},
		"workload with a sub_id":     {ofWorkload().with(object{"sub_id": object{"format": "iss_sub", "iss": corpURL, "sub": "alice"}}), claims},
		"user without a sub_id":      {ofUser().with(object{"sub_id": nil}), claims},
		"user of another sub_id":     {id(object{"format": "iss_sub", "iss": corpURL, "sub": "bob"}), claims},
		"sub_id without an issuer":   {id(object{"format": "iss_sub", "sub": "alice"}), claims},
		"sub_id of another format":   {id(object{"format": "opaque", "iss": corpURL, "sub": "alice"}), claims},
		"sub_id a string":            {ofUser().with(object{"sub_id": "alice"}), claims},
		"sub without an issuer name": {ofUser().with(object{"sub": ":alice"}), claims},
		"sub without a colon":        {ofUser().with(object{"sub": "alice"}), claims},
		"sub without a name":         {ofUser().with(object{"sub": "corp:", "sub_id": object{"format": "iss_sub", "iss": corpURL}}), claims},
		"carried of another type":    {ofUser().with(object{"groups": "customer"}), claims},
		"carried int a fraction":     {ofUser().with(object{"tier": 1.5}), claims},
		"act a string":               {ofUser().with(object{"act": web}), claims},
		"act without sub":            {ofUser().with(object{"act": object{"iss": us}}), claims},
		"act 600 deep":               {[]byte(deep(600)), claims},
		"may_act by e-mail":          {ofUser().with(object{"may_act": object{"sub": web, "email": "a@b"}}), broker.ReasonMayAct},
		"may_act nested":             {ofUser().with(object{"may_act": object{"sub": web, "act": object{"sub": web}}}), broker.ReasonMayAct},
		"may_act a string":           {ofUser().with(object{"may_act": web}), claims},
		"cnf a string":               {ofUser().with(object{"cnf": "k"}), claims},
		"cnf thumbprint short":       {ofUser().with(object{"cnf": object{"x5t#S256": "AAAA"}}), claims},
		"presenter no workload":      {ofUser().with(object{"presenters": []string{"web"}}), claims},
		"presenters a string":        {ofUser().with(object{"presenters": web}), claims},
		"ancestor empty":             {ofUser().with(object{"anc": []string{""}}), claims},
		"txn with a line":            {ofUser().with(object{"txn": "a\nb"}), claims},
		"rev a string":               {ofUser().with(object{"rev": "7"}), claims},
		"exp a string":               {ofUser().with(object{"exp": "1800000000"}), claims},
		"SUB beside sub":             {ofUser().with(object{"SUB": "corp:bob"}), claims},
		"iss twice":                  {[]byte(`{"iss":"` + us + `","iss":"` + us + `"}`), broker.ReasonTokenMalformed},
		"jti twice":                  {[]byte(`{"iss":"` + us + `","jti":"a","jti":"a"}`), claims},
		"a duplicate below":          {[]byte(`{"iss":"` + us + `","x":{"a":1,"a":1}}`), claims},
		"trailing object":            {[]byte(`{"iss":"` + us + `"}{}`), broker.ReasonTokenMalformed},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := w.verify(w.token(t, test.claims), oauth.TokenTypeAccessToken)
			refused(t, s, err, test.reason)
		})
	}
}

// What the header or the signature is wrong in is never said in terms of claims,
// however bad those are as well (threats B10).
func TestVerifyRefusesBeforeClaims(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	expired := ofWorkload().with(object{"exp": now.Unix() - 1000, "iat": now.Unix() - 2000})
	retired := newWorld(t)
	retired.ring[retired.kid] = struct {
		key   jws.Key
		until time.Time
	}{retired.ring[retired.kid].key, now}
	tests := map[string]struct {
		world  *world
		token  string
		reason broker.Reason
	}{
		"no typ":                  {w, w.sign(t, header{"", w.kid}, expired), broker.ReasonTokenType},
		"typ JWT":                 {w, w.sign(t, header{"JWT", w.kid}, expired), broker.ReasonTokenType},
		"typ with a parameter":    {w, w.sign(t, header{"at+jwt;x=1", w.kid}, expired), broker.ReasonTokenType},
		"no kid":                  {w, w.sign(t, header{"at+jwt", ""}, expired), broker.ReasonTokenKeyUnknown},
		"a key of somebody else":  {w, other.token(t, expired), broker.ReasonTokenKeyUnknown},
		"a key that is gone":      {retired, retired.token(t, expired), broker.ReasonTokenKeyUnknown},
		"our kid, another's key":  {w, other.sign(t, header{"at+jwt", w.kid}, expired), broker.ReasonTokenSignature},
		"expired, well signed":    {w, w.token(t, expired), broker.ReasonTokenExpired},
		"another issuer":          {w, w.token(t, ofWorkload().with(object{"iss": us + "/"})), broker.ReasonTokenIssuer},
		"no issuer":               {w, w.token(t, ofWorkload().with(object{"iss": nil})), broker.ReasonTokenIssuer},
		"a longer typ":            {w, w.sign(t, header{"application/at+jwt+x", w.kid}, expired), broker.ReasonTokenType},
		"application/at+jwt bad":  {w, w.sign(t, header{"application/at+jwt", w.kid}, expired), broker.ReasonTokenExpired},
		"AT+JWT is the same type": {w, w.sign(t, header{"AT+JWT", w.kid}, expired), broker.ReasonTokenExpired},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, err := test.world.verify(test.token, oauth.TokenTypeAccessToken)
			refused(t, s, err, test.reason)
		})
	}
}

// The issuer of a user is the one that policy knows today; one that left or was
// renamed is none, which Decide refuses.
func TestOrigin(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	renamed, bad := *w.corp, *w.corp
	renamed.Name, bad.Quarantined = "acme", true
	tests := map[string]struct {
		issuers map[string]*broker.Issuer
		want    *broker.Issuer
		claims  int
	}{
		"there":       {map[string]*broker.Issuer{corpURL: w.corp}, w.corp, 2},
		"gone":        {map[string]*broker.Issuer{}, nil, 0},
		"renamed":     {map[string]*broker.Issuer{corpURL: &renamed}, nil, 0},
		"quarantined": {map[string]*broker.Issuer{corpURL: &bad}, &bad, 2},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			here := *w
			here.view.issuers = test.issuers
			s := here.accept(t, ofUser())
			if s.Issuer != test.want || len(s.Claims) != test.claims || s.Sub != "corp:alice" || s.Origin.Issuer != corpURL {
				t.Fatalf("%+v", s)
			}
		})
	}
}

// A token of ours must be declared as one (RFC 8693 section 3), and the refusal
// says so.
func TestDeclared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, ofWorkload())
	for _, as := range []oauth.TokenType{"", oauth.TokenTypeJWT, oauth.TokenTypeIDToken, oauth.TokenTypeJWTSVID, oauth.TokenTypeRefreshToken, "urn:x"} {
		s, err := w.verify(token, as)
		if e := refused(t, s, err, broker.ReasonTokenType); !strings.Contains(e.Public, string(oauth.TokenTypeAccessToken)) {
			t.Errorf("%q: %s", as, e.Public)
		}
	}
}

// A source that was not given an issuer matches nothing, a token without iss
// least of all.
func TestZeroSourceMatchesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, err := subject.Parse(broker.SubjectToken{Raw: oauth.NewSecret(w.token(t, ofWorkload().with(object{"iss": nil})))})
	if err != nil {
		t.Fatal(err)
	}
	if new(issued.Source).Match(w.view, token) || issued.New("", w.ring).Match(w.view, token) {
		t.Fatal("it matches")
	}
}

// Match reads what is unverified; what was signed is looked at again.
func TestVerifyLooksAtTheIssuerAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := oauth.NewSecret(w.token(t, ofWorkload().with(object{"iss": "https://other.example"})))
	token, err := subject.Parse(broker.SubjectToken{Raw: raw, Type: oauth.TokenTypeAccessToken})
	if err != nil {
		t.Fatal(err)
	}
	token.UnverifiedIssuer = us
	s, err := issued.New(us, w.ring).Verify(t.Context(), w.view, now, token)
	refused(t, s, err, broker.ReasonTokenIssuer)
}

// What is accepted was signed over exactly these bytes: change, add or drop any
// one and it is refused.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(t, ofUser())
	for i := range len(token) {
		for name, changed := range map[string]string{
			"flipped": token[:i] + string(token[i]^1) + token[i+1:],
			"dropped": token[:i] + token[i+1:],
			"doubled": token[:i] + token[i:i+1] + token[i:],
		} {
			if changed == token {
				continue
			}
			if s, err := w.verify(changed, oauth.TokenTypeAccessToken); err == nil {
				t.Fatalf("byte %d may be %s: %+v", i, name, s)
			}
		}
	}
}

// What a token says is what the subject is: drawn claims come back as they were
// signed, and the same claims under another key are refused.
func TestSubjectIsWhatWasSigned(t *testing.T) {
	t.Parallel()
	w, other := newWorld(t), newWorld(t)
	rapid.Check(t, func(r *rapid.T) {
		name := rapid.StringMatching(`[a-zA-Zäß0-9 :|@./"\\<>-]{1,40}`).Draw(r, "sub")
		life := rapid.Int64Range(1, 3600).Draw(r, "life")
		granted := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z.:/]{1,12}`), 1, 5, rapid.ID).Draw(r, "scope")
		links := rapid.SliceOfN(rapid.SampledFrom([]string{web, orders, "svc"}), 0, 8).Draw(r, "act")
		claims := ofUser().with(object{
			"sub": "corp:" + name, "sub_id": object{"format": "iss_sub", "iss": corpURL, "sub": name},
			"exp": now.Unix() + life, "scope": strings.Join(granted, " "), "act": nil,
		})
		var chain *broker.Actor
		var act any
		for _, link := range links {
			chain = &broker.Actor{Party: broker.Party{Subject: link}, Actor: chain}
			if act == nil {
				act = object{"sub": link}
			} else {
				act = object{"sub": link, "act": act}
			}
		}
		if act != nil {
			claims["act"] = act
		}
		s := w.accept(t, claims)
		want := broker.SubjectID{Issuer: corpURL, Subject: name}
		if s.Sub != "corp:"+name || s.Origin != want || s.ExpiresAt.Unix() != now.Unix()+life || !s.Scopes.Equal(scopes(t, granted...)) || !cmp.Equal(chain, s.Actor) {
			r.Fatalf("%v became %+v", claims, s)
		}
		if s, err := w.verify(other.sign(t, header{"at+jwt", w.kid}, claims), oauth.TokenTypeAccessToken); err == nil {
			r.Fatalf("signed by somebody else: %+v", s)
		}
	})
}
