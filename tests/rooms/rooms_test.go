package rooms_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/mint/jwtat"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/subject"
	"github.com/cambist/cambist/broker/tokenapi"
	"github.com/cambist/cambist/broker/web"
	"github.com/cambist/cambist/store"
)

// badge is an authenticator: whoever shows a known badge is that workload.
type badge struct{ now func() time.Time }

func (b badge) Authenticate(r *http.Request, _ oauth.Form) (broker.Workload, error) {
	id, err := spiffeid.FromString("spiffe://prod.example/ns/shop/sa/" + r.Header.Get("X-Badge"))
	if err != nil || r.Header.Get("X-Badge") == "" {
		return broker.Workload{}, broker.Errorf(broker.CodeInvalidClient, broker.ReasonWorkloadUnproven, "no badge")
	}
	return broker.Workload{ID: id, Proof: broker.ProofMTLS, NotAfter: b.now().Add(time.Hour)}, nil
}

// guestbook is a source of subject tokens: whoever signed it is a guest.
type guestbook struct{ key jws.Key }

func (g guestbook) Match(_ broker.View, t *subject.Token) bool {
	return t.UnverifiedIssuer == "https://guestbook.example"
}

func (g guestbook) Verify(_ context.Context, v broker.View, now time.Time, t *subject.Token) (broker.Subject, error) {
	payload, err := t.JWS.VerifyPayload(g.key)
	if err != nil {
		return broker.Subject{}, subject.Refuse(broker.ReasonTokenSignature, "not in the book", err)
	}
	var claims struct {
		Sub string   `json:"sub"`
		Aud []string `json:"aud"`
	}
	if err := subject.Decode(payload, &claims); err != nil {
		return broker.Subject{}, err
	}
	issuer, _ := v.Issuer("https://guestbook.example")
	return broker.Subject{
		Kind: broker.SubjectUser, Sub: "guests:" + claims.Sub, Origin: broker.SubjectID{Issuer: "https://guestbook.example", Subject: claims.Sub}, Issuer: issuer,
		Audience: claims.Aud, IssuedAt: now, ExpiresAt: now.Add(time.Hour),
	}, nil
}

// shelf is a place for records; a whole store has the other roles beside it, and
// must pass store/storetest.
type shelf struct {
	store.Records
	mu   sync.Mutex
	rows []store.RecordRow
}

func (s *shelf) AppendRecords(_ context.Context, rows []store.RecordRow) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rows = append(s.rows, rows...)
	return nil
}

func (s *shelf) LastRecord(context.Context, string) (store.RecordRow, error) {
	return store.RecordRow{}, broker.Errorf(broker.CodeNotFound, "", "none")
}

// Seal makes the shelf a sealer as well: nothing here has facts.
func (s *shelf) Seal([]byte, []byte) ([]byte, error) { return nil, errors.New("nothing to seal") }

// ticket is a token format: a hexadecimal JSON of three claims.
type ticket struct{}

func (ticket) Encode(c *broker.Claims, algorithm string) (broker.Unsigned, error) {
	body, err := json.Marshal(map[string]string{"for": c.Subject, "at": c.Audience, "may": c.Scopes.String()})
	return broker.Unsigned{Input: body, Algorithm: algorithm}, err
}

func (ticket) Mint(_ context.Context, r broker.Receipt) (oauth.Secret, error) {
	u, ok := r.Unsigned()
	if !ok {
		return oauth.Secret{}, errors.New("no receipt")
	}
	return oauth.NewSecret(hex.EncodeToString(u.Input)), nil
}

// vault is a key that lies elsewhere: only its public half is here.
type vault struct {
	private *ecdsa.PrivateKey
	asked   int
}

func (v *vault) Public() crypto.PublicKey { return v.private.Public() }
func (v *vault) Sign(_ io.Reader, digest []byte, _ crypto.SignerOpts) ([]byte, error) {
	v.asked++
	return ecdsa.SignASN1(rand.Reader, v.private, digest)
}

// ring hands out that one key.
type ring struct{ signer *jws.Signer }

func (r ring) Signer(string) (*jws.Signer, error)     { return r.signer, nil }
func (r ring) SignerByID(string) (*jws.Signer, error) { return r.signer, nil }

// pinned is a policy that does not move.
type pinned struct{ view broker.View }

func (p pinned) Current() (broker.View, broker.Lease) {
	return p.view, broker.NewLease(0, func() time.Duration { return 0 })
}

const document = `
cambist: v1
set: shop
defaults: {domain: prod.example}
issuers:
- {name: guests, kind: oidc, url: "https://guestbook.example", jwks_uri: "https://guestbook.example/keys", audiences: {cambist: any}, accept: [id], algs: [ES256]}
resources:
- {name: till, uri: "https://till.example", served_by: [shop/till], scopes: {sell: ["POST /**"]}, default_scopes: [sell]}
allow:
- {name: own, from: shop/clerk, to: till, scopes: [sell]}
- {name: guests, from: shop/clerk, for: guests, to: till, scopes: [sell]}
`

