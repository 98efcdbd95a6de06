package oidc_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/subject/oidc"
)

// The document must name the issuer letter by letter (standards JK-9), and say
// where its keys are without leaving https.
func TestDiscovery(t *testing.T) {
	t.Parallel()
	elsewhere, plain := newProvider(t, "k1"), serve(t, false, text("{}"))
	tests := map[string]struct {
		document func(url string) object
		good     bool
	}{
		"its own":        {func(url string) object { return object{"issuer": url, "jwks_uri": elsewhere.URL + keysPath} }, true},
		"with a slash":   {func(url string) object { return object{"issuer": url + "/", "jwks_uri": elsewhere.URL + keysPath} }, false},
		"another issuer": {func(string) object { return object{"issuer": elsewhere.URL, "jwks_uri": elsewhere.URL + keysPath} }, false},
		"no issuer":      {func(string) object { return object{"jwks_uri": elsewhere.URL + keysPath} }, false},
		"ISSUER":         {func(url string) object { return object{"ISSUER": url, "jwks_uri": elsewhere.URL + keysPath} }, false},
		"no keys":        {func(url string) object { return object{"issuer": url} }, false},
		"keys by http":   {func(url string) object { return object{"issuer": url, "jwks_uri": plain.URL} }, false},
		"keys in a file": {func(url string) object { return object{"issuer": url, "jwks_uri": "file:///etc/passwd"} }, false},
		"keys at no URL": {func(url string) object { return object{"issuer": url, "jwks_uri": "::"} }, false},
		"keys of an insider": {func(url string) object {
			return object{"issuer": url, "jwks_uri": strings.Replace(elsewhere.URL, "127.0.0.1", "localhost", 1)}
		}, false},
		"keys with a password": {func(url string) object {
			return object{"issuer": url, "jwks_uri": strings.Replace(elsewhere.URL, "https://", "https://u:p@", 1)}
		}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, "unused")
			p.answer(discoveryPath, func(w http.ResponseWriter, _ *http.Request) { write(w, test.document(p.URL)) })
			i := p.issuer("corp")
			w := newWorld(t, []*broker.Issuer{i}, p.Server, elsewhere.Server)
			_, err := w.find(i, "k1")
			if (err == nil) != test.good {
				t.Fatal(err)
			}
			if !test.good {
				refused(t, err, broker.ReasonIssuerUnavailable)
			}
			if plain.connections.Load() != 0 {
				t.Error("the keys were asked for by http")
			}
		})
	}
}

