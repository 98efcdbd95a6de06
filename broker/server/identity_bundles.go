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

// foundBundle is a bundle as the source has it, or why it cannot be read.
type foundBundle struct {
	authorities []*x509.Certificate
	err         error
}

var errBundleUnfit = errors.New("its bundle has no CA certificate")

// usable returns why a bundle cannot be used. An empty one counts as a slip too,
// at first.
func (f foundBundle) usable() error {
	if f.err != nil {
		return f.err
	}
	if !slices.ContainsFunc(f.authorities, func(c *x509.Certificate) bool { return c.IsCA }) {
		return errBundleUnfit
	}
	return nil
}

// bundleKeeper remembers the bundle of each trust domain that the source speaks
// of. It merges none with another, and forgets at once what is not spoken of.
type bundleKeeper map[spiffeid.TrustDomain]*keptBundle

type keptBundle struct {
	good  []*x509.Certificate // the last that could be used, nil if none ever could
	err   error               // why the present one cannot
	since time.Time           // when that began
}

func (k bundleKeeper) observe(found map[spiffeid.TrustDomain]foundBundle, now time.Time) {
	for domain := range k {
		if _, ok := found[domain]; !ok {
			delete(k, domain)
		}
	}
	for domain, f := range found {
		err := f.usable()
		b := k[domain]
		switch {
		case err == nil:
			k[domain] = &keptBundle{good: f.authorities}
		case b == nil:
			k[domain] = &keptBundle{err: err, since: now}
		case b.err == nil:
			b.err, b.since = err, now
		default:
			b.err = err
		}
	}
}

// current returns what each trust domain trusts at this time, and what is amiss
// with the bundle of which, whether or not an older one still stands in for it.
func (k bundleKeeper) current(now time.Time) (lists map[spiffeid.TrustDomain][]*x509.Certificate, unfit map[spiffeid.TrustDomain]error) {
	lists = make(map[spiffeid.TrustDomain][]*x509.Certificate, len(k))
	unfit = map[spiffeid.TrustDomain]error{}
	for domain, b := range k {
		lists[domain] = b.good
		if b.err == nil {
			continue
		}
		over := b.since.Add(bundleGrace)
		unfit[domain] = fmt.Errorf("%w (since %s; the last good one counts until %s)", b.err, b.since.UTC().Format(time.RFC3339), over.UTC().Format(time.RFC3339))
		if b.good == nil {
			unfit[domain] = b.err
		}
		if !now.Before(over) {
			lists[domain] = nil
		}
	}
	return lists, unfit
}
