package subject_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/issued"
	"github.com/cambist/cambist/broker/subject/oidc"
)

const (
	us      = "https://cambist.prod.example"
	corp    = "https://corp.example"
	cluster = "https://kubernetes.default.svc"
	web     = "spiffe://prod.example/ns/shop/sa/web"
)

// ring is one key of ours.
type ring struct{ key jws.Key }

func (r ring) Key(id string, _ time.Time) (jws.Key, bool) { return r.key, id == r.key.ID() }

// Every kind of token that exists here, declared as every type: only what is what
// it says passes, and whoever declares a token wrongly is told which type is
// right (standards JW-13, TX-5, TX-6, H22; threats B4). The issuer accepts
// everything that an issuer can, and signs everything that it should not.
func TestKindsAndTypes(t *testing.T) {
	t.Parallel()
	ours, theirs := newKey(t), newKey(t)
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: theirs.Public(), KeyID: "k", Algorithm: "ES256"}}})
	if err != nil {
		t.Fatal(err)
	}
	at := now.Unix()
	own := object{"iss": us, "sub": web, "aud": "https://orders.prod.example", "exp": at + 300, "iat": at, "jti": "j", "client_id": web, "scope": "a"}
	access := object{"iss": corp, "sub": "alice", "aud": "api://acme", "exp": at + 300, "iat": at, "client_id": "c", "scope": "a"}
	id := object{"iss": corp, "sub": "alice", "aud": "c", "exp": at + 300, "iat": at, "nonce": "n", "at_hash": "h"}
	account := object{
		"iss": cluster, "sub": "system:serviceaccount:shop:web", "aud": []string{"cambist"}, "exp": at + 300, "iat": at, "nbf": at, "jti": "j",
		"kubernetes.io": object{"namespace": "shop", "serviceaccount": object{"name": "web", "uid": "u"}},
	}
	svid := object{"sub": web, "aud": us, "exp": at + 300, "iat": at}
	event := object{"iss": corp, "sub": "alice", "aud": "c", "iat": at, "exp": at + 300, "jti": "j", "events": object{"http://schemas.openid.net/event/backchannel-logout": object{}}}
	assertion := object{"iss": "c", "sub": "c", "aud": us, "exp": at + 300, "iat": at, "jti": "j"}
	proof := object{"iss": corp, "sub": "alice", "aud": "c", "htm": "POST", "htu": us + "/oauth2/token", "iat": at, "exp": at + 300, "jti": "j"}

	const accessToken, jwt, idToken = oauth.TokenTypeAccessToken, oauth.TokenTypeJWT, oauth.TokenTypeIDToken
	tests := map[string]struct {
		token string
		right oauth.TokenType // "" if none is
	}{
		"at+jwt, ours":                        {sign(t, ours, "at+jwt", "k", own), accessToken},
		"at+jwt, foreign":                     {sign(t, theirs, "at+jwt", "k", access), jwt},
		"JWT, foreign access token":           {sign(t, theirs, "JWT", "k", access), jwt},
		"ID token":                            {sign(t, theirs, "JWT", "k", id), idToken},
		"ID token without typ":                {sign(t, theirs, "", "k", id), idToken},
		"Kubernetes ServiceAccount":           {sign(t, theirs, "", "k", account), jwt},
		"JWT-SVID":                            {sign(t, theirs, "JWT", "k", svid), ""},
		"JWT-SVID signed by us":               {sign(t, ours, "JWT", "k", svid), ""},
		"dpop+jwt":                            {sign(t, theirs, "dpop+jwt", "k", proof), ""},
		"secevent+jwt":                        {sign(t, theirs, "secevent+jwt", "k", event), ""},
		"logout+jwt":                          {sign(t, theirs, "logout+jwt", "k", event), ""},
		"logout token without its typ":        {sign(t, theirs, "JWT", "k", event), ""},
		"client-authentication+jwt":           {sign(t, theirs, "client-authentication+jwt", "k", assertion), ""},
		"client-authentication+jwt of issuer": {sign(t, theirs, "client-authentication+jwt", "k", access), ""},
		"client assertion":                    {sign(t, theirs, "JWT", "k", assertion), ""},
		"our iss, foreign key":                {sign(t, theirs, "at+jwt", "k", own), ""},
		"foreign iss, our key":                {sign(t, ours, "at+jwt", "k", access), ""},
		"ours as JWT":                         {sign(t, ours, "JWT", "k", own), ""},
		"ours without typ":                    {sign(t, ours, "", "k", own), ""},
		"ours as dpop+jwt":                    {sign(t, ours, "dpop+jwt", "k", own), ""},
		"ours as txntoken+jwt":                {sign(t, ours, "txntoken+jwt", "k", own), ""},
		"ours as secevent+jwt":                {sign(t, ours, "secevent+jwt", "k", own), ""},
		"ours as logout+jwt":                  {sign(t, ours, "logout+jwt", "k", own), ""},
		"wit+jwt":                             {sign(t, theirs, "wit+jwt", "k", access), ""},
		"oauth-id-jag+jwt":                    {sign(t, theirs, "oauth-id-jag+jwt", "k", access), ""},
		"token-introspection+jwt":             {sign(t, theirs, "token-introspection+jwt", "k", access), ""},
	}
	declared := []oauth.TokenType{
		accessToken, jwt, idToken, oauth.TokenTypeRefreshToken, oauth.TokenTypeSAML1, oauth.TokenTypeSAML2, oauth.TokenTypeJWTSVID, "", "urn:unknown",
	}
	synctest.Test(t, func(t *testing.T) {
		issuers := map[string]*broker.Issuer{}
		var list []*broker.Issuer
		for name, url := range map[string]string{"corp": corp, "c1": cluster} {
			i := &broker.Issuer{
				Name: name, URL: url, JWKSURI: url + "/keys", Algorithms: []string{"ES256"}, AcceptJWT: true, AcceptID: true,
				AccessTypes: []string{"", "jwt", "at+jwt"}, ScopeClaim: "scope", SubClaim: "sub",
			}
			issuers[url], list = i, append(list, i)
		}
		keys := oidc.NewKeys(oidc.Config{
			Issuers: func() []*broker.Issuer { return list }, Now: func() time.Time { return now },
			Fetch: func(context.Context, string) ([]byte, error) { return set, nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); keys.Run(ctx) }()
		route := subject.NewRoute(issued.New(us, ring{publicKey(t, ours, "k")}), oidc.New(keys))
		for name, test := range tests {
			for _, as := range declared {
				s, err := route.Verify(ctx, view{issuers: issuers}, now, shown(test.token, as))
				switch {
				case as == test.right && as != "":
					if err != nil {
						t.Errorf("%s as %s: %v", name, as, err)
					}
				case err == nil:
					t.Errorf("%s passes as %q: %+v", name, as, s)
				case test.right != "" && !strings.Contains(broker.AsError(err).Public, string(test.right)):
					t.Errorf("%s as %q: the refusal does not name %s: %v", name, as, test.right, err)
				case broker.AsError(err).Code != broker.CodeInvalidRequest:
					t.Errorf("%s as %q: %v", name, as, err)
				}
			}
		}
		cancel()
		<-done
	})
}
