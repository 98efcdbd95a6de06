package policy

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/cambist/cambist/broker"
)

// Export prints a set as a document that Parse reads back to the same objects,
// with short names where the set has a default domain.
func Export(objects []broker.Object, set string) ([]byte, error) {
	e := exporter{}
	root := mapNode("cambist", textNode("v1"), "set", textNode(set))
	lists := map[string]*yaml.Node{}
	for _, section := range []string{"issuers", "resources", "allow", "deny"} {
		lists[section] = &yaml.Node{Kind: yaml.SequenceNode}
	}
	sorted := slices.Clone(objects)
	slices.SortFunc(sorted, func(a, b broker.Object) int { return cmp.Compare(a.Name, b.Name) })
	for _, o := range sorted {
		if o.Kind != broker.KindSet || o.Name != set {
			continue
		}
		var body setBody
		if err := decode(o.Body, &body); err != nil {
			return nil, fmt.Errorf("set %s: %w", o.Name, err)
		}
		if e.domain = body.Domain; e.domain != "" {
			put(root, "defaults", flow(mapNode("domain", textNode(e.domain))))
		}
	}
	for _, o := range sorted {
		if o.Set != set || o.Deleted {
			continue
		}
		section, item, err := e.object(&o)
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", o.Kind, o.Name, err)
		}
		if section != "" {
			lists[section].Content = append(lists[section].Content, item)
		}
	}
	for _, section := range []string{"issuers", "resources", "allow", "deny"} {
		if len(lists[section].Content) > 0 {
			put(root, section, lists[section])
		}
	}
	var out bytes.Buffer
	encoder := yaml.NewEncoder(&out)
	encoder.SetIndent(2)
	if err := encoder.Encode(root); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return out.Bytes(), encoder.Close()
}

type exporter struct{ domain string }

func (e *exporter) object(o *broker.Object) (section string, n *yaml.Node, err error) {
	switch o.Kind {
	case broker.KindIssuer:
		var b issuerBody
		if err = decode(o.Body, &b); err != nil {
			return "", nil, err
		}
		return "issuers", e.issuer(o.Name, &b), nil
	case broker.KindResource:
		var b resourceBody
		if err = decode(o.Body, &b); err != nil {
			return "", nil, err
		}
		return "resources", e.resource(o.Name, &b), nil
	case broker.KindMapping:
		var b mappingBody
		if err = decode(o.Body, &b); err != nil {
			return "", nil, err
		}
		if b.Effect != effectAllow && b.Effect != effectDeny {
			return "", nil, errBody
		}
		return b.Effect, e.mapping(strings.TrimPrefix(o.Name, o.Set+"/"), &b), nil
	}
	return "", nil, nil
}

func (e *exporter) issuer(name string, b *issuerBody) *yaml.Node {
	n := mapNode("name", textNode(name), "kind", textNode(b.Kind), "url", textNode(b.URL))
	putText(n, "jwks_uri", b.JWKSURI)
	putText(n, "jwks_file", b.JWKSFile)
	audiences := &yaml.Node{Kind: yaml.MappingNode}
	for _, a := range b.Audiences {
		who := textNode("any")
		if !a.Any {
			who = listNode(e.short(a.Workloads))
		}
		put(audiences, a.Value, who)
	}
	put(n, "audiences", flow(audiences))
	putList(n, "accept", b.Accept)
	putList(n, "algs", b.Algs)
	if len(b.Claims) > 0 {
		claims := &yaml.Node{Kind: yaml.MappingNode}
		for _, c := range b.Claims {
			kind := textNode(c.Type)
			if c.Type == "enum" {
				kind = listNode(c.Values)
			}
			put(claims, c.Name, kind)
		}
		put(n, "claims", flow(claims))
	}
	putList(n, "carry", b.Carry)
	putTruth(n, "delegates", b.Delegates)
	if len(b.Actors) > 0 {
		actors := &yaml.Node{Kind: yaml.MappingNode}
		for _, name := range sortedKeys(b.Actors) {
			put(actors, name, textNode(e.short([]string{b.Actors[name]})[0]))
		}
		put(n, "actors", flow(actors))
	}
	return n
}

