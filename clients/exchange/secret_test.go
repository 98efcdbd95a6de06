package exchange_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
)

// buffer collects logs of many goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// printAll prints a value in every way there is.
func printAll(t *testing.T, v any) string {
	t.Helper()
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T", "%p", "%t", "%c", "%e"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	slog.New(slog.NewJSONHandler(&b, nil)).Info("x", "v", v)
	slog.New(slog.NewTextHandler(&b, nil)).Info("x", "v", v)
	if text, err := json.Marshal(v); err == nil {
		b.Write(text)
	}
	return b.String()
}

// No token gets into an error, a log or whatever prints a value of this package,
// even when a server sends back what it was sent.
func TestNoTokenIsPrinted(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	var logs buffer
	c := s.client(t, exchange.WithLogger(slog.New(slog.NewJSONHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))))
	a := newApp(t, s, "orders.shop:443", "https://orders.prod.example")
	user := s.user(corp, map[string]any{"nonce": "canary"})
	ctx := exchange.WithUser(t.Context(), user)
	target := exchange.Target{Resource: "orders", As: exchange.AsUser, User: user}
	var secrets []string
	var printed strings.Builder

	token, err := c.Token(ctx, target)
	if err != nil {
		t.Fatal(err)
	}
	secrets = append(secrets, user.Reveal(), token.Secret.Reveal())
	for _, v := range append(c.Internals(), token, &token, target, &target, ctx, s.options()[0], c.RoundTripper(ledger, nil), c.RPCCredentials(target)) {
		printed.WriteString(printAll(t, v))
	}
	raw, err := user.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	printed.Write(raw)

	echo := func(status int, body string) func(http.ResponseWriter, seen) bool {
		return func(w http.ResponseWriter, q seen) bool {
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(status)
			_, _ = w.Write([]byte(strings.ReplaceAll(body, "TOKEN", q.form.Get("subject_token"))))
			return true
		}
	}
	for name, answer := range map[string]func(http.ResponseWriter, seen) bool{
		"refusal":      echo(400, `{"error":"invalid_request","error_description":"refused, id 1: TOKEN"}`),
		"in full":      echo(400, `{"error":"invalid_request","error_description":"TOKEN TOKEN"}`),
		"cut":          echo(400, `{"error":"invalid_request","error_description":"`+strings.Repeat("x", 480)+`TOKEN"}`),
		"code":         echo(400, `{"error":"TOKEN"}`),
		"page":         echo(502, `<html>TOKEN`),
		"broken JSON":  echo(200, `{"access_token":"TOKEN`),
		"without life": echo(200, `{"access_token":"TOKEN","token_type":"Bearer"}`),
		"odd type":     echo(200, `{"access_token":"TOKEN","token_type":"TOKEN","expires_in":5}`),
		"odd scope":    echo(200, `{"access_token":"TOKEN","token_type":"Bearer","expires_in":5,"scope":"  TOKEN"}`),
	} {
		s.set(func() { s.answer = answer })
		ctx, cancel := context.WithTimeout(ctx, time.Second/2)
		_, err := c.Token(ctx, exchange.Target{Resource: "orders", As: exchange.AsUser, Scopes: []string{strings.ReplaceAll(name, " ", ".")}})
		cancel()
		if err == nil {
			t.Errorf("%s: no error", name)
			continue
		}
		printed.WriteString(printAll(t, err))
		printed.WriteString(printAll(t, asError(t, err)))
	}
	s.set(func() { s.answer = nil })
	client := &http.Client{Transport: c.RoundTripper(exchange.Target{Resource: "orders", As: exchange.AsUser}, nil)}
	for _, url := range []string{"https://orders.shop/x", "https://evil.example/x", "https://orders.shop:1/x"} {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err == nil {
			_ = res.Body.Close()
			printed.WriteString(printAll(t, res.Header) + printAll(t, res.Request) + printAll(t, req))
		} else {
			printed.WriteString(printAll(t, err))
		}
	}
	if err := c.Close(); err != nil { // so that nothing changes while it is printed
		t.Error(err)
	}
	printed.WriteString(printAll(t, c))
	for _, seen := range a.seen() {
		secrets = append(secrets, strings.TrimPrefix(seen.authorization, "Bearer "))
	}
	if len(secrets) < 3 || logs.String() == "" {
		t.Fatalf("%d secrets, logs %q", len(secrets), logs.String())
	}
	for _, secret := range secrets {
		// Any part of a token that is longer than its header, which is no secret.
		signature := secret[strings.LastIndexByte(secret, '.')+1:]
		for where, text := range map[string]string{"printed": printed.String(), "logged": logs.String()} {
			if strings.Contains(text, secret) || strings.Contains(text, signature) || strings.Contains(text, fmt.Sprintf("%x", signature)) {
				t.Errorf("a token was %s", where)
			}
		}
	}
}

// The context gives back what it was given, and only that.
func TestUserFrom(t *testing.T) {
	t.Parallel()
	if _, ok := exchange.UserFrom(t.Context()); ok {
		t.Error("a user from nowhere")
	}
	ctx := exchange.WithUser(t.Context(), oauth.NewSecret("alice"))
	if token, ok := exchange.UserFrom(ctx); !ok || token.Reveal() != "alice" {
		t.Error("another user")
	}
	if token, ok := exchange.UserFrom(exchange.WithUser(ctx, oauth.Secret{})); ok || !token.IsZero() {
		t.Error("a user that was taken away")
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.stop(t, false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second/10)
	defer cancel()
	_, err := s.client(t).Token(ctx, ledger)
	if !errors.Is(err, exchange.ErrUnavailable) || !contains(err.Error(), `no token for "ledger"`, "broker unavailable", "connection refused", "CAMBIST_ISSUER") {
		t.Error(err)
	}
	for as, want := range map[exchange.As]string{exchange.AsSelf: "self", exchange.AsUser: "user", 0: "unknown"} {
		if as.String() != want {
			t.Error(as)
		}
	}
}
