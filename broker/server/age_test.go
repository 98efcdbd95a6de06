package server

import (
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"sync/atomic"
	"testing"
	"time"
)

// A connection that is old ends with an answer, over both versions of HTTP; the
// next request has a new one, and none is lost.
func TestConnectionsAge(t *testing.T) {
	t.Parallel()
	for name, h2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clock atomic.Int64
			now := func() time.Time { return time.Unix(clock.Load(), 0) }
			s := httptest.NewUnstartedServer(aged(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), now))
			s.Config.ConnContext, s.EnableHTTP2 = aging(now), h2
			s.StartTLS()
			defer s.Close()
			reused := func() bool {
				var again bool
				trace := &httptrace.ClientTrace{GotConn: func(c httptrace.GotConnInfo) { again = c.Reused }}
				r, err := http.NewRequestWithContext(httptrace.WithClientTrace(t.Context(), trace), http.MethodGet, s.URL, nil)
				if err != nil {
					t.Fatal(err)
				}
				response, err := s.Client().Do(r)
				if err != nil {
					t.Fatal(err)
				}
				_ = response.Body.Close()
				return again
			}
			if reused() || !reused() {
				t.Fatal("connections are not reused at all")
			}
			clock.Add(int64((connectionAge * 3 / 4).Seconds()))
			if !reused() {
				t.Error("a young connection was ended")
			}
			clock.Add(int64((connectionAge / 2).Seconds()))
			reused() // the answer to this one ends it
			if reused() {
				t.Error("an old connection is used on")
			}
			if !reused() {
				t.Error("the new one was ended with its first answer")
			}
		})
	}
}
