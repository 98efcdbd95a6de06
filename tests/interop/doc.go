// Package interop tests the server against clients and verifiers that we did not
// write, unmodified. It is a module of its own, so that what it needs is nobody
// else's; `make interop` installs that and runs it.
package interop
