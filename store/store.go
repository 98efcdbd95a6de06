// Package store is the contract of what Cambist keeps: policy as an append-only
// history, records, keys and replicas, by role. Rooms implement all of it
// (postgres, sqlite over one SQL text in sqlstore); users take the role they
// need. Package storetest holds every room to the same cases.
//
// Errors are *broker.Error: CodeNotFound, CodeConflict, CodeStale, and
// CodeUnavailable for a database that is away or too slow. A write whose
// outcome is unknown returns an error that wraps ErrUnknownOutcome.
package store

import (
	"context"
	"errors"
	"time"

	"github.com/cambist/cambist/broker"
)

// ErrUnknownOutcome says that a write may or may not have been committed: the
// connection broke, or time ran out, after the commit was sent. Whoever gets it
// must not retry in place and must not report success.
var ErrUnknownOutcome = errors.New("outcome of the commit is unknown")

// ErrOtherPrimary says that another server has become the primary while the one
// that answered so far still took itself for it: what that one confirmed may not
// hold. Whoever gets it believes nothing before the next heartbeat.
var ErrOtherPrimary = errors.New("another server has become the primary")

// Store is everything, for wiring and for storetest alone.
type Store interface {
	Policies
	Records
	Keys
	Replicas
	broker.Revocations
	Meta
}

// Policies is the append-only policy history with its current projection.
type Policies interface {
	// Load returns every current object and the revision that it is of, read
	// in one snapshot, revocations among them. Objects of one kind come in the order
	// of their names. A revocation that is over may be gone without a revision.
	Load(ctx context.Context) ([]broker.Object, broker.Revision, error)
	// Changes returns, per object changed after the given revision, its latest
	// state (Deleted for one that is gone), and the revision they lead to.
	// Writes that change no object (keys) still move the revision.
	Changes(ctx context.Context, after broker.Revision) ([]broker.Object, broker.Revision, error)
	// Write appends one revision, all or nothing, and returns its number.
	// CodeStale if policy or keys changed after w.Base; a revocation alone makes no
	// plan stale, or who holds a token could keep policy from being changed.
	// ErrUnknownOutcome if the commit was sent and not answered.
	Write(ctx context.Context, w Write) (broker.Revision, error)
	// Revisions returns up to limit revisions below before (0 means from the
	// newest), newest first.
	Revisions(ctx context.Context, before broker.Revision, limit int) ([]RevisionInfo, error)
	// LoadAt returns every object as it was at the given revision.
	LoadAt(ctx context.Context, at broker.Revision) ([]broker.Object, error)
}

// Write is one policy revision to be.
type Write struct {
	Base    broker.Revision // the revision that it was made against; AnyRevision to not care
	Author  string
	Reason  string
	At      time.Time
	Changes []broker.Object // new bodies, or Deleted; Revision is ignored
}

// AnyRevision as Write.Base means: whatever is there. Only for writes that
// stand on no earlier read, such as a block.
const AnyRevision broker.Revision = -1

// RevisionInfo is one line of the history.
type RevisionInfo struct {
	Revision broker.Revision
	Author   string
	Reason   string
	At       time.Time
	Changes  []ObjectRef
}

// ObjectRef names an object that a revision touched.
type ObjectRef struct {
	Kind    broker.ObjectKind
	Name    string
	Deleted bool
}

// Records is the durable record.
type Records interface {
	// AppendRecords commits rows in one transaction and returns when they are
	// durable. It never retries; see ErrUnknownOutcome. It keeps no row after it
	// has returned.
	AppendRecords(ctx context.Context, rows []RecordRow) error
	// Record returns the row with that id; at is when the id was made, to the
	// millisecond, which bounds the search. CodeNotFound if there is none.
	Record(ctx context.Context, id string, at time.Time) (RecordRow, error)
	// ListRecords returns rows that fit the filter, newest first.
	ListRecords(ctx context.Context, f RecordFilter) ([]RecordRow, error)
	// LastRecord returns the row with the highest Seq of the newest segment of
	// a replica, CodeNotFound if it has none.
	LastRecord(ctx context.Context, replica string) (RecordRow, error)
	// EnsurePartitions makes the daily partitions of the record up to that day
	// where the room has any.
	EnsurePartitions(ctx context.Context, upTo time.Time) error
}

