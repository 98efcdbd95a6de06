package tokenapi

import (
	"net/url"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

// parse reads the parameters of a token request (RFC 6749 section 4.4.2, RFC
// 8693 section 2.1). It is pure: it looks at no policy and at no token. Unknown
// parameters are ignored (RFC 6749 section 3.2). Errors are *broker.Error; with
// one the request holds what was read until then, for the record.
func parse(r *broker.ExchangeRequest, f oauth.Form) error {
	r.ClientID, r.RequestedType = f.Get("client_id"), oauth.TokenType(f.Get("requested_token_type"))
	switch grant := oauth.GrantType(f.Get("grant_type")); grant {
	case oauth.GrantClientCredentials, oauth.GrantTokenExchange:
		r.Grant = grant
	case "":
		return invalid("grant_type is required")
	default:
		return broker.Errorf(broker.CodeUnsupportedGrantType, broker.ReasonGrantUnsupported, "the grant type is not supported")
	}
	var err error
	if r.Audience, err = parseTarget(f); err != nil {
		return err
	}
	if f.Has("scope") {
		if r.Scopes, err = oauth.ParseScopes(f.Get("scope")); err != nil {
			return broker.Errorf(broker.CodeInvalidScope, broker.ReasonRequestMalformed, "scope must be tokens joined by single spaces (RFC 6749 section 3.3)")
		}
	}
	if r.Subject, err = parseToken(f, "subject_token"); err != nil {
		return err
	}
	r.Actor, err = parseToken(f, "actor_token")
	return err
}

func invalid(format string, args ...any) error {
	return broker.Errorf(broker.CodeInvalidRequest, broker.ReasonRequestMalformed, format, args...)
}

// parseTarget returns the one audience of the token. audience and resource may
// both be sent, and each may repeat, only if all of them are the same: a token
// is never for less than what was asked (standards TX-10).
func parseTarget(f oauth.Form) (string, error) {
	invalid := func(text string) (string, error) {
		return "", broker.Errorf(broker.CodeInvalidTarget, broker.ReasonRequestMalformed, "%s", text)
	}
	target := ""
	for _, resource := range f.All("resource") {
		u, err := url.Parse(resource)
		if err != nil || !u.IsAbs() || u.Fragment != "" || u.RawFragment != "" || resource[len(resource)-1] == '#' {
			return invalid("resource must be an absolute URI without a fragment (RFC 8707 section 2)")
		}
	}
	for _, value := range append(f.All("audience"), f.All("resource")...) {
		if target != "" && value != target {
			return invalid("a token is for one audience: audience and resource must be equal if both are sent")
		}
		target = value
	}
	if target == "" {
		return invalid("audience is required")
	}
	return target, nil
}

// parseToken reads a token and its type: both, or neither (RFC 8693 section
// 2.1).
func parseToken(f oauth.Form, name string) (*broker.SubjectToken, error) {
	raw, kind := f.Get(name), oauth.TokenType(f.Get(name+"_type"))
	switch {
	case raw == "" && kind == "":
		return nil, nil
	case raw == "":
		return nil, invalid("%s_type is sent without %s", name, name)
	case kind == "":
		return nil, invalid("%s is sent without %s_type", name, name)
	case !kind.Known():
		return nil, invalid("%s_type is not supported", name)
	}
	return &broker.SubjectToken{Raw: oauth.NewSecret(raw), Type: kind}, nil
}
