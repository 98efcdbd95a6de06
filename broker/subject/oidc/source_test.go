package oidc_test

import (
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/oidc"
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

// corp is a provider with everything that policy can say of it.
func corp(t testing.TB) (*provider, *broker.Issuer, *world) {
	t.Helper()
	p := newProvider(t, "k1")
	i := p.issuer("corp")
	i.Claims = []broker.ClaimRule{
		{Name: "email", Type: broker.ClaimString}, {Name: "admin", Type: broker.ClaimBool}, {Name: "level", Type: broker.ClaimInt},
		{Name: "teams", Type: broker.ClaimStrings}, {Name: "groups", Type: broker.ClaimEnum, Values: []string{"customer", "finance"}},
	}
	i.Actors = []broker.ActorName{{Subject: "svc-web", Workload: spiffeid.RequireFromString("spiffe://prod.example/ns/shop/sa/web")}}
	return p, i, newWorld(t, []*broker.Issuer{i}, p.Server)
}

// Every member of a Subject that a token of another issuer fills.
func TestVerify(t *testing.T) {
	t.Parallel()
	p, i, w := corp(t)
	const web = "spiffe://prod.example/ns/shop/sa/web"
	thumbprint := strings.Repeat("A", 43)
	second := start.Truncate(time.Second)
	base := broker.Subject{
		Kind: broker.SubjectUser, Sub: "corp:alice", Origin: broker.SubjectID{Issuer: p.URL, Subject: "alice"}, Issuer: i,
		Audience: []string{"api://acme"}, Scopes: scopes(t, "read", "openid"), TokenID: "j1", KeyID: "k1",
		IssuedAt: second, ExpiresAt: second.Add(300 * time.Second),
	}
	of := func(change func(*broker.Subject)) broker.Subject { s := base; change(&s); return s }
	id := of(func(s *broker.Subject) { s.Audience, s.Scopes, s.TokenID = []string{"client"}, oauth.Scopes{}, "" })
	tests := map[string]struct {
		as     oauth.TokenType
		typ    string
		claims object
		want   broker.Subject
	}{
		"access token":                 {oauth.TokenTypeJWT, "at+jwt", p.access(), base},
		"access token without typ":     {oauth.TokenTypeJWT, "", p.access(), base},
		"access token of Okta":         {oauth.TokenTypeJWT, "application/okta-internal-at+jwt", p.access(), base},
		"access token, several aud":    {oauth.TokenTypeJWT, "JWT", p.access().with(object{"aud": []string{"a", "b"}}), of(func(s *broker.Subject) { s.Audience = []string{"a", "b"} })},
		"ID token":                     {oauth.TokenTypeIDToken, "JWT", p.id(), id},
		"ID token without typ":         {oauth.TokenTypeIDToken, "", p.id(), id},
		"ID token for another party":   {oauth.TokenTypeIDToken, "", p.id().with(object{"azp": "android"}), id},
		"ID token for several":         {oauth.TokenTypeIDToken, "JWT", p.id().with(object{"aud": []string{"other", "client"}, "azp": "client"}), id},
		"Keycloak's access token":      {oauth.TokenTypeJWT, "JWT", p.access().with(object{"typ": "Bearer", "cid": nil, "nonce": "n"}), base},
		"Keycloak's ID token":          {oauth.TokenTypeIDToken, "JWT", p.id().with(object{"typ": "ID", "azp": "client", "at_hash": "x"}), id},
		"scopes in a string":           {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"scp": "read openid"}), base},
		"no scopes":                    {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"scp": ""}), of(func(s *broker.Subject) { s.Scopes = oauth.Scopes{} })},
		"scopes in an escaped string":  {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"scp": "a<b"}), of(func(s *broker.Subject) { s.Scopes = scopes(t, "a<b") })},
		"a claim beyond ASCII":         {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"sub": "jürgen <a>"}), of(func(s *broker.Subject) { s.Sub, s.Origin.Subject = "corp:jürgen <a>", "jürgen <a>" })},
		"a sub that looks like a SVID": {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"sub": web}), of(func(s *broker.Subject) { s.Sub, s.Origin.Subject = "corp:"+web, web })},
		"declared claims": {
			oauth.TokenTypeJWT, "at+jwt",
			p.access().with(object{"email": "a@acme.example", "admin": true, "level": -3, "teams": []string{}, "groups": []string{"x", "finance"}, "secret": "s"}),
			of(func(s *broker.Subject) {
				s.Claims = []broker.Claim{{Name: "admin", Value: true}, {Name: "email", Value: "a@acme.example"}, {Name: "groups", Value: []string{"finance"}}, {Name: "level", Value: int64(-3)}, {Name: "teams", Value: []string{}}}
			}),
		},
		"act in our names and in theirs": {
			oauth.TokenTypeJWT, "at+jwt",
			p.access().with(object{"act": object{"sub": "svc-web", "act": object{"sub": web, "act": object{"sub": "svc-web", "iss": "https://other.example"}}}}),
			of(func(s *broker.Subject) {
				s.Actor = &broker.Actor{Party: broker.Party{Subject: web}, Actor: &broker.Actor{Party: broker.Party{Subject: web, Issuer: p.URL}, Actor: &broker.Actor{Party: broker.Party{Subject: "svc-web", Issuer: "https://other.example"}}}}
			}),
		},
		"may_act of one we know":   {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"may_act": object{"sub": "svc-web", "iss": p.URL}}), of(func(s *broker.Subject) { s.MayAct = &broker.Party{Subject: web} })},
		"may_act of one we do not": {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"may_act": object{"sub": web}}), of(func(s *broker.Subject) { s.MayAct = &broker.Party{Subject: web, Issuer: p.URL} })},
		"bound":                    {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"cnf": object{"jkt": thumbprint}}), of(func(s *broker.Subject) { s.Confirmation.KeyThumbprint = thumbprint })},
		"expired within the skew": {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"iat": second.Unix() - 99, "exp": second.Unix() - 29}), of(func(s *broker.Subject) {
			s.IssuedAt, s.ExpiresAt = second.Add(-99*time.Second), second.Add(-29*time.Second)
		})},
		"early within the skew": {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"iat": second.Unix() + 29, "nbf": second.Unix() + 29}), of(func(s *broker.Subject) { s.IssuedAt = second.Add(29 * time.Second) })},
		"of a day":              {oauth.TokenTypeJWT, "at+jwt", p.access().with(object{"exp": second.Unix() + 48*3600}), of(func(s *broker.Subject) { s.ExpiresAt = second.Add(48 * time.Hour) })},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := p.sign(t, header{test.typ, "k1"}, test.claims)
			got, err := w.verify(token, test.as)
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
	p, _, w := corp(t)
	at := start.Unix()
	claims, kind, audience := broker.ReasonTokenClaims, broker.ReasonTokenType, broker.ReasonTokenAudience
	tests := map[string]struct {
		as      oauth.TokenType
		typ     string
		changes object
		reason  broker.Reason
	}{
		"no exp":                      {changes: object{"exp": nil}, reason: claims},
		"no iat":                      {changes: object{"iat": nil}, reason: claims},
		"exp a string":                {changes: object{"exp": "1"}, reason: claims},
		"expired":                     {changes: object{"iat": at - 99, "exp": at - 31}, reason: broker.ReasonTokenExpired},
		"expired 30 s ago":            {changes: object{"iat": at - 99, "exp": at - 30}, reason: broker.ReasonTokenExpired},
		"iat in 31 s":                 {changes: object{"iat": at + 31}, reason: broker.ReasonTokenNotYetValid},
		"nbf in 31 s":                 {changes: object{"nbf": at + 31}, reason: broker.ReasonTokenNotYetValid},
		"exp at iat":                  {changes: object{"exp": at}, reason: claims},
		"of a year":                   {changes: object{"exp": at + 365*86400}, reason: claims},
		"of two days and a second":    {changes: object{"exp": at + 48*3600 + 1}, reason: claims},
		"no sub":                      {changes: object{"sub": nil}, reason: claims},
		"sub empty":                   {changes: object{"sub": ""}, reason: claims},
		"sub with a newline":          {changes: object{"sub": "a\nb"}, reason: claims},
		"sub turned round":            {changes: object{"sub": "a\u202eb"}, reason: claims},
		"sub isolated":                {changes: object{"sub": "a\u2067b"}, reason: claims},
		"sub repaired":                {changes: object{"sub": "a\ufffdb"}, reason: claims},
		"sub too long":                {changes: object{"sub": strings.Repeat("a", 513)}, reason: claims},
		"no aud":                      {changes: object{"aud": nil}, reason: audience},
		"aud empty":                   {changes: object{"aud": []string{}}, reason: claims},
		"jti with NUL":                {changes: object{"jti": "a\x00"}, reason: claims},
		"jti too long":                {changes: object{"jti": strings.Repeat("a", 257)}, reason: claims},
		"declared string a number":    {changes: object{"email": 1}, reason: claims},
		"declared string null":        {changes: object{"email": []byte(nil)}, reason: claims},
		"declared bool a string":      {changes: object{"admin": "true"}, reason: claims},
		"declared int a string":       {changes: object{"level": "3"}, reason: claims},
		"declared int a fraction":     {changes: object{"level": 3.5}, reason: claims},
		"declared int too large":      {changes: object{"level": 1e19}, reason: claims},
		"declared strings a string":   {changes: object{"teams": "a"}, reason: claims},
		"declared strings mixed":      {changes: object{"teams": []any{"a", 1}}, reason: claims},
		"declared strings with null":  {changes: object{"teams": []any{"a", nil}}, reason: claims},
		"declared enum an object":     {changes: object{"groups": object{}}, reason: claims},
		"scopes a number":             {changes: object{"scp": 1}, reason: claims},
		"scopes with two spaces":      {changes: object{"scp": "a  b"}, reason: claims},
		"scopes with a quote":         {changes: object{"scp": []string{`a"`}}, reason: claims},
		"scopes too many":             {changes: object{"scp": strings.TrimSuffix(strings.Repeat("a ", 101), " ")}, reason: claims},
		"act a string":                {changes: object{"act": "svc"}, reason: claims},
		"act with a member":           {changes: object{"act": object{"sub": "svc", "role": "x"}}, reason: claims},
		"may_act by e-mail":           {changes: object{"may_act": object{"email": "a@b"}}, reason: broker.ReasonMayAct},
		"cnf a number":                {changes: object{"cnf": 1}, reason: claims},
		"SUB beside sub":              {changes: object{"SUB": "admin"}, reason: claims},
		"typ of a logout token":       {typ: "logout+jwt", reason: kind},
		"typ with a parameter":        {typ: "at+jwt;x=1", reason: kind},
		"typ not listed":              {typ: "wit+jwt", reason: kind},
		"an event":                    {typ: "JWT", changes: object{"events": object{}}, reason: kind},
		"not issued to anybody":       {typ: "JWT", changes: object{"cid": nil}, reason: kind},
		"with a nonce":                {typ: "JWT", changes: object{"nonce": "n"}, reason: kind},
		"with at_hash":                {typ: "", changes: object{"at_hash": "x"}, reason: kind},
		"with c_hash":                 {typ: "", changes: object{"c_hash": "x"}, reason: kind},
		"Keycloak's refresh token":    {typ: "JWT", changes: object{"typ": "Refresh"}, reason: kind},
		"Keycloak's ID token":         {typ: "JWT", changes: object{"typ": "ID"}, reason: kind},
		"typ claim a number":          {typ: "JWT", changes: object{"typ": 1}, reason: claims},
		"another ServiceAccount":      {typ: "JWT", changes: object{"kubernetes.io": object{"namespace": "shop", "serviceaccount": object{"name": "web"}}}, reason: claims},
		"an ID token for several":     {as: oauth.TokenTypeIDToken, changes: object{"aud": []string{"cambist", "x"}}, reason: audience},
		"an ID token for a third":     {as: oauth.TokenTypeIDToken, changes: object{"aud": []string{"cambist", "x"}, "azp": "y"}, reason: audience},
		"an ID token with scope":      {as: oauth.TokenTypeIDToken, changes: object{"scope": "a"}, reason: kind},
		"an ID token with scp":        {as: oauth.TokenTypeIDToken, changes: object{"scp": "a"}, reason: kind},
		"an ID token with cid":        {as: oauth.TokenTypeIDToken, changes: object{"cid": "c"}, reason: kind},
		"an ID token with appid":      {as: oauth.TokenTypeIDToken, changes: object{"appid": "c"}, reason: kind},
		"an ID token that is Bearer":  {as: oauth.TokenTypeIDToken, changes: object{"typ": "Bearer"}, reason: kind},
		"an ID token of a cluster":    {as: oauth.TokenTypeIDToken, changes: object{"kubernetes.io": object{}}, reason: kind},
		"an ID token that is at+jwt":  {as: oauth.TokenTypeIDToken, typ: "at+jwt", reason: kind},
		"an ID token with a new typ":  {as: oauth.TokenTypeIDToken, typ: "id+jwt", reason: kind},
		"an ID token with an event":   {as: oauth.TokenTypeIDToken, changes: object{"events": object{}}, reason: kind},
		"declared as one of ours":     {as: oauth.TokenTypeAccessToken, typ: "at+jwt", reason: kind},
		"declared as nothing we know": {as: "urn:x", typ: "at+jwt", reason: kind},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, as, typ := p.access(), test.as, test.typ
			if as == "" {
				as = oauth.TokenTypeJWT
			}
			if as == oauth.TokenTypeIDToken {
				all = p.id()
			}
			if test.reason != kind && as == oauth.TokenTypeJWT && typ == "" {
				typ = "at+jwt"
			}
			s, err := w.verify(p.sign(t, header{typ, "k1"}, all.with(test.changes)), as)
			refused(t, err, test.reason)
			if s.Kind != broker.SubjectNobody {
				t.Fatalf("%+v", s)
			}
		})
	}
}

