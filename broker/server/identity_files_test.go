package server_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"

	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/server"
)

func httpRequest(t *testing.T, ctx context.Context) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://broker.test/oauth2/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What replaces a good SVID and is none is reported and does not count. When it is
// mended, it does.
func TestBrokenSVIDFiles(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		breaks func(f *folder)
		want   string
	}{
		"certificate missing": {func(f *folder) { f.remove(trust.SVIDFile) }, "no such file"},
		"key missing":         {func(f *folder) { f.remove(trust.KeyFile) }, "no such file"},
		"certificate empty":   {func(f *folder) { f.write(trust.SVIDFile, nil) }, "failed to find any PEM data"},
		"certificate cut":     {func(f *folder) { f.write(trust.SVIDFile, f.read(trust.SVIDFile)[:200]) }, "failed to find"},
		"another key":         {func(f *folder) { f.write(trust.KeyFile, keyPEM(t, newKey(t, elliptic.P256()))) }, "does not match"},
		"key for all to read": {func(f *folder) { f.must(os.Chmod(f.path(trust.KeyFile), 0o644)) }, "others may read"}, //nolint:gosec // that is the fault
		"key for the group":   {func(f *folder) { f.must(os.Chmod(f.path(trust.KeyFile), 0o660)) }, "others may read"}, //nolint:gosec // likewise
		"a folder":            {func(f *folder) { f.remove(trust.KeyFile); f.must(os.Mkdir(f.path(trust.KeyFile), 0o700)) }, "is not a file"},
		"a pipe":              {func(f *folder) { f.remove(trust.KeyFile); f.must(syscall.Mkfifo(f.path(trust.KeyFile), 0o600)) }, "is not a file"},
		"too large":           {func(f *folder) { f.write(trust.SVIDFile, append(f.read(trust.SVIDFile), make([]byte, 1<<20)...)) }, "larger than 1 MiB"},
		"no SPIFFE ID":        {func(f *folder) { f.writePair(f.t, func(c *x509.Certificate) { c.URIs = nil }) }, "no URI SAN"},
		"a CA": {func(f *folder) {
			f.writePair(f.t, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true })
		}, "CA flag"},
		"an expired SVID": {func(f *folder) { f.writePair(f.t, func(c *x509.Certificate) { c.NotAfter = start }) }, "expired"},
		"a broken key": {func(f *folder) {
			f.write(trust.KeyFile, []byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
		}, "failed to parse private key"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			f.t = t
			i := f.identity()
			i.Look()
			before := serial(t, i)
			f.log.drain()
			tt.breaks(f)
			i.Look()
			if lines := f.log.drain(); len(lines) != 0 {
				t.Errorf("logged at the first look: %q", lines)
			}
			i.Look()
			i.Look()
			lines := f.log.drain()
			if len(lines) != 1 || !strings.HasPrefix(lines[0], "ERROR identity: own SVID") || !strings.Contains(lines[0], tt.want) {
				t.Errorf("logged %q, want one with %q", lines, tt.want)
			}
			if serial(t, i) != before {
				t.Errorf("the last good one was dropped for: %s", serial(t, i))
			}
			wantReady(t, i, start)

			f.remove(trust.KeyFile)
			f.writeSVID(newSVID(t, f.ours, time.Hour))
			i.Look()
			if after := serial(t, i); after == before || !slices.ContainsFunc(f.log.drain(), func(l string) bool { return strings.Contains(l, "well again") }) {
				t.Errorf("not mended: %s", after)
			}
			fresh := f.identity() // and without a good one before, it says what is wrong
			tt.breaks(f)
			fresh.Look()
			wantReady(t, fresh, start, "no SVID yet", tt.want)
		})
	}
}

