package server

import (
	"context"
	"net"
	"net/http"
	"time"
)

// connectionAge is how long, about, a connection is used (threats A3): clients
// come to replicas that were started since, and nothing that was settled with a
// connection is believed for much longer.
const connectionAge = 10 * time.Minute

type endKey struct{}

// aging gives each connection its end.
func aging(now func() time.Time) func(context.Context, net.Conn) context.Context {
	return func(ctx context.Context, _ net.Conn) context.Context {
		return context.WithValue(ctx, endKey{}, now().Add(around(connectionAge)))
	}
}

// aged answers as next does. With an answer after its end a connection is closed
// (over HTTP/2: GOAWAY, and what is under way is finished), so no request is lost.
func aged(next http.Handler, now func() time.Time) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if end, ok := r.Context().Value(endKey{}).(time.Time); ok && !now().Before(end) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
