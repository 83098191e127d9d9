package groups

import (
	"strings"
	"testing"
)

func parseHistory(t *testing.T, text string) history {
	t.Helper()
	var h history
	for line := range strings.Lines(text) {
		member, rest, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if rest == "hung" || strings.HasSuffix(rest, " died") {
			h = append(h, event{member: member, kind: rest[max(0, strings.LastIndex(rest, " ")+1):]})
			continue
		}
		e, err := parseEvent(member, rest)
		if err != nil {
			t.Fatal(err)
		}
		h = append(h, e)
	}
	return h
}

// What is wrong with a group is found, and nothing else.
func TestHistory(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"two owners": {`a: 1 assigned 0 1
			b: 2 assigned 1`, "partition 1 was given to b while a had it"},
		"one after the other": {`a: 1 assigned 0 1
			a: 2 revoked 1
			b: 3 assigned 1
			b: 4 died
			a: 5 assigned 1`, ""},
		"lost, and told late": {`a: 1 assigned 0
			b: 2 assigned 0
			a: 3 lost 0`, ""},
		"revoked, and told late": {`a: 1 assigned 0
			b: 2 assigned 0
			a: 3 revoked 0`, "partition 0 was given to b while a had it"},
		"hung, and told late": {`a: 1 assigned 0
			a: hung
			b: 2 assigned 0
			a: 3 revoked 0`, ""},
		"the broker hung, and it died before it heard": {`a: 1 assigned 0
			broker: hung
			b: 2 assigned 0
			a: 3 died`, ""},
		"hung before it had it": {`a: hung
			a: 1 assigned 0
			b: 2 assigned 0
			a: 3 revoked 0`, "partition 0 was given to b while a had it"},
		"of a library that cannot say lost": {`sarama/1: 1 assigned 0
			b: 2 assigned 0
			sarama/1: 3 revoked 0`, ""},
		"two owners in a generation": {`a: 1 assigned 0 1 @7
			a: 2 revoked 0
			b: 3 assigned 0 @8
			b: 4 revoked 0
			c: 5 assigned 0 @7`, "partition 0 was given to a and to c in generation 7"},
		"committed what nobody read": {`a: 1 assigned 0
			a: 2 read 0 1
			a: 3 committed 0 2`, "a committed 2 of partition 0, of which only what is below 0 was read"},
		"out of order, and committed then": {`a: 1 assigned 0
			a: 2 read 0 1
			a: 3 read 0 0
			a: 4 committed 0 2`, ""},
		"an acknowledged commit is gone": {`a: 1 assigned 0
			a: 2 read 0 0
			a: 3 committed 0 1
			a: 4 died
			b: 5 assigned 0
			b: 6 read 0 0`, "b begins partition 0 at 0, below the acknowledged 1"},
	} {
		if got := strings.Join(parseHistory(t, c.text).wrong(), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
