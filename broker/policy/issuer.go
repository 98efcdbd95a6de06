package policy

import (
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// preset is what is known of a kind of issuer: how it types its access tokens,
// where it puts scopes, what it sends by default.
type preset struct {
	access     []string // media types of its access tokens; "" means no typ
	scopeClaim string
	accept     []string // default, nil where it must be written
}

func presetOf(kind string) (preset, bool) {
	switch kind {
	case "okta":
		return preset{access: []string{"", "jwt", "at+jwt", "application/okta-internal-at+jwt"}, scopeClaim: "scp", accept: []string{"access"}}, true
	case "entra":
		return preset{access: []string{"jwt", "at+jwt"}, scopeClaim: "scp", accept: []string{"access"}}, true
	case "auth0":
		return preset{access: []string{"jwt", "at+jwt"}, scopeClaim: "scope", accept: []string{"access"}}, true
	case "keycloak":
		return preset{access: []string{"jwt", "at+jwt"}, scopeClaim: "scope", accept: []string{"access"}}, true
	case "google":
		return preset{access: nil, scopeClaim: "", accept: []string{"id"}}, true
	case "kubernetes":
		return preset{access: []string{"", "jwt"}, scopeClaim: "", accept: []string{"access"}}, true
	case "oidc":
		return preset{access: []string{"at+jwt"}, scopeClaim: "scope"}, true
	}
	return preset{}, false
}

// reservedIssuers are names that mean something else where a sub, a for or a
// URI begins with them.
var reservedIssuers = []string{"spiffe", "wimse", "cambist", "urn", "http", "https", "system", "workload"}

func issuerName(name string) bool {
	return name != "" && len(name) <= 32 && name[0] >= 'a' && name[0] <= 'z' && every(name, labelByte) && !slices.Contains(reservedIssuers, name)
}

var issuerAlgorithms = []string{"ES256", "ES384", "ES512", "EdDSA", "Ed25519", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}

// compileIssuer builds an issuer from its body. Any fault quarantines it: what
// could be read stays, so that its users are refused and not unknown.
func compileIssuer(o *broker.Object, opts Options, f *faults) *broker.Issuer {
	var body issuerBody
	issuer := &broker.Issuer{Set: o.Set, Name: o.Name}
	if err := decode(o.Body, &body); err != nil {
		f.add("object-unreadable", "", "apply the set again", "%v; until then its tokens are refused", err)
		var place struct {
			URL string `json:"url"`
		}
		if json.Unmarshal(o.Body, &place) == nil {
			issuer.URL = place.URL // to be refused as bad, and not as unknown
		}
		issuer.Quarantined = true
		return issuer
	}
	issuer.URL, issuer.JWKSURI, issuer.JWKSFile, issuer.Delegates, issuer.Carry = body.URL, body.JWKSURI, body.JWKSFile, body.Delegates, body.Carry
	if !issuerName(o.Name) {
		f.add("issuer-name", "name", "use a lower-case letter, then letters, digits and dashes, 32 at most", "%q is not a name for an issuer, or is reserved", o.Name)
	}
	if !plainURL(body.URL, "?#") {
		f.add("issuer-url", "url", "give the iss of its tokens, an https URL without query or fragment", "%q is not the URL of an issuer", body.URL)
	} else if body.JWKSURI == "" && body.JWKSFile == "" && !secureURL(body.URL) {
		f.add("issuer-url", "url", "use https, or name the keys by jwks_uri or jwks_file", "the keys of %q would come over a connection that anybody can change", body.URL)
	}
	if body.JWKSURI != "" && (!plainURL(body.JWKSURI, "#") || !secureURL(body.JWKSURI)) {
		f.add("issuer-jwks", "jwks_uri", "give an https URL", "%q is not a URL of a key set", body.JWKSURI)
	}
	if body.JWKSURI != "" && body.JWKSFile != "" {
		f.add("issuer-jwks", "jwks_file", "keep one of jwks_uri and jwks_file", "the keys are named twice")
	}
	known, ok := presetOf(body.Kind)
	if !ok {
		f.add("issuer-kind", "kind", "use one of okta, entra, auth0, keycloak, google, kubernetes, oidc", "%q is not a kind of issuer", body.Kind)
	}
	issuer.AccessTypes, issuer.ScopeClaim, issuer.SubClaim = known.access, known.scopeClaim, "sub"
	compileAccept(issuer, body.Accept, known, f)
	issuer.Algorithms = body.Algs
	if len(body.Algs) == 0 {
		issuer.Algorithms = []string{"RS256"}
	}
	for _, alg := range issuer.Algorithms {
		if !slices.Contains(issuerAlgorithms, alg) {
			f.add("issuer-alg", "algs", "use asymmetric ones such as RS256 or ES256", "%q is not an algorithm for tokens of an issuer", alg)
		}
	}
	compileAudiences(issuer, body.Audiences, opts, f)
	compileClaimRules(issuer, body.Claims, f)
	for _, foreign := range sortedKeys(body.Actors) {
		text := body.Actors[foreign]
		id, err := spiffeid.FromString(text)
		if err != nil || foreign == "" {
			f.add("issuer-actor", "actors", "map the name to a SPIFFE ID", "actor %q is not mapped to a workload", foreign)
			continue
		}
		issuer.Actors = append(issuer.Actors, broker.ActorName{Subject: foreign, Workload: id})
	}
	issuer.Quarantined = f.count > 0
	return issuer
}

// plainURL reports whether text is an http or https URL of a host, without
// credentials and without any of the given characters.
func plainURL(text, without string) bool {
	u, err := url.Parse(text)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Hostname() != "" && u.User == nil && !strings.ContainsAny(text, without+" {}")
}

// secureURL reports whether keys may be fetched from a URL: over TLS, or from
// this very machine.
func secureURL(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	switch u.Hostname() {
	case "localhost", "127.0.0.1", "::1":
		return true
	}
	return u.Scheme == "https"
}

func compileAccept(issuer *broker.Issuer, accept []string, known preset, f *faults) {
	if len(accept) == 0 {
		accept = known.accept
	}
	if len(accept) == 0 {
		f.add("issuer-accept", "accept", "write accept: [access] or accept: [id]", "which tokens are accepted is not said")
	}
	for _, a := range accept {
		switch a {
		case "access":
			issuer.AcceptJWT = true
			if len(known.access) == 0 {
				f.add("issuer-accept", "accept", "use accept: [id]", "this kind of issuer has no access tokens that others can check")
			}
		case "id":
			issuer.AcceptID = true
		default:
			f.add("issuer-accept", "accept", "use access or id", "%q is not a kind of token", a)
		}
	}
}

// compileAudiences reads who may show a token by its aud. Without an audience
// an issuer is of no use, and any is only for one that names this broker.
func compileAudiences(issuer *broker.Issuer, audiences []audienceBody, opts Options, f *faults) {
	if len(audiences) == 0 {
		f.add("issuer-audience", "audiences", "name the aud of its tokens and who may show them", "no audience is listed")
	}
	for _, a := range audiences {
		compiled := broker.IssuerAudience{Value: a.Value, Any: a.Any}
		if a.Any && !opts.names(a.Value) {
			f.add("issuer-audience-any", "audiences", "list the workloads that may show such a token", "%q does not name this broker, so not everybody may show it", a.Value)
		}
		if a.Value == "" || !a.Any && len(a.Workloads) == 0 {
			f.add("issuer-audience", "audiences", "list workloads, or any for an audience that names the broker", "audience %q lets nobody show a token", a.Value)
		}
		var matchers []func(spiffeid.ID) bool
		for _, text := range a.Workloads {
			p, err := parseWorkloadPattern(text)
			if err != nil {
				f.add("pattern", "audiences", patternFix, "%q is not a pattern for workloads: %v", text, err)
				continue
			}
			matchers = append(matchers, p.matchWorkload)
		}
		compiled.Workloads = broker.NewMatcher(matchers...)
		issuer.Audiences = append(issuer.Audiences, compiled)
	}
}

func compileClaimRules(issuer *broker.Issuer, claims []claimBody, f *faults) {
	for _, c := range claims {
		rule := broker.ClaimRule{Name: c.Name, Values: c.Values}
		switch c.Type {
		case "string":
			rule.Type = broker.ClaimString
		case "bool":
			rule.Type = broker.ClaimBool
		case "int":
			rule.Type = broker.ClaimInt
		case "strings":
			rule.Type = broker.ClaimStrings
		case "enum":
			rule.Type = broker.ClaimEnum
		default:
			f.add("claim-type", "claims", "use string, bool, int, strings or a list of values", "claim %q has the unknown type %q", c.Name, c.Type)
		}
		if !claimName(c.Name) {
			f.add("claim-name", "claims", "use letters, digits and underscores", "%q is not a name for a claim", c.Name)
		}
		issuer.Claims = append(issuer.Claims, rule)
	}
	for _, name := range issuer.Carry {
		switch {
		case !slices.ContainsFunc(issuer.Claims, func(r broker.ClaimRule) bool { return r.Name == name }):
			f.add("claim-unknown", "carry", "declare it under claims", "claim %q is carried but not declared", name)
		case broker.ReservedClaim(name):
			f.add("claim-reserved", "carry", "leave it out", "claim %q means something in our own tokens", name)
		}
	}
}

// claimName is the grammar of claims that conditions can name.
func claimName(name string) bool {
	return name != "" && len(name) <= 64 && (name[0] < '0' || name[0] > '9') &&
		every(name, func(c byte) bool {
			return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		})
}
