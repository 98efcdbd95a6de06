package web

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Doc is a document that everybody may read and keep for a while.
type Doc struct {
	ContentType string
	Body        []byte
	ETag        string // quoted, "" for none
	MaxAge      time.Duration
}

// Document answers a GET or HEAD with a document, or with 304 to one who has it.
func Document(w *Response, r *http.Request, d Doc) error {
	h := w.Header()
	h["Cache-Control"] = []string{"public, max-age=" + strconv.FormatInt(int64(d.MaxAge/time.Second), 10)}
	if d.ETag != "" {
		h["Etag"] = []string{d.ETag}
		if strings.Contains(r.Header.Get("If-None-Match"), d.ETag) {
			w.WriteHeader(http.StatusNotModified)
			return nil
		}
	}
	writeBody(w, http.StatusOK, d.ContentType, d.Body) // net/http drops the body of a HEAD
	return nil
}

// WriteEmpty answers 200 with nothing, which no cache keeps.
func WriteEmpty(w *Response) {
	noStore(w.Header())
	w.Header()["Content-Length"] = []string{"0"}
	w.WriteHeader(http.StatusOK)
}

// WriteJSON answers 200 with a body that no cache keeps.
func WriteJSON(w *Response, body []byte) {
	noStore(w.Header())
	writeBody(w, http.StatusOK, "application/json", body)
}
