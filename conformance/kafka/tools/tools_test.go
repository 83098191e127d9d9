package tools

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/socket"
	"github.com/millrace-io/millrace/internal/wire"
)

// place is where the scenarios run.
type place struct {
	broker, controller string
	kafka              bool
}

func TestOursPrintWhatKafkasPrint(t *testing.T) {
	kafkas, our := startJava(t), linkOurs(t)
	t.Run("Millrace", func(t *testing.T) {
		n := node.Start(t, nil)
		compareAll(t, place{n.Addr, n.ControllerAddr, false}, kafkas, our)
	})
	t.Run("Kafka", func(t *testing.T) {
		k := oracle.Start(t, nil)
		compareAll(t, place{k.Addr, k.ControllerAddr, true}, kafkas, our)
	})
}

// The prefixes of what belongs to each side; they sort alike and have one length.
const (
	kafkasPrefix = "kafkas-"
	ourPrefix    = "millra-"
)

func compareAll(t *testing.T, at place, kafkas, our side) {
	for _, s := range slices.Concat(scenarios, groupScenarios) {
		if s.kafkaOnly && !at.kafka {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			theirs := s.run(t, at, kafkas, kafkasPrefix)
			ours := s.run(t, at, our, ourPrefix)
			for i, c := range s.calls {
				for _, difference := range c.compare(theirs[i], ours[i]) {
					t.Errorf("%s %s: %s\nKafka's: %s\nours: %s", c.tool, c.args, difference, theirs[i], ours[i])
				}
			}
		})
	}
}

// run runs all calls of a scenario on one side.
func (s scenario) run(t *testing.T, at place, on side, prefix string) []result {
	t.Helper()
	dir := t.TempDir()
	fill := strings.NewReplacer("{p}", prefix, "{b}", at.broker, "{c}", at.controller, "{dir}", dir)
	for name, text := range s.files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fill.Replace(text)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	results := make([]result, len(s.calls))
	for i, c := range s.calls {
		var args []string
		for _, word := range words(c.args) {
			args = append(args, fill.Replace(word))
		}
		on := on
		if _, shared := on.(*java); shared && c.alone {
			on = javaAlone{}
		}
		r := on.run(t, c.stdin, c.tool, args)
		r.stdout, r.stderr = normalize(r.stdout, prefix, dir), normalize(r.stderr, prefix, dir)
		results[i] = r
		if c.tool == "kafka-topics" && r.code == 0 && slices.Contains(args, "--delete") {
			awaitGone(t, at.broker, args[slices.Index(args, "--topic")+1])
		}
		if c.tool == "kafka-configs" && r.code == 0 && slices.Contains(args, "--alter") {
			awaitCaughtUp(t, at.broker)
		}
	}
	return results
}

// awaitGone waits until a broker knows no topic of these names any more: Kafka's is told of a deletion some time after the
// controller has answered, and until then lists the topic.
func awaitGone(t *testing.T, broker, names string) {
	t.Helper()
	of, err := regexp.Compile("^(?:" + names + ")$")
	if err != nil {
		t.Fatal(err)
	}
	c, err := socket.Dial(broker, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) { // a broker tells of no deletion by itself
		all := wire.NewMetadataResponse()
		request := wire.NewMetadataRequest()
		request.Topics = nil
		if err := c.Call(request, all, 12, 20*time.Second); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(all.Topics, func(topic wire.MetadataResponseTopics) bool { return of.MatchString(*topic.Name) }) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is still there a minute after it was deleted", names)
		}
	}
}

// awaitCaughtUp waits until a broker has applied what the controller has committed: a change of settings is answered before
// Kafka's broker has learned of it, and one that is asked at once still shows what was.
func awaitCaughtUp(t *testing.T, broker string) {
	t.Helper()
	c, err := socket.Dial(broker, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func(request, answer wire.Message, version int16) {
		if err := c.Call(request, answer, version, 20*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	committed, applied := wire.NewDescribeQuorumResponse(), wire.NewApiVersionsResponse()
	quorum := wire.NewDescribeQuorumRequest()
	quorum.Topics = []wire.DescribeQuorumRequestTopics{{TopicName: "__cluster_metadata", Partitions: []wire.DescribeQuorumRequestPartitions{{}}}}
	ask(quorum, committed, 2)
	versions := wire.NewApiVersionsRequest()
	versions.ClientSoftwareName, versions.ClientSoftwareVersion = "tools", "1"
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) { // a broker tells of no change by itself
		ask(versions, applied, 3)
		// The epoch of the features is the offset of the newest record that the broker has applied.
		if applied.FinalizedFeaturesEpoch >= committed.Topics[0].Partitions[0].HighWatermark-1 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the broker has not applied a change of settings within a minute")
		}
	}
}

// words splits arguments as a shell does: 'a b' is one word.
func words(text string) []string {
	var all []string
	for text = strings.TrimLeft(text, " "); text != ""; text = strings.TrimLeft(text, " ") {
		var word string
		if strings.HasPrefix(text, "'") {
			word, text, _ = strings.Cut(text[1:], "'")
		} else {
			word, text, _ = strings.Cut(text, " ")
		}
		all = append(all, word)
	}
	return all
}

var (
	// Kafka's tools have these in the order of a hash map.
	configList    = regexp.MustCompile(`Configs: \S+`)
	partitionList = regexp.MustCompile(`\{"partition":[^]]*\]`)
	topicID       = regexp.MustCompile(`TopicId: [A-Za-z0-9_-]{22}`)
	timestamp     = regexp.MustCompile(`(CreateTime|LogAppendTime):\d{13}`)
)

// normalize leaves out what the sides cannot have in common.
func normalize(text, prefix, dir string) string {
	text = strings.NewReplacer(prefix, "{p}", dir, "{dir}").Replace(text)
	text = topicID.ReplaceAllString(text, "TopicId: {id}")
	text = partitionList.ReplaceAllStringFunc(text, func(list string) string {
		partitions := strings.SplitAfter(strings.TrimSuffix(list, "]")+",", "},")
		slices.Sort(partitions)
		return strings.Join(partitions, "") + "]"
	})
	text = configList.ReplaceAllStringFunc(text, func(list string) string {
		configs := strings.Split(strings.TrimPrefix(list, "Configs: "), ",")
		slices.Sort(configs)
		return "Configs: " + strings.Join(configs, ",")
	})
	return timestamp.ReplaceAllString(text, "$1:{time}")
}

// compare returns in what the results differ.
func (c call) compare(theirs, ours result) (differences []string) {
	add := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	if theirs.code != ours.code {
		add("the exit code is %d, want %d", ours.code, theirs.code)
	}
	if c.names != "" {
		if theirs.code == 0 {
			add("Kafka's succeeds")
		}
		if said := ours.stdout + ours.stderr; !strings.Contains(said, c.names) {
			add("%q is not named", c.names)
		}
	}
	if c.differs == "" {
		a, b := theirs.stdout, ours.stdout
		if c.unsorts {
			a, b = sorted(a), sorted(b)
		}
		if a != b {
			add("stdout differs")
		}
		if a, b := firstLine(theirs.stderr), firstLine(ours.stderr); theirs.code != 0 && a != b {
			add("the first line of stderr differs")
		}
	}
	return differences
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	return strings.TrimSpace(line)
}

func sorted(text string) string {
	lines := strings.Split(text, "\n")
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}
