package audit

import (
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// ErrUnknown says that a record does not hold all that its decision stood on, so
// that nobody can say how it would be decided again.
var ErrUnknown = errors.New("the record does not hold all that the decision stood on")

// Question asks again what the record answered. f are its facts, nil if it has
// none; ErrUnknown if they were lost, or if an input was cut. The caller fills in
// what depends on a view: the view, the resource, the candidates, and the issuer
// of each subject, by its Origin.Issuer.
func (e *Entry) Question(f *Facts) (broker.Question, error) {
	switch {
	case e.Clipped == ClippedInput, e.Sealed == SealedLost, e.Sealed == SealedKept && f == nil:
		return broker.Question{}, ErrUnknown
	case f == nil:
		f = &Facts{}
	}
	q := broker.Question{
		Now:    e.At,
		Limits: broker.Limits{TTLCap: time.Duration(e.Limits.TTLCap) * time.Second, ChainDepth: e.Limits.ChainDepth},
		Request: broker.ExchangeRequest{
			At: e.At, Grant: oauth.GrantType(e.Request.Grant), ClientID: e.Request.ClientID, Audience: e.Request.Audience,
			Subject: e.Request.token(e.Request.SubjectType), Actor: e.Request.token(e.Request.ActorType),
			RequestedType: oauth.TokenType(e.Request.RequestedType), ProofKey: e.Request.ProofKey,
			Origin: broker.Origin{
				RequestID: e.ID, Listener: e.Origin.Listener, RemoteAddress: e.Origin.Remote,
				TLSVersion: e.Origin.TLS, CipherSuite: e.Origin.Cipher, TraceParent: e.Origin.TraceParent,
			},
		},
	}
	var err error
	if q.Workload, err = e.Workload.workload(); err != nil {
		return broker.Question{}, err
	}
	if q.Request.Scopes, err = scopes(e.Request.Scope); err != nil {
		return broker.Question{}, err
	}
	if q.Subject, err = e.Subject.subject(f.User); err != nil {
		return broker.Question{}, err
	}
	if q.Actor, err = e.Actor.subject(nil); err != nil {
		return broker.Question{}, err
	}
	return q, nil
}

// token returns what a token was declared to be, without the token.
func (r *Request) token(declared string) *broker.SubjectToken {
	if declared == "" {
		return nil
	}
	return &broker.SubjectToken{Type: oauth.TokenType(declared)}
}

func (w *Workload) workload() (broker.Workload, error) {
	made := broker.Workload{Thumbprint: w.Thumbprint, Serial: w.Serial, NotAfter: w.NotAfter}
	made.Proof, _ = broker.ParseProof(w.Proof) // what is not a proof proves nothing
	for _, id := range []struct {
		to   *spiffeid.ID
		text string
	}{{&made.ID, w.ID}, {&made.Via, w.Via}} {
		if id.text == "" {
			continue
		}
		parsed, err := spiffeid.FromString(id.text)
		if err != nil {
			return broker.Workload{}, fmt.Errorf("%w: workload", ErrBody)
		}
		*id.to = parsed
	}
	return made, nil
}

func scopes(text string) (oauth.Scopes, error) {
	if text == "" {
		return oauth.Scopes{}, nil
	}
	s, err := oauth.ParseScopes(text)
	if err != nil {
		return oauth.Scopes{}, fmt.Errorf("%w: scope", ErrBody)
	}
	return s, nil
}

func (s *Subject) subject(user []broker.Claim) (*broker.Subject, error) {
	if s == nil {
		return nil, nil
	}
	granted, err := scopes(s.Scope)
	if err != nil {
		return nil, err
	}
	made := &broker.Subject{
		Sub: s.Sub, Origin: broker.SubjectID{Issuer: s.Issuer, Subject: s.Original}, Issued: s.Issued, Audience: s.Audience, ClientID: s.ClientID,
		Presenters: s.Presenters, Scopes: granted, TokenID: s.TokenID, KeyID: s.KeyID, IssuedAt: s.IssuedAt, ExpiresAt: s.ExpiresAt,
		Confirmation: broker.Confirmation{CertificateThumbprint: s.Confirm.Certificate, KeyThumbprint: s.Confirm.Key, Unknown: s.Confirm.Unknown},
		Txn:          s.Txn, Ancestors: s.Ancestors, Claims: user,
	}
	switch s.Kind {
	case broker.SubjectUser.String():
		made.Kind = broker.SubjectUser
	case broker.SubjectWorkload.String():
		made.Kind = broker.SubjectWorkload
	}
	if s.Hash != "" {
		sum, err := hex.DecodeString(s.Hash)
		if err != nil || copy(made.TokenHash[:], sum) != len(sum) || len(sum) != len(made.TokenHash) {
			return nil, fmt.Errorf("%w: sha256", ErrBody)
		}
	}
	for _, p := range slices.Backward(s.Actors) {
		made.Actor = &broker.Actor{Party: broker.Party(p), Actor: made.Actor}
	}
	if s.MayAct != nil {
		party := broker.Party(*s.MayAct)
		made.MayAct = &party
	}
	return made, nil
}
