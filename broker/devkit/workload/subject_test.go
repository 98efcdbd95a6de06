package workload_test

import (
	"context"
	"errors"
	"testing"
	"time"

	api "github.com/spiffe/go-spiffe/v2/proto/spiffe/workload"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/devkit/workload"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/subject/jwtsvid"
)

// From the socket of a workload to the subject that the broker verifies, and over a
// change of the keys: a new one is known before it signs, and what an old one signed
// is worth nothing once it is gone.
func TestSubjectTokens(t *testing.T) {
	t.Parallel()
	w := start(t, workload.Config{})
	c, ctx := raw(t, w.add(t, web)), withHeader(t.Context(), "true")
	bundles, err := c.FetchJWTBundles(ctx, &api.JWTBundlesRequest{})
	must(t, err)
	var trusted jwtsvid.Trust
	learn := func() {
		t.Helper()
		answer, err := bundles.Recv()
		must(t, err)
		domains := map[spiffeid.TrustDomain][]jws.Key{}
		for name, text := range answer.GetBundles() {
			keys, skipped, err := jwtsvid.ParseJWTBundle(text)
			must(t, errors.Join(append(skipped, err)...))
			domains[spiffeid.RequireTrustDomainFromString(name)] = keys
		}
		trusted.Set(domains)
	}
	token := func(audience ...string) string {
		t.Helper()
		answer, err := c.FetchJWTSVID(ctx, &api.JWTSVIDRequest{Audience: audience})
		must(t, err)
		return answer.GetSvids()[0].GetSvid()
	}
	source, err := jwtsvid.New(us, &trusted)
	must(t, err)
	route := subject.NewRoute(source)
	verify := func(token string) (broker.Subject, broker.Reason) {
		s, err := route.Verify(context.Background(), noPolicy{}, time.Now(), broker.SubjectToken{Raw: oauth.NewSecret(token), Type: oauth.TokenTypeJWTSVID})
		if err != nil {
			return s, broker.AsError(err).Reason
		}
		return s, ""
	}

	learn()
	first := token(us)
	s, reason := verify(first)
	if reason != "" || s.Kind != broker.SubjectWorkload || s.Sub != web.String() || s.KeyID == "" || s.IssuedAt.IsZero() || s.ExpiresAt.Sub(s.IssuedAt) != 5*time.Minute {
		t.Fatalf("%+v, %s", s, reason)
	}
	if _, reason := verify(token(us, "https://other.example")); reason != broker.ReasonTokenAudience {
		t.Errorf("for two audiences: %q", reason)
	}
	must(t, w.ca.AddRoot())
	learn()
	must(t, w.ca.UseRoot())
	second := token(us)
	if _, reason := verify(second); reason != "" {
		t.Errorf("signed by the new key: %s", reason)
	}
	if _, reason := verify(first); reason != "" {
		t.Errorf("signed by the old key: %s", reason)
	}
	must(t, w.ca.DropRoots())
	learn()
	if _, reason := verify(second); reason != "" {
		t.Errorf("signed by the key that is left: %s", reason)
	}
	if _, reason := verify(first); reason != broker.ReasonTokenKeyUnknown {
		t.Errorf("signed by a key that is gone: %q", reason)
	}
}

// noPolicy is a policy that names no issuer.
type noPolicy struct{ broker.View }

func (noPolicy) Issuer(string) (*broker.Issuer, bool) { return nil, false }
