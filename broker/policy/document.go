package policy

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cambist/cambist/broker"
)

// Limits of a file.
const (
	maxDocumentBytes = 4 << 20
	maxDocumentRules = 10_000
)

// Document is one set of policy objects, as a file holds it.
type Document struct {
	Set     string
	Objects []broker.Object
	places  map[place]position
}

type place struct {
	kind  broker.ObjectKind
	name  string
	field string
}

type position struct {
	file         string
	line, column int
}

// Locate gives findings of the document's objects their file and line.
func (d *Document) Locate(findings []Finding) {
	for i := range findings {
		f := &findings[i]
		at, ok := d.places[place{f.Kind, f.Name, f.Field}]
		if !ok {
			at, ok = d.places[place{f.Kind, f.Name, ""}]
		}
		if ok && f.File == "" {
			f.File, f.Line, f.Column = at.file, at.line, at.column
		}
	}
}

// Parse reads a file with one or more documents, in YAML or JSON. It reports
// everything that is wrong at once; with an error among the findings the
// documents must not be used.
func Parse(file string, data []byte) ([]Document, []Finding) {
	if len(data) > maxDocumentBytes {
		return nil, []Finding{{Code: "file-too-large", Severity: Error, File: file, Message: "the file is larger than 4 MiB", Fix: "split it"}}
	}
	var documents []Document
	var findings []Finding
	decoder := yaml.NewDecoder(bytes.NewReader(yamlEscapes(data)))
	for {
		var root yaml.Node
		err := decoder.Decode(&root)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, append(findings, syntaxFinding(file, err))
		}
		p := documentParser{reader: reader{file: file}}
		if len(root.Content) == 1 {
			p.document(root.Content[0])
			if slices.ContainsFunc(documents, func(d Document) bool { return d.Set == p.doc.Set }) {
				p.fault(root.Content[0], "set-twice", "join the documents", "the file has two documents of the set %q", p.doc.Set)
			}
			documents = append(documents, p.doc)
		}
		if findings = append(findings, p.findings...); len(findings) >= maxFindings {
			break
		}
	}
	if len(documents) == 0 && len(findings) == 0 {
		findings = append(findings, Finding{Code: "file-empty", Severity: Error, File: file, Message: "there is no document in the file", Fix: "begin with cambist: v1"})
	}
	return documents, findings
}

// syntaxFinding takes the line out of the message of the YAML library, which has
// no other place for it.
func syntaxFinding(file string, err error) Finding {
	f := Finding{Code: "yaml-syntax", Severity: Error, File: file, Line: 1, Column: 1, Message: strings.TrimPrefix(err.Error(), "yaml: "), Fix: "mend the syntax"}
	if rest, ok := strings.CutPrefix(f.Message, "line "); ok {
		number, message, found := strings.Cut(rest, ": ")
		if line, err := strconv.Atoi(number); found && err == nil {
			f.Line, f.Message = line, message
		}
	}
	return f
}

type documentParser struct {
	reader
	doc    Document
	domain string
}

func (p *documentParser) document(n *yaml.Node) {
	p.doc.places = map[place]position{}
	f := p.fields(n, "cambist", "set", "defaults", "issuers", "resources", "allow", "deny")
	if v := f["cambist"]; v == nil || p.text(v) != "v1" {
		p.fault(n, "version", "begin with cambist: v1", "the version of the document is missing or unknown")
	}
	if p.doc.Set = p.text(f["set"]); !objectName(p.doc.Set) {
		p.fault(n, "set-name", "write set: NAME with lower-case letters, digits and dashes", "%q is not a name for a set", p.doc.Set)
	}
	if defaults := f["defaults"]; defaults != nil {
		p.domain = p.text(p.fields(defaults, "domain")["domain"])
		if p.domain != "" && broker.CheckTrustDomain(p.domain) != nil {
			p.fault(defaults, "trust-domain", "use lower-case letters, digits, dots, dashes and underscores, no empty label", "%q is not a trust domain that can be used", p.domain)
		}
	}
	p.object(n, broker.KindSet, p.doc.Set, nil, setBody{Domain: p.domain})
	for _, item := range p.items(f["issuers"]) {
		p.issuer(item)
	}
	for _, item := range p.items(f["resources"]) {
		p.resource(item)
	}
	allow, deny := p.items(f["allow"]), p.items(f["deny"])
	if len(allow)+len(deny) > maxDocumentRules {
		p.fault(n, "too-many-rules", "split the set", "there are more than %d rules in one document", maxDocumentRules)
		return
	}
	for _, item := range allow {
		p.mapping(item, effectAllow)
	}
	for _, item := range deny {
		p.mapping(item, effectDeny)
	}
}

