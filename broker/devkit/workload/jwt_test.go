package workload_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/devkit/workload"
)

const us = "https://cambist.dev.example"

// A JWT-SVID of the socket's workload, for the audiences that were asked for,
// verifies with go-spiffe and with the API itself.
func TestJWTSVID(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	w := start(t, workload.Config{JWTTTL: 4 * time.Minute, Now: newClock(begin).now})
	path := w.add(t, web)
	s, err := workloadapi.NewJWTSource(t.Context(), workloadapi.WithClientOptions(workloadapi.WithAddr("unix://"+path)))
	must(t, err)
	defer s.Close()
	svid, err := s.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: us, ExtraAudiences: []string{"b"}, Subject: web})
	must(t, err)
	if svid.ID != web || svid.Hint != "" || len(svid.Audience) != 2 || svid.Audience[0] != us || svid.Audience[1] != "b" {
		t.Errorf("%s for %q, hint %q", svid.ID, svid.Audience, svid.Hint)
	}
	if svid.Expiry.Unix() != begin.Add(4*time.Minute).Unix() {
		t.Errorf("until %v from %v", svid.Expiry, begin)
	}
	if verified, err := jwtsvid.ParseAndValidate(svid.Marshal(), s, []string{us}); err != nil || verified.ID != web {
		t.Errorf("go-spiffe: %v", err)
	}
	if verified, err := client(t, w.add(t, orders)).ValidateJWTSVID(t.Context(), svid.Marshal(), "b"); err != nil || verified.ID != web {
		t.Errorf("another workload's API: %v", err)
	}
	all, err := client(t, path).FetchJWTSVIDs(t.Context(), jwtsvid.Params{Audience: us})
	if err != nil || len(all) != 1 || all[0].ID != web {
		t.Errorf("without a subject: %v, %v", all, err)
	}
}

// What is not said is five minutes.
func TestJWTDefaultLife(t *testing.T) {
	t.Parallel()
	begin := time.Now()
	w := start(t, workload.Config{Now: newClock(begin).now})
	svid, err := client(t, w.add(t, web)).FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: us})
	must(t, err)
	if svid.Expiry.Unix() != begin.Add(5*time.Minute).Unix() {
		t.Errorf("until %v from %v", svid.Expiry, begin)
	}
}

func TestFetchJWTSVIDRefuses(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	c := raw(t, w.add(t, web))
	w.add(t, orders)
	for name, test := range map[string]struct {
		request *api.JWTSVIDRequest
		want    codes.Code
	}{
		"no audience":             {&api.JWTSVIDRequest{}, codes.InvalidArgument},
		"an empty audience":       {&api.JWTSVIDRequest{Audience: []string{us, ""}}, codes.InvalidArgument},
		"another workload's":      {&api.JWTSVIDRequest{Audience: []string{us}, SpiffeId: orders.String()}, codes.PermissionDenied},
		"not a SPIFFE ID":         {&api.JWTSVIDRequest{Audience: []string{us}, SpiffeId: "web"}, codes.PermissionDenied},
		"more than a request has": {&api.JWTSVIDRequest{Audience: []string{strings.Repeat("a", 64<<10)}}, codes.ResourceExhausted},
	} {
		answer, err := c.FetchJWTSVID(withHeader(t.Context(), "true"), test.request)
		if status.Code(err) != test.want || answer != nil {
			t.Errorf("%s: %v, %v", name, answer, err)
		}
	}
}

// forge signs anything with the key of the CA for JWT-SVIDs: only the rule that a
// token breaks is between it and a workload.
type forge struct {
	key crypto.PrivateKey
	kid string
}

// newForge returns a CA, and the key that it keeps in its folder.
func newForge(t *testing.T, now func() time.Time) (*trust.CA, *forge) {
	t.Helper()
	dir := t.TempDir()
	ca, err := trust.Open(dir, domain, now)
	must(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "ca-key.pem")) //nolint:gosec // a file of this test
	must(t, err)
	var last *pem.Block
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		last = block
	}
	f := &forge{}
	f.key, err = x509.ParsePKCS8PrivateKey(last.Bytes)
	must(t, err)
	for kid := range ca.JWTBundle().JWTAuthorities() {
		f.kid = kid
	}
	return ca, f
}

func (f *forge) sign(t *testing.T, header map[jose.HeaderKey]any, claims any) string {
	t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: f.key}, &jose.SignerOptions{ExtraHeaders: header})
	must(t, err)
	payload, err := json.Marshal(claims)
	must(t, err)
	signed, err := signer.Sign(payload)
	must(t, err)
	token, err := signed.CompactSerialize()
	must(t, err)
	return token
}

type object = map[string]any