// The refusal of a wrong choice says which type is right (design 6).
func TestWrongTypeSaysWhichIsRight(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	onlyAccess, onlyID, both := p.issuer("a"), p.issuer("b"), p.issuer("c")
	onlyAccess.AcceptID, onlyID.AcceptJWT = false, false
	access, id := []string{string(oauth.TokenTypeJWT)}, []string{string(oauth.TokenTypeIDToken)}
	tests := map[string]struct {
		issuer *broker.Issuer
		as     oauth.TokenType
		typ    string
		claims object
		want   []string
	}{
		"access declared as ours":           {both, oauth.TokenTypeAccessToken, "at+jwt", p.access(), access},
		"access declared as ID":             {both, oauth.TokenTypeIDToken, "at+jwt", p.access(), access},
		"untyped access declared as ID":     {both, oauth.TokenTypeIDToken, "JWT", p.access(), access},
		"untyped ID declared as access":     {both, oauth.TokenTypeJWT, "JWT", p.id(), id},
		"untyped declared as ours":          {both, oauth.TokenTypeAccessToken, "JWT", p.id(), slices.Concat(access, id)},
		"ID of who accepts only access":     {onlyAccess, oauth.TokenTypeIDToken, "JWT", p.id(), access},
		"ID as access, only access":         {onlyAccess, oauth.TokenTypeJWT, "JWT", p.id(), nil},
		"access of who accepts only ID":     {onlyID, oauth.TokenTypeJWT, "JWT", p.access(), id},
		"at+jwt of who accepts only ID":     {onlyID, oauth.TokenTypeJWT, "at+jwt", p.access(), nil},
		"a logout token fits nothing":       {both, oauth.TokenTypeJWT, "logout+jwt", p.access(), nil},
		"a security event fits nothing":     {both, oauth.TokenTypeJWT, "secevent+jwt", p.access(), nil},
		"an untyped event fits nothing too": {both, oauth.TokenTypeJWT, "JWT", p.access().with(object{"events": object{}}), nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, []*broker.Issuer{test.issuer}, p.Server)
			_, err := w.verify(p.sign(t, header{test.typ, "k1"}, test.claims), test.as)
			e := refused(t, err, broker.ReasonTokenType)
			for _, u := range []oauth.TokenType{oauth.TokenTypeJWT, oauth.TokenTypeIDToken, oauth.TokenTypeAccessToken} {
				if strings.Contains(e.Public, string(u)) != slices.Contains(test.want, string(u)) {
					t.Errorf("%s: %q", u, e.Public)
				}
			}
		})
	}
}

