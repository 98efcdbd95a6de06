package jwtsvid_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/issued"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
	"github.com/cambist/cambist/broker/subject/oidc"
)

// ring is one key of ours.
type ring struct{ key jws.Key }

func (r ring) Key(id string, _ time.Time) (jws.Key, bool) { return r.key, id == r.key.ID() }

// The three rooms in one Route, in every order: each kind of token, declared as every
// type, is accepted as what it is alone, and whoever declares it wrongly is told
// which type is right (standards JW-13, H22; threats B4). The one key of this world
// signs everything, so only the rules are between the kinds.
func TestKindsAndTypes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.trust.Set(map[spiffeid.TrustDomain][]jws.Key{prod: {public(t, "k1", jws.ES256, w.prod)}})
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: w.prod.Public(), KeyID: "k1", Algorithm: "ES256"}}})
	must(t, err)
	at := now.Unix()
	svid := ofWeb()
	ours := ofWeb().with(object{"iss": us, "aud": "https://orders.prod.example", "jti": "j", "client_id": web, "scope": "a"})
	access := object{"iss": corpURL, "sub": "alice", "aud": "api://acme", "exp": at + 300, "iat": at, "client_id": "c", "scope": "a"}
	id := object{"iss": corpURL, "sub": "alice", "aud": "c", "exp": at + 300, "iat": at, "nonce": "n", "at_hash": "h"}
	typed := func(typ string, claims object) string {
		h := header{"kid": "k1"}
		if typ != "" {
			h["typ"] = typ
		}
		return sign(t, jose.ES256, w.prod, h, claims)
	}
	const accessToken, jwt, idToken, jwtSVID = oauth.TokenTypeAccessToken, oauth.TokenTypeJWT, oauth.TokenTypeIDToken, oauth.TokenTypeJWTSVID
	tests := map[string]struct {
		token string
		right oauth.TokenType // "" if none is
	}{
		"JWT-SVID":                              {typed("JWT", svid), jwtSVID},
		"JWT-SVID, JOSE":                        {typed("JOSE", svid), jwtSVID},
		"JWT-SVID without typ":                  {typed("", svid), jwtSVID},
		"JWT-SVID with the iss of SPIRE":        {typed("JWT", svid.with(object{"iss": "https://spire.prod.example"})), jwtSVID},
		"JWT-SVID with our iss":                 {typed("JWT", svid.with(object{"iss": us})), ""},
		"JWT-SVID with the iss of an issuer":    {typed("JWT", svid.with(object{"iss": corpURL})), idToken}, // policy says what its tokens are
		"JWT-SVID of nobody":                    {typed("JWT", svid.with(object{"sub": "spiffe://prod.example"})), ""},
		"JWT-SVID for another":                  {typed("JWT", svid.with(object{"aud": "https://other.example"})), ""},
		"WIT-SVID":                              {typed("wit+jwt", svid.with(object{"cnf": object{"jwk": object{"kty": "EC"}}})), ""},
		"DPoP proof of a workload":              {typed("dpop+jwt", svid.with(object{"htm": "POST", "htu": us, "jti": "j"})), ""},
		"client assertion, typed":               {typed("client-authentication+jwt", svid.with(object{"iss": web})), ""},
		"at+jwt, ours":                          {typed("at+jwt", ours), accessToken},
		"at+jwt of a workload, another broker":  {typed("at+jwt", ours.with(object{"iss": "https://other.example"})), ""},
		"at+jwt of a workload, without iss":     {typed("at+jwt", ours.with(object{"iss": nil})), ""},
		"at+jwt, foreign":                       {typed("at+jwt", access), jwt},
		"ID token":                              {typed("JWT", id), idToken},
		"ID token of an unknown issuer":         {typed("JWT", id.with(object{"iss": "https://other.example"})), ""},
		"ID token that has nobody's issuer":     {typed("JWT", id.with(object{"iss": nil})), ""},
		"logout token":                          {typed("logout+jwt", id.with(object{"events": object{}})), ""},
		"access token, iss is the SPIFFE ID":    {typed("at+jwt", access.with(object{"iss": web})), ""},
		"access token, iss is the trust domain": {typed("at+jwt", access.with(object{"iss": "spiffe://prod.example", "sub": web})), ""},
	}
	declared := []oauth.TokenType{
		accessToken, jwt, idToken, jwtSVID, oauth.TokenTypeRefreshToken, oauth.TokenTypeSAML1, oauth.TokenTypeSAML2, "", "urn:unknown",
	}
	synctest.Test(t, func(t *testing.T) {
		corp := &broker.Issuer{
			Name: "corp", URL: corpURL, JWKSURI: corpURL + "/keys", Algorithms: []string{"ES256"}, AcceptJWT: true, AcceptID: true,
			AccessTypes: []string{"at+jwt"}, ScopeClaim: "scope", SubClaim: "sub",
		}
		keys := oidc.NewKeys(oidc.Config{
			Issuers: func() []*broker.Issuer { return []*broker.Issuer{corp} }, Now: func() time.Time { return now },
			Fetch: func(context.Context, string) ([]byte, error) { return set, nil },
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); keys.Run(ctx) }()
		policyOf := view{issuers: map[string]*broker.Issuer{corpURL: corp}}
		a, b, c := issued.New(us, ring{public(t, "k1", jws.ES256, w.prod)}), oidc.New(keys), w.source(t)
		for _, route := range []*subject.Route{
			subject.NewRoute(a, b, c), subject.NewRoute(a, c, b), subject.NewRoute(b, a, c), subject.NewRoute(b, c, a), subject.NewRoute(c, a, b), subject.NewRoute(c, b, a),
		} {
			for name, test := range tests {
				for _, as := range declared {
					s, err := route.Verify(ctx, policyOf, now, broker.SubjectToken{Raw: oauth.NewSecret(test.token), Type: as})
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
		}
		cancel()
		<-done
	})
}

// ordersView is a policy of one resource and nothing that is blocked.
type ordersView struct{ view }

func (ordersView) Blocked(time.Time, broker.BlockTarget, string, time.Time) *broker.Block { return nil }

// question is an exchange by shop/web of a token of ours that it holds, where
// mappings give all that they can to workloads.
func question(t testing.TB) *broker.Question {
	t.Helper()
	scopes, err := oauth.NewScopes("orders.write")
	must(t, err)
	caller := spiffeid.RequireFromString(web)
	resource := &broker.Resource{
		Name: "orders", URI: "https://orders.prod.example", Scopes: scopes, Binding: broker.BindingIdentity, Proofs: broker.NewProofs(broker.ProofMTLS), TTL: 5 * time.Minute,
	}
	return &broker.Question{
		Now: now, View: ordersView{}, Workload: broker.Workload{ID: caller, Proof: broker.ProofMTLS, NotAfter: now.Add(time.Hour)},
		Request:  broker.ExchangeRequest{Grant: oauth.GrantTokenExchange, Audience: resource.URI, Scopes: scopes},
		Resource: resource, Limits: broker.DefaultLimits(),
		Candidates: []broker.Candidate{
			{Mapping: &broker.Mapping{ID: "shop/self", Scopes: scopes}}, {Mapping: &broker.Mapping{ID: "shop/onward", For: broker.ForWorkload, Scopes: scopes}},
		},
		Subject: &broker.Subject{
			Kind: broker.SubjectWorkload, Sub: web, Issued: true, Audience: []string{resource.URI}, ClientID: web, Scopes: scopes,
			TokenID: "j", IssuedAt: now, ExpiresAt: now.Add(5 * time.Minute),
		},
	}
}

// As an actor token a JWT-SVID must be of the caller, and the token that is issued
// ends with it.
func TestAsActor(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	decide := func(claims object) broker.Decision {
		s, err := w.verify(t, w.token(t, claims))
		must(t, err)
		q := question(t)
		q.Actor = &s
		return broker.Decide(q, nil)
	}
	own := decide(ofWeb().with(object{"exp": now.Unix() + 60}))
	if !own.Allowed || !own.ExpiresAt.Equal(time.Unix(now.Unix()+60, 0)) {
		t.Errorf("its own: %+v", own)
	}
	if d := decide(ofWeb().with(object{"sub": "spiffe://prod.example/ns/shop/sa/orders"})); d.Allowed || d.Reason != broker.ReasonActorMismatch {
		t.Errorf("another's: %+v", d)
	}
	if d := decide(ofWeb().with(object{"iat": now.Unix() - 100, "exp": now.Unix() - 1})); d.Allowed || d.Reason != broker.ReasonActorExpired {
		t.Errorf("within the skew of the signer, but not of Decide: %+v", d)
	}
}

// As a subject token it is verified and refused, whatever a mapping for workloads
// says: it was not sent to be passed on.
func TestAsSubject(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, sub := range []string{web, "spiffe://prod.example/ns/shop/sa/orders"} {
		s, err := w.verify(t, w.token(t, ofWeb().with(object{"sub": sub})))
		must(t, err)
		q := question(t)
		q.Subject = &s
		if d := broker.Decide(q, nil); d.Allowed || d.Reason != broker.ReasonSubjectNotShown {
			t.Errorf("%s: %+v", sub, d)
		}
	}
}

// One that does not say when it was issued is stopped by a block of all that was
// issued before a time: it may be older than it is shown.
func TestBlockOfOldTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	block := &broker.Block{Target: broker.BlockSubject, ID: web, NotBefore: now.Add(-time.Minute)}
	for name, test := range map[string]struct {
		dates   object
		blocked bool
	}{
		"after it":   {object{}, false},
		"before it":  {object{"iat": now.Unix() - 120}, true},
		"who knows":  {object{"iat": nil}, true},
		"nobody yet": {object{"iat": now.Unix() + 10}, false},
	} {
		s, err := w.verify(t, w.token(t, ofWeb().with(test.dates)))
		must(t, err)
		if blocked := block.Stops(now, s.IssuedAt); blocked != test.blocked {
			t.Errorf("%s: blocked %t", name, blocked)
		}
	}
}

var _ subject.Source = (*jwtsvid.Source)(nil)
