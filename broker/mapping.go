package broker

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// ForWorkload is the For of a mapping that acts on behalf of a workload.
const ForWorkload = "workload"

// Mapping is one allow or deny rule, compiled. Whom it is from and to is the
// business of the View, which finds it; everything else is decided here.
type Mapping struct {
	ID          string // set/name
	Deny        bool
	For         string       // "" for the workload itself, ForWorkload, or the name of an issuer
	ForAny      bool         // deny only: self and every subject
	Having      oauth.Scopes // scopes that the received token must carry
	Scopes      oauth.Scopes // deny: empty means all
	Conditional bool         // has a when; with a nil Condition an allow refuses and a deny applies
	Impersonate bool
	PresentedBy []spiffeid.ID
	Claims      []ClaimTemplate
	TTL         time.Duration // 0 means no bound of its own
	Since       time.Time     // zero means always
	Until       time.Time     // zero means for ever
	Reason      string
	Revision    Revision // the revision that wrote it
	Quarantined bool     // its stored row could not be read: an allow grants nothing, a deny takes all in its scope
}

// InForce reports whether now lies in [Since, Until).
func (m *Mapping) InForce(now time.Time) bool {
	return (m.Since.IsZero() || !now.Before(m.Since)) && (m.Until.IsZero() || now.Before(m.Until))
}

// ClaimTemplate is one claim that a mapping adds: a literal, a capture, or a
// declared claim of the user.
type ClaimTemplate struct {
	Name    string
	Literal string
	Capture string // name of a capture
	User    string // name of a declared claim
}

// Candidate is a mapping whose from and to fit the question, with what its
// patterns captured.
type Candidate struct {
	Mapping   *Mapping
	Condition Condition // nil without a when
	Captured  []Capture
	Resource  *Resource // set by Find only when it was asked for all resources
}

// Block is an emergency stop. No policy file writes or undoes one.
type Block struct {
	Name      string
	Target    BlockTarget
	ID        string // what is stopped: a SPIFFE ID, a sub, an issuer URL, a kid, a mapping ID, a jti
	Reason    string
	Until     time.Time // zero means until it is lifted
	NotBefore time.Time // if set, only what was issued before is stopped
}

// Stops reports whether the block is in force for something issued at that
// time; a zero time counts as issued before anything.
func (b *Block) Stops(now, issuedAt time.Time) bool {
	if !b.Until.IsZero() && !now.Before(b.Until) {
		return false
	}
	return b.NotBefore.IsZero() || issuedAt.Before(b.NotBefore)
}

// BlockTarget is what a block stops.
type BlockTarget string

// The targets of a block.
const (
	BlockWorkload BlockTarget = "workload"
	BlockSubject  BlockTarget = "subject"
	BlockIssuer   BlockTarget = "issuer"
	BlockKey      BlockTarget = "key"
	BlockMapping  BlockTarget = "mapping"
	BlockToken    BlockTarget = "token"
)

// Known reports whether the target is one of the list.
func (t BlockTarget) Known() bool {
	switch t {
	case BlockWorkload, BlockSubject, BlockIssuer, BlockKey, BlockMapping, BlockToken:
		return true
	}
	return false
}
