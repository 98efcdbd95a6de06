package exchange_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/clients/exchange"
)

const (
	brokerAddress = "cambist.test:8443"
	brokerURL     = "https://" + brokerAddress
	issuerURL     = "https://sts.prod.example"
	ledgerURI     = "https://ledger.prod.example"
)

// selfText is what GET /oauth2/self says unless a test says otherwise.
const selfText = `{"workload":"spiffe://prod.example/ns/shop/sa/web","resources":[
 {"name":"ledger","uri":"https://ledger.prod.example","hosts":["ledger.finance","ledger.finance:8443"],"binding":"identity",
  "grants":[{"for":"","scopes":["ledger.read","ledger.write"]},{"for":"","scopes":["ledger.close"],"conditional":true}]},
 {"name":"orders","uri":"https://orders.prod.example","hosts":["orders.shop"],"binding":"identity",
  "grants":[{"for":"corp","scopes":["orders.write"],"conditional":true},{"for":"workload","having":["call"],"scopes":["orders.read"]},
            {"for":"corp","having":["web.use"],"scopes":["orders.list"]}]},
 {"name":"shop/*","uri":"https://*.shop.svc.prod.example","hosts":["*.shop"],"binding":"identity","grants":[{"for":"","scopes":["call"]}]},
 {"name":"*/*","uri":"https://*.*.svc.prod.example","hosts":["*.*"],"binding":"identity","grants":[{"for":"","scopes":["call"]}]},
 {"name":"vault","uri":"https://vault.prod.example","hosts":["vault.finance"],"binding":"dpop","grants":[{"for":"","scopes":["read"]}]}]}`

// network connects names to listeners: to pipes, which stand still with the time
// of a synctest bubble, or to TCP on loopback.
type network struct {
	pipes bool
	mu    sync.Mutex
	at    map[string]net.Listener
	dials map[string]int
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	address = strings.ToLower(address)
	n.mu.Lock()
	n.dials[address]++
	l := n.at[address]
	n.mu.Unlock()
	switch l := l.(type) {
	case nil:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case *pipeListener:
		return l.dial(ctx)
	default:
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}
}

func (n *network) dialled(address string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials[address]
}

