package audit_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/store"
)

// log makes the rows of a replica that was restarted, and whose store once could
// not say what came of a commit: the row "doubtful" stands beside the chain.
func log(t testing.TB, replica string, processes, each int) []store.RecordRow {
	t.Helper()
	l := &ledger{}
	c := config(l)
	c.Replica = replica
	for p := range processes {
		r, stop := run(t, c)
		for i := range each {
			if _, err := r.Append(t.Context(), record(fmt.Sprint(p, "-", i))); err != nil {
				t.Fatal(err)
			}
		}
		if p == 0 {
			var late []store.RecordRow
			l.set(func(rows []store.RecordRow) (bool, error) {
				late = slices.Clone(rows)
				return false, store.ErrUnknownOutcome
			})
			_, _ = r.Append(t.Context(), record("doubtful"))
			l.set(nil)
			if _, err := r.Append(t.Context(), record("again")); err != nil {
				t.Fatal(err)
			}
			l.land(late)
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	return l.all()
}

func index(t testing.TB, rows []store.RecordRow, id string) int {
	t.Helper()
	i := slices.IndexFunc(rows, func(r store.RecordRow) bool { return r.ID == id })
	if i < 0 {
		t.Fatalf("no row %s", id)
	}
	return i
}

// Threat H10: whatever is done to the rows, Verify names the place.
func TestVerifyNamesThePlace(t *testing.T) {
	t.Parallel()
	whole := log(t, "r1", 2, 3)
	intact(t, whole)
	anchors := audit.Anchors(whole)
	at := func(id string) string {
		r := whole[index(t, whole, id)]
		return fmt.Sprintf("%s segment %s row %d: ", r.Replica, r.Segment, r.Seq)
	}
	for name, tt := range map[string]struct {
		tamper func(rows []store.RecordRow) []store.RecordRow
		want   string
	}{
		"body changed":   {func(r []store.RecordRow) []store.RecordRow { r[1].Body = []byte("{}"); return r }, at("0-1") + "the row was changed"},
		"facts dropped":  {func(r []store.RecordRow) []store.RecordRow { r[1].Facts = nil; return r }, at("0-1") + "the row was changed"},
		"from the start": {func(r []store.RecordRow) []store.RecordRow { return r[1:] }, at("0-1") + "the first 1 rows of the segment are missing"},
		"from between":   {func(r []store.RecordRow) []store.RecordRow { return slices.Delete(r, 1, 2) }, at("0-2") + "the 1 rows before it are missing"},
		"end of a segment": {func(r []store.RecordRow) []store.RecordRow {
			return slices.DeleteFunc(r, func(x store.RecordRow) bool { return x.ID == "0-2" || x.ID == "doubtful" })
		}, "row 1: the segment does not continue from any row before it"},
		"a whole segment": {func(r []store.RecordRow) []store.RecordRow {
			gone := r[index(t, r, "again")].Segment
			return slices.DeleteFunc(r, func(x store.RecordRow) bool { return x.Segment == gone })
		}, "row 1: the segment does not continue from any row before it"},
		"the end":    {func(r []store.RecordRow) []store.RecordRow { return r[:len(r)-1] }, at("1-2") + "an anchor remembers the row"},
		"everything": {func([]store.RecordRow) []store.RecordRow { return nil }, at("1-2") + "an anchor remembers the row"},
		"put in beside the doubtful": {func(r []store.RecordRow) []store.RecordRow {
			i := index(t, r, "doubtful")
			r[i].ID = "forged"
			r[i] = audit.Rehash(r[i])
			return r
		}, at("doubtful") + "it stands beside the chain, and no row says why"},
		"put in after the doubtful": {func(r []store.RecordRow) []store.RecordRow {
			x := r[index(t, r, "doubtful")]
			x.ID, x.Seq, x.Prev = "forged", x.Seq+1, x.Hash
			return append(r, audit.Rehash(x))
		}, "row 5: it stands beside the chain, and no row says why"},
		"written anew": {func(r []store.RecordRow) []store.RecordRow {
			r[1].Resource = "other"
			r[1] = audit.Rehash(r[1])
			return r
		}, at("0-2") + "it does not follow from the row before it"},
		"twice": {func(r []store.RecordRow) []store.RecordRow { return append(r, r[2]) }, at("0-2") + "it stands there twice"},
		"a segment renamed": {func(r []store.RecordRow) []store.RecordRow {
			last := r[len(r)-1].Segment
			for i := range r {
				if r[i].Segment == last {
					r[i].Segment += "x"
				}
			}
			return r
		}, "x row 1: the row was changed"},
		"moved before its past":    {func(r []store.RecordRow) []store.RecordRow { return rewrite(r, "0", nil) }, "segment 0 row 1: the segment does not continue from any row before it"},
		"cut off from its past":    {func(r []store.RecordRow) []store.RecordRow { return rewrite(r, "", []byte{}) }, "row 1: it stands beside the chain, and no row says why"},
		"swapped":                  {func(r []store.RecordRow) []store.RecordRow { r[0].Seq, r[1].Seq = r[1].Seq, r[0].Seq; return r }, at("0-0") + "the row was changed"},
		"moved to another replica": {func(r []store.RecordRow) []store.RecordRow { r[1].Replica = "r0"; return r }, "r0 segment " + whole[1].Segment + " row 2: the row was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var lines []string
			for _, f := range audit.Verify(tt.tamper(slices.Clone(whole)), anchors...) {
				lines = append(lines, f.String())
			}
			if !strings.Contains(strings.Join(lines, "\n"), tt.want) {
				t.Errorf("faults %q, want %q", lines, tt.want)
			}
			if len(lines) > 8 {
				t.Errorf("%d faults for one change", len(lines))
			}
		})
	}
}

// A segment begins from nothing only where something says that all before may be
// missing.
func TestVerifyBeginsOnce(t *testing.T) {
	t.Parallel()
	l := &ledger{}
	r, stop := run(t, config(l))
	if _, err := r.Append(t.Context(), record("1")); err != nil {
		t.Fatal(err)
	}
	l.set(func([]store.RecordRow) (bool, error) { return true, store.ErrUnknownOutcome })
	_, _ = r.Append(t.Context(), record("landed"))
	l.set(nil)
	if _, err := r.Append(t.Context(), record("again")); err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	intact(t, l.all())
	faults := audit.Verify(rewrite(l.all(), "", []byte{}))
	if len(faults) != 1 || !strings.Contains(faults[0].String(), "row 1: the segment does not continue from any row before it") {
		t.Errorf("faults %v", faults)
	}
}

// rewrite writes the last segment anew, under another name or from another row, with
// every hash as it must be.
func rewrite(rows []store.RecordRow, segment string, prev []byte) []store.RecordRow {
	last := rows[len(rows)-1].Segment
	for i := range rows {
		r := &rows[i]
		if r.Segment != last {
			continue
		}
		if segment != "" {
			r.Segment = segment
		}
		if prev != nil {
			r.Prev = prev
		}
		*r = audit.Rehash(*r)
		prev = r.Hash
	}
	return rows
}

// A chain whose older rows are gone begins where an anchor ends, also within a
// segment.
func TestVerifyFromAnAnchor(t *testing.T) {
	t.Parallel()
	rows := log(t, "r1", 3, 3)
	for i := range rows {
		if rows[i].ID == "doubtful" {
			continue // nothing continues from it
		}
		var old, young []store.RecordRow
		for _, r := range rows {
			if r.Segment < rows[i].Segment || r.Segment == rows[i].Segment && r.Seq <= rows[i].Seq {
				old = append(old, r)
			} else if r.ID != "doubtful" {
				young = append(young, r)
			}
		}
		if len(young) == 0 {
			continue
		}
		if faults := audit.Verify(young, audit.Anchors(old)...); len(faults) != 0 {
			t.Errorf("from row %d: %v", i, faults)
		}
		other := audit.Anchors(old)
		other[0].Hash = bytes.Repeat([]byte{1}, 32)
		if faults := audit.Verify(young, other...); len(faults) == 0 {
			t.Errorf("from row %d: a wrong anchor is as good", i)
		}
	}
}

// a thousand logs, each changed at one place that is drawn; each change is
// found, and named at that place or at what follows from it.
func TestVerifyProperty(t *testing.T) {
	t.Parallel()
	whole := slices.Concat(log(t, "r1", 3, 4), log(t, "r2", 2, 5))
	intact(t, whole)
	anchors := audit.Anchors(whole)
	found := 0
	rapid.Check(t, func(rt *rapid.T) {
		for range 10 {
			rows := slices.Clone(whole)
			i := rapid.IntRange(0, len(rows)-1).Draw(rt, "row")
			was := rows[i]
			if was.ID == "doubtful" {
				continue // may be missing, and is held by the table above
			}
			rows, places := tamper(rt, rows, i)
			faults := audit.Verify(rows, anchors...)
			if !slices.ContainsFunc(faults, func(f audit.Fault) bool { return slices.Contains(places, f.Segment) }) {
				rt.Fatalf("row %s of %s: faults %v", was.ID, was.Segment, faults)
			}
			found++
		}
	})
	if found < 900 {
		t.Errorf("%d changes", found)
	}
}

// tamper changes one thing at row i and returns the segments in which a fault
// would name it.
func tamper(rt *rapid.T, rows []store.RecordRow, i int) ([]store.RecordRow, []string) {
	r := &rows[i]
	places := []string{r.Segment}
	for _, x := range rows {
		if bytes.Equal(x.Prev, r.Hash) {
			places = append(places, x.Segment)
		}
	}
	flip := func(b []byte) []byte {
		b = bytes.Clone(b)
		if len(b) == 0 {
			return []byte{1}
		}
		b[rapid.IntRange(0, len(b)-1).Draw(rt, "byte")] ^= rapid.ByteRange(1, 255).Draw(rt, "bits")
		return b
	}
	switch how := rapid.IntRange(0, 14).Draw(rt, "how"); how {
	case 0:
		return slices.Delete(rows, i, i+1), places
	case 1:
		forged := *r
		forged.ID = "forged"
		return append(rows, audit.Rehash(forged)), places
	case 2:
		j := rapid.IntRange(0, len(rows)-1).Draw(rt, "other")
		o := &rows[j]
		if j == i || o.ID == "doubtful" {
			return slices.Delete(rows, i, i+1), places
		}
		r.Replica, o.Replica, r.Segment, o.Segment, r.Seq, o.Seq = o.Replica, r.Replica, o.Segment, r.Segment, o.Seq, r.Seq
		return rows, append(places, r.Segment, o.Segment)
	case 3:
		r.At = r.At.Add(1000)
	case 4:
		r.Replica += "x"
	case 5:
		r.Segment += "x"
		places = append(places, r.Segment)
	case 6:
		r.Seq += int64(rapid.IntRange(1, 100).Draw(rt, "seq"))
	case 7:
		r.ID += "x"
	case 8:
		r.Workload += "x"
	case 9:
		r.Resource += "x"
	case 10:
		r.Outcome += "x"
	case 11:
		r.Body = flip(r.Body)
	case 12:
		r.Facts = flip(r.Facts)
	case 13:
		r.Prev = flip(r.Prev)
	case 14:
		r.Resource += "x" // and hide it as well as one can
		*r = audit.Rehash(*r)
	}
	return rows, places
}

// Two rows never hash alike because bytes moved from one column to the next.
func TestHashKeepsColumnsApart(t *testing.T) {
	t.Parallel()
	a := store.RecordRow{Replica: "r1", Segment: "s", Seq: 1, ID: "ab", Workload: "c", Body: []byte("d"), Facts: []byte("e")}
	for name, b := range map[string]store.RecordRow{
		"id to workload": {Replica: "r1", Segment: "s", Seq: 1, ID: "a", Workload: "bc", Body: []byte("d"), Facts: []byte("e")},
		"body to facts":  {Replica: "r1", Segment: "s", Seq: 1, ID: "ab", Workload: "c", Body: []byte{}, Facts: []byte("de")},
		"columns":        {Replica: "r1", Segment: "s", Seq: 1, ID: "ab", Resource: "c", Body: []byte("d"), Facts: []byte("e")},
	} {
		if bytes.Equal(audit.Rehash(a).Hash, audit.Rehash(b).Hash) {
			t.Errorf("%s: one hash for both", name)
		}
	}
}
