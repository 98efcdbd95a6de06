package verify_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/verify"
)

// publisher is a real server that publishes keys as the broker does.
type publisher struct {
	server  *httptest.Server
	issuer  string
	fetches atomic.Int64 // of the key set
	asked   atomic.Int64 // of anything

	mu       sync.Mutex // guards what follows
	metadata oauth.Metadata
	jwks     http.HandlerFunc
}

// newPublisher returns one that serves over TLS, or with http in plain.
func newPublisher(t *testing.T, plain bool, signers ...*jws.Signer) *publisher {
	t.Helper()
	b := &publisher{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		b.mu.Lock()
		defer b.mu.Unlock()
		text, err := b.metadata.MarshalJSON()
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(text)
	})
	mux.HandleFunc("GET /oauth2/jwks", func(w http.ResponseWriter, r *http.Request) {
		b.fetches.Add(1)
		b.mu.Lock()
		serve := b.jwks
		b.mu.Unlock()
		serve(w, r)
	})
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.asked.Add(1)
		mux.ServeHTTP(w, r)
	}))
	if plain {
		b.server.Start()
	} else {
		b.server.StartTLS()
	}
	t.Cleanup(b.server.Close)
	b.issuer = b.server.URL
	b.metadata = oauth.Metadata{Issuer: b.issuer, JWKSURI: b.issuer + "/oauth2/jwks"}
	b.publish(t, signers...)
	return b
}

func (b *publisher) publish(t *testing.T, signers ...*jws.Signer) {
	t.Helper()
	keys := make([]jws.Key, len(signers))
	for i, s := range signers {
		keys[i] = s.Key()
	}
	body, err := jws.MarshalKeySet(keys)
	if err != nil {
		t.Fatal(err)
	}
	b.serve(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "max-age=300")
		_, _ = w.Write(body)
	})
}

func (b *publisher) serve(jwks http.HandlerFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.jwks = jwks
}

// config is that of a service whose broker this is.
func (b *publisher) config() verify.Config {
	c := verify.Config{Issuer: b.issuer, Audiences: []string{orders}, Dev: true, Now: fixed}
	if b.server.TLS != nil {
		c.Keys.Roots = x509.NewCertPool()
		c.Keys.Roots.AddCert(b.server.Certificate())
	}
	return c
}

// claims are those of a token of this broker.
func (b *publisher) claims() object { return workloadClaims().with("iss", b.issuer) }

// running returns a verifier that fetched once, with or without success.
func running(t *testing.T, c verify.Config) *verify.Verifier {
	t.Helper()
	v, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	run(t, v)
	for v.Status().TriedAt.IsZero() {
		<-time.After(time.Millisecond)
	}
	return v
}

// run runs a verifier until the test ends.
func run(t *testing.T, v *verify.Verifier) {
	t.Helper()
	done := make(chan error)
	go func() { done <- v.Run(t.Context()) }()
	t.Cleanup(func() {
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The whole way with real TLS: metadata, keys, a token.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	for _, plain := range []bool{false, true} {
		b := newPublisher(t, plain, s)
		v := running(t, b.config())
		if err := v.Ready(); err != nil {
			t.Fatal(err)
		}
		if _, err := asWeb(t, v, sign(t, s, "at+jwt", b.claims().json(t))); err != nil {
			t.Error(err)
		}
		if st := v.Status(); st.Keys != 1 || st.Err != nil || len(st.Skipped) != 0 || !st.FetchedAt.Equal(start) {
			t.Errorf("%+v", st)
		}
	}
}

// Standards JK-6 to JK-9, threats B18, B19, I4: what is fetched is not what it
// should be. There are no keys then, and so nothing is accepted.
func TestDiscoveryRefuses(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	elsewhere := newPublisher(t, false, s)
	good, err := jws.MarshalKeySet([]jws.Key{s.Key()})
	if err != nil {
		t.Fatal(err)
	}
	tests := map[string]func(b *publisher, c *verify.Config){
		"another issuer":     func(b *publisher, _ *verify.Config) { b.metadata.Issuer += "/" },
		"jwks_uri elsewhere": func(b *publisher, _ *verify.Config) { b.metadata.JWKSURI = elsewhere.metadata.JWKSURI },
		"jwks_uri by http": func(b *publisher, _ *verify.Config) {
			b.metadata.JWKSURI = "http" + strings.TrimPrefix(b.metadata.JWKSURI, "https")
		},
		"jwks_uri with a user": func(b *publisher, _ *verify.Config) {
			b.metadata.JWKSURI = strings.Replace(b.metadata.JWKSURI, "://", "://u@", 1)
		},
		"no jwks_uri":         func(b *publisher, _ *verify.Config) { b.metadata.JWKSURI = "" },
		"jwks_uri is nothing": func(b *publisher, _ *verify.Config) { b.metadata.JWKSURI = b.issuer + "/nothing" },
		"redirect": func(b *publisher, _ *verify.Config) {
			b.jwks = func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, elsewhere.metadata.JWKSURI, http.StatusFound)
			}
		},
		"not trusted":    func(_ *publisher, c *verify.Config) { c.Keys.Roots = x509.NewCertPool() },
		"error":          serving(http.StatusInternalServerError, string(good)),
		"of a cache":     serving(http.StatusNonAuthoritativeInfo, string(good)),
		"HTML":           serving(http.StatusOK, "<html>"),
		"empty":          serving(http.StatusOK, ""),
		"no keys":        serving(http.StatusOK, `{"keys":[]}`),
		"an unknown key": serving(http.StatusOK, `{"keys":[{"kty":"AKP","kid":"a"}]}`),
		"5 MiB":          serving(http.StatusOK, string(good)+strings.Repeat(" ", 5<<20)),
		"a private key":  serving(http.StatusOK, `{"keys":[{"kty":"EC","kid":"a","d":"AA"}]}`),
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newPublisher(t, false, s)
			c := b.config()
			c.Keys.Roots.AddCert(elsewhere.server.Certificate())
			change(b, &c)
			v := running(t, c)
			if reason(v.Ready()) != verify.ReasonKeysUnavailable || v.Status().Err == nil {
				t.Errorf("ready: %v", v.Ready())
			}
			if _, err := asWeb(t, v, sign(t, s, "at+jwt", b.claims().json(t))); reason(err) != verify.ReasonKeysUnavailable {
				t.Errorf("verified: %v", err)
			}
		})
	}
	if n := elsewhere.asked.Load(); n != 0 {
		t.Errorf("another host was asked %d times", n)
	}
}

