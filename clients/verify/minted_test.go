package verify_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/mint/jwtat"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/verify"
)

// one is a ring of one key.
type one struct{ signer *jws.Signer }

func (o one) Signer(string) (*jws.Signer, error)     { return o.signer, nil }
func (o one) SignerByID(string) (*jws.Signer, error) { return nil, errors.New("not asked for") }

// Whatever the broker writes is read here, and says the same.
func TestWhatIsMinted(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v, minter := newVerifier(t, nil, s), jwtat.New(one{s})
	rapid.Check(t, func(rt *rapid.T) {
		want := drawClaims(rt)
		unsigned, err := minter.Encode(&want, "ES256")
		if err != nil {
			rt.Fatal(err)
		}
		p := verify.Peer{}
		if thumb := want.Confirmation.CertificateThumbprint; thumb != "" {
			p = peer(t, spiffeid.ID{}, thumb)
		} else {
			p = peer(t, rapid.SampledFrom(append(want.Presenters, web)).Draw(rt, "peer"), "")
		}
		got, err := v.Verify(t.Context(), signInput(t, s, unsigned.Input), p)
		if err != nil {
			rt.Fatalf("%v: %s", err, unsigned.Input)
		}
		var actors []verify.Actor
		for a := want.Actor; a != nil; a = a.Actor {
			actors = append(actors, verify.Actor{Subject: a.Subject, Issuer: a.Issuer})
		}
		user, isUser := got.User()
		if got.Issuer() != want.Issuer || got.Subject() != want.Subject || got.Audience() != want.Audience || got.Workload().String() != want.ClientID || got.ID() != want.ID ||
			got.Txn() != want.Txn || got.Revision() != int64(want.Revision) || !got.IssuedAt().Equal(want.IssuedAt) || !got.ExpiresAt().Equal(want.ExpiresAt) ||
			!got.Scopes().Equal(want.Scopes) || got.Presenter() != p.ID() || isUser == want.SubjectID.IsZero() || user != (verify.User{Issuer: want.SubjectID.Issuer, Subject: want.SubjectID.Subject}) {
			rt.Fatalf("%+v of %+v", got, want)
		}
		var carried []broker.Claim
		for name, value := range got.Claims() {
			carried = append(carried, broker.Claim{Name: name, Value: value})
		}
		if diff := cmp.Diff([]any{actors, want.Ancestors, want.Extra}, []any{got.Actors(), got.Ancestors(), carried}); diff != "" {
			rt.Fatal(diff)
		}
	})
}

// drawClaims are claims that Decide could allow.
func drawClaims(t *rapid.T) broker.Claims {
	name := rapid.StringMatching(`[^\p{C}\x{fffd}\x{2028}\x{2029}]{1,30}`)
	scopes, err := oauth.NewScopes(rapid.SliceOfN(rapid.StringMatching(`[!#-\[\]-~]{1,20}`), 1, 5).Draw(t, "scopes")...)
	if err != nil {
		t.Fatal(err)
	}
	c := broker.Claims{
		Issuer: issuer, Subject: web.String(), Audience: orders, ClientID: web.String(), ID: broker.NewID(start), IssuedAt: start,
		ExpiresAt: start.Add(time.Duration(rapid.IntRange(10, 3600).Draw(t, "ttl")) * time.Second), Scopes: scopes, Txn: broker.NewID(start),
		Revision: broker.Revision(rapid.Uint32().Draw(t, "revision")), Extra: drawExtra(t),
	}
	if rapid.Bool().Draw(t, "user") {
		sub := name.Draw(t, "sub")
		c.SubjectID = broker.SubjectID{Issuer: "https://acme.okta.com", Subject: sub}
		c.Subject = rapid.StringMatching(`[a-z][a-z0-9-]{0,31}`).Filter(func(s string) bool { return s != "spiffe" }).Draw(t, "issuer") + ":" + sub
	}
	for range rapid.IntRange(0, verify.MaxActors).Draw(t, "depth") {
		c.Actor = &broker.Actor{Party: broker.Party{Subject: name.Draw(t, "actor"), Issuer: rapid.SampledFrom([]string{"", "https://acme.okta.com"}).Draw(t, "actor's issuer")}, Actor: c.Actor}
	}
	for range rapid.IntRange(0, 8).Draw(t, "ancestors") {
		c.Ancestors = append(c.Ancestors, broker.NewID(start))
	}
	for i := range rapid.IntRange(0, 5).Draw(t, "presenters") {
		c.Presenters = append(c.Presenters, spiffeid.RequireFromString(fmt.Sprintf("spiffe://prod.example/ns/edge/sa/gateway%d", i)))
	}
	if rapid.Bool().Draw(t, "bound") {
		c.Confirmation.CertificateThumbprint = thumb
	}
	return c
}

func drawExtra(t *rapid.T) []broker.Claim {
	var list []broker.Claim
	names := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-z][a-z_]{0,15}`), 0, 4, rapid.ID[string]).Draw(t, "claims")
	for _, name := range names {
		if broker.ReservedClaim(name) {
			continue
		}
		value := rapid.OneOf(rapid.String().AsAny(), rapid.Bool().AsAny(), rapid.Int64().AsAny(), rapid.SliceOfN(rapid.String(), 0, 3).AsAny()).Draw(t, name)
		list = append(list, broker.Claim{Name: name, Value: value})
	}
	return list
}