// The rules of an issuer are its own: where the scopes are, which claim names
// the user, what a ServiceAccount is called.
func TestIssuersDiffer(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	keycloak, entra, cluster := p.issuer("kc"), p.issuer("entra"), p.issuer("c1")
	keycloak.ScopeClaim, entra.SubClaim = "scope", "oid"
	cluster.ScopeClaim, cluster.AccessTypes, cluster.AcceptID = "", []string{"", "jwt"}, false
	account := p.access().with(object{
		"sub": "system:serviceaccount:shop:web", "cid": nil, "scp": nil,
		"kubernetes.io": object{"namespace": "shop", "serviceaccount": object{"name": "web", "uid": "1"}, "pod": object{"name": "p"}},
	})
	tests := map[string]struct {
		issuer *broker.Issuer
		claims object
		sub    string
		scopes []string
		reason broker.Reason
	}{
		"scope in a string":         {keycloak, p.access().with(object{"scope": "a b"}), "kc:alice", []string{"a", "b"}, ""},
		"scope in an array":         {keycloak, p.access().with(object{"scope": []string{"a"}}), "", nil, broker.ReasonTokenClaims},
		"named by another claim":    {entra, p.access().with(object{"oid": "o-1"}), "entra:o-1", []string{"openid", "read"}, ""},
		"that claim is missing":     {entra, p.access(), "", nil, broker.ReasonTokenClaims},
		"that claim is no string":   {entra, p.access().with(object{"oid": 1}), "", nil, broker.ReasonTokenClaims},
		"ServiceAccount":            {cluster, account, "c1:system:serviceaccount:shop:web", nil, ""},
		"scp counts for nothing":    {cluster, account.with(object{"scp": 1}), "c1:system:serviceaccount:shop:web", nil, ""},
		"ServiceAccount of another": {cluster, account.with(object{"sub": "system:serviceaccount:shop:other"}), "", nil, broker.ReasonTokenClaims},
		"without kubernetes.io":     {cluster, account.with(object{"kubernetes.io": nil}), "", nil, broker.ReasonTokenType},
		"without its namespace":     {cluster, account.with(object{"sub": "system:serviceaccount::web", "kubernetes.io": object{"serviceaccount": object{"name": "web"}}}), "", nil, broker.ReasonTokenClaims},
		"with half of it":           {cluster, account.with(object{"sub": "system:serviceaccount:shop:", "kubernetes.io": object{"namespace": "shop"}}), "", nil, broker.ReasonTokenClaims},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, []*broker.Issuer{test.issuer}, p.Server)
			s, err := w.verify(p.sign(t, header{"JWT", "k1"}, test.claims), oauth.TokenTypeJWT)
			if test.reason != "" {
				refused(t, err, test.reason)
				return
			}
			if err != nil || s.Sub != test.sub || !s.Scopes.Equal(scopes(t, test.scopes...)) {
				t.Fatalf("%+v, %v", s, err)
			}
		})
	}
}

