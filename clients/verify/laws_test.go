package verify_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/clients/verify"
)

// Not one byte of a token can be another.
func TestEveryByteCounts(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, func(c *verify.Config) { c.AllowBearer = true }, s)
	good := sign(t, s, "at+jwt", userClaims().json(t))
	if _, err := v.Verify(context.Background(), good, verify.Peer{}); err != nil {
		t.Fatal(err)
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	for i := range len(good) {
		others := []byte{good[i] ^ 0x20, good[i] ^ 0x80, '.', '='}
		if at := strings.IndexByte(alphabet, good[i]); at >= 0 { // what differs in the low bits of base64 alone
			others = append(others, alphabet[at^1], alphabet[at^16])
		}
		for _, c := range others {
			if c == good[i] {
				continue
			}
			if _, err := v.Verify(context.Background(), good[:i]+string(c)+good[i+1:], verify.Peer{}); err == nil {
				t.Errorf("byte %d as %q", i, c)
			}
		}
		if _, err := v.Verify(context.Background(), good[:i]+good[i+1:], verify.Peer{}); err == nil {
			t.Errorf("without byte %d", i)
		}
	}
}

// Tokens that another implementation signed are accepted when they conform, with
// whatever white space and order of members it writes.
func TestSignedByGoJose(t *testing.T) {
	t.Parallel()
	private := newPrivate(t)
	key, err := jws.NewKey("k1", jws.ES256, private.Public())
	if err != nil {
		t.Fatal(err)
	}
	v := newVerifier(t, nil)
	v.Install(jws.NewKeySet(key))
	theirs, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "k1").WithType("application/at+jwt"))
	if err != nil {
		t.Fatal(err)
	}
	for name, claims := range map[string]object{"workload": workloadClaims(), "user": userClaims(), "presented": workloadClaims().with("presenters", []string{gateway.String()})} {
		raw, err := jwt.Signed(theirs).Claims(map[string]any(claims)).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		if token, err := asWeb(t, v, raw); err != nil || token.Subject() != claims["sub"] {
			t.Errorf("%s: %v", name, err)
		}
		pretty, err := json.MarshalIndent(claims, " ", "\t")
		if err != nil {
			t.Fatal(err)
		}
		object, err := theirs.Sign(pretty)
		if err != nil {
			t.Fatal(err)
		}
		if raw, err = object.CompactSerialize(); err != nil {
			t.Fatal(err)
		}
		if token, err := asWeb(t, v, raw); err != nil || token.Subject() != claims["sub"] {
			t.Errorf("%s with white space: %v", name, err)
		}
	}
}

// What we accept, an OpenID Connect client accepts too.
func TestAcceptedByGoOIDC(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, nil, s)
	theirs := oidc.NewVerifier(issuer, &oidc.StaticKeySet{PublicKeys: []crypto.PublicKey{s.Key().Public()}}, &oidc.Config{
		ClientID: orders, SupportedSigningAlgs: []string{"ES256"}, Now: fixed,
	})
	for name, claims := range map[string]object{"workload": workloadClaims(), "user": userClaims(), "aud a list": workloadClaims().with("aud", []string{"x", orders}),
		"bound": workloadClaims().with("cnf", object{"x5t#S256": thumb})} {
		raw := sign(t, s, "at+jwt", claims.json(t))
		ours, err := v.Verify(context.Background(), raw, peer(t, web, thumb))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		token, err := theirs.Verify(context.Background(), raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if token.Subject != ours.Subject() || token.Issuer != ours.Issuer() || !token.Expiry.Equal(ours.ExpiresAt()) {
			t.Errorf("%s: %+v", name, token)
		}
	}
}

