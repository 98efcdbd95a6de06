package verify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/verify"
)

// What a handler reads of a token that the broker would write, member by member.
func TestToken(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, nil, s)
	// The chain of RFC 8693 section 4.1: the current actor outermost (GV-7).
	claims := userClaims().with("act", object{"sub": web.String(), "exp": 1, "aud": "x", "act": object{"sub": "admin", "iss": "https://consumer.example"}}).
		with("anc", []string{"a1", "a2"}).with("presenters", []string{gateway.String()}).with("level", 3).with("staff", true).with("email", "a@b").
		with("half", 1.5).with("nested", object{"a": 1}).with("mixed", []any{"a", 1}).with("nothing", nil).with("may_act", object{"sub": "x"}).with("azp", "x")
	raw := sign(t, s, "at+jwt", claims.json(t))
	token, err := v.Verify(context.Background(), raw, peer(t, gateway, ""))
	if err != nil {
		t.Fatal(err)
	}
	user, isUser := token.User()
	got := map[string]any{
		"issuer": token.Issuer(), "audience": token.Audience(), "subject": token.Subject(), "user": user, "is user": isUser, "workload": token.Workload(),
		"presenter": token.Presenter(), "scopes": token.Scopes().String(), "has": token.Has("orders.read"), "has not": token.Has("orders"),
		"actors": token.Actors(), "id": token.ID(), "txn": token.Txn(), "ancestors": token.Ancestors(), "key": token.KeyID(), "revision": token.Revision(),
		"issued": token.IssuedAt(), "expires": token.ExpiresAt(),
	}
	want := map[string]any{
		"issuer": issuer, "audience": orders, "subject": "corp:00u1", "user": verify.User{Issuer: "https://acme.okta.com", Subject: "00u1"}, "is user": true, "workload": web,
		"presenter": gateway, "scopes": "orders.read orders.write", "has": true, "has not": false,
		"actors": []verify.Actor{{Subject: web.String()}, {Subject: "admin", Issuer: "https://consumer.example"}}, "id": "01JCAMBIST0000000000000001",
		"txn": "01JCAMBIST0000000000000000", "ancestors": []string{"a1", "a2"}, "key": "k1", "revision": int64(7), "issued": start, "expires": start.Add(5 * time.Minute),
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(spiffeid.ID{})); diff != "" {
		t.Error(diff)
	}
	carried := map[string]any{}
	for name, value := range token.Claims() {
		carried[name] = value
		if one, ok := token.Claim(name); !ok || !cmp.Equal(one, value) {
			t.Errorf("claim %q is %v", name, one)
		}
	}
	if diff := cmp.Diff(map[string]any{"groups": []string{"customer", "finance"}, "level": int64(3), "staff": true, "email": "a@b"}, carried); diff != "" {
		t.Error(diff)
	}
	if _, ok := token.Claim("sub"); ok {
		t.Error("sub is a carried claim")
	}
}

func TestWorkloadToken(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	token, err := asWeb(t, newVerifier(t, nil, s), sign(t, s, "at+jwt", workloadClaims().json(t)))
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := token.User(); ok || token.Subject() != web.String() || token.Presenter() != web || len(token.Actors())+len(token.Ancestors()) != 0 {
		t.Errorf("%+v", token)
	}
	for range token.Claims() {
		t.Error("a claim was carried")
	}
}

// A token that a handler has cannot be changed through what it hands out.
func TestTokenDoesNotAlias(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	token, err := asWeb(t, newVerifier(t, nil, s), sign(t, s, "at+jwt", userClaims().with("anc", []string{"a1"}).json(t)))
	if err != nil {
		t.Fatal(err)
	}
	token.Actors()[0].Subject, token.Ancestors()[0] = "x", "x"
	groups, _ := token.Claim("groups")
	groups.([]string)[0] = "x"
	for _, value := range token.Claims() {
		value.([]string)[0] = "x"
	}
	if groups, _ = token.Claim("groups"); token.Actors()[0].Subject != web.String() || token.Ancestors()[0] != "a1" || groups.([]string)[0] != "customer" {
		t.Errorf("changed: %v %v %v", token.Actors(), token.Ancestors(), groups)
	}
}

