package audit_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/store"
)

// open is an opener of what is not sealed at all.
type open struct{}

func (open) Open(sealed, _ []byte) ([]byte, error) { return sealed, nil }

// What a reader of the record makes of any bytes: no panic, one meaning, and a
// question or a reason why there is none.
func FuzzDecode(f *testing.F) {
	l := &ledger{}
	r, stop := run(f, config(l))
	for i, x := range []*broker.Record{record("a"), refusal("b"), {ID: "c", Type: broker.RecordGap}} {
		x.Detail = fmt.Sprint(i)
		r.Note(x)
	}
	if err := stop(); err != nil {
		f.Fatal(err)
	}
	for _, row := range l.all() {
		f.Add(row.Body)
	}
	for _, seed := range []string{`{}`, `{"user":{"a":"b","c":[],"d":1,"e":true}}`, `{"claims":{"a":null}}`, `{"schema":1,"id":"","type":"","at":"0000-01-01T00:00:00Z","gaps":[{"segment":""}]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		facts, err := audit.OpenFacts(&store.RecordRow{Facts: raw}, open{})
		if err == nil && facts != nil {
			for _, c := range append(facts.User, facts.Claims...) {
				switch c.Value.(type) {
				case string, bool, int64, []string:
				default:
					t.Errorf("%q has a value of type %T", c.Name, c.Value)
				}
			}
		}
		e, err := audit.Decode(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(e)
		if err != nil {
			return // a time that JSON cannot say
		}
		twice, err := audit.Decode(again)
		if err != nil {
			t.Fatalf("%v: %s became %s", err, raw, again)
		}
		if third, err := json.Marshal(twice); err != nil || !bytes.Equal(third, again) {
			t.Errorf("%s became %s, %v", again, third, err)
		}
		if _, err := e.Question(facts); err != nil && !errors.Is(err, audit.ErrBody) && !errors.Is(err, audit.ErrUnknown) {
			t.Errorf("question: %v", err)
		}
	})
}

// What the verifier makes of rows in any order, with any links: no panic, and never
// silence about a row that was changed.
func FuzzVerify(f *testing.F) {
	f.Add([]byte("aa1bb2"), 3)
	f.Add([]byte{0, 0, 1, 0, 0, 2, 0, 1, 1, 1, 0, 1}, 0)
	f.Fuzz(func(t *testing.T, raw []byte, changed int) {
		var rows []store.RecordRow
		for ; len(raw) >= 3 && len(rows) < 64; raw = raw[3:] {
			r := store.RecordRow{
				At: time.UnixMicro(int64(len(rows))), Replica: string('a' + rune(raw[0]%2)), Segment: string('a' + rune(raw[1]%4)), Seq: int64(raw[2] % 8), ID: fmt.Sprint(len(rows)),
				Body: []byte(`{"schema":1,"id":"","type":"gap","at":"2026-01-01T00:00:00Z","gaps":[{"segment":"a","through":3,"hash":"00"},{"segment":"b"}]}`),
			}
			if from := int(raw[0] >> 1); from < len(rows) {
				r.Prev = rows[from].Hash
			}
			rows = append(rows, audit.Rehash(r))
		}
		anchors := audit.Anchors(rows)
		_ = audit.Verify(rows, anchors...)
		if len(rows) == 0 {
			return
		}
		i := (changed%len(rows) + len(rows)) % len(rows)
		rows[i].Outcome += "x"
		found := false
		for _, fault := range audit.Verify(rows, anchors...) {
			found = found || fault.Problem == "the row was changed" && fault.Seq == rows[i].Seq && fault.Segment == rows[i].Segment
		}
		if !found {
			t.Errorf("row %d was changed and nobody says so", i)
		}
	})
}
