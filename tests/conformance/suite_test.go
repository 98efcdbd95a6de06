package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// badServers are wrong in every way between them: one gives a token for
// anything, one gives none for anything, one says what no standard knows.
var badServers = map[string]func(w http.ResponseWriter, r *http.Request){
	"yes": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprint(w, `{"access_token":"e30.eyJzdWIiOiJhZG1pbiJ9.AA","token_type":"mac","refresh_token":"x"}`)
	},
	"no": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprint(w, `{"error":"invalid_request"}`)
	},
	"odd": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(http.StatusInternalServerError)
		_ = r.ParseForm()
		_, _ = fmt.Fprintf(w, `{"error":"sorry","error_description":%q}`, fmt.Sprint(r.PostForm))
	},
}

// badWorld runs a bad server and returns the arguments that point the suite at
// it. It has a metadata document that is wrong as well.
func badWorld(t *testing.T, token http.HandlerFunc) []string {
	t.Helper()
	dir := t.TempDir()
	var issuer string
	mux := http.NewServeMux()
	server := httptest.NewUnstartedServer(mux)
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10} //nolint:gosec // it is a bad server
	server.StartTLS()
	t.Cleanup(server.Close)
	issuer = server.URL
	mux.HandleFunc("/token", token)
	mux.HandleFunc("/keys", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprint(w, `{"keys":[{"kty":"oct","k":"AAAA"}]}`)
	})
	mux.HandleFunc(wellKnown, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"token_endpoint":%q,"jwks_uri":%q,"made_up":true,"authorization_endpoint":"http://x#y","introspection_endpoint":%q,"revocation_endpoint":%q,"dpop_signing_alg_values_supported":["ES256"],"response_types_supported":["code"],
			"token_endpoint_auth_methods_supported":["none","client_secret_post"],"tls_client_certificate_bound_access_tokens":false,"mtls_endpoint_aliases":{"token_endpoint":%q,"x":"y"}}`,
			issuer+"/", issuer+"/token", issuer+"/keys", issuer+"/token", issuer+"/token", issuer+"/token")
	})
	write(t, filepath.Join(dir, "trust.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	ca := strange()
	key, err := x509.MarshalPKCS8PrivateKey(ca.key)
	must(t, err)
	write(t, filepath.Join(dir, "ca.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.certificate.Raw}))+string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
	leaf := ca.leaf("spiffe://td.invalid/a")
	leafKey, err := x509.MarshalPKCS8PrivateKey(leaf.PrivateKey)
	must(t, err)
	write(t, filepath.Join(dir, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Certificate[0]})))
	write(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: leafKey})))
	write(t, filepath.Join(dir, "profile.yaml"), `
trust: trust.pem
clients:
  caller: {client_id: "spiffe://td.invalid/a", certificate: cert.pem, key: key.pem}
  next: {client_id: "spiffe://td.invalid/b", certificate: cert.pem, key: key.pem}
  stranger: {client_id: "spiffe://td.invalid/c", certificate: cert.pem, key: key.pem}
self: {audience: "https://a.invalid", scope: read, more_scope: write}
exchange: {audience: "https://a.invalid", scope: read, more_scope: write}
onward: {audience: "https://b.invalid", scope: read}
bound: {audience: "https://c.invalid", scope: read}
dpop: {audience: "https://e.invalid", scope: read}
forbidden: {audience: "https://d.invalid", scope: read}
subject: {type: "urn:ietf:params:oauth:token-type:id_token", key: key.pem, typ: JWT, claims: {iss: "https://i.invalid", sub: u, aud: x}, actor: a, delegates: true}
spiffe: {ca: ca.pem, trust_domain: td.invalid, id: "spiffe://td.invalid/a"}
max_actors: 4
`)
	write(t, filepath.Join(dir, "assertion.yaml"), `
