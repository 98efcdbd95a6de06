package exchange_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/clients/exchange"
)

// The measure of the SDK: calls with tokens of 15 s that are bound to
// certificates, while SVIDs of 20 s rotate every 10 s and the broker goes away for
// three seconds every four minutes. Nothing fails.
func TestTheMeasure(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		s.set(func() { s.life, s.bound = 15*time.Second, true })
		a := newApp(t, s, "ledger.finance:443", ledgerURI)
		client := s.client(t).HTTPClient("ledger", exchange.AsSelf)
		for second := range 20 * 60 {
			if second%10 == 0 {
				s.source.rotate(t, 20*time.Second)
			}
			switch second % 240 {
			case 100:
				s.stop(t, second%480 == 100)
			case 103:
				s.start(t)
			}
			if err := get(t, client); err != nil {
				t.Fatalf("after %d s: %v", second, err)
			}
			after(time.Second)
		}
		if why := a.problem(); why != "" {
			t.Error(why)
		}
	})
}

// A bound token travels with the SVID that it belongs to until the next one is
// there, so its users do not wait for that. Who takes the token alone cannot be
// helped like this: it waits, for a second at most.
func TestRotationIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		s.set(func() { s.bound = true })
		a := newApp(t, s, "ledger.finance:443", ledgerURI)
		c := s.client(t)
		client := c.HTTPClient("ledger", exchange.AsSelf)
		if err := get(t, client); err != nil {
			t.Fatal(err)
		}
		s.set(func() { s.answer = slow(3 * time.Second) })
		for range 10 {
			s.source.rotate(t, time.Hour)
			for range 4 {
				before := time.Now()
				if err := get(t, client); err != nil || time.Since(before) != 0 {
					t.Fatalf("%v after %v", err, time.Since(before))
				}
				after(time.Second)
			}
		}
		if got := len(s.exchanges()); got != 11 || a.problem() != "" {
			t.Errorf("%d exchanges, %s", got, a.problem())
		}
		old := must(t, c, ledger)
		s.source.rotate(t, time.Hour)
		before := time.Now()
		if token := must(t, c, ledger); time.Since(before) != time.Second || token.Secret.Reveal() != old.Secret.Reveal() {
			t.Errorf("waited %v", time.Since(before))
		}
	})
}

// do sends one request and returns its answer, read.
func do(t *testing.T, client *http.Client, method, url string, body io.Reader) (int, string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	res, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}

// A token goes to the hosts of its resource and nowhere else.
func TestHosts(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	for _, address := range []string{
		"ledger.finance:443", "ledger.finance:8443", "ledger.finance:9443", "ledger.prod.example:443", "cart.shop:443", "cart.shop.svc.prod.example:443",
		"evil.example:443", "ledger.finance.evil.example:443",
	} {
		newApp(t, s, address, ledgerURI)
	}
	c := s.client(t)
	for name, tt := range map[string]struct {
		resource, url string
		ok            bool
	}{
		"a host":                       {"ledger", "https://ledger.finance/x", true},
		"its usual port":               {"ledger", "https://ledger.finance:443/x", true},
		"a host with its port":         {"ledger", "https://ledger.finance:8443/x", true},
		"in capitals":                  {"ledger", "https://LEDGER.finance/x", true},
		"the host of the URI":          {"ledger", "https://ledger.prod.example/x", true},
		"by URI":                       {ledgerURI, "https://ledger.finance/x", true},
		"a host of a template":         {"shop/cart", "https://cart.shop/", true},
		"the URI of a template":        {"shop/cart", "https://cart.shop.svc.prod.example/", true},
		"another port":                 {"ledger", "https://ledger.finance:9443/x", false},
		"another host":                 {"ledger", "https://evil.example/x", false},
		"a longer name":                {"ledger", "https://ledger.finance.evil.example/x", false},
		"a user that looks like it":    {"ledger", "https://ledger.finance@evil.example/x", false},
		"plain http":                   {"ledger", "http://ledger.finance/x", false},
		"another of the same template": {"shop/list", "https://cart.shop/", false},
		"no host":                      {"ledger", "https:///x", false},
	} {
		status, text, err := do(t, c.HTTPClient(tt.resource, exchange.AsSelf), http.MethodGet, tt.url, http.NoBody)
		if tt.ok && (err != nil || status != http.StatusOK || text != "ok") || !tt.ok && err == nil {
			t.Errorf("%s: %d %q %v", name, status, text, err)
		}
		if err != nil && !contains(err.Error(), "no token for this host") {
			t.Errorf("%s: %v", name, err) // it was sent, or tried to be
		}
	}
	for _, address := range []string{"evil.example:443", "ledger.finance.evil.example:443", "ledger.finance:9443", "ledger.finance:80"} {
		if n := s.net.dialled(address); n != 0 {
			t.Errorf("%s was called %d times", address, n)
		}
	}
}

