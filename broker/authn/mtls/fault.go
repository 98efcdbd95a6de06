package mtls

import (
	"fmt"

	"github.com/cambist/cambist/broker"
)

// Fault says which rule a client certificate breaks. It stands in logs.
type Fault string

// The faults. All but the last four are of the certificate itself: no bundle and
// no time would make it right.
const (
	FaultChain       Fault = "chain_too_long"        // more than five certificates
	FaultTooLarge    Fault = "certificate_too_large" // over 16 KiB, or a serial number over 20 bytes
	FaultKey         Fault = "key_not_accepted"      // not P-256, P-384, P-521, Ed25519 or RSA of 2048 to 4096 bits
	FaultURI         Fault = "uri_san"               // not exactly one URI SAN
	FaultID          Fault = "spiffe_id"             // its URI is not the canonical SPIFFE ID of a workload
	FaultCA          Fault = "ca_certificate"        // may sign certificates, so must not speak for a workload
	FaultKeyUsage    Fault = "key_usage"             // may not sign in a handshake
	FaultExtKeyUsage Fault = "ext_key_usage"         // not for client authentication
	FaultNotYetValid Fault = "not_yet_valid"
	FaultExpired     Fault = "expired"
	FaultTrustDomain Fault = "trust_domain" // no bundle, or an empty one
	FaultNotTrusted  Fault = "not_trusted"  // does not lead to the bundle of its trust domain
)

// CertificateError is why a client certificate proves nothing.
type CertificateError struct {
	Fault Fault
	Err   error // what was found, for the log; may be nil
}

// Error returns the fault and what was found.
func (e *CertificateError) Error() string {
	if e.Err == nil {
		return "client certificate: " + string(e.Fault)
	}
	return "client certificate: " + string(e.Fault) + ": " + e.Err.Error()
}

// Unwrap returns what was found.
func (e *CertificateError) Unwrap() error { return e.Err }

func faultf(f Fault, format string, args ...any) *CertificateError {
	return &CertificateError{Fault: f, Err: fmt.Errorf(format, args...)}
}

// refusal is the answer to a request with such a certificate. What its owner can
// see in it anyway is said; which trust domains we know is not.
func (e *CertificateError) refusal() *broker.Error {
	public := "the client certificate does not verify"
	switch e.Fault {
	case FaultURI:
		public = "the client certificate must have exactly one URI SAN, its SPIFFE ID"
	case FaultID:
		public = "the URI SAN of the client certificate is not the SPIFFE ID of a workload"
	case FaultCA:
		public = "a CA certificate is not a client certificate"
	case FaultKeyUsage:
		public = "the key usage of the client certificate must include digitalSignature"
	case FaultExtKeyUsage:
		public = "the extended key usage of the client certificate must include clientAuth"
	case FaultChain, FaultTooLarge, FaultKey:
		public = "the client certificate exceeds a limit of this server"
	case FaultNotYetValid:
		public = "the client certificate is not valid yet"
	case FaultExpired:
		public = "the client certificate has expired"
	}
	return &broker.Error{Code: broker.CodeInvalidClient, Reason: broker.ReasonCertificateUntrusted, Public: public, Err: e}
}
