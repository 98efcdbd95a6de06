package audit

import (
	"bytes"
	"cmp"
	"encoding/hex"
	"fmt"
	"slices"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/store"
)

// Fault is something that is wrong with a chain, at one row.
type Fault struct {
	Replica string
	Segment string
	Seq     int64
	Problem string
}

// String returns the fault as one line.
func (f Fault) String() string {
	return fmt.Sprintf("%s segment %s row %d: %s", f.Replica, f.Segment, f.Seq, f.Problem)
}

// Anchor is a row that something outside the store remembers. Without one nobody
// can see that the end of a chain was cut off, or all of it written anew.
type Anchor struct {
	Replica string
	Segment string
	Seq     int64
	Hash    []byte
}

// Anchors returns the last row of each replica: what to remember outside.
func Anchors(rows []store.RecordRow) []Anchor {
	var ends []Anchor
	for _, c := range chains(rows) {
		r := &c[len(c)-1]
		ends = append(ends, Anchor{r.Replica, r.Segment, r.Seq, r.Hash})
	}
	return ends
}

// Verify returns what is wrong with the chains that the rows make: rows that were
// changed, dropped, put in or moved. A chain may begin where an anchor ends, and
// what an anchor remembers must be there. Two things it cannot see: rows cut off
// or added after the last that an anchor remembers, and rows added where a process
// ended, which look like those that its last commit may have left.
func Verify(rows []store.RecordRow, anchors ...Anchor) []Fault {
	var faults []Fault
	for _, c := range chains(rows) {
		v := verifier{rows: c, at: map[string]int{}, anchors: map[string]*Anchor{}}
		for i := range anchors {
			if anchors[i].Replica == c[0].Replica {
				v.anchors[string(anchors[i].Hash)] = &anchors[i]
			}
		}
		v.verify()
		faults = append(faults, v.faults...)
	}
	for i := range anchors {
		if a := &anchors[i]; !remembered(rows, a) {
			faults = append(faults, Fault{a.Replica, a.Segment, a.Seq, "an anchor remembers the row, and it is not there as it was"})
		}
	}
	return faults
}

// remembered reports whether the anchor's row is there, or the row after it.
func remembered(rows []store.RecordRow, a *Anchor) bool {
	return slices.ContainsFunc(rows, func(r store.RecordRow) bool {
		return r.Replica == a.Replica && (r.Segment == a.Segment && r.Seq == a.Seq && bytes.Equal(r.Hash, a.Hash) || bytes.Equal(r.Prev, a.Hash))
	})
}

// chains returns the rows of each replica in the order of their places.
func chains(rows []store.RecordRow) [][]store.RecordRow {
	sorted := slices.Clone(rows)
	slices.SortStableFunc(sorted, func(a, b store.RecordRow) int {
		return cmp.Or(cmp.Compare(a.Replica, b.Replica), cmp.Compare(a.Segment, b.Segment), cmp.Compare(a.Seq, b.Seq))
	})
	var all [][]store.RecordRow
	for len(sorted) > 0 {
		n := 1
		for n < len(sorted) && sorted[n].Replica == sorted[0].Replica {
			n++
		}
		all = append(all, sorted[:n:n])
		sorted = sorted[n:]
	}
	return all
}

// verifier walks the chain of one replica.
type verifier struct {
	rows    []store.RecordRow
	at      map[string]int // by hash
	anchors map[string]*Anchor
	before  []int // the row that each row follows from, -1 for none
	onPath  []bool
	faults  []Fault
}

func (v *verifier) fault(i int, problem string, args ...any) {
	r := &v.rows[i]
	v.faults = append(v.faults, Fault{r.Replica, r.Segment, r.Seq, fmt.Sprintf(problem, args...)})
}

// verify looks at each row by itself, then at what it follows from, and then
// whether all of them are the one chain that leads to the last.
func (v *verifier) verify() {
	for i := range v.rows {
		if sum := hash(&v.rows[i]); !bytes.Equal(sum[:], v.rows[i].Hash) {
			v.fault(i, "the row was changed")
		}
		v.at[string(v.rows[i].Hash)] = i
	}
	v.before = make([]int, len(v.rows))
	for i := range v.rows {
		v.before[i] = v.follow(i)
	}
	v.onPath = make([]bool, len(v.rows))
	for i := len(v.rows) - 1; i >= 0 && !v.onPath[i]; i = v.before[i] {
		v.onPath[i] = true
	}
	v.beside()
}

// follow returns which row a row follows from.
func (v *verifier) follow(i int) int {
	r := &v.rows[i]
	if i > 0 && v.rows[i-1].Segment == r.Segment {
		switch before := &v.rows[i-1]; {
		case r.Seq == before.Seq:
			v.fault(i, "it stands there twice")
		case r.Seq != before.Seq+1:
			v.fault(i, "the %d rows before it are missing", r.Seq-before.Seq-1)
		case !bytes.Equal(r.Prev, before.Hash):
			v.fault(i, "it does not follow from the row before it")
		}
		return i - 1
	}
	from, known := v.at[string(r.Prev)]
	switch a := v.anchors[string(r.Prev)]; {
	case known && from < i && r.Seq == 1:
		return from
	case a != nil && (r.Seq == 1 || r.Segment == a.Segment && r.Seq == a.Seq+1):
		return -1
	case len(r.Prev) == 0 && r.Seq == 1 && (i == 0 || len(v.gaps(i)) > 0):
		return -1
	case r.Seq != 1:
		v.fault(i, "the first %d rows of the segment are missing", r.Seq-1)
	default:
		v.fault(i, "the segment does not continue from any row before it")
	}
	return i - 1
}

// gaps returns what the first row of a segment says may be there or not.
func (v *verifier) gaps(i int) []Gap {
	if v.rows[i].Seq != 1 {
		return nil
	}
	e, err := Decode(v.rows[i].Body)
	if err != nil || e.Type != string(broker.RecordGap) {
		return nil
	}
	return e.Gaps
}

// beside finds rows that do not lead to the last one. Such rows are there when a
// commit of unknown outcome succeeded after all, and then a row of the chain says
// so.
func (v *verifier) beside() {
	var gaps []gapAt
	for i := range v.rows {
		if v.onPath[i] {
			for _, g := range v.gaps(i) {
				gaps = append(gaps, gapAt{g, v.rows[i].Segment})
			}
		}
	}
	for i := range v.rows {
		if !v.onPath[i] && !slices.ContainsFunc(gaps, func(g gapAt) bool { return v.covers(g, i) }) {
			v.fault(i, "it stands beside the chain, and no row says why")
		}
	}
}

// gapAt is a gap and the segment that says so.
type gapAt struct {
	Gap
	segment string
}

// covers reports whether a gap says of a row that it may be there.
func (v *verifier) covers(g gapAt, i int) bool {
	r := &v.rows[i]
	if g.Through == 0 { // what a process left behind that ended: anything before this segment
		return r.Segment < g.segment && (r.Segment > g.Gap.Segment || r.Segment == g.Gap.Segment && r.Seq > g.After)
	}
	if r.Segment != g.Gap.Segment || r.Seq <= g.After || r.Seq > g.Through {
		return false
	}
	// All rows of the commit are there, or none: the last one's hash vouches for all.
	last := i + int(g.Through-r.Seq)
	return last < len(v.rows) && v.rows[last].Segment == r.Segment && v.rows[last].Seq == g.Through && hex.EncodeToString(v.rows[last].Hash) == g.Hash
}