// Plain http is for who asked for it.
func TestPlainHTTP(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	a := &app{s: s, audience: ledgerURI}
	plain := &http.Server{Handler: a, ReadHeaderTimeout: time.Minute}
	l := s.net.listen(t, "ledger.finance:80")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = plain.Serve(l)
	}()
	t.Cleanup(func() { _ = plain.Close(); <-done })
	if _, _, err := do(t, s.client(t).HTTPClient("ledger", exchange.AsSelf), http.MethodGet, "http://ledger.finance/x", http.NoBody); err == nil || len(a.seen()) != 0 {
		t.Error("sent over http")
	}
	open := s.client(t, exchange.WithPlainHTTP())
	if status, _, err := do(t, open.HTTPClient("ledger", exchange.AsSelf), http.MethodGet, "http://ledger.finance/x", http.NoBody); err != nil || status != 200 || a.problem() != "" {
		t.Error(err, status, a.problem())
	}
	if _, _, err := do(t, open.HTTPClient("ledger", exchange.AsSelf), http.MethodGet, "http://evil.example/x", http.NoBody); err == nil {
		t.Error("sent to another host")
	}
}

// A redirect is followed; the token stays where it belongs.
func TestRedirects(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	apps := map[string]*app{}
	for _, address := range []string{"ledger.finance:443", "ledger.finance:8443", "evil.example:443", "sub.ledger.finance:443"} {
		apps[address] = newApp(t, s, address, ledgerURI)
	}
	base := s.ownTransport()
	c := s.client(t)
	for name, tt := range map[string]struct {
		to    string
		at    string
		token bool
	}{
		"the same host":          {"/next", "ledger.finance:443", true},
		"another of its hosts":   {"https://ledger.finance:8443/next", "ledger.finance:8443", true},
		"another host":           {"https://evil.example/next", "evil.example:443", false},
		"a host below":           {"https://sub.ledger.finance/next", "sub.ledger.finance:443", false},
		"plain http, other host": {"http://evil.example/next", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, own := range []string{"", "Bearer the-caller's-own"} {
				to := apps["ledger.finance:443"]
				to.mu.Lock()
				to.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
					if r.URL.Path != "/start" {
						return false
					}
					http.Redirect(w, r, tt.to, http.StatusTemporaryRedirect)
					return true
				}
				to.mu.Unlock()
				before := 0
				if tt.at != "" {
					before = len(apps[tt.at].seen())
				}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://ledger.finance/start", http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				if own != "" {
					req.Header.Set("Authorization", own)
				}
				res, err := (&http.Client{Transport: c.RoundTripper(ledger, base)}).Do(req)
				if err == nil {
					_ = res.Body.Close()
				}
				if tt.at == "" {
					if err == nil {
						t.Error("went through")
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				calls := apps[tt.at].seen()
				last := calls[len(calls)-1]
				if len(calls) == before || last.path != "/next" || (last.authorization != "") != tt.token || last.authorization == own && own != "" {
					t.Errorf("%+v", last)
				}
			}
		})
	}
}

