package exchange_test

import (
	"context"
	"encoding/pem"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/clients/exchange"
)

// caFile writes the roots of a CA as PEM.
func caFile(t *testing.T, ca *trust.CA, path string) string {
	t.Helper()
	var text []byte
	for _, root := range ca.Bundle().X509Authorities() {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Raw})...)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The client talks to the broker that was named, and shows nothing to another.
func TestServerIdentity(t *testing.T) {
	t.Parallel()
	other, err := trust.New(domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		option func(s *standIn, dir string) exchange.Option
		ok     bool
	}{
		"that workload": {func(s *standIn, _ string) exchange.Option { return exchange.WithServerID(s.id.String()) }, true},
		"another workload of the trust domain": {func(*standIn, string) exchange.Option {
			return exchange.WithServerID("spiffe://prod.example/ns/shop/sa/web")
		}, false},
		"the same path elsewhere": {func(*standIn, string) exchange.Option {
			return exchange.WithServerID("spiffe://other.example/ns/cambist/sa/cambist")
		}, false},
		"its name by its CA": {func(s *standIn, dir string) exchange.Option {
			return exchange.WithServerCA(caFile(t, s.ca, filepath.Join(dir, "ca.pem")))
		}, true},
		"its name by another CA": {func(_ *standIn, dir string) exchange.Option {
			return exchange.WithServerCA(caFile(t, other, filepath.Join(dir, "ca.pem")))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newWorld(t, false)
			c := s.client(t, tt.option(s, t.TempDir()))
			_, err := c.Token(t.Context(), ledger)
			if (err == nil) != tt.ok {
				t.Fatal(err)
			}
			if tt.ok {
				return
			}
			if !errors.Is(err, exchange.ErrUnavailable) || s.selves != 0 {
				t.Errorf("%v; asked %d times", err, s.selves)
			}
		})
	}
}

// Waiting does not make another server the right one: who calls is told at once.
func TestAnotherServerIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newWorld(t, true)
		before := time.Now()
		_, err := s.client(t, exchange.WithServerID("spiffe://prod.example/ns/cambist/sa/other")).Token(t.Context(), ledger)
		if !errors.Is(err, exchange.ErrUnavailable) || time.Since(before) != 0 || !contains(err.Error(), "another workload", s.id.String()) {
			t.Errorf("%v after %v", err, time.Since(before))
		}
	})
}

