package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	grantSelf     = "client_credentials"
	grantExchange = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypes    = "urn:ietf:params:oauth:token-type:"
	formType      = "application/x-www-form-urlencoded"
)

// answer is what a server said, read to its end or to the bound.
type answer struct {
	status int
	header http.Header
	body   []byte
	err    error // the connection failed: there is no answer
}

// object decodes the body strictly: a JSON object, in which no name repeats.
func (a answer) object() (map[string]any, error) {
	var members map[string]any
	if a.err != nil {
		return nil, a.err
	}
	err := json.Unmarshal(a.body, &members)
	return members, err
}

func (a answer) text(name string) string {
	members, err := a.object()
	if err != nil {
		return ""
	}
	text, _ := members[name].(string)
	return text
}

// said is the answer in a few words.
func (a answer) said() string {
	if a.err != nil {
		return "none: " + a.err.Error()
	}
	return strings.TrimSpace(strconv.Itoa(a.status) + " " + a.text("error"))
}

// exchanged is a request and its answer as the report shows them.
type exchanged struct{ request, answer string }

// get reads a document of the server as a stranger.
func (s *suite) get(ctx context.Context, address string) (answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return answer{}, err
	}
	a := read(s.as(""), request)
	return a, a.err
}

// read sends a request and reads the answer.
func read(c *http.Client, request *http.Request) answer {
	response, err := c.Do(request)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close() //nolint:errcheck // what was read is what counts
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	return answer{status: response.StatusCode, header: response.Header, body: body, err: err}
}

// call is one request to the token endpoint.
type call struct {
	client string     // of the profile; "" for nobody
	form   url.Values // with what the client adds to it
	body   string     // instead of the form, if not empty
	method string
	header http.Header // replaces what would be sent
	query  string
	http   *http.Client // instead of the client's own
}

// ask sends a request. What every answer of a token endpoint must be is held
// against this one too.
func (t *t) ask(c call) answer {
	if c.http == nil {
		c.http = t.as(c.client)
	}
	body, header := c.body, http.Header{"Content-Type": {formType}}
	if body == "" {
		t.authenticate(&c, header)
		body = c.form.Encode()
	}
	for name, values := range c.header {
		header[name] = values
	}
	a := t.send(c, header, body)
	if a.err == nil && (c.method == "" || c.method == http.MethodPost) {
		t.wellFormed(a, c)
	}
	if a.text("access_token") != "" {
		t.issued++
	}
	return a
}

// patience is how often a server may say that it was asked too much, and
// forbearance how often that it is not able to at the moment.
const (
	patience    = 10
	forbearance = 3
)

// send sends a request until it is answered with something else than 429, or 503
// with Retry-After: the suite asks faster than a client should, and of machines
// that have other work, and that is no finding.
func (t *t) send(c call, header http.Header, body string) answer {
	address, method := t.token, c.method
	if c.query != "" {
		address += "?" + c.query
	}
	if method == "" {
		method = http.MethodPost
	}
	for try := 1; ; try++ {
		request, err := http.NewRequestWithContext(t.ctx, method, address, strings.NewReader(body))
		if err != nil {
			return answer{err: err}
		}
		request.Header = header
		a := read(c.http, request)
		t.last = exchanged{shown(method+" "+address, header, []byte(body)), shown(fmt.Sprint(a.status), a.header, a.body)}
		if a.err != nil {
			t.last.answer = "none: " + a.err.Error()
		}
		bound := 1
		switch after := a.header.Get("Retry-After"); {
		case a.status == http.StatusTooManyRequests:
			bound = patience
		case a.status == http.StatusServiceUnavailable && after != "":
			t.late++
			bound = forbearance
		}
		if try >= bound || !t.wait(a.header.Get("Retry-After")) {
			return a
		}
	}
}

// wait waits as long as the server asks for, and a second at least.
func (t *t) wait(retryAfter string) bool {
	seconds, err := strconv.Atoi(retryAfter)
	if err != nil || seconds < 1 {
		seconds = 1
	}
	timer := time.NewTimer(time.Duration(seconds) * time.Second)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-t.ctx.Done():
		return false
	}
}

// authenticate adds what the client proves itself with, unless the case has set
// it. The certificate is the connection's.
func (t *t) authenticate(c *call, header http.Header) {
	known := t.profile.client(c.client)
	if known == nil {
		return
	}
	c.form = copied(c.form)
	switch {
	case known.secret != "" && known.Basic: // RFC 6749 section 2.3.1: both are encoded inside
		pair := &http.Request{Header: header}
		pair.SetBasicAuth(url.QueryEscape(known.ID), url.QueryEscape(known.secret))
	default:
		if known.Assertion != nil && !c.form.Has("client_assertion") && !c.form.Has("client_assertion_type") {
			c.form.Set("client_assertion_type", known.Assertion.Type)
			c.form.Set("client_assertion", known.Assertion.forger.good()) // a new one each time: it may be good only once
		}
		if known.ID != "" && !c.form.Has("client_id") {
			c.form.Set("client_id", known.ID)
		}
		if known.secret != "" {
			c.form.Set("client_secret", known.secret)
		}
	}
}

func copied(form url.Values) url.Values {
	clone := url.Values{}
	for name, values := range form {
		clone[name] = slices.Clone(values)
	}
	return clone
}

// codes are the errors that a token endpoint may answer with (RFC 6749 section
// 5.2, RFC 8707, RFC 9449, RFC 9396), and what servers say outside of it.
var codes = []string{"invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type", "invalid_scope", "invalid_target",
	"invalid_dpop_proof", "use_dpop_nonce", "invalid_authorization_details", "temporarily_unavailable", "server_error"}

// wellFormed holds what must be so of every answer of the token endpoint: TX-31,
// OE-1 to OE-5 and HX-14.
func (t *t) wellFormed(a answer, c call) {
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	t.hold(err == nil && media == "application/json", "OE-1: the content type is %q", a.header.Get("Content-Type"))
	t.hold(slices.Contains(strings.Split(strings.ReplaceAll(a.header.Get("Cache-Control"), " ", ""), ","), "no-store"), "TX-31: Cache-Control is %q", a.header.Get("Cache-Control"))
	members, err := a.object()
	if !t.hold(err == nil, "OE-1: the body is not one JSON object: %v", err) {
		return
	}
	if a.status == http.StatusOK {
		return
	}
	code, _ := members["error"].(string)
	t.hold(slices.Contains(codes, code), "OE-3: the error is %q", code)
	t.hold(members["access_token"] == nil, "OE-1: an error with a token")
	description, _ := members["error_description"].(string)
	t.hold(!strings.ContainsFunc(description, func(r rune) bool { return r < 0x20 || r > 0x7e || r == '"' || r == '\\' }), "OE-4: the description is %q", description)
	for name, values := range c.form {
		for _, value := range values {
			secret := strings.HasSuffix(name, "token") || name == "client_secret" || strings.HasSuffix(name, "assertion")
			t.hold(!secret || len(value) < 16 || !bytes.Contains(a.body, []byte(value)), "HX-14: the answer repeats %s", name)
		}
	}
}
