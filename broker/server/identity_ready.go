package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Ready returns what keeps us from serving, in words for an operator, or nil. It
// speaks up before our SVID ends, when a fifth of its life is left, so that others
// can take over. A bundle that fails counts if it is that of our own trust domain,
// or if there is no other: one foreign trust domain must not take the service from
// all (the log tells of it).
func (i *identity) Ready(now time.Time) error {
	h := i.health.Load()
	if h == nil {
		return errors.New("identity: the source was not asked yet")
	}
	var errs []error
	if err := i.svidReady(now); err != nil {
		if h.svidErr != nil {
			err = fmt.Errorf("%w (%w)", err, h.svidErr)
		}
		errs = append(errs, err)
	}
	own := i.own.Load()
	for _, name := range slices.Sorted(maps.Keys(h.unfit)) {
		if h.fit == 0 || own != nil && own.ID.TrustDomain().Name() == name {
			errs = append(errs, fmt.Errorf("trust domain %q trusts nobody: %w", name, h.unfit[name]))
		}
	}
	if h.fit == 0 && len(h.unfit) == 0 {
		errs = append(errs, errors.New("there is no bundle of any trust domain yet"))
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("identity: %w", errors.Join(errs...))
}

func (i *identity) svidReady(now time.Time) error {
	own := i.own.Load()
	if own == nil {
		return errNoSVID
	}
	leaf := own.Certificates[0]
	left, life := leaf.NotAfter.Sub(now), leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case left <= 0:
		return fmt.Errorf("our SVID expired at %s", leaf.NotAfter.UTC().Format(time.RFC3339))
	case left*5 < life:
		return fmt.Errorf("our SVID ends at %s and has not been renewed: less than a fifth of its life is left", leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return nil
}
