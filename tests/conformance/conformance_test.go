package main

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	_ "modernc.org/sqlite" // to read the record
)

// The whole table against the real command: every case passes, what does not
// apply says why, and the server signed exactly the tokens that it gave: not one
// hostile request was signed and then refused.
func TestCambist(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	before := issued(t, p)
	r := conform(t, p)
	beside := map[string]bool{} // a case that waits for its feature, or is for other servers
	for _, row := range readIDs(t) {
		beside[row.id] = row.how == "not-built" || row.how == "test"
	}
	for _, x := range r.Results {
		for _, f := range x.Faults {
			t.Errorf("%s %s: %s\n> %s\n< %s", x.ID, x.Title, f.Problem, f.Request, f.Answer)
		}
		if x.Outcome == notApplicable && absent[x.ID] == "" && !beside[x.ID] {
			t.Errorf("%s does not apply: %s", x.ID, x.Why)
		}
	}
	if len(r.Results) != len(cases()) {
		t.Errorf("%d results of %d cases", len(r.Results), len(cases()))
	}
	if made := issued(t, p) - before; made != r.Issued || made == 0 {
		t.Errorf("the server issued %d tokens, and gave %d", made, r.Issued)
	}
	if used := peak(t, p); used > 256<<20 {
		t.Errorf("the server used %d MiB", used>>20)
	}
	profile, err := loadProfile(t.Context(), filepath.Join(p.dir, "profile.yaml"))
	must(t, err)
	s, err := newSuite(t.Context(), p.Issuer, profile)
	must(t, err)
	built(t, s.metadata)
	p.stop()
	recorded(t, p, &r)
	silent(t, p)
}

// absent are the cases that do not apply to the server.
var absent = map[string]string{
	"MT-1":  "decided otherwise: an X.509-SVID names one client",
	"OE-6":  "clients authenticate by certificate",
	"DP-10": "a development server is one replica and asks for no nonce",
}

// peak returns the most memory that the server held, as Linux knows it.
func peak(t *testing.T, p places) int {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.pid))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	must(t, err)
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	kib, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line), "kB")))
	must(t, err)
	return kib << 10
}

// recorded holds that the record has each token that was given, no other, and
// refusals besides.
func recorded(t *testing.T, p places, r *report) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(p.dir, "data", "cambist.db")+"?mode=ro")
	must(t, err)
	defer db.Close()
	var allowed, refused int
	must(t, db.QueryRowContext(t.Context(), `SELECT sum(outcome = 'allowed'), sum(outcome <> 'allowed') FROM records
		WHERE json_extract(CAST(body AS text), '$.type') = 'exchange'`).Scan(&allowed, &refused))
	// An answer 503 may be one whose record came too late to sign.
	if allowed < r.Issued || allowed > r.Issued+r.Late || refused == 0 {
		t.Errorf("the record has %d tokens and %d refusals, and %d tokens were given, %d not in time", allowed, refused, r.Issued, r.Late)
	}
}

// signed is a compact JWS, whole or cut at its payload.
var signed = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{16,}\.(eyJ[A-Za-z0-9_-]+)?`)

// silent holds that no token stands in the log or in any file that the server
// wrote.
func silent(t *testing.T, p places) {
	t.Helper()
	if p.log.Len() == 0 {
		t.Error("the server logged nothing")
	}
	texts := map[string][]byte{"the log": p.log.Bytes()}
	must(t, filepath.WalkDir(filepath.Join(p.dir, "data"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		texts[path], err = os.ReadFile(path) //nolint:gosec // below a folder of the test
		return err
	}))
	for name, text := range texts {
		if found := signed.Find(text); found != nil {
			t.Errorf("%s holds a token: %.30s", name, found)
		}
	}
	if !signed.MatchString("x eyJhbGciOiJFUzI1NiJ9AAAA.eyJhIjoxfQ.AA") {
		t.Error("a token would not be found")
	}
}

// issued returns how many tokens the server counted as issued.
func issued(t *testing.T, p places) int {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.Ops+"/metrics", nil)
	must(t, err)
	response, err := http.DefaultClient.Do(request)
	must(t, err)
	defer response.Body.Close()
	total := 0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if name, value, _ := strings.Cut(lines.Text(), "} "); strings.HasPrefix(name, "cambist_token_exchanges_total{") && strings.Contains(name, `result="issued"`) {
			n, err := strconv.Atoi(value)
			must(t, err)
			total += n
		}
	}
	must(t, lines.Err())
	return total
}
