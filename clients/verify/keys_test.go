package verify_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/clients/verify"
)

// script is where keys come from in tests in which time passes.
type script struct {
	mu     sync.Mutex // guards what follows
	begin  time.Time
	at     []time.Duration // when it was asked, since the start
	answer func(ctx context.Context) (jws.KeySet, time.Duration, error)
}

func (s *script) read(ctx context.Context) (jws.KeySet, time.Duration, error) {
	s.mu.Lock()
	s.at = append(s.at, time.Since(s.begin))
	answer := s.answer
	s.mu.Unlock()
	return answer(ctx)
}

func (s *script) say(answer func(context.Context) (jws.KeySet, time.Duration, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// publish answers with the keys, to be asked for again in five minutes.
func (s *script) publish(signers ...*jws.Signer) {
	set := keySet(signers...)
	s.say(func(context.Context) (jws.KeySet, time.Duration, error) { return set, 5 * time.Minute, nil })
}

func (s *script) fail() {
	s.say(func(context.Context) (jws.KeySet, time.Duration, error) { return jws.KeySet{}, 0, errDown })
}

// times returns when it was asked after the first n times.
func (s *script) times(n int) []time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.at[min(n, len(s.at)):])
}

var errDown = errors.New("down")

// bubbleNow is the time in a bubble, moved to where tokens have dates.
func bubbleNow() time.Time {
	return time.Now().Add(start.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))
}

// scripted returns a verifier in a bubble that runs until the test ends. Its keys
// come from the script.
func scripted(t *testing.T, s *script, change func(*verify.Config)) *verify.Verifier {
	t.Helper()
	c := verify.Config{Issuer: issuer, Audiences: []string{orders}, Now: bubbleNow}
	if change != nil {
		change(&c)
	}
	v, err := verify.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.begin = time.Now()
	v.Script(s.read)
	run(t, v)
	synctest.Wait()
	return v
}

// pass lets time pass in a bubble.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// fresh returns a token that is good at this moment in a bubble.
func fresh(t *testing.T, s *jws.Signer) string {
	t.Helper()
	return sign(t, s, "at+jwt", workloadClaims().with("iat", bubbleNow().Unix()).with("exp", bubbleNow().Add(5*time.Minute).Unix()).json(t))
}

func expect(t *testing.T, v *verify.Verifier, s *jws.Signer, want verify.Reason) {
	t.Helper()
	if _, err := asWeb(t, v, fresh(t, s)); reason(err) != want {
		t.Errorf("%v, want %q", err, want)
	}
}

// Keys are fetched anew when they are as old as the issuer says, with nobody
// asking, and a failure is followed by another try in 30 seconds.
func TestRefresh(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(key)
		v := scripted(t, s, nil)
		if at := s.times(0); len(at) != 1 || at[0] != 0 {
			t.Fatalf("at the start: %v", at)
		}
		pass(6 * time.Minute)
		if at := s.times(1); len(at) != 1 || at[0] < 5*time.Minute || at[0] > 5*time.Minute+31*time.Second {
			t.Fatalf("a refresh: %v", at)
		}
		s.fail()
		pass(10 * time.Minute)
		if st := v.Status(); !errors.Is(st.Err, errDown) || st.Keys != 1 || v.Ready() != nil || st.TriedAt.Equal(st.FetchedAt) {
			t.Errorf("%+v", st)
		}
		expect(t, v, key, "")
		s.publish(key)
		pass(35 * time.Second)
		at := s.times(2)
		for i := 1; i < len(at); i++ {
			if gap := at[i] - at[i-1]; gap < 30*time.Second || gap > 34*time.Second {
				t.Errorf("a gap of %v: %v", gap, at)
			}
		}
		if st := v.Status(); st.Err != nil || len(at) < 3 {
			t.Errorf("it did not recover: %+v", st)
		}
	})
}

// The replicas of a service do not all ask at once.
func TestRefreshIsSpread(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		scripts := make([]*script, 20)
		for i := range scripts {
			scripts[i] = &script{}
			scripts[i].publish(key)
			scripted(t, scripts[i], nil)
		}
		pass(6 * time.Minute)
		seen := map[time.Duration]bool{}
		for _, s := range scripts {
			at := s.times(1)
			if len(at) != 1 || at[0] < 5*time.Minute || at[0] > 5*time.Minute+31*time.Second {
				t.Fatalf("%v", at)
			}
			seen[at[0]] = true
		}
		if len(seen) < 3 {
			t.Errorf("all of them at %v", seen)
		}
	})
}

