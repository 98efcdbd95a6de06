package authn_test

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn"
	"github.com/cambist/cambist/broker/authn/jwtassertion"
	"github.com/cambist/cambist/broker/authn/kubernetes"
	"github.com/cambist/cambist/broker/oauth"
)

// One method of authentication in a request, and that one whole (RFC 6749 section
// 2.3, RFC 7521 section 4.2).
func TestOneAssertion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	svid, account := sign(t, w.domain, "JWT", ofWeb()), sign(t, w.account, "", ofAccount())
	form := func(kind, token string, more ...string) url.Values {
		values := url.Values{}
		for name, value := range map[string]string{"client_assertion_type": kind, "client_assertion": token} {
			if value != "" {
				values.Set(name, value)
			}
		}
		for i := 0; i+1 < len(more); i += 2 {
			values.Set(more[i], more[i+1])
		}
		return values
	}
	tests := map[string]struct {
		form    url.Values
		headers []string
		code    broker.Code
		reason  broker.Reason // "" for one that proves
	}{
		"JWT-SVID":          {form: form(typeSPIFFE, svid)},
		"ServiceAccount":    {form: form(typeBearer, account)},
		"none":              {form: form("", ""), code: broker.CodeInvalidClient, reason: broker.ReasonAssertionMissing},
		"no type":           {form: form("", svid), code: broker.CodeInvalidRequest, reason: broker.ReasonRequestMalformed},
		"no assertion":      {form: form(typeSPIFFE, ""), code: broker.CodeInvalidRequest, reason: broker.ReasonRequestMalformed},
		"unknown type":      {form: form("urn:ietf:params:oauth:client-assertion-type:saml2-bearer", svid), code: broker.CodeInvalidClient, reason: broker.ReasonTokenType},
		"type in capitals":  {form: form(strings.ToUpper(typeSPIFFE), svid), code: broker.CodeInvalidClient, reason: broker.ReasonTokenType},
		"a secret too":      {form: form(typeSPIFFE, svid, "client_secret", "s"), code: broker.CodeInvalidRequest, reason: broker.ReasonCredentialsSeveral},
		"basic too":         {form: form(typeSPIFFE, svid), headers: []string{"Authorization", "Basic YTpi"}, code: broker.CodeInvalidRequest, reason: broker.ReasonCredentialsSeveral},
		"only basic":        {form: form("", ""), headers: []string{"Authorization", "Basic YTpi"}, code: broker.CodeInvalidRequest, reason: broker.ReasonCredentialsSeveral},
		"bearer too":        {form: form(typeSPIFFE, svid), headers: []string{"Authorization", "Bearer " + svid}, code: broker.CodeInvalidRequest, reason: broker.ReasonCredentialsSeveral},
		"an empty header":   {form: form(typeSPIFFE, svid), headers: []string{"Authorization", ""}, code: broker.CodeInvalidRequest, reason: broker.ReasonCredentialsSeveral},
		"not a token":       {form: form(typeSPIFFE, "x"), code: broker.CodeInvalidClient, reason: broker.ReasonTokenMalformed},
		"dots":              {form: form(typeSPIFFE, strings.Repeat(".", 16<<10)), code: broker.CodeInvalidClient, reason: broker.ReasonTokenMalformed},
		"not a token, k8s":  {form: form(typeBearer, "x"), code: broker.CodeInvalidClient, reason: broker.ReasonTokenMalformed},
		"encrypted":         {form: form(typeSPIFFE, "e30.e30.e30.e30.e30"), code: broker.CodeInvalidClient, reason: broker.ReasonTokenMalformed},
		"SVID as bearer":    {form: form(typeBearer, svid), code: broker.CodeInvalidClient, reason: broker.ReasonTokenIssuer},
		"account as SPIFFE": {form: form(typeSPIFFE, account), code: broker.CodeInvalidClient, reason: broker.ReasonTokenClaims},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := authenticate(t, w.listener, test.form, test.headers...)
			if test.reason != "" {
				refused(t, got, err, test.code, test.reason)
				return
			}
			if err != nil || got.ID.String() != web || !got.Proof.Bearer() || got.Thumbprint != "" {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

// A listener that was set up to ask for certificates does not mix the two.
func TestCertificateBesideAssertion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	form, err := oauth.ParseForm([]byte(url.Values{"client_assertion_type": {typeSPIFFE}, "client_assertion": {sign(t, w.domain, "", ofWeb())}}.Encode()))
	must(t, err)
	r := &http.Request{Header: http.Header{}, TLS: &tls.ConnectionState{PeerCertificates: []*x509.Certificate{{}}}}
	got, err := w.listener.Authenticate(r, form)
	refused(t, got, err, broker.CodeInvalidRequest, broker.ReasonCredentialsSeveral)
	r.TLS = &tls.ConnectionState{}
	if _, err := w.listener.Authenticate(r, form); err != nil {
		t.Error(err)
	}
}

// Keys that cannot be had are no fault of the client.
func TestKeysAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.issuer.JWKSURI = "away"
	got, err := w.show(t, typeBearer, sign(t, w.account, "", ofAccount()))
	refused(t, got, err, broker.CodeUnavailable, broker.ReasonIssuerUnavailable)
	if e := broker.AsError(err); e.RetryAfter != time.Second {
		t.Errorf("retry after %s", e.RetryAfter)
	}
}

