package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// certificateCases are about mutual TLS and X.509-SVIDs (MT, SF, SX, SC).
func certificateCases() []testCase {
	return []testCase{
		{"MT-1", "client_id is required beside a certificate", clientIDRequired},
		{"MT-2", "a certificate proves its own client and no other", clientIDOfAnother},
		{"MT-4", "a self-signed certificate proves nothing", selfSigned},
		{"MT-5", "cnf is the SHA-256 of the certificate", boundToCertificate},
		{"MT-11", "a header cannot bring a certificate", forgedHeaders},
		{"MT-13", "TLS sessions are not resumed", noResumption},
		{"MT-16", "a certificate that nobody verified proves nothing, and chains are bounded", unverified},
		{"SF-1", "a SPIFFE ID has no query, fragment, user, port or odd trust domain", trustDomains},
		{"SF-2", "a SPIFFE ID has no empty, dot, encoded or odd segment", paths},
		{"SF-3", "a SPIFFE ID of 2048 bytes is read, a longer one refused", longIDs},
		{"SF-4", "the table of SPIFFE IDs", func(t *t) { trustDomains(t); paths(t) }},
		{"SF-5", "the scheme is compared as it was signed", rawScheme},
		{"SX-1", "exactly one URI SAN", oneURI},
		{"SX-2", "a leaf is a leaf", badLeaves},
		{"SX-4", "a signing certificate authenticates nobody", signingCertificate},
		{"SX-5", "an SVID is verified by the CA of its own trust domain", otherDomain},
		{"SC-4", "each malformed leaf is invalid_client", func(t *t) { oneURI(t); badLeaves(t); otherDomain(t) }},
		{"SC-5", "a CA that is not of the trust domain is not believed", selfSigned},
		{"SC-10", "the authentication methods are listed by their names", methodNames},
	}
}

func clientIDRequired(t *t) {
	t.need(t.needClient("caller").tls != nil, "the client shows no certificate")
	t.refused(t.ask(call{client: "caller", body: with(t.good(), "client_id", "").Encode()}), "without client_id", "invalid_client", "invalid_request")
}

func clientIDOfAnother(t *t) {
	t.need(t.needClient("caller").tls != nil, "the client shows no certificate")
	other := "spiffe://elsewhere.invalid/x"
	if next := t.profile.client("next"); next != nil && next.ID != "" {
		other = next.ID
	}
	t.refused(t.caller(with(t.good(), "client_id", other)), "client_id of "+other, "invalid_client")
}

// needSPIFFE returns the CA that makes certificates, proven good first.
func (t *t) needSPIFFE() *authority {
	a := t.profile.SPIFFE
	t.need(a != nil, "the profile has no spiffe")
	t.granted(t.shows(a.leaf(a.ID)), "a good certificate of that CA")
	return a
}

// shows sends the good request of caller with another certificate. client_id is
// left out, so that nothing but the certificate can be what is refused.
func (t *t) shows(c *tls.Certificate) answer {
	return t.ask(call{http: t.showing(c), form: t.good()})
}

// notProven holds that a certificate proves nobody: by an error or in the
// handshake.
func (t *t) notProven(c *tls.Certificate, what string) {
	a := t.shows(c)
	t.hold(a.err != nil || a.text("error") == "invalid_client", "%s: %d %s", what, a.status, a.text("error"))
}

func selfSigned(t *t) {
	a := t.needSPIFFE()
	t.notProven(a.make(leafOptions{uris: []string{a.ID}, ownKey: true}), "self-signed")
	t.notProven(a.make(leafOptions{uris: []string{a.ID}, signer: strange()}), "of a CA that nobody trusts")
}