// Threat F8: nothing prints a token, and a token is only what Verify made.
func TestTokenInContext(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	raw := sign(t, s, "at+jwt", workloadClaims().json(t))
	token, err := asWeb(t, newVerifier(t, nil, s), raw)
	if err != nil {
		t.Fatal(err)
	}
	ctx := verify.NewContext(context.Background(), token)
	found, ok := verify.FromContext(ctx)
	shown, shownOK := oauth.UserToken(ctx)
	if !ok || found != token || !shownOK || shown.Reveal() != raw {
		t.Errorf("%v %v %v", found, ok, shownOK)
	}
	for name, ctx := range map[string]context.Context{"none": context.Background(), "one that nobody verified": verify.NewContext(ctx, &verify.Token{})} {
		if found, ok := verify.FromContext(ctx); ok || found != nil {
			t.Errorf("%s: %v", name, found)
		}
		if _, ok := oauth.UserToken(ctx); ok {
			t.Errorf("%s: a token to show", name)
		}
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(verb+verb, token, *token); strings.Contains(text, raw[len(raw)-20:]) {
			t.Errorf("%s prints the token: %s", verb, text)
		}
	}
}

// Each row is a token in which one thing is wrong. Standards AT-11 to AT-19, MT-6,
// H1, H4, H5, H9 to H12, H14, H16.
func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, nil, s)
	// The world is such that nothing else is wrong.
	for name, claims := range map[string]object{"workload": workloadClaims(), "user": userClaims(), "aud a list": workloadClaims().with("aud", []string{"x", orders})} {
		if _, err := asWeb(t, v, sign(t, s, "at+jwt", claims.json(t))); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	w, u := workloadClaims(), userClaims()
	chain := func(n int) object {
		var act object
		for range n {
			link := object{"sub": web.String()}
			if act != nil {
				link["act"] = act
			}
			act = link
		}
		return act
	}
	tests := map[string]struct {
		claims object
		want   verify.Reason
	}{
		"another issuer":           {w.with("iss", "https://sts2.example"), verify.ReasonTokenIssuer},
		"issuer with a slash":      {w.with("iss", issuer+"/"), verify.ReasonTokenIssuer},
		"issuer in upper case":     {w.with("iss", "https://STS.example"), verify.ReasonTokenIssuer},
		"no issuer":                {w.without("iss"), verify.ReasonTokenIssuer},
		"issuer null":              {w.with("iss", nil), verify.ReasonTokenIssuer},
		"issuer a list":            {w.with("iss", []string{issuer}), verify.ReasonTokenClaims},
		"another audience":         {w.with("aud", "https://ledger.prod.example"), verify.ReasonTokenAudience},
		"audience longer":          {w.with("aud", orders+"2"), verify.ReasonTokenAudience},
		"audience shorter":         {w.with("aud", orders[:len(orders)-1]), verify.ReasonTokenAudience},
		"audience with a slash":    {w.with("aud", orders+"/"), verify.ReasonTokenAudience},
		"audience in upper case":   {w.with("aud", strings.ToUpper(orders)), verify.ReasonTokenAudience},
		"audiences in one":         {w.with("aud", "x "+orders), verify.ReasonTokenAudience},
		"no audience":              {w.without("aud"), verify.ReasonTokenAudience},
		"audience nested":          {w.with("aud", []any{[]string{orders}}), verify.ReasonTokenClaims},
		"audience mixed":           {w.with("aud", []any{orders, 1, nil}), verify.ReasonTokenClaims},
		"audience an object":       {w.with("aud", object{}), verify.ReasonTokenClaims},
		"audience empty":           {w.with("aud", []string{}), verify.ReasonTokenClaims},
		"audience of a thousand":   {w.with("aud", append(slices.Repeat([]string{"a"}, 1000), orders)), verify.ReasonTokenClaims},
		"no exp":                   {w.without("exp"), verify.ReasonTokenClaims},
		"exp a string":             {w.with("exp", "1764000000"), verify.ReasonTokenClaims},
		"exp 1e300":                {w.with("exp", 1e300), verify.ReasonTokenClaims},
		"exp 9e18":                 {w.with("exp", 9e18), verify.ReasonTokenClaims},
		"exp negative":             {w.with("exp", -1), verify.ReasonTokenClaims},
		"exp null":                 {w.with("exp", nil), verify.ReasonTokenClaims},
		"no iat":                   {w.without("iat"), verify.ReasonTokenClaims},
		"iat a string":             {w.with("iat", "1764000000"), verify.ReasonTokenClaims},
		"exp before iat":           {w.with("exp", start.Add(5*time.Second).Unix()).with("iat", start.Add(5*time.Second).Unix()), verify.ReasonTokenClaims},
		"expired":                  {w.with("iat", start.Add(-time.Minute).Unix()).with("exp", start.Add(-10*time.Second).Unix()), verify.ReasonTokenExpired},
		"issued in the future":     {w.with("iat", start.Add(11*time.Second).Unix()), verify.ReasonTokenNotYetValid},
		"issued in an hour":        {w.with("iat", start.Add(time.Hour).Unix()).with("exp", start.Add(61*time.Minute).Unix()), verify.ReasonTokenNotYetValid},
		"not yet valid":            {w.with("nbf", start.Add(11*time.Second).Unix()), verify.ReasonTokenNotYetValid},
		"lives too long":           {w.with("exp", start.Add(time.Hour+11*time.Second).Unix()), verify.ReasonTokenLifetime},
		"lives for ten years":      {w.with("exp", start.AddDate(10, 0, 0).Unix()), verify.ReasonTokenLifetime},
		"no sub":                   {w.without("sub"), verify.ReasonTokenClaims},
		"sub a number":             {w.with("sub", 1), verify.ReasonTokenClaims},
		"sub a trust domain":       {w.with("sub", "spiffe://prod.example"), verify.ReasonTokenClaims},
		"sub not canonical":        {w.with("sub", "spiffe://prod.example/a/../b"), verify.ReasonTokenClaims},
		"sub of another scheme":    {w.with("sub", "SPIFFE://prod.example/ns/shop/sa/web"), verify.ReasonTokenClaims},
		"sub no SPIFFE ID":         {w.with("sub", "spiffe:web"), verify.ReasonTokenClaims},
		"sub of a user, unnamed":   {u.without("sub_id"), verify.ReasonTokenClaims},
		"workload with a sub_id":   {w.with("sub_id", object{"format": "iss_sub", "iss": "x", "sub": "x"}), verify.ReasonTokenClaims},
		"workload, sub_id empty":   {w.with("sub_id", object{}), verify.ReasonTokenClaims},
		"another user in sub_id":   {u.with("sub_id", object{"format": "iss_sub", "iss": "https://acme.okta.com", "sub": "00u2"}), verify.ReasonTokenClaims},
		"sub_id without issuer":    {u.with("sub_id", object{"format": "iss_sub", "sub": "00u1"}), verify.ReasonTokenClaims},
		"sub_id of another format": {u.with("sub_id", object{"format": "email", "iss": "https://acme.okta.com", "sub": "00u1"}), verify.ReasonTokenClaims},
		"sub_id a string":          {u.with("sub_id", "00u1"), verify.ReasonTokenClaims},
		"sub without a name":       {u.with("sub", ":00u1"), verify.ReasonTokenClaims},
		"sub with an odd name":     {u.with("sub", "Corp:00u1"), verify.ReasonTokenClaims},
		"sub with a long name":     {u.with("sub", strings.Repeat("a", 33)+":00u1"), verify.ReasonTokenClaims},
		"sub without a user":       {u.with("sub", "corp:").with("sub_id", object{"format": "iss_sub", "iss": "https://acme.okta.com", "sub": ""}), verify.ReasonTokenClaims},
		"sub too long":             {u.with("sub", "corp:"+strings.Repeat("a", 2048)).with("sub_id", object{"format": "iss_sub", "iss": "https://acme.okta.com", "sub": strings.Repeat("a", 2048)}), verify.ReasonTokenClaims},
		"no jti":                   {w.without("jti"), verify.ReasonTokenClaims},
		"jti too long":             {w.with("jti", strings.Repeat("a", 257)), verify.ReasonTokenClaims},
		"no client_id":             {w.without("client_id"), verify.ReasonTokenClaims},
		"client_id no SPIFFE ID":   {w.with("client_id", "web"), verify.ReasonTokenClaims},
		"client_id a trust domain": {w.with("client_id", "spiffe://prod.example"), verify.ReasonTokenClaims},
		"no scope":                 {w.without("scope"), verify.ReasonTokenClaims},
		"scope empty":              {w.with("scope", ""), verify.ReasonTokenClaims},
		"scope a list":             {w.with("scope", []string{"orders.read"}), verify.ReasonTokenClaims},
		"scope of ten thousand":    {w.with("scope", strings.Repeat("a ", 4000)+"a"), verify.ReasonTokenClaims},
		"anc with nothing":         {w.with("anc", []string{""}), verify.ReasonTokenClaims},
		"anc a string":             {w.with("anc", "a"), verify.ReasonTokenClaims},
		"presenters a string":      {w.with("presenters", web.String()), verify.ReasonTokenClaims},
		"presenters no SPIFFE ID":  {w.with("presenters", []string{"*"}), verify.ReasonTokenClaims},
		"act a string":             {w.with("act", web.String()), verify.ReasonTokenClaims},
		"act a list":               {w.with("act", []any{object{"sub": web.String()}}), verify.ReasonTokenClaims},
		"act null":                 {w.with("act", nil), verify.ReasonTokenClaims},
		"act without a sub":        {w.with("act", object{"iss": "x"}), verify.ReasonTokenClaims},
		"act within without a sub": {w.with("act", object{"sub": "x", "act": object{}}), verify.ReasonTokenClaims},
		"act with more":            {w.with("act", object{"sub": "x", "client_id": "y"}), verify.ReasonTokenClaims},
		"act over the cap":         {w.with("act", chain(verify.MaxActors+1)), verify.ReasonTokenClaims},
		"cnf a string":             {w.with("cnf", "x"), verify.ReasonTokenClaims},
		"cnf null":                 {w.with("cnf", nil), verify.ReasonTokenClaims},
		"thumbprint short":         {w.with("cnf", object{"x5t#S256": thumb[1:]}), verify.ReasonTokenClaims},
		"thumbprint padded":        {w.with("cnf", object{"x5t#S256": thumb + "="}), verify.ReasonTokenClaims},
		"thumbprint loose":         {w.with("cnf", object{"x5t#S256": thumb[:42] + "h"}), verify.ReasonTokenClaims},
		"case variant":             {w.with("Client_ID", "x"), verify.ReasonTokenClaims},
		"long s":                   {w.with("\u017fub", "x"), verify.ReasonTokenClaims},
	}
	for _, text := range []string{"a\nb", "a\u0085b", "a\u202eb", "a\u2066b", "a\u2028b", "a\u2029b", "a\ufffdb"} { // a control, or what turns or ends a line, or was repaired
		named := object{"format": "iss_sub", "iss": "https://acme.okta.com", "sub": text}
		for name, claims := range map[string]object{
			"sub": u.with("sub", "corp:"+text).with("sub_id", named), "jti": w.with("jti", text), "txn": w.with("txn", text), "anc": w.with("anc", []string{"a", text}),
			"act": w.with("act", object{"sub": text}), "issuer in act": w.with("act", object{"sub": "a", "iss": text}), "issuer in sub_id": u.with("sub_id", object{"format": "iss_sub", "iss": text, "sub": "00u1"}),
		} {
			tests[fmt.Sprintf("%s %q", name, text)] = struct {
				claims object
				want   verify.Reason
			}{claims, verify.ReasonTokenClaims}
		}
	}
	for _, text := range []string{"a  b", " a", "a ", "a\tb", "a\u00a0b", "a\u200bb", `a"b`, `a\b`, "a\u202eb"} { // GV-6
		tests["scope "+text] = struct {
			claims object
			want   verify.Reason
		}{w.with("scope", text), verify.ReasonTokenClaims}
	}
	for name, tt := range tests {
		token, err := asWeb(t, v, sign(t, s, "at+jwt", tt.claims.json(t)))
		if reason(err) != tt.want || token != nil {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if token, err := asWeb(t, v, sign(t, s, "at+jwt", w.with("act", chain(verify.MaxActors)).json(t))); err != nil || len(token.Actors()) != verify.MaxActors {
		t.Errorf("the longest chain: %v", err)
	}
}

// What two readers could understand in two ways, and what is not one JSON object.
// Standards H5, H14, JW-7 to JW-9, JW-15, JW-16.
func TestVerifyRefusesPayloads(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, nil, s)
	good := workloadClaims().json(t)
	open := strings.TrimSuffix(good, "}")
	if _, err := asWeb(t, v, sign(t, s, "at+jwt", good)); err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string]string{
		"sub twice": open + `,"sub":"x"}`, "aud twice": open + `,"aud":"x"}`, "exp twice": open + `,"exp":1}`, "escaped twice": open + `,"\u0073ub":"x"}`,
		"cnf twice": open + `,"cnf":{"x5t#S256":"` + thumb + `"},"cnf":{}}`, "act twice": open + `,"act":{"sub":"a"},"act":{"sub":"b"}}`,
		"other twice": open + `,"x":1,"x":1}`, "twice in act": open + `,"act":{"sub":"a","sub":"b"}}`,
		"trailing": good + "{}", "BOM": "\ufeff" + good, "list": "[" + good + "]", "cut": open, "invalid UTF-8": open + ",\"x\":\"\xff\"}", "overlong": open + ",\"x\":\"\xc0\xaf\"}",
		"lone surrogate": open + `,"x":"\ud800"}`, "NUL behind": good + "\x00", "exp 1e400": strings.Replace(good, `"exp":`, `"exp":1e400,"x":`, 1),
		"act of a thousand": open + `,"act":` + strings.Repeat(`{"act":`, 1000) + "{}" + strings.Repeat("}", 1000) + "}",
	} {
		if _, err := asWeb(t, v, sign(t, s, "at+jwt", payload)); reason(err) != verify.ReasonTokenClaims {
			t.Errorf("%s: %v", name, err)
		}
	}
	deep := open + `,"act":` + strings.Repeat(`{"act":`, 20000) + "{}" + strings.Repeat("}", 20000) + "}"
	if _, err := asWeb(t, v, sign(t, s, "at+jwt", deep)); reason(err) != verify.ReasonTokenTooLarge {
		t.Errorf("act of twenty thousand: %v", err)
	}
}

