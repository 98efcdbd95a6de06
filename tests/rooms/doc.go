// Package rooms adds a toy of everything that can be added (an authenticator, a
// source of subject tokens, a place for records, a token format, a key that lies
// elsewhere) through exported names alone, and runs an exchange with them: each
// is one type here and one line of wiring.
package rooms