// A broker whose SVID has run out proves nothing, by the clock of the client.
func TestExpiredServer(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.source.rotate(t, 48*time.Hour)
	clock := newClock()
	clock.add(25 * time.Hour)
	for name, option := range map[string]exchange.Option{
		"by ID":   exchange.WithServerID(s.id.String()),
		"by name": exchange.WithServerCA(caFile(t, s.ca, filepath.Join(t.TempDir(), "ca.pem"))),
	} {
		if _, err := s.client(t, exchange.WithClock(clock.now), option).Token(t.Context(), ledger); err == nil || !contains(err.Error(), "expired") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A certificate for another name is not the broker's, whoever signed it.
func TestServerName(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.net.mu.Lock()
	s.net.at["other.test:8443"] = s.net.at[brokerAddress]
	s.net.mu.Unlock()
	c := s.client(t, exchange.WithURL("https://other.test:8443"), exchange.WithServerCA(caFile(t, s.ca, filepath.Join(t.TempDir(), "ca.pem"))))
	if _, err := c.Token(t.Context(), ledger); !errors.Is(err, exchange.ErrUnavailable) || !contains(err.Error(), "other.test") {
		t.Error(err)
	}
}

// A CA file that is replaced counts from then on.
func TestServerCAIsReadAgain(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	other, err := trust.New(domain, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	path := caFile(t, other, filepath.Join(t.TempDir(), "ca.pem"))
	clock := newClock()
	c := s.client(t, exchange.WithServerCA(path), exchange.WithClock(clock.now))
	if _, err := c.Token(t.Context(), ledger); err == nil {
		t.Fatal("trusted")
	}
	caFile(t, s.ca, path)
	clock.add(10 * time.Second)
	must(t, c, ledger)
	// One that says the same is no reason for new connections.
	dialled := s.net.dialled(brokerAddress)
	caFile(t, s.ca, path)
	clock.add(10 * time.Minute)
	must(t, c, ledger)
	if len(s.exchanges()) != 2 || s.net.dialled(brokerAddress) != dialled {
		t.Errorf("%d exchanges, %d more connections", len(s.exchanges()), s.net.dialled(brokerAddress)-dialled)
	}
}

// The broker is never asked to follow, and its answers are read to a limit.
func TestRedirectOfTheBroker(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	s.set(func() {
		s.answer = func(w http.ResponseWriter, _ seen) bool {
			w.Header().Set("Location", brokerURL+"/oauth2/token")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return true
		}
	})
	_, err := s.client(t).Token(t.Context(), ledger)
	if e := asError(t, err); e.Status != http.StatusTemporaryRedirect || !errors.Is(err, exchange.ErrUnavailable) || len(s.exchanges()) != 1 {
		t.Errorf("%v after %d requests", err, len(s.exchanges()))
	}
}

// Every fault of the settings is told at once, and none of them is guessed around.
func TestSettings(t *testing.T) {
	s := newWorld(t, false)
	dir := t.TempDir()
	if err := trust.WriteSVID(dir, s.source.svid, s.source.bundle); err != nil {
		t.Fatal(err)
	}
	ca := caFile(t, s.ca, filepath.Join(dir, "ca.pem"))
	good := map[string]string{"CAMBIST_URL": brokerURL, "CAMBIST_SERVER_ID": s.id.String(), "CAMBIST_SVID_DIR": dir}
	for name, tt := range map[string]struct {
		env  map[string]string
		want []string // of the error; none if it is right
	}{
		"complete":             {nil, nil},
		"by spiffe":            {map[string]string{"CAMBIST_PROOF": "spiffe"}, nil},
		"by name":              {map[string]string{"CAMBIST_SERVER_ID": "", "CAMBIST_CA_FILE": ca}, nil},
		"a slash":              {map[string]string{"CAMBIST_URL": brokerURL + "/"}, nil},
		"no URL":               {map[string]string{"CAMBIST_URL": ""}, []string{"CAMBIST_URL"}},
		"plain http":           {map[string]string{"CAMBIST_URL": "http://cambist.test"}, []string{"https"}},
		"a path":               {map[string]string{"CAMBIST_URL": brokerURL + "/oauth2/token"}, []string{"https://HOST"}},
		"a password":           {map[string]string{"CAMBIST_URL": "https://u:hunter2@cambist.test"}, []string{"https://HOST"}},
		"a query":              {map[string]string{"CAMBIST_URL": brokerURL + "?x=y"}, []string{"https://HOST"}},
		"no name":              {map[string]string{"CAMBIST_SERVER_ID": ""}, []string{"CAMBIST_SERVER_ID", "CAMBIST_CA_FILE"}},
		"two names":            {map[string]string{"CAMBIST_CA_FILE": ca}, []string{"twice"}},
		"no SPIFFE ID":         {map[string]string{"CAMBIST_SERVER_ID": "cambist"}, []string{"not a SPIFFE ID"}},
		"a whole trust domain": {map[string]string{"CAMBIST_SERVER_ID": "spiffe://prod.example"}, []string{"name the one workload"}},
		"no CA file":           {map[string]string{"CAMBIST_SERVER_ID": "", "CAMBIST_CA_FILE": dir + "/none"}, []string{"CA of the broker"}},
		"no CA in it":          {map[string]string{"CAMBIST_SERVER_ID": "", "CAMBIST_CA_FILE": dir + "/svid-key.pem"}, []string{"no certificate"}},
		"no SVID":              {map[string]string{"CAMBIST_SVID_DIR": ""}, []string{"spiffe.WorkloadAPI", "CAMBIST_SVID_DIR"}},
		"no files":             {map[string]string{"CAMBIST_SVID_DIR": dir + "/none"}, []string{"no SVID", "svid.pem"}},
		"by mesh":              {map[string]string{"CAMBIST_PROOF": "mesh"}, []string{"spiffe alone"}},
		"by kubernetes":        {map[string]string{"CAMBIST_PROOF": "kubernetes"}, []string{"spiffe alone"}},
		"by magic":             {map[string]string{"CAMBIST_PROOF": "magic"}, []string{`"magic"`}},
		"several faults":       {map[string]string{"CAMBIST_URL": "", "CAMBIST_SERVER_ID": "", "CAMBIST_PROOF": "x"}, []string{"CAMBIST_URL", "CAMBIST_SERVER_ID", `"x"`}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"CAMBIST_URL", "CAMBIST_PROOF", "CAMBIST_SERVER_ID", "CAMBIST_CA_FILE", "CAMBIST_SVID_DIR"} {
				value, ok := tt.env[variable]
				if !ok {
					value = good[variable]
				}
				t.Setenv(variable, value)
			}
			c, err := exchange.New(t.Context(), exchange.FromEnv(), exchange.WithDial(s.net.dial))
			if err != nil {
				if len(tt.want) == 0 || !contains(err.Error(), tt.want...) || strings.Contains(err.Error(), "hunter2") {
					t.Error(err)
				}
				return
			}
			if len(tt.want) > 0 {
				t.Error("no fault found")
			}
			must(t, c, ledger)
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// What the environment does not say, an option before it may.
func TestEnvironmentSaysPart(t *testing.T) {
	s := newWorld(t, false)
	t.Setenv("CAMBIST_URL", brokerURL)
	t.Setenv("CAMBIST_SERVER_ID", s.id.String())
	t.Setenv("CAMBIST_SVID_DIR", "")
	c, err := exchange.New(t.Context(), exchange.WithSource(s.source, s.source), exchange.WithDial(s.net.dial), exchange.FromEnv())
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, ledger)
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

// A source that New opens is closed with the client, also by a New that fails.
func TestOpenedSource(t *testing.T) {
	t.Parallel()
	s := newWorld(t, false)
	closing := &closingSource{source: s.source}
	open := exchange.WithSourceFrom(func(context.Context) (exchange.Source, error) { return closing, nil })
	options := []exchange.Option{exchange.WithURL(brokerURL), exchange.WithServerID(s.id.String()), exchange.WithDial(s.net.dial), open}
	c, err := exchange.New(t.Context(), options...)
	if err != nil {
		t.Fatal(err)
	}
	must(t, c, ledger)
	if err := c.Close(); err != nil || closing.closed != 1 {
		t.Errorf("%v, closed %d times", err, closing.closed)
	}
	s.source.mu.Lock()
	s.source.err = errors.New("agent away")
	s.source.mu.Unlock()
	if _, err := exchange.New(t.Context(), options...); err == nil || !contains(err.Error(), "agent away") || closing.closed != 2 {
		t.Errorf("%v, closed %d times", err, closing.closed)
	}
	failed := errors.New("no socket")
	_, err = exchange.New(t.Context(), append(options, exchange.WithSourceFrom(func(context.Context) (exchange.Source, error) { return nil, failed }))...)
	if !errors.Is(err, failed) {
		t.Error(err)
	}
	// What is given in code needs nothing opened.
	c, err = exchange.New(t.Context(), append(options, exchange.WithSource(staticSource{s}, s.source))...)
	if err != nil || closing.closed != 2 {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}
