package judge

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/millrace-io/millrace/conformance/process"
	"github.com/millrace-io/millrace/kafka"
)

// kafkaStorage runs the kafka-storage of the broker's release, and ours.
func kafkaStorage(t testing.TB, args ...string) (kafkas, ours string, ok, oursOK bool) {
	t.Helper()
	out, errOut, err := process.Run(time.Minute, "java", append([]string{"-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", oracle.ClassPath(t, "broker"), "kafka.tools.StorageTool"}, args...)...)
	oursOut, oursErr, oursFailed := node.Run(t, "", append([]string{"kafka-storage"}, args...)...)
	return out + firstLine(errOut), oursOut + firstLine(oursErr), err == nil, oursFailed == nil
}

// firstLine is what an error says: Kafka's tool may have a stack trace behind it, and what logs there says.
func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return regexp.MustCompile(`^Exception in thread "main" [\w.]+: |SLF4J.*`).ReplaceAllString(line, "")
}

// Our kafka-storage prints what Kafka's does.
func TestStorageToolSaysTheSame(t *testing.T) {
	base := t.TempDir()
	addr, controllerAddr := process.FreeAddr(t), process.FreeAddr(t)
	dynamic := properties(t, addr, controllerAddr, map[string]string{"controller.quorum.voters": "", "controller.quorum.bootstrap.servers": controllerAddr}, filepath.Join(base, "a"), filepath.Join(base, "b"))
	static := properties(t, addr, controllerAddr, nil, filepath.Join(base, "c"))
	id, directory := kafka.NewUUID().String(), kafka.NewUUID().String()
	formatted := node.Start(t, nil)
	stop(t, formatted)
	for _, args := range [][]string{
		{"version-mapping"},
		{"version-mapping", "--release-version=3.7-IV2"},
		{"feature-dependencies", "-f", "group.version=1", "-f", "eligible.leader.replicas.version=1", "--feature", "metadata.version=25"},
		{"feature-dependencies", "-f", "transaction.version=9"},
		{"info", "-c", dynamic},
		{"info", "-c", formatted.Properties},
		{"format", "-t", id, "-c", dynamic},
		{"format", "-t", id, "-c", static, "--standalone"},
		{"format", "-t", id, "-c", dynamic, "-s", "-f", "foo=1"},
		{"format", "-t", id, "-c", dynamic, "-s", "-r", "3.9", "-f", "eligible.leader.replicas.version=1"},
		{"format", "-t", id, "-c", dynamic, "-s", "-S", "SCRAM-SHA-1=[name=a]"},
		{"format", "-t", id, "-c", dynamic, "-s", "-S", "SCRAM-SHA-256=[name=a,password=b,iterations=1]"},
		{"format", "-t", id, "-c", dynamic, "-I", ""},
		{"format", "-t", id, "-c", dynamic, "-I", "1"},
		{"format", "-t", id, "-c", dynamic, "-I", "1@"},
		{"format", "-t", id, "-c", dynamic, "-I", "x@h:1:" + directory},
		{"format", "-t", id, "-c", dynamic, "-I", "1@h"},
		{"format", "-t", id, "-c", dynamic, "-I", "1@h:1"},
		{"format", "-t", id, "-c", dynamic, "-I", "1@h:x:" + directory},
		{"format", "-t", id, "-c", dynamic, "-I", "1@h:99999:" + directory},
		{"format", "-t", id, "-c", dynamic, "-I", "1@h:1:!"},
		{"format", "-t", id, "-c", dynamic, "-I", "1@[::1:1:" + directory},
		{"format", "-t", id, "-c", dynamic, "-I", "1@[::1]1:" + directory},
		{"format", "-t", id, "-c", static, "-r", "1.0"},
		{"format", "-t", id, "-c", static, "-r", "3.9", "-f", "metadata.version=20"},
		{"format", "-t", id, "-c", static, "-f", "group.version"},
		{"format", "-t", id, "-c", static, "-f", "kraft.version=1"},
		{"format", "-t", id, "-c", dynamic, "-s", "-f", "kraft.version=0"},
		{"format", "-t", id, "-c", static, "-r", "3.4", "-S", "SCRAM-SHA-256=[name=a,password=b]"},
		{"format", "-t", formatted.ClusterID, "-c", formatted.Properties},
		{"format", "-t", formatted.ClusterID, "-c", formatted.Properties, "-g"},
	} {
		kafkas, ours, ok, oursOK := kafkaStorage(t, args...)
		if kafkas != ours || ok != oursOK {
			t.Errorf("kafka-storage %s (Kafka's ended well: %t, ours: %t): %s", strings.Join(args, " "), ok, oursOK, firstDifference(ours, kafkas))
		}
	}
}

// Apache Kafka starts on a directory that our kafka-storage formatted, and has the features and the users it was given.
func TestKafkaStartsOnWhatWeFormat(t *testing.T) {
	addr, controllerAddr := process.FreeAddr(t), process.FreeAddr(t)
	dir := filepath.Join(t.TempDir(), "data")
	file := properties(t, addr, controllerAddr, map[string]string{"controller.quorum.voters": "", "controller.quorum.bootstrap.servers": controllerAddr}, dir)
	directory := kafka.NewUUID()
	if out, errOut, err := node.Run(t, "", "kafka-storage", "format", "-t", kafka.NewUUID().String(), "-c", file, "-r", "4.1",
		"-I", "1@"+controllerAddr+":"+directory.String(), "-S", "SCRAM-SHA-256=[name=alice,password=secret]"); err != nil {
		t.Fatalf("format: %v\n%s%s", err, out, errOut)
	}
	k := oracle.On(t, file, addr, controllerAddr, dir)
	defer stop(t, k)
	for want, args := range map[string][]string{
		"SCRAM credential configs for user-principal 'alice' are SCRAM-SHA-256=iterations=4096": {"kafka-configs", "--describe", "--entity-type", "users"},
		"FinalizedVersionLevel: 4.1-IV1":                                                {"kafka-features", "describe"},
		"CurrentVoters:          [{\"id\": 1, \"directoryId\": \"" + directory.String(): {"kafka-metadata-quorum", "describe", "--status"},
	} {
		if out := oracle.MustTool(t, args[0], append([]string{"--bootstrap-server", addr}, args[1:]...)...); !strings.Contains(out, want) {
			t.Errorf("%s printed\n%s, without %s", args[0], out, want)
		}
	}
}