// Without a base, a redirect off the resource leaves our connections: it is told
// neither the token nor who we are.
func TestRedirectWithoutBase(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	to := newApp(t, s, "ledger.finance:443", ledgerURI)
	evil := newApp(t, s, "evil.example:443", ledgerURI)
	to.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
		http.Redirect(w, r, "https://evil.example/", http.StatusFound)
		return true
	}
	// The name evil.example is known to our dialer alone: what reaches that server
	// went over our connections.
	if _, _, err := do(t, s.client(t).HTTPClient("ledger", exchange.AsSelf), http.MethodGet, "https://ledger.finance/", http.NoBody); err == nil || len(evil.seen()) != 0 || s.net.dialled("evil.example:443") != 0 {
		t.Errorf("%v, %+v", err, evil.seen())
	}
}

// ownTransport is a base as a service of this trust domain has one.
func (s *standIn) ownTransport() *http.Transport {
	return &http.Transport{DialContext: s.net.dial, TLSClientConfig: s.clientTLS()}
}

// A 401 renews that token and sends once more, where the body allows it.
func TestUnauthorized(t *testing.T) {
	t.Parallel()
	type reader struct{ io.Reader } // hides what http.NewRequest could send again
	never := func(w http.ResponseWriter, _ *http.Request, _ int) bool {
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, "no")
		return true
	}
	once := func(w http.ResponseWriter, r *http.Request, n int) bool { return n == 1 && never(w, r, n) }
	for name, tt := range map[string]struct {
		body      io.Reader
		answer    func(http.ResponseWriter, *http.Request, int) bool
		broker    func(http.ResponseWriter, seen) bool // after the first token
		status    int
		calls     int
		exchanges int
	}{
		"no body":                   {http.NoBody, once, nil, 200, 2, 2},
		"a body that can be sent":   {strings.NewReader("hello"), once, nil, 200, 2, 2},
		"a body of bytes":           {bytes.NewReader([]byte("hello")), once, nil, 200, 2, 2},
		"a body that is read once":  {reader{strings.NewReader("hello")}, once, nil, 401, 1, 1},
		"always":                    {http.NoBody, never, nil, 401, 2, 2},
		"forbidden is no 401":       {http.NoBody, func(w http.ResponseWriter, _ *http.Request, _ int) bool { w.WriteHeader(403); return true }, nil, 403, 1, 1},
		"the broker refuses":        {http.NoBody, once, func(w http.ResponseWriter, _ seen) bool { refuse(w, 400, "invalid_target", "no"); return true }, 401, 1, 2},
		"the broker is overloaded":  {http.NoBody, once, func(w http.ResponseWriter, _ seen) bool { refuse(w, 503, "temporarily_unavailable", "no"); return true }, 401, 1, 2},
		"the broker talks nonsense": {http.NoBody, once, func(w http.ResponseWriter, _ seen) bool { w.WriteHeader(200); return true }, 401, 1, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t, false)
			a := newApp(t, s, "ledger.finance:443", ledgerURI)
			a.answer = tt.answer
			c := s.client(t)
			must(t, c, ledger)
			s.set(func() { s.answer = tt.broker })
			status, text, err := do(t, c.HTTPClient("ledger", exchange.AsSelf), http.MethodPost, "https://ledger.finance/x", tt.body)
			if err != nil || status != tt.status || status == 401 && text != "no" {
				t.Fatalf("%d %q %v", status, text, err)
			}
			calls := a.seen()
			if len(calls) != tt.calls || len(s.exchanges()) != tt.exchanges {
				t.Errorf("%d calls, %d exchanges", len(calls), len(s.exchanges()))
			}
			if len(calls) == 2 && (calls[0].authorization == calls[1].authorization || calls[0].body != calls[1].body) {
				t.Errorf("the same token or another body: %q, %q", calls[0].body, calls[1].body)
			}
		})
	}
}

