//go:build !linux

package server

import "time"

var started = time.Now()

// boot reads the wall clock where the system has none that counts suspended
// time: it does, but a step of it moves leases. Fleets run on Linux.
func boot() time.Duration { return time.Now().Round(0).Sub(started.Round(0)) }