func newKey(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// writePair writes a certificate that signs itself, changed as told, and its key.
func (f *folder) writePair(t *testing.T, change func(*x509.Certificate)) {
	t.Helper()
	key := newKey(t, elliptic.P256())
	f.write(trust.SVIDFile, selfSigned(t, key, change))
	f.write(trust.KeyFile, keyPEM(t, key))
}

func selfSigned(t *testing.T, key crypto.Signer, change func(*x509.Certificate)) []byte {
	t.Helper()
	template := &x509.Certificate{
		URIs: []*url.URL{ourself.URL()}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
	change(template)
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// The key may stand in any of the usual forms.
func TestKeyForms(t *testing.T) {
	t.Parallel()
	curve := newKey(t, elliptic.P384())
	sec1, err := x509.MarshalECPrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	modulus, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		key  crypto.Signer
		text []byte
	}{
		"PKCS 8": {curve, keyPEM(t, curve)},
		"SEC 1":  {curve, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})},
		"PKCS 1": {modulus, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(modulus)})},
	} {
		f := newFolder(t)
		f.write(trust.SVIDFile, selfSigned(t, tt.key, func(*x509.Certificate) {}))
		f.write(trust.KeyFile, tt.text)
		i := f.identity()
		i.Look()
		if svid, err := i.GetX509SVID(); err != nil || svid.ID != ourself {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The certificates above the leaf are part of the SVID: others of them are news.
func TestChainChanges(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	below, err := f.ours.Intermediate()
	if err != nil {
		t.Fatal(err)
	}
	svid := newSVID(t, below, time.Hour)
	i := f.identity()
	for _, chain := range [][]*x509.Certificate{svid.Certificates[:1], svid.Certificates} {
		short := *svid
		short.Certificates = chain
		f.writeSVID(&short)
		i.Look()
		if got, err := i.GetX509SVID(); err != nil || len(got.Certificates) != len(chain) {
			t.Errorf("%d certificates: %v", len(chain), err)
		}
	}
}

// S5: a bundle that cannot be used leaves the last good one for a minute, then its
// trust domain trusts nobody; the others do not notice.
func TestBrokenBundleFiles(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		breaks func(f *folder)
		want   string
	}{
		"missing":     {func(f *folder) { f.remove("partner.pem") }, "no such file"},
		"empty":       {func(f *folder) { f.write("partner.pem", nil) }, "no certificate in it"},
		"HTML":        {func(f *folder) { f.write("partner.pem", []byte("<html>")) }, "no certificate in it"},
		"half":        {func(f *folder) { f.write("partner.pem", f.read("partner.pem")[:300]) }, "not whole"},
		"half of two": {func(f *folder) { f.write("partner.pem", append(f.read("partner.pem"), f.read("partner.pem")[:300]...)) }, "not whole"},
		"a key in it": {func(f *folder) { f.write("partner.pem", append(f.read("partner.pem"), f.read(trust.KeyFile)...)) }, `type "PRIVATE KEY"`},
		"no CA in it": {func(f *folder) {
			f.write("partner.pem", certificatePEM(newSVID(f.t, f.other, time.Hour).Certificates[0]))
		}, "no CA certificate"},
		"a folder": {func(f *folder) { f.remove("partner.pem"); f.must(os.Mkdir(f.path("partner.pem"), 0o700)) }, "is not a file"},
		"too large": {func(f *folder) {
			f.write("partner.pem", append(f.read("partner.pem"), bytes.Repeat([]byte("\n"), 1<<20)...))
		}, "larger than 1 MiB"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFolder(t)
			f.t = t
			i := f.identity()
			i.Look()
			believed := func(after time.Duration) bool {
				f.clock.set(start.Add(after))
				i.Look()
				if !believes(t, i, f.ours, f.clock.now) {
					t.Errorf("after %v: the other trust domain suffers", after)
				}
				wantReady(t, i, f.clock.now())
				return believes(t, i, f.other, f.clock.now)
			}
			tt.breaks(f)
			if !believed(0) || !believed(time.Minute-1) {
				t.Error("not believed within the minute")
			}
			if lines := strings.Join(f.log.drain(), "\n"); !strings.Contains(lines, "ERROR identity: bundle of partner.example") || !strings.Contains(lines, tt.want) {
				t.Errorf("logged %q, want %q", lines, tt.want)
			}
			if believed(time.Minute) || believed(time.Hour/2) {
				t.Error("believed after the minute")
			}
			f.remove("partner.pem")
			f.writeBundle("partner.pem", f.other)
			if !believed(time.Hour / 2) {
				t.Error("not believed when mended")
			}
			fresh := f.identity() // without a good one before, nobody from the start
			tt.breaks(f)
			fresh.Look()
			if believes(t, fresh, f.other, f.clock.now) || !believes(t, fresh, f.ours, f.clock.now) {
				t.Error("believed without ever a good bundle")
			}
		})
	}
}

