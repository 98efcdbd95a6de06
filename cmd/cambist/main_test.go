package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cambist runs a command as a shell would.
func cambist(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	code = run(t.Context(), args, &out, &err)
	return code, out.String(), err.String()
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil { //nolint:gosec // a folder of the test
		t.Fatal(err)
	}
	return path
}

const policyFile = `cambist: v1
set: shop
defaults: {domain: prod.example}
resources:
- {name: ledger, uri: "https://ledger.example", served_by: [finance/ledger], scopes: {ledger.read: ["GET /**"]}}
allow:
- {name: reports, from: bi/reports, to: ledger, scopes: [ledger.read]}
`

func newStore(t *testing.T) string {
	t.Helper()
	dsn := "sqlite://" + filepath.Join(t.TempDir(), "x.db")
	if code, out, err := cambist(t, "migrate", "--store", dsn); code != 0 || !strings.Contains(out, "applied 0001") {
		t.Fatalf("%d %s %s", code, out, err)
	}
	return dsn
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"--help"}, {"serve", "--help"}, {"dev", "svid", "--help"}, {"records", "list", "--help"}} {
		if code, out, err := cambist(t, args...); code != 0 || !strings.Contains(out, "Usage: cambist") || err != "" {
			t.Errorf("%q: %d %s %s", args, code, out, err)
		}
	}
	if code, out, _ := cambist(t, "version"); code != 0 || !strings.Contains(out, "go 1.") {
		t.Errorf("%d %s", code, out)
	}
}

// What is typed wrong is a local fault, with one next step.
func TestUsage(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no verb":         {},
		"unknown verb":    {"srve"},
		"unknown flag":    {"lint", "--fle", "x"},
		"missing flag":    {"apply", "-f", "x"},
		"bad duration":    {"serve", "--drain", "soon"},
		"bad enum":        {"block", "planet", "x", "--store", "sqlite:///x", "--reason", "r"},
		"missing file":    {"lint", "-f", "/nowhere.yaml"},
		"settings absent": {"serve", "--config", "/nowhere.yaml"},
		"limit":           {"records", "--store", "sqlite:///x", "--limit", "0"},
		"not an id":       {"why", "x", "--store", newStore(t)},
	} {
		if code, _, err := cambist(t, args...); code != exitLocal || !strings.HasPrefix(err, "cambist: ") {
			t.Errorf("%s: %d %q", name, code, err)
		}
	}
}

func TestLint(t *testing.T) {
	t.Parallel()
	good := file(t, "good.yaml", policyFile)
	if code, out, err := cambist(t, "lint", "-f", good); code != 0 || out != "3 objects, no errors\n" || err != "" {
		t.Errorf("%d %q %q", code, out, err)
	}
	bad := file(t, "bad.yaml", strings.Replace(policyFile, "scopes: [ledger.read]}\n", "scopes: [ledger.raed]}\n", 1))
	if code, _, err := cambist(t, "lint", "-f", bad); code != exitLocal || !strings.Contains(err, bad+":7:") || !strings.Contains(err, "ledger.raed") {
		t.Errorf("%d %q", code, err)
	}
	if code, out, _ := cambist(t, "lint", "-f", bad, "-o", "json"); code != exitLocal || !strings.Contains(out, `"Severity": "error"`) {
		t.Errorf("%d %s", code, out)
	}
	if code, out, _ := cambist(t, "lint", "-f", filepath.Dir(good)); code != 0 || !strings.Contains(out, "3 objects") {
		t.Errorf("a folder: %d %s", code, out)
	}
	if code, _, err := cambist(t, "lint", "-f", t.TempDir()); code != exitLocal || !strings.Contains(err, "holds no policy file") {
		t.Errorf("an empty folder: %d %s", code, err)
	}
}