// Standards AT-11, AT-14, JW-1 to JW-6, JW-10, JW-11, JW-14, JW-19, H1 to H4, H6 to
// H8, H13.
func TestVerifyRefusesHeaders(t *testing.T) {
	t.Parallel()
	s, stranger := newSigner(t, "k1"), newSigner(t, "k1")
	v := newVerifier(t, nil, s)
	payload := workloadClaims().json(t)
	for _, typ := range []string{"at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"} {
		if _, err := asWeb(t, v, sign(t, s, typ, payload)); err != nil {
			t.Fatalf("typ %q: %v", typ, err)
		}
	}
	good := sign(t, s, "at+jwt", payload)
	const at = `"typ":"at+jwt"`
	canary := newPublisher(t, true, stranger)
	there := canary.metadata.JWKSURI
	jwk := `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`
	tests := map[string]struct {
		token string
		want  verify.Reason
	}{
		"empty":                {"", verify.ReasonTokenMalformed},
		"no dots":              {"abc", verify.ReasonTokenMalformed},
		"JWE":                  {b64(`{"alg":"dir"}`) + "..a.a.a", verify.ReasonTokenMalformed},
		"JSON serialisation":   {`{"payload":"a","signature":"b"}`, verify.ReasonTokenMalformed},
		"trailing newline":     {good + "\n", verify.ReasonTokenMalformed},
		"leading BOM":          {"\ufeff" + good, verify.ReasonTokenMalformed},
		"padding":              {good + "=", verify.ReasonTokenMalformed},
		"space":                {" " + good, verify.ReasonTokenMalformed},
		"no signature":         {good[:strings.LastIndexByte(good, '.')+1], verify.ReasonTokenMalformed},
		"1 MiB":                {strings.Repeat("a", 1<<20), verify.ReasonTokenTooLarge},
		"a million dots":       {strings.Repeat(".", 1000000), verify.ReasonTokenTooLarge},
		"signed by a stranger": {sign(t, stranger, "at+jwt", payload), verify.ReasonTokenSignature},
		"kid unknown":          {sign(t, newSigner(t, "k2"), "at+jwt", payload), verify.ReasonTokenKeyUnknown},
		"no kid":               {sign(t, newSigner(t, ""), "at+jwt", payload), verify.ReasonTokenKeyUnknown},
	}
	add := func(name, header string, want verify.Reason) {
		tests[name] = struct {
			token string
			want  verify.Reason
		}{signHeader(t, s, header, payload), want}
	}
	add("no kid, our key", `{"alg":"ES256",`+at+`}`, verify.ReasonTokenKeyUnknown)
	add("kid empty", `{"alg":"ES256","kid":"",`+at+`}`, verify.ReasonTokenKeyUnknown)
	for _, kid := range []string{"../../k1", "' OR 1=1", "*", "K1", "k1 "} {
		add("kid "+kid, `{"alg":"ES256","kid":"`+kid+`",`+at+`}`, verify.ReasonTokenKeyUnknown)
	}
	add("kid NUL", `{"alg":"ES256","kid":"k1\u0000",`+at+`}`, verify.ReasonTokenMalformed)
	add("kid long", `{"alg":"ES256","kid":"`+strings.Repeat("k", 257)+`",`+at+`}`, verify.ReasonTokenMalformed)
	add("kid a number", `{"alg":"ES256","kid":1,`+at+`}`, verify.ReasonTokenMalformed)
	add("kid twice", `{"alg":"ES256","kid":"k1","kid":"k1",`+at+`}`, verify.ReasonTokenMalformed)
	add("alg twice", `{"alg":"ES256","alg":"ES256","kid":"k1",`+at+`}`, verify.ReasonTokenMalformed)
	add("ALG", `{"alg":"ES256","ALG":"none","kid":"k1",`+at+`}`, verify.ReasonTokenMalformed)
	for _, alg := range []string{`"none"`, `"None"`, `"nOnE"`, `""`, `"es256"`, `"HS256"`, `"ES256K"`, `"dir"`} {
		add("alg "+alg, `{"alg":`+alg+`,"kid":"k1",`+at+`}`, verify.ReasonTokenAlgorithm)
	}
	add("no alg", `{"kid":"k1",`+at+`}`, verify.ReasonTokenAlgorithm)
	add("alg a list", `{"alg":["ES256"],"kid":"k1",`+at+`}`, verify.ReasonTokenMalformed)
	for _, alg := range []string{"ES384", "RS256", "PS256", "EdDSA"} { // known, not allowed here
		add("alg "+alg, `{"alg":"`+alg+`","kid":"k1",`+at+`}`, verify.ReasonTokenAlgorithm)
	}
	for _, member := range []string{`"jwk":` + jwk, `"jku":"` + there + `"`, `"x5u":"` + there + `"`, `"x5c":["AA"]`, `"crit":["x"]`, `"crit":["b64"],"b64":false`, `"b64":false`, `"zip":"DEF"`, `"cty":"JWT"`} {
		add(member, `{"alg":"ES256","kid":"k1",`+at+`,`+member+`}`, verify.ReasonTokenMalformed)
	}
	for name, tt := range tests {
		if token, err := asWeb(t, v, tt.token); reason(err) != tt.want || token != nil {
			t.Errorf("%s: %v, want %s", name, err, tt.want)
		}
	}
	if n := canary.asked.Load(); n != 0 {
		t.Errorf("what a header names was asked for %d times", n)
	}
}

