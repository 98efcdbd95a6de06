package audit_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/store"
)

// row returns the row that a recorder writes for a record.
func row(t testing.TB, x *broker.Record) store.RecordRow {
	t.Helper()
	l := &ledger{}
	r, stop := run(t, config(l))
	r.Note(x)
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	rows := l.all()
	if len(rows) != 1 {
		t.Fatalf("%d rows", len(rows))
	}
	intact(t, rows)
	return rows[0]
}

// want is what the body of a record must say, written once more the slow way.
func want(x *broker.Record) audit.Entry {
	e := audit.Entry{
		Schema: 1, ID: x.ID, Type: string(x.Type), Of: x.Of, At: x.At, Decision: "refused", Code: x.Code.String(), Reason: string(x.Reason), Detail: x.Detail, Merged: x.Merged,
		Version: "v1.2.3", Resource: x.Resource, Revision: int64(x.Revision), LeaseMS: x.LeaseMS, Limits: audit.Limits{TTLCap: 900, ChainDepth: 4},
		KeyID: x.Unsigned.KeyID, Algorithm: x.Unsigned.Algorithm, Subject: wantSubject(x.Subject), Actor: wantSubject(x.Actor),
	}
	if x.Allowed {
		e.Decision, e.Code = "allowed", ""
	}
	o, w, q := &x.Request.Origin, &x.Workload, &x.Request
	e.Origin = audit.Origin{Listener: o.Listener, Remote: o.RemoteAddress, TLS: o.TLSVersion, Cipher: o.CipherSuite, TraceParent: o.TraceParent}
	e.Workload = audit.Workload{ID: text(w.ID), Thumbprint: w.Thumbprint, Serial: w.Serial, NotAfter: w.NotAfter, Via: text(w.Via)}
	if w.Proof != broker.ProofNone {
		e.Workload.Proof = w.Proof.String()
	}
	e.Request = audit.Request{Grant: string(q.Grant), ClientID: q.ClientID, Audience: q.Audience, Scope: q.Scopes.String(), RequestedType: string(q.RequestedType), ProofKey: q.ProofKey}
	if q.Subject != nil {
		e.Request.SubjectType = string(q.Subject.Type)
	}
	if q.Actor != nil {
		e.Request.ActorType = string(q.Actor.Type)
	}
	for _, m := range x.Mappings {
		e.Mappings = append(e.Mappings, audit.Mapping{ID: m.ID, Revision: int64(m.Revision)})
	}
	if c := x.Claims; c != nil {
		e.Claims = &audit.Claims{
			Issuer: c.Issuer, Subject: c.Subject, Audience: c.Audience, ClientID: c.ClientID, ID: c.ID, IssuedAt: c.IssuedAt, ExpiresAt: c.ExpiresAt, Scope: c.Scopes.String(),
			Actors: wantChain(c.Actor), SubIssuer: c.SubjectID.Issuer, SubSubject: c.SubjectID.Subject, Confirm: wantConfirm(c.Confirmation), Txn: c.Txn, Ancestors: c.Ancestors, Revision: int64(c.Revision),
		}
		for _, p := range c.Presenters {
			e.Claims.Presenters = append(e.Claims.Presenters, p.String())
		}
		for _, x := range c.Extra {
			e.Claims.Extra = append(e.Claims.Extra, x.Name)
		}
	}
	if x.Unsigned.Hash != [32]byte{} {
		e.Input = hex.EncodeToString(x.Unsigned.Hash[:])
	}
	return e
}

