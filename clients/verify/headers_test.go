package verify_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/cambist/cambist/clients/verify"
)

func headersOf(t testing.TB, claims object) (map[string]string, error) {
	t.Helper()
	s := newSigner(t, "k1")
	token, err := asWeb(t, newVerifier(t, nil, s), sign(t, s, "at+jwt", claims.json(t)))
	if err != nil {
		t.Fatal(err)
	}
	list, err := token.Headers()
	headers := map[string]string{}
	for _, h := range list {
		if _, twice := headers[h.Name]; twice || !verify.ReservedHeader(h.Name) {
			t.Errorf("%s stands there twice or is not reserved", h.Name)
		}
		headers[h.Name] = h.Value
	}
	return headers, err
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	user := userClaims().with("name", "J\u00f6rg \U0001f600 \"x\"\n\u2028").with("level", -3).with("staff", false)
	tests := map[string]struct {
		claims object
		want   map[string]string
	}{
		"workload": {workloadClaims().with("color", "red"), map[string]string{
			"X-Cambist-Subject": web.String(), "X-Cambist-Workload": web.String(), "X-Cambist-Scope": "orders.read orders.write",
		}},
		"user without claims": {userClaims().without("groups").without("act"), map[string]string{
			"X-Cambist-Subject": "corp:00u1", "X-Cambist-Workload": web.String(), "X-Cambist-Scope": "orders.read orders.write", "X-Cambist-User": "{}",
		}},
		"a name that is not ASCII": {userClaims().without("groups").without("act").with("sub", "corp:J\u00f6 100%").with("sub_id", object{"format": "iss_sub", "iss": "https://x", "sub": "J\u00f6 100%"}), map[string]string{
			"X-Cambist-Subject": "corp:J%C3%B6%20100%25", "X-Cambist-Workload": web.String(), "X-Cambist-Scope": "orders.read orders.write", "X-Cambist-User": "{}",
		}},
	}
	for name, tt := range tests {
		headers, err := headersOf(t, tt.claims)
		if diff := cmp.Diff(tt.want, headers); err != nil || diff != "" {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
	headers, err := headersOf(t, user.with("act", object{"sub": web.String(), "act": object{"sub": "ä\U0001f600", "iss": "https://x"}}))
	if err != nil {
		t.Fatal(err)
	}
	if want := `[{"sub":"` + web.String() + `"},{"sub":"\u00e4\ud83d\ude00","iss":"https://x"}]`; headers["X-Cambist-Actors"] != want {
		t.Errorf("actors %s", headers["X-Cambist-Actors"])
	}
	var claims map[string]any
	if err := json.Unmarshal([]byte(headers["X-Cambist-User"]), &claims); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"groups": []any{"customer", "finance"}, "level": float64(-3), "staff": false, "name": "J\u00f6rg \U0001f600 \"x\"\n\u2028"}
	if diff := cmp.Diff(want, claims); diff != "" {
		t.Error(diff)
	}
}

// Whatever claims hold, a header is printable ASCII, and reads back as what it
// was.
func TestHeadersRoundTrip(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	v := newVerifier(t, nil, s)
	rapid.Check(t, func(rt *rapid.T) {
		sub := rapid.StringMatching(`[^\p{C}\x{fffd}\x{2028}\x{2029}]{1,20}`).Draw(rt, "sub")
		text := rapid.String().Draw(rt, "text")
		claims := userClaims().with("sub", "corp:"+sub).with("sub_id", object{"format": "iss_sub", "iss": "https://x", "sub": sub}).with("text", text).with("list", []string{text, ""})
		token, err := asWeb(t, v, sign(t, s, "at+jwt", claims.json(t)))
		if err != nil {
			rt.Fatal(err)
		}
		headers, err := token.Headers()
		if err != nil {
			rt.Fatal(err)
		}
		values := map[string]string{}
		for _, h := range headers {
			if values[h.Name] = h.Value; strings.ContainsFunc(h.Value, func(r rune) bool { return r < 0x20 || r >= 0x7f }) {
				rt.Fatalf("%s: %q", h.Name, h.Value)
			}
		}
		if back, err := url.PathUnescape(values[verify.HeaderSubject]); err != nil || back != "corp:"+sub {
			rt.Fatalf("%q reads back as %q", sub, back)
		}
		var back struct {
			Text string   `json:"text"`
			List []string `json:"list"`
		}
		clean, _ := token.Claim("text")
		if err := json.Unmarshal([]byte(values[verify.HeaderUser]), &back); err != nil || back.Text != clean || len(back.List) != 2 || back.List[0] != clean {
			rt.Fatalf("%q reads back as %q", clean, back)
		}
	})
}

// What is too large to be passed on refuses the request; it is never cut.
func TestHeadersAreBounded(t *testing.T) {
	t.Parallel()
	// Each DEL is one byte in the token and six in a header.
	for n, want := range map[int]verify.Reason{2000: "", (verify.MaxHeader - len(`{"groups":["customer","finance"],"x":""}`)) / 6: "", verify.MaxHeader / 6: verify.ReasonTokenTooLarge} {
		headers, err := headersOf(t, userClaims().with("x", strings.Repeat("\u007f", n)))
		if reason(err) != want || want != "" && len(headers) != 0 {
			t.Errorf("%d: %v, %d headers", n, err, len(headers))
		}
	}
}

// Threats F9: case, underscores and other spellings.
func TestReservedHeader(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"X-Cambist-Subject": true, "x-cambist-subject": true, "X_Cambist_Subject": true, "x-CAMBIST_user": true, "X.Cambist.User": true, "X-Cambist-": true, "X-Cambist-Anything": true, "X!cambist~x": true,
		"X-Cambist": false, "X-Cambis-Subject": false, "XX-Cambist-Subject": false, "X-Cambisto-Subject": false, "XCambist-Subject": false, "": false, "Authorization": false, "X-Cambist1Subject": false,
	} {
		if verify.ReservedHeader(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
	for _, pair := range [][3]string{{"l5d-client-id", "L5d_Client.ID", "y"}, {"a-b", "ab", ""}, {"a", "b", ""}, {"", "", "y"}, {"a1", "a2", ""}} {
		if verify.SameHeader(pair[0], pair[1]) != (pair[2] == "y") || verify.SameHeader(pair[1], pair[0]) != (pair[2] == "y") {
			t.Errorf("%q", pair)
		}
	}
}
