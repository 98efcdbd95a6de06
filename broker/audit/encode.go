package audit

import (
	"cmp"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker"
)

// extra is what a recorder adds to a record.
type extra struct {
	sealed Sealing
	until  time.Time // when the last of the merged ones was asked
	gaps   []Gap
}

// appendBody writes the body of a record: the members of Entry in their order,
// by hand because it is on the way of every token. Tests hold it to a JSON
// library, byte for byte.
func (r *Recorder) appendBody(dst []byte, x *broker.Record, add *extra) []byte {
	w := writer{buf: append(dst, `{"schema":1,"id":`...)}
	w.quote(x.ID, maxName)
	w.name("type")
	w.quote(string(x.Type), maxName)
	w.text("of", x.Of, maxName)
	w.name("at")
	w.instant(x.At)
	switch {
	case x.Type == broker.RecordGap:
	case x.Allowed:
		w.text("decision", allowed, maxName)
	default:
		w.text("decision", refused, maxName)
		w.text("code", x.Code.String(), maxName)
	}
	w.text("reason", string(x.Reason), maxName)
	w.foreign("detail", x.Detail, maxText)
	w.number("merged", int64(x.Merged))
	w.time("merged_until", add.until)
	w.text("version", r.config.Version, maxName)
	w.origin(&x.Request.Origin)
	told := w.clipped
	w.clipped = false
	w.workload(&x.Workload)
	w.request(&x.Request)
	w.subject("subject", x.Subject)
	w.subject("actor", x.Actor)
	asked := w.clipped
	w.text("resource", x.Resource, maxURI)
	w.number("revision", int64(x.Revision))
	w.number("lease_left_ms", x.LeaseMS)
	w.limits(&r.config.Limits)
	w.mappings(x.Mappings)
	if x.Claims != nil {
		w.claims(x.Claims)
	}
	w.text("kid", x.Unsigned.KeyID, maxName)
	w.text("alg", x.Unsigned.Algorithm, maxName)
	w.hash("signing_input_sha256", &x.Unsigned.Hash)
	w.text("sealed", string(add.sealed), maxName)
	w.gaps(add.gaps)
	switch {
	case asked:
		w.text("clipped", string(ClippedInput), maxName)
	case told || w.clipped:
		w.text("clipped", string(ClippedText), maxName)
	}
	w.end()
	return w.buf
}

func (w *writer) origin(o *broker.Origin) {
	mark := w.open("origin")
	w.text("listener", o.Listener, maxName)
	w.text("remote", o.RemoteAddress, maxName)
	w.text("tls_version", o.TLSVersion, maxName)
	w.text("cipher", o.CipherSuite, maxName)
	w.foreign("traceparent", o.TraceParent, maxName)
	w.close(mark)
}

func (w *writer) workload(caller *broker.Workload) {
	mark := w.open("workload")
	w.text("id", idText(caller.ID), maxURI)
	if caller.Proof != broker.ProofNone {
		w.text("proof", caller.Proof.String(), maxName)
	}
	w.text("cert_sha256", caller.Thumbprint, maxName)
	w.text("cert_serial", caller.Serial, maxName)
	w.time("not_after", caller.NotAfter)
	w.text("via", idText(caller.Via), maxURI)
	w.close(mark)
}

func (w *writer) request(q *broker.ExchangeRequest) {
	mark := w.open("request")
	w.foreign("grant_type", string(q.Grant), maxName)
	w.foreign("client_id", q.ClientID, maxURI)
	w.foreign("audience", q.Audience, maxURI)
	w.scopes("scope", q.Scopes)
	w.foreign("requested_token_type", string(q.RequestedType), maxName)
	if q.Subject != nil {
		w.foreign("subject_token_type", string(q.Subject.Type), maxName)
	}
	if q.Actor != nil {
		w.foreign("actor_token_type", string(q.Actor.Type), maxName)
	}
	w.text("jkt", q.ProofKey, maxName)
	w.close(mark)
}