// Without any keys yet the tries come sooner at first; requests wait for none of
// them and add none.
func TestFirstKeys(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.fail()
		v := scripted(t, s, nil)
		began := time.Now()
		for range 20 {
			expect(t, v, key, verify.ReasonKeysUnavailable)
		}
		if reason(v.Ready()) != verify.ReasonKeysUnavailable || !errors.Is(v.Ready(), errDown) || time.Since(began) != 0 || len(s.times(0)) != 1 {
			t.Errorf("%v after %v, asked %v", v.Ready(), time.Since(began), s.times(0))
		}
		pass(2 * time.Minute)
		want := []time.Duration{0, 1, 2, 4, 8, 16, 30, 30}
		at := s.times(0)
		for i := 1; i < len(at); i++ {
			if gap, least := at[i]-at[i-1], want[i]*time.Second; gap < least || gap > least+least/10+time.Second {
				t.Errorf("try %d after %v: %v", i, gap, at)
			}
		}
		if len(at) < 8 {
			t.Errorf("%v", at)
		}
		s.publish(key)
		pass(34 * time.Second)
		expect(t, v, key, "")
	})
}

// Standards JK-4, JK-5, H23, threats I3: a kid that is not known is worth one
// fetch in 30 seconds, whether or not that succeeds; a key that has left the set
// verifies nothing any more.
func TestUnknownKey(t *testing.T) {
	t.Parallel()
	first, second, third := newSigner(t, "k1"), newSigner(t, "k2"), newSigner(t, "k3")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(first)
		v := scripted(t, s, nil)
		s.publish(second)
		expect(t, v, second, verify.ReasonTokenKeyUnknown) // too soon after the first fetch
		pass(30 * time.Second)
		expect(t, v, second, "")
		expect(t, v, first, verify.ReasonTokenKeyUnknown)
		if at := s.times(1); len(at) != 1 || at[0] != 30*time.Second {
			t.Errorf("asked %v", at)
		}
		s.fail()
		for range 40 { // forty bursts in twenty seconds, then one fetch that fails, then forty more
			var wg sync.WaitGroup
			for i := range 25 {
				wg.Go(func() { expect(t, v, newSigner(t, "random"+strconv.Itoa(i)), verify.ReasonTokenKeyUnknown) })
			}
			wg.Wait()
			pass(time.Second)
		}
		if at := s.times(2); len(at) != 1 || at[0] != 60*time.Second {
			t.Errorf("asked %v for 1000 random keys in 40 s", at)
		}
		expect(t, v, second, "")
		s.publish(third)
		pass(20 * time.Second)
		expect(t, v, third, "")
		expect(t, v, second, verify.ReasonTokenKeyUnknown)
	})
}

// A token of another issuer is told so, and makes nobody ask ours.
func TestOtherIssuersKey(t *testing.T) {
	t.Parallel()
	key, foreign := newSigner(t, "k1"), newSigner(t, "f1")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(key)
		v := scripted(t, s, nil)
		pass(time.Minute)
		for payload, want := range map[string]verify.Reason{
			workloadClaims().with("iss", "https://acme.okta.com").json(t): verify.ReasonTokenIssuer, workloadClaims().without("iss").json(t): verify.ReasonTokenIssuer,
			`{"iss":"` + issuer + `","iss":"x"}`: verify.ReasonTokenClaims, `[]`: verify.ReasonTokenClaims,
		} {
			if _, err := asWeb(t, v, sign(t, foreign, "at+jwt", payload)); reason(err) != want {
				t.Errorf("%s: %v", payload, err)
			}
		}
		if at := s.times(1); len(at) != 0 {
			t.Errorf("asked %v", at)
		}
		expect(t, v, foreign, verify.ReasonTokenKeyUnknown)
		if at := s.times(1); len(at) != 1 {
			t.Errorf("asked %v", at)
		}
	})
}

// Threat I2: requests with keys that are known wait for nobody; those with
// another wait half a second and not longer, and one fetch serves all of them.
func TestSlowIssuer(t *testing.T) {
	t.Parallel()
	first, second := newSigner(t, "k1"), newSigner(t, "k2")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(first)
		v := scripted(t, s, nil)
		pass(30 * time.Second)
		answer := func(after time.Duration) {
			s.say(func(context.Context) (jws.KeySet, time.Duration, error) {
				<-time.After(after)
				return keySet(first, second), 5 * time.Minute, nil
			})
		}
		ask := func(want verify.Reason, waits time.Duration) {
			t.Helper()
			var wg sync.WaitGroup
			for range 20 {
				wg.Go(func() {
					began := time.Now()
					expect(t, v, second, want)
					if waited := time.Since(began); waited != waits {
						t.Errorf("waited %v, want %v", waited, waits)
					}
				})
			}
			wg.Go(func() {
				began := time.Now()
				expect(t, v, first, "")
				if waited := time.Since(began); waited != 0 {
					t.Errorf("a known key waited %v", waited)
				}
			})
			wg.Wait()
		}
		answer(10 * time.Second)
		ask(verify.ReasonTokenKeyUnknown, 500*time.Millisecond)
		pass(10 * time.Second)
		ask("", 0) // it was not in vain
		s.publish(first)
		pass(6 * time.Minute)
		answer(400 * time.Millisecond)
		pass(30 * time.Second)
		ask("", 400*time.Millisecond)
		if at := s.times(1); len(at) != 3 {
			t.Errorf("asked %v", at)
		}
	})
}

