package trust_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/devkit/trust"
)

// A folder keeps its CA.
func TestOpenAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "dev", "ca")
	first, err := trust.Open(dir, domain, at(start))
	if err != nil {
		t.Fatal(err)
	}
	second, err := trust.Open(dir, domain, at(start.Add(time.Hour)))
	if err != nil || !second.Bundle().Equal(first.Bundle()) {
		t.Fatalf("another CA, %v", err)
	}
	svid, err := second.SVID(web, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := x509svid.Verify(svid.Certificates, first.Bundle(), x509svid.WithTime(start.Add(time.Hour))); err != nil {
		t.Error(err)
	}
	root, err := x509bundle.Load(domain, filepath.Join(dir, "ca.pem"))
	if err != nil || !root.Equal(first.Bundle()) {
		t.Errorf("ca.pem is not the root, %v", err)
	}
	wantModes(t, dir, map[string]os.FileMode{"ca.pem": 0o644, "ca-key.pem": 0o600})
}

// wantModes also says that there is no other file: none that was left behind.
func wantModes(t *testing.T, dir string, want map[string]os.FileMode) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode, ok := want[e.Name()]; !ok || info.Mode().Perm() != mode {
			t.Errorf("%s has mode %o, want %o", e.Name(), info.Mode().Perm(), mode)
		}
	}
	if len(entries) != len(want) {
		t.Errorf("%d files, want %d", len(entries), len(want))
	}
}

// Several processes that make the CA at once get the same one.
func TestOpenAtOnce(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	cas := make([]*trust.CA, 16)
	var wg sync.WaitGroup
	for i := range cas {
		wg.Go(func() {
			var err error
			if cas[i], err = trust.Open(dir, domain, at(start)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, ca := range cas {
		if ca == nil || !ca.Bundle().Equal(cas[0].Bundle()) {
			t.Fatal("two CAs in one folder")
		}
	}
	wantModes(t, dir, map[string]os.FileMode{"ca.pem": 0o644, "ca-key.pem": 0o600})
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	other := spiffeid.RequireTrustDomainFromString("other.example")
	key := func(dir string) string { return filepath.Join(dir, "ca-key.pem") }
	write := func(text string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.WriteFile(key(dir), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	strangeKey := func(t *testing.T, dir string) {
		strange := t.TempDir()
		if _, err := trust.Open(strange, domain, at(start)); err != nil {
			t.Fatal(err)
		}
		write(block(t, key(dir), "CERTIFICATE")+block(t, key(strange), "PRIVATE KEY"))(t, dir)
	}
	// parts writes a file of some of the blocks that are there: 0 is the
	// certificate, 1 its key, 2 the key for JWT-SVIDs.
	parts := func(more string, which ...int) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			all := blocks(t, key(dir))
			var text string
			for _, n := range which {
				text += all[n]
			}
			write(text+more)(t, dir)
		}
	}
	const broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
	tests := map[string]struct {
		change func(t *testing.T, dir string)
		domain spiffeid.TrustDomain
		now    time.Time
		want   string
	}{
		"another trust domain": {func(*testing.T, string) {}, other, start, "not for the trust domain"},
		"its time is over":     {func(*testing.T, string) {}, domain, start.Add(366 * 24 * time.Hour), "expired"},
		"others may read it":   {func(t *testing.T, dir string) { chmod(t, key(dir), 0o640) }, domain, start, "may be read by others"},
		"empty":                {write(""), domain, start, "does not hold"},
		"broken certificate":   {write("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), domain, start, "malformed"},
		"broken key":           {parts(broken, 0), domain, start, "asn1"},
		"no certificate":       {parts("", 1, 2), domain, start, "does not hold"},
		"no key":               {parts("", 0), domain, start, "does not hold"},
		"two certificates":     {parts("", 0, 0), domain, start, "does not hold"},
		"no key for JWT-SVIDs": {parts("", 0, 1), domain, start, "does not hold"},
		"a key of ECDH":        {parts(ecdhKey(t), 0), domain, start, "does not hold"},
		"JWT-SVIDs by RSA":     {parts(otherKey(t), 0, 1), domain, start, "does not fit"},
		"half a second root":   {parts("", 0, 1, 2, 0), domain, start, "does not hold"},
		"text behind":          {parts("x", 0, 1, 2), domain, start, "does not hold"},
		"another's key":        {strangeKey, domain, start, "not that of the certificate"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			if _, err := trust.Open(dir, domain, at(start)); err != nil {
				t.Fatal(err)
			}
			tt.change(t, dir)
			if _, err := trust.Open(dir, tt.domain, at(tt.now)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	if _, err := trust.Open(filepath.Join(os.DevNull, "x"), domain, at(start)); err == nil {
		t.Error("opened below a file")
	}
}

// A CA that is not of this package is not used: its key may be worth something.
func TestOpenRefusesRealCA(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ca-key.pem"), realCA(t), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.Open(dir, domain, at(start)); err == nil || !strings.Contains(err.Error(), "not a development CA") {
		t.Errorf("%v", err)
	}
}

func TestWriteSVID(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	below, err := ca.Intermediate()
	if err != nil {
		t.Fatal(err)
	}
	svid := newSVID(t, below)
	dir := filepath.Join(t.TempDir(), "web")
	if err := trust.WriteSVID(dir, svid, ca.Bundle()); err != nil {
		t.Fatal(err)
	}
	wantModes(t, dir, map[string]os.FileMode{trust.SVIDFile: 0o644, trust.KeyFile: 0o600, trust.BundleFile: 0o644})
	loaded, err := x509svid.Load(filepath.Join(dir, trust.SVIDFile), filepath.Join(dir, trust.KeyFile))
	if err != nil {
		t.Fatal(err)
	}
	bundle, err := x509bundle.Load(domain, filepath.Join(dir, trust.BundleFile))
	if err != nil {
		t.Fatal(err)
	}
	if id, _, err := x509svid.Verify(loaded.Certificates, bundle, x509svid.WithTime(start)); err != nil || id != web {
		t.Errorf("%v, %v", id, err)
	}
	if err := trust.WriteSVID(filepath.Join(dir, trust.SVIDFile), svid, ca.Bundle()); err == nil {
		t.Error("written below a file")
	}
}

// A reader never finds a part of a file, however often it is written.
func TestWriteIsWhole(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	dir := t.TempDir()
	svids := []*x509svid.SVID{newSVID(t, ca), newSVID(t, ca)}
	if err := trust.WriteSVID(dir, svids[0], ca.Bundle()); err != nil {
		t.Fatal(err)
	}
	var over atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		defer over.Store(true)
		for i := range 200 {
			if err := trust.WriteSVID(dir, svids[i%2], ca.Bundle()); err != nil {
				t.Error(err)
			}
		}
	})
	for !over.Load() {
		if b, err := x509bundle.Load(domain, filepath.Join(dir, trust.BundleFile)); err != nil || !b.Equal(ca.Bundle()) {
			t.Fatalf("read a part: %v", err)
		}
	}
	wg.Wait()
}
