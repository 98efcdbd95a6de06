package e2e_test

import "testing"

// A resource is its URI byte for byte (RFC 8707 section 2, standards RI-1 to RI-3):
// what a browser would take for the same, what begins like it and what hides it are
// others, by whichever parameter they come.
func TestResourceIndicators(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stores["sqlite"](t))
	w.start(t)
	w.ready(t)
	for name, uri := range map[string]string{
		"slash": ledgerURI + "/", "path": ledgerURI + "/accounts", "dot": "https://ledger.prod.example.", "port": ledgerURI + ":443", "empty port": ledgerURI + ":",
		"query": ledgerURI + "?", "case of the host": "https://LEDGER.prod.example", "case of the scheme": "HTTPS://ledger.prod.example", "http": "http://ledger.prod.example",
		"userinfo": "https://a@ledger.prod.example", "userinfo that hides": "https://ledger.prod.example@evil.example", "prefix": ledgerURI + ".evil.example", "prefix with a dash": ledgerURI + "-evil",
		"cut": "https://ledger.prod", "percent": "https://ledger%2eprod.example", "punycode": "https://xn--ledger-.prod.example", "full width dot": "https://ledger\uff0eprod.example",
		"address": "https://127.0.0.1", "space": ledgerURI + " ", "two": ledgerURI + " " + ordersURI, "relative": "ledger", "scheme alone": "https:", "fragment": ledgerURI + "#", "name": "ledger.prod.example",
	} {
		for _, parameter := range []string{"audience", "resource"} {
			form := self(uri)
			form.Del("audience")
			form.Set(parameter, uri)
			if a := w.ask(t, "bi/reports", form); a.status != 400 || a.text("error") != "invalid_target" {
				t.Errorf("%s as %s: %d %s", name, parameter, a.status, a.body)
			}
		}
	}
	for _, parameter := range []string{"audience", "resource"} {
		form := self(ledgerURI)
		form.Del("audience")
		form.Set(parameter, ledgerURI)
		w.token(t, "bi/reports", form)
	}
	w.token(t, "bi/reports", map[string][]string{"grant_type": {grantSelf}, "resource": {ledgerURI, ledgerURI}, "audience": {ledgerURI}})
	if a := w.ask(t, "bi/reports", map[string][]string{"grant_type": {grantSelf}, "resource": {ledgerURI, ordersURI}}); a.status != 400 || a.text("error") != "invalid_target" {
		t.Errorf("two resources: %d %s", a.status, a.body)
	}
}
