package keys

import (
	"context"
	"crypto"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/store"
)

// The purposes and states of a row, as they are stored.
const (
	purposeSign  = "sign"
	purposeFacts = "facts"
	algorithmGCM = "A256GCM"

	statePending = "pending"
	stateActive  = "active"
	stateRetired = "retired"
	stateGone    = "gone"
)

// slack is added to the time that a retired key stays published: clock skew,
// and a replica that signs until its lease ends.
const slack = 2 * time.Minute

// Config says what a ring stands on.
type Config struct {
	Store       store.Keys
	KEK         KEK
	Now         func() time.Time
	PublishLead time.Duration // how long a key is published before it signs
	RotateEvery time.Duration // age at which a key is replaced
	TTLCap      time.Duration // longest life of a token
	MaxAge      time.Duration // how long verifiers may cache the JWKS
}

// Ring is the key ring of a replica, in memory. Reading it takes no lock.
type Ring struct {
	config  Config
	current atomic.Pointer[state]
}

// state is the ring as of one reading of the store.
type state struct {
	entries    []*entry
	bad        []error
	jwks       []byte
	algorithms []string // of the keys in jwks
	etag       string
	until      time.Time // when a retired key leaves jwks by itself
}

type entry struct {
	row    store.KeyRow
	signer *jws.Signer // signing keys
	aead   cipher.AEAD // the facts key
}

// New returns an empty ring; Refresh fills it.
func New(c Config) *Ring {
	r := &Ring{config: c}
	r.current.Store(&state{})
	return r
}

// Refresh reads the rows. One that cannot be opened is left out and reported by
// Status; the others serve.
func (r *Ring) Refresh(ctx context.Context) error {
	rows, err := r.config.Store.ListKeys(ctx)
	if err != nil {
		return fmt.Errorf("refresh keys: %w", err)
	}
	old := r.current.Load()
	next := &state{}
	for i := range rows {
		if rows[i].State == stateGone {
			continue
		}
		e, err := r.open(&rows[i], old)
		if err != nil {
			next.bad = append(next.bad, fmt.Errorf("key %s: %w", rows[i].ID, err))
			continue
		}
		next.entries = append(next.entries, e)
	}
	if err := next.render(r, r.config.Now()); err != nil {
		return err
	}
	r.current.Store(next)
	return nil
}

// open decrypts a row and tests the key before it may be used. A key that was
// opened before is not opened again.
func (r *Ring) open(row *store.KeyRow, old *state) (*entry, error) {
	for _, e := range old.entries {
		if e.row.ID == row.ID && slices.Equal(e.row.Wrapped, row.Wrapped) && e.row.Algorithm == row.Algorithm && e.row.Purpose == row.Purpose {
			return &entry{row: *row, signer: e.signer, aead: e.aead}, nil
		}
	}
	plain, err := r.config.KEK.unwrap(row)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	switch row.Purpose {
	case purposeFacts:
		aead, err := newAEAD(plain)
		return &entry{row: *row, aead: aead}, err
	case purposeSign:
		parsed, err := x509.ParsePKCS8PrivateKey(plain)
		if err != nil {
			return nil, errWrapped
		}
		private, ok := parsed.(crypto.Signer)
		if !ok {
			return nil, errWrapped
		}
		id, err := jws.Thumbprint(private.Public())
		if err != nil || id != row.ID {
			return nil, errors.New("the key is not the one that its id names")
		}
		signer, err := jws.NewSigner(row.ID, jws.Algorithm(row.Algorithm), private)
		if err != nil {
			return nil, err
		}
		return &entry{row: *row, signer: signer}, signer.SelfTest()
	}
	return nil, fmt.Errorf("purpose %q is unknown to this program", row.Purpose)
}

// generate makes a private key of an algorithm that we sign with.
func generate(algorithm string) (crypto.Signer, error) {
	switch jws.Algorithm(algorithm) {
	case jws.ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jws.EdDSA:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case jws.RS256, jws.PS256:
		return rsa.GenerateKey(rand.Reader, 2048)
	}
	return nil, fmt.Errorf("no keys are made for algorithm %q", algorithm)
}

