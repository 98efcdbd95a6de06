package policy

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// resource is a compiled resource: one of its own, or a template of many.
type resource struct {
	object   string // name as stored
	proto    broker.Resource
	name     pattern // of a template
	uri      template
	servedBy []template
	hosts    []template
	placed   bool // its URI can be read, if nothing else
}

// compileResource builds a resource from its body. Any fault quarantines it.
func compileResource(o *broker.Object, f *faults) *resource {
	var body resourceBody
	r := &resource{object: o.Name, proto: broker.Resource{Set: o.Set, Name: o.Name}}
	if err := decode(o.Body, &body); err != nil {
		r.proto.Quarantined = true
		r.place(o)
		f.add("object-unreadable", "", "apply the set again", "%v; until then nothing is issued for it", err)
		return r
	}
	var err error
	if r.name, err = parseNamePattern(o.Name); err != nil || r.name.all || r.name.rest || r.name.any() {
		f.add("resource-name", "name", "use lower-case segments, {name} in a template", "%q is not a name for a resource", o.Name)
	}
	r.compileTemplates(&body, f)
	p := &r.proto
	p.URI, p.Impersonation = body.URI, body.Impersonation
	r.compileScopes(&body, f)
	var ok bool
	if p.Binding, ok = broker.ParseBinding(body.Binding); !ok {
		f.add("resource-binding", "binding", "use identity, certificate, dpop or bearer", "%q is not a binding", body.Binding)
	}
	for _, name := range body.Proof {
		proof, ok := broker.ParseProof(name)
		if !ok {
			f.add("resource-proof", "proof", "use mtls, linkerd, xfcc, kubernetes or jwtsvid", "%q is not a proof of identity", name)
		} else if proof.Bearer() && p.Binding != broker.BindingDPoP && p.Binding != broker.BindingBearer {
			f.add("resource-proof-bearer", "proof", "set binding: dpop or binding: bearer, or leave the proof out", "%s is a bearer proof and needs such a binding", name)
		}
		p.Proofs |= broker.NewProofs(proof)
	}
	if p.TTL, err = time.ParseDuration(body.TTL); err != nil || p.TTL < broker.MinTTL || p.TTL > broker.MaxTTLCap {
		f.add("resource-ttl", "ttl", "give a duration from 10s to 1h", "%q is not a lifetime", body.TTL)
	}
	switch body.Freshness {
	case "normal":
		p.Freshness = broker.FreshnessNormal
	case "strict":
		p.Freshness = broker.FreshnessStrict
	default:
		f.add("resource-freshness", "freshness", "use normal or strict", "%q is not a freshness", body.Freshness)
	}
	if p.Algorithm = body.Alg; !slices.Contains([]string{"ES256", "EdDSA", "RS256", "PS256"}, body.Alg) {
		f.add("resource-alg", "alg", "use ES256, EdDSA, RS256 or PS256", "%q is not an algorithm that we sign with", body.Alg)
	}
	if p.Quarantined = f.count > 0; p.Quarantined {
		p.Scopes = oauth.Scopes{} // and so nothing of it is ever granted, by any path
	}
	return r
}

// place reads no more of a bad row than its URI, so that what it stood for is
// refused and does not fall to a template.
func (r *resource) place(o *broker.Object) {
	var body struct {
		URI string `json:"uri"`
	}
	if err := json.Unmarshal(o.Body, &body); err != nil {
		return
	}
	if uri, err := parseTemplate(body.URI); err == nil && uri.audience() {
		name, err := parseNamePattern(o.Name)
		if r.placed = err == nil; r.placed {
			r.uri, r.name, r.proto.URI = uri, name, body.URI
		}
	}
}

// compileTemplates reads everything that may hold captures, and holds the
// captures of served_by and hosts to those that the URI gives.
func (r *resource) compileTemplates(body *resourceBody, f *faults) {
	var err error
	if r.uri, err = parseTemplate(body.URI); err != nil {
		f.add("template", "uri", "write {name} and keep captures apart by a dot or a slash", "%q: %v", body.URI, err)
	}
	if r.placed = err == nil && r.uri.audience(); !r.placed {
		f.add("resource-uri", "uri", "give an absolute URI without fragment, in its canonical form", "%q is not the URI of a resource", body.URI)
	}
	given := r.uri.captures()
	needed := r.name.captures(nil)
	list := func(texts []string, field string, into *[]template) {
		for _, text := range texts {
			t, err := parseTemplate(text)
			if err != nil {
				f.add("template", field, "write {name} and keep captures apart by a dot or a slash", "%q: %v", text, err)
				continue
			}
			needed = append(needed, t.captures()...)
			*into = append(*into, t)
		}
	}
	list(body.ServedBy, "served_by", &r.servedBy)
	list(body.Hosts, "hosts", &r.hosts)
	for _, name := range needed {
		if !slices.Contains(given, name) {
			f.add("template-capture", "uri", "use it in the uri too", "capture {%s} has no value, because the uri does not hold it", name)
		}
	}
	for _, name := range given {
		if !slices.Contains(r.name.captures(nil), name) {
			f.add("template-capture", "name", "put it into the name too, or write the uri without it", "capture {%s} of the uri is not in the name: resources that differ would have one name", name)
		}
	}
	for _, t := range r.servedBy {
		sample, _ := t.build(nil, "a")
		if id, err := spiffeid.FromString(sample); err != nil || id.Path() == "" {
			f.add("resource-served-by", "served_by", "name workloads, as ns/sa or by SPIFFE ID", "%q is not a workload", t.text)
		} else if !t.variable() {
			r.proto.ServedBy = append(r.proto.ServedBy, id)
		}
	}
	for _, t := range r.hosts {
		if sample, ok := t.build(nil, "a"); !ok || !hostName(sample) {
			f.add("resource-host", "hosts", "write a DNS name, with :PORT if it is not the usual one", "%q is not a host that callers can name", t.text)
		} else if !t.variable() {
			r.proto.Hosts = append(r.proto.Hosts, t.text)
		}
	}
}

