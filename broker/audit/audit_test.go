package audit_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/store"
	"github.com/cambist/cambist/tests/pgtest"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(crashEnv); how != "" {
		recordUntilKilled(how)
	}
	os.Exit(pgtest.Main(m))
}

var start = time.Date(2026, 11, 24, 12, 0, 0, 123456789, time.UTC)

// canary stands for what no body may hold.
const canary = "c4n4ry"

// ledger is store.Records in memory. Each commit asks next what becomes of it.
type ledger struct {
	store.Records
	mu      sync.Mutex
	rows    []store.RecordRow
	commits int
	lastErr error // what LastRecord answers
	next    func(rows []store.RecordRow) (lands bool, err error)
}

func (l *ledger) AppendRecords(ctx context.Context, rows []store.RecordRow) error {
	l.mu.Lock()
	next := l.next
	l.commits++
	l.mu.Unlock()
	lands, err := true, error(nil)
	if next != nil {
		lands, err = next(rows)
	}
	if lands {
		l.land(rows)
	}
	if ctx.Err() != nil && err == nil { // as a database does whose caller gave up
		return store.ErrUnknownOutcome
	}
	return err
}

func (l *ledger) land(rows []store.RecordRow) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, rows...)
}

func (l *ledger) LastRecord(context.Context, string) (store.RecordRow, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.lastErr != nil {
		return store.RecordRow{}, l.lastErr
	}
	if len(l.rows) == 0 {
		return store.RecordRow{}, broker.Errorf(broker.CodeNotFound, "", "none")
	}
	return slices.MaxFunc(l.rows, func(a, b store.RecordRow) int {
		if c := strings.Compare(a.Segment, b.Segment); c != 0 {
			return c
		}
		return int(a.Seq - b.Seq)
	}), nil
}

func (l *ledger) all() []store.RecordRow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.rows)
}

func (l *ledger) set(next func([]store.RecordRow) (bool, error)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next = next
}

// reverse seals by turning bytes round and putting the context before them.
type reverse struct{ fail bool }

var errNoKey = errors.New("no key")

func (s reverse) Seal(plain, additional []byte) ([]byte, error) {
	if s.fail {
		return nil, errNoKey
	}
	out := slices.Clone(plain)
	slices.Reverse(out)
	return append([]byte(string(additional)+"\n"), out...), nil
}

func (s reverse) Open(sealed, additional []byte) ([]byte, error) {
	rest, ok := strings.CutPrefix(string(sealed), string(additional)+"\n")
	if !ok || s.fail {
		return nil, errNoKey
	}
	out := []byte(rest)
	slices.Reverse(out)
	return out, nil
}

func config(records store.Records) audit.Config {
	return audit.Config{
		Records: records, Replica: "r1", Version: "v1.2.3", Limits: broker.DefaultLimits(), Sealer: reverse{},
		Now: time.Now, NewID: broker.NewID, Warn: func(string, ...any) {},
	}
}

// run starts a recorder; stop ends it and returns what Run returned.
func run(t testing.TB, c audit.Config) (r *audit.Recorder, stop func() error) {
	t.Helper()
	r = audit.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() { _ = stop() })
	return r, stop
}

func set(names ...string) oauth.Scopes {
	s, err := oauth.NewScopes(names...)
	if err != nil {
		panic(err)
	}
	return s
}

var caller = spiffeid.RequireFromString("spiffe://prod.example/ns/bi/sa/reports")

