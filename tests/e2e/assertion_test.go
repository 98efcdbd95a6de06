package e2e_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"

	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/server"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/tests/dpoptest"
)

const (
	assertSPIFFE = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe"
	assertBearer = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

	clusterIssuer = "https://kubernetes.default.svc"

	openURI = "https://open.prod.example"
	podsURI = "https://pods.prod.example"
)

// assertionPolicy is two resources that take bearer proofs, each another.
const assertionPolicy = `
resources:
- {name: open, uri: https://open.prod.example, served_by: [shop/open], scopes: {open: ["* /**"]}, default_scopes: [open], proof: [mtls, jwtsvid], binding: bearer}
- {name: bound, uri: https://bound.prod.example, served_by: [shop/bound], scopes: {open: ["* /**"]}, default_scopes: [open], proof: [jwtsvid], binding: dpop}
- {name: pods, uri: https://pods.prod.example, served_by: [shop/pods], scopes: {open: ["* /**"]}, default_scopes: [open], proof: [kubernetes], binding: bearer}
allow:
- {name: self-open, from: "shop/*", to: open, scopes: [open]}
- {name: self-bound, from: "shop/*", to: bound, scopes: [open]}
- {name: self-pods, from: "shop/*", to: pods, scopes: [open]}
- {name: test-pods, from: "spiffe://test.example/ns/shop/sa/web", to: pods, scopes: [open]}
- {name: web-open, from: shop/web, for: corp, to: open, scopes: [open]}
`

// asserting is a server with the listener for assertions, and a cluster.
type asserting struct {
	*world
	prod, test *ecdsa.PrivateKey // of its two clusters, which were installed alike
}

func newAsserting(t *testing.T, change ...func(*server.Config)) *asserting {
	t.Helper()
	a := &asserting{world: newWorld(t, stores["sqlite"](t))}
	text := fmt.Sprintf(document, a.issuer.URL())
	resources, allow, _ := strings.Cut(strings.TrimPrefix(assertionPolicy, "\nresources:\n"), "allow:\n")
	text = strings.Replace(text, "\nallow:\n", "\n"+resources+"allow:\n"+allow, 1)
	a.apply(t, text)

	bundle := spiffebundle.FromX509Bundle(a.ca.Bundle())
	bundle.SetJWTAuthorities(a.ca.JWTBundle().JWTAuthorities())
	jwts, err := bundle.Marshal()
	must(t, err)
	a.config.Identity.JWTBundles = map[string]string{"prod.example": write(t, filepath.Join(t.TempDir(), "bundle.json"), jwts)}

	cluster := func() (*ecdsa.PrivateKey, []byte) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		must(t, err)
		set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k8s", Algorithm: "ES256", Use: "sig"}}})
		must(t, err)
		return key, set
	}
	var set, mirror []byte
	a.prod, set = cluster()
	a.test, mirror = cluster()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(set) }))
	t.Cleanup(api.Close)
	a.config.Outbound.PrivateHosts = append(a.config.Outbound.PrivateHosts, strings.TrimPrefix(api.URL, "http://"))
	a.config.Assertion = server.AssertionConfig{Address: "127.0.0.1:0", URL: "https://localhost:8444"}
	a.config.Trust = server.TrustConfig{
		"prod.example": {Kubernetes: server.KubernetesTrust{Issuer: clusterIssuer, Audience: a.config.Issuer + "/k8s", JWKSURI: api.URL + "/openid/v1/jwks"}},
		"test.example": {Kubernetes: server.KubernetesTrust{Issuer: clusterIssuer, Audience: a.config.Issuer + "/test", JWKSFile: write(t, filepath.Join(t.TempDir(), "jwks.json"), mirror)}},
	}
	for _, f := range change {
		f(&a.config)
	}
	a.start(t)
	a.ready(t)
	return a
}

