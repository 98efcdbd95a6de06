package policy

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The bodies are how objects rest in the store: canonical JSON, names in full,
// unknown members refused. Durations and times stand as text, as in the files.

type setBody struct {
	Domain string `json:"domain,omitzero"`
}

type issuerBody struct {
	Kind      string            `json:"kind"`
	URL       string            `json:"url"`
	JWKSURI   string            `json:"jwks_uri,omitzero"`
	JWKSFile  string            `json:"jwks_file,omitzero"`
	Audiences []audienceBody    `json:"audiences"`
	Accept    []string          `json:"accept,omitzero"`
	Algs      []string          `json:"algs,omitzero"`
	Claims    []claimBody       `json:"claims,omitzero"`
	Carry     []string          `json:"carry,omitzero"`
	Delegates bool              `json:"delegates,omitzero"`
	Actors    map[string]string `json:"actors,omitzero"`
}

type audienceBody struct {
	Value     string   `json:"value"`
	Any       bool     `json:"any,omitzero"`
	Workloads []string `json:"workloads,omitzero"`
}

type claimBody struct {
	Name   string   `json:"name"`
	Type   string   `json:"type"`
	Values []string `json:"values,omitzero"`
}

type resourceBody struct {
	URI           string      `json:"uri"`
	ServedBy      []string    `json:"served_by"`
	Hosts         []string    `json:"hosts,omitzero"`
	Scopes        []scopeBody `json:"scopes"`
	DefaultScopes []string    `json:"default_scopes,omitzero"`
	Binding       string      `json:"binding"`
	Proof         []string    `json:"proof"`
	TTL           string      `json:"ttl"`
	Freshness     string      `json:"freshness"`
	Alg           string      `json:"alg"`
	Impersonation bool        `json:"impersonation,omitzero"`
}

type scopeBody struct {
	Name   string   `json:"name"`
	Routes []string `json:"routes,omitzero"`
}

type mappingBody struct {
	Effect      string            `json:"effect"`
	From        []string          `json:"from"`
	To          []string          `json:"to"`
	For         string            `json:"for,omitzero"`
	Having      []string          `json:"having,omitzero"`
	Scopes      []string          `json:"scopes,omitzero"`
	When        string            `json:"when,omitzero"`
	As          string            `json:"as,omitzero"`
	PresentedBy []string          `json:"presented_by,omitzero"`
	Claims      map[string]string `json:"claims,omitzero"`
	TTL         string            `json:"ttl,omitzero"`
	Since       string            `json:"since,omitzero"`
	Until       string            `json:"until,omitzero"`
	Reason      string            `json:"reason,omitzero"`
}

type blockBody struct {
	Target    string `json:"target"`
	ID        string `json:"id"`
	Reason    string `json:"reason"`
	Until     string `json:"until,omitzero"`
	NotBefore string `json:"not_before,omitzero"`
}

const (
	effectAllow = "allow"
	effectDeny  = "deny"
)

// encode returns the canonical JSON of a body: the order of the fields, maps
// sorted, no white space.
func encode(body any) ([]byte, error) {
	raw, err := json.Marshal(body, json.Deterministic(true), jsontext.EscapeForHTML(false))
	if err != nil {
		return nil, fmt.Errorf("encode policy object: %w", err)
	}
	return raw, nil
}

var errBody = errors.New("the stored body cannot be read")

// decode reads a stored body. Unknown members, duplicates and invalid UTF-8
// are refused: a row written by a newer program is not half understood.
func decode(raw []byte, body any) error {
	if err := json.Unmarshal(raw, body, json.RejectUnknownMembers(true)); err != nil {
		return errBody
	}
	return nil
}
