package web

import (
	"errors"
	"io"
	"mime"
	"net/http"

	"github.com/cambist/cambist/broker"
	"github.com/cambist/cambist/broker/oauth"
)

const formType = "application/x-www-form-urlencoded"

// ReadForm reads the parameters of a POST strictly, from the body alone
// (standards HX-2 to HX-9): another content type, an encoded body and a query
// are refused rather than half understood. Errors are *broker.Error.
func ReadForm(w *Response, r *http.Request) (oauth.Form, error) {
	malformed := func(text string) (oauth.Form, error) {
		return oauth.Form{}, broker.Errorf(broker.CodeInvalidRequest, broker.ReasonRequestMalformed, "%s", text)
	}
	types := r.Header["Content-Type"]
	switch {
	case r.URL.RawQuery != "" || r.URL.ForceQuery:
		return malformed("parameters are read from the body, the URL must have no query")
	case len(types) != 1 || !isForm(types[0]):
		return malformed("the content type must be " + formType)
	case len(r.Header["Content-Encoding"]) > 0:
		return malformed("the body must not be encoded")
	case r.ContentLength > oauth.MaxFormBytes:
		w.Header().Set("Connection", "close") // its body is not read, so nothing can follow it
		return malformed("the body is too large")
	}
	body, err := readBody(w, r)
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return malformed("the body is too large")
		}
		return malformed("the body could not be read")
	}
	form, err := oauth.ParseForm(body)
	if err != nil {
		return malformed(err.Error())
	}
	return form, nil
}

// readBody reads the body in one piece where its length is known.
func readBody(w *Response, r *http.Request) ([]byte, error) {
	limited := http.MaxBytesReader(w.ResponseWriter, r.Body, oauth.MaxFormBytes)
	if r.ContentLength < 0 {
		return io.ReadAll(limited)
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(limited, body)
	return body, err
}

// isForm permits a charset, which RFC 6749 appendix B fixes at UTF-8.
func isForm(value string) bool {
	if value == formType {
		return true
	}
	media, _, err := mime.ParseMediaType(value)
	return err == nil && media == formType
}
