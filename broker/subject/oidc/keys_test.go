package oidc_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject/oidc"
)

func TestFind(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	i := p.issuer("corp")
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	k, err := w.find(i, "k1")
	if err != nil || k.ID() != "k1" || k.Algorithm() != jws.ES256 || !p.private.PublicKey.Equal(k.Public()) {
		t.Fatalf("%+v, %v", k, err)
	}
	for range 100 {
		if _, err := w.find(i, "k1"); err != nil {
			t.Fatal(err)
		}
	}
	if n := p.requests(keysPath); n != 1 {
		t.Errorf("%d fetches", n)
	}
	list := w.keys.Status(start)
	if len(list) != 1 || list[0].Issuer != p.URL || !list[0].Usable || list[0].Keys != 1 || !list[0].FetchedAt.Equal(start) || !list[0].TriedAt.Equal(start) || list[0].Err != nil {
		t.Errorf("%+v", list)
	}
}

// bad are answers that must not change which keys are accepted (threats I4).
func bad(t testing.TB, other *provider) map[string]http.HandlerFunc {
	t.Helper()
	jwk := func(kid string, key any) string {
		raw, err := json.Marshal(jose.JSONWebKey{Key: key, KeyID: kid, Use: "sig", Algorithm: "ES256"})
		if err != nil {
			t.Fatal(err)
		}
		return string(raw)
	}
	set := func(keys ...string) http.HandlerFunc { return text(`{"keys":[` + strings.Join(keys, ",") + `]}`) }
	private := newKey(t)
	return map[string]http.HandlerFunc{
		"an error":  func(w http.ResponseWriter, _ *http.Request) { http.Error(w, other.set(), http.StatusBadGateway) },
		"not found": http.NotFound,
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+keysPath, http.StatusFound)
		},
		"HTML":                 text("<html>log in</html>"),
		"nothing":              text(""),
		"an error in JSON":     text(`{"error":"busy"}`),
		"5 MiB":                text(strings.TrimSuffix(other.set(), "}") + `,"x":"` + strings.Repeat("x", 5<<20) + `"}`),
		"empty":                set(),
		"a kid twice":          set(jwk("k2", newKey(t).Public()), jwk("k2", newKey(t).Public())),
		"a private key in it":  set(jwk("k2", newKey(t).Public()), jwk("k3", private)),
		"for encryption alone": text(strings.Replace(other.set(), `"sig"`, `"enc"`, 1)),
		"a small RSA key":      set(`{"kty":"RSA","kid":"k2","alg":"RS256","e":"AQAB","n":"` + strings.Repeat("_", 86) + `"}`),
		"65 keys":              set(strings.Split(strings.TrimSuffix(strings.Repeat(`{"kty":"x"} `, 65), " "), " ")...),
		"cut off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "999")
			_, _ = w.Write([]byte(other.set()))
		},
		"hung up": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
	}
}

// The last good keys serve through every failure for an hour, and no longer;
// then the issuer is unavailable, and no other is (threats B19, I1, I4).
func TestLastGood(t *testing.T) {
	t.Parallel()
	other := newProvider(t, "k2")
	for name, answer := range bad(t, other) {
		for _, path := range []string{keysPath, discoveryPath} {
			t.Run(name+" at "+path, func(t *testing.T) {
				t.Parallel()
				p, steady := newProvider(t, "k1"), newProvider(t, "s1")
				i, s := p.issuer("corp"), steady.issuer("steady")
				w := newWorld(t, []*broker.Issuer{i, s}, p.Server, other.Server, steady.Server)
				for issuer, kid := range map[*broker.Issuer]string{i: "k1", s: "s1"} {
					if _, err := w.find(issuer, kid); err != nil {
						t.Fatal(err)
					}
				}
				if path == discoveryPath { // it is asked again after a failure
					p.text(keysPath, "")
					w.clock.advance(31 * time.Second)
					_, err := w.find(i, "k2")
					refused(t, err, broker.ReasonTokenKeyUnknown)
					p.answer(keysPath, nil)
				}
				p.answer(path, answer)
				w.clock.advance(31 * time.Second)
				_, err := w.find(i, "k2")
				refused(t, err, broker.ReasonTokenKeyUnknown)
				if _, err := w.find(i, "k1"); err != nil {
					t.Fatalf("the key that was good: %v", err)
				}
				for _, status := range w.keys.Status(w.clock.Now()) {
					if status.Issuer == p.URL && (status.Err == nil || !status.Usable || !status.FetchedAt.Equal(start)) {
						t.Errorf("%+v", status)
					}
				}
				w.clock.advance(start.Add(time.Hour).Sub(w.clock.Now()))
				if _, err := w.find(i, "k1"); err != nil {
					t.Fatalf("after an hour: %v", err)
				}
				w.clock.advance(time.Second)
				_, err = w.find(i, "k1")
				if e := refused(t, err, broker.ReasonIssuerUnavailable); e.RetryAfter <= 0 {
					t.Error("no Retry-After")
				}
				if _, err := w.find(s, "s1"); err != nil {
					t.Fatalf("another issuer: %v", err)
				}
			})
		}
	}
}