// A document under a URL with a path, with and without a slash at its end: the
// slash is not doubled, and stays part of the name.
func TestDiscoveryBelowAPath(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/", "/oauth2/aus1", "/oauth2/aus1/"} {
		p := newProvider(t, "k1")
		i := p.issuer("corp")
		i.URL += path
		p.answer(strings.TrimSuffix(path, "/")+discoveryPath, func(w http.ResponseWriter, _ *http.Request) {
			write(w, object{"issuer": i.URL, "jwks_uri": p.URL + keysPath})
		})
		w := newWorld(t, []*broker.Issuer{i}, p.Server)
		if _, err := w.find(i, "k1"); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// With a jwks_uri nothing is discovered.
func TestJWKSURI(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	i := p.issuer("corp")
	i.URL, i.JWKSURI = "https://not.asked.example", p.URL+keysPath
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	if _, err := w.find(i, "k1"); err != nil {
		t.Fatal(err)
	}
	if n := p.requests(discoveryPath); n != 0 {
		t.Errorf("%d discoveries", n)
	}
}

// Keys are those of the algorithms that policy allows; others are reported.
func TestAlgorithmsOfTheIssuer(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	p.text(keysPath, strings.TrimSuffix(p.set(), "]}")+`,{"kty":"AKP","alg":"ML-DSA-44","kid":"pq","pub":"AA"}]}`)
	i, strict := p.issuer("corp"), p.issuer("strict")
	i.Algorithms, strict.Algorithms = []string{"RS256", "ES256"}, []string{"RS256"}
	w := newWorld(t, []*broker.Issuer{i, strict}, p.Server)
	if _, err := w.find(i, "k1"); err != nil {
		t.Fatal(err)
	}
	_, err := w.find(strict, "k1")
	refused(t, err, broker.ReasonIssuerUnavailable)
	for _, s := range w.keys.Status(start) {
		if s.Usable && len(s.Skipped) != 1 || !s.Usable && s.Err == nil {
			t.Errorf("%+v", s)
		}
	}
}

// inForce is the issuers of the policy, which a test changes.
type inForce struct {
	mu      sync.Mutex
	issuers []*broker.Issuer
}

func (p *inForce) Issuers() []*broker.Issuer { p.mu.Lock(); defer p.mu.Unlock(); return p.issuers }

func (p *inForce) set(issuers ...*broker.Issuer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.issuers = issuers
}

// An issuer whose place changed begins anew, one that left is forgotten, and one
// that came is known to the first request (no tick has to pass).
func TestPolicyChanges(t *testing.T) {
	t.Parallel()
	p, other := newProvider(t, "k1"), newProvider(t, "k2")
	before := p.issuer("corp")
	changed := *before
	changed.JWKSURI = other.URL + keysPath
	in := &inForce{issuers: []*broker.Issuer{before}}
	w := &world{clock: &clock{now: start}}
	w.keys = oidc.NewKeys(oidc.Config{Issuers: in.Issuers, Fetch: fetcher(t, p.Server, other.Server).Fetch, Now: w.clock.Now})
	w.keys.SetPatience(time.Minute)
	run(t, w.keys)
	if _, err := w.find(before, "k1"); err != nil {
		t.Fatal(err)
	}
	in.set(&changed)
	if _, err := w.find(&changed, "k2"); err != nil {
		t.Fatalf("where its keys are now: %v", err)
	}
	_, err := w.find(&changed, "k1")
	refused(t, err, broker.ReasonTokenKeyUnknown)
	_, err = w.find(before, "k1")
	refused(t, err, broker.ReasonIssuerUnavailable)
	in.set()
	_, err = w.find(before, "k1")
	refused(t, err, broker.ReasonIssuerUnavailable)
	if n := p.requests(keysPath) + other.requests(keysPath); n != 2 {
		t.Errorf("%d fetches", n)
	}
}

// Keys from a file: what is not a plain file of a key set changes nothing.
func TestJWKSFile(t *testing.T) {
	t.Parallel()
	p, next := newProvider(t, "k1"), newProvider(t, "k2")
	dir := t.TempDir()
	name := filepath.Join(dir, "jwks.json")
	put := func(body string) {
		t.Helper()
		if err := os.WriteFile(name+".new", []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	i := p.issuer("corp")
	i.JWKSFile = name
	put(p.set())
	w := newWorld(t, []*broker.Issuer{i})
	if _, err := w.find(i, "k1"); err != nil {
		t.Fatal(err)
	}
	faults := map[string]func() error{
		"garbage":   func() error { put("garbage"); return nil },
		"too large": func() error { put(next.set() + strings.Repeat(" ", 256<<10)); return nil },
		"a pipe": func() error {
			_ = os.Remove(name)
			if err := syscall.Mkfifo(name, 0o600); err != nil {
				return err
			}
			f, err := os.OpenFile(name, os.O_RDWR, 0) //nolint:gosec // the file of this test; somebody has it open who may write some day
			t.Cleanup(func() { _ = f.Close() })
			return err
		},
		"a folder": func() error { _ = os.Remove(name); return os.Mkdir(name, 0o700) },
		"gone":     func() error { return os.Remove(name) },
	}
	for _, fault := range []string{"garbage", "too large", "a pipe", "a folder", "gone"} {
		if err := faults[fault](); err != nil {
			t.Fatal(err)
		}
		w.clock.advance(31 * time.Second)
		_, err := w.find(i, fmt.Sprint("k2 after ", fault))
		refused(t, err, broker.ReasonTokenKeyUnknown)
		if _, err := w.find(i, "k1"); err != nil || w.keys.Status(w.clock.Now())[0].Err == nil {
			t.Fatalf("%s: %v, %+v", fault, err, w.keys.Status(w.clock.Now()))
		}
	}
	put(next.set())
	w.clock.advance(31 * time.Second)
	if _, err := w.find(i, "k2"); err != nil {
		t.Fatal(err)
	}
	_, err := w.find(i, "k1")
	refused(t, err, broker.ReasonTokenKeyUnknown)
}
