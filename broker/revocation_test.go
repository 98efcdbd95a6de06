package broker_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// revoked keeps revocations, and writes down when it was asked.
type revoked struct {
	l    *line
	list []broker.Revocation
	done error // of the context that it was given
}

func (r *revoked) Revoke(ctx context.Context, x broker.Revocation) error {
	r.l.calls = append(r.l.calls, "revoke")
	if err := r.l.fails["revoke"]; err != nil {
		return err
	}
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("it may take for ever")
	}
	r.done = ctx.Err()
	r.list = append(r.list, x)
	return nil
}

func (l *line) revoke(ctx context.Context, w broker.Workload) (bool, *revoked, error) {
	shown := &broker.SubjectToken{Raw: oauth.NewSecret("raw"), Type: oauth.TokenTypeAccessToken}
	kept := &revoked{l: l}
	i := &broker.Inspector{Line: &l.Exchanger, Revocations: kept}
	done, err := i.Revoke(ctx, w, broker.ExchangeRequest{Subject: shown})
	return done, kept, err
}

// The revocation is durable, then its record, and only then is it said to be done;
// also to a caller that has gone away meanwhile.
func TestRevoke(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*view, *broker.Subject){
		"plain":              func(*view, *broker.Subject) {},
		"its resource left":  func(v *view, _ *broker.Subject) { v.resources = nil },
		"it is blocked":      func(v *view, _ *broker.Subject) { v.blocks = []broker.Block{{Target: broker.BlockToken, ID: "t-1"}} },
		"its issuer left":    func(_ *view, s *broker.Subject) { s.Issuer = nil },
		"its binding is odd": func(_ *view, s *broker.Subject) { s.Confirmation.Unknown = true },
		"the caller is under": func(v *view, _ *broker.Subject) {
			v.blocks = []broker.Block{{Target: broker.BlockWorkload, ID: gateway.String()}}
		},
	} {
		v := world(t)
		l := newLine(t, v)
		l.subject = descended(t, v)
		change(v, l.subject)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		done, kept, err := l.revoke(gone, proven(gateway))
		if err != nil || !done || !slices.Equal(l.calls, []string{"verify", "revoke", "record"}) || kept.done != nil {
			t.Errorf("%s: %v, %v, %v, %v", name, done, l.calls, kept.done, err)
		}
		want := broker.Revocation{TokenID: "t-1", At: start, Until: l.subject.ExpiresAt.Add(time.Minute)}
		if len(kept.list) != 1 || kept.list[0] != want {
			t.Errorf("%s: %+v", name, kept.list)
		}
		if r := l.records[0]; r.Type != broker.RecordRevocation || !r.Allowed || r.ID != "id-1" || r.Subject.TokenID != "t-1" || r.Subject.Claims != nil || r.Facts != nil || r.Workload.ID != gateway {
			t.Errorf("%s: record %+v", name, r)
		}
	}
}

// What is not the caller's to revoke changes nothing and is no error; the record
// knows of it.
func TestRevokeOthers(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(l *line, s *broker.Subject)
		caller spiffeid.ID
		reason broker.Reason
	}{
		"server":    {nil, orders, broker.ReasonSubjectNotShown},
		"somebody":  {nil, other, broker.ReasonSubjectNotShown},
		"presenter": {func(_ *line, s *broker.Subject) { s.Presenters = []string{other.String()} }, other, broker.ReasonSubjectNotShown},
		"actor":     {nil, ledger, broker.ReasonSubjectNotShown},
		"not verified": {func(l *line, _ *broker.Subject) {
			l.fails["verify"] = broker.Errorf(broker.CodeInvalidRequest, broker.ReasonTokenSignature, "no")
		}, gateway, broker.ReasonTokenSignature},
		"not ours": {func(_ *line, s *broker.Subject) { s.Issued = false }, gateway, broker.ReasonTokenIssuer},
		"expired":  {func(_ *line, s *broker.Subject) { s.ExpiresAt = start }, gateway, broker.ReasonSubjectExpired},
	}
	for name, tt := range tests {
		v := world(t)
		l := newLine(t, v)
		l.subject = descended(t, v)
		if tt.change != nil {
			tt.change(l, l.subject)
		}
		done, kept, err := l.revoke(t.Context(), proven(tt.caller))
		if err != nil || done || len(kept.list) != 0 || slices.Contains(l.calls, "revoke") {
			t.Errorf("%s: %v, %v, %v", name, done, l.calls, err)
		}
		if len(l.records) != 1 || l.records[0].Type != broker.RecordRevocation || l.records[0].Allowed || l.records[0].Reason != tt.reason {
			t.Errorf("%s: records %+v", name, l.records)
		}
	}
}

