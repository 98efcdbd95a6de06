package verify_test

import (
	"crypto/tls"
	"strconv"
	"testing"

	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/clients/verify"
)

// BenchmarkVerify stands beside the signature alone for the ratio: the same token
// in the same run.
func BenchmarkVerify(b *testing.B) {
	s, root := newSigner(b, "k1"), newRoot(b)
	v := newVerifier(b, nil, s)
	peers, err := verify.PeersByBundle(root.bundle(), fixed)
	if err != nil {
		b.Fatal(err)
	}
	state := &tls.ConnectionState{PeerCertificates: root.svid(b, web, nil).Certificates}
	for name, claims := range map[string]object{"workload": workloadClaims(), "user": userClaims()} {
		token := sign(b, s, "at+jwt", claims.json(b))
		b.Run(name+"/signature alone", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parsed, err := jws.Parse(token)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := parsed.VerifyPayload(s.Key()); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/all", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := peers.FromTLS(state)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := v.Verify(b.Context(), token, p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("peer known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := peers.FromTLS(state); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("peer new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			fresh, err := verify.PeersByBundle(root.bundle(), fixed)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := fresh.FromTLS(state); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkRoutes(b *testing.B) {
	table := map[string][]string{}
	for i := range 50 {
		name := "s" + strconv.Itoa(i)
		table[name] = []string{"GET /" + name + "/*", "POST /" + name + "/**"}
	}
	table["last"] = []string{"GET /orders/*/lines"}
	routes, token, u := newRoutes(b, table), tokenWith(b, "last"), requestURL(b, "/orders/1/lines")
	b.ReportAllocs()
	for b.Loop() {
		if err := routes.Check(token, "GET", u); err != nil {
			b.Fatal(err)
		}
	}
}