// Who gives up waiting does not stop the fetch for the others.
func TestAskerGivesUp(t *testing.T) {
	t.Parallel()
	first, second := newSigner(t, "k1"), newSigner(t, "k2")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(first)
		v := scripted(t, s, nil)
		pass(30 * time.Second)
		s.say(func(ctx context.Context) (jws.KeySet, time.Duration, error) {
			select {
			case <-time.After(300 * time.Millisecond):
				return keySet(second), time.Minute, nil
			case <-ctx.Done():
				return jws.KeySet{}, 0, ctx.Err()
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		for range 2 { // during the fetch, and while it is full
			began := time.Now()
			if _, err := v.Verify(ctx, fresh(t, second), peer(t, web, "")); reason(err) != verify.ReasonTokenKeyUnknown || time.Since(began) > 100*time.Millisecond {
				t.Errorf("%v after %v", err, time.Since(began))
			}
		}
		pass(200 * time.Millisecond)
		expect(t, v, second, "")
	})
}

// The last good keys serve for as long as is configured, by whichever clock says
// that more time has passed, and nothing replaces them.
func TestMaxStale(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	for configured, want := range map[time.Duration]time.Duration{0: 24 * time.Hour, time.Hour: time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s := &script{}
			s.publish(key)
			jump := time.Duration(0)
			v := scripted(t, s, func(c *verify.Config) {
				c.MaxStale = configured
				c.Now = func() time.Time { return bubbleNow().Add(jump) }
			})
			s.fail()
			pass(want)
			expect(t, v, key, "")
			pass(time.Nanosecond)
			expect(t, v, key, verify.ReasonKeysUnavailable)
			if e := v.Ready(); reason(e) != verify.ReasonKeysUnavailable || !errors.Is(e, errDown) || !strings.Contains(e.Error(), "2026-11-24T12:00:00Z") {
				t.Errorf("%v", e)
			}
			s.publish(key)
			pass(time.Minute)
			expect(t, v, key, "")
		})
	}
}

// Of the two clocks the one counts by which more time has passed: the monotonic
// one stands still while a machine is suspended, the wall can be set back.
func TestTwoClocks(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	began := time.Now()
	now := began
	v := newVerifier(t, func(c *verify.Config) { c.Now = func() time.Time { return now } }, key)
	for name, tt := range map[string]struct {
		wall, monotonic time.Duration
		good            bool
	}{
		"at first":                 {0, 0, true},
		"a day":                    {24 * time.Hour, 24 * time.Hour, true},
		"more":                     {24*time.Hour + 1, 24*time.Hour + 1, false},
		"suspended":                {24*time.Hour + 1, time.Minute, false},
		"set back":                 {-time.Hour, 24*time.Hour + 1, false},
		"set back, not much later": {-time.Hour, time.Minute, true},
	} {
		now = began.Add(tt.wall)
		*monotonic(&now) += int64(tt.monotonic - tt.wall)
		if (v.Ready() == nil) != tt.good {
			t.Errorf("%s: %v", name, v.Ready())
		}
	}
}

// monotonic returns the monotonic reading of a time that has one: the second word
// of a time.Time since Go 1.9. Nothing else can set it apart from the wall.
func monotonic(t *time.Time) *int64 {
	return &(*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(t)).ext //nolint:gosec // see above
}

// A machine that was suspended looks at once: its timers stood still, its wall
// clock did not.
func TestSuspend(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(key)
		var mu sync.Mutex
		slept := time.Duration(0)
		scripted(t, s, func(c *verify.Config) {
			c.Now = func() time.Time {
				mu.Lock()
				defer mu.Unlock()
				return bubbleNow().Round(0).Add(slept)
			}
		})
		mu.Lock()
		slept = time.Hour
		mu.Unlock()
		pass(time.Second)
		if at := s.times(1); len(at) != 1 || at[0] > time.Second {
			t.Errorf("asked %v", at)
		}
	})
}

