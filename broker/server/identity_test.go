package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/authn/mtls"
	"github.com/cambist/cambist/broker/devkit/trust"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/server"
)

var (
	prod    = spiffeid.RequireTrustDomainFromString("prod.example")
	partner = spiffeid.RequireTrustDomainFromString("partner.example")
	ourself = spiffeid.RequireFromString("spiffe://prod.example/cambist")
	start   = time.Now().Truncate(time.Second)
)

// clock is set by hand.
type clock struct{ at atomic.Pointer[time.Time] }

func newClock(at time.Time) *clock {
	c := &clock{}
	c.set(at)
	return c
}

func (c *clock) now() time.Time   { return *c.at.Load() }
func (c *clock) set(at time.Time) { c.at.Store(&at) }

// logged hands over each line that is logged, as "LEVEL message".
type logged chan string

func (l logged) Enabled(context.Context, slog.Level) bool { return true }
func (l logged) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l logged) WithGroup(string) slog.Handler            { return l }
func (l logged) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += fmt.Sprintf(" %s=%v", a.Key, a.Value)
		return true
	})
	l <- line
	return nil
}

// wait reads lines until one has the text in it.
func (l logged) wait(t *testing.T, text string) {
	t.Helper()
	for {
		select {
		case line := <-l:
			if strings.Contains(line, text) {
				return
			}
		case <-t.Context().Done():
			t.Fatalf("%q was not logged", text)
		case <-time.After(time.Minute):
			t.Fatalf("%q was not logged in a minute", text)
		}
	}
}

// drain returns what has been logged up to now.
func (l logged) drain() []string {
	var lines []string
	for {
		select {
		case line := <-l:
			lines = append(lines, line)
		default:
			return lines
		}
	}
}

func newCA(t *testing.T, domain spiffeid.TrustDomain, now func() time.Time) *trust.CA {
	t.Helper()
	ca, err := trust.New(domain, now)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func newSVID(t *testing.T, ca *trust.CA, ttl time.Duration) *x509svid.SVID {
	t.Helper()
	svid, err := ca.SVID(spiffeid.RequireFromPath(ca.Domain(), "/cambist"), ttl)
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

// believes reports whether a workload of the CA is authenticated with the bundles
// of the identity.
func believes(t *testing.T, i *server.IdentityUnderTest, ca *trust.CA, now func() time.Time) bool {
	t.Helper()
	a, err := mtls.New(mtls.Config{Trust: i.Trust(), Source: i, Now: now})
	if err != nil {
		t.Fatal(err)
	}
	r := httpRequest(t, a.ConnContext(t.Context(), nil))
	r.TLS = &tls.ConnectionState{PeerCertificates: newSVID(t, ca, time.Minute).Certificates}
	_, err = a.Authenticate(r, oauth.Form{})
	if err != nil && broker.AsError(err).Reason != broker.ReasonCertificateUntrusted {
		t.Fatal(err)
	}
	return err == nil
}

// folder is a folder of the files that an identity reads.
type folder struct {
	t     *testing.T
	dir   string
	clock *clock
	log   logged
	ours  *trust.CA
	other *trust.CA
}

func newFolder(t *testing.T) *folder {
	t.Helper()
	f := &folder{t: t, dir: t.TempDir(), clock: newClock(start), log: make(logged, 1000)}
	f.ours, f.other = newCA(t, prod, f.clock.now), newCA(t, partner, f.clock.now)
	f.writeSVID(newSVID(t, f.ours, time.Hour))
	f.writeBundle("partner.pem", f.other)
	return f
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) writeSVID(svid *x509svid.SVID) {
	f.t.Helper()
	if err := trust.WriteSVID(f.dir, svid, f.ours.Bundle()); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) write(name string, text []byte) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), text, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *folder) remove(name string) {
	f.t.Helper()
	f.must(os.RemoveAll(f.path(name)))
}

func (f *folder) read(name string) []byte {
	f.t.Helper()
	text, err := os.ReadFile(f.path(name))
	if err != nil {
		f.t.Fatal(err)
	}
	return text
}

func (f *folder) writeBundle(name string, cas ...*trust.CA) {
	f.t.Helper()
	f.write(name, bundlePEM(cas...))
}

func bundlePEM(cas ...*trust.CA) []byte {
	var text []byte
	for _, ca := range cas {
		for _, c := range ca.Bundle().X509Authorities() {
			text = append(text, certificatePEM(c)...)
		}
	}
	return text
}

func certificatePEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func (f *folder) source() server.IdentitySource {
	return server.IdentitySource{
		Cert: f.path(trust.SVIDFile), Key: f.path(trust.KeyFile),
		Bundles: map[string]string{"prod.example": f.path(trust.BundleFile), "partner.example": f.path("partner.pem")},
		Now:     f.clock.now, Log: slog.New(f.log),
	}
}

