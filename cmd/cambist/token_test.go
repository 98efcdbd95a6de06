package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/dev"
)

// development is a running cambist dev.
type development struct {
	dev.Places
	dir string
}

func newDevelopment(t *testing.T) *development {
	t.Helper()
	d := &development{dir: t.TempDir()}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	r, w := io.Pipe()
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, []string{
			"dev", "--json", "--data", d.dir, "--mtls-address", "127.0.0.1:0", "--users-address", "127.0.0.1:0", "--ops-address", "127.0.0.1:0",
		}, w, io.Discard)
		_ = w.Close()
	}()
	line, err := bufio.NewReader(r).ReadString('\n')
	if err == nil {
		err = json.Unmarshal([]byte(line), &d.Places)
	}
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("dev ended with %d", code)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// as returns the flags of a workload with its SVID in a folder.
func (d *development) as(t *testing.T, workload string) []string {
	t.Helper()
	out := filepath.Join(t.TempDir(), "svid")
	if code, _, err := cambist(t, "dev", "svid", "--as", workload, "--ca", d.CA, "--out", out); code != 0 {
		t.Fatal(err)
	}
	return []string{"--url", d.Issuer, "--server-id", d.ServerID, "--svid-dir", out}
}

// A token for a workload, on behalf of a user, refused, and for nobody: each with
// its exit code.
func TestToken(t *testing.T) {
	d := newDevelopment(t)
	_, text, _ := cambist(t, "dev", "user-token", "--data", d.Data, "--user", "alice")
	alice := file(t, "alice", text)
	reports, web := d.as(t, "bi/reports"), d.as(t, "shop/web")
	for name, tt := range map[string]struct {
		args     []string
		code     int
		out, err string // must be in it
	}{
		"itself":          {append([]string{"token", "--to", "ledger"}, reports...), 0, "eyJ", ""},
		"by URI":          {append([]string{"token", "--decode", "--to", "https://ledger.dev.cambist.invalid"}, reports...), 0, `"scope": "ledger.read"`, ""},
		"decoded":         {append([]string{"token", "--decode", "--to", "ledger", "--scope", "ledger.read"}, reports...), 0, `"typ": "at+jwt"`, ""},
		"a user":          {append([]string{"token", "--decode", "--to", "orders", "--user-token", alice}, web...), 0, `"sub": "dev:alice"`, ""},
		"a declared type": {append([]string{"token", "--to", "orders", "--user-token", alice, "--type", "urn:ietf:params:oauth:token-type:jwt"}, web...), exitDenied, "", "must be declared as urn:ietf:params:oauth:token-type:id_token"},
		"a scope":         {append([]string{"token", "--to", "ledger", "--scope", "ledger.write"}, reports...), exitDenied, "", "cambist why 0"},
		"no such name":    {append([]string{"token", "--to", "nowhere"}, reports...), exitRemote, "", "unknown resource"},
		"no file":         {append([]string{"token", "--to", "orders", "--user-token", "/nowhere"}, web...), exitLocal, "", "no such file"},
		"an empty file":   {append([]string{"token", "--to", "orders", "--user-token", file(t, "empty", "\n")}, web...), exitLocal, "", "is empty"},
		"a huge file":     {append([]string{"token", "--to", "orders", "--user-token", file(t, "huge", strings.Repeat("a", 70000))}, web...), exitLocal, "", "larger than 64 KiB"},
		"no SVID":         {[]string{"token", "--to", "ledger", "--url", d.Issuer, "--server-id", d.ServerID, "--svid-dir", t.TempDir()}, exitLocal, "", "no such file"},
		"no URL":          {[]string{"token", "--to", "ledger"}, exitLocal, "", "--url"},
		"whoami":          {append([]string{"whoami"}, web...), 0, "a user of dev, on a condition", ""},
		"whoami of none":  {append([]string{"whoami"}, d.as(t, "x/nobody")...), 0, "no rule gives it anything", ""},
		"whoami JSON":     {append([]string{"whoami", "-o", "json"}, reports...), 0, `"workload": "spiffe://dev.cambist.invalid/ns/bi/sa/reports"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			code, out, err := cambist(t, tt.args...)
			if code != tt.code || !strings.Contains(out, tt.out) || !strings.Contains(err, tt.err) || code != 0 && out != "" {
				t.Errorf("%d %s %s", code, out, err)
			}
			if secret := strings.TrimSpace(text); strings.Contains(out+err, secret) {
				t.Error("the user's token was printed")
			}
		})
	}
}

// With nothing but what the platform sets, as a pod has it.
func TestTokenFromEnvironment(t *testing.T) {
	d := newDevelopment(t)
	t.Setenv("CAMBIST_URL", d.Issuer)
	t.Setenv("CAMBIST_SERVER_ID", d.ServerID)
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", d.Workloads["bi/reports"])
	if code, out, err := cambist(t, "token", "--to", "ledger", "--decode"); code != 0 || !strings.Contains(out, "ns/bi/sa/reports") {
		t.Errorf("%d %s %s", code, out, err)
	}
	must(t, os.Unsetenv("SPIFFE_ENDPOINT_SOCKET"))
	if code, _, err := cambist(t, "whoami"); code != exitLocal || !strings.Contains(err, "SPIFFE_ENDPOINT_SOCKET") {
		t.Errorf("%d %s", code, err)
	}
	t.Setenv("SPIFFE_ENDPOINT_SOCKET", d.Workloads["bi/reports"])
	t.Setenv("CAMBIST_URL", "https://127.0.0.1:1")
	if code, _, err := cambist(t, "token", "--to", "ledger", "--timeout", "2s"); code != exitRemote || !strings.Contains(err, "broker unavailable") {
		t.Errorf("%d %s", code, err)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
