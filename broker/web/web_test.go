package web_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/web"
)

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// edge is an edge whose log lines are read when they are flushed.
type edge struct {
	*web.Edge
	lines    bytes.Buffer
	log      *web.AccessLog
	observed []int
	mu       sync.Mutex
}

func newEdge(concurrent int, all bool) *edge {
	e := &edge{}
	e.log = web.NewAccessLog(slog.New(slog.NewJSONHandler(&e.lines, nil)), all)
	e.Edge = web.New(web.Config{
		Listener: "mtls", Now: func() time.Time { return start }, NewID: func(time.Time) string { return "id-1" }, Log: e.log, Concurrent: concurrent,
		Observe: func(_, _ string, status int, _ time.Duration) {
			e.mu.Lock()
			defer e.mu.Unlock()
			e.observed = append(e.observed, status)
		},
	})
	return e
}

// flush writes what waits and returns it: Run returns when its context has ended
// and nothing waits.
func (e *edge) flush(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.log.Run(ctx); err != nil {
		t.Fatal(err)
	}
	return e.lines.String()
}

func (e *edge) serve(h web.Handler, r *http.Request) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	e.OAuth("/x", h, http.MethodPost, http.MethodGet).ServeHTTP(recorder, r)
	return recorder
}

type body struct {
	Error       string `json:"error"`
	Description string `json:"error_description"`
}

func decode(t *testing.T, r *httptest.ResponseRecorder) body {
	t.Helper()
	var b body
	if err := json.Unmarshal(r.Body.Bytes(), &b); err != nil {
		t.Fatalf("%v: %s", err, r.Body)
	}
	return b
}

// Every code has its row. A code without one would come out as 500, which only
// CodeInternal may.
func TestTable(t *testing.T) {
	t.Parallel()
	want := map[broker.Code]struct {
		status int
		code   string
	}{
		broker.CodeInternal:             {500, "server_error"},
		broker.CodeInvalidRequest:       {400, "invalid_request"},
		broker.CodeInvalidClient:        {401, "invalid_client"},
		broker.CodeInvalidGrant:         {400, "invalid_grant"},
		broker.CodeInvalidTarget:        {400, "invalid_target"},
		broker.CodeInvalidScope:         {400, "invalid_scope"},
		broker.CodeUnauthorizedClient:   {400, "unauthorized_client"},
		broker.CodeUnsupportedGrantType: {400, "unsupported_grant_type"},
		broker.CodeNotFound:             {404, "invalid_request"},
		broker.CodeConflict:             {409, "invalid_request"},
		broker.CodeStale:                {412, "invalid_request"},
		broker.CodeForbidden:            {403, "unauthorized_client"},
		broker.CodeRateLimited:          {429, "temporarily_unavailable"},
		broker.CodeUnavailable:          {503, "temporarily_unavailable"},
		broker.CodeInvalidProof:         {400, "invalid_dpop_proof"},
		broker.CodeNonceRequired:        {400, "use_dpop_nonce"},
	}
	for _, code := range broker.Codes() {
		e := newEdge(1, true)
		r := e.serve(func(*web.Response, *http.Request) error {
			return &broker.Error{Code: code, Reason: "r", Public: "what you may know", RecordID: "rec-1", RetryAfter: 1500 * time.Millisecond, Err: errors.New("secret cause")}
		}, httptest.NewRequest(http.MethodPost, "/x", nil))
		b := decode(t, r)
		if r.Code != want[code].status || b.Error != want[code].code {
			t.Errorf("%s: %d %q", code, r.Code, b.Error)
		}
		if strings.Contains(r.Body.String(), "secret") {
			t.Errorf("%s: the cause got out: %s", code, r.Body)
		}
		text := "refused, id rec-1: what you may know"
		if code == broker.CodeInternal {
			text = "internal error, id id-1"
		}
		h := r.Header()
		if b.Description != text || h.Get("Cache-Control") != "no-store" || h.Get("Pragma") != "no-cache" || h.Get("Content-Type") != "application/json" ||
			h.Get("X-Request-Id") != "id-1" || h.Get("Retry-After") != "2" {
			t.Errorf("%s: %q %v", code, b.Description, h)
		}
		if line := e.flush(t); !strings.Contains(line, `"cause":"secret cause"`) || !strings.Contains(line, `"reason":"r"`) || !strings.Contains(line, `"error":"`+code.String()+`"`) {
			t.Errorf("%s: log %s", code, line)
		}
	}
}

