package broker

import (
	"crypto/rand"
	"errors"
	"strings"
	"time"
)

// idAlphabet is Crockford's base 32: in the order of its values, so that ids
// sort by time as text.
const idAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

// idLength is how many characters an id has: 128 bits, five a character.
const idLength = 26

// ErrID says that text is not an id that NewID made.
var ErrID = errors.New("not the id of a record")

// NewID returns a ULID: 48 bits of milliseconds, then 80 bits of chance. It is
// the id of a record, x-request-id and the jti of a token at once, and its time
// says where the record lies.
func NewID(now time.Time) string {
	var raw [16]byte
	ms := now.UnixMilli()
	for i := range 6 {
		raw[i] = byte(ms >> (40 - 8*i)) //nolint:gosec // the low eight bits are what is meant
	}
	_, _ = rand.Read(raw[6:]) // it never fails
	var text [idLength]byte
	// 130 bits are written and 128 are there: the first character has three.
	acc, bits, at := uint32(0), 2, 0
	for _, b := range raw {
		acc = acc<<8 | uint32(b)
		for bits += 8; bits >= 5; at++ {
			bits -= 5
			text[at] = idAlphabet[acc>>bits&31]
		}
	}
	return string(text[:])
}

// IDTime returns the millisecond that an id was made in. ErrID for text that is
// not one.
func IDTime(id string) (time.Time, error) {
	if len(id) != idLength || id[0] > '7' {
		return time.Time{}, ErrID
	}
	ms := int64(0)
	for i := range idLength {
		value := strings.IndexByte(idAlphabet, id[i])
		if value < 0 {
			return time.Time{}, ErrID
		}
		if i < 10 {
			ms = ms<<5 | int64(value)
		}
	}
	return time.UnixMilli(ms).UTC(), nil
}