// From an empty store to a policy in it, and what is seen of it.
func TestPolicyOnAStore(t *testing.T) {
	t.Parallel()
	dsn, good := newStore(t), file(t, "p.yaml", policyFile)
	apply := []string{"apply", "-f", good, "--store", dsn, "--reason", "first"}
	if code, out, err := cambist(t, "plan", "-f", good, "--store", dsn); code != exitDenied || !strings.Contains(out, "+ mapping shop/reports") || strings.Contains(out, "revision") {
		t.Errorf("plan: %d %s %s", code, out, err)
	}
	if code, out, err := cambist(t, apply...); code != 0 || !strings.HasSuffix(out, "3 added, 0 changed, 0 deleted\nrevision 1\n") {
		t.Fatalf("%d %s %s", code, out, err)
	}
	if code, out, _ := cambist(t, "plan", "-f", good, "--store", dsn); code != 0 || out != "nothing would change\n" {
		t.Errorf("again: %d %s", code, out)
	}
	code, exported, err := cambist(t, "export", "--store", dsn)
	if code != 0 || !strings.Contains(exported, "set: shop") {
		t.Errorf("%d %s %s", code, exported, err)
	}
	again := file(t, "again.yaml", exported)
	if code, out, err := cambist(t, "plan", "-f", again, "--store", dsn); code != 0 {
		t.Errorf("what was exported differs: %d %s %s", code, out, err)
	}
	if code, _, err := cambist(t, "export", "nowhere", "--store", dsn); code != exitRemote || !strings.Contains(err, `no set named "nowhere"`) {
		t.Errorf("%d %s", code, err)
	}
	bad := file(t, "bad.yaml", strings.Replace(policyFile, "to: ledger", "to: books", 1))
	for _, args := range [][]string{{"apply", "--reason", "x"}, {"plan"}} {
		if code, _, err := cambist(t, append(args, "-f", bad, "--store", dsn)...); code != exitLocal || !strings.Contains(err, "books") {
			t.Errorf("an error: %d %s", code, err)
		}
	}
}

func TestBlocksAndRecords(t *testing.T) {
	t.Parallel()
	dsn := newStore(t)
	code, out, err := cambist(t, "block", "workload", "spiffe://prod.example/ns/bi/sa/reports", "--store", dsn, "--reason", "INC-1", "--name", "inc-1")
	if code != 0 || !strings.Contains(out, "block inc-1 set at revision 1") {
		t.Fatalf("%d %s %s", code, out, err)
	}
	if code, _, err := cambist(t, "block", "workload", "reports", "--store", dsn, "--reason", "x"); code != exitLocal || !strings.Contains(err, "SPIFFE ID") {
		t.Errorf("not an id: %d %s", code, err)
	}
	if code, out, err := cambist(t, "unblock", "inc-1", "--store", dsn, "--reason", "over"); code != 0 || !strings.Contains(out, "lifted") {
		t.Errorf("%d %s %s", code, out, err)
	}
	if code, _, err := cambist(t, "unblock", "inc-1", "--store", dsn, "--reason", "again"); code != exitRemote || !strings.Contains(err, "no block named") {
		t.Errorf("twice: %d %s", code, err)
	}
	// Each run of the program begins a segment of the chain, and says so.
	code, out, _ = cambist(t, "records", "--store", dsn)
	if code != 0 || strings.Count(out, "allowed") != 2 || strings.Count(out, "gap") != 1 || !strings.Contains(out, "OUTCOME") {
		t.Errorf("%d %s", code, out)
	}
	code, out, _ = cambist(t, "records", "--store", dsn, "-o", "json", "--outcome", "allowed", "--limit", "1")
	if code != 0 || !strings.Contains(out, "inc-1: over") || strings.Count(out, "\n") != 1 {
		t.Errorf("%d %s", code, out)
	}
	newest := out[strings.Index(out, `"id":"`)+6:][:26]
	if code, out, _ := cambist(t, "records", "--store", dsn, "-o", "json", "--before", newest); code != 0 || !strings.Contains(out, "INC-1") || strings.Contains(out, "inc-1: over") {
		t.Errorf("the page before: %d %s", code, out)
	}
	code, out, err = cambist(t, "records", "show", newest, "--store", dsn)
	if code != 0 || !strings.Contains(out, `"reason": "inc-1: over"`) && !strings.Contains(out, "inc-1: over") || !strings.Contains(out, `"hash": "`) || !strings.Contains(out, `"id": "`+newest) {
		t.Errorf("%d %s %s", code, out, err)
	}
	for _, id := range []string{"x", "01M89PXM2HJYB4JKBD4DRV59HP"} {
		if code, _, err := cambist(t, "records", "show", id, "--store", dsn); code == 0 || err == "" {
			t.Errorf("%s: %d %s", id, code, err)
		}
	}
	if code, out, err := cambist(t, "why", newest, "--store", dsn); code != 0 || !strings.Contains(out, "block "+newest) || !strings.Contains(out, "inc-1: over") {
		t.Errorf("%d %s %s", code, out, err)
	}
}

// A database that is away is a remote fault, and its password stays in.
func TestStoreAway(t *testing.T) {
	t.Parallel()
	dsn := "postgres://me:hunter2@127.0.0.1:1/x?connect_timeout=1"
	for _, args := range [][]string{{"migrate", "--store", dsn}, {"export", "--store", dsn}, {"records", "--store", dsn}} {
		if code, out, err := cambist(t, args...); code != exitRemote || strings.Contains(out+err, "hunter2") {
			t.Errorf("%q: %d %s", args, code, err)
		}
	}
}

