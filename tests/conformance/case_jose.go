package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// joseCases are about what is taken for a signed token (JW). Each spoils a token
// that is good otherwise, signature and all.
func joseCases() []testCase {
	return []testCase{
		{"JW-1", "compact serialisation and nothing else", onlyCompact},
		{"JW-2", "encrypted tokens are refused by their shape", noEncryption},
		{"JW-3", "alg none and every spelling of it are refused", noNone},
		{"JW-4", "a key works with its own algorithm", algorithmConfusion},
		{"JW-5", "an unknown crit is refused", critical},
		{"JW-6", "b64 false is refused", unencoded},
		{"JW-7", "a name that repeats in header or claims is refused", repeatedNames},
		{"JW-8", "another case is another name", otherCase},
		{"JW-9", "nothing may follow the claims", trailing},
		{"JW-10", "no key comes from the header, and nothing is fetched", headerKeys},
		{"JW-11", "kid is looked up and never interpreted", hostileKeyIDs},
		{"JW-13", "a token of one kind does not pass for another", otherKinds},
		{"JW-14", "typ is compared as a media type", mediaTypes},
		{"JW-15", "claims are UTF-8", onlyUTF8},
		{"JW-16", "dates are numbers in range", dates},
		{"JW-17", "nothing is decompressed", noEncryption},
		{"JW-19", "an ECDSA signature is 64 bytes in range, not DER", signatures},
	}
}

func onlyCompact(t *t) {
	f := t.needForger()
	token := f.good()
	parts := strings.Split(token, ".")
	for what, bad := range map[string]string{
		"a newline": token + "\n", "a space": " " + token, "padding": token + "=", "two parts": parts[0] + "." + parts[1], "four parts": token + ".x", "no signature": parts[0] + "." + parts[1] + ".",
		"dots": "...", "standard base64": parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]) + "+", "Bearer": "Bearer " + token, "quoted": `"` + token + `"`,
		"JSON": fmt.Sprintf(`{"protected":%q,"payload":%q,"signature":%q}`, parts[0], parts[1], parts[2]), "a BOM": "\ufeff" + token, "no payload": parts[0] + ".." + parts[2],
	} {
		t.subjectRefused(bad, what)
	}
	t.subjectTaken(token, "the token that was spoiled")
}

func noEncryption(t *t) {
	f := t.needForger()
	for _, header := range []string{
		`{"alg":"dir","enc":"A256GCM","zip":"DEF"}`, `{"alg":"PBES2-HS256+A128KW","enc":"A128GCM","p2c":2147483648,"p2s":"AAAAAAAAAAA"}`, `{"alg":"A128KW","enc":"A128GCM"}`, `{"alg":"RSA-OAEP","enc":"A256GCM"}`,
	} {
		t.subjectRefused(b64([]byte(header))+"..AAAAAAAAAAAAAAAA."+b64(bytes.Repeat([]byte("x"), 4096))+".AAAAAAAAAAAAAAAAAAAAAA", header)
	}
	nested := b64(object(f.header(), map[string]any{"cty": "JWT"})) + "." + b64([]byte(f.good()))
	t.subjectRefused(nested+"."+b64(signature(f.key, nested)), "a token inside a token")
}

func noNone(t *t) {
	f := t.needForger()
	for _, alg := range []any{"none", "None", "nOnE", "NONE", "", 0, nil, []string{"none"}, "es256", "ES256 ", "HS256", "ES256K"} {
		t.subjectRefused(f.headed(map[string]any{"alg": alg}), fmt.Sprint("alg ", alg))
	}
	unsigned := b64(object(f.header(), map[string]any{"alg": "none"})) + "." + b64(object(f.body(), nil))
	for _, end := range []string{"", ".", ".AA"} {
		t.subjectRefused(unsigned+end, "alg none and no signature")
	}
}

func algorithmConfusion(t *t) {
	f := t.needForger()
	der, err := x509.MarshalPKIXPublicKey(f.key.Public())
	t.must(err == nil, "internal error: %v", err)
	jwk, err := (&jose.JSONWebKey{Key: f.key.Public()}).MarshalJSON()
	t.must(err == nil, "internal error: %v", err)
	for _, secret := range [][]byte{der, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), jwk, []byte(f.kid), {}} {
		t.subjectRefused(f.hmacked("HS256", secret), "HS256 with the public key as secret")
		t.subjectRefused(f.hmacked(f.alg, secret), "an HMAC as signature")
	}
	for _, alg := range []string{"RS256", "PS256", "ES384", "ES512", "EdDSA", "Ed25519", "HS512"} {
		if alg != f.alg {
			t.subjectRefused(f.headed(map[string]any{"alg": alg}), "alg "+alg)
		}
	}
}

