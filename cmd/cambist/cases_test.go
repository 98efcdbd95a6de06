package main

import (
	"os"
	"strings"
	"testing"
)

// The example passes; each of its expectations turned round fails, and is
// explained.
func TestCases(t *testing.T) {
	t.Parallel()
	code, out, err := cambist(t, "test", "-f", "testdata/shop.yaml", "testdata/cases.yaml")
	if code != 0 || out != "15 passed, 0 failed\n" {
		t.Fatalf("%d %s %s", code, out, err)
	}
	text, failed := os.ReadFile("testdata/cases.yaml")
	if failed != nil {
		t.Fatal(failed)
	}
	before, cases, _ := strings.Cut(string(text), "tests:\n")
	for _, one := range strings.Split(cases, "\n- name: ") {
		given, expected, _ := strings.Cut(one, "  expect: ")
		turned := "allowed"
		if strings.HasPrefix(expected, "allowed") || strings.HasPrefix(expected, "{") {
			turned = "refused"
		}
		if !strings.HasPrefix(given, "- name: ") {
			given = "- name: " + given
		}
		path := file(t, "cases.yaml", before+"tests:\n"+given+"  expect: "+turned+"\n")
		code, out, err := cambist(t, "test", "-f", "testdata/shop.yaml", path)
		if code != exitDenied || !strings.Contains(out, "0 passed, 1 failed") || !strings.Contains(out, path+":4: ") || !strings.Contains(out, ", not "+turned) || !strings.Contains(out, "\n    ") {
			t.Errorf("%s: %d %s %s", given, code, out, err)
		}
	}
}

// What is granted is compared too.
func TestCasesCompare(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct{ expect, fault string }{
		"scopes":   {"{scopes: [ledger.write]}", `scopes "ledger.read", not "ledger.write"`},
		"mappings": {"{mappings: [shop/other]}", `by ["shop/reports"], not ["shop/other"]`},
		"ttl":      {"{ttl: 5m}", "for 2m0s, not 5m0s"},
		"outcome":  {"{outcome: mapping_none, ttl: 1m}", "allowed, not mapping_none"},
	} {
		path := file(t, "cases.yaml", "cambist: v1\ndefaults: {domain: prod.example}\ntests:\n- name: x\n  given: {from: bi/reports, to: ledger}\n  expect: "+tt.expect+"\n")
		if code, out, err := cambist(t, "test", "-f", "testdata/shop.yaml", path); code != exitDenied || !strings.Contains(out, tt.fault) {
			t.Errorf("%s: %d %s %s", name, code, out, err)
		}
	}
}

// A file that says nothing, or what cannot be, is a local fault with its place.
func TestCasesFaults(t *testing.T) {
	t.Parallel()
	one := func(given, expect string) string {
		return "cambist: v1\ndefaults: {domain: prod.example}\ntests:\n- name: x\n  given: {" + given + "}\n  expect: " + expect + "\n"
	}
	for name, tt := range map[string]struct{ text, fault string }{
		"empty":            {"", "cambist: v1"},
		"no tests":         {"cambist: v1\n", "no tests"},
		"two documents":    {one("from: bi/x, to: ledger", "refused") + "---\ncambist: v1\n", "second document"},
		"unknown member":   {"cambist: v1\ntest: []\n", "test"},
		"unknown given":    {one("from: bi/x, into: ledger", "refused"), "into"},
		"unknown expected": {one("from: bi/x, to: ledger", "{scope: [x]}"), "scope"},
		"twice":            {one("from: bi/x, from: bi/y, to: ledger", "refused"), "already defined"},
		"outcome":          {one("from: bi/x, to: ledger", "perhaps"), `"perhaps" is not allowed, refused or a reason`},
		"nothing expected": {"cambist: v1\ndefaults: {domain: prod.example}\ntests:\n- name: x\n  given: {from: bi/x, to: ledger}\n", `"" is not allowed`},
		"workload":         {one("from: x, to: ledger", "refused"), "neither ns/sa nor a SPIFFE ID"},
		"no domain":        {"cambist: v1\ntests:\n- {name: x, given: {from: bi/x, to: ledger}, expect: refused}\n", "needs a trust domain"},
		"resource":         {one("from: bi/x, to: leger", "refused"), `no resource is named "leger"`},
		"received for":     {one("from: bi/x, to: ledger, received: {by: bi/y, to: leger}", "refused"), `no resource is named "leger"`},
		"issuer":           {one("from: bi/x, to: ledger, user: {issuer: nobody, sub: x}", "refused"), `no issuer is named "nobody"`},
		"user":             {one("from: bi/x, to: ledger, user: {issuer: corp}", "refused"), "give sub"},
		"claim":            {one("from: bi/x, to: ledger, user: {issuer: corp, sub: x, claims: {email: 7}}", "refused"), `"email"`},
		"scope":            {one("from: bi/x, to: ledger, scopes: ['a b']", "refused"), "scopes"},
		"expected scope":   {one("from: bi/reports, to: ledger", "{scopes: ['a b']}"), "scopes"},
	} {
		path := file(t, "cases.yaml", tt.text)
		if code, out, err := cambist(t, "test", "-f", "testdata/shop.yaml", path); code != exitLocal || !strings.Contains(err, tt.fault) || !strings.Contains(err, path) {
			t.Errorf("%s: %d %s %s", name, code, out, err)
		}
	}
	bad := file(t, "bad.yaml", strings.Replace(policyFile, "to: ledger", "to: books", 1))
	if code, _, err := cambist(t, "test", "-f", bad, "testdata/cases.yaml"); code != exitLocal || !strings.Contains(err, "books") {
		t.Errorf("%d %s", code, err)
	}
	if code, _, err := cambist(t, "test", "-f", "testdata/shop.yaml", "/nowhere"); code != exitLocal || !strings.Contains(err, "no such file") {
		t.Errorf("%d %s", code, err)
	}
}
