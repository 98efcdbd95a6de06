package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/cambist/cambist/broker/plan"
	"github.com/cambist/cambist/broker/policy"
	"github.com/cambist/cambist/clients/verify"
)

// What policy takes for a route the guard takes for one, and nothing else.
func TestRoutesAreReadAlike(t *testing.T) {
	t.Parallel()
	texts := []string{"GET", "GET ", " /", "get /x", "G1 /x", "GET  /x", "GET x", "GET /x ", "* /", "* /**", "POST /x/", "GET /x/**/", "GET /" + strings.Repeat("a", 1024)}
	for _, path := range []string{
		"/", "//", "/x//y", "/x/", "/.", "/./x", "/x/..", "/x/...", "/.x", "/*", "/*/x", "/x*", "/**", "/**/x", "/x/**", "/***", "/x%41", "/x;y", "/x?y", "/x#y", "/{x}", "/x\\y", "/x\"y", "/é", "/x:y@z,!$&'()+=~-_", "/x\x00",
	} {
		texts = append(texts, "GET "+path)
	}
	for _, text := range texts {
		_, err := verify.NewRoutes(map[string][]string{"read": {text}})
		documents, findings := policy.Parse("p", fmt.Appendf(nil, "cambist: v1\nset: s\nresources:\n- {name: r, uri: 'https://r.example', served_by: ['spiffe://prod.example/r'], scopes: {read: [%q]}}\n", text))
		findings = append(findings, plan.Compare(nil, documents, policy.Options{Issuer: "https://broker.example"}).Findings...)
		refused := slices.ContainsFunc(findings, func(f policy.Finding) bool { return f.Severity == policy.Error })
		if (err != nil) != refused {
			t.Errorf("%q: the guard says %v, policy %v", text, err, findings)
		}
	}
}