func boundToCertificate(t *t) {
	t.need(t.profile.Bound != nil, "the profile has no bound target")
	c := t.needClient("caller")
	t.need(c.tls != nil, "the client shows no certificate")
	body := t.granted(t.caller(self(t.profile.Bound)), "the bound target")
	t.hold(strings.EqualFold(str(body, "token_type"), "Bearer"), "token_type is %v", body["token_type"])
	cnf, _ := payload(str(body, "access_token"))["cnf"].(map[string]any)
	sum := sha256.Sum256(c.tls.Certificate[0])
	t.hold(str(cnf, "x5t#S256") == b64(sum[:]), "cnf is %v, the certificate %s", cnf, b64(sum[:]))
}

// forgedHeaders sends what proxies hand over as the client's certificate, on a
// connection that shows none.
func forgedHeaders(t *t) {
	c := t.needClient("caller")
	t.need(c.tls != nil, "the client shows no certificate")
	leaf := c.tls.Certificate[0]
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf}))
	for name, value := range map[string]string{
		"X-Forwarded-Client-Cert": `URI=` + c.ID + `;Cert="` + url.QueryEscape(text) + `"`, "Client-Cert": ":" + b64(leaf) + ":", "X-SSL-Client-Cert": url.QueryEscape(text),
		"L5d-Client-Id": c.ID, "X-Client-Dn": c.ID, "X-Forwarded-User": c.ID, "Ssl-Client-Verify": "SUCCESS",
	} {
		t.refused(t.ask(call{form: with(t.good(), "client_id", c.ID), header: http.Header{name: {value}}}), name, "invalid_client", "invalid_request")
	}
}

func noResumption(t *t) {
	c := t.needClient("caller")
	t.need(c.tls != nil, "the client shows no certificate")
	client := t.showing(c.tls)
	transport, ok := client.Transport.(*http.Transport)
	t.must(ok, "internal error: not our transport")
	transport.TLSClientConfig.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	transport.DisableKeepAlives = true
	for range 3 {
		request, err := http.NewRequestWithContext(t.ctx, http.MethodGet, str(t.metadata, "jwks_uri"), nil)
		t.must(err == nil, "%v", err)
		request.URL.Host = hostPort(t.token)
		response, err := client.Do(request)
		t.must(err == nil, "%v", err)
		t.hold(response.TLS != nil && !response.TLS.DidResume, "the session was resumed")
		_ = response.Body.Close()
	}
}

func hostPort(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return ""
	}
	return u.Host
}

func unverified(t *t) {
	a := t.needSPIFFE()
	t.notProven(strange().make(leafOptions{uris: []string{a.ID}}), "self-made")
	t.notProven(a.make(leafOptions{uris: []string{a.ID}, more: 20}), "20 certificates behind it")
	t.notProven(a.make(leafOptions{dns: []string{"localhost"}}), "without an ID")
}

// notIDs holds that certificates with these URI SANs prove nobody.
func (t *t) notIDs(uris ...string) {
	a := t.needSPIFFE()
	for _, uri := range uris {
		t.notProven(a.make(leafOptions{uris: []string{uri}}), uri)
	}
}

func trustDomains(t *t) {
	a := t.needSPIFFE()
	td, path := a.TrustDomain, strings.TrimPrefix(a.ID, "spiffe://"+a.TrustDomain)
	t.notIDs("spiffe://"+strings.ToUpper(td)+path, "spiffe://user@"+td+path, "spiffe://"+td+":443"+path, "spiffe://"+td+path+"?x", "spiffe://"+td+path+"#x",
		"spiffe://"+path, "spiffe://[::1]"+path, " spiffe://"+td+path, "spiffe://"+td+"."+path, "spiffe://."+td+path, "https://"+td+path, "spiffe:"+td+path, "spiffe://%61"+td[1:]+path)
}

func paths(t *t) {
	a := t.needSPIFFE()
	td := "spiffe://" + a.TrustDomain
	t.notIDs(a.ID+"/", td+"//a", td+"/./a", td+"/../a", td+"/%61", td+"/é", td+"/a b", td+"/a\x00", td+"/a*", td+"/", td, strings.Replace(a.ID, "/", "/%2f", 3))
}

