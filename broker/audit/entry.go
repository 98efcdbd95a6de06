package audit

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json"
)

// Schema is the version of the body. A change that an older program would
// misread is a new one.
const Schema = 1

// Entry is the body of a record: what an auditor reads.
type Entry struct {
	Schema   int       `json:"schema"`
	ID       string    `json:"id"`
	Type     string    `json:"type"`
	Of       string    `json:"of,omitzero"` // id of the record that this one adds to
	At       time.Time `json:"at"`
	Decision string    `json:"decision,omitzero"` // allowed or refused; nothing for a gap
	Code     string    `json:"code,omitzero"`
	Reason   string    `json:"reason,omitzero"`
	Detail   string    `json:"detail,omitzero"`
	Merged   int       `json:"merged,omitzero"` // how many equal ones it stands for besides itself
	Until    time.Time `json:"merged_until,omitzero"`
	Version  string    `json:"version,omitzero"` // of the program that decided

	Origin   Origin   `json:"origin,omitzero"`
	Workload Workload `json:"workload,omitzero"`
	Request  Request  `json:"request,omitzero"`
	Subject  *Subject `json:"subject,omitzero"`
	Actor    *Subject `json:"actor,omitzero"`

	Resource  string    `json:"resource,omitzero"`
	Revision  int64     `json:"revision,omitzero"`
	LeaseMS   int64     `json:"lease_left_ms,omitzero"`
	Limits    Limits    `json:"limits,omitzero"`
	Mappings  []Mapping `json:"mappings,omitzero"`
	Claims    *Claims   `json:"claims,omitzero"`
	KeyID     string    `json:"kid,omitzero"`
	Algorithm string    `json:"alg,omitzero"`
	Input     string    `json:"signing_input_sha256,omitzero"`
	Sealed    Sealing   `json:"sealed,omitzero"`
	Gaps      []Gap     `json:"gaps,omitzero"`
	Clipped   Clipping  `json:"clipped,omitzero"`
}

// Sealing says what lies encrypted beside a body.
type Sealing string

// What may lie there: nothing, the facts, or nothing although there were facts,
// for a refusal that could not be sealed.
const (
	SealedNone Sealing = ""
	SealedKept Sealing = "kept"
	SealedLost Sealing = "lost"
)

// Clipping says whether anything in a body was cut. What was cut says so in its
// place, with its length and hash.
type Clipping string

// What may be cut: nothing, something that the decision did not stand on, or
// something that it did.
const (
	ClippedNone  Clipping = ""
	ClippedText  Clipping = "text"
	ClippedInput Clipping = "input"
)

// Origin is where the request came from.
type Origin struct {
	Listener    string `json:"listener,omitzero"`
	Remote      string `json:"remote,omitzero"`
	TLS         string `json:"tls_version,omitzero"`
	Cipher      string `json:"cipher,omitzero"`
	TraceParent string `json:"traceparent,omitzero"`
}

// Workload is who asked, and how it was proven.
type Workload struct {
	ID         string    `json:"id,omitzero"`
	Proof      string    `json:"proof,omitzero"`
	Thumbprint string    `json:"cert_sha256,omitzero"`
	Serial     string    `json:"cert_serial,omitzero"`
	NotAfter   time.Time `json:"not_after,omitzero"`
	Via        string    `json:"via,omitzero"`
}

// Request is what was asked.
type Request struct {
	Grant         string `json:"grant_type,omitzero"`
	ClientID      string `json:"client_id,omitzero"`
	Audience      string `json:"audience,omitzero"`
	Scope         string `json:"scope,omitzero"`
	RequestedType string `json:"requested_token_type,omitzero"`
	SubjectType   string `json:"subject_token_type,omitzero"`
	ActorType     string `json:"actor_token_type,omitzero"`
	ProofKey      string `json:"jkt,omitzero"`
}