// record is an allow with something in every field.
func record(id string) *broker.Record {
	return &broker.Record{
		ID: id, Type: broker.RecordExchange, At: start, Allowed: true, Resource: "ledger", Revision: 7, LeaseMS: 59000,
		Workload: broker.Workload{
			ID: caller, Proof: broker.ProofXFCC, Thumbprint: "thumb", Serial: "0a", NotAfter: start.Add(time.Hour),
			Via: spiffeid.RequireFromString("spiffe://prod.example/ns/mesh/sa/gateway"),
		},
		Request: broker.ExchangeRequest{
			At: start, Grant: oauth.GrantTokenExchange, ClientID: caller.String(), Audience: "https://ledger", Scopes: set("ledger.read"),
			Subject:       &broker.SubjectToken{Raw: oauth.NewSecret(canary + "-subject"), Type: oauth.TokenTypeJWT},
			Actor:         &broker.SubjectToken{Raw: oauth.NewSecret(canary + "-actor"), Type: oauth.TokenTypeIDToken},
			RequestedType: oauth.TokenTypeAccessToken, ProofKey: "jkt-1",
			Origin: broker.Origin{RequestID: id, Listener: "mtls", RemoteAddress: "10.0.0.1:1", TLSVersion: "1.3", CipherSuite: "TLS_AES_128_GCM_SHA256", TraceParent: "00-4bf9-00"},
		},
		Subject: &broker.Subject{
			Kind: broker.SubjectUser, Sub: "corp:alice", Origin: broker.SubjectID{Issuer: "https://corp", Subject: "alice"}, Issuer: &broker.Issuer{Name: "corp", Carry: []string{"groups"}},
			Issued: true, Audience: []string{"cambist", "x"}, ClientID: "spiffe://prod.example/c", Presenters: []string{"spiffe://prod.example/p"}, Scopes: set("a", "b"), TokenID: "j1",
			TokenHash: [32]byte{1, 2}, KeyID: "k1", IssuedAt: start, ExpiresAt: start.Add(time.Hour),
			Actor:  &broker.Actor{Party: broker.Party{Subject: "a"}, Actor: &broker.Actor{Party: broker.Party{Subject: "b", Issuer: "i"}}},
			MayAct: &broker.Party{Subject: "m"}, Confirmation: broker.Confirmation{CertificateThumbprint: "x", KeyThumbprint: "y", Unknown: true}, Txn: "txn", Ancestors: []string{"j0"},
			Claims: []broker.Claim{{Name: "email", Value: canary + "-email"}, {Name: "groups", Value: []string{canary + "-group"}}},
		},
		Actor:    &broker.Subject{Kind: broker.SubjectWorkload, Sub: caller.String(), ExpiresAt: start.Add(time.Minute), Claims: []broker.Claim{{Name: "x", Value: canary}}},
		Mappings: []*broker.Mapping{{ID: "shop/reports", Revision: 3}},
		Claims: &broker.Claims{
			Issuer: "https://us", Subject: "corp:alice", SubjectID: broker.SubjectID{Issuer: "https://corp", Subject: "alice"}, Audience: "https://ledger", ClientID: caller.String(), ID: id,
			IssuedAt: start, ExpiresAt: start.Add(time.Minute), Scopes: set("ledger.read"), Actor: &broker.Actor{Party: broker.Party{Subject: caller.String()}},
			Confirmation: broker.Confirmation{KeyThumbprint: "y"}, Ancestors: []string{"j0", "j1"}, Presenters: []spiffeid.ID{caller}, Revision: 7, Txn: "t",
			Extra: []broker.Claim{{Name: "groups", Value: []string{canary + "-group"}}, {Name: "team", Value: canary + "-team"}},
		},
		Unsigned: broker.Unsigned{Input: []byte("h.p"), Hash: [32]byte{9}, KeyID: "kid", Algorithm: "ES256"},
		Facts:    []broker.Claim{{Name: "user.age", Value: int64(1<<62 + 1)}, {Name: "request.scopes", Value: []string{"ledger.read"}}, {Name: "user.admin", Value: true}},
	}
}

func refusal(id string) *broker.Record {
	r := record(id)
	r.Allowed, r.Claims, r.Facts, r.Unsigned, r.Reason, r.Code, r.Mappings = false, nil, nil, broker.Unsigned{}, broker.ReasonMappingNone, broker.CodeInvalidTarget, nil
	r.Subject.Issuer = nil
	return r
}

// entry decodes the one row of that id.
func entry(t testing.TB, rows []store.RecordRow, id string) audit.Entry {
	t.Helper()
	var found []store.RecordRow
	for _, r := range rows {
		if r.ID == id {
			found = append(found, r)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d rows of %s", len(found), id)
	}
	e, err := audit.Decode(found[0].Body)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func intact(t testing.TB, rows []store.RecordRow) {
	t.Helper()
	if faults := audit.Verify(rows, audit.Anchors(rows)...); len(faults) != 0 {
		t.Errorf("%d faults, first %v", len(faults), faults[0])
	}
}

// counted returns how many records the rows stand for, each row once: after a
// commit of unknown outcome a refusal may stand there twice, under one id.
func counted(t testing.TB, rows []store.RecordRow) (total int) {
	t.Helper()
	seen := map[string]bool{}
	for _, r := range rows {
		e, err := audit.Decode(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		if seen[e.ID] {
			continue
		}
		seen[e.ID] = true
		total += e.Merged
		if e.Type != string(broker.RecordGap) {
			total++
		}
	}
	return total
}

func name(prefix string, i int) string { return fmt.Sprintf("%s-%d", prefix, i) }

// pass lets time go by; in a bubble it costs none.
func pass(d time.Duration) { <-time.After(d) }