// Without the store, the record or the lease it is not said to be done.
func TestRevokeFails(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change  func(*line)
		caller  broker.Workload
		code    broker.Code
		reason  broker.Reason
		revoked int
		calls   []string
	}{
		"store":      {func(l *line) { l.fails["revoke"] = errors.New("away") }, proven(gateway), broker.CodeUnavailable, broker.ReasonRevocationUnavailable, 0, []string{"verify", "revoke", "note"}},
		"refused":    {func(l *line) { l.fails["revoke"] = broker.Errorf(broker.CodeInvalidRequest, "", "no") }, proven(gateway), broker.CodeUnavailable, broker.ReasonRevocationUnavailable, 0, []string{"verify", "revoke", "note"}},
		"record":     {func(l *line) { l.fails["record"] = errors.New("away") }, proven(gateway), broker.CodeUnavailable, broker.ReasonRecordUnavailable, 1, []string{"verify", "revoke", "record", "note"}},
		"lease over": {func(l *line) { l.lease = 0 }, proven(gateway), broker.CodeUnavailable, broker.ReasonLeaseExpired, 0, []string{"note"}},
		"no policy":  {func(l *line) { l.view = nil }, proven(gateway), broker.CodeUnavailable, broker.ReasonLeaseExpired, 0, []string{"note"}},
		"proof over": {func(*line) {}, broker.Workload{ID: gateway, Proof: broker.ProofMTLS, NotAfter: start}, broker.CodeInvalidClient, broker.ReasonWorkloadExpired, 0, []string{"note"}},
	}
	for name, tt := range tests {
		l := newLine(t, world(t))
		l.subject = descended(t, world(t))
		tt.change(l)
		_, kept, err := l.revoke(t.Context(), tt.caller)
		e := broker.AsError(err)
		if err == nil || e.Code != tt.code || e.Reason != tt.reason || len(kept.list) != tt.revoked || !slices.Equal(l.calls, tt.calls) {
			t.Errorf("%s: %v, %v", name, l.calls, err)
		}
		if tt.code == broker.CodeUnavailable && e.RetryAfter <= 0 {
			t.Errorf("%s: no time to ask again", name)
		}
		r := l.records[0]
		if r.Type != broker.RecordRevocation || r.Allowed != (tt.revoked == 1) || (r.Of == "id-1") != (tt.revoked == 1) {
			t.Errorf("%s: record %+v", name, r)
		}
	}
}

func TestRevocationObject(t *testing.T) {
	t.Parallel()
	for _, until := range []time.Time{start, start.Add(1), start.In(time.FixedZone("x", 3600)), time.Unix(0, 0)} {
		want := broker.Revocation{TokenID: "t-1", At: start, Until: until}
		o := want.Object(7)
		got, err := broker.ParseRevocation(&o)
		if err != nil || got.TokenID != "t-1" || !got.Until.Equal(until) || o.Kind != broker.KindRevocation || o.Revision != 7 || !o.Kind.Known() {
			t.Errorf("%+v, %v from %+v", got, err, o)
		}
	}
	for _, body := range []string{"", "{}", `{"until":""}`, `{"until":"soon"}`, `{"until":"2026-11-24T12:00:00Z"`, `"until":"2026-11-24T12:00:00Z"}`, `{"until":"2026-11-24T12:00:00Z","x":1}`} {
		if r, err := broker.ParseRevocation(&broker.Object{Kind: broker.KindRevocation, Name: "t", Body: []byte(body)}); err == nil || r != (broker.Revocation{}) {
			t.Errorf("%s: %+v", body, r)
		}
	}
}

// Whatever happens while a token is exchanged and revoked, in whatever order, a
// descendant that leaves names the token that was revoked, at every generation: who
// knows of the revocation refuses it.
func TestRevocationReachesDescendants(t *testing.T) {
	t.Parallel()
	v := world(t)
	l := newLine(t, v)
	if _, err := l.ask(t, "held"); err != nil {
		t.Fatal(err)
	}
	parent := question(t, "held", v).Subject
	for generation := range 3 {
		c := l.records[len(l.records)-1].Claims
		child := *parent
		child.TokenID, child.Ancestors = fmt.Sprint("child-", generation), c.Ancestors
		revokedView := v.clone()
		revokedView.blocks = []broker.Block{{Target: broker.BlockToken, ID: "t-1"}}
		seen := newLine(t, revokedView)
		seen.subject = &child
		if got, err := seen.introspect(t, proven(orders)); err != nil || got.Reason != broker.ReasonBlocked {
			t.Errorf("generation %d: %+v, %v", generation, got, err)
		}
		q := question(t, "held", v)
		l.subject = &child
		q.Request.Subject = &broker.SubjectToken{Raw: oauth.NewSecret("raw"), Type: oauth.TokenTypeAccessToken}
		if _, err := l.Exchange(t.Context(), q.Workload, q.Request); err != nil {
			t.Fatal(err)
		}
	}
	// Revoked while it is being signed for: the token is recorded and does not leave.
	late := newLine(t, v)
	moved := v.clone()
	moved.revision++
	moved.blocks = []broker.Block{{Target: broker.BlockToken, ID: "t-1"}}
	late.after = moved
	if token, err := late.ask(t, "held"); err == nil || !token.Token.IsZero() || broker.AsError(err).Reason != broker.ReasonBlocked {
		t.Errorf("it left: %v, %v", token, err)
	}
}

// Whatever the body, what is read is what would be written, or nothing.
func FuzzParseRevocation(f *testing.F) {
	for _, seed := range []string{`{"until":"2026-11-24T12:00:00Z"}`, `{"until":"2026-11-24T12:00:00.5+01:00"}`, `{"until":"0000-01-01T00:00:00Z"}`, `{"until":""}`, `{"until":"x"}`, "{}", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body string) {
		r, err := broker.ParseRevocation(&broker.Object{Kind: broker.KindRevocation, Name: "t", Body: []byte(body)})
		if err != nil {
			if r != (broker.Revocation{}) {
				t.Fatalf("%+v beside an error", r)
			}
			return
		}
		o := r.Object(1)
		if again, err := broker.ParseRevocation(&o); err == nil && !again.Until.Equal(r.Until) || r.TokenID != "t" {
			t.Fatalf("%+v, %v", again, err)
		}
	})
}
