package groups

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
)

// tools are programs of other people that can be members of a group. They tell which records they have read, and of some
// it can be heard what they are given.
var tools = []struct {
	name, protocol string
	line           func(t *testing.T, g *group) []string
	parse          func(member, line string) (event, error)
}{
	{"kcat", "classic", kcatMember, parseKcat},
	{"kafka-console-consumer", "classic", consoleMember, parseConsole},
	{"kafka-console-consumer", "consumer", consoleMember, parseConsole},
}

// Tools read a topic as members, alone at first and then with another member, and leave when they are asked to end.
func TestToolsAreMembers(t *testing.T) {
	addr := server(t)
	for _, tool := range tools {
		t.Run(tool.name+"/"+tool.protocol, func(t *testing.T) {
			t.Parallel()
			top := newTopic(t, addr, "tool."+tool.name+"."+tool.protocol, 4)
			top.write(t, 20)
			g := newGroup(t, top, "tool."+tool.name+"."+tool.protocol, spec{protocol: tool.protocol, assignor: "range"})
			g.start(t, tool.name, tool.line(t, g), tool.parse)
			g.readAll(t)
			g.join(t, "franz-go")
			g.describes(t, 2, 2)
			top.write(t, 20)
			g.readAll(t)
			g.committed(t)
			g.terminate(t, tool.name)
			g.shared(t, 4, "franz-go")
			g.describes(t, 1, 4)
			top.write(t, 20)
			g.finish(t, "franz-go")
		})
	}
}

// terminate asks a tool to end, which gives up what it has from then on.
func (g *group) terminate(t *testing.T, name string) {
	t.Helper()
	r := g.end(name)
	g.mu.Lock()
	owned := g.history.owned()[name]
	g.mu.Unlock()
	g.add(event{time: time.Now().UnixNano(), member: name, kind: "revoked", partitions: owned})
	r.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.done:
	case <-time.After(g.patience):
		t.Fatalf("%s did not end within %v of SIGTERM", name, g.patience)
	}
}

// describes waits until the group has so many members, each with so many partitions.
func (g *group) describes(t *testing.T, members, each int) {
	t.Helper()
	var said string
	for deadline := time.Now().Add(g.patience); time.Now().Before(deadline); <-time.After(50 * time.Millisecond) { // a group has no event to wait for
		var has []int
		if g.spec.protocol == "consumer" {
			described, err := g.admin.DescribeConsumerGroups(t.Context(), g.id)
			said = fmt.Sprintf("%+v %v", described[g.id], err)
			for _, m := range described[g.id].Members {
				n := 0
				for _, partitions := range m.Assignment {
					n += len(partitions)
				}
				has = append(has, n)
			}
		} else {
			described, err := g.admin.DescribeGroups(t.Context(), g.id)
			said = fmt.Sprintf("%+v %v", described[g.id], err)
			for _, m := range described[g.id].Members {
				n := 0
				if a, ok := m.Assigned.AsConsumer(); ok {
					for _, topic := range a.Topics {
						n += len(topic.Partitions)
					}
				}
				has = append(has, n)
			}
		}
		good := len(has) == members
		for _, n := range has {
			good = good && n == each
		}
		if good {
			return
		}
	}
	t.Fatalf("%s: not %d members with %d partitions each, but %s", g.id, members, each, said)
}

func kcatMember(t *testing.T, g *group) []string {
	if _, err := exec.LookPath("kcat"); err != nil {
		t.Fatal("kcat is not installed: apt-get install kcat")
	}
	// What it has to say of rebalances it says where errors go.
	return []string{"sh", "-c", `exec kcat "$@" 2>&1`, "kcat", "-b", g.addr, "-G", g.id, "-u", "-f", "read %p %o\n",
		"-X", "auto.offset.reset=earliest", "-X", "partition.assignment.strategy=range", "-X", "auto.commit.interval.ms=200",
		"-X", "session.timeout.ms=" + fmt.Sprint(g.spec.session.Milliseconds()), "-X", "heartbeat.interval.ms=" + fmt.Sprint(g.spec.heartbeat.Milliseconds()), g.name}
}

// parseKcat reads the records that kcat prints as it is told to above, and what it says of a rebalance:
//
//	% Group NAME rebalanced (memberid ID): assigned: TOPIC [0], TOPIC [1]
//	% Group NAME rebalanced (memberid ID): revoked: TOPIC [0]
func parseKcat(member, line string) (event, error) {
	now := fmt.Sprint(time.Now().UnixNano(), " ")
	if strings.HasPrefix(line, "read ") {
		return parseEvent(member, now+line)
	}
	_, moved, rebalanced := strings.Cut(line, " rebalanced ")
	for _, kind := range []string{"assigned", "revoked"} {
		if _, list, ok := strings.Cut(moved, "): "+kind+": "); ok && rebalanced {
			words := []string{kind}
			for _, partition := range strings.Split(list, ", ") {
				words = append(words, strings.Trim(partition[strings.LastIndex(partition, " ")+1:], "[]"))
			}
			return parseEvent(member, now+strings.Join(words, " "))
		}
	}
	return event{}, nil
}

func consoleMember(t *testing.T, g *group) []string {
	line := oracle.ToolCommand(t, "kafka-console-consumer", "--bootstrap-server", g.addr, "--topic", g.name, "--group", g.id, "--from-beginning",
		"--formatter-property", "print.partition=true", "--formatter-property", "print.offset=true", "--formatter-property", "print.value=false",
		"--command-property", "auto.commit.interval.ms=200", "--command-property", "group.protocol="+g.spec.protocol)
	if g.spec.protocol == "consumer" {
		return append(line, "--command-property", "group.remote.assignor=range")
	}
	return append(line, "--command-property", "session.timeout.ms="+fmt.Sprint(g.spec.session.Milliseconds()), "--command-property", "heartbeat.interval.ms="+fmt.Sprint(g.spec.heartbeat.Milliseconds()))
}

// parseConsole reads the records that kafka-console-consumer prints, as Partition:0 and Offset:12 with a tab between them.
func parseConsole(member, line string) (event, error) {
	partition, offset, ok := strings.Cut(line, "\t")
	if !ok || !strings.HasPrefix(partition, "Partition:") || !strings.HasPrefix(offset, "Offset:") {
		return event{}, nil
	}
	p, err := strconv.Atoi(partition[len("Partition:"):])
	if err != nil {
		return event{}, err
	}
	o, err := strconv.ParseInt(offset[len("Offset:"):], 10, 64)
	return event{time: time.Now().UnixNano(), member: member, kind: "read", partitions: []int{p}, offset: o}, err
}