// What nobody classified tells the caller nothing.
func TestUnclassified(t *testing.T) {
	t.Parallel()
	e := newEdge(1, true)
	r := e.serve(func(*web.Response, *http.Request) error { return errors.New("pq: password is hunter2") }, httptest.NewRequest(http.MethodGet, "/x", nil))
	if b := decode(t, r); r.Code != 500 || b.Error != "server_error" || strings.Contains(r.Body.String(), "hunter2") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
}

// A description has only the characters of RFC 6749 section 5.2.
func TestDescriptionIsClean(t *testing.T) {
	t.Parallel()
	e := newEdge(1, true)
	r := e.serve(func(*web.Response, *http.Request) error {
		return broker.Errorf(broker.CodeInvalidRequest, "r", "a\"b\\c\nd\u00e9")
	}, httptest.NewRequest(http.MethodGet, "/x", nil))
	if b := decode(t, r); b.Description != "a?b?c?d??" {
		t.Errorf("%q", b.Description)
	}
}

func TestMethods(t *testing.T) {
	t.Parallel()
	e := newEdge(1, true)
	called := false
	for _, method := range []string{http.MethodPut, "get", "X"} {
		r := e.serve(func(*web.Response, *http.Request) error { called = true; return nil }, httptest.NewRequest(method, "/x", nil))
		if r.Code != 405 || r.Header().Get("Allow") != "POST, GET" || decode(t, r).Error != "invalid_request" || r.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %v %s", method, r.Code, r.Header(), r.Body)
		}
	}
	if called {
		t.Error("the handler was called")
	}
	if line := e.flush(t); strings.Contains(line, `"method":"X"`) || !strings.Contains(line, `"method":"_OTHER"`) {
		t.Errorf("log %s", line)
	}
	r := httptest.NewRecorder()
	e.NotFound().ServeHTTP(r, httptest.NewRequest(http.MethodPatch, "/nowhere/secret-token", nil))
	if line := e.flush(t); r.Code != 404 || strings.Contains(line, "secret-token") || !strings.Contains(line, `"route":"(unknown)"`) {
		t.Errorf("%d, log %s", r.Code, line)
	}
}

// A panic is a 500 that says nothing; its value, which may hold anything, is
// not logged, its place is. After half an answer the connection is aborted.
func TestPanic(t *testing.T) {
	t.Parallel()
	e := newEdge(1, true)
	r := e.serve(func(*web.Response, *http.Request) error { panic("eyJhbGciOi.token") }, httptest.NewRequest(http.MethodGet, "/x", nil))
	if r.Code != 500 || strings.Contains(r.Body.String(), "eyJ") {
		t.Errorf("%d %s", r.Code, r.Body)
	}
	if line := e.flush(t); strings.Contains(line, "eyJ") || !strings.Contains(line, "TestPanic") {
		t.Errorf("log %s", line)
	}
	// The slot was given back.
	if r := e.serve(func(*web.Response, *http.Request) error { return nil }, httptest.NewRequest(http.MethodGet, "/x", nil)); r.Code != 200 {
		t.Errorf("afterwards %d", r.Code)
	}
	defer func() {
		if cause, ok := recover().(error); !ok || !errors.Is(cause, http.ErrAbortHandler) {
			t.Errorf("after half an answer: %v", cause)
		}
	}()
	e.serve(func(w *web.Response, _ *http.Request) error {
		w.WriteHeader(200)
		panic("late")
	}, httptest.NewRequest(http.MethodGet, "/x", nil))
}

// More requests than slots wait a little and then are refused with Retry-After;
// those inside are not disturbed.
func TestConcurrency(t *testing.T) {
	t.Parallel()
	e := newEdge(2, true)
	inside, leave := make(chan struct{}), make(chan struct{})
	hold := func(*web.Response, *http.Request) error {
		inside <- struct{}{}
		<-leave
		return nil
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if r := e.serve(hold, httptest.NewRequest(http.MethodGet, "/x", nil)); r.Code != 200 {
				t.Errorf("inside: %d", r.Code)
			}
		})
		<-inside
	}
	r := e.serve(hold, httptest.NewRequest(http.MethodGet, "/x", nil))
	if r.Code != 503 || r.Header().Get("Retry-After") != "1" {
		t.Errorf("one too many: %d %v", r.Code, r.Header())
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if r := e.serve(hold, httptest.NewRequest(http.MethodGet, "/x", nil).WithContext(gone)); r.Code != 503 {
		t.Errorf("a client that went away: %d", r.Code)
	}
	close(leave)
	wg.Wait()
}

