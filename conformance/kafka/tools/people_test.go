package tools

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
)

// The commands for people speak to any Kafka; here to one that wants SASL.
func TestCommandsForPeopleOnKafka(t *testing.T) {
	k := oracle.Start(t, map[string]string{
		"listener.security.protocol.map":                 "CONTROLLER:PLAINTEXT,PLAINTEXT:SASL_PLAINTEXT",
		"sasl.enabled.mechanisms":                        "PLAIN",
		"sasl.mechanism.inter.broker.protocol":           "PLAIN",
		"listener.name.plaintext.plain.sasl.jaas.config": `org.apache.kafka.common.security.plain.PlainLoginModule required username="ada" password="secret" user_ada="secret";`,
	})
	dir := t.TempDir()
	write := func(name, password string) string {
		path := filepath.Join(dir, name)
		text := "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\nsasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username=\"ada\" password=\"" + password + "\";\n"
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	right, wrong := write("right.properties", "secret"), write("wrong.properties", "guess")

	fails := func(want string, args ...string) {
		t.Helper()
		out, errOut, err := node.Run(t, "", append(args, "--bootstrap-server", k.Addr)...)
		if err == nil || !strings.Contains(errOut, want) {
			t.Errorf("%v: %v\n%s%s\nwant %s", args, err, out, errOut, want)
		}
	}
	fails("or want TLS or SASL (security.protocol in --command-config)", "topic", "list")
	fails("turned the client away", "topic", "list", "--command-config", wrong)

	is := func(want, stdin string, args ...string) {
		t.Helper()
		out, errOut, err := node.Run(t, stdin, append(args, "--bootstrap-server", k.Addr, "--command-config", right)...)
		if err != nil || out != want || errOut != "" {
			t.Errorf("%v: %v\nprinted %s\nwant %s\nstderr %s", args, err, out, want, errOut)
		}
	}
	contains := func(want string, args ...string) {
		t.Helper()
		out, errOut, err := node.Run(t, "", append(args, "--bootstrap-server", k.Addr, "--command-config", right)...)
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %v\nprinted %s\nwant %s\nstderr %s", args, err, out, want, errOut)
		}
	}
	is("Created topic orders with 3 partitions of 1 replica.\n", "", "topic", "create", "orders", "-p", "3", "-c", "retention.ms=3600000")
	is("", "k:v\nl:\n", "produce", "orders", "-K", ":", "-p", "1", "-z", "zstd", "-H", "h=1")
	is("1/0 k=v (h=1)\n1/1 l= (h=1)\n", "", "consume", "orders", "-F", `%p/%o %k=%v (%h)\n`)
	is("l\n", "", "consume", "orders", "-p", "1", "--from", "-1", "-F", `%k\n`, "--isolation", "read_committed")
	is("", "x\n", "produce", "made-by-itself")
	is("x\n", "", "consume", "made-by-itself")
	is("3600000\n", "", "config", "get", "topic", "orders", "retention.ms")
	is("Altered topic orders: cleanup.policy+=compact.\n", "", "config", "set", "topic", "orders", "cleanup.policy+=compact")
	is("Altered topic orders: without retention.ms.\n", "", "config", "delete", "topic", "orders", "retention.ms")
	is("Altered the cluster: log.retention.ms=7200000.\n", "", "config", "set", "cluster", "log.retention.ms=7200000")
	contains("cleanup.policy  ", "config", "describe", "topic", "orders")
	contains("log.retention.ms=7200000 (cluster)", "config", "describe", "broker", "1", "log.retention.ms")
	contains("        1       1  1         1            0    2 ", "topic", "describe", "orders")
	is("Altered topic orders: 4 partitions, there were 3.\n", "", "topic", "alter", "orders", "-p", "4")
	fails("did you mean retention.ms?", "config", "set", "topic", "orders", "retension.ms=1", "--command-config", right)
	fails(`there is no topic "oders"; did you mean orders?`, "topic", "delete", "oders", "--command-config", right)
	is("Deleted topic orders.\n", "", "topic", "delete", "orders")
}
