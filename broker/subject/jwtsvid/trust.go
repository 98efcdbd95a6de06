package jwtsvid

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/jws"
)

// Trust holds the live JWT bundles, one for each trust domain, never merged.
// Whoever learns of new ones calls Set; requests read them by one atomic load. The
// zero value is ready for use and trusts nobody.
type Trust struct {
	current atomic.Pointer[map[spiffeid.TrustDomain]jws.KeySet]
}

// Set replaces all bundles at once and returns what an operator should hear of, in
// words: keys that trust domains share. A trust domain that is not named, or whose
// list is empty, signs nothing from now on.
func (t *Trust) Set(domains map[spiffeid.TrustDomain][]jws.Key) []string {
	next := make(map[spiffeid.TrustDomain]jws.KeySet, len(domains))
	for domain, keys := range domains {
		next[domain] = jws.NewKeySet(keys...)
	}
	t.current.Store(&next)
	return sharedKeys(domains)
}

// Keys implements Bundles.
func (t *Trust) Keys(domain spiffeid.TrustDomain) (jws.KeySet, bool) {
	current := t.current.Load()
	if current == nil {
		return jws.KeySet{}, false
	}
	keys, ok := (*current)[domain]
	return keys, ok
}

// sharedKeys tells of keys in the bundles of several trust domains. Each JWT-SVID
// still counts only for the trust domain that it names, but whoever holds such a
// key can name any of them (standards SB-8).
func sharedKeys(domains map[spiffeid.TrustDomain][]jws.Key) []string {
	holders := map[string]map[string]bool{}
	for domain, keys := range domains {
		for _, k := range keys {
			thumbprint, err := jws.Thumbprint(k.Public())
			if err != nil {
				continue // the zero Key, which verifies nothing
			}
			if holders[thumbprint] == nil {
				holders[thumbprint] = map[string]bool{}
			}
			holders[thumbprint][domain.Name()] = true
		}
	}
	var shared []string
	for thumbprint, names := range holders {
		if len(names) > 1 {
			shared = append(shared, fmt.Sprintf("trust domains %s share the JWT key with the thumbprint %s",
				strings.Join(slices.Sorted(maps.Keys(names)), ", "), thumbprint))
		}
	}
	slices.Sort(shared)
	return shared
}
