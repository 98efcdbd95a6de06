package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Bounds of the suite itself: what a server may make it wait for and read.
const (
	answerTime  = 15 * time.Second
	caseTime    = time.Minute
	maxAnswer   = 1 << 20
	maxEvidence = 4 << 10 // of one request or answer in the report
)

// testCase is one item of the checklist that can be seen from outside.
type testCase struct {
	id    string
	title string
	run   func(*t)
}

// cases returns every case, by id.
func cases() []testCase {
	all := slices.Concat(transportCases(), errorCases(), exchangeCases(), policyCases(), actorCases(), tokenCases(), certificateCases(), metadataCases(), joseCases(), hostileCases(), dpopCases(), introspectionCases(), assertionCases())
	slices.SortStableFunc(all, func(a, b testCase) int { return compareIDs(a.id, b.id) })
	return all
}

// compareIDs sorts TX-9 before TX-10.
func compareIDs(a, b string) int {
	split := func(id string) (string, string) {
		i := strings.IndexAny(id, "0123456789")
		return id[:max(i, 0)], fmt.Sprintf("%4s", id[max(i, 0):])
	}
	x, n := split(a)
	y, m := split(b)
	if x != y {
		return strings.Compare(x, y)
	}
	return strings.Compare(n, m)
}

// suite is one run against one server.
type suite struct {
	profile  *profile
	issuer   string
	metadata map[string]any
	token    string // URL of the token endpoint for the clients of the profile
	trust    *x509.CertPool
	clients  map[string]*http.Client // by name in the profile
	made     []*http.Client          // these and others

	issued int // tokens that the server has given
	late   int // answers 503
}

// newSuite reads the metadata of the server: without it there is nothing to ask.
func newSuite(ctx context.Context, issuer string, p *profile) (*suite, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" {
		return nil, errors.New("--issuer must be a URL")
	}
	s := &suite{profile: p, issuer: issuer, clients: map[string]*http.Client{}}
	if p.Trust != "" {
		roots, err := p.read(p.Trust)
		if err != nil {
			return nil, err
		}
		s.trust = x509.NewCertPool()
		if !s.trust.AppendCertsFromPEM(roots) {
			return nil, fmt.Errorf("%s holds no certificate", p.Trust)
		}
	}
	// RFC 8414 section 3: the well-known part goes between host and path.
	a, err := s.get(ctx, u.Scheme+"://"+u.Host+wellKnown+strings.TrimSuffix(u.Path, "/"))
	if err != nil {
		return nil, err
	}
	if a.status != http.StatusOK {
		return nil, fmt.Errorf("the metadata cannot be read: the server answered with %d", a.status)
	}
	if s.metadata, err = a.object(); err != nil {
		return nil, fmt.Errorf("the metadata cannot be read: %w", err)
	}
	s.token, _ = s.metadata["token_endpoint"].(string)
	if alias, ok := s.metadata["mtls_endpoint_aliases"].(map[string]any); ok && p.client("caller").tls != nil {
		if mtls, ok := alias["token_endpoint"].(string); ok { // RFC 8705 section 5
			s.token = mtls
		}
	}
	if s.token == "" {
		return nil, errors.New("the metadata names no token_endpoint")
	}
	return s, nil
}

const wellKnown = "/.well-known/oauth-authorization-server"

// as returns the HTTP client of a client of the profile: it shows its
// certificate. "" shows none.
func (s *suite) as(name string) *http.Client {
	if c := s.clients[name]; c != nil {
		return c
	}
	var certificate *tls.Certificate
	if c := s.profile.client(name); c != nil {
		certificate = c.tls
	}
	s.clients[name] = s.showing(certificate)
	return s.clients[name]
}

// showing returns an HTTP client with that certificate, sent even where the
// server did not ask for its CA. It follows no redirect.
func (s *suite) showing(certificate *tls.Certificate) *http.Client {
	config := &tls.Config{RootCAs: s.trust, MinVersion: tls.VersionTLS12}
	if certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	}
	c := &http.Client{
		Timeout:       answerTime,
		Transport:     &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	s.made = append(s.made, c)
	return c
}

// run runs cases one after the other.
func (s *suite) run(ctx context.Context, chosen []testCase) *report {
	r := &report{Issuer: s.issuer}
	for _, c := range chosen {
		r.add(s.runCase(ctx, c))
	}
	r.Issued, r.Late = s.issued, s.late
	for _, c := range s.made {
		c.CloseIdleConnections()
	}
	return r
}

func (s *suite) runCase(ctx context.Context, c testCase) (done result) {
	done = result{ID: c.id, Title: c.title}
	if why := s.profile.leavesOut(c.id); why != "" {
		done.Outcome, done.Why = notApplicable, "the profile says: "+why
		return done
	}
	ctx, cancel := context.WithTimeout(ctx, caseTime)
	defer cancel()
	t := &t{suite: s, ctx: ctx}
	defer func() {
		if cause := recover(); cause != nil {
			if _, ours := cause.(stop); !ours {
				panic(cause)
			}
		}
		done.Outcome, done.Faults = passed, t.faults
		switch {
		case len(t.faults) > 0:
			done.Outcome = failed
		case t.absent != "":
			done.Outcome, done.Why = notApplicable, t.absent
		case t.held == 0:
			done.Outcome, done.Faults = failed, []fault{{Problem: "the case looked at nothing"}}
		}
	}()
	c.run(t)
	return done
}

// t is one case while it runs.
type t struct {
	*suite
	ctx    context.Context
	faults []fault
	absent string
	held   int // what was looked at
	last   exchanged
}

// stop ends a case.
type stop struct{}

// need ends the case as not applicable where something is not there.
func (t *t) need(there bool, why string) {
	if !there {
		t.absent = why
		panic(stop{})
	}
}

// hold notes a fault where something does not hold. The last request and its
// answer are the evidence.
func (t *t) hold(holds bool, format string, args ...any) bool {
	t.held++
	if !holds {
		t.faults = append(t.faults, fault{Problem: fmt.Sprintf(format, args...), Request: t.last.request, Answer: t.last.answer})
	}
	return holds
}

// must is hold for what the rest of the case stands on.
func (t *t) must(holds bool, format string, args ...any) {
	if !t.hold(holds, format, args...) {
		panic(stop{})
	}
}

// needExchange returns what an exchange stands on.
func (t *t) needExchange() (*target, *forger) {
	t.need(t.profile.Exchange != nil && t.profile.Subject != nil, "the profile has no exchange and subject")
	return t.profile.Exchange, t.profile.Subject.forger
}

// needForger is needExchange where bad tokens must be made.
func (t *t) needForger() *forger {
	_, f := t.needExchange()
	t.need(f.key != nil, "the profile has no subject.key to make tokens with")
	return f
}

func (t *t) needSelf() *target {
	t.need(t.profile.Self != nil, "the profile has no self")
	return t.profile.Self
}

func (t *t) needClient(name string) *client {
	t.need(t.profile.client(name) != nil, "the profile has no client "+name)
	return t.profile.client(name)
}
