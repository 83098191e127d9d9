package oracle_test

import (
	"strings"
	"testing"

	"github.com/millrace-io/millrace/conformance/kafka/oracle"
)

func TestKafkaAnswers(t *testing.T) {
	k := oracle.Start(t, nil)
	oracle.MustTool(t, "kafka-topics", "--bootstrap-server", k.Addr, "--create", "--topic", "t", "--partitions", "3")
	if out := oracle.MustTool(t, "kafka-topics", "--bootstrap-server", k.Addr, "--list"); strings.TrimSpace(out) != "t" {
		t.Errorf("kafka-topics --list printed %q", out)
	}
}
