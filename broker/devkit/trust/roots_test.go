package trust_test

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/devkit/trust"
)

// verifies reports whether an SVID is good by the bundle of the CA as it is now.
func verifies(ca *trust.CA, svid *x509svid.SVID) bool {
	id, _, err := x509svid.Verify(svid.Certificates, ca.Bundle(), x509svid.WithTime(start))
	return err == nil && id == web
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A new root is believed before it signs, and an old one as long as it is there:
// there is no time at which an SVID of now or of the step before does not verify.
func TestRootsAreReplaced(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	below, err := ca.Intermediate()
	must(t, err)
	first, firstBelow := newSVID(t, ca), newSVID(t, below)
	root := ca.Bundle().X509Authorities()[0]

	must(t, ca.AddRoot())
	added := newSVID(t, ca)
	if n := len(ca.Bundle().X509Authorities()); n != 2 || !verifies(ca, first) || !verifies(ca, added) {
		t.Errorf("added: %d roots", n)
	}
	if err := added.Certificates[0].CheckSignatureFrom(root); err != nil {
		t.Errorf("the new root signs before it is used: %v", err)
	}

	believed := ca.Bundle()
	must(t, ca.UseRoot())
	if !ca.Bundle().Equal(believed) {
		t.Error("which root signs is not in a bundle")
	}
	used := newSVID(t, ca)
	if n := len(ca.Bundle().X509Authorities()); n != 2 || !verifies(ca, first) || !verifies(ca, used) || !verifies(ca, firstBelow) {
		t.Errorf("used: %d roots", n)
	}
	if err := used.Certificates[0].CheckSignatureFrom(root); err == nil {
		t.Error("the old root still signs")
	}

	must(t, ca.DropRoots())
	if n := len(below.Bundle().X509Authorities()); n != 1 || verifies(ca, first) || verifies(ca, added) || verifies(ca, firstBelow) || !verifies(ca, used) {
		t.Errorf("dropped: %d roots", n)
	}
}

// One step is not taken for another, and one that is refused changes nothing.
func TestStepsInOrder(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	changed := ca.Changed()
	for name, step := range map[string]func() error{"use": ca.UseRoot, "drop": ca.DropRoots} {
		if err := step(); err == nil {
			t.Errorf("%s: nothing was added", name)
		}
	}
	if ca.Changed() != changed {
		t.Error("a refusal is told as a change")
	}
	must(t, ca.AddRoot())
	before := ca.Bundle()
	if err := ca.AddRoot(); err == nil || !ca.Bundle().Equal(before) {
		t.Errorf("two new roots: %v", err)
	}
	if err := ca.DropRoots(); err == nil || !ca.Bundle().Equal(before) {
		t.Errorf("the new root is dropped: %v", err)
	}
	must(t, ca.UseRoot())
	if err := ca.UseRoot(); err == nil {
		t.Error("an old root is used again")
	}
	must(t, ca.AddRoot())
	must(t, ca.UseRoot())
	if n := len(ca.Bundle().X509Authorities()); n != 3 {
		t.Errorf("%d roots, want 3", n)
	}
	must(t, ca.AddRoot())
	before = ca.Bundle()
	must(t, ca.UseRoot())
	if !ca.Bundle().Equal(before) {
		t.Error("the roots are in another order")
	}
	must(t, ca.AddRoot())
	must(t, ca.DropRoots())
	if n := len(ca.Bundle().X509Authorities()); n != 2 {
		t.Errorf("%d roots, want the one that signs and the new one", n)
	}
}

// Whoever waits for a change hears of each one.
func TestChanged(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	below, err := ca.Intermediate()
	must(t, err)
	for _, step := range []func() error{ca.AddRoot, below.UseRoot, ca.DropRoots} {
		changed := below.Changed()
		select {
		case <-changed:
			t.Fatal("nothing has changed yet")
		default:
		}
		must(t, step())
		<-changed
	}
}

// A folder keeps the roots that have signed and their keys; one that was never
// used is forgotten with the process.
func TestFolderKeepsRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func() *trust.CA {
		t.Helper()
		ca, err := trust.Open(dir, domain, at(start))
		must(t, err)
		return ca
	}
	ca := open()
	first := newSVID(t, ca)
	must(t, ca.AddRoot())
	if n := len(open().Bundle().X509Authorities()); n != 1 {
		t.Errorf("%d roots are kept of one that signs", n)
	}
	must(t, ca.UseRoot())
	again := open()
	if !again.Bundle().Equal(ca.Bundle()) || !again.JWTBundle().Equal(ca.JWTBundle()) || !verifies(again, first) || !verifies(again, newSVID(t, ca)) {
		t.Error("a root is lost")
	}
	used := newSVID(t, again)
	must(t, again.DropRoots())
	last := open()
	if verifies(last, first) || !verifies(last, used) || !verifies(ca, newSVID(t, last)) {
		t.Error("it is not the old root that is dropped")
	}
	written, err := x509bundle.Load(domain, filepath.Join(dir, "ca.pem"))
	if err != nil || !written.Equal(last.Bundle()) {
		t.Errorf("ca.pem is not the bundle, %v", err)
	}
	wantModes(t, dir, map[string]os.FileMode{"ca.pem": 0o644, "ca-key.pem": 0o600})
}