// namedCertificate writes a certificate as clients with DNS names and the system's
// CAs expect one.
func namedCertificate(t *testing.T, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	must(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	must(t, err)
	dir := t.TempDir()
	return write(t, filepath.Join(dir, "tls.crt"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		write(t, filepath.Join(dir, "tls.key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
}

// post sends a form to the listener for assertions, without a certificate, and
// with DPoP proofs if there are any.
func (a *asserting) post(t *testing.T, form url.Values, proofs ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+a.address.Assertion+"/oauth2/token", strings.NewReader(form.Encode()))
	must(t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, p := range proofs {
		request.Header.Add("DPoP", p)
	}
	response, err := a.world.client(t, "").Do(request)
	must(t, err)
	return read(t, response)
}

func (a *asserting) svid(t *testing.T, workload string, audience ...string) string {
	t.Helper()
	id, err := a.ca.ID(workload)
	must(t, err)
	token, err := a.ca.JWTSVID(id, audience, 5*time.Minute)
	must(t, err)
	return token
}

// account returns the projected token of a pod of shop/web.
func account(t *testing.T, key *ecdsa.PrivateKey, audience string) string {
	t.Helper()
	at := time.Now().Unix()
	payload, err := json.Marshal(map[string]any{
		"iss": clusterIssuer, "sub": "system:serviceaccount:shop:web", "aud": []string{audience},
		"exp": at + 600, "iat": at, "nbf": at, "jti": "j", "kubernetes.io": map[string]any{
			"namespace": "shop", "serviceaccount": map[string]any{"name": "web", "uid": "u1"}, "pod": map[string]any{"name": "web-1", "uid": "u2"},
		},
	})
	must(t, err)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, (&jose.SignerOptions{}).WithHeader("kid", "k8s"))
	must(t, err)
	signed, err := signer.Sign(payload)
	must(t, err)
	token, err := signed.CompactSerialize()
	must(t, err)
	return token
}

// proving adds an assertion to a form.
func proving(form url.Values, kind, assertion string) url.Values {
	form.Set("client_assertion_type", kind)
	form.Set("client_assertion", assertion)
	return form
}

// A workload without a certificate gets tokens for the resources that take its
// proof, for itself and on behalf of a user, and for no other.
func TestAssertions(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	us, k8s := a.config.Issuer, a.config.Issuer+"/k8s"
	svid, pod := a.svid(t, "shop/web", us), account(t, a.prod, k8s)
	const id = "spiffe://prod.example/ns/shop/sa/web"
	alice := a.user(t, idp.AccessToken, "alice", "cambist")
	for name, form := range map[string]url.Values{
		"itself":         proving(self(openURI), assertSPIFFE, svid),
		"again":          proving(self(openURI), assertSPIFFE, svid),
		"by name":        with(proving(self(openURI), assertSPIFFE, svid), "client_id", id),
		"for a user":     proving(behalf(alice, typeJWT, openURI), assertSPIFFE, svid),
		"by its account": proving(self(podsURI), assertBearer, pod),
		"account again":  proving(self(podsURI), assertBearer, pod),
	} {
		got := a.post(t, form)
		if got.status != 200 {
			t.Errorf("%s: %d %s", name, got.status, got.body)
			continue
		}
		c := claims(t, got.text("access_token"))
		if c["client_id"] != id || c["cnf"] != nil || c["scope"] != "open" || name != "for a user" && c["sub"] != id {
			t.Errorf("%s: %v", name, c)
		}
	}
	if got := a.post(t, proving(self(podsURI), assertBearer, account(t, a.test, us+"/test"))); got.status != 200 || claims(t, got.text("access_token"))["sub"] != "spiffe://test.example/ns/shop/sa/web" {
		t.Errorf("the other cluster: %d %s", got.status, got.body)
	}
	own := a.token(t, "shop/web", self(openURI)) // by mTLS
	for name, test := range map[string]struct {
		form   url.Values
		status int
		want   string
	}{
		"no proof":                      {self(openURI), 401, "invalid_client"},
		"another's client_id":           {with(proving(self(openURI), assertSPIFFE, svid), "client_id", "spiffe://prod.example/ns/shop/sa/orders"), 401, "invalid_client"},
		"short client_id":               {with(proving(self(openURI), assertSPIFFE, svid), "client_id", "shop/web"), 401, "invalid_client"},
		"a secret too":                  {with(proving(self(openURI), assertSPIFFE, svid), "client_secret", "s"), 400, "invalid_request"},
		"aud is the endpoint":           {proving(self(openURI), assertSPIFFE, a.svid(t, "shop/web", "https://localhost:8444/oauth2/token")), 401, "invalid_client"},
		"aud of two":                    {proving(self(openURI), assertSPIFFE, a.svid(t, "shop/web", us, "https://other.example")), 401, "invalid_client"},
		"SVID as jwt-bearer":            {proving(self(openURI), assertBearer, svid), 401, "invalid_client"},
		"account as SPIFFE":             {proving(self(podsURI), assertSPIFFE, pod), 401, "invalid_client"},
		"account of the API server":     {proving(self(podsURI), assertBearer, account(t, a.prod, clusterIssuer)), 401, "invalid_client"},
		"another cluster's account":     {proving(self(podsURI), assertBearer, account(t, a.test, k8s)), 401, "invalid_client"},
		"our token":                     {proving(self(openURI), assertSPIFFE, own), 401, "invalid_client"},
		"a user's token":                {proving(self(openURI), assertSPIFFE, alice), 401, "invalid_client"},
		"no resource for SVIDs":         {proving(self(podsURI), assertSPIFFE, svid), 400, "invalid_target"},
		"no resource for accounts":      {proving(self(openURI), assertBearer, pod), 400, "invalid_target"},
		"bound to the identity":         {proving(self("https://db.shop.svc.prod.example"), assertSPIFFE, svid), 400, "invalid_target"},
		"bound to a certificate":        {proving(self("https://sealed.prod.example"), assertSPIFFE, svid), 400, "invalid_target"},
		"SVID as subject token":         {proving(behalf(svid, "urn:cambist:token-type:jwt-svid", openURI), assertSPIFFE, svid), 400, "invalid_request"},
		"SVID as a JWT":                 {proving(behalf(svid, typeJWT, openURI), assertSPIFFE, svid), 400, "invalid_request"},
		"account as subject token":      {proving(behalf(pod, typeJWT, openURI), assertSPIFFE, svid), 400, "invalid_request"},
		"a user, without the workload":  {behalf(alice, typeJWT, openURI), 401, "invalid_client"},
		"malformed beside an assertion": {proving(with(self(openURI), "scope", "a  b"), assertSPIFFE, svid), 400, "invalid_scope"},
	} {
		if got := a.post(t, test.form); got.status != test.status || got.text("error") != test.want || got.text("access_token") != "" {
			t.Errorf("%s: %d %s, want %d %s", name, got.status, got.body, test.status, test.want)
		}
	}
	twice := proving(self(openURI), assertSPIFFE, svid)
	twice.Add("client_assertion", svid)
	if got := a.post(t, twice); got.status != 400 || got.text("error") != "invalid_request" {
		t.Errorf("two assertions: %d %s", got.status, got.body)
	}
	if got := a.ask(t, "shop/web", proving(self(openURI), assertSPIFFE, svid)); got.status != 400 || got.text("error") != "invalid_request" {
		t.Errorf("beside a certificate: %d %s", got.status, got.body)
	}
	must(t, a.stop())
	if log := a.log.String(); !strings.Contains(log, `"listener":"assertion"`) || !strings.Contains(log, `"reason":"token_audience"`) {
		t.Error("the log does not say why")
	}
	secrets := []string{svid, pod, own}
	a.hides(t, "log", a.log.String(), secrets)
	o := a.offline(t)
	defer o.Close()
	rows, err := o.Records(t.Context(), store.RecordFilter{Limit: 1000}, "")
	must(t, err)
	proofs := map[string]int{}
	for _, r := range rows {
		a.hides(t, "record", string(r.Body), secrets)
		for _, proof := range []string{"mtls", "jwtsvid", "kubernetes"} {
			if strings.Contains(string(r.Body), `"proof":"`+proof+`"`) {
				proofs[proof]++
			}
		}
	}
	if proofs["mtls"] != 1 || proofs["jwtsvid"] < 12 || proofs["kubernetes"] != 4 { // every token, and every refusal of a workload that had proven itself
		t.Errorf("records by proof: %v", proofs)
	}
}

// The listener asks for no certificate, speaks nothing older than TLS 1.3, and says
// in its metadata what it takes.
func TestAssertionListener(t *testing.T) {
	t.Parallel()
	cert, key := namedCertificate(t, "cambist.example")
	a := newAsserting(t, func(c *server.Config) { c.Assertion.Cert, c.Assertion.Key = cert, key })
	get := func(path string) answer {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+a.address.Assertion+path, nil)
		must(t, err)
		response, err := a.world.client(t, "shop/web").Do(request)
		must(t, err)
		return read(t, response)
	}
	metadata := get("/.well-known/oauth-authorization-server")
	if methods := fmt.Sprint(metadata.json["token_endpoint_auth_methods_supported"]); metadata.text("token_endpoint") != "https://localhost:8444/oauth2/token" || !strings.Contains(methods, "spiffe_jwt") {
		t.Errorf("metadata: %s", metadata.body)
	}
	if self := get("/oauth2/self"); self.status != 404 {
		t.Errorf("self: %d", self.status)
	}
	asked := false
	config := &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { //nolint:gosec // what it shows is not looked at
		asked = true
		return &tls.Certificate{}, nil
	}}
	for version, fails := range map[uint16]bool{tls.VersionTLS13: false, tls.VersionTLS12: true} {
		c := config.Clone()
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, version
		conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", a.address.Assertion)
		if (err != nil) != fails {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			must(t, conn.Close())
		}
	}
	for name, want := range map[string]string{"cambist.example": "[cambist.example]", "localhost": "[localhost]", "": "[localhost]"} { // the SVID has localhost
		c := config.Clone()
		c.ServerName = name
		conn, err := (&tls.Dialer{Config: c}).DialContext(t.Context(), "tcp", a.address.Assertion)
		must(t, err)
		shown, _ := conn.(*tls.Conn)
		if got := fmt.Sprint(shown.ConnectionState().PeerCertificates[0].DNSNames); got != want {
			t.Errorf("%q is shown %s", name, got)
		}
		must(t, conn.Close())
	}
	if asked {
		t.Error("the listener asks for a certificate")
	}
}

// A bearer proof of identity and a key that is proven beside it: the token is
// bound to the key, by a proof for this listener's own URL.
func TestAssertionWithDPoP(t *testing.T) {
	t.Parallel()
	a := newAsserting(t)
	const boundURI = "https://bound.prod.example"
	svid, key := a.svid(t, "shop/web", a.config.Issuer), dpoptest.New(t)
	proof := func(url string) string {
		return key.Proof(t, dpoptest.For(http.MethodPost, url+"/oauth2/token", time.Now()))
	}
	good := a.post(t, proving(self(boundURI), assertSPIFFE, svid), proof(a.config.Assertion.URL))
	if got := cnf(t, good); got != `{"jkt":"`+key.Thumbprint+`"}` || good.text("token_type") != "DPoP" {
		t.Errorf("%s %s", got, good.body)
	}
	for name, got := range map[string]answer{
		"no proof":                    a.post(t, proving(self(boundURI), assertSPIFFE, svid)),
		"a proof for the mTLS door":   a.post(t, proving(self(boundURI), assertSPIFFE, svid), proof(a.config.Issuer)),
		"a proof and no identity":     a.post(t, self(boundURI), proof(a.config.Assertion.URL)),
		"two proofs":                  a.post(t, proving(self(boundURI), assertSPIFFE, svid), proof(a.config.Assertion.URL), proof(a.config.Assertion.URL)),
		"identity of another by name": a.post(t, with(proving(self(boundURI), assertSPIFFE, svid), "client_id", "spiffe://prod.example/ns/shop/sa/orders"), proof(a.config.Assertion.URL)),
	} {
		if got.status != 400 && got.status != 401 || got.text("access_token") != "" {
			t.Errorf("%s: %d %s", name, got.status, got.body)
		}
	}
}