func (e *exporter) resource(name string, b *resourceBody) *yaml.Node {
	n := mapNode("name", textNode(name), "uri", textNode(b.URI))
	putList(n, "served_by", e.short(b.ServedBy))
	putList(n, "hosts", b.Hosts)
	scopes := &yaml.Node{Kind: yaml.MappingNode}
	for _, s := range b.Scopes {
		put(scopes, s.Name, listNode(s.Routes))
	}
	put(n, "scopes", flow(scopes))
	putList(n, "default_scopes", b.DefaultScopes)
	putUnless(n, "binding", b.Binding, "identity")
	if !slices.Equal(b.Proof, []string{"mtls", "linkerd", "xfcc"}) {
		put(n, "proof", listNode(b.Proof))
	}
	putUnless(n, "ttl", b.TTL, broker.DefaultTTL.String())
	putUnless(n, "freshness", b.Freshness, "normal")
	putUnless(n, "alg", b.Alg, "ES256")
	putTruth(n, "impersonation", b.Impersonation)
	return n
}

func (e *exporter) mapping(name string, b *mappingBody) *yaml.Node {
	n := mapNode("name", textNode(name))
	put(n, "from", oneOrMany(e.short(b.From)))
	putText(n, "for", b.For)
	putList(n, "having", b.Having)
	put(n, "to", oneOrMany(b.To))
	putList(n, "scopes", b.Scopes)
	putText(n, "when", b.When)
	putText(n, "as", b.As)
	putList(n, "presented_by", e.short(b.PresentedBy))
	if len(b.Claims) > 0 {
		claims := &yaml.Node{Kind: yaml.MappingNode}
		for _, claim := range sortedKeys(b.Claims) {
			put(claims, claim, textNode(b.Claims[claim]))
		}
		put(n, "claims", flow(claims))
	}
	putText(n, "ttl", b.TTL)
	putText(n, "since", b.Since)
	putText(n, "until", b.Until)
	putText(n, "reason", b.Reason)
	return n
}

// short cuts full names down to ns/sa where the default domain says the rest.
func (e *exporter) short(names []string) []string {
	out := slices.Clone(names)
	for i, name := range names {
		rest, ok := strings.CutPrefix(name, "spiffe://"+e.domain+"/ns/")
		if !ok || e.domain == "" {
			continue
		}
		if ns, sa, ok := strings.Cut(rest, "/sa/"); ok && ns != "" && sa != "" && sa != "**" && !strings.Contains(ns+sa, "/") {
			out[i] = ns + "/" + sa
		}
	}
	return out
}

// textNode returns a string that is read back as a string, whatever it looks like.
func textNode(text string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(text)
	if n.Style == yaml.LiteralStyle && strings.TrimLeft(text, " \t\n") != text {
		n.Style = yaml.DoubleQuotedStyle // the encoder's block would begin with white space, which nobody can read back
	}
	return n
}

func listNode(items []string) *yaml.Node {
	n := flow(&yaml.Node{Kind: yaml.SequenceNode})
	for _, item := range items {
		n.Content = append(n.Content, textNode(item))
	}
	return n
}

func oneOrMany(items []string) *yaml.Node {
	if len(items) == 1 {
		return textNode(items[0])
	}
	return listNode(items)
}

func flow(n *yaml.Node) *yaml.Node { n.Style = yaml.FlowStyle; return n }

func mapNode(pairs ...any) *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	for i := 0; i+1 < len(pairs); i += 2 {
		put(n, pairs[i].(string), pairs[i+1].(*yaml.Node)) //nolint:errcheck // the callers are above, and write them in pairs
	}
	return n
}

func put(n *yaml.Node, name string, value *yaml.Node) {
	n.Content = append(n.Content, textNode(name), value)
}

func putText(n *yaml.Node, name, value string) { putUnless(n, name, value, "") }

func putUnless(n *yaml.Node, name, value, normal string) {
	if value != normal {
		put(n, name, textNode(value))
	}
}

func putList(n *yaml.Node, name string, items []string) {
	if len(items) > 0 {
		put(n, name, listNode(items))
	}
}

func putTruth(n *yaml.Node, name string, value bool) {
	if value {
		put(n, name, &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true"})
	}
}
