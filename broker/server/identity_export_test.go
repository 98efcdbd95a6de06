package server

import "time"

// What the tests of the identity see of it.
type (
	IdentitySource    = identitySource
	IdentityUnderTest = identity
)

// NewIdentity is newIdentity.
func NewIdentity(s IdentitySource) (*IdentityUnderTest, error) { return newIdentity(s) }

// Look is one turn of Run.
func (i *identity) Look() { i.look() }

// Hurry makes the Workload API's client less patient.
func (i *identity) Hurry(silence, retry time.Duration) { i.silence, i.retry = silence, retry }
