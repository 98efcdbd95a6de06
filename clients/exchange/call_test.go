package exchange_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cambist/cambist/clients/exchange"
)

func header(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for pair := range slices.Chunk(pairs, 2) {
		h.Set(pair[0], pair[1])
	}
	return h
}

const goodAnswer = `{"access_token":"a.b-c_~+/==","token_type":"bearer","expires_in":300,"scope":"a b","new":{"x":[1]}}`

func TestReadGranted(t *testing.T) {
	t.Parallel()
	secret, scopes, life, err := exchange.ReadGranted(exchange.Answer(200, header("Content-Type", "application/json;charset=UTF-8"), []byte(goodAnswer)))
	if err != nil || secret.Reveal() != "a.b-c_~+/==" || scopes.String() != "a b" || life != 300*time.Second {
		t.Errorf("%s %v %v", scopes, life, err)
	}
	_, _, life, err = exchange.ReadGranted(exchange.Answer(200, header(), []byte(strings.Replace(goodAnswer, "300", "9223372036854775807", 1))))
	if err != nil || life != 24*time.Hour {
		t.Errorf("%v %v", life, err)
	}
	_, _, _, err = exchange.ReadGranted(exchange.Answer(200, header(), []byte(strings.Replace(goodAnswer, `"new"`, `"issued_token_type":"urn:ietf:params:oauth:token-type:access_token","new"`, 1))))
	if err != nil {
		t.Error(err)
	}
	replace := func(old, new string) string {
		if !strings.Contains(goodAnswer, old) {
			t.Fatalf("%q is not there", old)
		}
		return strings.Replace(goodAnswer, old, new, 1)
	}
	for name, tt := range map[string]struct {
		status int
		header http.Header
		body   string
	}{
		"empty":                {200, header(), ""},
		"not JSON by its type": {200, header("Content-Type", "text/html"), goodAnswer},
		"not JSON by its text": {200, header(), "<html>"},
		"a list":               {200, header(), "[" + goodAnswer + "]"},
		"something after it":   {200, header(), goodAnswer + goodAnswer},
		"a member twice":       {200, header(), replace(`"new"`, `"access_token":"other","new"`)},
		"no token":             {200, header(), replace(`"access_token":"a.b-c_~+/==",`, "")},
		"another case":         {200, header(), replace("access_token", "Access_Token")},
		"an empty token":       {200, header(), replace("a.b-c_~+/==", "")},
		"padding alone":        {200, header(), replace("a.b-c_~+/==", "==")},
		"padding within":       {200, header(), replace("a.b-c", "a=b-c")},
		"a line break":         {200, header(), replace("a.b", `a\r\nX-Evil: 1`)},
		"a space":              {200, header(), replace("a.b", "a b")},
		"a token that is huge": {200, header(), replace("a.b", strings.Repeat("a", 16<<10))},
		"not a bearer":         {200, header(), replace("bearer", "DPoP")},
		"no token type":        {200, header(), replace(`"token_type":"bearer",`, "")},
		"something else":       {200, header(), replace(`"new"`, `"issued_token_type":"urn:ietf:params:oauth:token-type:jwt","new"`)},
		"no life":              {200, header(), replace(`"expires_in":300,`, "")},
		"over already":         {200, header(), replace("300", "0")},
		"negative":             {200, header(), replace("300", "-5")},
		"life as a string":     {200, header(), replace("300", `"300"`)},
		"life in part":         {200, header(), replace("300", "0.5")},
		"odd scopes":           {200, header(), replace("a b", "a  b")},
		"too deep":             {200, header(), replace("[1]", strings.Repeat("[", 10)+strings.Repeat("]", 10))},
		"too large":            {200, header(), replace("[1]", `"`+strings.Repeat("x", 1<<20)+`"`)},
		"created":              {201, header(), goodAnswer},
		"not modified":         {304, header(), ""},
	} {
		secret, _, _, err := exchange.ReadGranted(exchange.Answer(tt.status, tt.header, []byte(tt.body)))
		if !errors.Is(err, exchange.ErrUnavailable) || errors.Is(err, exchange.ErrRefused) || !secret.IsZero() {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "a.b") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadRefusal(t *testing.T) {
	t.Parallel()
	const text = `{"error":"invalid_target","error_description":"refused, id 01J: no mapping"}`
	for name, tt := range map[string]struct {
		status int
		header http.Header
		body   string
		want   exchange.Error
		kind   error
	}{
		"refused":               {400, header("X-Request-Id", "01J"), text, exchange.Error{Status: 400, Code: "invalid_target", Description: "no mapping", RecordID: "01J"}, exchange.ErrRefused},
		"not authenticated":     {401, header(), strings.Replace(text, "target", "client", 1), exchange.Error{Status: 401, Code: "invalid_client", Description: "no mapping"}, exchange.ErrRefused},
		"without a description": {400, header(), `{"error":"invalid_scope"}`, exchange.Error{Status: 400, Code: "invalid_scope"}, exchange.ErrRefused},
		"text of another shape": {400, header(), `{"error":"invalid_scope","error_description":"refused, id 7"}`, exchange.Error{Status: 400, Code: "invalid_scope", Description: "refused, id 7"}, exchange.ErrRefused},
		"text that misleads":    {400, header("X-Request-Id", "x; rm -rf /"), `{"error":"invalid_scope","error_description":"a\u001b[31m\n\"b\u00e9"}`, exchange.Error{Status: 400, Code: "invalid_scope", Description: "a?[31m??b??"}, exchange.ErrRefused},
		"a long id":             {400, header("X-Request-Id", strings.Repeat("x", 65)), `{"error":"invalid_scope"}`, exchange.Error{Status: 400, Code: "invalid_scope"}, exchange.ErrRefused},
		"too many":              {429, header("Retry-After", "3"), `{"error":"temporarily_unavailable"}`, exchange.Error{Status: 429, Code: "temporarily_unavailable", RetryAfter: 3 * time.Second}, exchange.ErrUnavailable},
		"overloaded":            {503, header("Retry-After", "86400"), `{"error":"temporarily_unavailable"}`, exchange.Error{Status: 503, Code: "temporarily_unavailable", RetryAfter: 5 * time.Minute}, exchange.ErrUnavailable},
		"a date":                {503, header("Retry-After", "Fri, 31 Dec 2027 23:59:59 GMT"), `{"error":"temporarily_unavailable"}`, exchange.Error{Status: 503, Code: "temporarily_unavailable"}, exchange.ErrUnavailable},
		"in the past":           {503, header("Retry-After", "-3"), "", exchange.Error{Status: 503}, exchange.ErrUnavailable},
		"broken":                {500, header(), `{"error":"server_error"}`, exchange.Error{Status: 500, Code: "server_error"}, exchange.ErrUnavailable},
		"a proxy's page":        {502, header("Content-Type", "text/html"), "<html>secret", exchange.Error{Status: 502}, exchange.ErrUnavailable},
	} {
		_, _, _, err := exchange.ReadGranted(exchange.Answer(tt.status, tt.header, []byte(tt.body)))
		e := asError(t, err)
		if e.Status != tt.want.Status || e.Code != tt.want.Code || e.Description != tt.want.Description || e.RecordID != tt.want.RecordID || e.RetryAfter != tt.want.RetryAfter || !errors.Is(err, tt.kind) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	// What no broker of ours says is no refusal of it, and is not repeated.
	for name, tt := range map[string]struct {
		header http.Header
		body   string
	}{
		"JSON as a page":      {header("Content-Type", "text/html"), `{"error":"invalid_scope","error_description":"secret"}`},
		"a page":              {header("Content-Type", "text/html"), "<html>secret"},
		"JSON of another":     {header(), `{"message":"secret"}`},
		"a code of another":   {header(), `{"error":"secret"}`},
		"a code that is none": {header(), `{"error":7}`},
		"two codes":           {header(), `{"error":"invalid_scope","error":"invalid_target"}`},
		"too large":           {header(), `{"error":"invalid_scope","x":"` + strings.Repeat("x", 1<<20) + `"}`},
	} {
		_, _, _, err := exchange.ReadGranted(exchange.Answer(404, tt.header, []byte(tt.body)))
		if e := asError(t, err); errors.Is(err, exchange.ErrRefused) || e.Status != 404 || e.Code != "" || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReadSelf(t *testing.T) {
	t.Parallel()
	for named, want := range map[string]string{
		"ledger": ledgerURI, ledgerURI: ledgerURI,
		"shop/cart": "https://cart.shop.svc.prod.example", "https://cart.shop.svc.prod.example": "https://cart.shop.svc.prod.example",
		"https://a.b.svc.prod.example": "https://a.b.svc.prod.example",
		"a/a":                          "https://a.a.svc.prod.example",
		// Two variables of a name may stand in any order in the URI.
		"a/b": "", "shop/*": "", "*/*": "", "shop/": "", "shop/a/b": "", "shop/A": "", "shop/a.b": "", "led": "", "ledgers": "", "https://*.shop.svc.prod.example": "",
	} {
		uri, _, found, err := exchange.ReadSelf(exchange.Answer(200, header(), []byte(selfText)), named)
		if err != nil || uri != want || found != (want != "") {
			t.Errorf("%q: %q %v %v", named, uri, found, err)
		}
	}
	_, hosts, _, err := exchange.ReadSelf(exchange.Answer(200, header(), []byte(selfText)), "https://a.b.svc.prod.example")
	if err != nil || len(hosts) != 0 {
		t.Errorf("hosts that are guessed: %q %v", hosts, err)
	}
	_, hosts, _, err = exchange.ReadSelf(exchange.Answer(200, header(), []byte(selfText)), "https://cart.shop.svc.prod.example")
	if err != nil || len(hosts) != 1 || hosts[0] != "cart.shop" {
		t.Errorf("%q %v", hosts, err)
	}
}

// Pages are put together, the list is read again for what is not in it, and an old
// one is better than none.
func TestPages(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	clock := newClock()
	c := s.client(t, exchange.WithClock(clock.now))
	s.set(func() {
		s.self = `{"resources":[{"name":"a","uri":"urn:a","grants":[{"scopes":["x"]}]}],"next":"a"}`
		s.selfAfter = selfText
	})
	a, b := exchange.Target{Resource: "a", As: exchange.AsSelf}, exchange.Target{Resource: "new", As: exchange.AsSelf}
	must(t, c, a)
	must(t, c, ledger)
	if s.selves != 2 {
		t.Errorf("%d pages read", s.selves)
	}
	_, err := c.Token(t.Context(), b)
	if !errors.Is(err, exchange.ErrUnknownResource) || errors.Is(err, exchange.ErrRefused) || errors.Is(err, exchange.ErrUnavailable) || !contains(err.Error(), "new", "cambist whoami") {
		t.Error(err)
	}
	s.set(func() { s.self = strings.Replace(selfText, `"ledger"`, `"new"`, 1) })
	if _, err := c.Token(t.Context(), b); !errors.Is(err, exchange.ErrUnknownResource) || s.selves != 2 {
		t.Errorf("%v, %d pages read", err, s.selves)
	}
	clock.add(6 * time.Second)
	must(t, c, b)
	if s.selves != 3 {
		t.Errorf("%d pages read", s.selves)
	}
	s.set(func() { s.self = "nonsense" })
	clock.add(time.Hour)
	must(t, c, b)
	if s.selves != 4 {
		t.Errorf("%d pages read", s.selves)
	}
	if _, err := c.Token(t.Context(), ledger); !errors.Is(err, exchange.ErrUnknownResource) {
		t.Error(err)
	}
}

// A broker that lists nothing serves whoever knows the URI.
func TestSelfOff(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.set(func() { s.self = "" })
	newApp(t, s, "ledger.prod.example:443", ledgerURI)
	c := s.client(t)
	if _, err := c.Token(t.Context(), ledger); !errors.Is(err, exchange.ErrUnknownResource) || !contains(err.Error(), "give the URI") {
		t.Error(err)
	}
	if status, _, err := do(t, c.HTTPClient(ledgerURI, exchange.AsSelf), http.MethodGet, ledgerURI+"/x", http.NoBody); err != nil || status != 200 {
		t.Error(status, err)
	}
}

// An answer that breaks off is no answer: who needs a token asks again.
func TestCutAnswer(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	first := true
	s.set(func() {
		s.answer = func(w http.ResponseWriter, _ seen) bool {
			s.mu.Lock()
			cut := first
			first = false
			s.mu.Unlock()
			if cut {
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Length", "1000")
				_, _ = w.Write([]byte(`{"access_token":"`))
			}
			return cut
		}
	})
	must(t, s.client(t), ledger)
	if got := len(s.exchanges()); got != 2 {
		t.Errorf("%d exchanges", got)
	}
}

// What cannot be had is said before it is asked for.
func TestDPoP(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	_, err := s.client(t).Token(t.Context(), exchange.Target{Resource: "vault", As: exchange.AsSelf})
	if !errors.Is(err, exchange.ErrRefused) || !contains(err.Error(), "DPoP") || len(s.exchanges()) != 0 {
		t.Error(err)
	}
}

// Who has given up is told what the broker said last, and that it was the time.
func TestDeadline(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.set(func() {
		s.answer = func(_ http.ResponseWriter, q seen) bool { <-q.gone; return true }
	})
	c := s.client(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := c.Token(ctx, ledger)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, exchange.ErrUnavailable) || asError(t, err).Resource != "ledger" {
		t.Error(err)
	}
}

// A closed client gives nothing and lets nobody wait.
func TestClose(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	asked := make(chan struct{})
	s.set(func() {
		s.answer = func(_ http.ResponseWriter, q seen) bool { close(asked); <-q.gone; return true }
	})
	c, err := exchange.New(t.Context(), s.options()...)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error)
	go func() {
		_, err := c.Token(context.Background(), ledger)
		waiting <- err
	}()
	<-asked
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if err := <-waiting; err == nil || !contains(err.Error(), "closed") {
		t.Error(err)
	}
	if _, err := c.Token(t.Context(), ledger); err == nil || !contains(err.Error(), "closed") {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Errorf("the second time: %v", err)
	}
}