// A good set replaces the one before: a new key is found at once, a key that was
// removed stops working (standards JK-5, threats I3). A fetch for a request goes
// straight to where the keys were.
func TestRotation(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	i := p.issuer("corp")
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	if _, err := w.find(i, "k1"); err != nil {
		t.Fatal(err)
	}
	p.rotate(t, "k2")
	if _, err := w.find(i, "k1"); err != nil {
		t.Fatalf("before anybody knows: %v", err)
	}
	w.clock.advance(30 * time.Second)
	if _, err := w.find(i, "k2"); err != nil {
		t.Fatal(err)
	}
	_, err := w.find(i, "k1")
	refused(t, err, broker.ReasonTokenKeyUnknown)
	if d, k := p.requests(discoveryPath), p.requests(keysPath); d != 1 || k != 2 {
		t.Errorf("%d discoveries and %d fetches", d, k)
	}
}

// Ten thousand kids that nobody has, in ten seconds: at most two fetches,
// whatever comes back, and who has a good token notices nothing (threats B20,
// standards JK-4).
func TestFlood(t *testing.T) {
	t.Parallel()
	other := newProvider(t, "k2")
	answers := bad(t, other)
	for name, answer := range map[string]http.HandlerFunc{"good": nil, "an error": answers["an error"], "empty": answers["empty"]} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newProvider(t, "k1")
			i := p.issuer("corp")
			w := newWorld(t, []*broker.Issuer{i}, p.Server)
			if _, err := w.find(i, "k1"); err != nil {
				t.Fatal(err)
			}
			p.answer(keysPath, answer)
			w.clock.advance(30 * time.Second)
			before := p.requests(keysPath)
			for n := range 10_000 {
				w.clock.advance(time.Millisecond)
				_, err := w.find(i, fmt.Sprint("none", n))
				refused(t, err, broker.ReasonTokenKeyUnknown)
				if _, err := w.find(i, "k1"); err != nil {
					t.Fatal(err)
				}
			}
			if n := p.requests(keysPath) - before; n != 1 {
				t.Errorf("%d fetches", n)
			}
			w.clock.advance(21 * time.Second)
			_, err := w.find(i, "none")
			refused(t, err, broker.ReasonTokenKeyUnknown)
			if n := p.requests(keysPath) - before; n != 2 {
				t.Errorf("%d fetches in 30 s", n)
			}
		})
	}
}

// An issuer without any keys is asked as seldom.
func TestFloodWithoutKeys(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	p.text(keysPath, `{"keys":[]}`)
	i := p.issuer("corp")
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	for n := range 1000 {
		w.clock.advance(10 * time.Millisecond)
		_, err := w.find(i, fmt.Sprint("none", n))
		refused(t, err, broker.ReasonIssuerUnavailable)
	}
	if n := p.requests(keysPath); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// Many at once make one fetch, and all get its key.
func TestSingleFlight(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	release := make(chan struct{})
	p.answer(keysPath, func(w http.ResponseWriter, _ *http.Request) { <-release; _, _ = w.Write([]byte(p.set())) })
	i := p.issuer("corp")
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	var all sync.WaitGroup
	failed := make(chan error, 50)
	for range cap(failed) {
		all.Go(func() {
			if _, err := w.find(i, "k1"); err != nil {
				failed <- err
			}
		})
	}
	all.Go(func() { close(release) })
	all.Wait()
	select {
	case err := <-failed:
		t.Fatal(err)
	default:
	}
	if n := p.requests(keysPath); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// A request does not wait for an issuer that hangs, nor for a request before it
// that gave up; and the fetch goes on without them (threats I2).
func TestHangingIssuer(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	release := make(chan struct{})
	p.answer(keysPath, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
			_, _ = w.Write([]byte(p.set()))
		case <-r.Context().Done():
		}
	})
	i := p.issuer("corp")
	w := newWorld(t, []*broker.Issuer{i}, p.Server)
	w.keys.SetPatience(10 * time.Millisecond)
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := w.keys.Find(gone, i, jws.Header{Algorithm: jws.ES256, KeyID: "k1"}, start)
	refused(t, err, broker.ReasonIssuerUnavailable)
	_, err = w.find(i, "k1")
	refused(t, err, broker.ReasonIssuerUnavailable)
	close(release)
	w.keys.SetPatience(time.Minute)
	if _, err := w.find(i, "k1"); err != nil {
		t.Fatal(err)
	}
	if n := p.requests(keysPath); n != 1 {
		t.Errorf("%d fetches", n)
	}
}

// Without Run there are no keys, and nobody waits for ever.
func TestNotRunning(t *testing.T) {
	t.Parallel()
	p := newProvider(t, "k1")
	w := &world{clock: &clock{now: start}, keys: oidc.NewKeys(oidc.Config{Now: (&clock{now: start}).Now})}
	_, err := w.find(p.issuer("corp"), "k1")
	refused(t, err, broker.ReasonIssuerUnavailable)
	if n := p.requests(discoveryPath); n != 0 || len(w.keys.Status(start)) != 0 {
		t.Errorf("%d requests", n)
	}
}
