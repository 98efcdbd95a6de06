// Package web is the HTTP edge that every API shares: the adapter from handlers
// that return errors, THE table of what each error becomes on the wire, the
// strict reading of a form, limits, and the access log. It knows no policy, no
// token and no database.
package web
