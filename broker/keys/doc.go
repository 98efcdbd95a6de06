// Package keys holds the key ring: signing keys with their states, and the key
// that seals facts in the record. Rows live in the store, private keys under
// envelope encryption; every replica follows the same rows and none has a key
// of its own.
//
// A signing key goes pending (published, not signing), active, retired
// (published while a token of its may live), gone. It signs only after it was
// published for the lead time, so that no verifier meets a kid it cannot know;
// the very first key of an algorithm signs at once, because nobody has cached
// anything yet.
package keys
