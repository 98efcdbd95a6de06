package broker

import (
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/oauth"
)

// Lifetimes and staleness that policy may narrow but not widen.
const (
	DefaultTTL      = 5 * time.Minute
	DefaultTTLCap   = 15 * time.Minute // raised by configuration, to MaxTTLCap at most
	MaxTTLCap       = time.Hour
	MinTTL          = 10 * time.Second // a token that would live less is refused
	FreshnessNormal = 60 * time.Second // how old a confirmed policy may be
	FreshnessStrict = 5 * time.Second
)

// Binding is what the holder of a token must prove when it presents it.
type Binding uint8

// The bindings. The zero value is none of them and refuses.
const (
	BindingNone        Binding = iota
	BindingIdentity            // the peer on the wire is client_id or a presenter; no cnf
	BindingCertificate         // RFC 8705: the very certificate
	BindingDPoP                // RFC 9449: the very key
	BindingBearer              // whoever holds it; only where a resource says so
	numBindings
)

var bindingNames = [numBindings]string{"none", "identity", "certificate", "dpop", "bearer"}

// String returns the binding as policy files write it.
func (b Binding) String() string {
	if b >= numBindings {
		return bindingNames[BindingNone]
	}
	return bindingNames[b]
}

// ParseBinding returns the binding of that name; ok is false for any other
// text, "none" included.
func ParseBinding(name string) (b Binding, ok bool) {
	for i := BindingIdentity; i < numBindings; i++ {
		if bindingNames[i] == name {
			return i, true
		}
	}
	return BindingNone, false
}

// Resource is a protected service that tokens are for. Resources of a template
// are built for the URI that was asked; Captured holds what the URI gave.
type Resource struct {
	Set           string
	Name          string
	URI           string        // the audience, compared byte for byte
	ServedBy      []spiffeid.ID // the workloads that are this audience
	Hosts         []string      // where callers find it
	Scopes        oauth.Scopes  // every scope it has; no other is ever granted
	Routes        []ScopeRoutes // what each scope opens, for the guard
	DefaultScopes oauth.Scopes
	Binding       Binding
	Proofs        Proofs
	TTL           time.Duration
	Freshness     time.Duration // staleness of policy under which it may still be issued for
	Algorithm     string        // JWS algorithm of its tokens
	Impersonation bool          // whether act may be left out
	Captured      []Capture
	Quarantined   bool // its stored row could not be read: nothing is issued for it
}

// ScopeRoutes says which routes a scope opens, as method and path pattern.
type ScopeRoutes struct {
	Scope  string
	Routes []string
}

// ServedByWorkload reports whether id is this resource.
func (r *Resource) ServedByWorkload(id spiffeid.ID) bool {
	for i := range r.ServedBy {
		if r.ServedBy[i] == id {
			return true
		}
	}
	return false
}

// Capture is the value that one {name} of a pattern took: one DNS label.
type Capture struct{ Name, Value string }