// Nothing that was left unset accepts anybody.
func TestZeroValues(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	svid := url.Values{"client_assertion_type": {typeSPIFFE}, "client_assertion": {sign(t, w.domain, "", ofWeb())}}
	got, err := authenticate(t, &authn.Assertions{}, svid)
	refused(t, got, err, broker.CodeInvalidClient, broker.ReasonTokenType)
	clock := func() time.Time { return now }
	for name, kind := range map[string]authn.Assertion{"jwtassertion": &jwtassertion.Assertion{}, "kubernetes": &kubernetes.Assertion{}} {
		a, err := authn.NewAssertions(clock, map[oauth.AssertionType]authn.Assertion{oauth.AssertionJWTSPIFFE: kind})
		must(t, err)
		if got, err := authenticate(t, a, svid); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	for name, make := range map[string]func() (any, error){
		"no clock": func() (any, error) {
			return authn.NewAssertions(nil, map[oauth.AssertionType]authn.Assertion{"x": &jwtassertion.Assertion{}})
		},
		"no kind": func() (any, error) { return authn.NewAssertions(clock, nil) },
		"nil kind": func() (any, error) {
			return authn.NewAssertions(clock, map[oauth.AssertionType]authn.Assertion{"x": nil})
		},
		"no verifier": func() (any, error) { return jwtassertion.New(nil) },
		"no keys": func() (any, error) {
			return kubernetes.New(nil, kubernetes.Cluster{Domain: prod, Audience: us, Issuer: w.issuer})
		},
		"no cluster":  func() (any, error) { return kubernetes.New(keys{}) },
		"no domain":   func() (any, error) { return kubernetes.New(keys{}, kubernetes.Cluster{Audience: us, Issuer: w.issuer}) },
		"no audience": func() (any, error) { return kubernetes.New(keys{}, kubernetes.Cluster{Domain: prod, Issuer: w.issuer}) },
		"no issuer":   func() (any, error) { return kubernetes.New(keys{}, kubernetes.Cluster{Domain: prod, Audience: us}) },
		"no URL": func() (any, error) {
			return kubernetes.New(keys{}, kubernetes.Cluster{Domain: prod, Audience: us, Issuer: &broker.Issuer{}})
		},
		"two alike": func() (any, error) {
			c := kubernetes.Cluster{Domain: prod, Audience: us, Issuer: w.issuer}
			return kubernetes.New(keys{}, c, c)
		},
	} {
		if _, err := make(); err == nil {
			t.Errorf("%s: made", name)
		}
	}
}
