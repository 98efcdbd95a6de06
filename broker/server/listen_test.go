package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// One connection too many is closed at once; a place that becomes free is given
// to the next, and is given back once however often a connection is closed.
func TestCapped(t *testing.T) {
	t.Parallel()
	inner, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := newCapped(inner, 2)
	defer l.Close()
	accepted := make(chan net.Conn)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				close(accepted)
				return
			}
			accepted <- conn
		}
	}()
	dial := func() net.Conn {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", inner.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	dial()
	first := <-accepted
	dial()
	<-accepted
	refused := dial()
	if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("one too many: %v", err)
	}
	for range 3 {
		_ = first.Close()
	}
	dial()
	<-accepted
	if _, err := dial().Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("a place was given back twice: %v", err)
	}
}

// pair writes a certificate for a name and its key.
func pair(t *testing.T, dir, name string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for path, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// A certificate that was renewed is shown soon after; one that cannot be read
// leaves the old one in place; only clients that ask for its name are shown it.
func TestCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cert, key := pair(t, dir, "cambist.example")
	now, warned := time.Now(), 0
	c, err := newCertificate(cert, key, func() time.Time { return now }, func(string, ...any) { warned++ })
	if err != nil {
		t.Fatal(err)
	}
	shown := func(name string) *tls.Certificate {
		found, err := c.forName(&tls.ClientHelloInfo{ServerName: name})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	first := shown("cambist.example")
	if first == nil || shown("other.example") != nil || shown("") != nil {
		t.Fatal("shown to the wrong clients")
	}
	pair(t, dir, "cambist.example")
	if shown("cambist.example") != first {
		t.Error("the files are looked at for every client")
	}
	now = now.Add(certificateInterval)
	second := shown("cambist.example")
	if second == first || second == nil {
		t.Error("the new certificate is not shown")
	}
	if err := os.WriteFile(cert, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	now = now.Add(certificateInterval)
	if shown("cambist.example") != second || warned != 1 {
		t.Errorf("half a renewal: warned %d times", warned)
	}
	if _, err := newCertificate(cert, key, time.Now, nil); err == nil {
		t.Error("a server started with half a certificate")
	}
}

func TestOps(t *testing.T) {
	t.Parallel()
	var broken error
	h := ops([]readiness{{"a", func(time.Time) error { return nil }}, {"b", func(time.Time) error { return broken }}}, http.NotFoundHandler(), time.Now)
	get := func(path string) (int, string) {
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, httptest.NewRequest(http.MethodGet, path, nil))
		return recorder.Code, recorder.Body.String()
	}
	if code, text := get("/readyz"); code != 200 || text != "ok\n" {
		t.Errorf("%d %q", code, text)
	}
	if code, text := get("/readyz?verbose"); code != 200 || text != "[+]a ok\n[+]b ok\nok\n" {
		t.Errorf("%d %q", code, text)
	}
	broken = errors.New("the database is away")
	if code, text := get("/readyz"); code != 503 || text != "[+]a ok\n[-]b: the database is away\n" {
		t.Errorf("%d %q", code, text)
	}
	if code, text := get("/livez"); code != 200 || !strings.HasPrefix(text, "ok") {
		t.Errorf("a server whose database is away is not alive: %d %q", code, text)
	}
	if code, _ := get("/debug/pprof/"); code != 404 {
		t.Errorf("pprof: %d", code)
	}
}