// A resource that turns everything away does not make us ask the broker at every
// call, and many callers that are turned away at once are one exchange.
func TestUnauthorizedForEver(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		a := newApp(t, s, "ledger.finance:443", ledgerURI)
		a.answer = func(w http.ResponseWriter, _ *http.Request, _ int) bool { w.WriteHeader(401); return true }
		client := s.client(t).HTTPClient("ledger", exchange.AsSelf)
		for range 600 {
			if status, _, err := do(t, client, http.MethodGet, "https://ledger.finance/x", http.NoBody); err != nil || status != 401 {
				t.Fatal(status, err)
			}
			after(100 * time.Millisecond)
		}
		if got := len(s.exchanges()); got < 5 || got > 14 {
			t.Errorf("%d exchanges in a minute", got)
		}
		a.mu.Lock()
		valid := len(a.calls)
		a.answer = nil
		a.mu.Unlock()
		if status, _, err := do(t, client, http.MethodGet, "https://ledger.finance/x", http.NoBody); err != nil || status != 200 || len(a.seen()) != valid+1 {
			t.Error(status, err)
		}
	})
}

// Many that are turned away together get one new token, and each its answer.
func TestUnauthorizedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		a := newApp(t, s, "ledger.finance:443", ledgerURI)
		c := s.client(t)
		bad := "Bearer " + must(t, c, ledger).Secret.Reveal()
		a.answer = func(w http.ResponseWriter, r *http.Request, _ int) bool {
			<-time.After(time.Second) // so that all of them have sent it
			if r.Header.Get("Authorization") == bad {
				w.WriteHeader(401)
				return true
			}
			return false
		}
		s.set(func() { s.answer = slow(3 * time.Second) })
		client := c.HTTPClient("ledger", exchange.AsSelf)
		var wg sync.WaitGroup
		for i := range 50 {
			wg.Go(func() {
				<-time.After(time.Duration(i) * 100 * time.Millisecond) // some while it is renewed, some after
				if err := get(t, client); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := len(s.exchanges()); got != 2 {
			t.Errorf("%d exchanges", got)
		}
	})
}

// A token that one server turns away is still there for the others while the
// broker is away.
func TestUnauthorizedInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		a := newApp(t, s, "ledger.finance:443", ledgerURI)
		a.answer = func(w http.ResponseWriter, _ *http.Request, n int) bool {
			if n == 1 {
				w.WriteHeader(401)
			}
			return n == 1
		}
		c := s.client(t)
		must(t, c, ledger)
		s.stop(t, false)
		before := time.Now()
		for i, want := range []int{401, 200, 200} {
			if status, _, err := do(t, c.HTTPClient("ledger", exchange.AsSelf), http.MethodGet, "https://ledger.finance/x", http.NoBody); err != nil || status != want {
				t.Errorf("call %d: %d %v", i, status, err)
			}
		}
		if time.Since(before) != 0 {
			t.Errorf("waited %v", time.Since(before))
		}
	})
}

// The request of the caller is as it was, and the response does not name one that
// holds the token.
func TestRequestIsNotTouched(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	a := newApp(t, s, "ledger.finance:443", ledgerURI)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://ledger.finance/x", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Basic mine")
	body := req.Body
	res, err := s.client(t).RoundTripper(ledger, nil).RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if len(req.Header) != 1 || req.Header.Get("Authorization") != "Basic mine" || req.Body != body || res.Request != req {
		t.Errorf("%+v, %+v", req, res.Request)
	}
	if got := a.seen(); len(got) != 1 || a.problem() != "" || got[0].body != "hello" {
		t.Errorf("%+v %s", got, a.problem())
	}
	res, err = s.client(t).RoundTripper(ledger, nil).RoundTrip(&http.Request{Method: http.MethodGet, URL: req.URL}) // without a header
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
}