func TestAccessLog(t *testing.T) {
	t.Parallel()
	workload := func(w *web.Response, _ *http.Request) error {
		w.Workload = "spiffe://td/a\n{\"x\":1}"
		return nil
	}
	request := httptest.NewRequest(http.MethodPost, "/x?secret=1", nil)
	request.Header.Set("Authorization", "Bearer secret")
	e := newEdge(1, true)
	e.serve(workload, request)
	line := e.flush(t)
	if strings.Count(line, "\n") != 1 || strings.Contains(line, "secret") || !strings.Contains(line, `"listener":"mtls"`) || !strings.Contains(line, `"request_id":"id-1"`) ||
		!strings.Contains(line, `"status":200`) || !strings.Contains(line, `"route":"/x"`) {
		t.Errorf("log %q", line)
	}
	quiet := newEdge(1, false)
	quiet.serve(workload, request)
	quiet.serve(func(*web.Response, *http.Request) error { return errors.New("x") }, request)
	if line := quiet.flush(t); strings.Count(line, "\n") != 1 || !strings.Contains(line, `"status":500`) {
		t.Errorf("only failures: %q", line)
	}
}

// A log that nobody reads costs no request anything; what it loses it says.
func TestAccessLogOverflow(t *testing.T) {
	t.Parallel()
	e := newEdge(1, true)
	for range 4100 {
		e.serve(func(*web.Response, *http.Request) error { return nil }, httptest.NewRequest(http.MethodGet, "/x", nil))
	}
	if e.log.Dropped() != 4 {
		t.Errorf("dropped %d", e.log.Dropped())
	}
	if lines := e.flush(t); !strings.Contains(lines, `"msg":"access log lines were lost","lines":4`) {
		t.Errorf("no word of it: %s", lines[len(lines)-200:])
	}
}

func TestReadForm(t *testing.T) {
	t.Parallel()
	const form = "application/x-www-form-urlencoded"
	big := "a=" + strings.Repeat("x", oauth.MaxFormBytes)
	tests := map[string]struct {
		url, contentType, body string
		change                 func(*http.Request)
		problem                string // "" if it is read
	}{
		"plain":             {"/x", form, "grant_type=a", nil, ""},
		"charset":           {"/x", form + "; charset=UTF-8", "grant_type=a", nil, ""},
		"chunked":           {"/x", form, "grant_type=a", func(r *http.Request) { r.ContentLength = -1 }, ""},
		"query":             {"/x?grant_type=a", form, "grant_type=a", nil, "no query"},
		"empty query":       {"/x?", form, "grant_type=a", nil, "no query"},
		"JSON":              {"/x", "application/json", `{"grant_type":"a"}`, nil, "content type"},
		"multipart":         {"/x", "multipart/form-data; boundary=x", "--x--", nil, "content type"},
		"no type":           {"/x", "", "grant_type=a", func(r *http.Request) { r.Header.Del("Content-Type") }, "content type"},
		"two types":         {"/x", form, "grant_type=a", func(r *http.Request) { r.Header.Add("Content-Type", form) }, "content type"},
		"gzip":              {"/x", form, "grant_type=a", func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }, "encoded"},
		"too large":         {"/x", form, big, nil, "too large"},
		"too large chunked": {"/x", form, big, func(r *http.Request) { r.ContentLength = -1 }, "too large"},
		"cut off":           {"/x", form, "grant_type=a", func(r *http.Request) { r.ContentLength = 100 }, "could not be read"},
		"twice":             {"/x", form, "scope=a&scope=b", nil, "scope is sent more than once"},
		"bad escape":        {"/x", form, "scope=%zz", nil, "not well formed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			request := httptest.NewRequest(http.MethodPost, tt.url, strings.NewReader(tt.body))
			request.Header.Set("Content-Type", tt.contentType)
			if tt.change != nil {
				tt.change(request)
			}
			e := newEdge(1, true)
			r := e.serve(func(w *web.Response, r *http.Request) error {
				f, err := web.ReadForm(w, r)
				if err == nil && f.Get("grant_type") != "a" {
					t.Errorf("read %v", f)
				}
				return err
			}, request)
			switch {
			case tt.problem == "" && r.Code != 200:
				t.Errorf("%d %s", r.Code, r.Body)
			case tt.problem != "":
				if b := decode(t, r); r.Code != 400 || b.Error != "invalid_request" || !strings.Contains(b.Description, tt.problem) {
					t.Errorf("%d %+v", r.Code, b)
				}
			}
		})
	}
}

