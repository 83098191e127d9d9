//lint:file-ignore ST1005 kafka-storage prints these errors, in the words of Kafka's own

package offline

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
)

// Credential is a SCRAM credential that a cluster begins with (KIP-900).
type Credential struct {
	record wire.UserScramCredentialRecord
}

// String is the credential's record as Kafka prints it.
func (c Credential) String() string {
	r := &c.record
	return fmt.Sprintf("UserScramCredentialRecord(name='%s', mechanism=%d, salt=%s, storedKey=%s, serverKey=%s, iterations=%d)",
		r.Name, r.Mechanism, javaBytes(r.Salt), javaBytes(r.StoredKey), javaBytes(r.ServerKey), r.Iterations)
}

// javaBytes prints bytes as Java prints an array of them.
func javaBytes(b []byte) string {
	words := make([]string, len(b))
	for i, c := range b {
		words[i] = strconv.Itoa(int(int8(c)))
	}
	return "[" + strings.Join(words, ", ") + "]"
}

// mechanisms of SCRAM: what Kafka calls them, the number in the record and the hash.
var mechanisms = map[string]struct {
	number int8
	hash   func() hash.Hash
}{"SCRAM-SHA-256": {1, sha256.New}, "SCRAM-SHA-512": {2, sha512.New}}

const (
	minIterations = 4096
	maxIterations = 16384
)

// ParseCredential reads what --add-scram takes: MECHANISM=[name=alice,password=secret], with iterations, salt and, in the
// place of a password, saltedpassword, the two latter in base64.
func ParseCredential(s string) (Credential, error) {
	var c Credential
	name, text, ok := strings.Cut(s, "=")
	if !ok {
		return c, fmt.Errorf("Failed to find equals sign in SCRAM argument '%s'", s)
	}
	mechanism, ok := mechanisms[name]
	if !ok {
		return c, fmt.Errorf("The add-scram mechanism %s is not supported.", name)
	}
	fields, err := scramFields(text)
	if err != nil {
		return c, err
	}
	take := func(key string) (string, bool) {
		v, ok := fields[key]
		delete(fields, key)
		return v, ok
	}
	user, hasUser := take("name")
	password, hasPassword := take("password")
	salted, hasSalted := take("saltedpassword")
	saltText, hasSalt := take("salt")
	iterationsText, hasIterations := take("iterations")
	switch {
	case len(fields) > 0:
		return c, fmt.Errorf("Unknown SCRAM configurations: %s", strings.Join(slices.Sorted(maps.Keys(fields)), ", "))
	case !hasUser:
		return c, fmt.Errorf("You must supply 'name' to add-scram")
	case !hasPassword && !hasSalted:
		return c, fmt.Errorf("You must supply one of 'password' or 'saltedpassword' to add-scram")
	case hasPassword && hasSalted:
		return c, fmt.Errorf("You must only supply one of 'password' or 'saltedpassword' to add-scram")
	case hasSalted && !hasSalt:
		return c, fmt.Errorf("You must supply 'salt' with 'saltedpassword' to add-scram")
	}
	iterations := minIterations
	if hasIterations {
		if iterations, err = strconv.Atoi(iterationsText); err != nil {
			return c, fmt.Errorf("The 'iterations' value %q for add-scram is not a number", iterationsText)
		}
	}
	switch enum := strings.ReplaceAll(name, "-", "_"); {
	case iterations < minIterations:
		return c, fmt.Errorf("The 'iterations' value must be >= %d for add-scram using %s", minIterations, enum)
	case iterations > maxIterations:
		return c, fmt.Errorf("The 'iterations' value must be <= %d for add-scram using %s", maxIterations, enum)
	}
	salt := []byte(rand.Text())
	if hasSalt {
		if salt, err = base64.StdEncoding.DecodeString(saltText); err != nil {
			return c, fmt.Errorf("The 'salt' value %q for add-scram is not base64", saltText)
		}
	}
	var key []byte
	if hasSalted {
		key, err = base64.StdEncoding.DecodeString(salted)
	} else {
		key, err = pbkdf2.Key(mechanism.hash, password, salt, iterations, mechanism.hash().Size())
	}
	if err != nil {
		return c, fmt.Errorf("The password given to add-scram for %s: %w", user, err)
	}
	sum := func(text string) []byte {
		h := hmac.New(mechanism.hash, key)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	h := mechanism.hash()
	h.Write(sum("Client Key"))
	c.record = wire.UserScramCredentialRecord{Name: user, Mechanism: mechanism.number, Salt: salt, StoredKey: h.Sum(nil), ServerKey: sum("Server Key"), Iterations: int32(iterations)}
	return c, nil
}

// scramFields reads [key=value,key="value",…].
func scramFields(text string) (map[string]string, error) {
	text = strings.TrimSpace(text)
	if !strings.HasPrefix(text, "[") || !strings.HasSuffix(text, "]") {
		return nil, fmt.Errorf("Expected configuration string to stand in brackets: [name=alice,password=alice-secret], found %s", text)
	}
	fields := map[string]string{}
	for _, part := range strings.Split(text[1:len(text)-1], ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok {
			return nil, fmt.Errorf("Unable to find equals sign in the SCRAM configuration %q", part)
		}
		if n := len(value); n >= 2 && value[0] == '"' && value[n-1] == '"' {
			value = value[1 : n-1]
		}
		fields[strings.TrimSpace(key)] = value
	}
	return fields, nil
}
