package offline

import (
	"fmt"
	"testing"

	"github.com/millrace-io/millrace/kafka"
)

func TestParseVoters(t *testing.T) {
	id := kafka.NewUUID()
	for text, want := range map[string]string{
		"1@h:9093:" + id.String():                                   fmt.Sprint([]voter{{1, "h", 9093, id}}),
		" 0@[::1]:0:" + id.String() + ", ,2@h:65535:" + id.String(): fmt.Sprint([]voter{{0, "::1", 0, id}, {2, "h", 65535, id}}),
		"":                            "No voters given.",
		" , ":                         "No voters given.",
		"1":                           "No @ found in dynamic voter string.",
		"@h:1:" + id.String():         "Invalid @ at beginning of dynamic voter string.",
		"one@h:1:" + id.String():      "Failed to parse node id in dynamic voter string.",
		"-1@h:1:" + id.String():       "Invalid negative node id -1 in dynamic voter string.",
		"1@":                          "No hostname found after node id.",
		"1@h":                         "No colon following hostname could be found.",
		"1@[::1:1:" + id.String():     "Hostname began with left bracket, but no right bracket was found.",
		"1@[::1]1:" + id.String():     "Port section must start with a colon.",
		"1@h:1":                       "No colon following port could be found.",
		"1@h:x:" + id.String():        "Failed to parse port in dynamic voter string.",
		"1@h:65536:" + id.String():    "Invalid port 65536 in dynamic voter string.",
		"1@h:1:!":                     "Failed to parse directory ID in dynamic voter string.",
		"1@h:1:" + id.String() + ",2": "No @ found in dynamic voter string.",
	} {
		voters, err := parseVoters(text)
		got := fmt.Sprint(voters)
		if err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}
