package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/cambist/cambist/store"
)

// KEK encrypts keys at rest. Rows hold nothing that is of use without it.
type KEK struct {
	aead   cipher.AEAD
	id     [4]byte
	derive func(label string) ([]byte, error) // a closure, because fmt would print the key in a field
}

const kekBytes = 32

// ReadKEK reads the key-encryption key from a file: 32 random bytes, raw or in
// base64 or hexadecimal. A file that others may read is refused.
func ReadKEK(path string) (KEK, error) {
	info, err := os.Stat(path)
	if err != nil {
		return KEK{}, fmt.Errorf("key-encryption key: %w (make one: openssl rand -base64 32 > FILE; chmod 600 FILE)", err)
	}
	if err := CheckSecret(info); err != nil {
		return KEK{}, fmt.Errorf("key-encryption key: %s: %w (chmod 600 %s)", path, err, path)
	}
	raw, err := os.ReadFile(path) //nolint:gosec // the operator names the path
	if err != nil {
		return KEK{}, fmt.Errorf("key-encryption key: %w", err)
	}
	if len(raw) != kekBytes {
		text := strings.TrimSpace(string(raw))
		if decoded, err := hex.DecodeString(text); err == nil { // first: every such text is base64 too, of something longer
			raw = decoded
		} else if decoded, err := base64.StdEncoding.DecodeString(text); err == nil {
			raw = decoded
		}
	}
	kek, err := NewKEK(raw)
	if err != nil {
		return KEK{}, fmt.Errorf("%w: %s (make one: openssl rand -base64 32 > FILE; chmod 600 FILE)", err, path)
	}
	return kek, nil
}

// errReadable says why a file is no secret.
var errReadable = errors.New("others may read or write it")

// CheckSecret refuses a file that others than its owner may read or write. One
// that root owns may be readable by its group: so a container that is not root
// gets the secrets that Kubernetes mounts (fsGroup).
func CheckSecret(info fs.FileInfo) error {
	open := fs.FileMode(0o077)
	if ownedByRoot(info) {
		open = 0o037
	}
	if info.Mode().Perm()&open != 0 {
		return errReadable
	}
	return nil
}

// NewKEK returns the KEK of 32 bytes.
func NewKEK(raw []byte) (KEK, error) {
	if len(raw) != kekBytes {
		return KEK{}, errors.New("key-encryption key: it is not 32 bytes long")
	}
	aead, err := newAEAD(raw)
	if err != nil {
		return KEK{}, err
	}
	sum := sha256.Sum256(append([]byte("cambist kek id\x00"), raw...))
	own := [kekBytes]byte(raw)
	derive := func(label string) ([]byte, error) {
		return hkdf.Key(sha256.New, own[:], nil, "cambist "+label, kekBytes)
	}
	return KEK{aead: aead, id: [4]byte(sum[:4]), derive: derive}, nil
}

// Derive returns a key of 32 bytes for another purpose, which the label names:
// the same at every replica, and nothing by which the KEK could be told (RFC
// 5869).
func (k KEK) Derive(label string) ([]byte, error) { return k.derive(label) }

// newAEAD returns AES-256-GCM that chooses its nonces itself: the only GCM that
// is permitted in FIPS mode, and one that cannot be misused.
func newAEAD(raw []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(raw)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

const wrapVersion = 1

var (
	errWrapped  = errors.New("the wrapped key cannot be read")
	errOtherKEK = errors.New("the key was wrapped under another key-encryption key")
)

// additional binds a wrapped key to its row, so that rows cannot be swapped,
// relabelled or dated anew.
func additional(k *store.KeyRow) []byte {
	return fmt.Appendf(nil, "cambist key %d|%s|%s|%s|%d", wrapVersion, k.ID, k.Algorithm, k.Purpose, k.CreatedAt.Truncate(time.Microsecond).UnixMicro())
}

// wrap encrypts a private key for its row: version, KEK id, nonce, ciphertext.
func (k KEK) wrap(plain []byte, row *store.KeyRow) []byte {
	header := append([]byte{wrapVersion}, k.id[:]...)
	return k.aead.Seal(header, nil, plain, additional(row))
}

func (k KEK) unwrap(row *store.KeyRow) ([]byte, error) {
	header := 1 + len(k.id)
	if len(row.Wrapped) < header || row.Wrapped[0] != wrapVersion {
		return nil, errWrapped
	}
	if [4]byte(row.Wrapped[1:header]) != k.id {
		return nil, errOtherKEK
	}
	plain, err := k.aead.Open(nil, nil, row.Wrapped[header:], additional(row))
	if err != nil {
		return nil, errWrapped
	}
	return plain, nil
}
