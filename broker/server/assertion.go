package server

import (
	"context"
	"crypto/tls"
	"net/url"
	"strings"

	"github.com/cambist/cambist/broker/authn"
	"github.com/cambist/cambist/broker/authn/jwtassertion"
	"github.com/cambist/cambist/broker/authn/kubernetes"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/tokenapi"
)

// AssertionConfig is the listener for workloads that prove themselves by a signed
// assertion instead of a certificate.
type AssertionConfig struct {
	Address string `help:"Address of the listener for client assertions (JWT-SVIDs, and ServiceAccount tokens of the clusters in trust); empty turns it off." placeholder:":8444"`
	URL     string `name:"url" help:"URL by which workloads reach it; the token_endpoint of the metadata." placeholder:"URL"`
	Cert    string `help:"File with a certificate for clients that know the server by DNS name; chosen by SNI, else the SVID is shown." placeholder:"PATH"`
	Key     string `help:"File with its private key." placeholder:"PATH"`
}

func (c *Config) validateAssertion(fault func(string, ...any)) {
	a := c.Assertion
	if a.Address == "" {
		if a != (AssertionConfig{}) || len(c.Trust) > 0 {
			fault("assertion.address: is missing; assertion and trust are for that listener")
		}
		return
	}
	if !isOrigin(a.URL) {
		fault("assertion.url: must be https://host[:port], where workloads reach the listener")
	}
	if (a.Cert == "") != (a.Key == "") {
		fault("assertion: cert and key belong together")
	}
}

// isOrigin reports whether text is https://host[:port] and nothing more.
func isOrigin(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil && u.Path == "" && u.RawQuery == "" && !strings.ContainsAny(text, "?#")
}

// assertions returns the authenticator of the listener: one for each type of
// client assertion that the settings turn on.
func (s *server) assertions() (authn.Authenticator, error) {
	svid, err := jwtassertion.New(s.jwtSVIDs)
	if err != nil {
		return nil, err
	}
	kinds := map[oauth.AssertionType]authn.Assertion{oauth.AssertionJWTSPIFFE: svid}
	if clusters := s.config.clusters(); len(clusters) > 0 {
		if kinds[oauth.AssertionJWTBearer], err = kubernetes.New(s.issuers, clusters...); err != nil {
			return nil, err
		}
	}
	return authn.NewAssertions(s.now, kinds)
}

// listenAssertion serves what the mTLS listener does, to workloads without a
// certificate: it asks for none. GET /oauth2/self is not there, because a GET has
// no form that could hold an assertion.
func (s *server) listenAssertion(ctx context.Context) error {
	c := s.config.Assertion
	if c.Address == "" {
		return nil
	}
	authenticator, err := s.assertions()
	if err != nil {
		return err
	}
	shows, err := s.mtls(c.Cert, c.Key)
	if err != nil {
		return err
	}
	config := shows.TLSConfig()
	config.ClientAuth, config.VerifyConnection = tls.NoClientCert, nil
	handler := tokenapi.New(tokenapi.Config{
		Edge: s.edge("assertion"), Authenticator: authenticator, Exchanger: s.metrics.Exchanger(s.exchanger()), Quota: s.quota,
		Documents: s.documents(), Proofs: s.proofs, URL: c.URL,
	})
	l, err := listen(ctx, endpoint{"assertion", c.Address, handler, config, s.now})
	if err == nil {
		s.listeners = append(s.listeners, l)
	}
	return err
}
