package dev

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/audit"
	"github.com/cambist/cambist/broker/devkit/idp"
	"github.com/cambist/cambist/broker/oauth"
	"github.com/cambist/cambist/broker/server"
	"github.com/cambist/cambist/clients/exchange"
	"github.com/cambist/cambist/clients/verify"
	"github.com/cambist/cambist/store"
)

const (
	reports = "bi/reports"
	web     = "shop/web"
	orders  = "shop/orders"
	ledger  = "finance/ledger"
)

// errOtherwise says that the story did not go as it is told.
var errOtherwise = errors.New("it went otherwise")

// identities is the first chapter; it starts the services too.
func (d *demo) identities(ctx context.Context) error {
	d.title("Each workload gets an identity", "An X.509-SVID from the SPIFFE Workload API. SPIRE would do the same; here it is built in.\nNobody stores a secret: the key was made a moment ago and is replaced every half an hour.")
	d.parties = map[string]*party{}
	for _, name := range []string{reports, web, orders, ledger} {
		p, err := d.join(ctx, name)
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { _ = p.leave() })
		d.parties[name] = p
		svid, err := p.source.GetX509SVID()
		if err != nil {
			return err
		}
		d.say("     %-50s until %s\n", svid.ID, svid.Certificates[0].NotAfter.Local().Format(time.TimeOnly))
	}
	said := func(w http.ResponseWriter, t *verify.Token) {
		actors := ""
		for _, a := range t.Actors() {
			actors += ", by " + short(a.Subject)
		}
		_, _ = fmt.Fprintf(w, "hello %s%s, with %s", short(t.Subject()), actors, t.Scopes())
	}
	books := func(w http.ResponseWriter, r *http.Request) {
		t, _ := verify.FromContext(r.Context()) // the guard has put it there
		said(w, t)
	}
	desk := func(w http.ResponseWriter, r *http.Request) {
		t, _ := verify.FromContext(r.Context())
		said(w, t)
		// On behalf of whoever called: the SDK exchanges the token that came.
		onward := d.parties[orders].client.RoundTripper(exchange.Target{Resource: "ledger", As: exchange.AsUser, Server: d.parties[ledger].id.String()}, nil)
		answer, err := request{transport: onward, method: http.MethodPost, url: d.url("ledger", "/entries")}.send(r.Context())
		_, _ = fmt.Fprintf(w, "\n     the ledger said: %d %s", answer.status, answer.body)
		if err != nil {
			_, _ = fmt.Fprintf(w, "; %v", err)
		}
	}
	if err := d.serve(ctx, service{d.parties[orders], "orders", map[string][]string{"orders.write": {"POST /orders"}}, desk}); err != nil {
		return err
	}
	return d.serve(ctx, service{d.parties[ledger], "ledger", map[string][]string{"ledger.read": {"GET /accounts/**"}, "ledger.write": {"POST /entries"}}, books})
}

func (d *demo) url(service, path string) string {
	return "https://" + d.listeners[service].Addr().String() + path
}

// itself: a workload in its own name.
func (d *demo) itself(ctx context.Context) error {
	d.title("bi/reports reads the ledger, in its own name", "It shows its certificate to Cambist and gets a token for one audience, for five minutes,\nwith the scopes that the rule `reports` gives it.")
	p := d.parties[reports]
	target := exchange.Target{Resource: "ledger", As: exchange.AsSelf, Server: d.parties[ledger].id.String()}
	token, err := p.client.Token(ctx, target)
	if err != nil {
		return err
	}
	d.say("     POST /oauth2/token  grant_type=client_credentials  audience=%s\n\n", token.Resource)
	d.say("%s     %-10s in %s\n\n", shown(token.Secret.Reveal(), "sub", "aud", "scope", "client_id", "cnf"), "expires", token.ExpiresAt.Sub(d.now()).Round(time.Second))
	return d.works(ctx, request{transport: p.client.RoundTripper(target, nil), method: http.MethodGet, url: d.url("ledger", "/accounts/1")})
}

// works sends a request that is answered, and tells what came back.
func (d *demo) works(ctx context.Context, r request) error {
	answer, err := r.send(ctx)
	if err != nil {
		return err
	}
	d.say("     %s %s\n     %d %s\n", r.method, r.url, answer.status, answer.body)
	if answer.status != http.StatusOK {
		return fmt.Errorf("%w: %d", errOtherwise, answer.status)
	}
	return nil
}

