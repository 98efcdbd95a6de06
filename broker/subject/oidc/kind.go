package oidc

import (
	"github.com/go-json-experiment/json/jsontext"

	"github.com/cambist/cambist/broker/oauth"
)

// marks are the claims by which the kinds of token differ that have the same
// header. Of most it counts only that they are there.
type marks struct {
	Typ        *string         `json:"typ"` // Keycloak's: Bearer, DPoP, ID, Refresh, Logout and others
	Kubernetes *serviceAccount `json:"kubernetes.io"`
	Events     present         `json:"events"` // a security event (RFC 8417), a logout token among them
	Nonce      present         `json:"nonce"`
	AtHash     present         `json:"at_hash"`
	CHash      present         `json:"c_hash"`
	Scope      present         `json:"scope"`
	Scp        present         `json:"scp"`
	ClientID   present         `json:"client_id"`
	Cid        present         `json:"cid"`   // Okta's client_id
	AppID      present         `json:"appid"` // Entra's client_id, version 1
}

// present says that a member is there, whatever its value.
type present bool

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *present) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	*p = true
	return d.SkipValue()
}

// fits reports whether a token may be taken as the declared type (RFC 8725
// section 3.12). A typ that names access tokens settles it. Where the header
// says no more than JWT, the claims must not be those of the other kind, and an
// access token must say to whom it was issued: an ID token that only lacks its
// own marks does not pass for one.
func (c *claims) fits(as oauth.TokenType) bool {
	switch {
	case !untyped(c.typ):
		return true
	case bool(c.Events):
		return false
	case as == oauth.TokenTypeIDToken:
		return (c.Typ == nil || *c.Typ == "ID") && c.Kubernetes == nil && !bool(c.Scope || c.Scp || c.Cid || c.AppID)
	case c.Typ != nil:
		return *c.Typ == "Bearer" || *c.Typ == "DPoP"
	}
	issued := c.Kubernetes != nil || c.IssuedTo != "" || bool(c.ClientID || c.Cid || c.AppID)
	return issued && !bool(c.Nonce || c.AtHash || c.CHash)
}

// serviceAccount is the claim kubernetes.io of a ServiceAccount token.
type serviceAccount struct {
	Namespace string `json:"namespace"`
	Account   struct {
		Name string `json:"name"`
	} `json:"serviceaccount"`
}

// names reports whether the claim is absent or says the same as sub (standards
// K8-3).
func (a *serviceAccount) names(sub string) bool {
	return a == nil || a.Namespace != "" && a.Account.Name != "" && sub == "system:serviceaccount:"+a.Namespace+":"+a.Account.Name
}