func text(id spiffeid.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func wantSubject(s *broker.Subject) *audit.Subject {
	if s == nil {
		return nil
	}
	e := &audit.Subject{
		Kind: s.Kind.String(), Sub: s.Sub, Issuer: s.Origin.Issuer, Original: s.Origin.Subject, Issued: s.Issued, Audience: s.Audience, ClientID: s.ClientID, Presenters: s.Presenters,
		Scope: s.Scopes.String(), TokenID: s.TokenID, KeyID: s.KeyID, IssuedAt: s.IssuedAt, ExpiresAt: s.ExpiresAt, Actors: wantChain(s.Actor), Confirm: wantConfirm(s.Confirmation), Txn: s.Txn, Ancestors: s.Ancestors,
	}
	if s.TokenHash != [32]byte{} {
		e.Hash = hex.EncodeToString(s.TokenHash[:])
	}
	if s.MayAct != nil {
		e.MayAct = &audit.Party{Subject: s.MayAct.Subject, Issuer: s.MayAct.Issuer}
	}
	return e
}

func wantChain(a *broker.Actor) (list []audit.Party) {
	for ; a != nil; a = a.Actor {
		list = append(list, audit.Party{Subject: a.Subject, Issuer: a.Issuer})
	}
	return list
}

func wantConfirm(c broker.Confirmation) audit.Confirm {
	return audit.Confirm{Certificate: c.CertificateThumbprint, Key: c.KeyThumbprint, Unknown: c.Unknown}
}

// A body is what a JSON library makes of the entry that it decodes to, byte for
// byte, and the entry says all that the record said.
func TestBody(t *testing.T) {
	t.Parallel()
	undelivered := &broker.Record{ID: "u", Type: broker.RecordUndelivered, Of: "id-1", At: start, Reason: broker.ReasonLeaseExpired, Code: broker.CodeUnavailable}
	for name, x := range map[string]*broker.Record{"allow": record("id-1"), "refusal": refusal("id-2"), "undelivered": undelivered, "empty": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wantBody(t, x)
		})
	}
}

func wantBody(t *testing.T, x *broker.Record) {
	t.Helper()
	wantBodyIn(t, t, x)
}

func wantBodyIn(rt interface{ Fatalf(string, ...any) }, t testing.TB, x *broker.Record) {
	r := row(t, x)
	e, err := audit.Decode(r.Body)
	if err != nil {
		rt.Fatalf("%v: %s", err, r.Body)
	}
	body, err := json.Marshal(e)
	if err != nil || !bytes.Equal(body, r.Body) {
		rt.Fatalf("body %s\nwant %s, %v", r.Body, body, err)
	}
	said := want(x)
	said.Sealed, said.Clipped = e.Sealed, e.Clipped
	if diff := cmp.Diff(said, e); diff != "" {
		rt.Fatalf("entry (-said +read): %s", diff)
	}
	if e.Clipped != audit.ClippedNone {
		rt.Fatalf("clipped %q", e.Clipped)
	}
}

// Threat H6: no token, and no claim of a user, stands in a body in clear.
func TestBodyHoldsNoSecret(t *testing.T) {
	t.Parallel()
	for _, x := range []*broker.Record{record("id-1"), refusal("id-2")} {
		r := row(t, x)
		if all := string(r.Body) + r.ID + r.Workload + r.Resource + r.Outcome; strings.Contains(all, canary) {
			t.Errorf("%s", all)
		}
	}
}

// A client that puts its token into the wrong parameter does not find it in the
// record: only its hash.
func TestMisplacedToken(t *testing.T) {
	t.Parallel()
	const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9c4n4ry.c2lnbmF0dXJl"
	for name, place := range map[string]func(*broker.Record, string){
		"audience":    func(r *broker.Record, s string) { r.Request.Audience = s },
		"client_id":   func(r *broker.Record, s string) { r.Request.ClientID = "x " + s },
		"grant":       func(r *broker.Record, s string) { r.Request.Grant = oauth.GrantType(s) },
		"scope":       func(r *broker.Record, s string) { r.Request.Scopes = set("a", s) },
		"type":        func(r *broker.Record, s string) { r.Request.RequestedType = oauth.TokenType(s) },
		"subject":     func(r *broker.Record, s string) { r.Request.Subject.Type = oauth.TokenType(s) },
		"actor":       func(r *broker.Record, s string) { r.Request.Actor.Type = oauth.TokenType(s) },
		"traceparent": func(r *broker.Record, s string) { r.Request.Origin.TraceParent = s },
		"detail":      func(r *broker.Record, s string) { r.Detail = "parse \"" + s + "\"" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := refusal("id-1")
			place(x, token)
			r := row(t, x)
			if bytes.Contains(r.Body, []byte(canary)) || !bytes.Contains(r.Body, []byte("[token ")) {
				t.Errorf("%s", r.Body)
			}
		})
	}
	for _, harmless := range []string{"https://heyJude-and-the-others.example", "eyJ", "eyJhbGciOiJFUzI1NiJ9", "eyJhbGciOiJFUzI1NiJ9.x"} {
		x := refusal("id-1")
		x.Request.Audience = harmless
		if e := entry(t, []store.RecordRow{row(t, x)}, "id-1"); e.Request.Audience != harmless {
			t.Errorf("%q became %q", harmless, e.Request.Audience)
		}
	}
}

