package server

import (
	"fmt"
	"net/http"
	"strings"
	"time"
)

// readiness is one thing that must hold for the server to be sent requests.
type readiness struct {
	name  string
	check func(now time.Time) error
}

// ops serves what an orchestrator and a monitor ask, over plain HTTP on an
// address of its own. /livez asks nobody: a server whose database is away lives.
func ops(checks []readiness, metrics http.Handler, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		var report strings.Builder
		ready := true
		at := now()
		for _, c := range checks {
			if err := c.check(at); err != nil {
				ready = false
				fmt.Fprintf(&report, "[-]%s: %v\n", c.name, err)
			} else {
				fmt.Fprintf(&report, "[+]%s ok\n", c.name)
			}
		}
		if !ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if r.URL.Query().Has("verbose") || !ready {
			_, _ = fmt.Fprint(w, report.String())
		}
		if ready {
			_, _ = fmt.Fprintln(w, "ok")
		}
	})
	mux.Handle("GET /metrics", metrics)
	return mux
}
