package verify

import (
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

const (
	mediaType = "at+jwt"  // RFC 9068 section 2.1
	maxLife   = time.Hour // the longest that the broker can be told to issue
	maxDepth  = 16        // of the payload: the longest chain and then some
	maxName   = 2048      // bytes of a sub
	maxID     = 256       // bytes of a jti, a txn
)

// claims are the claims of an access token, as it is read from JSON.
type claims struct {
	Issuer     string          `json:"iss"`
	Subject    string          `json:"sub"`
	Audience   jws.Audience    `json:"aud"`
	ExpiresAt  jws.NumericDate `json:"exp"`
	IssuedAt   jws.NumericDate `json:"iat"`
	NotBefore  jws.NumericDate `json:"nbf"`
	ID         string          `json:"jti"`
	ClientID   string          `json:"client_id"`
	Scope      string          `json:"scope"`
	SubjectID  *subjectID      `json:"sub_id"`
	Act        chain           `json:"act"`
	Bound      confirmation    `json:"cnf"`
	Txn        string          `json:"txn"`
	Ancestors  []string        `json:"anc"`
	Presenters []string        `json:"presenters"`
	Revision   int64           `json:"rev"`
	Others     jsontext.Value  `json:",embed"`
}

// subjectID is a sub_id of the format iss_sub (RFC 9493 section 3.2.3).
type subjectID struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

// checkDates refuses a token that is not valid now. The one leeway is added
// here and nowhere else.
func (c *claims) checkDates(now time.Time, leeway time.Duration) *Error {
	issued, expires := at(c.IssuedAt), at(c.ExpiresAt)
	switch {
	case c.IssuedAt == 0:
		return refuse(ReasonTokenClaims, errRequired)
	case !expires.After(issued): // as is one that is missing
		return refuse(ReasonTokenClaims, errDates)
	case expires.Sub(issued) > maxLife+leeway:
		return refuse(ReasonTokenLifetime, nil)
	case !now.Before(expires.Add(leeway)):
		return refuse(ReasonTokenExpired, nil)
	case issued.After(now.Add(leeway)), at(c.NotBefore).After(now.Add(leeway)):
		return refuse(ReasonTokenNotYetValid, nil)
	}
	return nil
}

func at(n jws.NumericDate) time.Time { return time.Unix(int64(n), 0).UTC() }

var (
	errRequired = errors.New("a required claim is missing or not well formed")
	errDates    = errors.New("exp is not after iat")
	errScope    = errors.New("scope is not well formed")
	errWorkload = errors.New("a claim that names a workload does not")
	errSubject  = errors.New("sub and sub_id do not agree")
	errID       = errors.New("an id is not well formed")
	errCarried  = errors.New("a carried claim is not well formed")
)

// token turns claims into a Token. Whom they name is checked here, one against
// the other; issuer, audience and dates were before.
func (c *claims) token() (*Token, *Error) {
	scopes, err := oauth.ParseScopes(c.Scope)
	switch {
	case !jws.ValidName(c.Subject, maxName) || !jws.ValidName(c.ID, maxID):
		return nil, refuse(ReasonTokenClaims, errRequired)
	case err != nil:
		return nil, refuse(ReasonTokenClaims, errScope)
	case !workload(c.ClientID) || !every(c.Presenters, workload):
		return nil, refuse(ReasonTokenClaims, errWorkload)
	case c.Txn != "" && !jws.ValidName(c.Txn, maxID) || !every(c.Ancestors, func(id string) bool { return jws.ValidName(id, maxID) }):
		return nil, refuse(ReasonTokenClaims, errID)
	case !c.subjectAgrees():
		return nil, refuse(ReasonTokenClaims, errSubject)
	}
	client, err := spiffeid.FromString(c.ClientID)
	if err != nil {
		return nil, refuse(ReasonTokenClaims, errWorkload)
	}
	t := &Token{
		issuer: c.Issuer, subject: c.Subject, client: client, scopes: scopes, actors: c.Act.links,
		id: c.ID, txn: c.Txn, ancestors: c.Ancestors, issuedAt: at(c.IssuedAt), expiresAt: at(c.ExpiresAt), revision: c.Revision,
	}
	if c.SubjectID != nil {
		t.user = User{Issuer: c.SubjectID.Issuer, Subject: c.SubjectID.Subject}
	}
	if t.carried, err = carried(c.Others); err != nil {
		return nil, refuse(ReasonTokenClaims, errCarried)
	}
	return t, nil
}

// subjectAgrees reports whether sub names a workload and nothing says that it is
// a user, or a user whom sub_id names as well: the short name of its issuer, a
// colon, and the sub that this issuer gave it. No issuer has a name with a letter
// in upper case, so no user's sub looks like that of a workload to whoever
// ignores case.
func (c *claims) subjectAgrees() bool {
	if strings.HasPrefix(c.Subject, "spiffe:") {
		return c.SubjectID == nil && workload(c.Subject)
	}
	name, sub, _ := strings.Cut(c.Subject, ":")
	id := c.SubjectID
	return id != nil && id.Format == "iss_sub" && jws.ValidName(id.Issuer, maxName) && sub != "" && sub == id.Subject && issuerName(name)
}

// issuerName reports whether text is the name of an issuer in a policy:
// [a-z][a-z0-9-]{0,31}.
func issuerName(text string) bool {
	for i := range len(text) {
		c := text[i]
		if !('a' <= c && c <= 'z' || i > 0 && ('0' <= c && c <= '9' || c == '-')) {
			return false
		}
	}
	return text != "" && len(text) <= 32
}

func every(texts []string, holds func(string) bool) bool {
	return !slices.ContainsFunc(texts, func(s string) bool { return !holds(s) })
}
