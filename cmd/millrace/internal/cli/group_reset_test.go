package cli_test

import (
	"os"
	"path/filepath"
	"testing"
)

func TestGroupReset(t *testing.T) {
	s := newShell(t)
	s.cluster.CreateTopic("t", 2)
	s.run("1\n2\n3\n", "produce", "t", "-p", "0")
	const head = "TOPIC  PARTITION  COMMITTED  NEW  LAG\n"
	file := filepath.Join(t.TempDir(), "plan.csv")
	os.WriteFile(file, []byte("g,t,0,2\nother,t,1,7\n"), 0o644)
	// try runs a reset of group g, which says on stderr that nothing was changed, and returns its table.
	dry := func(args ...string) string {
		t.Helper()
		code, out, stderr := s.try("", append([]string{"group", "reset", "g"}, args...)...)
		if code != 0 || stderr != "Nothing was changed; --execute does it.\n" {
			t.Errorf("%v: code %d, %q", args, code, stderr)
		}
		return out
	}
	s.fails(1, "group g has committed no offsets; name the topics that it shall read", "", "group", "reset", "g", "--to", "earliest")
	s.is(dry("t", "--to", "latest"), head+"t              0          -    3    0\nt              1          -    0    0\n")
	s.fails(1, "group g has committed no offsets", "", "group", "reset", "g", "--shift", "1") // which shows that it was dry
	s.is(s.run("", "group", "reset", "g", "t:0", "--to", "1", "--execute"), head+"t              0          -    1    2\n")
	for _, c := range []struct {
		args []string
		row  string
	}{
		{[]string{"--to", "earliest"}, "t              0          1    0    3\n"},
		{[]string{"--to", "-1"}, "t              0          1    2    1\n"},
		{[]string{"--to", "99"}, "t              0          1    3    0\n"},
		{[]string{"--to", "2001-01-01T00:00:00Z"}, "t              0          1    0    3\n"},
		{[]string{"--to", "2999-01-01"}, "t              0          1    3    0\n"},
		{[]string{"--by", "-1h"}, "t              0          1    0    3\n"},
		{[]string{"--shift", "1"}, "t              0          1    2    1\n"},
		{[]string{"--shift", "-5"}, "t              0          1    0    3\n"},
		{[]string{"--from", file}, "t              0          1    2    1\n"},
	} {
		s.is(dry(c.args...), head+c.row)
	}
	s.is(s.run("", "group", "reset", "g", "--from", file, "--execute", "-o", "json"), `{"group":"g","topic":"t","partition":0,"committed":1,"offset":2,"lag":1,"executed":true}`+"\n")
	s.is(dry("--shift", "0"), head+"t              0          2    2    1\n")

	s.fails(2, "takes exactly one of --to, --by, --shift and --from", "", "group", "reset", "g")
	s.fails(2, "takes exactly one of --to, --by, --shift and --from", "", "group", "reset", "g", "--to", "1", "--shift", "1")
	s.fails(2, `--to is "soon"; it is earliest, latest`, "", "group", "reset", "g", "--to", "soon")
	s.fails(2, `--by is "1h"; it counts back from now`, "", "group", "reset", "g", "--by", "1h")
	s.fails(2, "--from names the topics itself", "", "group", "reset", "g", "t", "--from", file)
	s.fails(1, "has no line for group h", "", "group", "reset", "h", "--from", file)
	s.fails(1, "topic t has no partition 7", "", "group", "reset", "other", "--from", write(t, "t,7,1\n"))
	s.fails(1, "the offset in line 1 is \"x\", which is no number", "", "group", "reset", "g", "--from", write(t, "t,0,x\n"))
	s.fails(1, "there is no partition 9", "", "group", "reset", "g", "t:9", "--to", "1")
	s.fails(2, `what is after the topic is "x"; it is a list such as 0,2-4`, "", "group", "reset", "g", "t:x", "--to", "1")
	s.fails(1, "could be shifted; --to sets one", "", "group", "reset", "g", "t:1", "--shift", "1")

	s.join("busy", "t")
	s.fails(1, "group busy has members (it is Stable), and goes on from its own offsets; stop them, then reset it", "", "group", "reset", "busy", "t", "--to", "1", "--execute")
	if code, _, stderr := s.try("", "group", "reset", "busy", "t", "--to", "1"); code != 0 || stderr != "Group busy has members (it is Stable); it can be reset when they have stopped.\nNothing was changed; --execute does it.\n" {
		t.Errorf("a plan for a busy group: code %d, %q", code, stderr)
	}

	s.fails(1, "group busy has members; stop them, then delete it", "", "group", "delete", "busy")
	s.fails(1, "there is no group x; --if-exists makes that no error", "", "group", "delete", "x")
	s.is(s.run("", "group", "delete", "x", "--if-exists"), "")
	s.is(s.run("", "group", "delete", "g"), "Deleted group g.\n")
	s.fails(1, "group g has committed no offsets", "", "group", "reset", "g", "--to", "earliest")
}

// write makes a file with a text.
func write(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}
