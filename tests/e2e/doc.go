// Package e2e runs the whole server, over real TLS, against real stores and a
// real issuer, as those who use it do.
package e2e