// Subject is a verified subject or actor token.
type Subject struct {
	Kind       string    `json:"kind"`
	Sub        string    `json:"sub,omitzero"`
	Issuer     string    `json:"iss,omitzero"`     // origin of a user
	Original   string    `json:"iss_sub,omitzero"` // its sub there
	Issued     bool      `json:"ours,omitzero"`
	Audience   []string  `json:"aud,omitzero"`
	ClientID   string    `json:"client_id,omitzero"`
	Presenters []string  `json:"presenters,omitzero"`
	Scope      string    `json:"scope,omitzero"`
	TokenID    string    `json:"jti,omitzero"`
	Hash       string    `json:"sha256,omitzero"` // of the token as it came
	KeyID      string    `json:"kid,omitzero"`
	IssuedAt   time.Time `json:"iat,omitzero"`
	ExpiresAt  time.Time `json:"exp,omitzero"`
	Actors     []Party   `json:"act,omitzero"` // current actor first
	MayAct     *Party    `json:"may_act,omitzero"`
	Confirm    Confirm   `json:"cnf,omitzero"`
	Txn        string    `json:"txn,omitzero"`
	Ancestors  []string  `json:"anc,omitzero"`
}

// Party is one actor.
type Party struct {
	Subject string `json:"sub,omitzero"`
	Issuer  string `json:"iss,omitzero"`
}

// Confirm is what a token is bound to.
type Confirm struct {
	Certificate string `json:"x5t#S256,omitzero"`
	Key         string `json:"jkt,omitzero"`
	Unknown     bool   `json:"unknown,omitzero"`
}

// Limits are the caps of the server that decided. A replay needs them.
type Limits struct {
	TTLCap     int64 `json:"ttl_cap_s,omitzero"`
	ChainDepth int   `json:"chain_depth,omitzero"`
}

// Mapping names a mapping that contributed, at the revision that wrote it.
type Mapping struct {
	ID       string `json:"id,omitzero"`
	Revision int64  `json:"revision,omitzero"`
}

// Claims is every claim that was to be signed. Values of carried and mapped
// claims are sealed with the facts; their names stand here.
type Claims struct {
	Issuer     string    `json:"iss,omitzero"`
	Subject    string    `json:"sub,omitzero"`
	Audience   string    `json:"aud,omitzero"`
	ClientID   string    `json:"client_id,omitzero"`
	ID         string    `json:"jti,omitzero"`
	IssuedAt   time.Time `json:"iat,omitzero"`
	ExpiresAt  time.Time `json:"exp,omitzero"`
	Scope      string    `json:"scope,omitzero"`
	Actors     []Party   `json:"act,omitzero"`
	SubIssuer  string    `json:"sub_id_iss,omitzero"`
	SubSubject string    `json:"sub_id_sub,omitzero"`
	Confirm    Confirm   `json:"cnf,omitzero"`
	Txn        string    `json:"txn,omitzero"`
	Ancestors  []string  `json:"anc,omitzero"`
	Revision   int64     `json:"rev,omitzero"`
	Presenters []string  `json:"presenters,omitzero"`
	Extra      []string  `json:"extra_names,omitzero"`
}

// Gap says which rows before a segment may or may not be there: their commit had
// an unknown outcome, or the process that wrote them ended in the middle of one.
type Gap struct {
	Segment string `json:"segment"`
	After   int64  `json:"after,omitzero"`   // the last row known to be there, 0 for none of the segment
	Through int64  `json:"through,omitzero"` // the last row that may be; 0 for any that come before this one
	Hash    string `json:"hash,omitzero"`    // of that last row
}

// The decisions.
const (
	allowed = "allowed"
	refused = "refused"
)

// ErrBody says that a stored body, or what was sealed beside it, cannot be read.
var ErrBody = errors.New("the record cannot be read")

// Decode reads the body of a row. Unknown members are refused: a body of a
// newer program is not half understood.
func Decode(body []byte) (Entry, error) {
	var e Entry
	if err := json.Unmarshal(body, &e, json.RejectUnknownMembers(true)); err != nil || e.Schema != Schema {
		return Entry{}, ErrBody
	}
	return e, nil
}
