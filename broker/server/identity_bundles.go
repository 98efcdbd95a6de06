package server

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// bundleGrace is how long the last good bundle of a trust domain outlives one that
// cannot be used: long enough to ride out a slip, short enough to trust nobody
// rather than somebody who was perhaps meant to go.
const bundleGrace = 60 * time.Second

// found is what the source has of a trust domain, or why that cannot be used.
type found[T any] struct {
	bundle T
	err    error
}

// bundles are what the source has of every trust domain that it speaks of.
type bundles[T any] map[spiffeid.TrustDomain]found[T]

// authorities are the CA certificates of a trust domain.
type authorities = []*x509.Certificate

var errBundleUnfit = errors.New("its bundle has no CA certificate")

// foundAuthorities is what reading them gave. An empty list counts as a slip too,
// at first.
func foundAuthorities(list authorities, err error) found[authorities] {
	if err == nil && !slices.ContainsFunc(list, func(c *x509.Certificate) bool { return c.IsCA }) {
		err = errBundleUnfit
	}
	return found[authorities]{list, err}
}

// keeper remembers the bundle of each trust domain that the source speaks of. It
// merges none with another, and forgets at once what is not spoken of.
type keeper[T any] map[spiffeid.TrustDomain]*kept[T]

type kept[T any] struct {
	good  T         // the last that could be used, zero if none ever could
	ever  bool      // one could
	err   error     // why the present one cannot
	since time.Time // when that began
}

func (k keeper[T]) observe(found bundles[T], now time.Time) {
	for domain := range k {
		if _, ok := found[domain]; !ok {
			delete(k, domain)
		}
	}
	for domain, f := range found {
		b := k[domain]
		switch {
		case f.err == nil:
			k[domain] = &kept[T]{good: f.bundle, ever: true}
		case b == nil:
			k[domain] = &kept[T]{err: f.err, since: now}
		case b.err == nil:
			b.err, b.since = f.err, now
		default:
			b.err = f.err
		}
	}
}

// current returns what each trust domain trusts at this time, and what is amiss
// with the bundle of which, whether or not an older one still stands in for it.
func (k keeper[T]) current(now time.Time) (lists map[spiffeid.TrustDomain]T, unfit map[spiffeid.TrustDomain]error) {
	lists = make(map[spiffeid.TrustDomain]T, len(k))
	unfit = map[spiffeid.TrustDomain]error{}
	for domain, b := range k {
		lists[domain] = b.good
		if b.err == nil {
			continue
		}
		over := b.since.Add(bundleGrace)
		unfit[domain] = fmt.Errorf("%w (since %s; the last good one counts until %s)", b.err, b.since.UTC().Format(time.RFC3339), over.UTC().Format(time.RFC3339))
		if !b.ever {
			unfit[domain] = b.err
		}
		if !now.Before(over) {
			var none T
			lists[domain] = none
		}
	}
	return lists, unfit
}
