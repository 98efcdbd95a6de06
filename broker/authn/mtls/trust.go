package mtls

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// Trust holds the live bundles, one for each trust domain, never merged. Whoever
// learns of new ones calls Set; requests read them by one atomic load. The zero
// value is ready for use and trusts nobody.
type Trust struct {
	mu      sync.Mutex // orders writers; readers take no lock
	current atomic.Pointer[bundles]
}

// bundles are all bundles at one generation. They never change.
type bundles struct {
	generation uint64 // from 1
	domains    map[spiffeid.TrustDomain]authorities
}

// authorities are what one trust domain trusts.
type authorities struct {
	list []*x509.Certificate // sorted, without repetition
	pool *x509.CertPool
}

// Set replaces all bundles at once and returns what an operator should hear of,
// in words: what it had to leave out, and CA keys that trust domains share. A
// trust domain that is not named, or whose list is empty, trusts nobody from now
// on. The generation moves only if something did, so that the same news twice
// costs no connection a verification.
func (t *Trust) Set(domains map[spiffeid.TrustDomain][]*x509.Certificate) []string {
	next := &bundles{domains: make(map[spiffeid.TrustDomain]authorities, len(domains))}
	var odd []string
	for domain, list := range domains {
		if err := broker.CheckTrustDomain(domain.Name()); err != nil {
			odd = append(odd, err.Error())
			continue
		}
		a, unfit := newAuthorities(list)
		if next.domains[domain] = a; unfit > 0 {
			odd = append(odd, fmt.Sprintf("trust domain %q: %d certificates of its bundle are not of a CA and are left out", domain, unfit))
		}
	}
	odd = append(odd, next.sharedKeys()...)
	slices.Sort(odd)

	t.mu.Lock()
	defer t.mu.Unlock()
	last := t.load()
	if maps.EqualFunc(last.domains, next.domains, authorities.equal) {
		return odd
	}
	next.generation = last.generation + 1
	t.current.Store(next)
	return odd
}

// Generation returns how often the bundles have changed; 0 means that there have
// been none yet.
func (t *Trust) Generation() uint64 { return t.load().generation }

// Authorities returns how many CA certificates a trust domain has.
func (t *Trust) Authorities(domain spiffeid.TrustDomain) int {
	return len(t.load().domains[domain].list)
}

func (t *Trust) load() *bundles {
	if b := t.current.Load(); b != nil {
		return b
	}
	return &bundles{}
}

// newAuthorities keeps what may sign, and counts the rest: a certificate that is
// not a CA's would otherwise vouch for itself, for a verifier asks no more of a
// root than to be in the pool.
func newAuthorities(list []*x509.Certificate) (a authorities, unfit int) {
	a.pool = x509.NewCertPool()
	for _, c := range list {
		if c == nil || !c.BasicConstraintsValid || !c.IsCA {
			unfit++
			continue
		}
		a.list = append(a.list, c)
		a.pool.AddCert(c)
	}
	slices.SortFunc(a.list, func(x, y *x509.Certificate) int { return bytes.Compare(x.Raw, y.Raw) })
	a.list = slices.CompactFunc(a.list, (*x509.Certificate).Equal)
	return a, unfit
}

func (a authorities) equal(b authorities) bool {
	return slices.EqualFunc(a.list, b.list, (*x509.Certificate).Equal)
}

// sharedKeys tells of CA keys in the bundles of several trust domains. Each SVID
// still counts only for the trust domain that it names, but whoever holds such a
// key can name any of them (standards SB-8).
func (b *bundles) sharedKeys() []string {
	holders := map[[sha256.Size]byte][]string{}
	for domain, a := range b.domains {
		for _, c := range a.list {
			key := sha256.Sum256(c.RawSubjectPublicKeyInfo)
			if !slices.Contains(holders[key], domain.Name()) {
				holders[key] = append(holders[key], domain.Name())
			}
		}
	}
	var shared []string
	for key, names := range holders {
		if len(names) > 1 {
			slices.Sort(names)
			shared = append(shared, fmt.Sprintf("trust domains %s share the CA key with SHA-256 %s", strings.Join(names, ", "), hex.EncodeToString(key[:])))
		}
	}
	return shared
}
