package tokenapi

import (
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/web"
)

// inactive is the whole answer for a token that is not active, for whatever
// reason (RFC 7662 section 2.2).
const inactive = `{"active":false}`

// introspection is the answer for an active token (RFC 7662 section 2.2, RFC 8693
// section 4, RFC 8705 section 3.2). The second part is for the workloads that serve
// the audience alone: a client learns of its token what it asked for, not whom it
// is about. What the token says of its user beyond that stands in it.
type introspection struct {
	Active    bool         `json:"active"`
	Issuer    string       `json:"iss"`
	Audience  string       `json:"aud"`
	ClientID  string       `json:"client_id"`
	Scope     string       `json:"scope"`
	TokenType string       `json:"token_type"`
	TokenID   string       `json:"jti"`
	IssuedAt  int64        `json:"iat"`
	ExpiresAt int64        `json:"exp"`
	Confirm   confirmation `json:"cnf,omitzero"`

	Subject    string     `json:"sub,omitzero"`
	SubjectID  *subjectID `json:"sub_id,omitzero"`
	Actor      *party     `json:"act,omitzero"`
	MayAct     *party     `json:"may_act,omitzero"`
	Presenters []string   `json:"presenters,omitzero"`
	Txn        string     `json:"txn,omitzero"`
}

type confirmation struct {
	Certificate string `json:"x5t#S256,omitzero"`
	Key         string `json:"jkt,omitzero"`
}

type subjectID struct {
	Format  string `json:"format"`
	Issuer  string `json:"iss"`
	Subject string `json:"sub"`
}

type party struct {
	Subject string `json:"sub"`
	Issuer  string `json:"iss,omitzero"`
	Actor   *party `json:"act,omitzero"`
}

// introspect is POST /oauth2/introspect (RFC 7662).
func (a *api) introspect(w *web.Response, r *http.Request) error {
	workload, request, err := a.shown(w, r)
	if err != nil {
		return err
	}
	found, err := a.Inspector.Introspect(r.Context(), workload, request)
	if err != nil {
		return err
	}
	if found.Token == nil {
		web.WriteJSON(w, []byte(inactive))
		return nil
	}
	answer := describe(&found)
	body, err := json.Marshal(&answer)
	if err != nil {
		return err
	}
	web.WriteJSON(w, body)
	return nil
}

// revoke is POST /oauth2/revoke (RFC 7009). The answer is the same whether the
// token was revoked or was none that the caller could revoke.
func (a *api) revoke(w *web.Response, r *http.Request) error {
	workload, request, err := a.shown(w, r)
	if err != nil {
		return err
	}
	if _, err := a.Inspector.Revoke(r.Context(), workload, request); err != nil {
		return err
	}
	web.WriteEmpty(w)
	return nil
}

// shown reads a request about a token: who asks, and the token. The hint at its
// type is ignored, as RFC 7662 section 2.1 and RFC 7009 section 2.1 permit: there
// is one type.
func (a *api) shown(w *web.Response, r *http.Request) (broker.Workload, broker.ExchangeRequest, error) {
	form, malformed := web.ReadForm(w, r)
	workload, err := a.caller(w, r, form)
	if err != nil {
		return broker.Workload{}, broker.ExchangeRequest{}, err
	}
	request := received(w, r)
	request.ClientID = form.Get("client_id")
	switch {
	case malformed != nil:
		err = malformed
	case request.ClientID != "" && request.ClientID != workload.ID.String():
		err = broker.Errorf(broker.CodeInvalidClient, broker.ReasonClientIDMismatch, "client_id is not the authenticated workload")
	case !form.Has("token"):
		err = invalid("token is required")
	}
	if err != nil {
		return broker.Workload{}, broker.ExchangeRequest{}, a.Exchanger.Refuse(workload, request, err)
	}
	request.Subject = &broker.SubjectToken{Raw: oauth.NewSecret(form.Get("token")), Type: oauth.TokenTypeAccessToken}
	return workload, request, nil
}

// describe says of an active token what the caller may know.
func describe(found *broker.Introspection) introspection {
	s := found.Token
	answer := introspection{
		Active: true, Issuer: found.Issuer, Audience: s.Audience[0], ClientID: s.ClientID, Scope: s.Scopes.String(), TokenType: "Bearer", TokenID: s.TokenID,
		IssuedAt: s.IssuedAt.Unix(), ExpiresAt: s.ExpiresAt.Unix(),
		Confirm: confirmation{Certificate: s.Confirmation.CertificateThumbprint, Key: s.Confirmation.KeyThumbprint},
	}
	if s.Confirmation.KeyThumbprint != "" {
		answer.TokenType = "DPoP" // RFC 9449 section 6.2
	}
	if !found.Serves {
		return answer
	}
	answer.Subject, answer.Actor, answer.Presenters, answer.Txn = s.Sub, actors(s.Actor), s.Presenters, s.Txn
	if !s.Origin.IsZero() {
		answer.SubjectID = &subjectID{Format: "iss_sub", Issuer: s.Origin.Issuer, Subject: s.Origin.Subject} // RFC 9493 section 3.2.3
	}
	if s.MayAct != nil {
		answer.MayAct = &party{Subject: s.MayAct.Subject, Issuer: s.MayAct.Issuer}
	}
	return answer
}

// actors builds the chain as it stood in the token, current actor outermost.
func actors(a *broker.Actor) *party {
	if a == nil {
		return nil
	}
	return &party{Subject: a.Subject, Issuer: a.Issuer, Actor: actors(a.Actor)}
}
