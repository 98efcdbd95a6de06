package main

import (
	"bufio"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The whole table against the real command: every case passes, what does not
// apply says why, and the server signed exactly the tokens that it gave: not one
// hostile request was signed and then refused.
func TestCambist(t *testing.T) {
	t.Parallel()
	p := startDev(t)
	before := issued(t, p)
	r := conform(t, p)
	for _, x := range r.Results {
		for _, f := range x.Faults {
			t.Errorf("%s %s: %s\n> %s\n< %s", x.ID, x.Title, f.Problem, f.Request, f.Answer)
		}
		if x.Outcome == notApplicable && absent[x.ID] == "" && !slices.Contains(coming, x.Why) {
			t.Errorf("%s does not apply: %s", x.ID, x.Why)
		}
	}
	if len(r.Results) != len(cases()) {
		t.Errorf("%d results of %d cases", len(r.Results), len(cases()))
	}
	if made := issued(t, p) - before; made != r.Issued || made == 0 {
		t.Errorf("the server issued %d tokens, and gave %d", made, r.Issued)
	}
	profile, err := loadProfile(t.Context(), filepath.Join(p.dir, "profile.yaml"))
	must(t, err)
	s, err := newSuite(t.Context(), p.Issuer, profile)
	must(t, err)
	built(t, s.metadata)
}

// absent are the cases that do not apply to the server.
var absent = map[string]string{
	"MT-1":  "decided otherwise: an X.509-SVID names one client",
	"OE-6":  "clients authenticate by certificate",
	"DP-10": "a development server is one replica and asks for no nonce",
}

// coming are features that the server may not have yet. As soon as the metadata
// names one, its cases apply.
var coming = []string{
	"the metadata has no dpop_signing_alg_values_supported", "the metadata has no introspection_endpoint", "the metadata has no revocation_endpoint",
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
