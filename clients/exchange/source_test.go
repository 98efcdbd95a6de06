package exchange_test

import (
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/clients/exchange"
)

type closingSource struct {
	*source
	closed int
}

func (c *closingSource) Close() error {
	c.closed++
	return nil
}

// staticSource always answers.
type staticSource struct{ s *standIn }

func (s staticSource) GetX509SVID() (*x509svid.SVID, error) { return s.s.source.svid, nil }

// clock is a time that a test moves on.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func newClock() *clock { return &clock{at: time.Now()} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// The files of a folder are followed as somebody replaces them, and half of a
// replacement changes nothing.
func TestSVIDDir(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.set(func() { s.bound = true })
	dir := t.TempDir()
	write := func() {
		t.Helper()
		if err := trust.WriteSVID(dir, s.source.svid, s.source.bundle); err != nil {
			t.Fatal(err)
		}
	}
	write()
	clock := newClock()
	c := s.client(t, exchange.WithSVIDDir(dir), exchange.WithClock(clock.now))
	used := func() string {
		t.Helper()
		clock.add(2 * time.Second)
		must(t, c, ledger)
		got := s.exchanges()
		return got[len(got)-1].thumbprint
	}
	first := thumbprint(s.source.svid.Certificates[0])
	if used() != first {
		t.Fatal("not that of the files")
	}
	s.source.rotate(t, 24*time.Hour)
	second := thumbprint(s.source.svid.Certificates[0])
	half := filepath.Join(dir, "svid.pem")
	whole, err := os.ReadFile(half) //nolint:gosec // a file of this test
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"no file": "", "nonsense": "x", "half": string(whole[:len(whole)/2])} {
		if err := os.WriteFile(half, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			if err := os.Remove(half); err != nil {
				t.Fatal(err)
			}
		}
		if used() != first {
			t.Errorf("%s: another SVID", name)
		}
	}
	write()
	if used() != second {
		t.Error("the new SVID does not count")
	}
}

// What makes no sense in the files is said when the client is made.
func TestSVIDDirRefused(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	good := t.TempDir()
	if err := trust.WriteSVID(good, s.source.svid, s.source.bundle); err != nil {
		t.Fatal(err)
	}
	s.source.rotate(t, time.Hour)
	other := t.TempDir()
	if err := trust.WriteSVID(other, s.source.svid, s.source.bundle); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		file, from, text string // a file of the folder is replaced by another, or by text
		want             string
	}{
		"the key of another":  {"svid-key.pem", filepath.Join(other, "svid-key.pem"), "", "svid-key.pem"},
		"no key":              {"svid-key.pem", "", "", "svid-key.pem"},
		"no bundle":           {"bundle.pem", "", "", "bundle.pem"},
		"a bundle of text":    {"bundle.pem", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "bundle.pem"},
		"a certificate alone": {"bundle.pem", filepath.Join(good, "svid-key.pem"), "", "bundle.pem"},
	} {
		dir := t.TempDir()
		for _, file := range []string{"svid.pem", "svid-key.pem", "bundle.pem"} {
			from := filepath.Join(good, file)
			if file == tt.file {
				from = tt.from
			}
			text := []byte(tt.text)
			if from != "" {
				var err error
				if text, err = os.ReadFile(from); err != nil { //nolint:gosec // a file of this test
					t.Fatal(err)
				}
			}
			if err := os.WriteFile(filepath.Join(dir, file), text, 0o600); err != nil { //nolint:gosec // a file of this test
				t.Fatal(err)
			}
		}
		c, err := exchange.New(t.Context(), s.options(exchange.WithSVIDDir(dir))...)
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A folder knows its own trust domain: a broker of another is not verified by it.
func TestSVIDDirOtherDomain(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	dir := t.TempDir()
	if err := trust.WriteSVID(dir, s.source.svid, s.source.bundle); err != nil {
		t.Fatal(err)
	}
	elsewhere, err := trust.New(spiffeid.RequireTrustDomainFromString("other.example"), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.stop(t, false)
	s.id = spiffeid.RequireFromString("spiffe://other.example/ns/cambist/sa/cambist")
	s.startWith(t, elsewhere)
	if _, err := s.client(t, exchange.WithSVIDDir(dir)).Token(t.Context(), ledger); !errors.Is(err, exchange.ErrUnavailable) || !contains(err.Error(), "other.example") {
		t.Error(err)
	}
}

// An SVID that has run out is no proof: nobody is asked, and the error says why.
func TestExpiredSVID(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	clock := newClock()
	c := s.client(t, exchange.WithClock(clock.now))
	must(t, c, ledger)
	clock.add(25 * time.Hour)
	_, err := c.Token(t.Context(), ledger)
	if !errors.Is(err, exchange.ErrUnavailable) || !contains(err.Error(), "expired at") || len(s.exchanges()) != 1 {
		t.Errorf("%v after %d", err, len(s.exchanges()))
	}
}

// A source that gives half an SVID gives none.
func TestHalfAnSVID(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	for name, half := range map[string]*x509svid.SVID{
		"no certificate": {ID: s.id, PrivateKey: s.source.svid.PrivateKey},
		"no key":         {ID: s.id, Certificates: s.source.svid.Certificates},
	} {
		odd := &source{ca: s.ca, svid: half, bundle: s.source.bundle}
		c, err := exchange.New(t.Context(), s.options(exchange.WithSource(odd, odd))...)
		if err == nil {
			_ = c.Close()
		}
		if err == nil || !contains(err.Error(), "no SVID") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := exchange.New(t.Context(), s.options(exchange.WithSource(nil, s.source))...); err == nil || !contains(err.Error(), "WithSource") {
		t.Error(err)
	}
}

// While the source is away, what it gave is used as long as it lives.
func TestSourceAway(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	clock := newClock()
	c := s.client(t, exchange.WithClock(clock.now))
	must(t, c, ledger)
	s.source.mu.Lock()
	s.source.err = errors.New("agent away")
	s.source.mu.Unlock()
	clock.add(time.Hour)
	must(t, c, ledger)
	if len(s.exchanges()) != 2 {
		t.Error("not renewed")
	}
	clock.add(24 * time.Hour)
	if _, err := c.Token(t.Context(), ledger); err == nil || !contains(err.Error(), "agent away") {
		t.Error(err)
	}
}

// A token that is bound to a certificate ends with it; any other does not.
func TestTokenOutlivesItsSVID(t *testing.T) {
	t.Parallel()
	for name, bound := range map[string]bool{"bound": true, "not bound": false} {
		s := newWorld(t, false)
		s.set(func() { s.bound = bound })
		s.source.rotate(t, time.Minute)
		clock := newClock()
		c := s.client(t, exchange.WithClock(clock.now))
		must(t, c, ledger)
		clock.add(59 * time.Second)
		must(t, c, ledger)
		clock.add(2 * time.Second)
		if _, err := c.Token(t.Context(), ledger); (err != nil) != bound {
			t.Errorf("%s: %v", name, err)
		}
	}
}