// behalf: a user over two hops.
func (d *demo) behalf(ctx context.Context) error {
	d.title("alice orders something, over two hops", "alice logged in at an OpenID issuer; shop/web received her ID token. It exchanges it (RFC 8693)\nfor one that only orders accepts, and only from shop/web. shop/orders does the same with what\nit received, for the ledger. Each rule says what is given: whoever has no rule for a hop gets\nnothing. sub stays alice, act names who asked for her, the last one outermost.")
	user, err := d.server.issuer.Token(idp.IDToken, "alice", "cambist", 10*time.Minute)
	if err != nil {
		return err
	}
	d.say("   alice's ID token, from %s:\n%s\n", d.server.issuer.URL(), shown(user, "iss", "sub", "aud", "groups"))
	ctx = exchange.WithUser(ctx, oauth.NewSecret(user))
	target := exchange.Target{Resource: "orders", As: exchange.AsUser, Server: d.parties[orders].id.String()}
	first, err := d.parties[web].client.Token(ctx, target)
	if err != nil {
		return err
	}
	d.say("   what shop/web gets for it:\n%s\n", shown(first.Secret.Reveal(), "sub", "aud", "scope", "client_id", "act", "groups"))
	second, err := d.parties[orders].client.Token(exchange.WithUser(ctx, first.Secret), exchange.Target{Resource: "ledger", As: exchange.AsUser})
	if err != nil {
		return err
	}
	d.say("   what shop/orders gets for that:\n%s\n", shown(second.Secret.Reveal(), "sub", "aud", "scope", "client_id", "act", "groups"))
	return d.works(ctx, request{transport: d.parties[web].client.RoundTripper(target, nil), method: http.MethodPost, url: d.url("orders", "/orders")})
}

// wrongHands: a token that was taken from its workload.
func (d *demo) wrongHands(ctx context.Context) error {
	d.title("The same token in the wrong hands", "bi/reports got hold of the token of shop/web. The guard compares the token with the identity\non the connection.")
	user, err := d.server.issuer.Token(idp.IDToken, "alice", "cambist", 10*time.Minute)
	if err != nil {
		return err
	}
	stolen, err := d.parties[web].client.Token(ctx, exchange.Target{Resource: "orders", As: exchange.AsUser, User: oauth.NewSecret(user)})
	if err != nil {
		return err
	}
	thief := d.parties[reports]
	theft := request{transport: thief.plain(d.parties[orders].id), method: http.MethodPost, url: d.url("orders", "/orders"), token: stolen.Secret.Reveal()}
	answer, err := theft.send(ctx)
	if err != nil {
		return err
	}
	d.say("     POST %s   (as %s)\n     %d %s\n", theft.url, thief.id, answer.status, answer.challenge)
	if answer.status != http.StatusUnauthorized {
		return fmt.Errorf("%w: %d", errOtherwise, answer.status)
	}
	return nil
}

// forbidden: a scope that no rule gives, and why.
func (d *demo) forbidden(ctx context.Context) error {
	d.title("A scope that no rule gives", "A refusal says little to the caller, and everything to whom may ask: `cambist why ID` decides\nthe recorded request again and says what was missing.")
	_, err := d.parties[reports].client.Token(ctx, exchange.Target{Resource: "ledger", As: exchange.AsSelf, Scopes: []string{"ledger.write"}})
	var refused *exchange.Error
	if !errors.As(err, &refused) || refused.RecordID == "" {
		return fmt.Errorf("%w: %w", errOtherwise, err)
	}
	d.say("     %d %s: %s\n\n   $ cambist why %s\n", refused.Status, refused.Code, refused.Description, refused.RecordID)
	var why server.Explained
	err = until(ctx, func() (err error) { // a refusal is written behind the answer
		why, err = d.server.offline.Explain(ctx, refused.RecordID)
		return err
	})
	if err != nil {
		return err
	}
	d.say("%s", indent(indent(indent(why.Text()))))
	return nil
}

// stale: the same token when its time is over.
func (d *demo) stale(ctx context.Context) error {
	d.title("A stale token", "The token of chapter 2 again, for a verifier whose clock says that it is six minutes later.")
	token, err := d.parties[reports].client.Token(ctx, exchange.Target{Resource: "ledger", As: exchange.AsSelf})
	if err != nil {
		return err
	}
	late, err := d.verifier(d.parties[ledger], "ledger", func() time.Time { return d.now().Add(6 * time.Minute) })
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	if err := ready(running, late); err != nil {
		return err
	}
	peer, err := verify.NewPeer(d.parties[reports].id, "")
	if err != nil {
		return err
	}
	_, err = late.Verify(ctx, token.Secret.Reveal(), peer)
	var refused *verify.Error
	if !errors.As(err, &refused) || refused.Reason != verify.ReasonTokenExpired {
		return fmt.Errorf("%w: %w", errOtherwise, err)
	}
	d.say("     refused: %s (%s)\n", refused.Description(), refused.Reason)
	return nil
}

// records: what is left of it all.
func (d *demo) records(ctx context.Context) error {
	d.title("The record of it all", "One row a decision, written before a token is signed: no token leaves without one. No row\nholds a token. What the guards refused is not here: they decide without asking Cambist.")
	rows, err := d.server.offline.Records(ctx, store.RecordFilter{Limit: 50}, "")
	if err != nil {
		return err
	}
	d.say("   $ cambist records list\n")
	for i := range rows {
		row := &rows[len(rows)-1-i]
		entry, err := audit.Decode(row.Body)
		if err != nil {
			return err
		}
		if entry.Type != string(broker.RecordExchange) || row.Resource == "" {
			continue // what the SDKs read about themselves
		}
		whom := "for itself"
		if entry.Subject != nil {
			whom = "for " + short(entry.Subject.Sub)
		}
		d.say("     %s  %-13s %-16s %-8s %s\n", row.ID, short(row.Workload), whom, row.Resource, row.Outcome)
	}
	return nil
}