// Standards JW-13, H22, GV-10: every kind of token that exists is refused here,
// even with our key and the claims of an access token.
func TestOtherKinds(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, nil, s)
	payload := workloadClaims().json(t)
	for _, typ := range []string{
		"", "JWT", "JOSE", "wit+jwt", "wpt+jwt", "dpop+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "client-authentication+jwt", "authorization-grant+jwt",
		"token-introspection+jwt", "statuslist+jwt", "secevent+jwt", "rt+jwt", "at+jwt;x=1", "at+jwt ", "at", "text/at+jwt", "application/application/at+jwt", "at+jwts", "at+JWT+",
	} {
		if _, err := asWeb(t, v, sign(t, s, typ, payload)); reason(err) != verify.ReasonTokenType {
			t.Errorf("typ %q: %v", typ, err)
		}
	}
}

// Standards AT-15, AT-17, H10: one threshold, to the second, whatever the leeway.
func TestClockSkew(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	for _, leeway := range []time.Duration{0, time.Second, 10 * time.Second, 30 * time.Second} {
		now := start
		v := newVerifier(t, func(c *verify.Config) { c.Leeway, c.Now = leeway, func() time.Time { return now } }, s)
		if leeway == 0 {
			leeway = 10 * time.Second
		}
		early := sign(t, s, "at+jwt", workloadClaims().with("nbf", start.Unix()).json(t))
		late := sign(t, s, "at+jwt", workloadClaims().with("iat", start.Add(-time.Hour).Unix()).with("exp", start.Unix()).json(t))
		for second := -90; second <= 90; second++ {
			skew := time.Duration(second) * time.Second
			now = start.Add(skew)
			if _, err := asWeb(t, v, late); (err == nil) != (skew < leeway) {
				t.Errorf("leeway %v: %v after exp: %v", leeway, skew, err)
			}
			if _, err := asWeb(t, v, early); (err == nil) != (skew >= -leeway) {
				t.Errorf("leeway %v: %v after iat and nbf: %v", leeway, skew, err)
			}
		}
		now = start
		for _, life := range []time.Duration{time.Hour, time.Hour + leeway, time.Hour + leeway + time.Second} {
			_, err := asWeb(t, v, sign(t, s, "at+jwt", workloadClaims().with("exp", start.Add(life).Unix()).json(t)))
			if (err == nil) != (life <= time.Hour+leeway) {
				t.Errorf("leeway %v: a life of %v: %v", leeway, life, err)
			}
		}
	}
}

