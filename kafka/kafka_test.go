package kafka

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestErrorCodes(t *testing.T) {
	for _, tc := range []struct {
		code      ErrorCode
		name      string
		retriable bool
	}{
		{UnknownServerError, "UNKNOWN_SERVER_ERROR", false},
		{None, "NONE", false},
		{OffsetOutOfRange, "OFFSET_OUT_OF_RANGE", false},
		{NotLeaderOrFollower, "NOT_LEADER_OR_FOLLOWER", true},
		{KafkaStorageError, "KAFKA_STORAGE_ERROR", true},
		{ControllerIDNotRegistered, "CONTROLLER_ID_NOT_REGISTERED", false},
		{ErrorCode(9999), "ERROR_CODE_9999", false},
	} {
		if got := tc.code.String(); got != tc.name {
			t.Errorf("code %d is called %s, want %s", int16(tc.code), got, tc.name)
		}
		if got := tc.code.Retriable(); got != tc.retriable {
			t.Errorf("%s: retriable is %v, want %v", tc.code, got, tc.retriable)
		}
	}
}

func TestCodeSurvivesWrapping(t *testing.T) {
	err := fmt.Errorf("append to t-0: %w", NotEnoughReplicas.Errorf("1 of 2 replicas are in sync"))
	if CodeOf(err) != NotEnoughReplicas || !errors.Is(err, NotEnoughReplicas) {
		t.Errorf("code of %q is %s", err, CodeOf(err))
	}
	if got := *MessageOf(err); got != "append to t-0: 1 of 2 replicas are in sync" {
		t.Errorf("message is %q", got)
	}
	if MessageOf(NotController) != nil || MessageOf(nil) != nil {
		t.Error("a bare code has nothing to add to its name")
	}
	if CodeOf(errors.New("x")) != UnknownServerError || CodeOf(nil) != None {
		t.Error("an error without a code is UNKNOWN_SERVER_ERROR, no error is NONE")
	}
}

func TestUUIDText(t *testing.T) {
	id := NewUUID()
	back, err := ParseUUID(id.String())
	if err != nil || back != id || len(id.String()) != 22 {
		t.Errorf("%s reads back as %s, %v", id, back, err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("A", 23), "!!!!!!!!!!!!!!!!!!!!!!"} {
		if _, err := ParseUUID(bad); err == nil {
			t.Errorf("%q was taken for an id", bad)
		}
	}
}

func TestTopicNames(t *testing.T) {
	for _, good := range []string{"a", "A.b_c-9", strings.Repeat("x", 249), "__consumer_offsets", "..."} {
		if err := CheckTopicName(good); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []string{"", ".", "..", "a b", "ä", "a/b", strings.Repeat("x", 250), "a\x00"} {
		if CheckTopicName(bad) == nil {
			t.Errorf("%q was taken for a topic name", bad)
		}
	}
}
