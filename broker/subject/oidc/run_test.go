package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/subject/oidc"
)

// script is a Fetch without a network, for tests in which time passes.
type script struct {
	mu     sync.Mutex
	answer func(ctx context.Context, url string) ([]byte, error)
	at     []time.Duration // when it was asked for keys, since the start
	begin  time.Time
}

func (s *script) Fetch(ctx context.Context, url string) ([]byte, error) {
	s.mu.Lock()
	s.at = append(s.at, time.Since(s.begin))
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx, url)
}

func (s *script) say(answer func(context.Context, string) ([]byte, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *script) times() []time.Duration { s.mu.Lock(); defer s.mu.Unlock(); return slices.Clone(s.at) }

var errDown = errors.New("down")

func down(context.Context, string) ([]byte, error) { return nil, errDown }

func constant(body string) func(context.Context, string) ([]byte, error) {
	return func(context.Context, string) ([]byte, error) { return []byte(body), nil }
}

func scripted(s *script, issuers func() []*broker.Issuer) *oidc.Keys {
	s.begin = time.Now()
	return oidc.NewKeys(oidc.Config{Issuers: issuers, Fetch: s.Fetch, Now: time.Now})
}

func one(name string) *broker.Issuer {
	url := "https://" + name + ".example"
	return &broker.Issuer{Name: name, URL: url, JWKSURI: url + "/keys", Algorithms: []string{"ES256"}}
}

// pass lets time pass in a bubble.
func pass(d time.Duration) { <-time.After(d) }

func find(k *oidc.Keys, i *broker.Issuer, kid string) error {
	_, err := k.Find(context.Background(), i, jws.Header{Algorithm: jws.ES256, KeyID: kid}, time.Now())
	return err
}

// Keys are fetched anew every 5 minutes and a little, after a failure every 30
// seconds and a little, with nobody asking.
func TestRefresh(t *testing.T) {
	t.Parallel()
	set := keySet("k1", newKey(t))
	synctest.Test(t, func(t *testing.T) {
		s, i := &script{}, one("corp")
		s.say(constant(set))
		k := scripted(s, func() []*broker.Issuer { return []*broker.Issuer{i} })
		run(t, k)
		synctest.Wait()
		if at := s.times(); len(at) != 1 || at[0] != 0 {
			t.Fatalf("at the start: %v", at)
		}
		pass(6 * time.Minute)
		synctest.Wait()
		at := s.times()
		if len(at) != 2 || at[1] < 5*time.Minute || at[1] > 5*time.Minute+31*time.Second {
			t.Fatalf("a refresh: %v", at)
		}
		s.say(down)
		pass(6 * time.Minute)
		s.say(constant(set))
		pass(time.Minute)
		synctest.Wait()
		at = s.times()[2:]
		for n := 1; n < len(at); n++ {
			if gap := at[n] - at[n-1]; n < len(at)-1 && (gap < 30*time.Second || gap > 34*time.Second) {
				t.Errorf("a gap of %v: %v", gap, at)
			}
		}
		if len(at) < 3 || k.Status(time.Now())[0].Err != nil {
			t.Errorf("it did not recover: %v, %+v", at, k.Status(time.Now()))
		}
	})
}

// A refresh discovers again, because key sets move; an issuer whose policy cannot
// be read is never asked.
func TestRefreshDiscovers(t *testing.T) {
	t.Parallel()
	set := keySet("k1", newKey(t))
	synctest.Test(t, func(t *testing.T) {
		s, i, bad := &script{}, one("corp"), one("bad")
		i.JWKSURI, bad.Quarantined = "", true
		var asked []string
		s.say(func(_ context.Context, url string) ([]byte, error) {
			asked = append(asked, url)
			if strings.HasSuffix(url, "configuration") {
				return fmt.Appendf(nil, `{"issuer":%q,"jwks_uri":"https://keys.example/%d"}`, i.URL, len(asked)), nil
			}
			return []byte(set), nil
		})
		k := scripted(s, func() []*broker.Issuer { return []*broker.Issuer{bad, i} })
		run(t, k)
		pass(31 * time.Second)
		refused(t, find(k, i, "new"), broker.ReasonTokenKeyUnknown)
		pass(6 * time.Minute)
		synctest.Wait()
		discovery := i.URL + "/.well-known/openid-configuration"
		want := []string{discovery, "https://keys.example/1", "https://keys.example/1", discovery, "https://keys.example/4"}
		if !slices.Equal(asked, want) {
			t.Errorf("%q", asked)
		}
	})
}

// A file is read anew every ten seconds, with nobody asking.
func TestFileIsReread(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "jwks.json")
	put := func(kid string) {
		if err := os.WriteFile(name, []byte(keySet(kid, newKey(t))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("k1")
	synctest.Test(t, func(t *testing.T) {
		i := one("corp")
		i.JWKSURI, i.JWKSFile = "", name
		k := scripted(&script{}, func() []*broker.Issuer { return []*broker.Issuer{i} })
		run(t, k)
		if err := find(k, i, "k1"); err != nil {
			t.Fatal(err)
		}
		put("k2")
		pass(11 * time.Second)
		synctest.Wait()
		if err := find(k, i, "k2"); err != nil {
			t.Error(err)
		}
	})
}

// The tenth that is added by chance is not always the same.
func TestRefreshIsSpread(t *testing.T) {
	t.Parallel()
	set := keySet("k1", newKey(t))
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.say(constant(set))
		var issuers []*broker.Issuer
		for n := range 40 {
			issuers = append(issuers, one(fmt.Sprint("i", n)))
		}
		k := scripted(s, func() []*broker.Issuer { return issuers })
		run(t, k)
		pass(6 * time.Minute)
		synctest.Wait()
		at := s.times()
		if len(at) != 80 {
			t.Fatalf("%d fetches", len(at))
		}
		slices.Sort(at)
		if len(slices.Compact(at[40:])) < 5 {
			t.Errorf("they come together: %v", at[40:])
		}
	})
}

// A start with many issuers does not open a connection to each at once, and a
// request for one of them does not wait for the others.
func TestStartWithManyIssuers(t *testing.T) {
	t.Parallel()
	set := keySet("k1", newKey(t))
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		var issuers []*broker.Issuer
		for n := range 100 {
			issuers = append(issuers, one(fmt.Sprint("i", n)))
		}
		s.say(func(ctx context.Context, url string) ([]byte, error) {
			if url == issuers[99].JWKSURI {
				return []byte(set), nil
			}
			<-ctx.Done()
			return nil, ctx.Err()
		})
		k := scripted(s, func() []*broker.Issuer { return issuers })
		run(t, k)
		synctest.Wait()
		if n := len(s.times()); n < 16 || n > 17 {
			t.Errorf("%d at once", n)
		}
		if err := find(k, issuers[99], "k1"); err != nil {
			t.Error(err)
		}
	})
}

