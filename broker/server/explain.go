package server

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/insight"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/store"
)

// Explained is a recorded decision, and why it was taken.
type Explained struct {
	Row    store.RecordRow
	Entry  audit.Entry
	Why    *policy.Explanation // nil where policy was not asked, or cannot be
	Limits string              // what of it cannot be known
}

// Explain decides a recorded question again, by the policy of its time.
// CodeNotFound if there is no such record.
func (o *Offline) Explain(ctx context.Context, id string) (Explained, error) {
	row, err := o.Record(ctx, id)
	if err != nil {
		return Explained{}, err
	}
	x := Explained{Row: row}
	if x.Entry, err = audit.Decode(row.Body); err != nil || !decided(&x) {
		return x, err
	}
	var facts *audit.Facts
	if len(row.Facts) > 0 {
		if o.ring == nil {
			x.Limits = "what it read of the user is sealed; give --keys-kek-file to explain it"
			return x, nil
		}
		if err := o.ring.Refresh(ctx); err != nil {
			return x, err
		}
		if facts, err = audit.OpenFacts(&row, o.ring); err != nil {
			return x, fmt.Errorf("facts of %s: %w", id, err)
		}
	}
	question, err := x.Entry.Question(facts)
	if errors.Is(err, audit.ErrUnknown) {
		x.Limits = "how it would be decided again is unknown: " + err.Error()
		return x, nil
	}
	if err != nil {
		return x, err
	}
	why, err := insight.Why(ctx, o.store, insight.Recorded{Question: question, Revision: broker.Revision(x.Entry.Revision)}, o.config.Policy)
	if err != nil {
		return x, err
	}
	if x.Why = &why; why.Decision.Allowed != (row.Outcome == outcomeAllowed) {
		x.Limits = "asked again, the policy of its time decides differently: were --issuer and --own-audiences those of the server? (A revocation is kept for as long as its token would have lived.)"
	}
	return x, nil
}

// Text renders it for a terminal.
func (x *Explained) Text() string {
	var b strings.Builder
	e := &x.Entry
	fmt.Fprintf(&b, "%s %s at %s: %s", e.Type, e.ID, e.At.UTC().Format(time.RFC3339Nano), x.Row.Outcome)
	if e.Revision > 0 {
		fmt.Fprintf(&b, ", policy revision %d", e.Revision)
	}
	fmt.Fprintf(&b, "\n  replica %s, segment %s, row %d\n", x.Row.Replica, x.Row.Segment, x.Row.Seq)
	if e.Detail != "" {
		fmt.Fprintf(&b, "  %s\n", e.Detail)
	}
	if e.Of != "" {
		fmt.Fprintf(&b, "  it adds to record %s\n", e.Of)
	}
	if e.Merged > 0 {
		fmt.Fprintf(&b, "  it stands for %d equal ones besides itself\n", e.Merged)
	}
	if x.Limits != "" {
		fmt.Fprintf(&b, "\n%s\n", x.Limits)
	}
	if x.Why != nil {
		b.WriteString("\n" + x.Why.Text())
	}
	return b.String()
}

const outcomeAllowed = "allowed"

// decided reports whether Decide was asked at all: a refusal may come before, for
// a form, a token or a dependency.
func decided(x *Explained) bool {
	return x.Entry.Type == string(broker.RecordExchange) && x.Entry.Revision > 0 &&
		(x.Row.Outcome == outcomeAllowed || slices.Contains(broker.CheckReasons(), broker.Reason(x.Row.Outcome)))
}
