package mtls_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/cambist/cambist/broker/authn/mtls"
)

// Each row is a certificate that differs from one that conforms in one thing
// only. "" is a row that is accepted.
func TestLeafRules(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		change func(*x509.Certificate)
		want   mtls.Fault
	}{
		"conforms":                {func(*x509.Certificate) {}, ""},
		"DNS name beside the URI": {func(c *x509.Certificate) { c.DNSNames = []string{"web.shop"} }, ""},
		"no ext key usage":        {func(c *x509.Certificate) { c.ExtKeyUsage = nil }, ""},
		"no basic constraints":    {func(c *x509.Certificate) { c.BasicConstraintsValid = false }, ""},
		"unknown extension":       {extension(asn1.ObjectIdentifier{1, 2, 3}, false, []byte{5, 0}), ""},
		"serial of 20 bytes":      {func(c *x509.Certificate) { c.SerialNumber = bigSerial(20) }, ""},

		"no URI":             {func(c *x509.Certificate) { c.URIs, c.DNSNames = nil, []string{"web.shop"} }, mtls.FaultURI},
		"no name at all":     {func(c *x509.Certificate) { c.URIs = nil }, mtls.FaultURI},
		"two SPIFFE IDs":     {rawSAN(web.String(), "spiffe://td1.example/admin"), mtls.FaultURI},
		"the same ID twice":  {rawSAN(web.String(), web.String()), mtls.FaultURI},
		"another URI beside": {rawSAN(web.String(), "https://td1.example/"), mtls.FaultURI},
		"a URI in a constructed tag beside": {sanExtension(names(
			asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(web.String())},
			asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, IsCompound: true, Bytes: []byte("spiffe://td1.example/admin")})), mtls.FaultURI},
		"a URI in a constructed tag alone": {sanExtension(names(
			asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, IsCompound: true, Bytes: []byte(web.String())})), mtls.FaultURI},
		"a second list of names":  {sanExtension(append(names(uriName(web.String())), names(uriName("spiffe://td1.example/admin"))...)), mtls.FaultURI},
		"upper-case scheme":       {rawSAN("SPIFFE://td1.example/ns/shop/sa/web"), mtls.FaultID},
		"upper-case trust domain": {rawSAN("spiffe://TD1.example/ns/shop/sa/web"), mtls.FaultID},
		"percent encoding":        {rawSAN("spiffe://td1.example/%61"), mtls.FaultID},
		"root path":               {rawSAN("spiffe://td1.example"), mtls.FaultID},
		"root path with a slash":  {rawSAN("spiffe://td1.example/"), mtls.FaultID},
		"another scheme":          {rawSAN("https://td1.example/ns/shop/sa/web"), mtls.FaultID},
		"2049 bytes":              {rawSAN(idOf(2049)), mtls.FaultID},

		"a CA":                  {func(c *x509.Certificate) { c.IsCA = true }, mtls.FaultCA},
		"may sign certificates": {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, mtls.FaultCA},
		"may sign CRLs":         {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, mtls.FaultCA},
		"no key usage":          {func(c *x509.Certificate) { c.KeyUsage = 0 }, mtls.FaultKeyUsage},
		"keyEncipherment only":  {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment }, mtls.FaultKeyUsage},
		"for servers only":      {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, mtls.FaultExtKeyUsage},
		"for mail only":         {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageEmailProtection} }, mtls.FaultExtKeyUsage},
		"for an unknown purpose only": {func(c *x509.Certificate) {
			c.ExtKeyUsage, c.UnknownExtKeyUsage = nil, []asn1.ObjectIdentifier{{1, 2, 3}}
		}, mtls.FaultExtKeyUsage},

		"expired":                  {func(c *x509.Certificate) { c.NotAfter = start.Add(-time.Second) }, mtls.FaultExpired},
		"expires now":              {func(c *x509.Certificate) { c.NotAfter = start }, mtls.FaultExpired},
		"not yet valid":            {func(c *x509.Certificate) { c.NotBefore = start.Add(time.Second) }, mtls.FaultNotYetValid},
		"unknown critical":         {extension(asn1.ObjectIdentifier{1, 2, 3}, true, []byte{5, 0}), mtls.FaultNotTrusted},
		"other trust domain":       {rawSAN("spiffe://td2.example/ns/shop/sa/web"), mtls.FaultNotTrusted},
		"trust domain without any": {rawSAN("spiffe://td3.example/ns/shop/sa/web"), mtls.FaultTrustDomain},
		"trust domain with none":   {rawSAN("spiffe://td4.example/ns/shop/sa/web"), mtls.FaultTrustDomain},
		"16 KiB":                   {extension(asn1.ObjectIdentifier{1, 2, 3}, false, make([]byte, 16<<10)), mtls.FaultTooLarge},
		"serial of 21 bytes":       {func(c *x509.Certificate) { c.SerialNumber = bigSerial(21) }, mtls.FaultTooLarge},
	}
	root := newRoot(t)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}, td2: {newRoot(t)}, spiffeid.RequireTrustDomainFromString("td4.example"): {}})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := root.svid(t, web, tt.change)
			id, _, _, err := mtls.Verify(s.Certificates, trust, start)
			if fault(err) != tt.want || (err == nil) != (tt.want == "") {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if err == nil && id != web || err != nil && !id.IsZero() {
				t.Errorf("id %q", id)
			}
		})
	}
}