// A body that was announced as too large is refused without being read, and
// nothing is taken for the next request.
func TestLargeBodyClosesTheConnection(t *testing.T) {
	t.Parallel()
	e := newEdge(1, true)
	server := httptest.NewServer(e.OAuth("/x", func(w *web.Response, r *http.Request) error {
		_, err := web.ReadForm(w, r)
		return err
	}, http.MethodPost))
	defer server.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, io.LimitReader(zeros{}, 1<<30))
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = 1 << 30
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != 400 || !response.Close {
		t.Errorf("%d, close %v", response.StatusCode, response.Close)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestDocument(t *testing.T) {
	t.Parallel()
	e := newEdge(1, true)
	server := httptest.NewServer(e.OAuth("/x", func(w *web.Response, r *http.Request) error {
		return web.Document(w, r, web.Doc{ContentType: "application/jwk-set+json", Body: []byte("{}"), ETag: `"abc"`, MaxAge: 5 * time.Minute})
	}, http.MethodGet, http.MethodHead))
	defer server.Close()
	get := func(method, have string) (*http.Response, string) {
		request, _ := http.NewRequestWithContext(t.Context(), method, server.URL, nil)
		if have != "" {
			request.Header.Set("If-None-Match", have)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response, string(text)
	}
	r, text := get(http.MethodGet, "")
	if r.StatusCode != 200 || text != "{}" || r.Header.Get("Cache-Control") != "public, max-age=300" || r.Header.Get("ETag") != `"abc"` || r.Header.Get("Content-Type") != "application/jwk-set+json" {
		t.Errorf("%d %q %v", r.StatusCode, text, r.Header)
	}
	if r, text := get(http.MethodHead, ""); r.StatusCode != 200 || text != "" || r.ContentLength != 2 {
		t.Errorf("HEAD: %d %q", r.StatusCode, text)
	}
	if r, text := get(http.MethodGet, `"abc"`); r.StatusCode != 304 || text != "" {
		t.Errorf("If-None-Match: %d %q", r.StatusCode, text)
	}
	if r, _ := get(http.MethodGet, `"abcd"`); r.StatusCode != 200 {
		t.Errorf("another tag: %d", r.StatusCode)
	}
}

func TestQuota(t *testing.T) {
	t.Parallel()
	a, b := spiffeid.RequireFromString("spiffe://td/a"), spiffeid.RequireFromString("spiffe://td/b")
	q := web.NewQuota(10, 3)
	for i := range 3 {
		if _, ok := q.Take(a, start); !ok {
			t.Fatalf("request %d", i)
		}
	}
	if after, ok := q.Take(a, start); ok || after != 100*time.Millisecond {
		t.Errorf("one too many: %v %v", after, ok)
	}
	if _, ok := q.Take(b, start); !ok {
		t.Error("another workload is starved")
	}
	if _, ok := q.Take(a, start.Add(100*time.Millisecond)); !ok {
		t.Error("the bucket does not fill")
	}
	if _, ok := q.Take(a, start.Add(100*time.Millisecond)); ok {
		t.Error("the bucket fills too fast")
	}
	off := web.NewQuota(0, 0)
	for range 1000 {
		if _, ok := off.Take(a, start); !ok {
			t.Fatal("no limit limits")
		}
	}
}

// The first requests of a workload that come at once share one bucket.
func TestQuotaRace(t *testing.T) {
	t.Parallel()
	q := web.NewQuota(0.001, 5)
	var granted sync.Map
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Go(func() {
			if _, ok := q.Take(spiffeid.RequireFromString("spiffe://td/a"), start); ok {
				granted.Store(i, true)
			}
		})
	}
	wg.Wait()
	n := 0
	granted.Range(func(any, any) bool { n++; return true })
	if n != 5 {
		t.Errorf("%d granted", n)
	}
}