// idText returns "" for the zero ID.
func idText(id spiffeid.ID) string {
	if id.IsZero() {
		return ""
	}
	return id.String()
}

func (w *writer) subject(name string, s *broker.Subject) {
	if s == nil {
		return
	}
	w.open(name)
	w.text("kind", s.Kind.String(), maxName)
	w.text("sub", s.Sub, maxURI)
	w.text("iss", s.Origin.Issuer, maxURI)
	w.text("iss_sub", s.Origin.Subject, maxURI)
	w.flag("ours", s.Issued)
	w.texts("aud", s.Audience, maxURI)
	w.text("client_id", s.ClientID, maxURI)
	w.texts("presenters", s.Presenters, maxURI)
	w.scopes("scope", s.Scopes)
	w.text("jti", s.TokenID, maxName)
	w.hash("sha256", &s.TokenHash)
	w.text("kid", s.KeyID, maxName)
	w.time("iat", s.IssuedAt)
	w.time("exp", s.ExpiresAt)
	w.actors("act", s.Actor)
	if s.MayAct != nil {
		w.party("may_act", s.MayAct)
	}
	w.confirm(&s.Confirmation)
	w.text("txn", s.Txn, maxName)
	w.texts("anc", s.Ancestors, maxName)
	w.end()
}

func (w *writer) confirm(c *broker.Confirmation) {
	mark := w.open("cnf")
	w.text("x5t#S256", c.CertificateThumbprint, maxName)
	w.text("jkt", c.KeyThumbprint, maxName)
	w.flag("unknown", c.Unknown)
	w.close(mark)
}

func (w *writer) limits(l *broker.Limits) {
	mark := w.open("limits")
	w.number("ttl_cap_s", int64(l.TTLCap/time.Second))
	w.number("chain_depth", int64(l.ChainDepth))
	w.close(mark)
}

func (w *writer) mappings(list []*broker.Mapping) {
	w.list("mappings", len(list), func(i int, more string) {
		w.open("")
		if more != "" {
			w.text("id", more, maxName)
		} else {
			w.text("id", list[i].ID, maxURI)
			w.number("revision", int64(list[i].Revision))
		}
		w.end()
	})
}

func (w *writer) gaps(list []Gap) {
	w.list("gaps", len(list), func(i int, more string) {
		w.open("")
		w.name("segment")
		w.quote(cmp.Or(more, list[i].Segment), maxName)
		if more == "" {
			w.number("after", list[i].After)
			w.number("through", list[i].Through)
			w.text("hash", list[i].Hash, maxName)
		}
		w.end()
	})
}

func (w *writer) claims(c *broker.Claims) {
	w.open("claims")
	w.text("iss", c.Issuer, maxURI)
	w.text("sub", c.Subject, maxURI)
	w.text("aud", c.Audience, maxURI)
	w.text("client_id", c.ClientID, maxURI)
	w.text("jti", c.ID, maxName)
	w.time("iat", c.IssuedAt)
	w.time("exp", c.ExpiresAt)
	w.scopes("scope", c.Scopes)
	w.actors("act", c.Actor)
	w.text("sub_id_iss", c.SubjectID.Issuer, maxURI)
	w.text("sub_id_sub", c.SubjectID.Subject, maxURI)
	w.confirm(&c.Confirmation)
	w.text("txn", c.Txn, maxName)
	w.texts("anc", c.Ancestors, maxName)
	w.number("rev", int64(c.Revision))
	w.list("presenters", len(c.Presenters), func(i int, more string) {
		w.name("")
		w.quote(cmp.Or(more, idText(c.Presenters[i])), maxURI)
	})
	w.list("extra_names", len(c.Extra), func(i int, more string) {
		w.name("")
		w.quote(cmp.Or(more, c.Extra[i].Name), maxName)
	})
	w.end()
}