func uriName(uri string) asn1.RawValue {
	return asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(uri)}
}

func names(list ...asn1.RawValue) []byte {
	der, err := asn1.Marshal(list)
	if err != nil {
		panic(err)
	}
	return der
}

// idOf returns a SPIFFE ID of n bytes.
func idOf(n int) string {
	const prefix = "spiffe://td1.example/"
	return prefix + strings.Repeat("a", n-len(prefix))
}

// The vectors of standards SF-4, with what we decided on those that SPIFFE
// allows. Some never get as far as us: Go does not parse the certificate.
func TestSPIFFEIDVectors(t *testing.T) {
	t.Parallel()
	root := newRoot(t)
	long := strings.Repeat(strings.Repeat("d", 63)+".", 4) // 256 bytes
	accepted := []string{
		"spiffe://1.2.3.4/a", "spiffe://a_b-c.d/a", "spiffe://td/a.b-c_D/...", idOf(2048),
		"spiffe://" + long[:255-1] + "d/a",
	}
	refused := []string{
		"", "spiffe://", "spiffe:///a", "spiffe://td", "spiffe://td/", "spiffe://TD/a", "SPIFFE://td/a", "Spiffe://td/a", "spiffe://td/a/",
		"spiffe://td//a", "spiffe://td/a//b", "spiffe://td/./a", "spiffe://td/../a", "spiffe://td/a/..", "spiffe://td/%61", "spiffe://td%2e/a",
		"spiffe://td:443/a", "spiffe://td:/a", "spiffe://u@td/a", "spiffe://td/a?x", "spiffe://td/a?", "spiffe://td/a#x", "spiffe://td/a#",
		"spiffe://td/é", "spiffe://td/a b", "spiffe://td/a\x00", "spiffe://td\x00/a", "spiffe://[::1]/a", " spiffe://td/a", "spiffe://td/a ", "spiffe://td/a*",
		"spiffe://td/a\n", "spiffe://td/a;b", "spiffe://td/a=b", "spiffe://td/~a", "spiffe:td/a", "spiffe:/td/a", "//td/a", "td/a",
		"spiffe://td./a", "spiffe://.td/a", "spiffe://a..b/a", "spiffe://" + long + "d/a", idOf(2049),
	}
	if len(idOf(2048)) != 2048 || len(long) != 256 {
		t.Fatal("the vectors are not as long as they say")
	}
	for _, uri := range append(accepted, refused...) {
		key := newKey(t)
		template := svidTemplate(web)
		rawSAN(uri)(template)
		c, err := root.trySign(template, key.Public())
		if err != nil {
			if slices.Contains(accepted, uri) {
				t.Errorf("%.60q: %v", uri, err)
			}
			continue
		}
		trust := &mtls.Trust{}
		if id, err := spiffeid.FromString(uri); err == nil {
			trust.Set(map[spiffeid.TrustDomain][]*x509.Certificate{id.TrustDomain(): {root.certificate}})
		}
		id, _, _, err := mtls.Verify([]*x509.Certificate{c}, trust, start)
		if slices.Contains(accepted, uri) != (err == nil) || err == nil && id.String() != uri || err != nil && fault(err) != mtls.FaultID {
			t.Errorf("%.60q: id %.60q, error %v", uri, id, err)
		}
	}
}

func TestKeyRules(t *testing.T) {
	t.Parallel()
	curve := func(c elliptic.Curve) crypto.PublicKey {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key.Public()
	}
	edwards, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Nobody signs with these: only their size counts.
	modulus := func(bits int) crypto.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	tests := map[string]struct {
		public crypto.PublicKey
		want   mtls.Fault
	}{
		"P-224": {curve(elliptic.P224()), mtls.FaultKey}, "P-256": {curve(elliptic.P256()), ""}, "P-384": {curve(elliptic.P384()), ""},
		"P-521": {curve(elliptic.P521()), ""}, "Ed25519": {edwards, ""},
		"RSA 1024": {modulus(1024), mtls.FaultKey}, "RSA 2047": {modulus(2047), mtls.FaultKey}, "RSA 2048": {modulus(2048), ""},
		"RSA 4096": {modulus(4096), ""}, "RSA 4097": {modulus(4097), mtls.FaultKey}, "RSA 16384": {modulus(16384), mtls.FaultKey},
	}
	root := newRoot(t)
	trust := trusting(map[spiffeid.TrustDomain][]*pki{td1: {root}})
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := root.sign(t, svidTemplate(web), tt.public)
			if _, _, _, err := mtls.Verify([]*x509.Certificate{c}, trust, start); fault(err) != tt.want {
				t.Errorf("as the leaf: %v, want %q", err, tt.want)
			}
			ca := root.sign(t, caTemplate("x"), tt.public)
			if _, _, _, err := mtls.Verify(append(root.svid(t, web, nil).Certificates, ca), trust, start); fault(err) != tt.want {
				t.Errorf("in the chain: %v, want %q", err, tt.want)
			}
		})
	}
}
