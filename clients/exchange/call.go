package exchange

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// The endpoints of a broker.
const (
	pathToken    = "/oauth2/token"
	pathSelf     = "/oauth2/self"
	pathMetadata = "/.well-known/oauth-authorization-server"
)

const (
	callTimeout         = 5 * time.Second // of one request to the broker
	maxAnswerBytes      = 1 << 20
	maxAnswerDepth      = 8
	maxDescriptionBytes = 512
	maxLifeSeconds      = 24 * 60 * 60
)

// answer is what came back, whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// call sends one request over the wire: GET, or POST if there is a form. Its
// Idempotency-Key and its body that can be sent again let net/http move it to a
// new connection when a replica closes the one that it was on (RFC 9110 section
// 9.2.2): a token that is issued twice harms nobody, a call that fails does.
// Redirects are not followed and no cookies are kept.
func call(ctx context.Context, w *wire, path, form string) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	method, body := http.MethodGet, io.Reader(http.NoBody)
	if form != "" {
		method, body = http.MethodPost, strings.NewReader(form)
	}
	r, err := http.NewRequestWithContext(ctx, method, w.serverURL.String()+path, body)
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "cambist-exchange")
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Idempotency-Key", rand.Text())
	}
	res, err := w.broker.RoundTrip(r)
	if err != nil {
		w.broker.CloseIdleConnections() // they may be as dead as this one
		var untrusted *tls.CertificateVerificationError
		return answer{}, &Error{kind: ErrUnavailable, cause: err, final: errors.As(err, &untrusted)}
	}
	defer func() { _ = res.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(res.Body, maxAnswerBytes+1))
	if err != nil {
		return answer{}, unavailable(err)
	}
	return answer{res.StatusCode, res.Header, content}, nil
}

// read decodes the body of a 200, or returns the error that the answer is. JSON
// is read as tokens are: one object, no duplicates, no case variants.
func (a answer) read(into any) error {
	switch {
	case a.status != http.StatusOK:
		return a.refusal()
	case len(a.body) > maxAnswerBytes:
		return a.strange("too large")
	case !a.json():
		return a.strange("not JSON")
	}
	if err := jws.DecodeClaims(a.body, into, maxAnswerDepth); err != nil {
		return a.strange("not well formed")
	}
	return nil
}

func (a answer) json() bool {
	media, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/json")
}

// strange is an answer that no broker of ours gives: something else stands at
// the URL, and waiting does not help. Nothing of it is repeated.
func (a answer) strange(how string) error {
	return &Error{Status: a.status, Description: "the answer is " + how + ": does the URL lead to the broker?", kind: ErrUnavailable, final: true}
}

// refusal reads an answer that is not 200 (RFC 6749 section 5.2). The status
// says whether to try again, the code only why.
func (a answer) refusal() error {
	e := &Error{Status: a.status, RecordID: recordID(a.header.Get("X-Request-Id")), RetryAfter: retryAfter(a.header.Get("Retry-After"))}
	var body struct {
		Error       text `json:"error"`
		Description text `json:"error_description"`
	}
	if len(a.body) <= maxAnswerBytes && a.json() && jws.DecodeClaims(a.body, &body, maxAnswerDepth) == nil && oauth.ErrorCode(body.Error).Valid() {
		e.Code, e.Description = oauth.ErrorCode(body.Error), describe(string(body.Description))
	}
	later := a.status == http.StatusTooManyRequests || a.status >= http.StatusInternalServerError
	switch {
	case later:
		e.kind = ErrUnavailable
	case e.Code == "":
		return a.strange("not an OAuth one")
	default:
		e.kind, e.final = ErrRefused, true
	}
	return e
}

// describe takes the record id off the text of the broker, which the error shows
// by itself, and keeps what RFC 6749 section 5.2 permits.
func describe(text string) string {
	if rest, ok := strings.CutPrefix(text, "refused, id "); ok {
		if _, after, found := strings.Cut(rest, ": "); found {
			text = after
		}
	}
	return oauth.CleanDescription(text[:min(len(text), maxDescriptionBytes)])
}

// recordID keeps an id that can stand in a command line.
func recordID(text string) string {
	plain := func(c rune) bool {
		return '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c == '-'
	}
	if len(text) > 64 || strings.ContainsFunc(text, func(c rune) bool { return !plain(c) }) {
		return ""
	}
	return text
}

func retryAfter(text string) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 32)
	if err != nil {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, maxRetryAfter)
}

// granted is a token as it was answered.
type granted struct {
	secret oauth.Secret
	scopes oauth.Scopes
	life   time.Duration
}

// readGranted reads the answer of the token endpoint (RFC 6749 section 5.1, RFC
// 8693 section 2.2.1). asked are the scopes where the answer names none.
func readGranted(a answer, asked oauth.Scopes) (granted, error) {
	var body struct {
		AccessToken string `json:"access_token"`
		IssuedType  string `json:"issued_token_type"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int64  `json:"expires_in"`
		Scope       string `json:"scope"`
	}
	if err := a.read(&body); err != nil {
		return granted{}, err
	}
	switch {
	case !strings.EqualFold(body.TokenType, "Bearer"):
		return granted{}, a.strange("a token of another type than Bearer")
	case body.IssuedType != "" && oauth.TokenType(body.IssuedType) != oauth.TokenTypeAccessToken:
		return granted{}, a.strange("something else than an access token")
	case !bearer(body.AccessToken):
		return granted{}, a.strange("a token that no header can carry")
	case body.ExpiresIn <= 0:
		return granted{}, a.strange("a token that does not say how long it lives")
	}
	g := granted{secret: oauth.NewSecret(body.AccessToken), scopes: asked, life: time.Duration(min(body.ExpiresIn, maxLifeSeconds)) * time.Second}
	if body.Scope != "" {
		var err error
		if g.scopes, err = oauth.ParseScopes(body.Scope); err != nil {
			return granted{}, a.strange("a token with a scope that is none")
		}
	}
	return g, nil
}

// bearer reports whether text is a b64token (RFC 6750 section 2.1) of bounded
// length: nothing else gets into a header.
func bearer(text string) bool {
	stem := strings.TrimRight(text, "=")
	other := func(c rune) bool {
		return !('0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || strings.ContainsRune("-._~+/", c))
	}
	return stem != "" && len(text) <= jws.MaxTokenBytes && !strings.ContainsFunc(stem, other)
}

// withoutSecret returns the error without its texts if they repeat a part of a
// token: a server that echoes what it was sent must not get it into our logs.
func withoutSecret(err error, secret oauth.Secret) error {
	if err == nil || !echoes(err.Error(), secret) {
		return err
	}
	e := asError(err)
	return &Error{Status: e.Status, Code: e.Code, RetryAfter: e.RetryAfter, kind: e.kind, final: e.final, cause: errEcho}
}

var errEcho = errors.New("the answer repeats the user's token and is not shown")

// echoes reports whether text has the beginning of one of the parts of a token.
func echoes(text string, secret oauth.Secret) bool {
	const telling = 8 // bytes; fewer could be there by chance
	for part := range strings.SplitSeq(secret.Reveal(), ".") {
		if len(part) >= telling && strings.Contains(text, part[:telling]) {
			return true
		}
	}
	return false
}