// Who serves a resource is known by name or by SPIFFE ID, never by being in the
// trust domain.
func TestServerOfTheResource(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	id, err := s.ca.ID("finance/ledger")
	if err != nil {
		t.Fatal(err)
	}
	nameless, err := s.ca.SVID(id, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	newAppWith(t, s, "ledger.finance:443", ledgerURI, nameless)
	newApp(t, s, "ledger.finance:8443", ledgerURI)
	c := s.client(t)
	for name, tt := range map[string]struct {
		server, url string
		ok          bool
	}{
		"by name":              {"", "https://ledger.finance:8443", true},
		"without a name":       {"", "https://ledger.finance", false},
		"by ID":                {id.String(), "https://ledger.finance", true},
		"by ID, with a name":   {id.String(), "https://ledger.finance:8443", true},
		"another workload":     {"spiffe://prod.example/ns/finance/sa/other", "https://ledger.finance:8443", false},
		"the trust domain":     {"spiffe://prod.example", "https://ledger.finance:8443", false},
		"another trust domain": {"spiffe://other.example/ns/finance/sa/ledger", "https://ledger.finance:8443", false},
	} {
		client := &http.Client{Transport: c.RoundTripper(exchange.Target{Resource: "ledger", As: exchange.AsSelf, Server: tt.server}, nil)}
		if _, _, err := do(t, client, http.MethodGet, tt.url, http.NoBody); (err == nil) != tt.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// When the SVID rotates, idle connections that were made with the old one go; the
// last ones go with the client.
func TestIdleConnectionsGo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		newApp(t, s, "ledger.finance:443", ledgerURI)
		closed := make(chan struct{}, 10)
		c := s.client(t, exchange.WithDial(func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := s.net.dial(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &watched{conn, closed}, nil
		}))
		use := func(want int) {
			t.Helper()
			if err := get(t, c.HTTPClient("ledger", exchange.AsSelf)); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if len(closed) != want {
				t.Errorf("%d connections closed, want %d", len(closed), want)
			}
		}
		use(0)
		use(0)
		s.source.rotate(t, time.Hour)
		use(2) // to the broker and to the resource
		use(2)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if len(closed) != 3 {
			t.Errorf("%d connections closed", len(closed))
		}
	})
}

// New roots are for new connections; a token that is bound to a certificate stays.
func TestNewRootsKeepTokens(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.set(func() { s.bound = true })
	a := newApp(t, s, "ledger.finance:443", ledgerURI)
	other, err := trust.New(domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	client := s.client(t).HTTPClient("ledger", exchange.AsSelf)
	for range 2 {
		if err := get(t, client); err != nil {
			t.Fatal(err)
		}
		s.source.mu.Lock()
		s.source.bundle = x509bundle.FromX509Authorities(domain, append(s.ca.Bundle().X509Authorities(), other.Bundle().X509Authorities()...))
		s.source.mu.Unlock()
	}
	if a.problem() != "" || len(s.exchanges()) != 1 || s.net.dialled("ledger.finance:443") != 2 {
		t.Errorf("%q, %d exchanges, %d connections", a.problem(), len(s.exchanges()), s.net.dialled("ledger.finance:443"))
	}
}

// The bundle counts as it is at each handshake: a broker of a root that came later
// is trusted, one of a root that went is not.
func TestRootsRotate(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	other, err := trust.New(domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	s.stop(t, false)
	s.startWith(t, other)
	clock := newClock()
	c := s.client(t, exchange.WithClock(clock.now))
	for i, tt := range []struct {
		roots []*x509.Certificate
		ok    bool
	}{
		{s.ca.Bundle().X509Authorities(), false},
		{append(s.ca.Bundle().X509Authorities(), other.Bundle().X509Authorities()...), true},
		{s.ca.Bundle().X509Authorities(), false},
	} {
		s.source.mu.Lock()
		s.source.bundle = x509bundle.FromX509Authorities(domain, tt.roots)
		s.source.mu.Unlock()
		clock.add(time.Hour) // past every token and back-off
		if _, err := c.Token(t.Context(), ledger); (err == nil) != tt.ok {
			t.Errorf("%d: %v", i, err)
		}
	}
}