trust: trust.pem
clients: {caller: {client_id: u, assertion: {type: "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", key: key.pem, claims: {sub: u, iss: u, aud: x}}}}
self: {audience: "https://a.invalid", scope: read}
`)
	return []string{"--json", "--issuer", issuer, "--profile", filepath.Join(dir, "profile.yaml")}
}

// asserted are the cases for a caller that authenticates by an assertion.
const asserted = "JB-1,JB-2,JB-3,JB-4,JB-5,SC-1,SC-2,SC-3,SC-7"

// fair are what a bad server of this test does well, each with the reason. Every
// other case must fail against one of them: a case that never fails proves
// nothing.
var fair = map[string]string{
	"MD-1": "the address of the server is a good issuer",
	"OE-6": "its clients show certificates",
}

func TestEveryCaseCanFail(t *testing.T) {
	t.Parallel()
	failing := map[string]bool{}
	for name, token := range badServers {
		arguments := badWorld(t, token)
		for _, more := range [][]string{nil, {"--profile", filepath.Join(filepath.Dir(arguments[len(arguments)-1]), "assertion.yaml"), "--only", asserted}} {
			var out bytes.Buffer
			err := run(t.Context(), &out, append(arguments, more...))
			if !errors.Is(err, errFailed) {
				t.Fatalf("%s: %v: %s", name, err, out.String())
			}
			var r report
			must(t, json.Unmarshal(out.Bytes(), &r))
			for _, x := range r.Results {
				failing[x.ID] = failing[x.ID] || x.Outcome == failed
			}
		}
	}
	for _, c := range cases() {
		if fair[c.id] == "" && !failing[c.id] {
			t.Errorf("%s %s: no bad server fails it", c.id, c.title)
		}
		if fair[c.id] != "" && failing[c.id] {
			t.Errorf("%s fails; it needs no exception", c.id)
		}
	}
}

func TestCases(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	all := cases()
	for _, c := range all {
		if c.id == "" || c.title == "" || seen[c.id] {
			t.Errorf("case %q %q: without id or title, or twice", c.id, c.title)
		}
		seen[c.id] = true
	}
	if !slices.IsSortedFunc(all, func(a, b testCase) int { return compareIDs(a.id, b.id) }) || compareIDs("TX-9", "TX-10") >= 0 || compareIDs("H2", "H10") >= 0 || compareIDs("AT-1", "BC-1") >= 0 {
		t.Error("the cases are not sorted by id")
	}
	var out bytes.Buffer
	must(t, run(t.Context(), &out, []string{"--list"}))
	if strings.Count(out.String(), "\n") != len(all) {
		t.Errorf("%s", out.String())
	}
	chosen, err := choose("TX-1,HX-5")
	if err != nil || len(chosen) != 2 || chosen[0].id != "TX-1" || chosen[1].id != "HX-5" {
		t.Errorf("%v %v", chosen, err)
	}
	if _, err := choose("TX-1,XX-1"); err == nil {
		t.Error("an id that is not there")
	}
}

// Nothing secret stands in a report, and what is long is cut.
func TestShown(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("a", 40) + "." + strings.Repeat("b", 40) + "." + strings.Repeat("c", 40)
	text := shown("POST x", http.Header{"Authorization": {"Basic c2VjcmV0OnNlY3JldA=="}}, []byte("client_secret=hunter2hunter2&subject_token="+token+"&x=y"+strings.Repeat("z", maxEvidence)))
	for _, secret := range []string{"c2VjcmV0", "hunter2hunter2", strings.Repeat("b", 20)} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is shown:\n%s", secret, text)
		}
	}
	if !strings.Contains(text, "client_secret=hunter2h...") || !strings.Contains(text, "bytes)") || len(text) > 2*maxEvidence {
		t.Errorf("%s", text)
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	r := report{Issuer: "https://as.invalid"}
	r.add(result{ID: "TX-1", Title: "one", Outcome: passed})
	r.add(result{ID: "TX-2", Title: "two", Outcome: failed, Faults: []fault{{"it is wrong", "POST x\nA: b", "200"}}})
	r.add(result{ID: "TX-3", Title: "three", Outcome: notApplicable, Why: "not there"})
	var out bytes.Buffer
	r.writeTable(&out)
	for _, want := range []string{"TX-1   pass  one\n", "TX-2   FAIL  two\n", "> POST x\n               > A: b\n", "< 200\n", "TX-3   n/a   three\n             not there\n", "1 passed, 1 failed, 1 not applicable"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

func TestProfileRefuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	p384 := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	write(t, filepath.Join(dir, "secret"), "s\n")
	const good = "clients: {caller: {client_id: a, secret_file: secret}}\nself: {audience: x}\n"
	for name, c := range map[string]struct{ text, want string }{
		"a misspelled field":      {good + "selff: {}\n", "selff"},
		"no caller":               {"self: {audience: x}\n", "clients.caller"},
		"nothing to ask for":      {"clients: {caller: {client_id: a, secret_file: secret}}\n", "self and exchange"},
		"a client without proof":  {"clients: {caller: {client_id: a}}\nself: {audience: x}\n", "client caller"},
		"a file that is not":      {"clients: {caller: {client_id: a, secret_file: nothing}}\nself: {audience: x}\n", "nothing"},
		"a subject without type":  {good + "subject: {file: secret}\n", "subject.type"},
		"a subject of no source":  {good + "subject: {type: x}\n", "one of key, file and command"},
		"a key of a strange kind": {good + "subject: {type: x, key: p384.pem}\n", "P-256"},
		"a CA without itself":     {good + "spiffe: {ca: p384.pem}\n", "no certificate"},
		"an assertion of no type": {"clients: {caller: {client_id: a, assertion: {key: secret}}}\nself: {audience: x}\n", "assertion.type"},
		"no key in the file":      {good + "subject: {type: x, key: secret}\n", "no private key"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "profile.yaml")
			write(t, path, c.text)
			write(t, filepath.Join(filepath.Dir(path), "secret"), "s\n")
			write(t, filepath.Join(filepath.Dir(path), "p384.pem"), p384)
			if _, err := loadProfile(t.Context(), path); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want a word of %q", err, c.want)
			}
		})
	}
	write(t, filepath.Join(dir, "profile.yaml"), good+"subject: {type: x, command: [echo, a.b.c]}\n")
	p, err := loadProfile(t.Context(), filepath.Join(dir, "profile.yaml"))
	must(t, err)
	if p.client("caller").secret != "s" || p.Subject.forger.good() != "a.b.c" {
		t.Errorf("%+v", p)
	}
}
