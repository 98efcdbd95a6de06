// Package bench measures the whole server beside a floor: the same TLS and HTTP
// stack whose handler only signs, or verifies and signs, a token of the same
// size. Both run as processes of their own, driven over mTLS keep-alive
// connections by this one, and what they cost is given in P-256 signatures
// measured in the same run, so that the figures of one machine mean something on
// another.
//
//	make bench                                 # everything
//	go test -run='^$' -bench=Server/postgres ./tests/bench
//
// Of a line, sig/req is the CPU of the server, floor-sig/req that of the floor,
// db-sig/req that of PostgreSQL, each in signatures a request.
package bench