// The algorithms of a key and of a header are one; two names of Ed25519 are two.
// Standards JW-4, JW-20.
func TestAlgorithms(t *testing.T) {
	t.Parallel()
	es, payload := newSigner(t, "k1"), workloadClaims().json(t)
	v := newVerifier(t, func(c *verify.Config) { c.Algorithms = []jws.Algorithm{jws.EdDSA, jws.ES256} }, es)
	if _, err := asWeb(t, v, sign(t, es, "at+jwt", payload)); err != nil {
		t.Error(err)
	}
	if _, err := asWeb(t, v, signHeader(t, es, `{"alg":"EdDSA","kid":"k1","typ":"at+jwt"}`, payload)); reason(err) != verify.ReasonTokenKeyUnknown {
		t.Errorf("a key with another algorithm: %v", err)
	}
	if _, err := asWeb(t, v, signHeader(t, es, `{"alg":"Ed25519","kid":"k1","typ":"at+jwt"}`, payload)); reason(err) != verify.ReasonTokenAlgorithm {
		t.Errorf("another name: %v", err)
	}
}

// Several audiences of one service; the token says which of them it is for.
func TestAudiences(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, func(c *verify.Config) { c.Audiences = []string{orders, "urn:orders"} }, s)
	for want, aud := range map[string]any{orders: []string{"urn:orders", orders}, "urn:orders": []string{"x", "urn:orders"}} {
		token, err := asWeb(t, v, sign(t, s, "at+jwt", workloadClaims().with("aud", aud).json(t)))
		if err != nil || token.Audience() != want {
			t.Errorf("%v: %v", aud, err)
		}
	}
}