// newRow makes a key and its row in the given state.
func (r *Ring) newRow(algorithm, state string, now time.Time) (store.KeyRow, error) {
	private, err := generate(algorithm)
	if err != nil {
		return store.KeyRow{}, err
	}
	id, err := jws.Thumbprint(private.Public())
	if err != nil {
		return store.KeyRow{}, err
	}
	plain, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return store.KeyRow{}, err
	}
	defer clear(plain)
	key, err := jws.NewKey(id, jws.Algorithm(algorithm), private.Public())
	if err != nil {
		return store.KeyRow{}, err
	}
	public, err := jws.MarshalKeySet([]jws.Key{key})
	if err != nil {
		return store.KeyRow{}, err
	}
	row := store.KeyRow{ID: id, Purpose: purposeSign, Algorithm: algorithm, State: state, Version: 1, Public: public, CreatedAt: now, PublishedAt: now}
	if state == stateActive {
		row.ActivatedAt = now
	}
	row.Wrapped = r.config.KEK.wrap(plain, &row)
	return row, nil
}

// Ensure makes the first key of an algorithm if there is none. It signs at
// once. Of several replicas that do so together one succeeds, and all use it.
func (r *Ring) Ensure(ctx context.Context, algorithm string) error {
	if slices.ContainsFunc(r.current.Load().entries, func(e *entry) bool { return e.signer != nil && e.row.Algorithm == algorithm }) {
		return nil
	}
	expect, err := r.count(ctx, purposeSign, algorithm)
	if err != nil || expect < 0 {
		return err
	}
	row, err := r.newRow(algorithm, stateActive, r.config.Now())
	if err != nil {
		return err
	}
	return r.insert(ctx, row, expect)
}

// EnsureSealer makes the key that seals facts if there is none.
func (r *Ring) EnsureSealer(ctx context.Context) error {
	if r.sealer() != nil {
		return nil
	}
	expect, err := r.count(ctx, purposeFacts, algorithmGCM)
	if err != nil || expect < 0 {
		return err
	}
	var raw [32]byte
	id := make([]byte, 16)
	_, _ = rand.Read(raw[:]) // it never fails
	_, _ = rand.Read(id)
	now := r.config.Now()
	row := store.KeyRow{ID: hex.EncodeToString(id), Purpose: purposeFacts, Algorithm: algorithmGCM, State: stateActive, Version: 1, CreatedAt: now, PublishedAt: now, ActivatedAt: now}
	row.Wrapped = r.config.KEK.wrap(raw[:], &row)
	return r.insert(ctx, row, expect)
}

// count returns how many rows of a kind there ever were, or -1 if one of them
// is in use: it is only not in this ring yet, or cannot be opened, and making
// another would hide that.
func (r *Ring) count(ctx context.Context, purpose, algorithm string) (int, error) {
	rows, err := r.config.Store.ListKeys(ctx)
	if err != nil {
		return 0, fmt.Errorf("count keys: %w", err)
	}
	n, used := 0, false
	for i := range rows {
		if rows[i].Purpose == purpose && rows[i].Algorithm == algorithm {
			n++
			used = used || rows[i].State != stateGone
		}
	}
	if used {
		return -1, r.Refresh(ctx)
	}
	return n, nil
}

func (r *Ring) insert(ctx context.Context, row store.KeyRow, expect int) error {
	err := r.config.Store.InsertKey(ctx, row, expect)
	if err != nil && broker.AsError(err).Code != broker.CodeConflict {
		return fmt.Errorf("make key: %w", err)
	}
	return r.Refresh(ctx)
}

// Signer returns the signer of an algorithm: its active key, the newest where
// there are two. CodeUnavailable if there is none.
func (r *Ring) Signer(algorithm string) (*jws.Signer, error) {
	var found *entry
	for _, e := range r.current.Load().entries {
		if e.signer != nil && e.row.State == stateActive && e.row.Algorithm == algorithm && (found == nil || e.row.ActivatedAt.After(found.row.ActivatedAt)) {
			found = e
		}
	}
	if found == nil {
		return nil, broker.Unavailable(broker.ReasonSignerUnavailable, 2*time.Second, fmt.Errorf("no active key for %s", algorithm))
	}
	return found.signer, nil
}

// SignerByID returns the signer of a key that may still sign: one that is
// active.
func (r *Ring) SignerByID(id string) (*jws.Signer, error) {
	for _, e := range r.current.Load().entries {
		if e.signer != nil && e.row.ID == id && e.row.State == stateActive {
			return e.signer, nil
		}
	}
	return nil, broker.Unavailable(broker.ReasonSignerUnavailable, 2*time.Second, errors.New("the key may no longer sign"))
}
