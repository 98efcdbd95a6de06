package keys_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/keys"
	"github.com/cambist/cambist/store"
)

// rows is store.Keys in memory with the same compare-and-swap; the real stores
// are held to it by storetest.
type rows struct {
	mu   sync.Mutex
	list []store.KeyRow
}

func (m *rows) ListKeys(context.Context) ([]store.KeyRow, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.list), nil
}

func (m *rows) InsertKey(_ context.Context, k store.KeyRow, expect int) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := 0
	for _, have := range m.list {
		if have.Purpose == k.Purpose && have.Algorithm == k.Algorithm {
			n++
		}
	}
	if n != expect {
		return broker.Errorf(broker.CodeConflict, "", "conflict")
	}
	m.list = append(m.list, k)
	return nil
}

func (m *rows) UpdateKey(_ context.Context, k store.KeyRow) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range m.list {
		if m.list[i].ID == k.ID && m.list[i].Version == k.Version-1 {
			m.list[i] = k
			return nil
		}
	}
	return broker.Errorf(broker.CodeStale, "", "stale")
}

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

type clock struct{ now time.Time }

func kek(t testing.TB) keys.KEK {
	t.Helper()
	k, err := keys.NewKEK(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func ring(t testing.TB, m *rows, c *clock) *keys.Ring {
	t.Helper()
	return keys.New(keys.Config{
		Store: m, KEK: kek(t), Now: func() time.Time { return c.now }, PublishLead: 15 * time.Minute, RotateEvery: 24 * time.Hour,
		TTLCap: 15 * time.Minute, MaxAge: 5 * time.Minute,
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFirstKeySignsAtOnce(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{"ES256", "EdDSA", "RS256", "PS256"} {
		c := &clock{start}
		r := ring(t, &rows{}, c)
		if _, err := r.Signer(algorithm); broker.AsError(err).Code != broker.CodeUnavailable {
			t.Errorf("%s before there is a key: %v", algorithm, err)
		}
		must(t, r.Ensure(t.Context(), algorithm))
		s, err := r.Signer(algorithm)
		must(t, err)
		if k, ok := r.Key(s.Key().ID(), start); !ok || string(k.Algorithm()) != algorithm {
			t.Errorf("%s is not published", algorithm)
		}
		body, etag := r.JWKS(start)
		if !bytes.Contains(body, []byte(s.Key().ID())) || etag == "" || bytes.Contains(body, []byte(`"d"`)) {
			t.Errorf("%s: %s", algorithm, body)
		}
		if got := r.Algorithms(); !slices.Equal(got, []string{algorithm}) {
			t.Errorf("published are %q, not %s", got, algorithm)
		}
	}
	if err := ring(t, &rows{}, &clock{start}).Ensure(t.Context(), "HS256"); err == nil {
		t.Error("a key for HS256")
	}
}

// Replicas that make the first key together have one, and all sign with it.
func TestEnsureRace(t *testing.T) {
	t.Parallel()
	m, c := &rows{}, &clock{start}
	rings := make([]*keys.Ring, 5)
	var wg sync.WaitGroup
	for i := range rings {
		rings[i] = ring(t, m, c)
		wg.Go(func() {
			if err := rings[i].Ensure(context.Background(), "ES256"); err != nil {
				t.Error(err)
			}
			if err := rings[i].EnsureSealer(context.Background()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if len(m.list) != 2 {
		t.Fatalf("%d rows", len(m.list))
	}
	for _, r := range rings {
		if s, err := r.Signer("ES256"); err != nil || s.Key().ID() != m.list[slices.IndexFunc(m.list, func(k store.KeyRow) bool { return k.Purpose == "sign" })].ID {
			t.Errorf("%v", err)
		}
	}
}

// Over random schedules of replicas that tick and refresh when they like: no
// key but the first signs before it was published for the lead, and whatever
// was signed verifies until it expires by every JWKS that a verifier may have
// cached (threats E4 to E8).
func TestRotationProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		c, m := &clock{start}, &rows{}
		replicas := []*keys.Ring{ring(&testing.T{}, m, c), ring(&testing.T{}, m, c)}
		seen := make([]time.Time, len(replicas)) // when each last read the store
		for i, r := range replicas {
			if err := r.Ensure(context.Background(), "ES256"); err != nil {
				t.Fatal(err)
			}
			seen[i] = c.now
		}
		first, _ := replicas[0].Signer("ES256")
		published := map[string]time.Time{first.Key().ID(): start.Add(-time.Hour)}
		type token struct {
			kid string
			exp time.Time
		}
		var live []token
		for range 150 {
			c.now = c.now.Add(time.Duration(rapid.IntRange(0, 900).Draw(t, "seconds")) * time.Second)
			i := rapid.IntRange(0, len(replicas)-1).Draw(t, "replica")
			if rapid.Bool().Draw(t, "tick") {
				if err := replicas[i].Tick(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			for k, r := range replicas { // a replica that has not read for a lease refuses, so it reads
				if k == i || c.now.Sub(seen[k]) > time.Minute {
					if err := r.Refresh(context.Background()); err != nil {
						t.Fatal(err)
					}
					seen[k] = c.now
				}
			}
			body, _ := replicas[i].JWKS(c.now)
			for _, row := range m.list {
				if bytes.Contains(body, []byte(row.ID)) && published[row.ID].IsZero() {
					published[row.ID] = row.PublishedAt
				}
			}
			for _, r := range replicas {
				s, err := r.Signer("ES256")
				if err != nil {
					t.Fatal(err)
				}
				kid := s.Key().ID()
				if kid != first.Key().ID() && c.now.Sub(published[kid]) < 15*time.Minute {
					t.Fatalf("signs %v after it was published", c.now.Sub(published[kid]))
				}
				live = append(live, token{kid, c.now.Add(15 * time.Minute)})
			}
			// A verifier that fetched now keeps the set for five minutes.
			for _, x := range live {
				if c.now.Before(x.exp) && !bytes.Contains(body, []byte(x.kid)) {
					t.Fatalf("a token that lives %v more cannot be verified", x.exp.Sub(c.now))
				}
			}
			if len(live) > 200 {
				live = live[len(live)-200:]
			}
		}
	})
}

// After a whole life of keys the old ones are gone, from the JWKS and from the
// row.
func TestOldKeysGo(t *testing.T) {
	t.Parallel()
	c, m := &clock{start}, &rows{}
	r := ring(t, m, c)
	must(t, r.Ensure(t.Context(), "ES256"))
	first := m.list[0].ID
	for range 3 * 24 * 12 {
		c.now = c.now.Add(5 * time.Minute)
		must(t, r.Tick(t.Context()))
	}
	if m.list[0].State != "gone" || len(m.list[0].Wrapped) != 0 {
		t.Errorf("the first key is %s with %d bytes", m.list[0].State, len(m.list[0].Wrapped))
	}
	if _, ok := r.Key(first, c.now); ok {
		t.Error("the first key still verifies")
	}
	if _, err := r.SignerByID(first); err == nil {
		t.Error("the first key still signs")
	}
	if n := len(m.list); n != 3 && n != 4 {
		t.Errorf("%d keys after three days", n)
	}
}

// A retired key leaves the JWKS on time also where nobody moves its row.
func TestRetiredKeyLeavesByItself(t *testing.T) {
	t.Parallel()
	c, m := &clock{start}, &rows{}
	r := ring(t, m, c)
	must(t, r.Ensure(t.Context(), "ES256"))
	old := m.list[0].ID
	m.list[0].State, m.list[0].RetiredAt = "retired", start
	must(t, r.Refresh(t.Context()))
	if body, _ := r.JWKS(start.Add(21 * time.Minute)); !bytes.Contains(body, []byte(old)) {
		t.Error("it left too early")
	}
	late := start.Add(23 * time.Minute)
	if body, _ := r.JWKS(late); bytes.Contains(body, []byte(old)) {
		t.Error("it stays too long")
	}
	if _, ok := r.Key(old, late); ok {
		t.Error("it still verifies")
	}
	if _, err := r.Signer("ES256"); err == nil {
		t.Error("a retired key signs")
	}
}

// Threats E2, E3: nothing of use rests in a row, and a row that was swapped,
// relabelled or wrapped under another key does not open.
func TestRowsAreBound(t *testing.T) {
	t.Parallel()
	c := &clock{start}
	fresh := func(change func(list []store.KeyRow)) (*keys.Ring, error) {
		m := &rows{}
		r := ring(t, m, c)
		must(t, r.Ensure(t.Context(), "ES256"))
		must(t, r.Ensure(t.Context(), "EdDSA"))
		change(m.list)
		other := ring(t, m, c)
		return other, other.Refresh(t.Context())
	}
	for name, change := range map[string]func([]store.KeyRow){
		"swapped":      func(l []store.KeyRow) { l[0].Wrapped, l[1].Wrapped = l[1].Wrapped, l[0].Wrapped },
		"renamed":      func(l []store.KeyRow) { l[0].ID, l[1].ID = "a", "b" },
		"dated anew":   func(l []store.KeyRow) { l[0].CreatedAt, l[1].CreatedAt = start.Add(1e9), start.Add(1e9) },
		"other alg":    func(l []store.KeyRow) { l[0].Algorithm, l[1].Algorithm = "RS256", "RS256" },
		"other use":    func(l []store.KeyRow) { l[0].Purpose, l[1].Purpose = "facts", "facts" },
		"unknown use":  func(l []store.KeyRow) { l[0].Purpose, l[1].Purpose = "x", "x" },
		"one bit":      func(l []store.KeyRow) { l[0].Wrapped[20] ^= 1; l[1].Wrapped[20] ^= 1 },
		"cut":          func(l []store.KeyRow) { l[0].Wrapped, l[1].Wrapped = nil, l[1].Wrapped[:8] },
		"other format": func(l []store.KeyRow) { l[0].Wrapped[0], l[1].Wrapped[0] = 9, 9 },
	} {
		r, err := fresh(change)
		must(t, err)
		if status, bad := r.Status(); len(status) != 0 || len(bad) != 2 {
			t.Errorf("%s: %d open, %v", name, len(status), bad)
		}
	}
	m := &rows{}
	must(t, ring(t, m, c).Ensure(t.Context(), "ES256"))
	for _, secret := range []string{"PRIVATE", `"d"`} {
		if bytes.Contains(m.list[0].Wrapped, []byte(secret)) || bytes.Contains(m.list[0].Public, []byte(secret)) {
			t.Errorf("%q rests in the row", secret)
		}
	}
	wrong, err := keys.NewKEK(bytes.Repeat([]byte{8}, 32))
	must(t, err)
	r := keys.New(keys.Config{Store: m, KEK: wrong, Now: func() time.Time { return start }})
	must(t, r.Refresh(t.Context()))
	if _, bad := r.Status(); len(bad) != 1 || !strings.Contains(bad[0].Error(), "another key-encryption key") {
		t.Errorf("%v", bad)
	}
	// A key that cannot be opened is not papered over by a new one.
	must(t, r.Ensure(t.Context(), "ES256"))
	if len(m.list) != 1 {
		t.Error("a second key was made beside one that cannot be opened")
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	m, c := &rows{}, &clock{start}
	r := ring(t, m, c)
	if _, err := r.Seal([]byte("x"), nil); err == nil {
		t.Error("sealed without a key")
	}
	must(t, r.EnsureSealer(t.Context()))
	sealed, err := r.Seal([]byte("facts"), []byte("row 1"))
	must(t, err)
	if plain, err := r.Open(sealed, []byte("row 1")); err != nil || string(plain) != "facts" || bytes.Contains(sealed, []byte("facts")) {
		t.Errorf("%q %v", plain, err)
	}
	for name, text := range map[string][]byte{"moved": sealed, "short": sealed[:4], "of another": append([]byte("00000000"), sealed[8:]...)} {
		if _, err := r.Open(text, []byte("row 2")); err == nil {
			t.Errorf("%s: opened", name)
		}
	}
}

func TestReadKEK(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	raw := make([]byte, 32)
	_, _ = rand.Read(raw)
	for name, tt := range map[string]struct {
		content string
		mode    os.FileMode
		ok      bool
	}{
		"raw":       {string(raw), 0o600, true},
		"base64":    {base64.StdEncoding.EncodeToString(raw) + "\n", 0o600, true},
		"hex":       {strings.Repeat("0a", 32), 0o400, true},
		"readable":  {string(raw), 0o644, false},
		"short":     {base64.StdEncoding.EncodeToString(raw[:31]), 0o600, false},
		"empty":     {"", 0o600, false},
		"some text": {"password", 0o600, false},
	} {
		path := filepath.Join(dir, name)
		must(t, os.WriteFile(path, []byte(tt.content), tt.mode))
		must(t, os.Chmod(path, tt.mode))
		if _, err := keys.ReadKEK(path); (err == nil) != tt.ok || err != nil && !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := keys.ReadKEK(filepath.Join(dir, "nothing")); err == nil {
		t.Error("no file")
	}
}