// Match reads what is unverified; what was signed is looked at again. A policy
// with an issuer that has no URL does not match tokens that have no issuer: those
// may be another source's.
func TestMatch(t *testing.T) {
	t.Parallel()
	p, i, w := corp(t)
	raw := oauth.NewSecret(p.sign(t, header{"at+jwt", "k1"}, p.access().with(object{"iss": nil})))
	token, err := subject.Parse(broker.SubjectToken{Raw: raw, Type: oauth.TokenTypeJWT})
	if err != nil {
		t.Fatal(err)
	}
	source := oidc.New(w.keys)
	if source.Match(view{issuers: map[string]*broker.Issuer{"": {Quarantined: true}}}, token) {
		t.Error("a token without an issuer matches")
	}
	if _, err := source.Verify(t.Context(), w.view, start, token); err == nil {
		t.Error("a token without an issuer is verified")
	}
	token.UnverifiedIssuer = i.URL
	if !source.Match(w.view, token) {
		t.Error("the issuer is there and does not match")
	}
	_, err = source.Verify(t.Context(), w.view, start, token)
	refused(t, err, broker.ReasonTokenIssuer)
}

// A rule that is no media type admits no typ that is none either.
func TestAccessTypesAreMediaTypes(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	i := p.issuer("corp")
	i.AccessTypes, i.AcceptID = []string{"a;b"}, false
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	for _, typ := range []string{"a;b", "at+jwt;x=1", "?"} {
		_, err := w.verify(p.sign(t, header{typ, "k1"}, p.access()), oauth.TokenTypeJWT)
		refused(t, err, broker.ReasonTokenType)
	}
}