// objectName is the grammar of the names of sets and rules.
func objectName(name string) bool {
	return name != "" && len(name) <= 63 && (labelByte(name[0]) && name[0] != '-') && every(name, func(c byte) bool { return labelByte(c) || c == '.' || c == '_' })
}

// object stores a body with the places of its fields.
func (p *documentParser) object(n *yaml.Node, kind broker.ObjectKind, name string, fields map[string]*yaml.Node, body any) {
	if _, ok := p.doc.places[place{kind, name, ""}]; ok {
		p.fault(n, "name-twice", "choose another name", "%s %q stands there twice", kind, name)
		return
	}
	raw, err := encode(body)
	if err != nil {
		p.fault(n, "wrong-type", "use valid UTF-8", "%v", err)
		return
	}
	p.doc.places[place{kind, name, ""}] = position{p.file, n.Line, n.Column}
	for field, at := range fields {
		p.doc.places[place{kind, name, field}] = position{p.file, at.Line, at.Column}
	}
	p.doc.Objects = append(p.doc.Objects, broker.Object{Kind: kind, Name: name, Set: p.doc.Set, Body: raw})
}

// workload returns the full pattern for a short name: shop/web stands for
// spiffe://<defaults.domain>/ns/shop/sa/web.
func (p *documentParser) workload(n *yaml.Node, text string) string {
	switch {
	case text == "" || strings.HasPrefix(text, "spiffe://"):
		return text
	case p.domain == "":
		p.fault(n, "domain-missing", "write defaults: {domain: …}, or the full SPIFFE ID", "%q is a short name, and no domain is set", text)
		return text
	}
	parts := strings.Split(text, "/")
	switch {
	case text == "*" || text == "**":
		return "spiffe://" + p.domain + "/**"
	case len(parts) == 2 && parts[1] == "**":
		return "spiffe://" + p.domain + "/ns/" + parts[0] + "/**"
	case len(parts) != 2:
		p.fault(n, "workload-name", "write ns/sa, or the full SPIFFE ID", "%q is neither a short name nor a SPIFFE ID", text)
		return text
	}
	return "spiffe://" + p.domain + "/ns/" + parts[0] + "/sa/" + parts[1]
}

func (p *documentParser) workloads(n *yaml.Node) []string {
	names := p.list(n)
	for i := range names {
		names[i] = p.workload(n, names[i])
	}
	return names
}

// reading says which object the findings to come are about, until the function
// that it returns is called.
func (p *documentParser) reading(kind broker.ObjectKind, name string) func() {
	p.kind, p.name = kind, name
	return func() { p.kind, p.name = "", "" }
}

