package oidc

import "time"

// Public is public, for the table of addresses.
var Public = public

// ErrURL is what a URL is refused with before it is looked up.
var ErrURL = errURL

// SetPatience lets requests wait longer for a fetch, so that a busy machine
// does not decide a test.
func (k *Keys) SetPatience(d time.Duration) { k.patience = d }

// SetTimeout does the same for a document.
func (f *Fetcher) SetTimeout(d time.Duration) { f.client.Timeout = d }