var start = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func now() time.Time { return start }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve wires the toys together as broker/server does the real ones.
func serve(t *testing.T, records *shelf, minter broker.Minter, guests jws.Key) http.Handler {
	t.Helper()
	documents, findings := policy.Parse("p", []byte(document))
	if policy.HasErrors(findings) {
		t.Fatal(findings)
	}
	view, _ := policy.Compile(documents[0].Objects, 1, policy.Options{})
	recorder := audit.New(audit.Config{
		Records: records, Sealer: records, Replica: "r1", Limits: broker.DefaultLimits(), Now: now, NewID: broker.NewID, Warn: func(string, ...any) {},
	})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- recorder.Run(ctx) }()
	t.Cleanup(func() { cancel(); must(t, <-done) })
	return tokenapi.New(tokenapi.Config{
		Edge: web.New(web.Config{
			Listener: "badge", Now: now, NewID: broker.NewID, Log: web.NewAccessLog(slog.New(slog.DiscardHandler), false), Concurrent: 4,
		}),
		Authenticator: badge{now},
		Exchanger: &broker.Exchanger{
			Issuer: "https://cambist.example", Limits: broker.DefaultLimits(), Policy: pinned{view}, Verifier: subject.NewRoute(guestbook{guests}),
			Ledger: recorder, Minter: minter, Now: now, NewID: broker.NewID,
		},
		Quota:     web.NewQuota(0, 0),
		Documents: tokenapi.Documents{JWKS: func(time.Time) ([]byte, string) { return []byte("{}"), "" }, Metadata: func() []byte { return []byte("{}") }},
	})
}

func ask(t *testing.T, h http.Handler, badge string, form url.Values) (int, map[string]any) {
	t.Helper()
	request := httptest.NewRequest(http.MethodPost, tokenapi.PathToken, strings.NewReader(form.Encode()))
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("X-Badge", badge)
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, request)
	var answer map[string]any
	must(t, json.Unmarshal(recorder.Body.Bytes(), &answer))
	return recorder.Code, answer
}

func newKey(t *testing.T) (*ecdsa.PrivateKey, *jws.Signer) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	signer, err := jws.NewSigner("k", jws.ES256, private)
	must(t, err)
	return private, signer
}

// Every toy takes part: the badge is checked, the guest's token is verified, the
// record lies on the shelf before the ticket is written.
func TestToys(t *testing.T) {
	t.Parallel()
	_, guest := newKey(t)
	records := &shelf{}
	h := serve(t, records, ticket{}, guest.Key())
	input := guest.AppendInput(nil, "JWT", []byte(`{"iss":"https://guestbook.example","sub":"ann","aud":["cambist"]}`))
	signature, err := guest.Sign(input)
	must(t, err)
	form := url.Values{
		"grant_type": {string(oauth.GrantTokenExchange)}, "audience": {"https://till.example"}, "subject_token": {string(jws.AppendToken(nil, input, signature))},
		"subject_token_type": {string(oauth.TokenTypeIDToken)},
	}
	status, answer := ask(t, h, "clerk", form)
	text, _ := answer["access_token"].(string)
	raw, err := hex.DecodeString(text)
	if status != 200 || err != nil || string(raw) != `{"at":"https://till.example","for":"guests:ann","may":"sell"}` {
		t.Errorf("%d %v %s", status, answer, raw)
	}
	if len(records.rows) != 1 || records.rows[0].Outcome != "allowed" {
		t.Errorf("records %+v", records.rows)
	}
	if status, answer := ask(t, h, "", form); status != 401 || answer["error"] != "invalid_client" {
		t.Errorf("without a badge: %d %v", status, answer)
	}
	if status, answer := ask(t, h, "stranger", form); status != 400 || answer["error"] != "invalid_target" {
		t.Errorf("a stranger: %d %v", status, answer)
	}
	form.Set("subject_token", string(jws.AppendToken(nil, input, make([]byte, 64))))
	if status, answer := ask(t, h, "clerk", form); status != 400 || answer["error"] != "invalid_request" {
		t.Errorf("a forged guest: %d %v", status, answer)
	}
}

// A key that lies elsewhere signs the usual format; what it says is verified.
func TestKeyElsewhere(t *testing.T) {
	t.Parallel()
	private, guest := newKey(t)
	key := &vault{private: private}
	signer, err := jws.NewSigner("k", jws.ES256, key)
	must(t, err)
	h := serve(t, &shelf{}, jwtat.New(ring{signer}), guest.Key())
	status, answer := ask(t, h, "clerk", url.Values{"grant_type": {"client_credentials"}, "audience": {"https://till.example"}})
	raw, _ := answer["access_token"].(string)
	token, err := jws.Parse(raw)
	must(t, err)
	if _, err := token.VerifyPayload(signer.Key()); err != nil || status != 200 || key.asked != 1 {
		t.Errorf("%d %v, asked %d times", status, err, key.asked)
	}
}
