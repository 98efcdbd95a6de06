package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/keys"
	"github.com/cambist/cambist/broker/plan"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
)

// OfflineConfig says how to work on a store past the admin API.
type OfflineConfig struct {
	DSN      string
	KEKFile  string // "" leaves sealed facts sealed
	Policy   policy.Options
	Operator string // who says that they do it
}

// Offline works on a store without a server: break-glass. What it writes is
// recorded as such. It checks no right but those of the database.
type Offline struct {
	config OfflineConfig
	store  Store
	ring   *keys.Ring // nil without a key-encryption key
}

// breakGlass is the replica that records of Offline are of.
const breakGlass = "break-glass"

// OpenOffline opens a store. Errors are local (settings, files) or those of the
// store.
func OpenOffline(ctx context.Context, c OfflineConfig) (*Offline, error) {
	opened, err := OpenStore(ctx, c.DSN)
	if err != nil {
		return nil, err
	}
	if err := opened.Check(ctx); err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	o, err := NewOffline(opened, c)
	if err != nil {
		return nil, errors.Join(err, opened.Close())
	}
	return o, nil
}

// NewOffline works on a store that is open already; the DSN is not read.
func NewOffline(s Store, c OfflineConfig) (*Offline, error) {
	o := &Offline{config: c, store: s}
	if c.KEKFile == "" {
		return o, nil
	}
	kek, err := keys.ReadKEK(c.KEKFile)
	if err != nil {
		return nil, err
	}
	o.ring = keys.New(keys.Config{Store: s, KEK: kek, Now: time.Now})
	return o, nil
}

// Close closes the store.
func (o *Offline) Close() error { return o.store.Close() }

// Plan says what documents would change.
func (o *Offline) Plan(ctx context.Context, documents []policy.Document) (*plan.Plan, error) {
	return plan.Make(ctx, o.store, documents, o.config.Policy)
}

// Apply writes a plan as one revision, and records it.
func (o *Offline) Apply(ctx context.Context, p *plan.Plan, reason string) (broker.Revision, error) {
	now := time.Now()
	revision, err := p.Apply(ctx, o.store, plan.By{Author: o.config.Operator, Reason: reason, At: now})
	if err != nil || revision == p.Base {
		return revision, err
	}
	return revision, o.record(ctx, &broker.Record{Type: broker.RecordPolicy, At: now, Revision: revision, Detail: reason})
}

// BlockResult says what became of a block.
type BlockResult struct {
	Name     string
	Revision broker.Revision
}

// Block sets a block, under a name that is made up if it has none. It stands on
// no earlier read, so it is never stale.
func (o *Offline) Block(ctx context.Context, b broker.Block) (BlockResult, error) {
	now := time.Now()
	if b.Name == "" {
		b.Name = string(b.Target) + "-" + strings.ToLower(broker.NewID(now))
	}
	object, err := policy.BlockObject(b)
	if err != nil {
		return BlockResult{}, err
	}
	return o.changeBlock(ctx, object, b.Reason, now)
}

// Unblock lifts a block. CodeNotFound if there is none of that name.
func (o *Offline) Unblock(ctx context.Context, name, reason string) (BlockResult, error) {
	objects, _, err := o.store.Load(ctx)
	if err != nil {
		return BlockResult{}, err
	}
	if !slices.ContainsFunc(objects, func(x broker.Object) bool { return x.Kind == broker.KindBlock && x.Name == name }) {
		return BlockResult{}, broker.Errorf(broker.CodeNotFound, "", "there is no block named %q", name)
	}
	return o.changeBlock(ctx, broker.Object{Kind: broker.KindBlock, Name: name, Deleted: true}, reason, time.Now())
}

func (o *Offline) changeBlock(ctx context.Context, object broker.Object, reason string, now time.Time) (BlockResult, error) {
	revision, err := o.store.Write(ctx, store.Write{
		Base: store.AnyRevision, Author: o.config.Operator, Reason: reason, At: now, Changes: []broker.Object{object},
	})
	done := BlockResult{Name: object.Name, Revision: revision}
	if err != nil {
		return done, err
	}
	return done, o.record(ctx, &broker.Record{Type: broker.RecordBlock, At: now, Revision: revision, Detail: object.Name + ": " + reason})
}

// record makes one record durable. The change is in the history already, with
// its author; a record that fails is an error all the same.
func (o *Offline) record(ctx context.Context, r *broker.Record) error {
	r.ID, r.Allowed = broker.NewID(r.At), true
	r.Detail = o.config.Operator + ": " + r.Detail
	recorder := audit.New(audit.Config{
		Records: o.store, Replica: breakGlass, Sealer: unsealed{}, Now: time.Now, NewID: broker.NewID, Warn: func(string, ...any) {}, Timeout: 5 * time.Second,
	})
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- recorder.Run(running) }()
	_, err := recorder.Append(ctx, r)
	stop()
	if err = errors.Join(err, <-done); err != nil {
		return fmt.Errorf("revision %d was written, its record was not: %w", r.Revision, err)
	}
	return nil
}

// unsealed seals nothing: what Offline records has no facts.
type unsealed struct{}

// Seal refuses.
func (unsealed) Seal(_, _ []byte) ([]byte, error) {
	return nil, errors.New("internal error: a record of break-glass has no facts")
}

// Export prints one set, or all of them, as documents that Plan reads back.
func (o *Offline) Export(ctx context.Context, set string) ([]byte, error) {
	objects, _, err := o.store.Load(ctx)
	if err != nil {
		return nil, err
	}
	var documents [][]byte
	for i := range objects {
		if objects[i].Kind != broker.KindSet || set != "" && objects[i].Name != set {
			continue
		}
		document, err := policy.Export(objects, objects[i].Name)
		if err != nil {
			return nil, err
		}
		documents = append(documents, document)
	}
	if len(documents) == 0 && set != "" {
		return nil, broker.Errorf(broker.CodeNotFound, "", "there is no set named %q", set)
	}
	return bytes.Join(documents, []byte("---\n")), nil
}

// Records lists records; before is the id of the last one of the page before.
func (o *Offline) Records(ctx context.Context, f store.RecordFilter, before string) ([]store.RecordRow, error) {
	if before != "" {
		last, err := o.Record(ctx, before)
		if err != nil {
			return nil, err
		}
		f.Before = store.RecordCursor{At: last.At, Replica: last.Replica, Segment: last.Segment, Seq: last.Seq}
	}
	return o.store.ListRecords(ctx, f)
}

// Record returns one record. CodeNotFound if there is none with that id.
func (o *Offline) Record(ctx context.Context, id string) (store.RecordRow, error) {
	at, err := broker.IDTime(id)
	if err != nil {
		return store.RecordRow{}, fmt.Errorf("%q: %w", id, err)
	}
	return o.store.Record(ctx, id, at)
}
