package jws_test

import (
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/cambist/cambist/broker/jws"
)

// BenchmarkSign and BenchmarkVerify stand beside go-jose for the ratio.
func BenchmarkSign(b *testing.B) {
	s := signer(b, jws.ES256)
	payload := []byte(strings.Repeat("x", 600))
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			input := s.AppendInput(make([]byte, 0, 1200), "at+jwt", payload)
			signature, err := s.Sign(input)
			if err != nil {
				b.Fatal(err)
			}
			_ = jws.AppendToken(nil, input, signature)
		}
	})
	private := privateKey(b, jws.ES256)
	theirs, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, (&jose.SignerOptions{}).WithHeader("kid", "k1").WithType("at+jwt"))
	if err != nil {
		b.Fatal(err)
	}
	b.Run("go-jose", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			object, err := theirs.Sign(payload)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := object.CompactSerialize(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	s := signer(b, jws.ES256)
	token := sign(b, s, "at+jwt", `{"iss":"https://sts.example","sub":"spiffe://prod.example/ns/shop/sa/web","aud":"https://orders.prod.example","exp":1800000300,"iat":1800000000,"jti":"x"}`)
	b.Run("ours", func(b *testing.B) {
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
	b.Run("ours, parse alone", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := jws.Parse(token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-jose", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			parsed, err := jose.ParseSigned(token, []jose.SignatureAlgorithm{jose.ES256})
			if err != nil {
				b.Fatal(err)
			}
			if _, err := parsed.Verify(s.Key().Public()); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkDecodeClaims(b *testing.B) {
	payload := []byte(`{"iss":"https://sts.example","sub":"spiffe://prod.example/ns/shop/sa/web","aud":"https://orders.prod.example","exp":1800000300,"iat":1800000000,"jti":"x","act":{"sub":"spiffe://prod.example/ns/shop/sa/web"}}`)
	b.ReportAllocs()
	for b.Loop() {
		var c claims
		if err := jws.DecodeClaims(payload, &c, 8); err != nil {
			b.Fatal(err)
		}
	}
}
