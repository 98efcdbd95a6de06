package keys

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Tick moves every key on by at most one state, by compare-and-swap: of several
// replicas one moves a key and the others see it moved. It works on rows read
// for the occasion, never on what this replica remembers.
func (r *Ring) Tick(ctx context.Context) error {
	rows, err := r.config.Store.ListKeys(ctx)
	if err != nil {
		return fmt.Errorf("rotate keys: %w", err)
	}
	now := r.config.Now()
	byAlgorithm := map[string][]store.KeyRow{}
	for _, row := range rows {
		if row.Purpose == purposeSign {
			byAlgorithm[row.Algorithm] = append(byAlgorithm[row.Algorithm], row)
		}
	}
	moved := false
	var errs []error
	for algorithm, ring := range byAlgorithm {
		did, err := r.rotate(ctx, algorithm, ring, now)
		moved = moved || did
		if err != nil && broker.AsError(err).Code != broker.CodeStale && broker.AsError(err).Code != broker.CodeConflict {
			errs = append(errs, err)
		}
	}
	if moved {
		errs = append(errs, r.Refresh(ctx))
	}
	return errors.Join(errs...)
}

// rotate moves the keys of one algorithm.
func (r *Ring) rotate(ctx context.Context, algorithm string, rows []store.KeyRow, now time.Time) (moved bool, err error) {
	var active, pending *store.KeyRow
	for i := range rows {
		switch row := &rows[i]; row.State {
		case stateActive:
			if active == nil || row.ActivatedAt.After(active.ActivatedAt) {
				active = row
			}
		case statePending:
			pending = row
		}
	}
	if active == nil {
		return false, nil // Ensure makes the first one
	}
	age := now.Sub(active.ActivatedAt)
	switch {
	case pending == nil && age >= r.config.RotateEvery-r.config.PublishLead:
		row, err := r.newRow(algorithm, statePending, now)
		if err != nil {
			return false, err
		}
		return true, r.config.Store.InsertKey(ctx, row, len(rows))
	case pending != nil && age >= r.config.RotateEvery && now.Sub(pending.PublishedAt) >= r.config.PublishLead:
		pending.State, pending.ActivatedAt = stateActive, now
		return true, r.step(ctx, pending)
	}
	for i := range rows {
		switch row := &rows[i]; {
		case row.State == stateActive && row.ID != active.ID:
			row.State, row.RetiredAt = stateRetired, now
			return true, r.step(ctx, row)
		case row.State == stateRetired && !now.Before(r.leaves(&entry{row: *row})):
			row.State, row.Wrapped = stateGone, []byte{} // and the private key with it
			return true, r.step(ctx, row)
		}
	}
	return false, nil
}

func (r *Ring) step(ctx context.Context, row *store.KeyRow) error {
	row.Version++
	return r.config.Store.UpdateKey(ctx, *row)
}

// sealer returns the key that seals facts: the newest active one.
func (r *Ring) sealer() *entry {
	var found *entry
	for _, e := range r.current.Load().entries {
		if e.aead != nil && e.row.State == stateActive && (found == nil || e.row.ActivatedAt.After(found.row.ActivatedAt)) {
			found = e
		}
	}
	return found
}

// idBytes is how much of a facts key's id stands before what it sealed.
const idBytes = 8

// Seal encrypts facts for the record. The additional data must be given to Open
// again, so that a sealed text cannot be moved to another row.
func (r *Ring) Seal(plain, additional []byte) ([]byte, error) {
	e := r.sealer()
	if e == nil {
		return nil, broker.Unavailable(broker.ReasonSignerUnavailable, 2*time.Second, errors.New("no key to seal facts"))
	}
	return e.aead.Seal([]byte(e.row.ID[:idBytes]), nil, plain, additional), nil
}

// errSealed says that sealed facts cannot be opened: by this ring, or for this
// row.
var errSealed = errors.New("sealed facts cannot be opened")

// Open decrypts what Seal made.
func (r *Ring) Open(sealed, additional []byte) ([]byte, error) {
	if len(sealed) < idBytes {
		return nil, errSealed
	}
	for _, e := range r.current.Load().entries {
		if e.aead == nil || e.row.ID[:idBytes] != string(sealed[:idBytes]) {
			continue
		}
		plain, err := e.aead.Open(nil, nil, sealed[idBytes:], additional)
		if err != nil {
			return nil, errSealed
		}
		return plain, nil
	}
	return nil, errSealed
}
