package broker

import (
	"context"
	"time"
)

// Record is the durable row of one decision: enough to say who asked what, what
// was decided by which rules, and exactly what was signed; never a token.
type Record struct {
	ID       string // also x-request-id, and the jti of the token if one was issued
	Type     RecordType
	Of       string // id of the record that this one adds to, "" mostly
	At       time.Time
	Allowed  bool
	Code     Code
	Reason   Reason
	Detail   string // text for people: the cause of a failure, the reason of an admin; no token text
	Workload Workload
	Request  ExchangeRequest // its raw tokens are never written
	Resource string          // name, "" if the audience names none
	Subject  *Subject        // verified, nil without one; Claims are not written here
	Actor    *Subject
	Revision Revision
	LeaseMS  int64 // what was left of the lease when it was decided, in milliseconds
	Mappings []*Mapping
	Claims   *Claims // every claim that is to be signed; nil for a refusal
	Unsigned Unsigned
	Facts    []Claim // attributes that the candidates' conditions read; sealed where they rest
	Merged   int     // how many equal refusals this one stands for besides itself
}

// RecordType says what was decided.
type RecordType string

// The types of record.
const (
	RecordExchange      RecordType = "exchange"    // a token was issued or refused
	RecordSelf          RecordType = "self"        // a workload asked what it may reach
	RecordIntrospection RecordType = "introspect"  // a token was shown that was not active for who showed it
	RecordRevocation    RecordType = "revoke"      // a token was revoked, or was not the caller's to revoke
	RecordUndelivered   RecordType = "undelivered" // a token that was recorded did not leave; Of names its record
	RecordPolicy        RecordType = "policy"      // policy was written past the admin API
	RecordBlock         RecordType = "block"       // a block was set or lifted past the admin API
	RecordGap           RecordType = "gap"         // rows before this one may be missing
)

// Position is where a record lies in the chain of its replica.
type Position struct {
	Replica string
	Segment string
	Seq     int64 // from 1 within the segment
}

// Ledger is where records go. Implemented by audit.Recorder.
type Ledger interface {
	// Append returns when the record is durable, and only then without an
	// error. An error means that it may or may not be.
	Append(ctx context.Context, r *Record) (Position, error)
	// Note queues a record and returns at once. When the queue is full, equal
	// refusals merge into one with a count; none is lost uncounted.
	Note(r *Record)
}