// hostName reports whether text is a DNS name with or without a port.
func hostName(text string) bool {
	host, port, found := strings.Cut(text, ":")
	if n, err := strconv.ParseUint(port, 10, 16); found && (err != nil || n == 0) {
		return false
	}
	for part := range strings.SplitSeq(host, ".") {
		if !label(part) {
			return false
		}
	}
	return len(host) <= 253
}

// routePattern reports whether text is METHOD PATH, as scopes write the routes
// that they open: a method or *, a path whose segments are literal, * or, at the
// end, **.
func routePattern(text string) bool {
	method, path, ok := strings.Cut(text, " ")
	if !ok || method == "" || method != "*" && !every(method, func(c byte) bool { return c >= 'A' && c <= 'Z' }) {
		return false
	}
	if !strings.HasPrefix(path, "/") || len(path) > 1024 || !every(path, func(c byte) bool { return c > 0x20 && c < 0x7f && !strings.ContainsRune(`?#"\{};%`, rune(c)) }) {
		return false
	}
	segments := strings.Split(path[1:], "/")
	for i, segment := range segments {
		last := i == len(segments)-1
		switch {
		case segment == "." || segment == ".." || segment == "" && !last: // no request has one
			return false
		case strings.Contains(segment, "*") && segment != "*" && (segment != "**" || !last):
			return false
		}
	}
	return true
}

// audience reports whether what the template builds can be an audience.
func (t *template) audience() bool {
	sample, ok := t.build(nil, "a")
	return ok && audienceURI(sample)
}

// audienceURI reports whether text can be an audience: absolute, no fragment,
// and such that no two spellings of it mean the same (RFC 8707 section 2).
func audienceURI(text string) bool {
	u, err := url.Parse(text)
	if err != nil || !u.IsAbs() || strings.Contains(text, "#") || u.User != nil || len(text) > 1024 || !every(text, func(c byte) bool { return c > 0x20 && c < 0x7f && c != '"' && c != '\\' }) {
		return false
	}
	if u.Scheme == "https" || u.Scheme == "http" {
		port := u.Port()
		return u.Host != "" && u.Host == strings.ToLower(u.Host) && port != "443" && port != "80" && u.String() == text
	}
	return u.Opaque != "" || u.Host != "" || u.Path != ""
}

func (r *resource) compileScopes(body *resourceBody, f *faults) {
	names := make([]string, 0, len(body.Scopes))
	for _, s := range body.Scopes {
		if strings.ContainsAny(s.Name, "*?{}") {
			f.add("scope-wildcard", "scopes", "name each scope", "%q looks like a wildcard, which scopes do not have", s.Name)
			continue
		}
		for _, route := range s.Routes {
			if !routePattern(route) {
				f.add("route", "scopes", `write "GET /path", with * for any method or one segment, ** at the end for the rest`, "%q is not a route", route)
			}
		}
		names = append(names, s.Name)
		r.proto.Routes = append(r.proto.Routes, broker.ScopeRoutes{Scope: s.Name, Routes: s.Routes})
	}
	var err error
	if r.proto.Scopes, err = oauth.NewScopes(names...); err != nil || len(names) == 0 {
		f.add("resource-scopes", "scopes", "name at least one scope, without spaces or quotes", "the scopes cannot be used")
	}
	if r.proto.DefaultScopes, err = oauth.NewScopes(body.DefaultScopes...); err != nil || !r.proto.Scopes.Includes(r.proto.DefaultScopes) {
		f.add("scope-unknown", "default_scopes", "name scopes of this resource", "a default scope is none of the resource's")
	}
}

// isTemplate reports whether the resource stands for many.
func (r *resource) isTemplate() bool { return r.uri.variable() }

// instance builds the resource of a template for what was captured. missing
// stands for captures without a value; "" fails them.
func (r *resource) instance(captured []broker.Capture, missing string) (*broker.Resource, bool) {
	made := r.proto
	made.Captured, made.ServedBy, made.Hosts = captured, nil, nil
	var ok bool
	if made.URI, ok = r.uri.build(captured, missing); !ok {
		return nil, false
	}
	names := make([]string, len(r.name.segments))
	for i, s := range r.name.segments {
		names[i] = s.text
		if s.kind != segmentLiteral {
			if names[i], ok = lookup(captured, s.text); !ok {
				if names[i] = missing; missing == "" {
					return nil, false
				}
			}
		}
	}
	made.Name = strings.Join(names, "/")
	for i := range r.servedBy {
		text, ok := r.servedBy[i].build(captured, missing)
		if !ok {
			return nil, false
		}
		// With * for what is not known it is nobody, which is right.
		if id, err := spiffeid.FromString(text); err == nil {
			made.ServedBy = append(made.ServedBy, id)
		}
	}
	for i := range r.hosts {
		if host, ok := r.hosts[i].build(captured, missing); ok {
			made.Hosts = append(made.Hosts, host)
		}
	}
	return &made, true
}
