// Package soak runs services with the SDK and the guard for a while, with tokens
// and SVIDs that live for seconds and a broker that is stopped and killed again
// and again, and counts the calls that failed: none may. SOAK=1h makes it last.
package soak
