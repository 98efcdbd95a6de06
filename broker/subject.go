package broker

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// SubjectToken is a token as it came, with the type the caller declared. It is
// not verified, and nothing may be read from it but by a SubjectVerifier.
type SubjectToken struct {
	Raw  oauth.Secret
	Type oauth.TokenType
}

// SubjectKind says what a Subject is. The zero value is nobody.
type SubjectKind uint8

// The kinds of subject.
const (
	SubjectNobody SubjectKind = iota
	SubjectUser
	SubjectWorkload
)

// String returns the kind as conditions and records write it.
func (k SubjectKind) String() string {
	switch k {
	case SubjectUser:
		return "user"
	case SubjectWorkload:
		return "workload"
	default:
		return "nobody"
	}
}

// Subject is the verified party in a subject or actor token, and what that
// token was good for. Only a SubjectVerifier makes one.
type Subject struct {
	Kind   SubjectKind
	Sub    string    // the sub claim to issue: a SPIFFE ID, or issuer:subject for a user; copied byte for byte on re-exchange
	Origin SubjectID // where a user comes from; zero for a workload
	Issuer *Issuer   // the issuer that a user originates from, at every hop; nil for a workload

	Issued     bool     // the token is one of ours; a foreign one came straight from Issuer
	Audience   []string // the token's aud
	ClientID   string   // ours only: the workload it was issued to
	Presenters []string // ours only: who may present it besides
	Scopes     oauth.Scopes

	TokenID      string   // jti, "" if a foreign token has none
	TokenHash    [32]byte // SHA-256 of the token as it came
	KeyID        string   // kid that verified it
	IssuedAt     time.Time
	ExpiresAt    time.Time
	Actor        *Actor       // its act chain, current actor outermost
	MayAct       *Party       // who alone may act, if it says so (RFC 8693 section 4.4)
	Confirmation Confirmation // its cnf
	Txn          string       // ours only
	Ancestors    []string     // ours only: jtis of our tokens that it descends from, oldest first
	Claims       []Claim      // declared claims of the user, nothing else
}

// WorkloadID returns the SPIFFE ID of a workload subject; ok is false for a
// user.
func (s *Subject) WorkloadID() (id spiffeid.ID, ok bool) {
	if s.Kind != SubjectWorkload {
		return spiffeid.ID{}, false
	}
	id, err := spiffeid.FromString(s.Sub)
	return id, err == nil
}

// Claim returns the declared claim of that name.
func (s *Subject) Claim(name string) (any, bool) {
	for i := range s.Claims {
		if s.Claims[i].Name == name {
			return s.Claims[i].Value, true
		}
	}
	return nil, false
}

// SubjectID is the subject identifier of RFC 9493 section 3.2.3 (iss_sub).
type SubjectID struct {
	Issuer  string // URL of the issuer
	Subject string // its sub, as that issuer wrote it
}

// IsZero reports whether there is none.
func (s SubjectID) IsZero() bool { return s == SubjectID{} }

// Actor is one link of a delegation chain (RFC 8693 section 4.1): the party
// that acts, and inside it the one that acted before. Chains are immutable once
// built, so they are shared, never copied.
type Actor struct {
	Party
	Actor *Actor // the earlier actor, nil for the first
}

// Party names who acts or may act: a sub, and its issuer where more than one
// issuer can name an actor.
type Party struct {
	Subject string
	Issuer  string // "" means us
}

// Depth returns the number of links, 0 for no chain.
func (a *Actor) Depth() int {
	n := 0
	for ; a != nil; a = a.Actor {
		n++
	}
	return n
}

// Claim is one named value in a token. Value is a string, bool, int64 or
// []string, nothing else: what conditions can be typed over.
type Claim struct {
	Name  string
	Value any
}

// Confirmation is the cnf of a token (RFC 7800). The zero value binds to
// nothing.
type Confirmation struct {
	CertificateThumbprint string // x5t#S256, RFC 8705 section 3.1
	KeyThumbprint         string // jkt, RFC 9449 section 6.1
	Unknown               bool   // a cnf of a kind we do not know: nobody can prove it
}

// IsZero reports whether the token is not bound to any key.
func (c Confirmation) IsZero() bool { return c == Confirmation{} }
