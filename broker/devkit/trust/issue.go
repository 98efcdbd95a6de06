package trust

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// SVID issues an X.509-SVID for the workload, with a new key. Its life ends with
// that of the CA at the latest. Hosts are DNS names and IP addresses at which
// clients that know nothing of SPIFFE may reach the workload as well; what is
// proven to others stays the one SPIFFE ID.
func (c *CA) SVID(id spiffeid.ID, ttl time.Duration, hosts ...string) (*x509svid.SVID, error) {
	if err := c.checkID(id); err != nil {
		return nil, fmt.Errorf("development CA: %w", err)
	}
	template := leaf()
	template.URIs = []*url.URL{id.URL()}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	chain, key, err := c.issue(template, ttl)
	if err != nil {
		return nil, err
	}
	return &x509svid.SVID{ID: id, Certificates: chain, PrivateKey: key}, nil
}

// ServerCertificate issues a certificate without a SPIFFE ID, for a listener
// that plain clients reach by name or address. It authenticates no workload.
func (c *CA) ServerCertificate(dnsNames []string, ips []net.IP, ttl time.Duration) (tls.Certificate, error) {
	if len(dnsNames)+len(ips) == 0 {
		return tls.Certificate{}, errors.New("development CA: a server certificate needs a DNS name or an IP address")
	}
	template := leaf()
	template.DNSNames, template.IPAddresses = dnsNames, ips
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	chain, key, err := c.issue(template, ttl)
	if err != nil {
		return tls.Certificate{}, err
	}
	certificate := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
	for _, link := range chain {
		certificate.Certificate = append(certificate.Certificate, link.Raw)
	}
	return certificate, nil
}

// leaf is the template of what is not a CA. crypto/x509 marks the key usage as
// critical, as X509-SVID section 4.3 asks; both purposes go together in section
// 4.4.
func leaf() *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{organization}},
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
}

// issue signs a leaf and returns it with the certificates that lead to the root,
// which itself stays out.
func (c *CA) issue(template *x509.Certificate, ttl time.Duration) ([]*x509.Certificate, crypto.Signer, error) {
	if ttl <= 0 {
		return nil, nil, errors.New("development CA: a certificate needs a life above zero")
	}
	template.NotAfter = c.now().Add(ttl)
	above := c.authority()
	certificate, key, err := c.sign(template, above)
	if err != nil {
		return nil, nil, err
	}
	return append([]*x509.Certificate{certificate}, above.path[:len(above.path)-1]...), key, nil
}
