package policy

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// block is a stored block. One whose times cannot be read stops what it names
// for ever; one that does not even say what it stops stands in badBlocks.
type block struct {
	broker.Block
	kind        broker.ObjectKind // a block or a revocation: each kind has names of its own
	quarantined bool
}

var errBlock = errors.New("a block needs a name, a target, an id of that kind and a reason")

// BlockObject returns the object that stores a block. The error says what a
// block lacks; one of a workload must name it by its SPIFFE ID, or it would stop
// nobody.
func BlockObject(b broker.Block) (broker.Object, error) {
	if !b.Target.Known() || b.ID == "" || b.Name == "" || b.Reason == "" {
		return broker.Object{}, errBlock
	}
	if b.Target == broker.BlockWorkload {
		if id, err := spiffeid.FromString(b.ID); err != nil || id.Path() == "" {
			return broker.Object{}, fmt.Errorf("%w: %q is not the SPIFFE ID of a workload", errBlock, b.ID)
		}
	}
	raw, err := encode(blockBody{Target: string(b.Target), ID: b.ID, Reason: b.Reason, Until: instantText(b.Until), NotBefore: instantText(b.NotBefore)})
	return broker.Object{Kind: broker.KindBlock, Name: b.Name, Body: raw}, err
}

// instantText keeps fractions of a second: a token issued in the second of
// not_before, but before it, is stopped.
func instantText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// DecodeBlock reads a stored block. It refuses what it does not know, and one
// that does not say what it stops.
func DecodeBlock(o *broker.Object) (broker.Block, error) {
	var body blockBody
	if err := decode(o.Body, &body); err != nil {
		return broker.Block{}, err
	}
	b := broker.Block{Name: o.Name, Target: broker.BlockTarget(body.Target), ID: body.ID, Reason: body.Reason}
	var err1, err2 error
	if body.Until != "" {
		b.Until, err1 = time.Parse(time.RFC3339, body.Until)
	}
	if body.NotBefore != "" {
		b.NotBefore, err2 = time.Parse(time.RFC3339, body.NotBefore)
	}
	if !b.Target.Known() || b.ID == "" || err1 != nil || err2 != nil {
		return broker.Block{}, errBody
	}
	return b, nil
}

// scopeOfBlock reads no more of a bad block than what it stops.
func scopeOfBlock(o *broker.Object) (b broker.Block, ok bool) {
	var body struct {
		Target string `json:"target"`
		ID     string `json:"id"`
	}
	err := json.Unmarshal(o.Body, &body)
	b = broker.Block{Name: o.Name, Target: broker.BlockTarget(body.Target), ID: body.ID, Reason: "its stored row cannot be read"}
	return b, err == nil && b.Target.Known() && b.ID != ""
}

func (b *builder) addBlock(o *broker.Object, f *faults) {
	decoded, err := DecodeBlock(o)
	added := &block{Block: decoded, kind: broker.KindBlock, quarantined: err != nil}
	if err != nil {
		b.quarantine(true, 1)
		scope, ok := scopeOfBlock(o)
		if added.Block = scope; !ok {
			f.add("object-unreadable", "", "lift the block and set it again", "%v; until then everything is refused", err)
			b.next.badBlocks = append(b.next.badBlocks, &added.Block)
			return
		}
		f.add("object-unreadable", "", "lift the block and set it again", "%v; until then %s %q is stopped", err, scope.Target, scope.ID)
	}
	b.placeBlock(added)
}

// addRevocation stops a token until it would have expired, and one whose end
// cannot be read for ever. To everybody who asks it is a block.
func (b *builder) addRevocation(o *broker.Object, f *faults) {
	r, err := broker.ParseRevocation(o)
	if err != nil {
		b.quarantine(true, 1)
		f.add("object-unreadable", "", "run a newer cambist", "%v; the token stays revoked", err)
	}
	b.placeBlock(&block{
		Block: broker.Block{Name: o.Name, Target: broker.BlockToken, ID: o.Name, Reason: "revoked", Until: r.Until}, kind: broker.KindRevocation, quarantined: err != nil,
	})
}

func (b *builder) placeBlock(added *block) {
	b.blocks.add(b.next.blockHash(added.Target, added.ID), added)
	b.blockNames.add(b.next.hash(added.Name), added)
}

func (b *builder) dropBlock(kind broker.ObjectKind, name string) {
	if kind == broker.KindBlock {
		b.next.badBlocks = slices.DeleteFunc(b.next.badBlocks, func(x *broker.Block) bool {
			b.quarantine(x.Name == name, -1)
			return x.Name == name
		})
	}
	b.blockNames.each(b.next.hash(name), func(x *block) bool {
		if x.kind != kind || x.Name != name {
			return true
		}
		b.quarantine(x.quarantined, -1)
		b.blocks.remove(b.next.blockHash(x.Target, x.ID), x)
		b.blockNames.remove(b.next.hash(name), x)
		return false
	})
}