// ca.pem has every root that is believed, the new one too: that is what it is for.
func TestFolderShowsNewRoot(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, err := trust.Open(dir, domain, at(start))
	must(t, err)
	must(t, ca.AddRoot())
	written, err := x509bundle.Load(domain, filepath.Join(dir, "ca.pem"))
	if err != nil || !written.Equal(ca.Bundle()) {
		t.Errorf("ca.pem is not the bundle, %v", err)
	}
}

// A change that cannot be kept does not happen.
func TestChangeThatCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "ca")
	ca, err := trust.Open(dir, domain, at(start))
	must(t, err)
	before, changed := ca.Bundle(), ca.Changed()
	must(t, os.RemoveAll(dir))
	if err := ca.AddRoot(); err == nil || !ca.Bundle().Equal(before) || ca.Changed() != changed {
		t.Errorf("it happened: %v", err)
	}
}

// An old root may end while it is kept; the one that signs may not.
func TestOldRootExpires(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	now := start
	ca, err := trust.Open(dir, domain, func() time.Time { return now })
	must(t, err)
	now = start.Add(300 * 24 * time.Hour)
	must(t, ca.AddRoot())
	must(t, ca.UseRoot())
	if _, err := trust.Open(dir, domain, at(start.Add(400*24*time.Hour))); err != nil {
		t.Error(err)
	}
	if _, err := trust.Open(dir, domain, at(start.Add(700*24*time.Hour))); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("%v", err)
	}
}

// A certificate that would have ended before anybody sees it is not made.
func TestNoLifeLeft(t *testing.T) {
	t.Parallel()
	now := start
	ca, err := trust.New(domain, func() time.Time { return now })
	must(t, err)
	if _, err := ca.SVID(web, time.Second-1); err == nil {
		t.Error("an SVID that ends as it begins: a certificate counts in seconds")
	}
	now = start.Add(365 * 24 * time.Hour)
	if svid, err := ca.SVID(web, time.Hour); err == nil {
		t.Errorf("an SVID of a root that has ended, until %v", svid.Certificates[0].NotAfter)
	}
}

// Issuing and replacing go on at once.
func TestAtOnce(t *testing.T) {
	t.Parallel()
	ca := newCA(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if svid, err := ca.SVID(web, time.Hour); err != nil || svid.ID != web {
					t.Error(err)
				}
				if _, err := ca.JWTSVID(web, []string{"a"}, time.Minute); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range 5 {
		must(t, ca.AddRoot())
		must(t, ca.UseRoot())
		must(t, ca.DropRoots())
	}
	wg.Wait()
	if !verifies(ca, newSVID(t, ca)) {
		t.Error("what is issued now does not verify now")
	}
}
