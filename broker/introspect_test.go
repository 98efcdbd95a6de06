package broker_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// introspect shows the user's token for orders, which gateway holds.
func (l *line) introspect(t testing.TB, w broker.Workload) (broker.Introspection, error) {
	t.Helper()
	shown := &broker.SubjectToken{Raw: oauth.NewSecret("raw"), Type: oauth.TokenTypeAccessToken}
	i := &broker.Inspector{Line: &l.Exchanger}
	return i.Introspect(context.Background(), w, broker.ExchangeRequest{Subject: shown})
}

func TestIntrospectActive(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		caller spiffeid.ID
		serves bool
	}{
		"by whom it is for":       {orders, true},
		"by whom it was given to": {gateway, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLine(t, world(t))
			l.subject = question(t, "held", world(t)).Subject
			got, err := l.introspect(t, proven(tt.caller))
			if err != nil || got.Token == nil || got.Token.TokenID != "t-1" || got.Serves != tt.serves || got.Issuer != l.Issuer || got.Reason != "" {
				t.Errorf("%+v, %v", got, err)
			}
			if len(l.records) != 0 {
				t.Errorf("an active token left the record %+v", l.records[0])
			}
		})
	}
}

// Whatever is wrong with a token, or with who shows it, it is not active and
// nothing else; the record knows why.
func TestIntrospectInactive(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(v *view, s *broker.Subject, l *line)
		caller spiffeid.ID
		reason broker.Reason
	}{
		"not of the caller": {nil, other, broker.ReasonSubjectNotShown},
		"of a presenter":    {func(_ *view, s *broker.Subject, _ *line) { s.Presenters = []string{other.String()} }, other, broker.ReasonSubjectNotShown},
		"not verified": {func(_ *view, _ *broker.Subject, l *line) {
			l.fails["verify"] = broker.Errorf(broker.CodeInvalidRequest, broker.ReasonTokenSignature, "no")
		}, orders, broker.ReasonTokenSignature},
		"not ours":       {func(_ *view, s *broker.Subject, _ *line) { s.Issued = false }, orders, broker.ReasonTokenIssuer},
		"two audiences":  {func(_ *view, s *broker.Subject, _ *line) { s.Audience = []string{ordersURI, ledgerURI} }, orders, broker.ReasonTokenIssuer},
		"expired":        {func(_ *view, s *broker.Subject, _ *line) { s.ExpiresAt = start }, orders, broker.ReasonSubjectExpired},
		"user of nobody": {func(_ *view, s *broker.Subject, _ *line) { s.Issuer = nil }, orders, broker.ReasonSubjectUnknown},
		"issuer unreadable": {func(_ *view, s *broker.Subject, _ *line) {
			s.Issuer = &broker.Issuer{Name: "corp", URL: corpURL, Quarantined: true}
		}, orders, broker.ReasonSubjectUnknown},
		"unknown binding":    {func(_ *view, s *broker.Subject, _ *line) { s.Confirmation.Unknown = true }, orders, broker.ReasonSubjectUnbound},
		"resource gone":      {func(v *view, _ *broker.Subject, _ *line) { v.resources = v.resources[1:] }, gateway, broker.ReasonResourceUnknown},
		"resource untidy":    {func(v *view, _ *broker.Subject, _ *line) { v.resources[0].Quarantined = true }, gateway, broker.ReasonResourceUnknown},
		"served no more":     {func(v *view, _ *broker.Subject, _ *line) { v.resources[0].ServedBy = []spiffeid.ID{ledger} }, orders, broker.ReasonSubjectNotShown},
		"token":              {blocking(broker.BlockToken, "t-1"), orders, broker.ReasonBlocked},
		"ancestor":           {blocking(broker.BlockToken, "t-0"), orders, broker.ReasonBlocked},
		"key":                {blocking(broker.BlockKey, "k-1"), orders, broker.ReasonBlocked},
		"client":             {blocking(broker.BlockWorkload, gateway.String()), orders, broker.ReasonBlocked},
		"earlier actor":      {blocking(broker.BlockWorkload, ledger.String()), orders, broker.ReasonBlocked},
		"user":               {blocking(broker.BlockSubject, "corp:alice"), orders, broker.ReasonBlocked},
		"issuer of the user": {blocking(broker.BlockIssuer, corpURL), orders, broker.ReasonBlocked},
		"caller":             {blocking(broker.BlockWorkload, orders.String()), orders, broker.ReasonBlocked},
		"issued too early": {func(v *view, s *broker.Subject, _ *line) {
			v.blocks = []broker.Block{{Target: broker.BlockSubject, ID: s.Sub, NotBefore: s.IssuedAt.Add(time.Nanosecond)}}
		}, orders, broker.ReasonBlocked},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := world(t)
			l := newLine(t, v)
			l.subject = descended(t, v)
			if tt.change != nil {
				tt.change(v, l.subject, l)
			}
			got, err := l.introspect(t, proven(tt.caller))
			if err != nil || got.Token != nil || got.Serves || got.Issuer != "" || got.Reason != tt.reason {
				t.Errorf("%+v, %v", got, err)
			}
			if len(l.records) != 1 || l.records[0].Type != broker.RecordIntrospection || l.records[0].Reason != tt.reason || l.records[0].Allowed {
				t.Errorf("records %+v", l.records)
			}
		})
	}
}