func (p *documentParser) issuer(n *yaml.Node) {
	f := p.fields(n, "name", "kind", "url", "jwks_uri", "jwks_file", "audiences", "accept", "algs", "claims", "carry", "delegates", "actors")
	defer p.reading(broker.KindIssuer, p.text(f["name"]))()
	body := issuerBody{
		Kind: p.text(f["kind"]), URL: p.text(f["url"]), JWKSURI: p.text(f["jwks_uri"]), JWKSFile: p.text(f["jwks_file"]),
		Accept: p.list(f["accept"]), Algs: p.list(f["algs"]), Carry: p.list(f["carry"]), Delegates: p.truth(f["delegates"]),
	}
	if a := f["audiences"]; a != nil {
		listed := p.fields(a)
		for _, value := range sortedKeys(listed) {
			audience, who := audienceBody{Value: value}, listed[value]
			if who.Kind == yaml.ScalarNode && who.Value == "any" {
				audience.Any = p.text(who) != ""
			} else {
				audience.Workloads = p.workloads(who)
			}
			body.Audiences = append(body.Audiences, audience)
		}
	}
	if c := f["claims"]; c != nil {
		declared := p.fields(c)
		for _, name := range sortedKeys(declared) {
			claim := claimBody{Name: name}
			if kind := declared[name]; kind.Kind == yaml.SequenceNode {
				claim.Type, claim.Values = "enum", p.list(kind)
			} else {
				claim.Type = p.text(kind)
			}
			body.Claims = append(body.Claims, claim)
		}
	}
	if a := f["actors"]; a != nil {
		body.Actors = map[string]string{}
		for name, to := range p.fields(a) {
			body.Actors[name] = p.workload(to, p.text(to))
		}
	}
	p.object(n, broker.KindIssuer, p.name, f, body)
}

func (p *documentParser) resource(n *yaml.Node) {
	f := p.fields(n, "name", "uri", "served_by", "hosts", "scopes", "default_scopes", "binding", "proof", "ttl", "freshness", "alg", "impersonation")
	defer p.reading(broker.KindResource, p.text(f["name"]))()
	body := resourceBody{
		URI: p.text(f["uri"]), ServedBy: p.workloads(f["served_by"]), Hosts: p.list(f["hosts"]), DefaultScopes: p.list(f["default_scopes"]),
		Binding: p.or(f["binding"], "identity"), Proof: p.list(f["proof"]), TTL: p.or(f["ttl"], broker.DefaultTTL.String()),
		Freshness: p.or(f["freshness"], "normal"), Alg: p.or(f["alg"], "ES256"), Impersonation: p.truth(f["impersonation"]),
	}
	if f["proof"] == nil {
		body.Proof = []string{"mtls", "linkerd", "xfcc"}
	}
	if s := f["scopes"]; s != nil {
		listed := p.fields(s)
		for _, name := range sortedKeys(listed) {
			body.Scopes = append(body.Scopes, scopeBody{Name: name, Routes: p.list(listed[name])})
		}
	}
	p.object(n, broker.KindResource, p.name, f, body)
}

func (p *documentParser) or(n *yaml.Node, otherwise string) string {
	if n == nil {
		return otherwise
	}
	return p.text(n)
}

func (p *documentParser) mapping(n *yaml.Node, effect string) {
	f := p.fields(n, "name", "from", "to", "for", "having", "scopes", "when", "as", "presented_by", "claims", "ttl", "since", "until", "reason")
	name := p.text(f["name"])
	defer p.reading(broker.KindMapping, p.doc.Set+"/"+name)()
	if !objectName(name) {
		p.fault(n, "rule-name", "write name: NAME with lower-case letters, digits and dashes", "%q is not a name for a rule", name)
	}
	body := mappingBody{
		Effect: effect, From: p.workloads(f["from"]), To: p.list(f["to"]), For: p.text(f["for"]), Having: p.list(f["having"]), Scopes: p.list(f["scopes"]),
		When: p.text(f["when"]), As: p.text(f["as"]), PresentedBy: p.workloads(f["presented_by"]), TTL: p.text(f["ttl"]),
		Since: p.text(f["since"]), Until: p.text(f["until"]), Reason: p.text(f["reason"]),
	}
	if c := f["claims"]; c != nil {
		body.Claims = map[string]string{}
		for claim, value := range p.fields(c) {
			body.Claims[claim] = p.text(value)
		}
	}
	for _, scopes := range [][]string{body.Scopes, body.Having} {
		slices.Sort(scopes)
	}
	p.object(n, broker.KindMapping, p.name, f, body)
}