// listen opens the listener of a name.
func (n *network) listen(t testing.TB, address string) net.Listener {
	t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	var l net.Listener = &pipeListener{conns: make(chan net.Conn), done: make(chan struct{})}
	if !n.pipes {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	n.at[address] = l
	return l
}

type pipeListener struct {
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

func (l *pipeListener) dial(ctx context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
		return ours, nil
	case <-l.done:
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// source is an SVID that a test rotates.
type source struct {
	mu     sync.Mutex
	ca     *trust.CA
	svid   *x509svid.SVID
	bundle *x509bundle.Bundle
	err    error
}

func (s *source) rotate(t testing.TB, life time.Duration) {
	t.Helper()
	id, err := s.ca.ID("shop/web")
	if err != nil {
		t.Fatal(err)
	}
	svid, err := s.ca.SVID(id, life)
	if err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.svid, s.bundle = svid, s.ca.Bundle()
}

func (s *source) GetX509SVID() (*x509svid.SVID, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.svid, s.err
}

func (s *source) GetX509BundleForTrustDomain(td spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bundle.GetX509BundleForTrustDomain(td)
}

// seen is a token request as the broker read it.
type seen struct {
	at         time.Time
	form       oauth.Form
	thumbprint string          // of the client's certificate
	key        string          // Idempotency-Key
	id         string          // the SPIFFE ID on the wire
	gone       <-chan struct{} // closed when the client is
}

// standIn speaks the wire of a broker: real TLS, the real form, real JWS. What it
// grants is up to the test.
type standIn struct {
	net    *network
	ca     *trust.CA
	source *source
	signer *jws.Signer
	server *http.Server
	id     spiffeid.ID

	mu        sync.Mutex
	life      time.Duration
	bound     bool
	self      string
	selfAfter string // the second page
	meta      string
	answer    func(w http.ResponseWriter, s seen) bool // true if it answered
	requests  []seen
	selves    int
	metas     int
	serial    int
}

var domain = spiffeid.RequireTrustDomainFromString("prod.example")

// newWorld starts a broker. In a synctest bubble pipes must be true.
func newWorld(t testing.TB, pipes bool) *standIn {
	t.Helper()
	ca, err := trust.New(domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jws.NewSigner("k1", jws.ES256, key)
	if err != nil {
		t.Fatal(err)
	}
	s := &standIn{
		net: &network{pipes: pipes, at: map[string]net.Listener{}, dials: map[string]int{}}, ca: ca, signer: signer,
		source: &source{ca: ca}, life: 5 * time.Minute, self: selfText,
		meta: `{"issuer":"` + issuerURL + `","token_endpoint":"` + brokerURL + `/oauth2/token","jwks_uri":"` + issuerURL + `/oauth2/jwks"}`,
	}
	s.id, err = ca.ID("cambist/cambist")
	if err != nil {
		t.Fatal(err)
	}
	s.source.rotate(t, 24*time.Hour)
	s.start(t)
	t.Cleanup(func() { s.stop(t, false) })
	return s
}

// start opens the listener.
func (s *standIn) start(t testing.TB) {
	t.Helper()
	s.startWith(t, s.ca)
}

// startWith opens the listener with an SVID of that CA.
func (s *standIn) startWith(t testing.TB, ca *trust.CA) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /oauth2/token", s.token)
	mux.HandleFunc("GET /oauth2/self", s.serveSelf)
	mux.HandleFunc("GET /.well-known/oauth-authorization-server", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		s.metas++
		text := s.meta
		s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, text)
	})
	svid, err := ca.SVID(s.id, 24*time.Hour, "cambist.test")
	if err != nil {
		t.Fatal(err)
	}
	s.server = serve(t, s.net.listen(t, brokerAddress), s.ca, svid, mux)
}

// serve serves over mutual TLS until the test or somebody else closes it.
func serve(t testing.TB, l net.Listener, ca *trust.CA, svid *x509svid.SVID, h http.Handler) *http.Server {
	t.Helper()
	roots := x509.NewCertPool()
	for _, root := range ca.Bundle().X509Authorities() {
		roots.AddCert(root)
	}
	certificate := tls.Certificate{PrivateKey: svid.PrivateKey}
	for _, link := range svid.Certificates {
		certificate.Certificate = append(certificate.Certificate, link.Raw)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0), TLSConfig: &tls.Config{
		MinVersion: tls.VersionTLS13, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots,
		Certificates: []tls.Certificate{certificate}, SessionTicketsDisabled: true,
	}}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return server
}

