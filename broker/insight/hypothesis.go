package insight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/broker/subject"
)

// Hypothesis is a request that nobody made. Of what a request proves it supposes
// the best: identity, binding and tokens are in order, and what is left is policy.
type Hypothesis struct {
	At       time.Time
	Workload spiffeid.ID
	Resource string // its name, or its URI
	Scopes   oauth.Scopes
	User     *User     // on whose behalf; nil for the workload itself, or for the one that sent Received
	Received *Received // a token of ours that came; nil if the user's comes straight from the issuer
}

// User is a user as an issuer of the policy would name one.
type User struct {
	Issuer   string // its name
	Subject  string
	Audience string // of the issuer's token; "" is cambist
	Claims   []byte // a JSON object; what the issuer does not declare is not seen
}

// Received is a token of ours that another workload sent.
type Received struct {
	By       spiffeid.ID
	Resource string // that it is for
	Scopes   oauth.Scopes
}

const supposed = "supposed" // thumbprint, key and txn of what nobody showed

// Suppose decides a hypothesis on a snapshot, and explains the decision. An error
// is something that the policy does not know: an issuer or a name of a resource. A
// URI that it does not know is no error, but refused like any.
func Suppose(s *policy.Snapshot, h *Hypothesis, limits broker.Limits) (policy.Explanation, error) {
	audience, err := uri(s, h.Resource)
	if err != nil {
		return policy.Explanation{}, err
	}
	q := &broker.Question{
		Now: h.At, View: s, Limits: limits,
		Workload: broker.Workload{ID: h.Workload, Proof: broker.ProofMTLS, Thumbprint: supposed, NotAfter: h.At.Add(time.Hour)},
		Request:  broker.ExchangeRequest{At: h.At, Grant: oauth.GrantClientCredentials, Audience: audience, Scopes: h.Scopes, ProofKey: supposed},
	}
	if h.User != nil || h.Received != nil {
		q.Request.Grant = oauth.GrantTokenExchange
		if q.Subject, err = h.subject(s); err != nil {
			return policy.Explanation{}, err
		}
		q.Request.Subject = &broker.SubjectToken{Type: oauth.TokenTypeJWT}
	}
	if r, ok := s.Resource(audience); ok {
		q.Resource = r
		q.Candidates = s.Find(nil, h.Workload, r)
		for p := broker.ProofJWTSVID; p > broker.ProofNone; p-- { // the first that the resource takes
			if r.Proofs.Has(p) {
				q.Workload.Proof = p
			}
		}
	}
	return s.Explain(q), nil
}

// uri returns the URI of what is named by its name or its URI.
func uri(s *policy.Snapshot, named string) (string, error) {
	if strings.Contains(named, ":") { // no name has a colon
		return named, nil
	}
	r, ok := s.ResourceNamed(named)
	if !ok {
		return "", fmt.Errorf("no resource is named %q; one of a template is given by its URI", named)
	}
	return r.URI, nil
}

// subject makes what a verified token would say.
func (h *Hypothesis) subject(s *policy.Snapshot) (*broker.Subject, error) {
	made := &broker.Subject{Kind: broker.SubjectWorkload, IssuedAt: h.At, ExpiresAt: h.At.Add(time.Hour)}
	if u := h.User; u != nil {
		all := s.Issuers()
		i := slices.IndexFunc(all, func(i *broker.Issuer) bool { return i.Name == u.Issuer })
		if i < 0 {
			return nil, fmt.Errorf("no issuer is named %q", u.Issuer)
		}
		made.Kind, made.Issuer, made.Sub = broker.SubjectUser, all[i], u.Issuer+":"+u.Subject
		made.Origin = broker.SubjectID{Issuer: all[i].URL, Subject: u.Subject}
		made.Audience = []string{"cambist"}
		if u.Audience != "" {
			made.Audience = []string{u.Audience}
		}
		if len(u.Claims) > 0 {
			var err error
			if made.Claims, err = subject.Claims(u.Claims, all[i].Claims); err != nil {
				return nil, fmt.Errorf("claims: %s", broker.AsError(err).Public) // a fault of the hypothesis, not a refusal
			}
		}
	}
	if r := h.Received; r != nil {
		audience, err := uri(s, r.Resource)
		if err != nil {
			return nil, err
		}
		made.Issued, made.Audience, made.ClientID, made.Scopes, made.Txn = true, []string{audience}, r.By.String(), r.Scopes, supposed
		if made.Kind == broker.SubjectWorkload {
			made.Sub = made.ClientID
			return made, nil
		}
		made.Actor = &broker.Actor{Party: broker.Party{Subject: made.ClientID}}
		made.Claims = slices.DeleteFunc(made.Claims, func(c broker.Claim) bool { return !slices.Contains(made.Issuer.Carry, c.Name) })
	}
	return made, nil
}
