// Package oauth holds the words of the RFCs: grant and token types, error
// codes, the strict form of a token request, scopes, the JSON bodies of the
// endpoints, and Secret. It is a leaf: it knows no policy and no signatures, so
// the server, the SDK and the verifier share it.
package oauth
