package trust_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/oauth"
)

// What a person does: one call makes the CA, one the SVID, one lays the files
// down, and curl with those three files is authenticated as that workload.
func TestCurl(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := trust.Open(filepath.Join(dir, "ca"), domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	below, err := ca.Intermediate()
	if err != nil {
		t.Fatal(err)
	}
	for name, issuer := range map[string]*trust.CA{"root": ca, "intermediate": below} {
		id, err := issuer.ID("shop/web")
		if err != nil {
			t.Fatal(err)
		}
		svid, err := issuer.SVID(id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := trust.WriteSVID(filepath.Join(dir, name), svid, issuer.Bundle()); err != nil {
			t.Fatal(err)
		}
	}
	at := serve(t, ca)
	file := func(from, name string) string { return filepath.Join(dir, from, name) }
	for name, tt := range map[string]struct {
		args []string
		want string
	}{
		"as a workload":       {[]string{"--cacert", file("root", trust.BundleFile), "--cert", file("root", trust.SVIDFile), "--key", file("root", trust.KeyFile)}, web.String()},
		"with a longer chain": {[]string{"--cacert", file("root", trust.BundleFile), "--cert", file("intermediate", trust.SVIDFile), "--key", file("intermediate", trust.KeyFile)}, web.String()},
		"as nobody":           {[]string{"--cacert", file("root", trust.BundleFile)}, string(broker.ReasonCertificateMissing)},
	} {
		for _, host := range []string{"127.0.0.1", "localhost"} {
			if got := curl(t, append(tt.args, "https://"+host+":"+at)...); got != tt.want {
				t.Errorf("%s at %s: %q, want %q", name, host, got, tt.want)
			}
		}
	}
}

// serve answers with the workload that our own authenticator finds, at a port of
// this machine.
func serve(t *testing.T, ca *trust.CA) (port string) {
	t.Helper()
	svid, err := ca.SVID(spiffeid.RequireFromPath(domain, "/cambist"), time.Hour, "localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	believed := &mtls.Trust{}
	believed.Set(map[spiffeid.TrustDomain][]*x509.Certificate{domain: ca.Bundle().X509Authorities()})
	auth, err := mtls.New(mtls.Config{Trust: believed, Source: svid, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		workload, err := auth.Authenticate(r, oauth.Form{})
		text := workload.ID.String()
		if err != nil {
			text = string(broker.AsError(err).Reason)
		}
		_, _ = io.WriteString(w, text) //nolint:gosec // no browser reads it
	}))
	s.Config.ConnContext = auth.ConnContext
	s.Listener = tls.NewListener(s.Listener, auth.TLSConfig())
	s.EnableHTTP2 = true
	s.Start()
	t.Cleanup(s.Close)
	u, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

func curl(t *testing.T, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, problem bytes.Buffer
	c := exec.CommandContext(ctx, "curl", append([]string{"--silent", "--show-error", "--noproxy", "*"}, args...)...) //nolint:gosec // the arguments are this test's
	c.Env = append(os.Environ(), "CURL_HOME=/nonexistent")
	c.Stdout, c.Stderr = &out, &problem
	if err := c.Run(); err != nil {
		t.Fatalf("curl: %v: %s", err, problem.String())
	}
	return out.String()
}

// block returns the PEM blocks of one type in a file.
func block(t *testing.T, path, typ string) string {
	t.Helper()
	var found string
	for _, b := range blocks(t, path) {
		if strings.HasPrefix(b, "-----BEGIN "+typ+"-----") {
			found += b
		}
	}
	return found
}

// blocks returns the PEM blocks of a file.
func blocks(t *testing.T, path string) []string {
	t.Helper()
	text, err := os.ReadFile(path) //nolint:gosec // a file of this test
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for b, rest := pem.Decode(text); b != nil; b, rest = pem.Decode(rest) {
		found = append(found, string(pem.EncodeToMemory(b)))
	}
	return found
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// realCA is the key file of a CA that somebody else made.
func realCA(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "Example Root"}, URIs: []*url.URL{domain.ID().URL()}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: start, NotAfter: start.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})...)
}

// otherKey and ecdhKey are keys that a root does not have.
func otherKey(t *testing.T) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return pemKey(t, key)
}

func ecdhKey(t *testing.T) string {
	t.Helper()
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pemKey(t, key)
}

func pemKey(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}
