package crash

import (
	"strings"
	"testing"
)

// TestLedgerFindsOut: what the ledger is there to find it does find.
func TestLedgerFindsOut(t *testing.T) {
	cases := []struct {
		name string
		does func(l *ledger) error
		want string // in the error; "" for none
	}{
		{"all is well", func(l *ledger) error { return l.take(2, entry{1, 2}.value()) }, ""},
		{"a changed byte", func(l *ledger) error {
			v := entry{1, 2}.value()
			v[len(v)-1] ^= 1
			return l.take(2, v)
		}, "were changed"},
		{"another record where one was read", func(l *ledger) error { return l.take(1, entry{2, 7}.value()) }, "holds record 7 of writer 2, where record 1 of writer 1 was"},
		{"an acknowledgement for a place that is taken", func(l *ledger) error { return l.acknowledged(1, 2, 0, 1) }, "acknowledged: "},
		{"twice", func(l *ledger) error { return l.take(2, entry{1, 1}.value()) }, "there twice"},
		{"missing of an idempotent writer", func(l *ledger) error { return l.take(2, entry{1, 3}.value()) }, "some are missing"},
		{"the first missing of an idempotent writer", func(l *ledger) error { return l.take(2, entry{3, 1}.value()) }, "some are missing"},
		{"missing of a plain writer", func(l *ledger) error { return l.take(2, entry{2, 9}.value()) }, ""},
	}
	for _, c := range cases {
		l := &ledger{topic: "t", last: map[int32]int32{}, idempotent: map[int32]bool{1: true, 3: true}}
		for offset := range int64(2) {
			if err := l.take(offset, entry{1, int32(offset)}.value()); err != nil {
				t.Fatal(err)
			}
		}
		switch err := c.does(l); {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
		}
	}
}
