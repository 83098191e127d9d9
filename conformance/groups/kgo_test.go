package groups

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// kgoTests are franz-go's own tests that have a group in them: chains of groups with every balancer, both protocols, and
// static members; regular expressions that the broker resolves; members that lose, pause and add topics. Those of
// transactions and of share groups are not among them.
var kgoTests = []string{"TestGroupETL", "TestGroupSimple", "Test848RegexBrokerResolves", "TestConsumeRegex", "TestAddRemovePartitions", "TestIssue337", "TestIssue434", "TestIssue648", "TestIssue865"}

// franz-go's own tests of groups, in the version that this module has pinned, run against a broker.
func TestFranzGosOwn(t *testing.T) {
	addr := server(t)
	cmd := exec.CommandContext(t.Context(), "go", "test", "-count", "1", "-timeout", "10m", "-v", "-run", "^("+strings.Join(kgoTests, "|")+")$", "github.com/twmb/franz-go/pkg/kgo")
	cmd.Env = append(os.Environ(), "KGO_SEEDS="+addr, "KGO_TEST_RF=1", "KGO_TEST_RECORDS=20000", "KGO_TEST_MAX_TOPIC_PARTS=8", "KGO_LOG_LEVEL=none")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM} // go test ends its tests then
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("franz-go's own tests: %v\n%s", err, out[max(0, len(out)-20_000):])
	}
	for _, name := range kgoTests {
		if !regexp.MustCompile(`(?m)^--- PASS: ` + name + ` `).Match(out) {
			t.Errorf("%s did not run to its end", name)
		}
	}
}