// What is over, or about something else, leaves the token active.
func TestIntrospectOtherBlocks(t *testing.T) {
	t.Parallel()
	for name, block := range map[string]broker.Block{
		"another token": {Target: broker.BlockToken, ID: "t-2"},
		"over":          {Target: broker.BlockToken, ID: "t-1", Until: start},
		"issued after":  {Target: broker.BlockSubject, ID: "corp:alice", NotBefore: start.Add(-time.Minute)},
		"mapping":       {Target: broker.BlockMapping, ID: "shop/gateway-orders"}, // it gives no new token; one that was given names no mapping
	} {
		v := world(t)
		v.blocks = []broker.Block{block}
		l := newLine(t, v)
		l.subject = descended(t, v)
		if got, err := l.introspect(t, proven(orders)); err != nil || got.Token == nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

// descended is a token of gateway with an ancestor and an earlier actor.
func descended(t testing.TB, v *view) *broker.Subject {
	t.Helper()
	s := question(t, "held", v).Subject
	s.Ancestors = []string{"t-0"}
	s.Actor = &broker.Actor{Party: broker.Party{Subject: gateway.String()}, Actor: &broker.Actor{Party: broker.Party{Subject: ledger.String()}}}
	return s
}

func blocking(target broker.BlockTarget, id string) func(*view, *broker.Subject, *line) {
	return func(v *view, _ *broker.Subject, _ *line) { v.blocks = []broker.Block{{Target: target, ID: id}} }
}

// A replica that cannot confirm its policy says neither yes nor no; how fresh it
// must be is the resource's to say, and only to those who may know of the token.
func TestIntrospectUnavailable(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(l *line, v *view)
		caller broker.Workload
		code   broker.Code
	}{
		"no policy":         {func(l *line, _ *view) { l.view = nil }, proven(orders), broker.CodeUnavailable},
		"lease over":        {func(l *line, _ *view) { l.lease = 0 }, proven(orders), broker.CodeUnavailable},
		"lease over, other": {func(l *line, _ *view) { l.lease = 0 }, proven(other), broker.CodeUnavailable},
		"strict": {func(l *line, v *view) {
			l.lease, v.resources[0].Freshness = broker.FreshnessNormal-broker.FreshnessStrict, broker.FreshnessStrict
		}, proven(orders), broker.CodeUnavailable},
		"keys away": {func(l *line, _ *view) {
			l.fails["verify"] = broker.Unavailable(broker.ReasonSignerUnavailable, time.Second, nil)
		}, proven(orders), broker.CodeUnavailable},
		"unclassified":  {func(l *line, _ *view) { l.fails["verify"] = errors.New("x") }, proven(orders), broker.CodeInternal},
		"proof over":    {nil, broker.Workload{ID: orders, Proof: broker.ProofMTLS, NotAfter: start}, broker.CodeInvalidClient},
		"proof of none": {nil, broker.Workload{ID: orders, NotAfter: start.Add(time.Hour)}, broker.CodeInvalidClient},
	}
	for name, tt := range tests {
		v := world(t)
		l := newLine(t, v)
		l.subject = descended(t, v)
		if tt.change != nil {
			tt.change(l, v)
		}
		got, err := l.introspect(t, tt.caller)
		if err == nil || broker.AsError(err).Code != tt.code || got.Token != nil {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if len(l.records) != 1 || l.records[0].Type != broker.RecordIntrospection {
			t.Errorf("%s: records %+v", name, l.records)
		}
	}
	v := world(t)
	v.resources[0].Freshness = broker.FreshnessStrict
	l := newLine(t, v)
	l.lease, l.subject = broker.FreshnessNormal-broker.FreshnessStrict, descended(t, v)
	if got, err := l.introspect(t, proven(other)); err != nil || got.Token != nil {
		t.Errorf("somebody else learns that a token is for a strict resource: %+v, %v", got, err)
	}
}

// told remembers whether a check of Decide held.
type told map[broker.Reason]bool

func (told) Mapping(*broker.Candidate, broker.Outcome) {}
func (c told) Check(r broker.Reason, held bool)        { c[r] = held }

// A block makes a token inactive exactly when Decide would refuse to exchange it,
// whoever shows it, whatever is blocked.
func TestIntrospectionIsTheRuleOfDecide(t *testing.T) {
	t.Parallel()
	base := world(t)
	subject := descended(t, base)
	var targets []broker.Block
	for _, x := range []struct {
		target broker.BlockTarget
		ids    []string
	}{
		{broker.BlockWorkload, []string{gateway.String(), orders.String(), ledger.String(), other.String()}},
		{broker.BlockSubject, []string{"corp:alice", "corp:bob", gateway.String(), other.String()}},
		{broker.BlockToken, []string{"t-0", "t-1", "t-2"}},
		{broker.BlockKey, []string{"k-1", "k-2"}},
		{broker.BlockIssuer, []string{corpURL, "https://other.example"}},
		{broker.BlockMapping, []string{"shop/gateway-orders"}},
	} {
		for _, id := range x.ids {
			targets = append(targets, broker.Block{Target: x.target, ID: id})
		}
	}
	untils := []time.Time{{}, start, start.Add(time.Hour)}
	befores := []time.Time{{}, start, subject.IssuedAt, subject.IssuedAt.Add(1)}
	hits, misses := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		v := base.clone()
		for range rapid.IntRange(0, 3).Draw(rt, "blocks") {
			block := targets[rapid.IntRange(0, len(targets)-1).Draw(rt, "target")]
			block.Until, block.NotBefore = rapid.SampledFrom(untils).Draw(rt, "until"), rapid.SampledFrom(befores).Draw(rt, "not before")
			v.blocks = append(v.blocks, block)
		}
		way := rapid.SampledFrom([]string{"held", "onward"}).Draw(rt, "way")
		q := question(t, way, v)
		q.Subject = subject
		held := told{}
		broker.Decide(q, held)
		l := newLine(t, v)
		l.subject = subject
		got, err := l.introspect(t, q.Workload)
		if err != nil || (got.Token != nil) != held[broker.ReasonBlocked] {
			rt.Fatalf("%s with %+v: %+v, %v; Decide: %v", way, v.blocks, got, err, held[broker.ReasonBlocked])
		}
		if got.Token == nil {
			hits++
		} else {
			misses++
		}
	})
	if hits == 0 || misses == 0 {
		t.Errorf("%d blocked, %d not: nothing was compared", hits, misses)
	}
}
