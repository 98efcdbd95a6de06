package kubernetes

import (
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/subject"
)

const (
	maxAge  = 10 * time.Minute // within which a token may be shown
	maxLife = time.Hour

	prefix = "system:serviceaccount:"

	// Limits of the names that Kubernetes gives.
	maxNamespaceBytes = 63
	maxNameBytes      = 253
)

// claims are the claims of a ServiceAccount token that mean something here; iss and
// aud have chosen its cluster.
type claims struct {
	subject.Dates
	Subject string `json:"sub"`
	Bound   bound  `json:"kubernetes.io"`
}

// bound is what the token belongs to.
type bound struct {
	Namespace      string         `json:"namespace"`
	ServiceAccount object         `json:"serviceaccount"`
	Pod            object         `json:"pod"`
	Secret         jsontext.Value `json:"secret"`
	WarnAfter      jsontext.Value `json:"warnafter"`
}

// object is one object of a cluster.
type object struct {
	Name string `json:"name"`
	UID  string `json:"uid"`
}

func (o object) missing() bool { return o.Name == "" || o.UID == "" }

// workload returns who the token proves, in the trust domain of its cluster.
func (c *claims) workload(domain spiffeid.TrustDomain, now time.Time) (broker.Workload, error) {
	if err := c.checkBound(); err != nil {
		return broker.Workload{}, err
	}
	if err := c.checkDates(now); err != nil {
		return broker.Workload{}, err
	}
	namespace, name, ok := account(c.Subject)
	if !ok || namespace != c.Bound.Namespace || name != c.Bound.ServiceAccount.Name {
		return broker.Workload{}, subject.Refuse(broker.ReasonTokenClaims, "sub is not the ServiceAccount that the token belongs to", nil)
	}
	id, err := spiffeid.FromSegments(domain, "ns", namespace, "sa", name)
	if err != nil {
		return broker.Workload{}, subject.Refuse(broker.ReasonTokenClaims, "the name of the ServiceAccount is no SPIFFE ID", err)
	}
	return broker.Workload{ID: id, Proof: broker.ProofKubernetes, NotAfter: c.Expires()}, nil
}

// checkBound refuses every token that does not live and die with a pod.
func (c *claims) checkBound() error {
	refuse := func(text string) error { return subject.Refuse(broker.ReasonTokenClaims, text, nil) }
	switch {
	case len(c.Bound.Secret) > 0:
		return refuse("a token that belongs to a Secret is not accepted; use a projected one")
	case len(c.Bound.WarnAfter) > 0:
		return refuse("a token whose life the API server has extended is not accepted; use a projected one with the audience of this broker")
	case c.Bound.ServiceAccount.missing() || c.Bound.Pod.missing():
		return refuse("the token must belong to a ServiceAccount and a pod, by name and uid")
	}
	return nil
}

// checkDates refuses a token that is not valid now, was made too long ago or lives
// for too long.
func (c *claims) checkDates(now time.Time) error {
	if err := c.Dates.Check(now, subject.Skew); err != nil {
		return err
	}
	switch {
	case c.Expires().Sub(c.Issued()) > maxLife:
		return subject.Refuse(broker.ReasonTokenClaims, "a ServiceAccount token may live for an hour at most; set expirationSeconds: 600", nil)
	case now.Sub(c.Issued()) > maxAge:
		return subject.Refuse(broker.ReasonTokenExpired, "a ServiceAccount token may be shown for 10 minutes after it was made; set expirationSeconds: 600", nil)
	}
	return nil
}

// account splits the name that Kubernetes gives a ServiceAccount, and takes only
// names that Kubernetes takes.
func account(sub string) (namespace, name string, ok bool) {
	rest, ok := strings.CutPrefix(sub, prefix)
	if !ok {
		return "", "", false
	}
	namespace, name, ok = strings.Cut(rest, ":")
	if !ok || !label(namespace) || len(namespace) > maxNamespaceBytes || len(name) > maxNameBytes {
		return "", "", false
	}
	for part := range strings.SplitSeq(name, ".") {
		if !label(part) {
			return "", "", false
		}
	}
	return namespace, name, true
}

// label reports whether text is a label of RFC 1123 in lower case, of any length.
func label(text string) bool {
	if text == "" || text[0] == '-' || text[len(text)-1] == '-' {
		return false
	}
	for i := range len(text) {
		if c := text[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}
