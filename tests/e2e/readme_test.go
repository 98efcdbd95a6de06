package e2e_test

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/cambist/cambist/tests/pgtest"
)

// The README's lines from nothing to a token are run as they stand there, with
// PostgreSQL and with ports that are free here.
func TestReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	must(t, err)
	_, script, ok := strings.Cut(string(text), "\n```sh\n")
	script, _, closed := strings.Cut(script, "\n```\n")
	if !ok || !closed {
		t.Fatal("the README has no sh block")
	}
	for _, port := range []string{"8443", "8480", "9090", "18443", "19090"} {
		l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
		must(t, err)
		_, free, err := net.SplitHostPort(l.Addr().String())
		must(t, err)
		must(t, l.Close())
		script = strings.ReplaceAll(script, ":"+port, ":"+free)
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "bin", "cambist"), "../../cmd/cambist") //nolint:gosec // our own command
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail")
	shell.Dir, shell.Stdin = dir, strings.NewReader(script)
	shell.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "bin")+":"+os.Getenv("PATH"), "DSN="+pgtest.Start(t, pgtest.Options{Durable: true}).DSN("postgres"))
	shell.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}  // the servers that it leaves in the background end with it
	printed, err := os.Create(filepath.Join(dir, "printed")) //nolint:gosec // its own folder. A file, for a pipe would stay open with the servers
	must(t, err)
	defer printed.Close()
	shell.Stdout, shell.Stderr = printed, printed
	must(t, shell.Start())
	t.Cleanup(func() { _ = syscall.Kill(-shell.Process.Pid, syscall.SIGKILL) })
	ended := shell.Wait()
	raw, err := os.ReadFile(printed.Name())
	must(t, err)
	out := string(raw)
	if ended != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "serve.log")) //nolint:gosec // as above
		t.Fatalf("%v\n%s\n%s", ended, out, log)
	}
	var scopes []string
	for line := range strings.Lines(out) {
		var answer struct {
			Token string `json:"access_token"`
			Scope string `json:"scope"`
		}
		if json.Unmarshal([]byte(line), &answer) == nil && answer.Token != "" {
			scopes = append(scopes, answer.Scope)
		}
	}
	if got := strings.Join(scopes, " "); got != "ledger.read orders.write ledger.write" {
		t.Errorf("tokens for %q\n%s", got, out)
	}
	if recorded := strings.Count(out, "  allowed  "); recorded < 3 {
		t.Errorf("%d decisions in the record\n%s", recorded, out)
	}
}
