package oauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/oauth"
)

func TestUserToken(t *testing.T) {
	t.Parallel()
	none := context.Background()
	one := oauth.WithUserToken(none, oauth.NewSecret(canary))
	tests := map[string]struct {
		ctx  context.Context
		want string
		ok   bool
	}{
		"none":          {none, "", false},
		"one":           {one, canary, true},
		"further down":  {context.WithoutCancel(one), canary, true},
		"the last":      {oauth.WithUserToken(one, oauth.NewSecret("b")), "b", true},
		"taken away":    {oauth.WithUserToken(one, oauth.Secret{}), "", false},
		"an empty one":  {oauth.WithUserToken(one, oauth.NewSecret("")), "", false},
		"somebody's":    {context.WithValue(none, struct{}{}, oauth.NewSecret(canary)), "", false}, //nolint:staticcheck // a key like ours is the point
		"above is none": {context.WithValue(one, canary, true), canary, true},                      //nolint:staticcheck // likewise
	}
	for name, tt := range tests {
		if token, ok := oauth.UserToken(tt.ctx); token.Reveal() != tt.want || ok != tt.ok {
			t.Errorf("%s: %q, %t", name, token.Reveal(), ok)
		}
	}
	if text := fmt.Sprintf("%v %+v %#v", one, one, one); strings.Contains(text, canary) {
		t.Errorf("a context prints its token: %s", text)
	}
}
