package cli_test

import (
	"strings"
	"testing"
)

func TestConsumeInAGroup(t *testing.T) {
	s := newShell(t)
	s.cluster.CreateTopic("t", 2)
	s.run("a\nb\n", "produce", "t", "-p", "0")
	s.run("c\n", "produce", "t", "-p", "1")
	if got := s.run("", "consume", "t", "--group", "g"); len(got) != 6 || !strings.Contains(got, "a\nb\n") || !strings.Contains(got, "c\n") {
		t.Errorf("the first time: %q", got)
	}
	s.is(s.run("", "consume", "t", "--group", "g"), "") // all of it is committed
	s.run("d\ne\n", "produce", "t", "-p", "0")
	s.is(s.run("", "consume", "t", "--group", "g", "-n", "1"), "d\n")
	s.is(s.run("", "consume", "t", "--group", "g", "-X", "enable.auto.commit=false"), "e\n")
	s.is(s.run("", "consume", "t", "--group", "g"), "e\n")
	s.is(s.run("", "consume", "t", "--group", "late", "--from", "end"), "")

	out, stop := s.following("consume", "t", "--group", "g", "--follow")
	s.run("f\n", "produce", "t", "-p", "1")
	out.await(t, "f\n")
	stop()
	s.is(s.run("", "consume", "t", "--group", "g"), "")

	s.fails(2, "--group and --partition do not go together", "", "consume", "t", "--group", "g", "-p", "0")
	s.fails(2, "with --group, --from is start or end", "", "consume", "t", "--group", "g", "--from", "3")
	s.fails(1, `there is no topic "nothing"`, "", "consume", "nothing", "--group", "g")
}
