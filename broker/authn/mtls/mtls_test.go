package mtls_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

func both(t *testing.T, test func(t *testing.T, http2 bool)) {
	t.Parallel()
	for name, http2 := range map[string]bool{"http/1.1": false, "h2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, http2)
		})
	}
}

// What a stranger may do on this listener, and what a workload may.
func TestWhoGetsIn(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	s := newServer(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}), nil)
	tests := map[string]struct {
		svid *x509svid.SVID
		want string
	}{
		"workload":          {root.svid(t, web, nil), asWeb},
		"no certificate":    {nil, missing},
		"self-made":         {selfSigned(t), untrusted + "not_trusted"},
		"other domain's CA": {newRoot(t).svid(t, web, nil), untrusted + "not_trusted"},
		"expired":           {root.svid(t, web, func(c *x509.Certificate) { c.NotAfter = start }), untrusted + "expired"},
		"two IDs":           {root.svid(t, web, rawSAN(web.String(), web.String())), untrusted + "uri_san"},
		"CA":                {&x509svid.SVID{ID: web, PrivateKey: root.key, Certificates: []*x509.Certificate{root.certificate}}, untrusted + "uri_san"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := s.client(t, tt.svid, true)
			s.expect(t, c, "/open", "200 open")
			s.expect(t, c, "/", tt.want)
		})
	}
}

// What no bundle could make right ends in the handshake, before anything is
// served (threats A15).
func TestHandshakeLimits(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	s := newServer(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}), nil)
	many := root.svid(t, web, nil)
	for range 20 {
		many.Certificates = append(many.Certificates, root.below(t, nil).certificate)
	}
	large := root.svid(t, web, extension([]int{1, 2, 3}, false, make([]byte, 16<<10)))
	old := s.client(t, root.svid(t, web, nil), false)
	old.Transport.(*http.Transport).TLSClientConfig.MinVersion = tls.VersionTLS12
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS12
	for _, tt := range []struct {
		client *http.Client
		want   string
	}{
		{s.client(t, many, false), string(mtls.FaultChain)},
		{s.client(t, large, false), string(mtls.FaultTooLarge)},
		{old, "unsupported versions"},
	} {
		if got, err := s.get(t, tt.client, "/open"); err == nil {
			t.Errorf("%s: %q", tt.want, got)
		}
		if line := <-s.failures; !strings.Contains(line, tt.want) { // a client sees no more than that the connection ends
			t.Errorf("%q, want %q", line, tt.want)
		}
	}
}

// MT-13, threats A1: a client that would resume its session after its CA has left
// the bundle does not get past the check by that.
func TestNoResumptionPastTheBundle(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		root := newRoot(t)
		trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}})
		s := newServer(t, trust, nil)
		c := s.client(t, root.svid(t, web, nil), http2)
		s.expect(t, c, "/", asWeb)
		c.CloseIdleConnections()
		s.expect(t, c, "/", asWeb) // resumed=false: there was no ticket
		c.CloseIdleConnections()
		set(trust, map[spiffeid.TrustDomain][]*pki{td1: {}})
		s.expect(t, c, "/", untrusted+"trust_domain")
		c.CloseIdleConnections()
		s.expect(t, c, "/", untrusted+"trust_domain")
		if n := s.connections.Load(); n != 4 {
			t.Errorf("%d connections, want 4", n)
		}
	})
}

// Even a listener that hands out tickets against our advice gives a resumed
// session no more than a full handshake: the check is not part of the handshake.
func TestResumedSessionIsVerified(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}})
	s := newServer(t, trust, nil)
	config := s.auth.TLSConfig()
	config.SessionTicketsDisabled = false
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	h := &http.Server{Handler: http.HandlerFunc(s.whoami), ConnContext: s.auth.ConnContext, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- h.Serve(listener) }()
	defer func() { _ = h.Close(); <-done }()
	s.addr = listener.Addr().String()
	c := s.client(t, root.svid(t, web, nil), false)
	s.expect(t, c, "/", asWeb)
	c.CloseIdleConnections()
	s.expect(t, c, "/", strings.Replace(asWeb, "=false", "=true", 1))
	c.CloseIdleConnections()
	set(trust, nil)
	s.expect(t, c, "/", untrusted+"trust_domain")
}