func critical(t *t) {
	f := t.needForger()
	for _, crit := range []any{[]string{"x"}, []string{"exp"}, []string{}, "x", []string{"alg"}} {
		t.subjectRefused(f.headed(map[string]any{"crit": crit, "x": 1}), "crit")
	}
}

func unencoded(t *t) {
	f := t.needForger()
	t.subjectRefused(f.headed(map[string]any{"b64": false, "crit": []string{"b64"}}), "b64 false")
	t.subjectRefused(f.headed(map[string]any{"b64": false}), "b64 false without crit")
}

func repeatedNames(t *t) {
	f := t.needForger()
	for _, more := range []string{`"alg":"` + f.alg + `"`, `"alg":"none"`, `"kid":"` + f.kid + `"`, `"typ":"JWT","typ":"JWT"`} {
		t.subjectRefused(f.headedText(more), "header with another "+more)
	}
	for _, name := range []string{"sub", "aud", "exp", "iss", "iat", "jti"} {
		again := strings.Trim(string(object(map[string]any{name: f.body()[name]}, nil)), "{}")
		t.subjectRefused(f.text(again), "claims with "+name+" again")
	}
	t.subjectRefused(f.text(`"cnf":{},"cnf":{}`), "claims with cnf twice")
	t.subjectRefused(f.text(`"x":{"y":1,"y":2}`), "a name twice deep inside")
}

func otherCase(t *t) {
	f := t.needForger()
	to, _ := t.needExchange()
	want := str(payload(t.first(f.good())), "sub")
	for _, more := range []string{`"SUB":"admin"`, `"Sub":"admin"`, `"\u017fub":"admin"`, `"EXP":99999999999`, `"AUD":"x"`} {
		a := t.caller(exchange(to, f.text(more), t.profile.Subject.Type))
		t.hold(a.status == 400 || str(payload(a.text("access_token")), "sub") == want, "%s: %d, and sub is %q", more, a.status, str(payload(a.text("access_token")), "sub"))
	}
	for _, name := range []string{"sub", "exp", "iss", "aud"} {
		t.subjectRefused(f.with(map[string]any{name: nil, strings.ToUpper(name): f.body()[name]}), strings.ToUpper(name)+" instead of "+name)
	}
	t.subjectRefused(f.headed(map[string]any{"alg": nil, "ALG": f.alg}), "ALG instead of alg")
}

func trailing(t *t) {
	f := t.needForger()
	for _, more := range []string{" {}", "x", "\x00", `,"sub":"a"}`, "]"} {
		t.subjectRefused(f.sign(object(f.header(), nil), append(object(f.body(), nil), more...)), "claims followed by "+more)
		t.subjectRefused(f.sign(append(object(f.header(), nil), more...), object(f.body(), nil)), "a header followed by "+more)
	}
	t.subjectRefused(f.sign(object(f.header(), nil), []byte("[]")), "claims that are an array")
	t.subjectRefused(f.sign(object(f.header(), nil), nil), "no claims")
}

// headerKeys signs with a key of its own and says in the header where to find
// it. The canary must not be asked.
func headerKeys(t *t) {
	f := t.needForger()
	var asked atomic.Int64
	own := newKey()
	jwk := jose.JSONWebKey{Key: own.Public(), KeyID: f.kid, Algorithm: f.alg, Use: "sig"}
	canary := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1) }))
	defer canary.Close()
	mine := forger{key: own, kid: f.kid, alg: "ES256", typ: f.typ, claims: f.claims}
	leaf := strange().make(leafOptions{dns: []string{"x"}}).Certificate[0]
	for what, header := range map[string]map[string]any{
		"jwk": {"jwk": jwk}, "jku": {"jku": canary.URL}, "x5u": {"x5u": canary.URL}, "x5c": {"x5c": []string{base64.StdEncoding.EncodeToString(leaf)}}, "a kid that is a URL": {"kid": canary.URL},
	} {
		t.subjectRefused(mine.headed(header), "another key, by "+what)
	}
	t.subjectRefused(mine.with(map[string]any{"iss": canary.URL}), "another issuer")
	t.hold(asked.Load() == 0, "the server fetched a URL of the token, %d times", asked.Load())
}

