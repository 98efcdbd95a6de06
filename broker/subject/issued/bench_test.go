package issued_test

import (
	"testing"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/jws"
	"github.com/cambist/cambist/broker/oauth"
)

// BenchmarkVerify stands beside the bare signature of the same token: what is
// above it is ours.
func BenchmarkVerify(b *testing.B) {
	w := newWorld(b)
	for name, claims := range map[string]object{"workload": ofWorkload(), "user": ofUser()} {
		token := w.token(b, claims)
		b.Run(name+"/bare signature", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				parsed, err := jws.Parse(token)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := parsed.VerifyPayload(w.ring[w.kid].key); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/subject", func(b *testing.B) {
			route, shown := w.route(), broker.SubjectToken{Raw: oauth.NewSecret(token), Type: oauth.TokenTypeAccessToken}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := route.Verify(b.Context(), w.view, now, shown); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