func (f *folder) identity() *server.IdentityUnderTest {
	f.t.Helper()
	i, err := server.NewIdentity(f.source())
	if err != nil {
		f.t.Fatal(err)
	}
	return i
}

// wantReady checks that each of the texts is said, and that nothing is if there
// are none.
func wantReady(t *testing.T, i *server.IdentityUnderTest, now time.Time, texts ...string) {
	t.Helper()
	err := i.Ready(now)
	if (err == nil) != (len(texts) == 0) {
		t.Errorf("ready: %v, want %q", err, texts)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("ready: %v, want %q", err, text)
		}
	}
}

func serial(t *testing.T, i *server.IdentityUnderTest) string {
	t.Helper()
	svid, err := i.GetX509SVID()
	if err != nil {
		return err.Error()
	}
	return svid.Certificates[0].SerialNumber.String()
}

func TestNewIdentityRefuses(t *testing.T) {
	t.Parallel()
	files := func(change func(*server.IdentitySource)) server.IdentitySource {
		s := server.IdentitySource{Cert: "c", Key: "k", Bundles: map[string]string{"td": "b"}, Now: time.Now}
		change(&s)
		return s
	}
	api := func(address string) server.IdentitySource {
		return server.IdentitySource{WorkloadAPI: address, Now: time.Now}
	}
	tests := map[string]struct {
		source server.IdentitySource
		want   string // "" is accepted
	}{
		"files":                {files(func(*server.IdentitySource) {}), ""},
		"Unix socket":          {api("unix:///run/spire/agent.sock"), ""},
		"TCP":                  {api("tcp://127.0.0.1:8081"), ""},
		"nothing":              {server.IdentitySource{}, "either workload_api, or cert"},
		"no clock":             {files(func(s *server.IdentitySource) { s.Now = nil }), "clock"},
		"no certificate":       {files(func(s *server.IdentitySource) { s.Cert = "" }), "either"},
		"no key":               {files(func(s *server.IdentitySource) { s.Key = "" }), "either"},
		"no bundle":            {files(func(s *server.IdentitySource) { s.Bundles = nil }), "either"},
		"a bundle of no file":  {files(func(s *server.IdentitySource) { s.Bundles["td"] = "" }), `"td" has no file`},
		"empty label":          {files(func(s *server.IdentitySource) { s.Bundles["a..b"] = "x" }), `"a..b" has an empty label`},
		"trailing dot":         {files(func(s *server.IdentitySource) { s.Bundles["td."] = "x" }), `"td." has an empty label`},
		"not a trust domain":   {files(func(s *server.IdentitySource) { s.Bundles["spiffe://td"] = "x" }), "not the name of a trust domain"},
		"a negative interval":  {files(func(s *server.IdentitySource) { s.Interval = -1 }), "negative"},
		"both":                 {files(func(s *server.IdentitySource) { s.WorkloadAPI = "unix:///x" }), "not both"},
		"a path as an address": {api("/run/spire/agent.sock"), "scheme"},
		"a name as an address": {api("tcp://agent:8081"), "IP"},
	}
	for name, tt := range tests {
		i, err := server.NewIdentity(tt.source)
		if (err == nil) != (tt.want == "") || (err == nil) == (i == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", name, err, tt.want)
		}
	}
}

// Before it has looked, an identity has nothing, shows nothing, and trusts nobody.
func TestIdentityBeforeItLooks(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	i := f.identity()
	wantReady(t, i, start, "not asked yet")
	if svid, err := i.GetX509SVID(); svid != nil || err == nil || believes(t, i, f.ours, f.clock.now) {
		t.Errorf("%v, %v", svid, err)
	}
	i.Look()
	wantReady(t, i, start)
	if !believes(t, i, f.ours, f.clock.now) || !believes(t, i, f.other, f.clock.now) || believes(t, i, newCA(t, prod, f.clock.now), f.clock.now) {
		t.Error("it does not trust exactly its bundles")
	}
}

// An SVID serves to the end of its life, and readiness is lost before that, when a
// fifth of it is left (threats S1).
func TestOwnSVIDRunsOut(t *testing.T) {
	t.Parallel()
	f := newFolder(t)
	i := f.identity()
	i.Look()
	svid, err := i.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	leaf := svid.Certificates[0]
	fifth := leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 5)
	for _, step := range []struct {
		at    time.Time
		ready []string
		has   bool
	}{
		{start, nil, true},
		{fifth, nil, true},
		{fifth.Add(1), []string{"less than a fifth"}, true},
		{leaf.NotAfter.Add(-1), []string{"less than a fifth"}, true},
		{leaf.NotAfter, []string{"expired"}, false},
	} {
		f.clock.set(step.at)
		i.Look()
		wantReady(t, i, step.at, step.ready...)
		if _, err := i.GetX509SVID(); (err == nil) != step.has {
			t.Errorf("at %v: %v", step.at, err)
		}
	}
	f.writeSVID(newSVID(t, f.ours, time.Hour))
	i.Look()
	wantReady(t, i, f.clock.now())
}
