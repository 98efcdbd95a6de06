package keys

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/cambist/cambist/broker/jws"
)

// Key returns the public key by which a token of ours is verified: any that is
// published.
func (r *Ring) Key(id string, now time.Time) (jws.Key, bool) {
	for _, e := range r.current.Load().entries {
		if e.signer != nil && e.row.ID == id && r.published(e, now) {
			return e.signer.Key(), true
		}
	}
	return jws.Key{}, false
}

// published reports whether a key stands in the JWKS.
func (r *Ring) published(e *entry, now time.Time) bool {
	return e.row.State != stateRetired || now.Before(r.leaves(e))
}

// leaves returns when a retired key leaves the JWKS: when its last token has
// expired in every cache.
func (r *Ring) leaves(e *entry) time.Time {
	return e.row.RetiredAt.Add(r.config.TTLCap + r.config.MaxAge + slack)
}

// JWKS returns the key set as it is published now, with its entity tag; nil
// before the first Refresh, when it is not known: an empty set would tell
// verifiers that every key is gone.
func (r *Ring) JWKS(now time.Time) (body []byte, etag string) {
	s := r.current.Load()
	if !s.until.IsZero() && !now.Before(s.until) {
		again := *s
		if again.render(r, now) == nil {
			r.current.CompareAndSwap(s, &again)
			s = &again
		}
	}
	return s.jwks, s.etag
}

func (s *state) render(r *Ring, now time.Time) error {
	var public []jws.Key
	s.until, s.algorithms = time.Time{}, nil
	for _, e := range s.entries {
		if e.signer == nil || !r.published(e, now) {
			continue
		}
		public = append(public, e.signer.Key())
		s.algorithms = append(s.algorithms, e.row.Algorithm)
		if end := r.leaves(e); e.row.State == stateRetired && (s.until.IsZero() || end.Before(s.until)) {
			s.until = end
		}
	}
	body, err := jws.MarshalKeySet(public)
	if err != nil {
		return fmt.Errorf("render key set: %w", err)
	}
	slices.Sort(s.algorithms)
	s.algorithms = slices.Compact(s.algorithms)
	sum := sha256.Sum256(body)
	s.jwks, s.etag = body, `"`+hex.EncodeToString(sum[:8])+`"`
	return nil
}

// Algorithms returns the algorithms of the signing keys that are published,
// sorted.
func (r *Ring) Algorithms() []string { return r.current.Load().algorithms }

// KeyStatus is one key as an operator sees it.
type KeyStatus struct {
	ID          string
	Purpose     string
	Algorithm   string
	State       string
	ActivatedAt time.Time
}

// Status returns every key that serves, oldest first, and why others do not.
func (r *Ring) Status() ([]KeyStatus, []error) {
	s := r.current.Load()
	list := make([]KeyStatus, 0, len(s.entries))
	for _, e := range s.entries {
		list = append(list, KeyStatus{e.row.ID, e.row.Purpose, e.row.Algorithm, e.row.State, e.row.ActivatedAt})
	}
	slices.SortStableFunc(list, func(a, b KeyStatus) int { return cmp.Compare(a.Purpose, b.Purpose) })
	return list, s.bad
}