func longIDs(t *t) {
	a := t.needSPIFFE()
	stem := "spiffe://" + a.TrustDomain + "/"
	t.notIDs(stem+strings.Repeat("a", 2049-len(stem)), "spiffe://"+strings.Repeat("a", 256)+"/a")
	answer := t.shows(a.make(leafOptions{uris: []string{stem + strings.Repeat("a", 2048-len(stem))}}))
	t.hold(answer.err == nil && answer.text("error") != "invalid_client", "an ID of 2048 bytes: %d %s %v", answer.status, answer.text("error"), answer.err)
}

func rawScheme(t *t) {
	a := t.needSPIFFE()
	t.notIDs("SPIFFE"+strings.TrimPrefix(a.ID, "spiffe"), "Spiffe"+strings.TrimPrefix(a.ID, "spiffe"))
}

func oneURI(t *t) {
	a := t.needSPIFFE()
	t.notProven(a.make(leafOptions{uris: []string{a.ID, "spiffe://" + a.TrustDomain + "/other"}}), "two IDs")
	t.notProven(a.make(leafOptions{uris: []string{"https://example.org", a.ID}}), "an ID and another URI")
	t.notProven(a.make(leafOptions{uris: []string{a.ID, a.ID}}), "the ID twice")
	t.notProven(a.make(leafOptions{dns: []string{strings.TrimPrefix(a.ID, "spiffe://")}}), "no URI")
}

func badLeaves(t *t) {
	a := t.needSPIFFE()
	now := time.Now()
	for what, change := range map[string]func(*x509.Certificate){
		"a CA":                  func(c *x509.Certificate) { c.IsCA, c.KeyUsage = true, c.KeyUsage|x509.KeyUsageCertSign },
		"keyCertSign":           func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign },
		"cRLSign":               func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign },
		"no key usage":          func(c *x509.Certificate) { c.KeyUsage = 0 },
		"keyEncipherment alone": func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment },
		"for mail":              func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} },
		"for servers":           func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} },
		"expired":               func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(-time.Second) },
		"not yet valid":         func(c *x509.Certificate) { c.NotBefore = now.Add(time.Hour); c.NotAfter = now.Add(2 * time.Hour) },
		"a root path": func(c *x509.Certificate) {
			c.ExtraExtensions[0] = alternativeNames([]string{"spiffe://" + a.TrustDomain}, nil)
		},
	} {
		t.notProven(a.make(leafOptions{uris: []string{a.ID}, change: change}), what)
	}
}

func signingCertificate(t *t) {
	a := t.needSPIFFE()
	t.notProven(&tls.Certificate{PrivateKey: a.key, Certificate: [][]byte{a.certificate.Raw}}, "the CA itself")
}

func otherDomain(t *t) {
	a := t.needSPIFFE()
	t.notIDs("spiffe://other.invalid"+strings.TrimPrefix(a.ID, "spiffe://"+a.TrustDomain), "spiffe://x"+strings.TrimPrefix(a.ID, "spiffe://"), "spiffe://sub."+strings.TrimPrefix(a.ID, "spiffe://"))
}

func methodNames(t *t) {
	c := t.needClient("caller")
	methods := strings.Join(list(t.metadata, "token_endpoint_auth_methods_supported"), " ")
	switch {
	case t.profile.SPIFFE != nil:
		t.hold(strings.Contains(methods, "spiffe_x509"), "X.509-SVIDs are taken, and the methods are %s", methods)
	case c.tls != nil:
		t.hold(strings.Contains(methods, "tls_client_auth"), "certificates are taken, and the methods are %s", methods)
	case c.Assertion != nil:
		t.hold(strings.Contains(methods, "_jwt"), "assertions are taken, and the methods are %s", methods)
	default:
		t.hold(strings.Contains(methods, "client_secret"), "secrets are taken, and the methods are %s", methods)
	}
}
