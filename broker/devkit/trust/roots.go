package trust

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cambist/cambist/broker/jws"
)

// root is one root of a trust domain: a certificate that signs others, and a key
// that signs JWT-SVIDs. Both come and go together.
type root struct {
	authority
	jwtKey crypto.Signer
	jwt    *jws.Signer // the same key, as it signs
}

// rootSet are the roots at one time. It never changes.
type rootSet struct {
	signing *root
	old     []*root // signed once, are still believed; the oldest first
	next    *root   // is believed, signs nothing yet; nil for none
}

// all returns the roots that are believed, in the order in which they were made.
func (s *rootSet) all() []*root {
	list := append(slices.Clone(s.old), s.signing)
	if s.next != nil {
		list = append(list, s.next)
	}
	return list
}

func certificates(list []*root) []*x509.Certificate {
	certificates := make([]*x509.Certificate, len(list))
	for i, r := range list {
		certificates[i] = r.path[0]
	}
	return certificates
}

// roots holds the roots of a CA and of those below it.
type roots struct {
	mu      sync.Mutex // guards what follows
	now     *rootSet
	changed chan struct{} // closed when there is another set
	dir     string        // where they are kept, "" for nowhere
}

func newRoots(signing *root, old ...*root) *roots {
	return &roots{now: &rootSet{signing: signing, old: old}, changed: make(chan struct{})}
}

func (r *roots) current() *rootSet {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.now
}

// change puts another set in place. If it cannot be kept, nothing has changed.
func (r *roots) change(next func(rootSet) (rootSet, error)) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	set, err := next(*r.now)
	if err != nil {
		return err
	}
	if r.dir != "" {
		if err := set.replace(r.dir); err != nil {
			return fmt.Errorf("development CA: %w", err)
		}
	}
	r.now = &set
	close(r.changed)
	r.changed = make(chan struct{})
	return nil
}

// AddRoot makes a new root and adds it to the bundles. It signs nothing before
// UseRoot, so that whoever verifies can hear of it first. In a folder a root is
// kept from UseRoot on; another process that has the folder open hears of it when
// it opens it again.
func (c *CA) AddRoot() error {
	return c.roots.change(func(s rootSet) (rootSet, error) {
		if s.next != nil {
			return s, errors.New("development CA: there is a new root already that signs nothing yet")
		}
		var err error
		s.next, err = c.newRoot()
		return s, err
	})
}

// UseRoot lets the root that was added sign from now on. The one before stays in
// the bundles, so that what it signed stays good.
func (c *CA) UseRoot() error {
	return c.roots.change(func(s rootSet) (rootSet, error) {
		if s.next == nil {
			return s, errors.New("development CA: there is no new root to use")
		}
		return rootSet{signing: s.next, old: append(slices.Clone(s.old), s.signing)}, nil
	})
}

// DropRoots takes the roots that have signed before out of the bundles: what they
// signed is worth nothing any more.
func (c *CA) DropRoots() error {
	return c.roots.change(func(s rootSet) (rootSet, error) {
		if len(s.old) == 0 {
			return s, errors.New("development CA: there is no old root to drop")
		}
		s.old = nil
		return s, nil
	})
}

// Changed returns a channel that is closed at the next change of the roots: a
// bundle has changed then, or which root signs. Who takes it before looking at
// either misses nothing.
func (c *CA) Changed() <-chan struct{} {
	c.roots.mu.Lock()
	defer c.roots.mu.Unlock()
	return c.roots.changed
}

// newRoot makes a root.
func (c *CA) newRoot() (*root, error) {
	certificate, key, err := c.sign(c.template("root"), nil)
	if err != nil {
		return nil, err
	}
	jwtKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	return makeRoot(certificate, key, jwtKey)
}

// makeRoot puts a root together from its parts.
func makeRoot(certificate *x509.Certificate, key, jwtKey crypto.Signer) (*root, error) {
	thumbprint, err := jws.Thumbprint(jwtKey.Public())
	if err != nil {
		return nil, err
	}
	signer, err := jws.NewSigner(keyIDPrefix+thumbprint, jws.ES256, jwtKey)
	if err != nil {
		return nil, err
	}
	return &root{authority: authority{key: key, path: []*x509.Certificate{certificate}}, jwtKey: jwtKey, jwt: signer}, nil
}