func serving(status int, body string) func(*publisher, *verify.Config) {
	return func(b *publisher, _ *verify.Config) {
		b.serve(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		})
	}
}

// A set with one key that can be used and others that cannot: JK-6.
func TestSkippedKeys(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	b := newPublisher(t, false)
	good, err := jws.MarshalKeySet([]jws.Key{s.Key()})
	if err != nil {
		t.Fatal(err)
	}
	serving(http.StatusOK, strings.Replace(string(good), "[", `[{"kty":"AKP","kid":"a","alg":"ML-DSA-44"},{"kty":"RSA","kid":"b","n":"AQAB","e":"AQAB"},`, 1))(b, nil)
	v := running(t, b.config())
	if st := v.Status(); v.Ready() != nil || st.Keys != 1 || len(st.Skipped) != 2 {
		t.Errorf("%+v", st)
	}
	if _, err := asWeb(t, v, sign(t, s, "at+jwt", b.claims().json(t))); err != nil {
		t.Error(err)
	}
}

// A name that leads to this machine is found out when it is connected to, with
// whatever port is open there; Dev alone permits it.
func TestLoopbackIsNotConnectedTo(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	b := newPublisher(t, false, s)
	for address, want := range map[string]bool{
		"127.0.0.1": false, "127.8.9.1": false, "::1": false, "::ffff:127.0.0.1": false, "0.0.0.0": false, "::ffff:0.0.0.0": false, "::": false, "169.254.169.254": false, "fe80::1": false,
		"ff02::1": false, "224.0.0.1": false, "10.0.0.1": true, "192.168.1.1": true, "fd00::1": true, "8.8.8.8": true,
	} {
		for _, dev := range []bool{false, true} {
			a := netip.MustParseAddr(address).Unmap()
			if got := verify.Connects(dev, net.JoinHostPort(address, "443")); got != (want || dev && a.IsLoopback()) {
				t.Errorf("%s, dev %t: %t", address, dev, got)
			}
		}
	}
	if verify.Connects(true, "localhost:443") {
		t.Error("a name")
	}
	// A host that is not loopback by name, in a configuration without Dev.
	c := b.config()
	c.Dev = false
	c.Issuer = issuer
	c.Keys.URL = "https://sts.example/oauth2/jwks"
	v, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	v.ResolveTo(b.server.Listener.Addr().String())
	run(t, v)
	for v.Status().TriedAt.IsZero() {
		<-time.After(time.Millisecond)
	}
	if err := v.Status().Err; err == nil || !strings.Contains(err.Error(), "of this machine") || b.asked.Load() != 0 {
		t.Errorf("%v, asked %d times", err, b.asked.Load())
	}
}

// The server of the keys may prove itself by its SPIFFE ID: the one that is
// configured and no other member of its trust domain.
func TestKeysFromWorkload(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	root := newRoot(t)
	svid := root.svid(t, gateway, nil)
	b := newPublisher(t, true, s)
	server := httptest.NewUnstartedServer(b.server.Config.Handler)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{certificate(svid)}}
	server.StartTLS()
	t.Cleanup(server.Close)
	for id, want := range map[string]bool{gateway.String(): true, other.String(): false} {
		c := b.config()
		c.Issuer, c.Dev = issuer, true
		c.Keys = verify.KeySource{URL: server.URL + "/oauth2/jwks", Bundles: root.bundle(), Server: workloadID(t, id)}
		v := running(t, c)
		if (v.Ready() == nil) != want {
			t.Errorf("%s: %v", id, v.Ready())
		}
	}
	stranger := newRoot(t)
	c := b.config()
	c.Issuer = issuer
	c.Keys = verify.KeySource{URL: server.URL + "/oauth2/jwks", Bundles: stranger.bundle(), Server: gateway}
	if v := running(t, c); v.Ready() == nil {
		t.Error("verified with a stranger's bundle")
	}
}
