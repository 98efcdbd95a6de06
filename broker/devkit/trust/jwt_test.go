package trust_test

import (
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"

	"github.com/cambist/cambist/broker/devkit/trust"
)

// What we issue, field by field, as another library reads it.
func TestJWTSVIDConforms(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	raw, err := ca.JWTSVID(web, []string{"https://cambist.example", "b"}, 2*time.Minute)
	must(t, err)
	parsed, err := jwt.ParseSigned(raw, []jose.SignatureAlgorithm{jose.ES256})
	must(t, err)
	header := parsed.Headers[0]
	if typ := header.ExtraHeaders[jose.HeaderType]; typ != "JWT" || len(header.ExtraHeaders) != 1 || header.JSONWebKey != nil || header.Nonce != "" {
		t.Errorf("header %+v", header)
	}
	key, ok := ca.JWTBundle().FindJWTAuthority(header.KeyID)
	if !ok || ca.JWTBundle().TrustDomain() != domain {
		t.Fatalf("kid %q is not in the bundle", header.KeyID)
	}
	var claims map[string]any
	must(t, parsed.Claims(key, &claims))
	at := float64(start.Unix())
	if claims["sub"] != web.String() || claims["iat"] != at || claims["exp"] != at+120 || len(claims) != 4 {
		t.Errorf("claims %v", claims)
	}
	if aud, ok := claims["aud"].([]any); !ok || len(aud) != 2 || aud[0] != "https://cambist.example" || aud[1] != "b" {
		t.Errorf("aud %v", claims["aud"])
	}
}

// Nobody can take it for a real one.
func TestJWTSVIDSaysWhatItIs(t *testing.T) {
	t.Parallel()
	for id := range newCA(t).JWTBundle().JWTAuthorities() {
		if !strings.HasPrefix(id, "development-only-") {
			t.Errorf("kid %q", id)
		}
	}
}

func TestJWTSVIDRefuses(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	for name, test := range map[string]struct {
		id  string
		aud []string
		ttl time.Duration
	}{
		"another trust domain": {"spiffe://prod.example/ns/shop/sa/web", []string{"a"}, time.Minute},
		"no path":              {"spiffe://dev.cambist.invalid", []string{"a"}, time.Minute},
		"no audience":          {web.String(), nil, time.Minute},
		"an empty audience":    {web.String(), []string{"a", ""}, time.Minute},
		"no time":              {web.String(), []string{"a"}, time.Second - 1},
		"too long":             {web.String(), []string{"a"}, trust.MaxJWTTTL + 1},
	} {
		if raw, err := ca.JWTSVID(spiffeid.RequireFromString(test.id), test.aud, test.ttl); err == nil || raw != "" {
			t.Errorf("%s: issued", name)
		}
	}
	for _, ttl := range []time.Duration{time.Second, trust.MaxJWTTTL} {
		if _, err := ca.JWTSVID(web, []string{"a"}, ttl); err != nil {
			t.Errorf("%v: %v", ttl, err)
		}
	}
}

// The keys for JWT-SVIDs come and go with the roots.
func TestJWTKeysAreReplaced(t *testing.T) {
	t.Parallel()
	ca, err := trust.New(domain, time.Now) // go-spiffe reads the clock of the machine
	must(t, err)
	issue := func() string {
		raw, err := ca.JWTSVID(web, []string{"a"}, trust.MaxJWTTTL)
		must(t, err)
		return raw
	}
	valid := func(raw string) bool {
		svid, err := jwtsvid.ParseAndValidate(raw, ca.JWTBundle(), []string{"a"})
		return err == nil && svid.ID == web
	}
	first := issue()
	must(t, ca.AddRoot())
	added := issue()
	must(t, ca.UseRoot())
	used := issue()
	if !valid(first) || !valid(added) || !valid(used) || len(ca.JWTBundle().JWTAuthorities()) != 2 {
		t.Error("one of them does not verify")
	}
	must(t, ca.DropRoots())
	if valid(first) || valid(added) || !valid(used) || len(ca.JWTBundle().JWTAuthorities()) != 1 {
		t.Error("not those of the old root are worth nothing")
	}
}