var errCause = errors.New("cause")

func TestErrors(t *testing.T) {
	t.Parallel()
	one, err := oauth.NewScopes("b", "a")
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct {
		err       verify.Error
		code      verify.Code
		challenge string
	}{
		"none":    {verify.Error{Reason: verify.ReasonCredentialsMissing}, "", `Bearer realm="r"`},
		"request": {verify.Error{Reason: verify.ReasonCredentialsSeveral}, "invalid_request", `Bearer realm="r", error="invalid_request", error_description="more than one access token was sent"`},
		"token":   {verify.Error{Reason: verify.ReasonTokenExpired, Err: errCause}, "invalid_token", `Bearer realm="r", error="invalid_token", error_description="the token has expired"`},
		"scope": {verify.Error{Reason: verify.ReasonScopeMissing, Scopes: one}, "insufficient_scope",
			`Bearer realm="r", error="insufficient_scope", error_description="the token lacks the scope", scope="a b"`},
		"keys":    {verify.Error{Reason: verify.ReasonKeysUnavailable}, "temporarily_unavailable", `Bearer realm="r", error="temporarily_unavailable", error_description="the keys of the issuer are not known at the moment"`},
		"zero":    {verify.Error{}, "invalid_token", `Bearer realm="r", error="invalid_token", error_description="the token is not accepted"`},
		"unknown": {verify.Error{Reason: "x\r\ny"}, "invalid_token", `Bearer realm="r", error="invalid_token", error_description="the token is not accepted"`},
	}
	for name, tt := range tests {
		if tt.err.Code() != tt.code || tt.err.Challenge("r") != tt.challenge {
			t.Errorf("%s: %q, %s", name, tt.err.Code(), tt.err.Challenge("r"))
		}
	}
	for _, r := range verify.Reasons() {
		e := &verify.Error{Reason: r, Err: errCause}
		if d := e.Description(); d == "" || oauth.CleanDescription(d) != d || !errors.Is(e, errCause) || !strings.Contains(e.Error(), string(r)) || !strings.Contains(e.Error(), "cause") {
			t.Errorf("%s: %q, %v", r, d, e)
		}
		if (&verify.Error{Reason: r}).Error() != "verify: "+string(r) {
			t.Errorf("%s without a cause", r)
		}
	}
}
