package dev_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/dev"
)

// The whole story, as a newcomer sees it. Each line here is what one chapter
// stands for; a chapter that goes otherwise is an error of Demo itself.
func TestDemo(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var out strings.Builder
	if err := dev.Demo(t.Context(), dev.Config{Now: time.Now, Out: &out}); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, line := range []string{
		"spiffe://dev.cambist.invalid/ns/finance/sa/ledger",
		"200 hello bi/reports, with ledger.read",
		`act        {"sub":"spiffe://dev.cambist.invalid/ns/shop/sa/orders","act":{"sub":"spiffe://dev.cambist.invalid/ns/shop/sa/web"}}`,
		"the ledger said: 200 hello dev:alice, by shop/orders, by shop/web, with ledger.write",
		"401 Bearer realm=\"https://orders.dev.cambist.invalid\", error=\"invalid_token\"",
		"400 invalid_scope",
		`it gives "ledger.read", not "ledger.write"`,
		"(token_expired)",
		"for dev:alice    ledger   allowed",
		"for itself       ledger   scope_not_granted",
	} {
		if !strings.Contains(out.String(), line) {
			t.Errorf("not told: %s", line)
		}
	}
	if strings.Contains(out.String(), "eyJ") {
		t.Error("it prints a token")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// Who ends it early leaves nothing behind either.
func TestDemoEnds(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	stop := writer(func(p []byte) {
		if strings.Contains(string(p), "2. bi/reports") {
			cancel()
		}
	})
	if err := dev.Demo(ctx, dev.Config{Now: time.Now, Out: stop}); err == nil {
		t.Error("a story that was not told to its end is a success")
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

type writer func(p []byte)

func (w writer) Write(p []byte) (int, error) {
	w(p)
	return len(p), nil
}