func hostileKeyIDs(t *t) {
	f := t.needForger()
	for _, kid := range []any{"../../k", "' OR 1=1 --", "*)(uid=*", "a\x00b", strings.Repeat("k", 5000), 7, []string{f.kid}, map[string]any{}, f.kid + " ", "\u202e" + f.kid, "%s%n"} {
		t.subjectRefused(f.headed(map[string]any{"kid": kid}), fmt.Sprintf("kid %.20v", kid))
	}
}

// kinds are the types of the tokens that a server may meet.
var kinds = []string{"at+jwt", "wit+jwt", "wpt+jwt", "dpop+jwt", "txntoken+jwt", "oauth-id-jag+jwt", "client-authentication+jwt", "authorization-grant+jwt",
	"token-introspection+jwt", "statuslist+jwt", "secevent+jwt", "logout+jwt", "oauth-client-attestation+jwt"}

func otherKinds(t *t) {
	f := t.needForger()
	for _, kind := range kinds {
		if kind != f.typ {
			t.subjectRefused(f.headed(map[string]any{"typ": kind}), "typ "+kind)
		}
	}
	t.subjectRefused(t.first(f.good()), "a token of the server as "+t.profile.Subject.Type)
	to, _ := t.needExchange()
	for _, kind := range []string{"id_token", "jwt", "refresh_token", "saml2"} {
		t.refused(t.caller(exchange(to, t.first(f.good()), tokenTypes+kind)), "a token of the server as "+kind, "invalid_request")
	}
}

func mediaTypes(t *t) {
	f := t.needForger()
	for _, typ := range []any{f.typ + ";x=1", f.typ + "\x00", f.typ + " ", "application/", "/" + f.typ, 1, []string{f.typ}, "application/application/" + f.typ} {
		t.subjectRefused(f.headed(map[string]any{"typ": typ}), fmt.Sprint("typ ", typ))
	}
}

func onlyUTF8(t *t) {
	f := t.needForger()
	body := object(f.body(), nil)
	wide := make([]byte, 0, 2*len(body))
	for _, c := range body {
		wide = append(wide, c, 0)
	}
	t.subjectRefused(f.sign(object(f.header(), nil), wide), "UTF-16")
	t.subjectRefused(f.sign(object(f.header(), nil), append([]byte("\xef\xbb\xbf"), body...)), "a BOM")
	t.subjectRefused(f.sign(append([]byte("\xef\xbb\xbf"), object(f.header(), nil)...), body), "a BOM before the header")
	t.subjectRefused(f.text(`"x":"\ud800"`), "half a surrogate")
}

func dates(t *t) {
	f := t.needForger()
	now := time.Now().Unix()
	for _, exp := range []string{`"123"`, `"` + fmt.Sprint(now+600) + `"`, "1e400", "-1", "0", "null", "true", "[]", "{}", "9e18", "1e300", "NaN", fmt.Sprint(now + 10*365*24*3600)} {
		body := strings.Replace(string(object(f.body(), map[string]any{"exp": "EXP"})), `"EXP"`, exp, 1)
		t.subjectRefused(f.sign(object(f.header(), nil), []byte(body)), "exp "+exp)
	}
	t.subjectRefused(f.with(map[string]any{"exp": nil}), "no exp")
	t.subjectRefused(f.with(map[string]any{"iat": now + 3600}), "iat in an hour")
	t.subjectRefused(f.with(map[string]any{"nbf": now + 3600}), "nbf in an hour")
	t.subjectRefused(f.with(map[string]any{"nbf": "x"}), "nbf that is no number")
}

func signatures(t *t) {
	f := t.needForger()
	key, ok := f.key.(*ecdsa.PrivateKey)
	t.need(ok, "the key of the profile is not ECDSA")
	input := f.good()
	input = input[:strings.LastIndexByte(input, '.')]
	good := signature(key, input)
	half := len(good) / 2
	order := key.Params().N.FillBytes(make([]byte, half))
	der, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(good[:half]), new(big.Int).SetBytes(good[half:])})
	t.must(err == nil, "internal error: %v", err)
	zero := make([]byte, half)
	for what, bad := range map[string][]byte{
		"DER": der, "a byte more": append(bytes.Clone(good), 0), "a byte less": good[1:], "r is 0": append(bytes.Clone(zero), good[half:]...), "s is 0": append(bytes.Clone(good[:half]), zero...),
		"r is the order": append(bytes.Clone(order), good[half:]...), "s is the order": append(bytes.Clone(good[:half]), order...), "all zero": make([]byte, 2*half), "one half": good[:half],
	} {
		t.subjectRefused(input+"."+b64(bad), what)
	}
	t.subjectTaken(input+"."+b64(good), "the signature that was spoiled")
}
