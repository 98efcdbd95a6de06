package dpop

import "errors"

// Reason is why a proof was refused: a closed list, for records, logs and
// metrics.
type Reason string

// The reasons, in the order in which a proof is checked.
const (
	ReasonMissing    Reason = "dpop_missing"    // no proof, where one must be
	ReasonSeveral    Reason = "dpop_several"    // more than one DPoP header
	ReasonMalformed  Reason = "dpop_malformed"  // not a signed JWT in compact form, or too large
	ReasonKey        Reason = "dpop_key"        // its jwk is missing, private, or not a key of its algorithm
	ReasonType       Reason = "dpop_type"       // its typ is not dpop+jwt
	ReasonAlgorithm  Reason = "dpop_algorithm"  // an algorithm that is not accepted
	ReasonHolder     Reason = "dpop_holder"     // by another key than the one that the token is bound to
	ReasonSignature  Reason = "dpop_signature"  // not signed by the key in it
	ReasonClaims     Reason = "dpop_claims"     // a required claim is missing or not well formed
	ReasonRequest    Reason = "dpop_request"    // for another method or URL
	ReasonTime       Reason = "dpop_time"       // too old, or of the future
	ReasonToken      Reason = "dpop_token"      // for another access token
	ReasonNonce      Reason = "dpop_nonce"      // no nonce of ours, or an old one: try again with the one in the answer
	ReasonReplayed   Reason = "dpop_replayed"   // used before
	ReasonOverloaded Reason = "dpop_overloaded" // no room to remember it, so it is not accepted
)

// texts are what the caller may know. They hold nothing of the proof.
var texts = [...]struct {
	reason Reason
	text   string
}{
	{ReasonMissing, "a DPoP proof is required"},
	{ReasonSeveral, "more than one DPoP proof was sent"},
	{ReasonMalformed, "the DPoP proof is not a signed JWT in compact form"},
	{ReasonKey, "the jwk of the DPoP proof is not a public key of its alg"},
	{ReasonType, "the typ of the DPoP proof is not dpop+jwt"},
	{ReasonAlgorithm, "the alg of the DPoP proof is not accepted here"},
	{ReasonHolder, "the DPoP proof is of another key than the one that the token is bound to"},
	{ReasonSignature, "the signature of the DPoP proof does not verify"},
	{ReasonClaims, "jti, htm, htu or iat of the DPoP proof is missing or not well formed"},
	{ReasonRequest, "htm or htu of the DPoP proof is not that of this request"},
	{ReasonTime, "the DPoP proof is too old or of the future: check the clock"},
	{ReasonToken, "ath of the DPoP proof is not the hash of the access token"},
	{ReasonNonce, "the DPoP proof needs the nonce of the DPoP-Nonce header"},
	{ReasonReplayed, "the DPoP proof was used before: make one for each request"},
	{ReasonOverloaded, "too many DPoP proofs at once: try again later"},
}

// Reasons returns every reason, for tables that must be complete.
func Reasons() []Reason {
	all := make([]Reason, len(texts))
	for i := range texts {
		all[i] = texts[i].reason
	}
	return all
}

// Text returns what the caller may know of the reason; "" for one that is not of
// the list.
func (r Reason) Text() string {
	for i := range texts {
		if texts[i].reason == r {
			return texts[i].text
		}
	}
	return ""
}

// Error is why a proof was refused. Its zero value refuses as well.
type Error struct {
	Reason Reason
	Err    error // for logs; never holds anything of the proof
}

func refuse(r Reason, cause error) *Error { return &Error{Reason: r, Err: cause} }

// Error returns the reason and its cause.
func (e *Error) Error() string {
	if e.Err == nil {
		return "dpop: " + string(e.Reason)
	}
	return "dpop: " + string(e.Reason) + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

var (
	errMethod = errors.New("htm is another method")
	errURL    = errors.New("htu is another URL")
	errOld    = errors.New("too old")
	errFuture = errors.New("of the future")
	errRSA    = errors.New("a key of more than 4096 bits")
)