// ValidateJWTSVID is as strict as the standard (JWT-SVID sections 2 to 4).
func TestValidateJWTSVID(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	ca, f := newForge(t, newClock(begin).now)
	w := start(t, workload.Config{CA: ca, Now: newClock(begin).now})
	c := raw(t, w.add(t, web))
	strange, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	at := begin.Unix()
	good := func(changes object) object {
		claims := object{"sub": orders.String(), "aud": []string{us}, "exp": at + 60}
		for name, value := range changes {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		return claims
	}
	header := func(typ string) map[jose.HeaderKey]any {
		h := map[jose.HeaderKey]any{"kid": f.kid}
		if typ != "" {
			h["typ"] = typ
		}
		return h
	}
	for name, test := range map[string]struct {
		token string
		want  string // a part of the refusal, "" for none
	}{
		"good":                 {f.sign(t, header("JWT"), good(nil)), ""},
		"typ JOSE":             {f.sign(t, header("JOSE"), good(nil)), ""},
		"no typ":               {f.sign(t, header(""), good(nil)), ""},
		"aud a string":         {f.sign(t, header(""), good(object{"aud": us})), ""},
		"aud one of two":       {f.sign(t, header(""), good(object{"aud": []string{"a", us}})), ""},
		"more claims":          {f.sign(t, header(""), good(object{"nbf": at, "iat": at, "x": object{"y": []int{1}}})), ""},
		"typ at+jwt":           {f.sign(t, header("at+jwt"), good(nil)), "header"},
		"typ jwt":              {f.sign(t, header("jwt"), good(nil)), "header"},
		"another header":       {f.sign(t, map[jose.HeaderKey]any{"kid": f.kid, "x": "1"}, good(nil)), "header"},
		"no kid":               {f.sign(t, nil, good(nil)), "key"},
		"another kid":          {f.sign(t, map[jose.HeaderKey]any{"kid": "x"}, good(nil)), "key"},
		"another's key":        {(&forge{key: strange}).sign(t, header(""), good(nil)), "signature"},
		"no sub":               {f.sign(t, header(""), good(object{"sub": nil})), "empty"},
		"sub not a SPIFFE ID":  {f.sign(t, header(""), good(object{"sub": "web"})), "scheme"},
		"another trust domain": {f.sign(t, header(""), good(object{"sub": "spiffe://prod.example/a"})), "not of a workload"},
		"no path":              {f.sign(t, header(""), good(object{"sub": domain.IDString()})), "not of a workload"},
		"no aud":               {f.sign(t, header(""), good(object{"aud": nil})), "audience"},
		"another aud":          {f.sign(t, header(""), good(object{"aud": us + "/"})), "audience"},
		"no exp":               {f.sign(t, header(""), good(object{"exp": nil})), "expired"},
		"expired now":          {f.sign(t, header(""), good(object{"exp": at})), "expired"},
		"not valid yet":        {f.sign(t, header(""), good(object{"nbf": at + 1})), "not valid yet"},
		"claims no object":     {f.sign(t, header(""), []int{1}), "claims"},
		"not a token":          {"a.b", "compact"},
	} {
		answer, err := c.ValidateJWTSVID(withHeader(t.Context(), "true"), &api.ValidateJWTSVIDRequest{Audience: us, Svid: test.token})
		switch {
		case test.want != "":
			if status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%s: %v, %v", name, answer, err)
			}
		case err != nil:
			t.Errorf("%s: %v", name, err)
		case answer.GetSpiffeId() != orders.String() || answer.GetClaims().AsMap()["sub"] != orders.String() || answer.GetClaims().AsMap()["exp"] != float64(at+60):
			t.Errorf("%s: %v", name, answer)
		}
	}
	for name, r := range map[string]*api.ValidateJWTSVIDRequest{
		"no audience": {Svid: f.sign(t, header(""), good(nil))}, "no SVID": {Audience: us},
	} {
		if _, err := c.ValidateJWTSVID(withHeader(t.Context(), "true"), r); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "required") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A JWT-SVID of a root that is gone is worth nothing, by the API as by the bundle.
func TestJWTSVIDOfARootThatIsGone(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	c := client(t, w.add(t, web))
	svid, err := c.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: us})
	must(t, err)
	for _, step := range []func() error{w.ca.AddRoot, w.ca.UseRoot} {
		must(t, step())
		if _, err := c.ValidateJWTSVID(t.Context(), svid.Marshal(), us); err != nil {
			t.Errorf("too early: %v", err)
		}
	}
	must(t, w.ca.DropRoots())
	if _, err := c.ValidateJWTSVID(t.Context(), svid.Marshal(), us); status.Code(err) != codes.InvalidArgument {
		t.Errorf("%v", err)
	}
	if next, err := c.FetchJWTSVID(t.Context(), jwtsvid.Params{Audience: us}); err != nil || next.ID != web {
		t.Errorf("%v", err)
	}
}

// The whole answer of FetchJWTBundles, as SPIRE gives it.
func TestJWTBundleAnswer(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	stream, err := raw(t, w.add(t, web)).FetchJWTBundles(withHeader(t.Context(), "true"), &api.JWTBundlesRequest{})
	must(t, err)
	answer, err := stream.Recv()
	must(t, err)
	var set jose.JSONWebKeySet
	must(t, json.Unmarshal(answer.GetBundles()[domain.IDString()], &set))
	if len(answer.GetBundles()) != 1 || len(set.Keys) != 1 || set.Keys[0].Use != "" || !strings.HasPrefix(set.Keys[0].KeyID, "development-only-") || !set.Keys[0].IsPublic() {
		t.Errorf("%d bundles, %+v", len(answer.GetBundles()), set.Keys)
	}
}