// FuzzVerify signs whatever payload comes, and takes whatever token comes. What is
// accepted is what a reader of plain JSON would call a token for us.
func FuzzVerify(f *testing.F) {
	s := newSigner(f, "k1")
	v := newVerifier(f, nil, s)
	public := s.Key().Public().(*ecdsa.PublicKey)
	f.Add(workloadClaims().json(f), "")
	f.Add(userClaims().with("anc", []string{"a"}).with("presenters", []string{gateway.String()}).json(f), "")
	f.Add(workloadClaims().with("cnf", object{"x5t#S256": thumb}).json(f), "")
	f.Add(workloadClaims().with("act", object{"sub": "a", "act": object{"sub": "b", "iss": "c", "exp": 1}}).json(f), "")
	f.Add(`{"sub":"a","sub":"b"}`, sign(f, s, "at+jwt", workloadClaims().json(f)))
	f.Add(`[]`, "eyJhbGciOiJub25lIn0.e30.")
	f.Fuzz(func(t *testing.T, payload, token string) {
		for _, raw := range []string{sign(t, s, "at+jwt", payload), token} {
			verified, err := asWeb(t, v, raw)
			if err != nil {
				if verified != nil || strings.HasPrefix(string(reason(err)), "not an Error") {
					t.Fatalf("%v, %v", verified, err)
				}
				continue
			}
			parsed, err := jose.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				t.Fatalf("go-jose refuses %q: %v", raw, err)
			}
			body, err := parsed.Verify(public)
			if err != nil {
				t.Fatalf("go-jose does not verify %q: %v", raw, err)
			}
			checkAccepted(t, body, verified)
		}
	})
}

// checkAccepted is the rules again, over plain JSON.
func checkAccepted(t *testing.T, body []byte, verified *verify.Token) {
	t.Helper()
	var c struct {
		Iss, Sub, Jti, Scope, ClientID string
		Aud                            any
		Exp, Iat                       float64
		Presenters                     []string
	}
	var plain map[string]json.RawMessage
	if err := json.Unmarshal(body, &plain); err != nil {
		t.Fatal(err)
	}
	for name, into := range map[string]any{"iss": &c.Iss, "sub": &c.Sub, "jti": &c.Jti, "scope": &c.Scope, "client_id": &c.ClientID, "aud": &c.Aud, "exp": &c.Exp, "iat": &c.Iat} {
		if err := json.Unmarshal(plain[name], into); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	if raw, ok := plain["presenters"]; ok {
		if err := json.Unmarshal(raw, &c.Presenters); err != nil {
			t.Fatal(err)
		}
	}
	ours := c.Aud == any(orders)
	if list, ok := c.Aud.([]any); ok {
		for _, a := range list {
			ours = ours || a == any(orders)
		}
	}
	shown := c.ClientID == web.String()
	for _, p := range c.Presenters {
		shown = shown || p == web.String()
	}
	now, leeway := float64(start.Unix()), (10 * time.Second).Seconds()
	_, bound := plain["cnf"]
	switch {
	case c.Iss != issuer || !ours || !shown || bound || c.Jti == "" || c.Scope == "" || c.Sub == "":
		t.Fatalf("accepted %s", body)
	case c.Exp+leeway <= now || c.Iat >= now+leeway+1 || c.Exp < c.Iat || c.Exp-c.Iat > 3600+leeway+1:
		t.Fatalf("accepted with dates %s", body)
	case verified.Subject() != c.Sub || verified.Workload().String() != c.ClientID || verified.ID() != c.Jti || verified.Presenter() != web:
		t.Fatalf("%+v of %s", verified, body)
	}
}

// Threat F8, over our own source: nothing that others can call returns a Token or
// takes text to one, but Verify and the context that it was put into.
func TestOnlyVerifyMakesTokens(t *testing.T) {
	t.Parallel()
	packages, err := parser.ParseDir(token.NewFileSet(), ".", func(i fs.FileInfo) bool { return !strings.HasSuffix(i.Name(), "_test.go") }, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, p := range packages {
		for _, file := range p.Files {
			for _, d := range file.Decls {
				if fn, ok := d.(*ast.FuncDecl); ok && fn.Name.IsExported() && fn.Type.Results != nil {
					for _, result := range fn.Type.Results.List {
						typ := result.Type
						if star, ok := typ.(*ast.StarExpr); ok {
							typ = star.X
						}
						if name, ok := typ.(*ast.Ident); ok && name.Name == "Token" {
							found[fn.Name.Name] = true
						}
					}
				}
				if g, ok := d.(*ast.GenDecl); ok {
					for _, spec := range g.Specs {
						if typ, ok := spec.(*ast.TypeSpec); ok && typ.Name.Name == "Token" {
							for _, field := range typ.Type.(*ast.StructType).Fields.List {
								for _, name := range field.Names {
									if name.IsExported() {
										t.Errorf("Token.%s can be set", name)
									}
								}
							}
							found["type"] = true
						}
					}
				}
			}
		}
	}
	if len(found) != 4 || !found["Verify"] || !found["VerifyDPoP"] || !found["FromContext"] || !found["type"] {
		t.Errorf("%v", found)
	}
}