// Threat H24: whatever a name holds, a body is one line of JSON.
func TestControlCharacters(t *testing.T) {
	t.Parallel()
	x := refusal("a\x00b\nc")
	x.Detail, x.Resource = "line\nbreak \x1b[31m \x00 \u2028", "x\x00\xff\n"
	r := row(t, x)
	if bytes.ContainsAny(r.Body, "\x00\n\x1b") || strings.ContainsAny(r.Resource+r.ID, "\x00\n") || !utf8.ValidString(r.Resource) {
		t.Errorf("%q in %q", r.Body, r.Resource)
	}
	e, err := audit.Decode(r.Body)
	if err != nil || e.Detail != x.Detail || e.ID != x.ID {
		t.Errorf("%q, %v", e.Detail, err)
	}
}

// Threat H8: what is too long is cut and says so; a replay of it is unknown if a
// decision stood on it, and only then.
func TestCaps(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		change func(*broker.Record)
		want   audit.Clipping
		says   string
	}{
		"detail":      {func(r *broker.Record) { r.Detail = strings.Repeat("d", 513) }, audit.ClippedText, "[… 513 bytes, sha256 "},
		"detail fits": {func(r *broker.Record) { r.Detail = strings.Repeat("d", 512) }, audit.ClippedNone, ""},
		"detail é":    {func(r *broker.Record) { r.Detail = "d" + strings.Repeat("é", 256) }, audit.ClippedText, "é[… 513 bytes"},
		"audience":    {func(r *broker.Record) { r.Request.Audience = strings.Repeat("a", 2049) }, audit.ClippedInput, "[… 2049 bytes"},
		"scopes":      {func(r *broker.Record) { r.Request.Scopes = set(strings.Repeat("s", 4097)) }, audit.ClippedInput, "[… 4097 bytes"},
		"aud":         {func(r *broker.Record) { r.Subject.Audience = slices.Repeat([]string{"x"}, 40) }, audit.ClippedInput, "[… 8 more]"},
		"aud fits":    {func(r *broker.Record) { r.Subject.Audience = slices.Repeat([]string{"x"}, 32) }, audit.ClippedNone, ""},
		"no UTF-8":    {func(r *broker.Record) { r.Subject.Sub = "corp:\xff" }, audit.ClippedInput, "corp:\ufffd"},
		"late":        {func(r *broker.Record) { r.Subject.ExpiresAt = time.Unix(1<<60, 0) }, audit.ClippedInput, "9999-12-31T23:59:59Z"},
		"chain": {func(r *broker.Record) {
			for range 40 {
				r.Subject.Actor = &broker.Actor{Party: broker.Party{Subject: "s"}, Actor: r.Subject.Actor}
			}
		}, audit.ClippedInput, "[… 10 more]"},
		"mappings": {func(r *broker.Record) { r.Mappings = slices.Repeat([]*broker.Mapping{{ID: "a/b"}}, 33) }, audit.ClippedText, "[… 1 more]"},
		"extra":    {func(r *broker.Record) { r.Claims.Extra[0].Name = strings.Repeat("n", 257) }, audit.ClippedText, "[… 257 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := record("id-1")
			tt.change(x)
			r := row(t, x)
			e, err := audit.Decode(r.Body)
			if err != nil || e.Clipped != tt.want || !bytes.Contains(r.Body, []byte(tt.says)) {
				t.Fatalf("clipped %q, %v: %s", e.Clipped, err, r.Body)
			}
			facts, err := audit.OpenFacts(&r, reverse{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Question(facts); (tt.want == audit.ClippedInput) != errors.Is(err, audit.ErrUnknown) {
				t.Errorf("question: %v", err)
			}
		})
	}
}

// huge draws text of any length and kind, bad UTF-8 and control characters too.
func huge(rt *rapid.T, name string) string {
	unit := rapid.SampledFrom([]string{"", "a", "\x00", "\"", "é", "\xff", "\U0001f512", "eyJhbGciOiJFUzI1NiJ9.", "x y"}).Draw(rt, name)
	return strings.Repeat(unit, rapid.SampledFrom([]int{0, 1, 3, 64, 600, 5000, 70000}).Draw(rt, name+" times"))
}

func hugeList(rt *rapid.T, name string) []string {
	return slices.Repeat([]string{huge(rt, name)}, rapid.SampledFrom([]int{0, 1, 3, 33, 500}).Draw(rt, name+" items"))
}