// An issuer whose policy cannot be read is refused like one that is unknown,
// and nobody is asked for its keys.
func TestQuarantinedIsUntrusted(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	i := p.issuer("corp")
	i.Quarantined = true
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	_, err := w.verify(p.sign(t, header{"at+jwt", "k1"}, p.access()), oauth.TokenTypeJWT)
	known := refused(t, err, broker.ReasonTokenIssuer)
	_, err = w.verify(p.sign(t, header{"at+jwt", "k1"}, p.access().with(object{"iss": p.URL + "/"})), oauth.TokenTypeJWT)
	if unknown := refused(t, err, broker.ReasonTokenIssuer); *unknown != *known {
		t.Errorf("%v and %v differ", unknown, known)
	}
	if n := p.requests(discoveryPath); n != 0 {
		t.Errorf("asked %d times", n)
	}
	if list := w.keys.Status(start); len(list) != 0 {
		t.Errorf("%+v", list)
	}
}

// Two issuers with one kid: each token is verified by the key of its issuer
// alone (threats B1).
func TestIssuersShareNoKeys(t *testing.T) {
	t.Parallel()
	a, b := newProvider(t, "same"), newProvider(t, "same")
	w := newWorld(t, []*broker.Issuer{a.issuer("a"), b.issuer("b")}, a.Server, b.Server)
	for _, p := range []*provider{a, b} {
		if _, err := w.verify(p.sign(t, header{"at+jwt", "same"}, p.access()), oauth.TokenTypeJWT); err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.verify(a.sign(t, header{"at+jwt", "same"}, b.access()), oauth.TokenTypeJWT)
	refused(t, err, broker.ReasonTokenSignature)
}