// Two slips with a good bundle between are two slips: each has its minute.
func TestSlipsDoNotAddUp(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	i := f.identity()
	good := f.read("partner.pem")
	for k, text := range [][]byte{good, nil, good, nil, nil} {
		f.write("partner.pem", text)
		f.clock.set(start.Add(time.Duration(k) * 40 * time.Second))
		i.Look()
		if !believes(t, i, f.other, f.clock.now) {
			t.Errorf("not believed at look %d", k)
		}
	}
	f.clock.set(start.Add(3*40*time.Second + time.Minute))
	i.Look()
	if believes(t, i, f.other, f.clock.now) {
		t.Error("believed for longer")
	}
}

// The bundle of our own trust domain, or the last of any, decides on readiness.
func TestReadyNeedsBundles(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	i := f.identity()
	f.write(trust.BundleFile, nil)
	i.Look()
	wantReady(t, i, start, `trust domain "prod.example" trusts nobody`, "no certificate in it")
	f.write("partner.pem", nil)
	f.clock.set(start.Add(time.Second))
	i.Look()
	wantReady(t, i, start, `"prod.example" trusts nobody`)
	f.clock.set(start.Add(time.Second + time.Minute))
	i.Look()
	wantReady(t, i, start, `"prod.example" trusts nobody`, `"partner.example" trusts nobody`)
	f.writeBundle(trust.BundleFile, f.ours)
	i.Look()
	wantReady(t, i, start)
}

// A CA that joins and one that leaves count at the next look; a bundle that names
// the CA of another trust domain is pointed out.
func TestBundleFilesChange(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	next := newCA(t, partner, f.clock.now)
	i := f.identity()
	i.Look()
	for _, step := range []struct {
		cas       []*trust.CA
		old, next bool
	}{
		{[]*trust.CA{f.other, next}, true, true}, {[]*trust.CA{next}, false, true}, {[]*trust.CA{f.other}, true, false},
	} {
		f.writeBundle("partner.pem", step.cas...)
		i.Look()
		if believes(t, i, f.other, f.clock.now) != step.old || believes(t, i, next, f.clock.now) != step.next {
			t.Errorf("with %d CAs: want %t and %t", len(step.cas), step.old, step.next)
		}
	}
	f.log.drain()
	f.writeBundle("partner.pem", f.ours)
	i.Look()
	i.Look()
	if lines := strings.Join(f.log.drain(), "\n"); !strings.Contains(lines, "ERROR identity: bundles") || !strings.Contains(lines, "share the CA key") {
		t.Errorf("logged %q", lines)
	}
	if generation := i.Trust().Generation(); generation != 5 {
		t.Errorf("generation %d: it moves with the bundles alone", generation)
	}
}

// Run, with a real server before it: files are replaced under it, and new
// connections see the new SVID and are judged by the new bundle.
func TestRunFollowsFiles(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	source := f.source()
	source.Interval = time.Millisecond
	i, err := server.NewIdentity(source)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { i.Run(ctx) })
	defer wg.Wait()
	defer stop()
	f.log.wait(t, "bundles changed")
	addr := listen(t, i, f.clock.now)
	first := dial(t, addr, f.ours)
	f.writeSVID(newSVID(t, f.ours, time.Hour))
	f.log.wait(t, "INFO identity: own SVID spiffe_id")
	if second := dial(t, addr, f.ours); bytes.Equal(first.Raw, second.Raw) {
		t.Error("a new connection got the old SVID")
	}
	f.writeBundle("partner.pem", f.other, newCA(t, partner, f.clock.now))
	f.log.wait(t, "bundles changed")
	if i.Trust().Authorities(partner) != 2 {
		t.Errorf("%d CAs", i.Trust().Authorities(partner))
	}
}

// listen serves handshakes with the identity.
func listen(t *testing.T, i *server.IdentityUnderTest, now func() time.Time) string {
	t.Helper()
	a, err := mtls.New(mtls.Config{Trust: i.Trust(), Source: i, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", a.TLSConfig())
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: http.NotFoundHandler(), ConnContext: a.ConnContext, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- h.Serve(l) }()
	t.Cleanup(func() { _ = h.Close(); <-done })
	return l.Addr().String()
}

// dial makes a connection and returns what the server shows.
func dial(t *testing.T, addr string, ca *trust.CA) *x509.Certificate {
	t.Helper()
	config := tlsconfig.TLSClientConfig(x509bundle.NewSet(ca.Bundle()), tlsconfig.AuthorizeID(spiffeid.RequireFromPath(ca.Domain(), "/cambist")))
	conn, err := (&tls.Dialer{NetDialer: &net.Dialer{}, Config: config}).DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates[0]
}
