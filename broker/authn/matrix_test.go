package authn_test

import (
	"context"
	"testing"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
)

// Every kind of token that exists here, shown as each type of assertion, signed by
// whoever signs the right ones: only a JWT-SVID proves as JWT-SVID, and only a
// ServiceAccount token as that (standards SC-1, SC-7, JB-4, JW-13, H22).
func TestKindsAsAssertion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	at := now.Unix()
	access := object{"iss": us, "sub": web, "aud": us, "exp": at + 300, "iat": at, "jti": "j", "client_id": web, "scope": "a"}
	foreign := object{"iss": "https://corp.example", "sub": "alice", "aud": us, "exp": at + 300, "iat": at, "client_id": "c", "scope": "a"}
	id := object{"iss": "https://corp.example", "sub": "alice", "aud": us, "exp": at + 300, "iat": at, "nonce": "n", "at_hash": "h"}
	spiffeID := object{"iss": "https://corp.example", "sub": web, "aud": "c", "exp": at + 300, "iat": at, "nonce": "n"}
	assertion := object{"iss": web, "sub": web, "aud": us, "exp": at + 300, "iat": at, "jti": "j"}
	event := object{"iss": cluster, "sub": web, "aud": us, "iat": at, "exp": at + 300, "jti": "j", "events": object{"http://schemas.openid.net/event/backchannel-logout": object{}}}
	proof := object{"iss": cluster, "sub": web, "aud": us, "htm": "POST", "htu": us + "/oauth2/token", "iat": at, "exp": at + 300, "jti": "j"}
	tests := map[string]struct {
		typ    string
		claims object
		right  string // "" if none is
	}{
		"JWT-SVID":                     {"JWT", ofWeb(), typeSPIFFE},
		"JWT-SVID without typ":         {"", ofWeb(), typeSPIFFE},
		"JWT-SVID, JOSE":               {"JOSE", ofWeb(), typeSPIFFE},
		"JWT-SVID with iss":            {"JWT", ofWeb().with(object{"iss": "https://oidc-discovery.prod.example"}), typeSPIFFE},
		"Kubernetes ServiceAccount":    {"", ofAccount(), typeBearer},
		"Kubernetes, JWT":              {"JWT", ofAccount(), typeBearer},
		"Kubernetes as at+jwt":         {"at+jwt", ofAccount(), ""},
		"at+jwt":                       {"at+jwt", access, ""},
		"at+jwt, foreign":              {"at+jwt", foreign, ""},
		"JWT, foreign access token":    {"JWT", foreign, ""},
		"ID token":                     {"JWT", id, ""},
		"ID token of a SPIFFE ID":      {"JWT", spiffeID, ""},
		"JWT-SVID as at+jwt":           {"at+jwt", ofWeb(), ""},
		"JWT-SVID as wit+jwt":          {"wit+jwt", ofWeb(), ""},
		"JWT-SVID as jwt":              {"jwt", ofWeb(), ""},
		"dpop+jwt":                     {"dpop+jwt", proof, ""},
		"secevent+jwt":                 {"secevent+jwt", event, ""},
		"logout+jwt":                   {"logout+jwt", event, ""},
		"txntoken+jwt":                 {"txntoken+jwt", ofWeb(), ""},
		"client-authentication+jwt":    {"client-authentication+jwt", assertion, ""},
		"authorization-grant+jwt":      {"authorization-grant+jwt", assertion, ""},
		"oauth-id-jag+jwt":             {"oauth-id-jag+jwt", assertion, ""},
		"token-introspection+jwt":      {"token-introspection+jwt", access, ""},
		"client assertion, not SPIFFE": {"JWT", assertion.with(object{"iss": "c", "sub": "c"}), ""},
	}
	for name, test := range tests {
		for kind, key := range map[string]string{typeSPIFFE: "domain", typeBearer: "account"} {
			signer := w.domain
			if key == "account" {
				signer = w.account
			}
			got, err := w.show(t, kind, sign(t, signer, test.typ, test.claims))
			switch {
			case kind == test.right:
				if err != nil || got.ID.String() != web {
					t.Errorf("%s as %s: %+v, %v", name, kind, got, err)
				}
			case err == nil:
				t.Errorf("%s proves %s as %s", name, got.ID, kind)
			case broker.AsError(err).Code != broker.CodeInvalidClient:
				t.Errorf("%s as %s: %v", name, kind, err)
			}
		}
	}
}

// view knows no issuer.
type view struct{ broker.View }

func (view) Issuer(string) (*broker.Issuer, bool) { return nil, false }

// The other way round: what proves a workload is nobody's subject token. A JWT-SVID
// is verified as one if it says so, and refused by Decide, because nobody sent it to
// be passed on.
func TestAssertionsAsSubject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	route := subject.NewRoute(w.svids)
	for name, token := range map[string]string{"JWT-SVID": sign(t, w.domain, "JWT", ofWeb()), "ServiceAccount": sign(t, w.account, "", ofAccount())} {
		for _, as := range []oauth.TokenType{oauth.TokenTypeAccessToken, oauth.TokenTypeJWT, oauth.TokenTypeIDToken, oauth.TokenTypeJWTSVID} {
			s, err := route.Verify(context.Background(), view{}, now, broker.SubjectToken{Raw: oauth.NewSecret(token), Type: as})
			if name == "JWT-SVID" && as == oauth.TokenTypeJWTSVID {
				if err != nil || s.Issued || s.Issuer != nil {
					t.Errorf("%s as %s: %+v, %v", name, as, s, err)
				}
				continue
			}
			if err == nil || broker.AsError(err).Code != broker.CodeInvalidRequest {
				t.Errorf("%s as %s: %+v, %v", name, as, s, err)
			}
		}
	}
}