// stop closes the listener; gracefully it lets what is under way finish.
func (s *standIn) stop(t testing.TB, gracefully bool) {
	t.Helper()
	s.net.mu.Lock()
	delete(s.net.at, brokerAddress) // nobody else's listener at that port is ours
	s.net.mu.Unlock()
	if !gracefully {
		_ = s.server.Close()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := s.server.Shutdown(ctx); err != nil {
		t.Error(err)
	}
}

func (s *standIn) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// exchanges returns the token requests so far.
func (s *standIn) exchanges() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

func (s *standIn) token(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	request := seen{at: time.Now(), key: r.Header.Get("Idempotency-Key"), gone: r.Context().Done()}
	if len(r.TLS.PeerCertificates) > 0 {
		leaf := r.TLS.PeerCertificates[0]
		request.thumbprint, request.id = thumbprint(leaf), leaf.URIs[0].String()
	}
	if request.form, err = oauth.ParseForm(body); err != nil {
		refuse(w, 400, oauth.ErrorInvalidRequest, err.Error())
		return
	}
	s.mu.Lock()
	s.requests = append(s.requests, request)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil && answer(w, request) {
		return
	}
	s.grant(w, request)
}

// grant issues what was asked for.
func (s *standIn) grant(w http.ResponseWriter, q seen) {
	s.mu.Lock()
	s.serial++
	claims := map[string]any{
		"iss": issuerURL, "sub": q.id, "client_id": q.id, "aud": q.form.Get("audience"), "jti": fmt.Sprint(s.serial), "scope": q.form.Get("scope"),
		"iat": time.Now().Unix(), "exp": time.Now().Add(s.life + time.Second).Unix(), // whole seconds
	}
	if s.bound {
		claims["cnf"] = map[string]string{"x5t#S256": q.thumbprint}
	}
	answer := oauth.TokenResponse{AccessToken: s.sign("at+jwt", claims), TokenType: "Bearer", ExpiresIn: int64(s.life / time.Second), Scope: q.form.Get("scope")}
	s.mu.Unlock()
	if q.form.Get("grant_type") != "client_credentials" {
		answer.IssuedTokenType = oauth.TokenTypeAccessToken
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer.AppendJSON(nil))
}

// sign makes a JWT of the broker's key: its own, or one that only looks like that
// of another issuer.
func (s *standIn) sign(typ string, claims map[string]any) oauth.Secret {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	input := s.signer.AppendInput(nil, typ, payload)
	signature, err := s.signer.Sign(input)
	if err != nil {
		panic(err)
	}
	return oauth.NewSecret(string(jws.AppendToken(nil, input, signature)))
}

func (s *standIn) serveSelf(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.selves++
	text := s.self
	if r.URL.RawQuery != "" {
		text = s.selfAfter
	}
	s.mu.Unlock()
	if text == "" {
		refuse(w, 404, oauth.ErrorInvalidRequest, "not found")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, text)
}

const recordID = "01JABCDEFGHJKMNPQRSTVWXYZ0"

func refuse(w http.ResponseWriter, status int, code oauth.ErrorCode, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Request-Id", recordID)
	w.WriteHeader(status)
	body := oauth.ErrorResponse{Code: code, Description: "refused, id " + recordID + ": " + text}
	_, _ = w.Write(body.AppendJSON(nil))
}

// options are those of a client of this broker.
func (s *standIn) options(more ...exchange.Option) []exchange.Option {
	return append([]exchange.Option{
		exchange.WithURL(brokerURL), exchange.WithServerID(s.id.String()), exchange.WithSource(s.source, s.source), exchange.WithDial(s.net.dial),
	}, more...)
}

// client makes one and closes it at the end.
func (s *standIn) client(t testing.TB, more ...exchange.Option) *exchange.Client {
	t.Helper()
	c, err := exchange.New(context.Background(), s.options(more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// user returns a token of the issuer's for alice.
func (s *standIn) user(issuer string, more map[string]any) oauth.Secret {
	claims := map[string]any{"iss": issuer, "sub": "alice", "aud": "cambist", "exp": time.Now().Add(time.Hour).Unix()}
	maps.Copy(claims, more)
	return s.sign("JWT", claims)
}

var ledger = exchange.Target{Resource: "ledger", As: exchange.AsSelf}

// must returns the token of a target.
func must(t testing.TB, c *exchange.Client, target exchange.Target) exchange.Token {
	t.Helper()
	token, err := c.Token(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// asError returns the typed error.
func asError(t testing.TB, err error) *exchange.Error {
	t.Helper()
	var e *exchange.Error
	if !errors.As(err, &e) {
		t.Fatalf("%v (%T) is no *Error", err, err)
	}
	return e
}

func contains(text string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(p string) bool { return !strings.Contains(text, p) })
}

func contextFor(t testing.TB, d time.Duration) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithTimeout(t.Context(), d)
}

// slow answers as always, after a time.
func slow(d time.Duration) func(http.ResponseWriter, seen) bool {
	return func(_ http.ResponseWriter, q seen) bool {
		select {
		case <-time.After(d):
		case <-q.gone:
		}
		return false
	}
}