// Threats A3: the bundle changes under an open connection.
func TestBundleChangesUnderAConnection(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		root, other := newRoot(t), newRoot(t)
		trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {other}})
		s := newServer(t, trust, nil)
		c := s.client(t, root.svid(t, web, nil), http2)
		s.expect(t, c, "/", untrusted+"not_trusted")
		set(trust, map[spiffeid.TrustDomain][]*pki{td1: {other, root}})
		s.expect(t, c, "/", asWeb)
		set(trust, map[spiffeid.TrustDomain][]*pki{td1: {other}})
		s.expect(t, c, "/", untrusted+"not_trusted")
		set(trust, map[spiffeid.TrustDomain][]*pki{td1: {root}})
		s.expect(t, c, "/", asWeb)
		set(trust, map[spiffeid.TrustDomain][]*pki{td2: {root}})
		s.expect(t, c, "/", untrusted+"trust_domain")
		if n := s.connections.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// Threats A4: time passes under an open connection; not a second of grace, and
// none is needed where a chain becomes valid.
func TestTimePassesUnderAConnection(t *testing.T) {
	both(t, func(t *testing.T, http2 bool) {
		root := newRoot(t)
		between := root.below(t, func(c *x509.Certificate) { c.NotBefore, c.NotAfter = start.Add(time.Minute), start.Add(3*time.Minute) })
		s := newServer(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}), nil)
		c := s.client(t, between.svid(t, web, func(c *x509.Certificate) { c.NotAfter = start.Add(2 * time.Minute) }, between), http2)
		for _, step := range []struct {
			after time.Duration
			want  string
		}{
			{0, untrusted + "not_trusted"}, // the intermediate's time is to come
			{time.Minute, asWeb},
			{2*time.Minute - time.Nanosecond, asWeb},
			{2 * time.Minute, untrusted + "expired"},
			{time.Minute, asWeb}, // a clock that is set back
			{0, untrusted + "not_trusted"},
			{time.Hour, untrusted + "expired"},
		} {
			s.clock.set(start.Add(step.after))
			s.expect(t, c, "/", step.want)
		}
		if n := s.connections.Load(); n != 1 {
			t.Errorf("%d connections, want 1", n)
		}
	})
}

// Our own SVID rotates: open connections live on, new ones see the new one.
func TestOwnSVIDRotates(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	s := newServer(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}), nil)
	first, second := s.client(t, root.svid(t, web, nil), true), s.client(t, root.svid(t, web, nil), true)
	serial := func(c *http.Client) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+s.addr+"/open", nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := c.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		return res.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := serial(first)
	s.own.svid.Store(s.newSVID(t))
	if again := serial(first); again != before {
		t.Error("the open connection was dropped")
	}
	if after := serial(second); after == before {
		t.Error("a new connection got the old SVID")
	}
}

// We show no SVID that has run out, and none that we do not have.
func TestOwnSVIDMissing(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	s := newServer(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}), nil)
	s.clock.set(s.own.svid.Load().Certificates[0].NotAfter)
	if got, err := s.get(t, s.client(t, nil, false), "/open"); err == nil {
		t.Errorf("expired: %q", got)
	}
	s.clock.set(start)
	s.expect(t, s.client(t, nil, false), "/open", "200 open")
	s.own.svid.Store(nil)
	if got, err := s.get(t, s.client(t, nil, false), "/open"); err == nil {
		t.Errorf("none: %q", got)
	}
}

// Clients that know us by a DNS name get the certificate for it, all others our
// SVID.
func TestCertificateByName(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}})
	key := newKey(t)
	plain := root.sign(t, &x509.Certificate{DNSNames: []string{plainName}, NotBefore: start.Add(-time.Hour), NotAfter: start.Add(time.Hour)}, key.Public())
	s := newServer(t, trust, func(c *mtls.Config) {
		c.Certificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			switch hello.ServerName {
			case plainName:
				return &tls.Certificate{Certificate: [][]byte{plain.Raw}, PrivateKey: key}, nil
			case "broken.test":
				return nil, errors.New("broken")
			}
			return nil, nil
		}
	})
	pool := x509.NewCertPool()
	pool.AddCert(root.certificate)
	ask := func(name string) error {
		_, err := s.get(t, clientWith(t, &tls.Config{RootCAs: pool, ServerName: name}, true), "/open")
		return err
	}
	if err := ask(plainName); err != nil {
		t.Errorf("by name: %v", err)
	}
	var nameless x509.HostnameError // our SVID has no DNS name
	if err := ask("other.test"); !errors.As(err, &nameless) {
		t.Errorf("by another name: %v", err)
	}
	if err := ask("broken.test"); err == nil || errors.As(err, &nameless) {
		t.Errorf("where the hook fails: %v", err)
	}
	s.expect(t, s.client(t, root.svid(t, web, nil), true), "/", asWeb)
}

// A listener that is made of our configuration alone speaks HTTP/2.
func TestALPN(t *testing.T) {
	t.Parallel()
	a := authenticator(t, &mtls.Trust{})
	if got := a.TLSConfig().NextProtos; !slices.Equal(got, []string{"h2", "http/1.1"}) {
		t.Errorf("offers %q", got)
	}
}

