package broker

import (
	"time"

	"github.com/cambist/cambist/broker/oauth"
)

// ExchangeRequest is one token request after parsing. It says what is asked;
// who asks is the Workload beside it.
type ExchangeRequest struct {
	At            time.Time // when it came: the one time by which all of it is judged; the zero value means now
	Grant         oauth.GrantType
	ClientID      string        // as sent, "" if absent; must name the workload
	Subject       *SubjectToken // RFC 8693 subject_token, or the assertion of RFC 7523
	Actor         *SubjectToken // RFC 8693 actor_token
	Audience      string        // the one audience: audience and resource may both be sent only if equal
	Scopes        oauth.Scopes
	RequestedType oauth.TokenType // "" means access_token
	ProofKey      string          // RFC 7638 thumbprint of a proven DPoP key, "" if none
	Origin        Origin
}

// Origin says where a request came from, for the record alone. No decision
// reads it.
type Origin struct {
	RequestID     string // the id of the record, and x-request-id
	Listener      string
	RemoteAddress string
	TLSVersion    string
	CipherSuite   string
	TraceParent   string
}
