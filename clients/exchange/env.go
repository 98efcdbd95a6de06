package exchange

import (
	"os"
	"time"
)

// This file is the wiring of programs that use the SDK: New is all that they
// call, so the clock and the environment come in here and nowhere else.

// The variables that FromEnv reads.
const (
	envURL      = "CAMBIST_URL"
	envProof    = "CAMBIST_PROOF"
	envServerID = "CAMBIST_SERVER_ID"
	envCAFile   = "CAMBIST_CA_FILE"
	envSVIDDir  = "CAMBIST_SVID_DIR"
)

// FromEnv reads the settings that the platform gives a workload:
//
//   - CAMBIST_URL: the URL of the broker's mTLS listener. Required.
//   - CAMBIST_SERVER_ID: the SPIFFE ID of the broker. If it is empty, then
//   - CAMBIST_CA_FILE: a PEM file with the CA that proves the DNS name in the URL.
//   - CAMBIST_SVID_DIR: a folder with svid.pem, svid-key.pem and bundle.pem. If it
//     is empty, another option says where the SVID comes from, as
//     spiffe.WorkloadAPI does.
//   - CAMBIST_PROOF: how the workload proves who it is: spiffe, which is the
//     default and, for now, all there is.
func FromEnv() Option {
	return func(s *settings) {
		s.url = os.Getenv(envURL)
		s.serverIDs, s.caFile = os.Getenv(envServerID), os.Getenv(envCAFile)
		if dir := os.Getenv(envSVIDDir); dir != "" {
			s.dir, s.source = dir, nil
		}
		switch proof := os.Getenv(envProof); proof {
		case "", "spiffe":
		case "mesh", "kubernetes":
			s.fault("%s=%s: this version proves by spiffe alone", envProof, proof)
		default:
			s.fault("%s=%q is not spiffe, mesh or kubernetes", envProof, proof)
		}
	}
}

func newSettings() *settings {
	return &settings{now: time.Now, dial: dialer()}
}
