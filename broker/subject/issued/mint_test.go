package issued_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/mint/jwtat"
	"github.com/cambist/cambist/broker/oauth"
)

// signing is the ring as the minter sees it.
type signing struct{ signer *jws.Signer }

func (s signing) Signer(string) (*jws.Signer, error)     { return s.signer, nil }
func (s signing) SignerByID(string) (*jws.Signer, error) { return s.signer, nil }

// Whatever the minter writes comes back as it was decided: the next hop sees what
// this one granted, no more and no less.
func TestMintAndBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	signer, err := jws.NewSigner(w.kid, jws.ES256, w.private)
	if err != nil {
		t.Fatal(err)
	}
	minter := jwtat.New(signing{signer})
	parties := []string{web, orders, "spiffe://prod.example/a", "svc:1"}
	rapid.Check(t, func(r *rapid.T) {
		c := &broker.Claims{
			Issuer: us, Subject: web, Audience: rapid.StringMatching(`https://[a-z]{1,9}\.example`).Draw(r, "aud"), ClientID: orders, ID: rapid.StringMatching(`[0-9A-Z]{26}`).Draw(r, "jti"),
			IssuedAt: now.Truncate(time.Second), ExpiresAt: now.Truncate(time.Second).Add(time.Duration(rapid.IntRange(10, 3600).Draw(r, "ttl")) * time.Second),
			Scopes: scopes(t, rapid.SliceOfN(rapid.StringMatching(`[a-z.*:/]{1,9}`), 1, 5).Draw(r, "scope")...), Txn: "t-1", Revision: 9,
			Ancestors: rapid.SliceOfN(rapid.StringMatching(`[0-9A-Z]{26}`), 0, 4).Draw(r, "anc"),
		}
		if rapid.Bool().Draw(r, "user") {
			name := rapid.StringMatching(`[a-zß\\" :]{1,20}`).Draw(r, "name")
			c.Subject, c.SubjectID = "corp:"+name, broker.SubjectID{Issuer: corpURL, Subject: name}
			c.Extra = []broker.Claim{{Name: "groups", Value: []string{"finance"}}, {Name: "mapped", Value: "x"}, {Name: "tier", Value: int64(4)}}
		}
		for _, p := range rapid.SliceOfN(rapid.SampledFrom(parties), 0, 8).Draw(r, "act") {
			c.Actor = &broker.Actor{Party: broker.Party{Subject: p, Issuer: rapid.SampledFrom([]string{"", corpURL}).Draw(r, "iss")}, Actor: c.Actor}
		}
		for _, p := range rapid.SliceOfN(rapid.SampledFrom(parties[:3]), 0, 3).Draw(r, "presenters") {
			c.Presenters = append(c.Presenters, spiffeid.RequireFromString(p))
		}
		if rapid.Bool().Draw(r, "bound") {
			c.Confirmation.CertificateThumbprint = jws.CertificateThumbprint([]byte(c.ID))
		}
		if rapid.Bool().Draw(r, "dpop") {
			c.Confirmation.KeyThumbprint = w.kid
		}
		unsigned, err := minter.Encode(c, "ES256")
		if err != nil {
			r.Fatal(err)
		}
		signature, err := signer.Sign(unsigned.Input)
		if err != nil {
			r.Fatal(err)
		}
		s, err := w.verify(string(jws.AppendToken(nil, unsigned.Input, signature)), oauth.TokenTypeAccessToken)
		if err != nil {
			r.Fatalf("%+v: %v", c, err)
		}
		back := &broker.Claims{
			Issuer: us, Subject: s.Sub, SubjectID: s.Origin, Audience: s.Audience[0], ClientID: s.ClientID, ID: s.TokenID, IssuedAt: s.IssuedAt, ExpiresAt: s.ExpiresAt,
			Scopes: s.Scopes, Actor: s.Actor, Confirmation: s.Confirmation, Txn: s.Txn, Ancestors: append([]string{}, s.Ancestors...), Revision: c.Revision,
		}
		for _, p := range s.Presenters {
			back.Presenters = append(back.Presenters, spiffeid.RequireFromString(p))
		}
		if s.Kind == broker.SubjectUser {
			back.Extra = []broker.Claim{s.Claims[0], {Name: "mapped", Value: "x"}, s.Claims[1]}
		}
		if diff := cmp.Diff(c, back, equal, cmp.Comparer(func(a, b spiffeid.ID) bool { return a == b })); diff != "" {
			r.Fatal(diff)
		}
	})
}