// request returns a request as the server would hand it over, without a network.
func request(t testing.TB, a *mtls.Authenticator, shown []*x509.Certificate) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(a.ConnContext(context.Background(), nil), http.MethodPost, "https://broker.test/oauth2/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.TLS = &tls.ConnectionState{HandshakeComplete: true, PeerCertificates: shown}
	return r
}

func authenticator(t testing.TB, trust *mtls.Trust) *mtls.Authenticator {
	t.Helper()
	a, err := mtls.New(mtls.Config{Trust: trust, Source: &own{}, Now: func() time.Time { return start }})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestWorkload(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	svid := root.svid(t, web, func(c *x509.Certificate) { c.SerialNumber = bigSerial(3) })
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	got, err := a.Authenticate(request(t, a, svid.Certificates), oauth.Form{})
	want := broker.Workload{
		ID: web, Proof: broker.ProofMTLS, Serial: "7fffff", NotAfter: svid.Certificates[0].NotAfter,
		Thumbprint: jws.CertificateThumbprint(svid.Certificates[0].Raw),
	}
	if err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// HX-10, RFC 6749 section 2.3: one credential on a request.
func TestSecondCredential(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	tests := map[string]struct {
		form   string
		header http.Header
		want   broker.Reason
	}{
		"none":                   {"grant_type=client_credentials&client_id=x&assertion=y", http.Header{"Dpop": {"z"}, "L5d-Client-Id": {"x"}}, ""},
		"without a value":        {"client_assertion=&client_secret=", nil, ""},
		"client_assertion":       {"client_assertion=x", nil, broker.ReasonCredentialsSeveral},
		"client_assertion_type":  {"client_assertion_type=x", nil, broker.ReasonCredentialsSeveral},
		"client_secret":          {"client_secret=x", nil, broker.ReasonCredentialsSeveral},
		"Basic":                  {"", http.Header{"Authorization": {"Basic eDp4"}}, broker.ReasonCredentialsSeveral},
		"Bearer":                 {"", http.Header{"Authorization": {"Bearer x"}}, broker.ReasonCredentialsSeveral},
		"an empty Authorization": {"", http.Header{"Authorization": {""}}, broker.ReasonCredentialsSeveral},
	}
	for name, tt := range tests {
		form, err := oauth.ParseForm([]byte(tt.form))
		if err != nil {
			t.Fatal(err)
		}
		r := request(t, a, root.svid(t, web, nil).Certificates)
		r.Header = tt.header
		w, err := a.Authenticate(r, form)
		if tt.want == "" {
			if err != nil || w.ID != web {
				t.Errorf("%s: %v, %v", name, w.ID, err)
			}
			continue
		}
		if e := broker.AsError(err); e.Code != broker.CodeInvalidRequest || e.Reason != tt.want || w != (broker.Workload{}) {
			t.Errorf("%s: %v, %v", name, w, err)
		}
	}
}

// A server that was put together wrong refuses, and says so only in the log.
func TestWiring(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	b := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	shown := root.svid(t, web, nil).Certificates
	var zero mtls.Authenticator
	for name, tt := range map[string]struct {
		a *mtls.Authenticator
		r *http.Request
	}{
		"no ConnContext": {a, request(t, a, shown).WithContext(context.Background())},
		"another's":      {a, request(t, b, shown)},
		"a zero value":   {&zero, request(t, &zero, shown)},
	} {
		_, err := tt.a.Authenticate(tt.r, oauth.Form{})
		if e := broker.AsError(err); err == nil || e.Code != broker.CodeInternal || e.Public != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if c, err := zero.TLSConfig().GetCertificate(&tls.ClientHelloInfo{}); c != nil || err == nil {
		t.Errorf("a zero value shows %v, %v", c, err)
	}
	plain := request(t, a, shown)
	plain.TLS = nil
	if _, err := a.Authenticate(plain, oauth.Form{}); broker.AsError(err).Reason != broker.ReasonCertificateMissing {
		t.Errorf("without TLS: %v", err)
	}
}

func TestNewRefuses(t *testing.T) {
	t.Parallel()
	now := time.Now
	for name, c := range map[string]mtls.Config{
		"Trust Source Now": {}, "Trust": {Source: &own{}, Now: now}, "Source": {Trust: &mtls.Trust{}, Now: now}, "Now": {Trust: &mtls.Trust{}, Source: &own{}},
	} {
		a, err := mtls.New(c)
		if a != nil || err == nil {
			t.Errorf("without %s: made", name)
			continue
		}
		for _, field := range []string{"Trust", "Source", "Now"} {
			if strings.Contains(err.Error(), field+" is not set") != strings.Contains(name, field) {
				t.Errorf("without %s: %v", name, err)
			}
		}
	}
}

// Refusals help the owner of a certificate, but say nothing of whom we trust; the
// log has all of it. Two refusals of one verdict are two values: each gets the id
// of its own record.
func TestRefusals(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	public := map[string]string{}
	for name, chain := range map[string][]*x509.Certificate{
		"stranger":       newRoot(t).svid(t, web, nil).Certificates,
		"unknown domain": newRoot(t).svid(t, spiffeid.RequireFromString("spiffe://td2.example/x"), nil).Certificates,
		"key usage":      root.svid(t, web, func(c *x509.Certificate) { c.KeyUsage = 0 }).Certificates,
	} {
		r := request(t, a, chain)
		_, err1 := a.Authenticate(r, oauth.Form{})
		_, err2 := a.Authenticate(r, oauth.Form{})
		e1, e2 := broker.AsError(err1), broker.AsError(err2)
		if e1 == e2 || e1.Err == nil || e1.Public != e2.Public || e1.Reason != broker.ReasonCertificateUntrusted {
			t.Errorf("%s: %v, %v", name, err1, err2)
		}
		public[name] = e1.Public
	}
	if public["stranger"] != public["unknown domain"] || public["stranger"] == public["key usage"] {
		t.Errorf("said %q", public)
	}
}

// The rest of a chain ends as the leaf does: what has been verified is not
// believed past it.
func TestIntermediateEndsFirst(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	ca := root.below(t, func(c *x509.Certificate) { c.NotAfter = start.Add(time.Minute) })
	at := newClock(start)
	a, err := mtls.New(mtls.Config{Trust: trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}), Source: &own{}, Now: at.now})
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, a, ca.svid(t, web, nil, ca).Certificates)
	if w, err := a.Authenticate(r, oauth.Form{}); err != nil || !w.NotAfter.Equal(start.Add(time.Minute)) {
		t.Errorf("until %v, %v", w.NotAfter, err)
	}
	at.set(start.Add(time.Minute))
	if _, err := a.Authenticate(r, oauth.Form{}); fault(err) != mtls.FaultExpired {
		t.Errorf("after the intermediate: %v", err)
	}
}

