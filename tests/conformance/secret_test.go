package main

import (
	"bytes"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// secretServer is a small server of another kind: clients have a secret, tokens
// are opaque, and there is one grant. decode is how it reads what stands inside
// Basic.
func secretServer(t *testing.T, decode func(string) string) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	t.Cleanup(server.Close)
	answer := func(w http.ResponseWriter, status int, body string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}
	mux.HandleFunc(wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, fmt.Sprintf(`{"issuer":%q,"token_endpoint":%q}`, server.URL, server.URL+"/token"))
	})
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		id, secret, basic := r.BasicAuth()
		_ = r.ParseForm()
		switch {
		case !basic || decode(id) != "https://web.example" || decode(secret) != "s:+%/e c":
			w.Header().Set("WWW-Authenticate", `Basic realm="as"`)
			answer(w, http.StatusUnauthorized, `{"error":"invalid_client"}`)
		case r.PostForm.Has("client_secret") || r.PostForm.Has("client_assertion"):
			answer(w, http.StatusBadRequest, `{"error":"invalid_request"}`)
		case r.PostForm.Get("grant_type") != grantSelf:
			answer(w, http.StatusBadRequest, `{"error":"unsupported_grant_type"}`)
		case r.PostForm.Get("scope") != "read":
			answer(w, http.StatusBadRequest, `{"error":"invalid_scope"}`)
		default:
			answer(w, http.StatusOK, `{"access_token":"0123456789abcdef","token_type":"Bearer","expires_in":60,"scope":"read"}`)
		}
	})
	return server
}

// A server whose clients have secrets can be asked as well; what needs JWTs does
// not apply, and whether it decodes what stands inside Basic is seen.
func TestSecretClient(t *testing.T) {
	t.Parallel()
	decoded := func(text string) string { text, _ = url.QueryUnescape(text); return text }
	for name, c := range map[string]struct {
		decode func(string) string
		want   map[string]outcome
	}{
		"decodes": {decoded, map[string]outcome{
			"OE-2": passed, "OE-6": passed, "OE-7": passed, "HX-10": passed, "TX-1": passed, "TX-14": passed, "TX-27": passed, "TX-28": passed, "TX-29": notApplicable, "TX-16": passed,
			"TX-2": notApplicable, "AT-1": notApplicable, "MT-2": notApplicable, "SX-1": notApplicable, "JW-3": notApplicable, "DP-1": notApplicable, "IN-1": notApplicable,
		}},
		"does not": {strings.Clone, map[string]outcome{"OE-6": failed}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := secretServer(t, c.decode)
			dir := t.TempDir()
			write(t, filepath.Join(dir, "trust.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
			write(t, filepath.Join(dir, "secret"), "s:+%/e c\n")
			write(t, filepath.Join(dir, "profile.yaml"), `
trust: trust.pem
clients: {caller: {client_id: "https://web.example", secret_file: secret, basic: true}}
self: {audience: ledger, scope: read, more_scope: write}
`)
			var ids []string
			for id := range c.want {
				ids = append(ids, id)
			}
			var out bytes.Buffer
			err := run(t.Context(), &out, []string{"--json", "--only", strings.Join(ids, ","), "--issuer", server.URL, "--profile", filepath.Join(dir, "profile.yaml")})
			var r report
			if parsed := json.Unmarshal(out.Bytes(), &r); parsed != nil {
				t.Fatalf("%v: %s", err, out.String())
			}
			for _, x := range r.Results {
				if x.Outcome != c.want[x.ID] {
					t.Errorf("%s: %s, want %s: %s %+v", x.ID, x.Outcome, c.want[x.ID], x.Why, x.Faults)
				}
			}
			if len(r.Results) != len(c.want) {
				t.Errorf("%d results of %d", len(r.Results), len(c.want))
			}
		})
	}
}