// hugeRecord is what an attacker would send, and worse.
func hugeRecord(rt *rapid.T) *broker.Record {
	chain := func(name string) (a *broker.Actor) {
		for range rapid.SampledFrom([]int{0, 1, 40}).Draw(rt, name) {
			a = &broker.Actor{Party: broker.Party{Subject: huge(rt, name), Issuer: huge(rt, name)}, Actor: a}
		}
		return a
	}
	at := func(name string) time.Time { return time.Unix(rapid.Int64().Draw(rt, name), 1) }
	subject := func(name string) *broker.Subject {
		return &broker.Subject{
			Kind: broker.SubjectUser, Sub: huge(rt, name), Origin: broker.SubjectID{Issuer: huge(rt, name), Subject: huge(rt, name)}, Audience: hugeList(rt, name), ClientID: huge(rt, name),
			Presenters: hugeList(rt, name), TokenID: huge(rt, name), KeyID: huge(rt, name), IssuedAt: at(name), ExpiresAt: at(name), Actor: chain(name), MayAct: &broker.Party{Subject: huge(rt, name)},
			Confirmation: broker.Confirmation{CertificateThumbprint: huge(rt, name), KeyThumbprint: huge(rt, name)}, Txn: huge(rt, name), Ancestors: hugeList(rt, name),
			Issuer: &broker.Issuer{Carry: []string{"c"}}, Claims: []broker.Claim{{Name: "c", Value: huge(rt, name)}},
		}
	}
	x := record(huge(rt, "id"))
	x.Of, x.Detail, x.Resource, x.Reason = huge(rt, "of"), huge(rt, "detail"), huge(rt, "resource"), broker.Reason(huge(rt, "reason"))
	x.Allowed = rapid.Bool().Draw(rt, "allowed")
	x.Request.Audience, x.Request.ClientID, x.Request.Grant = huge(rt, "audience"), huge(rt, "client"), oauth.GrantType(huge(rt, "grant"))
	x.Request.Origin.TraceParent, x.Request.Origin.RemoteAddress = huge(rt, "trace"), huge(rt, "remote")
	x.Subject, x.Actor = subject("subject"), subject("actor")
	x.Mappings = slices.Repeat([]*broker.Mapping{{ID: huge(rt, "mapping")}}, rapid.SampledFrom([]int{0, 50}).Draw(rt, "mappings"))
	x.Claims.Subject, x.Claims.Ancestors, x.Claims.Actor = huge(rt, "sub"), hugeList(rt, "anc"), chain("act")
	x.Claims.Extra = slices.Repeat([]broker.Claim{{Name: huge(rt, "extra"), Value: huge(rt, "value")}}, rapid.SampledFrom([]int{0, 1, 50}).Draw(rt, "extras"))
	return x
}

// Threat H8: whatever comes in, there is a row that every store takes and every
// reader reads.
func TestNoInputFails(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		x := hugeRecord(rt)
		l := &ledger{}
		r, stop := run(t, config(l))
		r.Note(x)
		if err := stop(); err != nil || len(l.all()) != 1 {
			rt.Fatalf("%d rows, %v", len(l.all()), err)
		}
		got := l.all()[0]
		if len(got.Body) > 64<<10 || len(got.ID)+len(got.Workload)+len(got.Resource)+len(got.Outcome) > 12<<10 || strings.ContainsAny(got.ID+got.Resource+got.Outcome, "\x00") {
			rt.Fatalf("body of %d bytes, id of %d", len(got.Body), len(got.ID))
		}
		e, err := audit.Decode(got.Body)
		if err != nil {
			rt.Fatalf("%v: %.3000s", err, got.Body)
		}
		if again, err := json.Marshal(e); err != nil || !bytes.Equal(again, got.Body) {
			rt.Fatalf("not canonical: %v", err)
		}
		if faults := audit.Verify(l.all()); len(faults) > 0 {
			rt.Fatal(faults)
		}
	})
}

// Texts of every kind come back as they were.
func TestBodyProperty(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		x := record(rapid.String().Draw(rt, "id"))
		draw := func(name string) string { return rapid.StringN(0, 40, 200).Draw(rt, name) }
		x.Of, x.Detail, x.Resource, x.Workload.Serial = draw("of"), draw("detail"), draw("resource"), draw("serial")
		x.Request.Audience, x.Request.ClientID, x.Request.ProofKey = draw("audience"), draw("client"), draw("jkt")
		x.Subject.Sub, x.Subject.Txn, x.Subject.Audience = draw("sub"), draw("txn"), []string{draw("aud"), draw("aud2")}
		x.Subject.MayAct, x.Subject.Actor.Subject = &broker.Party{Subject: draw("may"), Issuer: draw("may iss")}, draw("actor")
		x.Revision, x.LeaseMS, x.Merged = broker.Revision(rapid.Int64().Draw(rt, "rev")), rapid.Int64().Draw(rt, "lease"), rapid.IntRange(0, 1<<30).Draw(rt, "merged")
		x.At = time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(rt, "at")).UTC()
		x.Mappings[0].ID = draw("mapping")
		x.Claims.Extra[0].Name = "n" + draw("extra")
		wantBodyIn(rt, t, x)
	})
}

