package kafka

import (
	"errors"
	"fmt"
	"strings"
)

//go:generate go run ./internal/errgen

// ErrorCode is an error of the Kafka protocol. It is an error value itself, so a room below the gates can
// wrap it with what it was doing, `fmt.Errorf("append to %s: %w", tp, kafka.NotLeaderOrFollower)`, and the
// gate finds the code again with CodeOf.
type ErrorCode int16

// Error returns the name of the code as Kafka writes it.
func (c ErrorCode) Error() string { return c.String() }

// String returns the name of the code, such as NOT_LEADER_OR_FOLLOWER.
func (c ErrorCode) String() string {
	if i := int(c) + 1; i >= 0 && i < len(errorNames) {
		return strings.TrimSuffix(errorNames[i], "+")
	}
	return fmt.Sprintf("ERROR_CODE_%d", int16(c))
}

// Retriable reports whether a client may send the same request again and hope.
func (c ErrorCode) Retriable() bool {
	i := int(c) + 1
	return i >= 0 && i < len(errorNames) && strings.HasSuffix(errorNames[i], "+")
}

// Errorf returns an error with a code and a message made for the client: what is wrong, where, and what to
// do about it.
func (c ErrorCode) Errorf(format string, args ...any) error {
	return &codedError{c, fmt.Sprintf(format, args...)}
}

// codedError is an error whose message stands without the name of its code, since protocols carry both.
type codedError struct {
	code    ErrorCode
	message string
}

func (e *codedError) Error() string { return e.message }
func (e *codedError) Unwrap() error { return e.code }

// CodeOf returns the code an error carries: None for nil, UnknownServerError for an error without one.
func CodeOf(err error) ErrorCode {
	if err == nil {
		return None
	}
	var code ErrorCode
	if errors.As(err, &code) {
		return code
	}
	return UnknownServerError
}

// MessageOf returns what to tell a client beside the code: nil when there is nothing to add to its name.
func MessageOf(err error) *string {
	if err == nil {
		return nil
	}
	if _, bare := err.(ErrorCode); bare {
		return nil
	}
	message := err.Error()
	return &message
}
