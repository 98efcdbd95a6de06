package broker

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Revocations keeps which tokens were revoked. Implemented by the stores.
type Revocations interface {
	// Revoke returns when the revocation is durable, and only then without an
	// error. Every replica reads it as an object of KindRevocation. One that is
	// there already stays as it is.
	Revoke(ctx context.Context, r Revocation) error
}

// Revocation ends one token, and every token that descends from it.
type Revocation struct {
	TokenID string // its jti
	At      time.Time
	Until   time.Time // when the token, and so every descendant, has expired anyway
}

const (
	revocationBegins = `{"until":"`
	revocationEnds   = `"}`
)

// Object returns the revocation as replicas read it, as of the revision that wrote
// it.
func (r Revocation) Object(at Revision) Object {
	body := revocationBegins + r.Until.UTC().Format(time.RFC3339Nano) + revocationEnds
	return Object{Kind: KindRevocation, Name: r.TokenID, Body: []byte(body), Revision: at}
}

var errRevocation = errors.New("the revocation cannot be read")

// ParseRevocation reads an object of KindRevocation. At is not in it.
func ParseRevocation(o *Object) (Revocation, error) {
	text, begins := strings.CutPrefix(string(o.Body), revocationBegins)
	text, ends := strings.CutSuffix(text, revocationEnds)
	until, err := time.Parse(time.RFC3339Nano, text)
	if !begins || !ends || err != nil || o.Name == "" {
		return Revocation{}, errRevocation
	}
	return Revocation{TokenID: o.Name, Until: until}, nil
}

const (
	// revokeTime bounds how long a revocation waits for the store.
	revokeTime = 2 * time.Second
	// revocationMargin is how long a revocation outlives its token: for verifiers
	// whose clocks are late.
	revocationMargin = time.Minute
)

// Revoke ends a token for good, and every token that descends from it, if it was
// issued to the caller. Without an error that is durable and recorded; or the
// token is none that the caller could end, nothing has changed, and they are not
// told (RFC 7009 section 2.2). Every replica refuses within its lease. Errors are
// those of Introspect.
func (i *Inspector) Revoke(ctx context.Context, w Workload, r ExchangeRequest) (revoked bool, err error) {
	f, err := i.find(ctx, RecordRevocation, w, r)
	if err != nil {
		return false, err
	}
	switch {
	case f.missing != "":
	case !f.holder:
		f.missing = ReasonSubjectNotShown
	case !f.q.Now.Before(f.q.Subject.ExpiresAt):
		f.missing = ReasonSubjectExpired
	}
	if f.missing != "" {
		i.miss(RecordRevocation, f)
		return false, nil
	}
	// What was begun is brought to its end, also if the caller goes away.
	return true, i.revoke(context.WithoutCancel(ctx), f)
}

// revoke makes the revocation durable, then its record. Should the record fail, the
// token is revoked all the same: a second record says so when it can, and the
// caller is to ask again.
func (i *Inspector) revoke(ctx context.Context, f *found) error {
	s := f.q.Subject
	bounded, cancel := context.WithTimeout(ctx, revokeTime)
	defer cancel()
	err := i.Revocations.Revoke(bounded, Revocation{TokenID: s.TokenID, At: f.q.Now, Until: s.ExpiresAt.Add(revocationMargin)})
	if err != nil {
		return i.Line.refuseAs(RecordRevocation, f.q, f.left, Unavailable(ReasonRevocationUnavailable, retryAfter, err))
	}
	done := i.Line.newRecord(f.q, f.left)
	done.Type, done.Allowed = RecordRevocation, true
	if _, err := i.Line.Ledger.Append(ctx, done); err != nil {
		again := *done
		again.ID, again.Of = i.Line.NewID(f.q.Now), done.ID
		i.Line.Ledger.Note(&again)
		return i.Line.named(f.q, Unavailable(ReasonRecordUnavailable, retryAfter, err))
	}
	return nil
}