func TestDecodeRefuses(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"unknown member": `{"schema":1,"id":"a","type":"x","at":"2026-11-24T12:00:00Z","x":1}`,
		"another schema": `{"schema":2,"id":"a","type":"x","at":"2026-11-24T12:00:00Z"}`,
		"no schema":      `{"id":"a"}`,
		"no JSON":        "x",
		"nothing":        "",
		"twice":          `{"schema":1,"id":"a","id":"b"}`,
		"another case":   `{"schema":1,"ID":"a"}`,
	} {
		if _, err := audit.Decode([]byte(body)); !errors.Is(err, audit.ErrBody) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is sealed comes back with its types, beside its own row and no other.
func TestFacts(t *testing.T) {
	t.Parallel()
	r := row(t, record("id-1"))
	f, err := audit.OpenFacts(&r, reverse{})
	if err != nil {
		t.Fatal(err)
	}
	said := &audit.Facts{
		User:   []broker.Claim{{Name: "admin", Value: true}, {Name: "age", Value: int64(1<<62 + 1)}, {Name: "groups", Value: []string{canary + "-group"}}},
		Claims: []broker.Claim{{Name: "groups", Value: []string{canary + "-group"}}, {Name: "team", Value: canary + "-team"}},
	}
	if diff := cmp.Diff(said, f); diff != "" {
		t.Errorf("facts (-said +opened): %s", diff)
	}
	other := r
	other.ID = "id-2"
	if _, err := audit.OpenFacts(&other, reverse{}); !errors.Is(err, errNoKey) {
		t.Errorf("opened beside another row: %v", err)
	}
	other = r
	other.Replica = "r2"
	if _, err := audit.OpenFacts(&other, reverse{}); !errors.Is(err, errNoKey) {
		t.Errorf("opened beside a row of another replica: %v", err)
	}
	plain := row(t, &broker.Record{ID: "x"})
	if f, err := audit.OpenFacts(&plain, reverse{}); f != nil || err != nil {
		t.Errorf("nothing sealed: %v, %v", f, err)
	}
}

// What comes twice is kept once, the first of it, and what is more than any token
// says is lost without losing the record.
func TestFactsAreBounded(t *testing.T) {
	t.Parallel()
	twice := record("id-1")
	twice.Facts = append(twice.Facts, broker.Claim{Name: "user.age", Value: int64(1)}, broker.Claim{Name: "user.groups", Value: []string{"first"}})
	twice.Subject.Issuer.Carry = []string{"groups", "email", "email"}
	twice.Claims.Extra = append(twice.Claims.Extra, broker.Claim{Name: "team", Value: "second"})
	r := row(t, twice)
	f, err := audit.OpenFacts(&r, reverse{})
	if err != nil {
		t.Fatal(err)
	}
	said := &audit.Facts{
		User:   []broker.Claim{{Name: "admin", Value: true}, {Name: "age", Value: int64(1<<62 + 1)}, {Name: "email", Value: canary + "-email"}, {Name: "groups", Value: []string{"first"}}},
		Claims: []broker.Claim{{Name: "groups", Value: []string{canary + "-group"}}, {Name: "team", Value: canary + "-team"}},
	}
	if diff := cmp.Diff(said, f); diff != "" {
		t.Errorf("facts (-said +opened): %s", diff)
	}
	l := &ledger{}
	recorder, _ := run(t, config(l))
	for id, size := range map[string]int{"fits": 64<<10 - 200, "too long": 64 << 10} {
		long := refusal(id)
		long.Facts = []broker.Claim{{Name: "user.x", Value: strings.Repeat("x", size)}}
		if _, err := recorder.Append(t.Context(), long); err != nil {
			t.Errorf("%s: %v", id, err)
		}
		want := map[string]audit.Sealing{"fits": audit.SealedKept, "too long": audit.SealedLost}[id]
		if e := entry(t, l.all(), id); e.Sealed != want {
			t.Errorf("%s: sealed %q", id, e.Sealed)
		}
	}
}
