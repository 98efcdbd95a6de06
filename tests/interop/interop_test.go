package interop_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/zitadel/oidc/v3/pkg/client/tokenexchange"
	zitadel "github.com/zitadel/oidc/v3/pkg/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google/externalaccount"
)

// audiences are the resources, by the algorithm of their tokens.
var audiences = map[string]string{
	"ES256": ledgerURI, "RS256": "https://rs256.dev.cambist.invalid", "PS256": "https://ps256.dev.cambist.invalid", "EdDSA": "https://eddsa.dev.cambist.invalid",
}

// The scripts say what each library does; they fail with what was not so.
func TestNode(t *testing.T) {
	var tokens []map[string]string
	for algorithm, audience := range audiences {
		tokens = append(tokens, map[string]string{"value": token(t, audience), "audience": audience, "alg": algorithm})
	}
	for _, script := range []string{"oauth4webapi.mjs", "openid-client.mjs", "jose.mjs", "dpop.mjs"} {
		t.Run(script, func(t *testing.T) {
			if out, err := node(t.Context(), script, map[string]any{"tokens": tokens}); err != nil || out != "ok" {
				t.Errorf("%s, %v", out, err)
			}
		})
	}
}

// go-oidc discovers us as it would any OpenID provider.
func TestGoOIDC(t *testing.T) {
	ctx := oidc.ClientContext(t.Context(), client(t))
	provider, err := oidc.NewProvider(ctx, the.Issuer)
	must(t, err)
	for algorithm, audience := range audiences {
		verified, err := provider.Verifier(&oidc.Config{ClientID: audience}).Verify(ctx, token(t, audience))
		if err != nil || verified.Subject != web {
			t.Errorf("%s: %v", algorithm, err)
		}
		if _, err := provider.Verifier(&oidc.Config{ClientID: "https://other.example"}).Verify(ctx, token(t, audience)); err == nil {
			t.Errorf("%s: accepted for another audience", algorithm)
		}
	}
}

// supplier gives x/oauth2 the user's token.
type supplier struct{}

func (supplier) SubjectToken(context.Context, externalaccount.SupplierOptions) (string, error) {
	return the.userToken, nil
}

// x/oauth2 speaks RFC 8693 for Google's workload identity federation.
func TestExternalAccount(t *testing.T) {
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, client(t))
	source, err := externalaccount.NewTokenSource(ctx, externalaccount.Config{
		Audience: ordersURI, SubjectTokenType: idToken, TokenURL: the.Issuer + "/oauth2/token", Scopes: []string{"orders.write"}, SubjectTokenSupplier: supplier{},
	})
	must(t, err)
	got, err := source.Token()
	if err != nil || got.AccessToken == "" || got.TokenType != "Bearer" {
		t.Errorf("%v, %v", got, err)
	}
}

// zitadel's client takes a client secret for granted; ours is the certificate,
// and an unknown parameter is ignored, so it works all the same.
func TestZitadel(t *testing.T) {
	exchanger, err := tokenexchange.NewTokenExchanger(t.Context(), the.Issuer, tokenexchange.WithHTTPClient(client(t)))
	must(t, err)
	got, err := tokenexchange.ExchangeToken(t.Context(), exchanger, the.userToken, zitadel.IDTokenType, "", "", nil, []string{ordersURI}, []string{"orders.write"}, zitadel.AccessTokenType)
	must(t, err)
	if got.AccessToken == "" || got.IssuedTokenType != zitadel.AccessTokenType || len(got.Scopes) != 1 {
		t.Errorf("%+v", got)
	}
}

// Without a certificate none of this works.
func TestNobody(t *testing.T) {
	c := client(t)
	transport, ok := c.Transport.(*http.Transport)
	if !ok {
		t.Fatal("not our transport")
	}
	transport.TLSClientConfig.Certificates = nil
	exchanger, err := tokenexchange.NewTokenExchanger(t.Context(), the.Issuer, tokenexchange.WithHTTPClient(c))
	must(t, err)
	if _, err := tokenexchange.ExchangeToken(t.Context(), exchanger, the.userToken, zitadel.IDTokenType, "", "", nil, []string{ordersURI}, nil, zitadel.AccessTokenType); err == nil {
		t.Error("a token for nobody")
	}
}