// A request waits half a second for an issuer that hangs, no longer.
func TestPatience(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, i := &script{}, one("corp")
		s.say(func(ctx context.Context, _ string) ([]byte, error) { <-ctx.Done(); return nil, ctx.Err() })
		k := scripted(s, func() []*broker.Issuer { return []*broker.Issuer{i} })
		run(t, k)
		for range 3 {
			begin := time.Now()
			refused(t, find(k, i, "k1"), broker.ReasonIssuerUnavailable)
			if waited := time.Since(begin); waited != 500*time.Millisecond {
				t.Errorf("waited %v", waited)
			}
		}
		if at := s.times(); len(at) != 1 {
			t.Errorf("%v", at)
		}
	})
}

// Run ends when its context does, and not before the last fetch did.
func TestRunWaitsForFetches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, i := &script{}, one("corp")
		over := false
		s.say(func(ctx context.Context, _ string) ([]byte, error) {
			<-ctx.Done()
			pass(time.Second)
			over = true
			return nil, ctx.Err()
		})
		k := scripted(s, func() []*broker.Issuer { return []*broker.Issuer{i} })
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		synctest.Wait()
		cancel()
		<-done
		if !over {
			t.Error("a fetch goes on")
		}
		refused(t, find(k, i, "k1"), broker.ReasonIssuerUnavailable)
	})
}

// What left policy is forgotten within a tick, with its keys; when it comes back
// it begins anew.
func TestForgotten(t *testing.T) {
	t.Parallel()
	set := keySet("k1", newKey(t))
	synctest.Test(t, func(t *testing.T) {
		s, a, b := &script{}, one("a"), one("b")
		s.say(constant(set))
		in := &inForce{issuers: []*broker.Issuer{a, b}}
		k := scripted(s, in.Issuers)
		run(t, k)
		synctest.Wait()
		in.set(b)
		pass(time.Second)
		synctest.Wait()
		if list := k.Status(time.Now()); len(list) != 1 || list[0].Issuer != b.URL {
			t.Fatalf("%+v", list)
		}
		s.say(down)
		in.set(a, b)
		refused(t, find(k, a, "k1"), broker.ReasonIssuerUnavailable)
		if err := find(k, b, "k1"); err != nil {
			t.Error(err)
		}
	})
}

// Keys that were not fetched for an hour are not believed, even where the clock
// that is asked has no monotonic reading.
func TestStale(t *testing.T) {
	t.Parallel()
	set := keySet("k1", newKey(t))
	synctest.Test(t, func(t *testing.T) {
		s, i := &script{}, one("corp")
		s.say(constant(set))
		k := scripted(s, func() []*broker.Issuer { return []*broker.Issuer{i} })
		run(t, k)
		synctest.Wait()
		s.say(down)
		for _, now := range []time.Time{time.Now(), time.Now().Round(0)} {
			if !k.Status(now.Add(time.Hour))[0].Usable || k.Status(now.Add(time.Hour + 1))[0].Usable {
				t.Errorf("%+v", k.Status(now))
			}
		}
	})
}