// A bad verdict is not found anew for each request of a client that insists, and
// is not held against it for longer than a second.
func TestBadVerdictLasts(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	at := newClock(start)
	a, err := mtls.New(mtls.Config{Trust: trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}), Source: &own{}, Now: at.now})
	if err != nil {
		t.Fatal(err)
	}
	r := request(t, a, newRoot(t).svid(t, web, nil).Certificates)
	cause := func() error {
		_, err := a.Authenticate(r, oauth.Form{})
		return broker.AsError(err).Err
	}
	first := cause()
	at.set(start.Add(time.Second - 1))
	if !errors.Is(cause(), first) {
		t.Error("found anew within the second")
	}
	at.set(start.Add(-time.Second))
	if !errors.Is(cause(), first) {
		t.Error("found anew for one who read the clock before")
	}
	at.set(start.Add(time.Second))
	if errors.Is(cause(), first) {
		t.Error("held for more than a second")
	}
}

// Requests that come at once have the verdict found once. The chain is long, so
// that finding it takes a while.
func TestFoundOnce(t *testing.T) {
	t.Parallel()
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {newRoot(t)}}))
	var chain []*pki
	for last := newRoot(t); len(chain) < 4; {
		last = last.below(t, nil)
		chain = slices.Insert(chain, 0, last)
	}
	shown := chain[0].svid(t, web, nil, chain...).Certificates
	for range 50 {
		r := request(t, a, shown)
		causes := make([]error, 8)
		begin := make(chan struct{})
		var wg sync.WaitGroup
		for i := range causes {
			wg.Go(func() {
				<-begin
				_, err := a.Authenticate(r, oauth.Form{})
				causes[i] = broker.AsError(err).Err
			})
		}
		close(begin)
		wg.Wait()
		for _, cause := range causes {
			if cause == nil || !errors.Is(cause, causes[0]) {
				t.Fatal("found more than once")
			}
		}
	}
}

// Threats A7: the thumbprint is that of the leaf that was verified.
func TestThumbprintIsOfTheLeaf(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	a := authenticator(t, trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}}))
	leaf, attacker := root.svid(t, web, nil).Certificates[0], selfSigned(t).Certificates[0]
	w, err := a.Authenticate(request(t, a, []*x509.Certificate{leaf, attacker}), oauth.Form{})
	if err != nil || w.Thumbprint != jws.CertificateThumbprint(leaf.Raw) {
		t.Errorf("%+v, %v", w, err)
	}
}