// RecordRow is one row of the record. Body is canonical and hashed; Facts are
// sealed; the other columns repeat parts of Body for search.
type RecordRow struct {
	At       time.Time // microseconds
	Replica  string
	Segment  string
	Seq      int64
	ID       string // id of the record, jti of the token if one was issued
	Workload string
	Resource string
	Outcome  string // "allowed" or the reason of the refusal
	Body     []byte
	Facts    []byte
	Prev     []byte // hash of the row before it in the segment
	Hash     []byte // SHA-256 over all the others, as package audit defines it
}

// RecordFilter selects records; zero fields do not select.
type RecordFilter struct {
	Since, Until time.Time
	Workload     string
	Resource     string
	Outcome      string // exact; "refused" means anything but allowed
	Before       RecordCursor
	Limit        int // 1 to 1000
}

// RecordCursor is where a page ended; the zero value is the beginning.
type RecordCursor struct {
	At      time.Time
	Replica string
	Segment string
	Seq     int64
}

// Keys holds the key ring. Private keys come and go encrypted.
type Keys interface {
	// ListKeys returns every key row, oldest first.
	ListKeys(ctx context.Context) ([]KeyRow, error)
	// InsertKey adds a key and moves the policy revision. CodeConflict if its
	// ID exists, or if expect rows of its purpose and algorithm is not how many
	// there are: two replicas that make the first key at once leave one.
	InsertKey(ctx context.Context, k KeyRow, expect int) error
	// UpdateKey stores the new state of a key whose stored Version is
	// k.Version-1 and moves the policy revision. CodeStale otherwise.
	UpdateKey(ctx context.Context, k KeyRow) error
}

// KeyRow is one key of the ring.
type KeyRow struct {
	ID          string // RFC 7638 thumbprint for a signing key
	Purpose     string
	Algorithm   string
	State       string
	Version     int64  // compare-and-swap counter, from 1
	Public      []byte // JWK, or nil for a symmetric key
	Wrapped     []byte // the private key under envelope encryption, with its header
	CreatedAt   time.Time
	PublishedAt time.Time // zero until it is in the JWKS
	ActivatedAt time.Time
	RetiredAt   time.Time
}

// Replicas is who serves, and the heartbeat that carries the policy version.
type Replicas interface {
	// Heartbeat writes the replica's row on the primary and returns the policy
	// revision as of that very transaction. ErrOtherPrimary once, when a server of
	// a larger timeline is found beside the one that answered before.
	Heartbeat(ctx context.Context, r Replica) (Beat, error)
	// ListReplicas returns every replica row, by ID.
	ListReplicas(ctx context.Context) ([]Replica, error)
	// RemoveReplica deletes the row of a replica that stops.
	RemoveReplica(ctx context.Context, id string) error
	// Wait returns when the room was told that the policy may have moved, or
	// when ctx ends. It is a hint: it may come late, twice, or never.
	Wait(ctx context.Context) error
}

// Replica is one serving process.
type Replica struct {
	ID        string
	Version   string // of the program
	StartedAt time.Time
	SeenAt    time.Time       // the replica's own wall clock at the heartbeat
	Applied   broker.Revision // the revision that it serves
}

// Beat is the answer to a heartbeat.
type Beat struct {
	Revision broker.Revision
	Timeline int64     // of the primary; 0 where the room has none
	Now      time.Time // the database's clock
}

// Meta is what a store says of itself.
type Meta interface {
	// Stamp returns the mark that was put on the store, "" if none.
	Stamp(ctx context.Context) (string, error)
	// SetStamp marks a store, for ever: CodeConflict if it bears another mark.
	SetStamp(ctx context.Context, stamp string) error
	// Check returns an error that names the fix if the schema is older or newer
	// than this program, or the database cannot keep its promises.
	Check(ctx context.Context) error
	// Close releases every connection.
	Close() error
}
