package oidc_test

import (
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/oidc"
)

// compiled returns the policy with one issuer of a kind, as operators write it.
func compiled(t testing.TB, kind, accept, url string) *policy.Snapshot {
	t.Helper()
	text := fmt.Sprintf("cambist: v1\nset: s\ndefaults: {domain: prod.example}\nissuers:\n"+
		"- {name: corp, kind: %s, url: %q, audiences: {cambist: any}, accept: %s, algs: [ES256], claims: {email: string, groups: [customer]}}\n", kind, url, accept)
	docs, findings := policy.Parse("test.yaml", []byte(text))
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	s, findings := policy.Compile(docs[0].Objects, 1, policy.Options{Issuer: "https://cambist.prod.example"})
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	return s
}

// Tokens in the shape that each provider gives them, under the preset for it: the
// right type passes with its scopes, the other is refused and the right one named.
func TestPresets(t *testing.T) {
	t.Parallel()
	access, id := oauth.TokenTypeJWT, oauth.TokenTypeIDToken
	roles := object{"roles": []string{"a", "b"}}
	tests := map[string]struct {
		kind   string
		typ    string
		claims object
		right  oauth.TokenType
		scopes string
	}{
		"Okta, access": {"okta", "", object{
			"ver": 1, "jti": "AT.1", "cid": "0oa1", "uid": "00u1", "scp": []string{"openid", "orders"}, "auth_time": 1, "groups": []string{"customer", "x"},
		}, access, "openid orders"},
		"Okta, access of the org server": {"okta", "application/okta-internal-at+jwt", object{"ver": 1, "jti": "AT.1", "cid": "0oa1", "scp": []string{"openid"}}, access, "openid"},
		"Okta, ID":                       {"okta", "", object{"ver": 1, "jti": "ID.1", "amr": []string{"pwd"}, "idp": "00o1", "nonce": "n", "at_hash": "h", "auth_time": 1}, id, ""},
		"Okta, ID by the code flow":      {"okta", "", object{"ver": 1, "jti": "ID.1", "amr": []string{"pwd"}, "idp": "00o1"}, id, ""},
		"Entra, access, version 2":       {"entra", "JWT", object{"nbf": start.Unix(), "aio": "x", "azp": "g1", "azpacr": "1", "oid": "o", "rh": "x", "scp": "orders.read", "tid": "t", "uti": "u", "ver": "2.0"}, access, "orders.read"},
		"Entra, access, version 1":       {"entra", "JWT", object{"nbf": start.Unix(), "appid": "g1", "appidacr": "1", "oid": "o", "scp": "user_impersonation", "ver": "1.0"}, access, "user_impersonation"},
		"Entra, ID":                      {"entra", "JWT", object{"nbf": start.Unix(), "aio": "x", "oid": "o", "rh": "x", "tid": "t", "uti": "u", "ver": "2.0", "preferred_username": "a@acme"}, id, ""},
		"Auth0, access":                  {"auth0", "JWT", object{"sub": "auth0|1", "aud": []string{"cambist", "https://acme.auth0.com/userinfo"}, "azp": "c", "scope": "openid read:orders"}, access, "openid read:orders"},
		"Auth0, access of RFC 9068":      {"auth0", "at+jwt", object{"sub": "auth0|1", "client_id": "c", "jti": "j", "scope": "read:orders"}, access, "read:orders"},
		"Auth0, ID":                      {"auth0", "JWT", object{"sub": "auth0|1", "nickname": "a", "sid": "s", "nonce": "n"}, id, ""},
		"Keycloak, access": {"keycloak", "JWT", object{
			"jti": "onrtac:1", "typ": "Bearer", "azp": "web", "sid": "s", "acr": "1", "realm_access": roles, "resource_access": object{"account": roles}, "scope": "email profile",
		}, access, "email profile"},
		"Keycloak, ID":            {"keycloak", "JWT", object{"jti": "j", "typ": "ID", "azp": "web", "sid": "s", "at_hash": "h", "acr": "1", "email_verified": true, "email": "a@acme"}, id, ""},
		"Google, ID":              {"google", "JWT", object{"azp": "1.apps", "email": "a@gmail", "email_verified": true, "at_hash": "h", "hd": "acme"}, id, ""},
		"Kubernetes":              {"kubernetes", "", object{"sub": "system:serviceaccount:shop:web", "aud": []string{"cambist"}, "nbf": start.Unix(), "kubernetes.io": object{"namespace": "shop", "serviceaccount": object{"name": "web", "uid": "1"}, "warnafter": 1}}, access, ""},
		"RFC 9068":                {"oidc", "at+jwt", object{"client_id": "c", "jti": "j", "scope": "a b"}, access, "a b"},
		"an ID token as any":      {"oidc", "JWT", object{"nonce": "n"}, id, ""},
		"GitHub Actions":          {"oidc", "JWT", object{"sub": "repo:acme/shop:ref:refs/heads/main", "jti": "j", "nbf": start.Unix(), "repository": "acme/shop", "job_workflow_ref": "x", "run_id": "1"}, id, ""},
		"an ID token with a kind": {"oidc", "", object{"typ": "ID"}, id, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, "k1")
			accept := "[access, id]"
			if test.kind == "google" {
				accept = "[id]"
			}
			s := compiled(t, test.kind, accept, p.URL)
			w := newWorld(t, s.Issuers(), p.Server)
			route := subject.NewRoute(oidc.New(w.keys))
			claims := object{"iss": p.URL, "sub": "alice", "aud": "cambist", "iat": start.Unix(), "exp": start.Unix() + 3600}.with(test.claims)
			token := oauth.NewSecret(p.sign(t, header{test.typ, "k1"}, claims))
			got, err := route.Verify(t.Context(), s, start, broker.SubjectToken{Raw: token, Type: test.right})
			if err != nil {
				t.Fatal(err)
			}
			if got.Sub != "corp:"+claims["sub"].(string) || got.Scopes.String() != test.scopes {
				t.Errorf("%+v", got)
			}
			for _, wrong := range []oauth.TokenType{access, id, oauth.TokenTypeAccessToken} {
				if wrong == test.right {
					continue
				}
				_, err := route.Verify(t.Context(), s, start, broker.SubjectToken{Raw: token, Type: wrong})
				if e := refused(t, err, broker.ReasonTokenType); !strings.Contains(e.Public, string(test.right)) {
					t.Errorf("as %s: %q", wrong, e.Public)
				}
			}
		})
	}
}

// The issuer that comes along for development works by the same rules.
func TestDevelopmentIssuer(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(nil)
	issuer, err := idp.New("http://"+server.Listener.Addr().String(), func() time.Time { return start })
	if err != nil {
		t.Fatal(err)
	}
	server.Config.Handler = issuer.Handler()
	server.Start()
	t.Cleanup(server.Close)
	s := compiled(t, "oidc", "[access, id]", issuer.URL())
	w := newWorld(t, s.Issuers())
	route := subject.NewRoute(oidc.New(w.keys))
	for kind, as := range map[idp.Kind]oauth.TokenType{idp.AccessToken: oauth.TokenTypeJWT, idp.IDToken: oauth.TokenTypeIDToken} {
		token, err := issuer.Token(kind, "alice", "cambist", 5*time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		got, err := route.Verify(t.Context(), s, start, broker.SubjectToken{Raw: oauth.NewSecret(token), Type: as})
		if err != nil || got.Sub != "corp:alice" {
			t.Fatalf("%s: %+v, %v", kind, got, err)
		}
		if groups, ok := got.Claim("groups"); !ok || fmt.Sprint(groups) != "[customer]" {
			t.Errorf("%s: groups %v", kind, groups)
		}
	}
}