func TestRunOnce(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	synctest.Test(t, func(t *testing.T) {
		s := &script{}
		s.publish(key)
		v := scripted(t, s, nil)
		if err := v.Run(t.Context()); err == nil {
			t.Error("it ran twice")
		}
		expect(t, v, key, "")
	})
	// One that does not run refuses at once and says why.
	v, err := verify.New(verify.Config{Issuer: issuer, Audiences: []string{orders}, Now: fixed})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if _, err := asWeb(t, v, sign(t, key, "at+jwt", workloadClaims().json(t))); reason(err) != verify.ReasonKeysUnavailable || !strings.Contains(v.Ready().Error(), "Run") || time.Since(began) != 0 {
			t.Errorf("%v, %v after %v", err, v.Ready(), time.Since(began))
		}
	})
	// One that ran may run again.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 {
		if err := v.Run(ctx); err != nil {
			t.Error(err)
		}
	}
}

// Threat I4, with a real server: garbage after good keys changes nothing.
func TestGarbageKeepsTheKeys(t *testing.T) {
	t.Parallel()
	key := newSigner(t, "k1")
	b := newPublisher(t, false, key)
	synctest.Test(t, func(t *testing.T) {
		c := b.config()
		c.Now = bubbleNow
		v, err := verify.New(c)
		if err != nil {
			t.Fatal(err)
		}
		run(t, v)
		synctest.Wait()
		good := v.Status()
		if good.Keys != 1 || good.Err != nil {
			t.Fatalf("%+v", good)
		}
		for i, body := range []string{"<html>", `{"keys":[]}`, `{"keys":[{"kty":"EC","kid":"a","d":"AA"}]}`, strings.Repeat(" ", 5<<20), `{"keys":[` + strings.Repeat(`{"kty":"x","kid":""},`, 64) + `{}]}`} {
			serving(http.StatusOK, body)(b, nil)
			tried := v.Status().TriedAt
			pass(6 * time.Minute)
			if st := v.Status(); st.Err == nil || st.Keys != 1 || v.Ready() != nil || !st.FetchedAt.Equal(good.FetchedAt) || st.TriedAt.Equal(tried) {
				t.Errorf("%d: %+v", i, st)
			}
		}
	})
}

// A file is read again and again; whatever is not a plain file is not read.
func TestKeyFile(t *testing.T) {
	t.Parallel()
	first, second := newSigner(t, "k1"), newSigner(t, "k2")
	name := filepath.Join(t.TempDir(), "jwks.json")
	write := func(s *jws.Signer) {
		body, err := jws.MarshalKeySet([]jws.Key{s.Key()})
		if err == nil {
			err = os.WriteFile(name, body, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	write(first)
	synctest.Test(t, func(t *testing.T) {
		v, err := verify.New(verify.Config{Issuer: issuer, Audiences: []string{orders}, Now: bubbleNow, Keys: verify.KeySource{File: name}})
		if err != nil {
			t.Fatal(err)
		}
		run(t, v)
		synctest.Wait()
		expect(t, v, first, "")
		write(second)
		pass(12 * time.Second)
		expect(t, v, second, "")
		expect(t, v, first, verify.ReasonTokenKeyUnknown)
	})
	body, err := jws.MarshalKeySet([]jws.Key{first.Key()})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	pipe, large := filepath.Join(dir, "pipe"), filepath.Join(dir, "large")
	if err := errors.Join(syscall.Mkfifo(pipe, 0o600), os.WriteFile(large, append(body, strings.Repeat(" ", 1<<20)...), 0o600)); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(pipe, os.O_RDWR, 0) //nolint:gosec // a pipe of this test: who reads it waits for ever
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	for _, name := range []string{pipe, large, dir, filepath.Join(dir, "none")} {
		v := running(t, verify.Config{Issuer: issuer, Audiences: []string{orders}, Now: fixed, Keys: verify.KeySource{File: name}})
		if v.Ready() == nil || v.Status().Err == nil {
			t.Errorf("%s is a key set", name)
		}
	}
}

func TestRefreshAfter(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{
		"": 5 * time.Minute, "max-age=300": 5 * time.Minute, "public, max-age=120": 2 * time.Minute, "Max-Age=120,public": 2 * time.Minute, `max-age="120"`: 2 * time.Minute,
		"max-age=0": time.Minute, "max-age=59": time.Minute, "max-age=900": 15 * time.Minute, "max-age=901": 15 * time.Minute, "max-age=2147483647": 15 * time.Minute,
		"max-age=99999999999999999999": 5 * time.Minute, "max-age=-1": 5 * time.Minute, "max-age=": 5 * time.Minute, "s-maxage=60": 5 * time.Minute, "no-store": 5 * time.Minute,
	} {
		h := http.Header{}
		if value != "" {
			h.Set("Cache-Control", value)
		}
		if got := verify.RefreshAfter(h); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}
