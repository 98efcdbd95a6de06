package verify_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/clients/verify"
)

// Every pair of a binding and a peer. Standards MT-5, MT-6, AT-19, threats F1, F2.
func TestBinding(t *testing.T) {
	t.Parallel()
	s := newSigner(t, "k1")
	strict := newVerifier(t, nil, s)
	bearer := newVerifier(t, func(c *verify.Config) { c.AllowBearer = true }, s)
	another := base64.RawURLEncoding.EncodeToString(make([]byte, 32))
	peers := map[string]verify.Peer{
		"nobody":            {},
		"web":               peer(t, web, ""),
		"web, certificate":  peer(t, web, thumb),
		"web, another":      peer(t, web, another),
		"certificate alone": peer(t, spiffeid.ID{}, thumb),
		"gateway":           peer(t, gateway, ""),
		"other":             peer(t, other, ""),
		"other, stolen":     peer(t, other, another),
	}
	type outcome struct{ strict, bearer verify.Reason }
	both := func(r verify.Reason) outcome { return outcome{r, r} }
	const unproven, mismatch, unbound, unknown = verify.ReasonPeerUnproven, verify.ReasonPeerMismatch, verify.ReasonBindingUnproven, verify.ReasonBindingUnknown
	jkt := object{"jkt": thumb}
	tests := map[string]struct {
		claims object
		want   map[string]outcome // of each peer, accepted where it is not named
		others outcome
	}{
		"no cnf": {workloadClaims(), map[string]outcome{
			"web": {}, "web, certificate": {}, "web, another": {}, "nobody": {strict: unproven}, "certificate alone": {strict: unproven},
		}, outcome{strict: mismatch}},
		"presenters": {workloadClaims().with("presenters", []string{other.String() + "s", gateway.String()}), map[string]outcome{
			"web": {}, "web, certificate": {}, "web, another": {}, "gateway": {}, "nobody": {strict: unproven}, "certificate alone": {strict: unproven},
		}, outcome{strict: mismatch}},
		"certificate": {workloadClaims().with("cnf", object{"x5t#S256": thumb}), map[string]outcome{
			"web, certificate": {}, "certificate alone": {},
		}, both(unbound)},
		"certificate and presenters": {workloadClaims().with("cnf", object{"x5t#S256": thumb}).with("presenters", []string{gateway.String()}), map[string]outcome{
			"web, certificate": {}, "certificate alone": {},
		}, both(unbound)},
		"DPoP":                      {workloadClaims().with("cnf", jkt), nil, both(unknown)},
		"certificate and DPoP":      {workloadClaims().with("cnf", object{"x5t#S256": thumb, "jkt": thumb}), nil, both(unknown)},
		"DPoP and certificate":      {workloadClaims().with("cnf", object{"a": object{"b": 1}, "x5t#S256": thumb}), nil, both(unknown)},
		"a kind that nobody knows":  {workloadClaims().with("cnf", object{"kid": "x"}), nil, both(unknown)},
		"a case variant of a known": {workloadClaims().with("cnf", object{"X5T#S256": thumb}), nil, both(unknown)},
		"nothing":                   {workloadClaims().with("cnf", object{}), nil, both(unknown)},
	}
	for name, tt := range tests {
		token := sign(t, s, "at+jwt", tt.claims.json(t))
		for who, p := range peers {
			want, ok := tt.want[who]
			if !ok {
				want = tt.others
			}
			for v, want := range map[*verify.Verifier]verify.Reason{strict: want.strict, bearer: want.bearer} {
				got, err := v.Verify(context.Background(), token, p)
				if reason(err) != want || err == nil && got.Presenter() != p.ID() {
					t.Errorf("%s, shown by %s, bearer %t: %v, want %q", name, who, v.AllowsBearer(), err, want)
				}
			}
		}
	}
}

// GV-1: the hash of a certificate as a proxy writes it, in hex, is the thumbprint.
func TestThumbprintVector(t *testing.T) {
	t.Parallel()
	raw, err := base64.RawURLEncoding.DecodeString(thumb)
	if err != nil {
		t.Fatal(err)
	}
	if text := hex.EncodeToString(raw); len(text) != 64 || !strings.HasPrefix(text, "468ed33b") || !strings.HasSuffix(text, "e688") {
		t.Errorf("%s", text)
	}
}

func TestNewPeer(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		id  spiffeid.ID
		x5t string
		ok  bool
	}{
		"both":             {web, thumb, true},
		"an ID":            {web, "", true},
		"a certificate":    {spiffeid.ID{}, thumb, true},
		"neither":          {spiffeid.ID{}, "", false},
		"a trust domain":   {spiffeid.RequireFromString("spiffe://prod.example"), "", false},
		"ID too long":      {spiffeid.RequireFromString("spiffe://prod.example/" + strings.Repeat("a", 2048)), "", false},
		"short":            {web, thumb[1:], false},
		"long":             {web, thumb + "A", false},
		"padded":           {web, thumb + "=", false},
		"loose bits":       {web, thumb[:42] + "h", false},
		"hex":              {web, strings.Repeat("4", 64), false},
		"standard base 64": {web, "+" + thumb[1:], false},
		"line break":       {web, thumb[:20] + "\n" + thumb[21:], false},
	}
	for name, tt := range tests {
		p, err := verify.NewPeer(tt.id, tt.x5t)
		if (err == nil) != tt.ok || p.IsZero() == tt.ok || tt.ok && p.ID() != tt.id {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	if !(verify.Peer{}).IsZero() {
		t.Error("the zero peer is somebody")
	}
}