// Flags come before the environment, that before the file, that before defaults;
// validate says which it was.
func TestPrecedence(t *testing.T) {
	t.Setenv("CAMBIST_DRAIN", "3s")
	t.Setenv("CAMBIST_REPLICA", "from-environment")
	settings := file(t, "cambist.yaml", "drain: 2s\nreplica: from-file\nlimits: {chain_depth: 3, ttl_cap: 20m}\nidentity: {bundles: {prod.example: /x}}\nstore: postgres://me:hunter2@db/x\n")
	code, out, err := cambist(t, "validate", "--config", settings, "--replica", "from-flag")
	want := map[string][2]string{
		"replica": {"from-flag", "flag"}, "drain": {"3s", "environment CAMBIST_DRAIN"}, "limits-chain-depth": {"3", "file"}, "limits-ttl-cap": {"20m0s", "file"},
		"limits-burst": {"400", "default"}, "identity-bundles": {"map[prod.example:/x]", "file"}, "store": {"postgres://me:xxxxx@db/x", "file"},
	}
	for name, w := range want {
		found := false
		for _, line := range strings.Split(out, "\n") {
			found = found || strings.HasPrefix(line, name+" ") && strings.Contains(line, " "+w[0]+" ") && strings.HasSuffix(line, "# "+w[1])
		}
		if !found {
			t.Errorf("%s is not %q from %s in\n%s", name, w[0], w[1], out)
		}
	}
	if code != exitLocal || !strings.Contains(err, "issuer: is missing") || !strings.Contains(err, "audit.commit: must be chosen") || strings.Contains(out+err, "hunter2") {
		t.Errorf("%d %s", code, err)
	}
}

// A setting that does not exist is refused, wherever it stands.
func TestUnknownSetting(t *testing.T) {
	t.Parallel()
	for text, name := range map[string]string{
		"isuer: https://x\n": "isuer", "keys: {kekfile: x}\n": "keys-kekfile", "limits: {ttlcap: 5m}\n": "limits-ttlcap", "config: x\n": "config",
	} {
		settings := file(t, "cambist.yaml", text)
		if code, _, err := cambist(t, "validate", "--config", settings); code != exitLocal || !strings.Contains(err, `unknown setting "`+name+`"`) {
			t.Errorf("%q: %d %s", text, code, err)
		}
	}
	for _, text := range []string{"a: [\n", "- x\n", "drain: soon\n"} {
		if code, _, err := cambist(t, "validate", "--config", file(t, "cambist.yaml", text)); code != exitLocal || err == "" {
			t.Errorf("%q: %d", text, code)
		}
	}
}

// The trust block is read from the file and from a flag alike, strictly.
func TestTrustSetting(t *testing.T) {
	t.Parallel()
	want := "map[prod.example:{{https://k8s https://c.example/k8s https://k8s/keys }}]"
	block := "trust: {prod.example: {kubernetes: {issuer: 'https://k8s', audience: 'https://c.example/k8s', jwks_uri: 'https://k8s/keys'}}}\n"
	flag := `prod.example={"kubernetes":{"issuer":"https://k8s","audience":"https://c.example/k8s","jwks_uri":"https://k8s/keys"}}`
	for _, args := range [][]string{{"--config", file(t, "cambist.yaml", block)}, {"--trust", flag}} {
		if _, out, err := cambist(t, append([]string{"validate"}, args...)...); !strings.Contains(out, want) || !strings.Contains(err, "assertion.address: is missing") {
			t.Errorf("%q: %s\n%s", args, out, err)
		}
	}
	for _, bad := range []string{
		"trust: {prod.example: {kubernetes: {isuer: x}}}\n", "trust: {prod.example: {kubernets: {issuer: x}}}\n", "trust: {prod.example: {kubernetes: {issuer: 1}}}\n",
		"trust: prod.example\n",
	} {
		if code, _, err := cambist(t, "validate", "--config", file(t, "cambist.yaml", bad)); code != exitLocal || !strings.Contains(err, "trust") {
			t.Errorf("%q: %d %s", bad, code, err)
		}
	}
}

func TestDevSvid(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ca, out := filepath.Join(dir, "ca"), filepath.Join(dir, "web")
	code, text, err := cambist(t, "dev", "svid", "--as", "shop/web", "--out", out, "--ca", ca)
	if code != 0 || !strings.HasPrefix(text, "spiffe://dev.cambist.invalid/ns/shop/sa/web until ") {
		t.Fatalf("%d %s %s", code, text, err)
	}
	for _, name := range []string{"svid.pem", "svid-key.pem", "bundle.pem"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	for _, as := range []string{"web", "a/b/c", "spiffe://other.example/x"} {
		if code, _, err := cambist(t, "dev", "svid", "--as", as, "--out", out, "--ca", ca); code != exitLocal || !strings.Contains(err, "--as") {
			t.Errorf("%s: %d %s", as, code, err)
		}
	}
}
