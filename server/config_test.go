package server

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server/internal/quorum"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// combined is the smallest configuration: a node of its own.
var combined = []string{"process.roles", "broker,controller", "node.id", "1", "listeners", "PLAINTEXT://127.0.0.1:9092", "log.dirs", "/data/a"}

func with(keysAndValues ...string) config.Properties {
	return config.PropertiesOf(append(slices.Clone(combined), keysAndValues...)...)
}

func TestTheSmallestConfigurationIsANodeOfItsOwn(t *testing.T) {
	c, err := NewConfig(with())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Broker || !c.Controller || c.NodeID != 1 {
		t.Errorf("node %d, broker %v, controller %v", c.NodeID, c.Broker, c.Controller)
	}
	if len(c.Listeners) != 1 || c.Listeners[0] != (Listener{Name: "PLAINTEXT", Host: "127.0.0.1", Port: 9092, Protocol: "PLAINTEXT", Advertise: Advertised{Auto: true}}) {
		t.Errorf("listeners %+v", c.Listeners)
	}
	if c.InterBroker != "PLAINTEXT" || c.MetadataLogDir != "/data/a" || c.HTTP != "" || len(c.Inert) > 0 {
		t.Errorf("%+v", c)
	}
	if c.MemoryBudget < 64<<20 || c.MemoryBudget > 1<<30 {
		t.Errorf("memory budget %d", c.MemoryBudget)
	}
}

func TestKafkasOwnQuickStartFileIsUnderstood(t *testing.T) {
	// The keys of the combined server.properties that Kafka ships, as of 4.4.
	file := filepath.Join(t.TempDir(), "server.properties")
	text := `# a comment
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
`
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := LoadConfig(file, "node.id=3", "log.dirs=/a, /b/")
	if err != nil {
		t.Fatal(err)
	}
	if c.NodeID != 3 || !slices.Equal(c.LogDirs, []string{"/a", "/b"}) {
		t.Errorf("the overrides do not hold: node %d, %v", c.NodeID, c.LogDirs)
	}
	if l := c.Listeners; len(l) != 2 || !l[1].Controller || l[1].Advertise != (Advertised{Host: "localhost", Port: 9093}) || l[0].Controller {
		t.Errorf("listeners %+v", c.Listeners)
	}
	warning := inertWarning(c.values.table, c.Inert)
	for _, want := range []string{"num.io.threads, num.network.threads (sizes thread pools; goroutines need none)", "transaction.state.log.min.isr, transaction.state.log.replication.factor (acts with transactions)"} {
		if !strings.Contains(warning, want) {
			t.Errorf("the warning %q lacks %q", warning, want)
		}
	}
	if strings.Contains(warning, "log.segment.bytes") {
		t.Errorf("a key that acts is warned of: %q", warning)
	}
}

func TestWhatIsWrongIsSaidInOneSentence(t *testing.T) {
	for _, c := range []struct {
		set  []string
		want string
	}{
		{[]string{"log.segmnt.bytes", "1"}, `unknown key "log.segmnt.bytes"; did you mean log.segment.bytes?`},
		{[]string{"offsets.topic.num.partition", "1"}, `unknown key "offsets.topic.num.partition"; did you mean offsets.topic.num.partitions?`},
		{[]string{"qqqqqqqqqqqq", "1"}, `unknown key "qqqqqqqqqqqq"`},
		{[]string{"broker.heartbeat.interval.ms", "0"}, `"0" is not a valid value of broker.heartbeat.interval.ms: want a number of at least 1`},
		{[]string{"broker.heartbeat.interval.ms", "soon"}, `"soon" is not a valid value of broker.heartbeat.interval.ms: want a whole number between -2147483648 and 2147483647`},
		{[]string{"num.io.threads", "many"}, `"many" is not a valid value of num.io.threads: want a whole number between -2147483648 and 2147483647`},
		{[]string{"process.roles", "king"}, `"king" is not a valid value of process.roles: want a list of any of broker, controller`},
		{[]string{"authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer"}, "authorizer.class.name cannot be obeyed"},
		{[]string{"broker.id", "2"}, "node.id is 1 and broker.id is 2"},
		{[]string{"listeners", "9092"}, `listeners has the entry "9092": want NAME://host:port`},
		{[]string{"listeners", "PLAINTEXT://h:99999"}, `the port "99999" is not a number from 0 to 65535`},
		{[]string{"listeners", ""}, "listeners is empty"},
		{[]string{"listeners", "A://:1,A://:2", "listener.security.protocol.map", "A:PLAINTEXT"}, "listeners names the listener A twice"},
		{[]string{"listeners", "A://:1,B://127.0.0.1:1", "listener.security.protocol.map", "A:PLAINTEXT,B:PLAINTEXT"}, "listeners gives A and B the same port 1"},
		{[]string{"listeners", "CLIENTS://:9092"}, "listeners has CLIENTS://:9092, whose security protocol listener.security.protocol.map does not give"},
		{[]string{"listeners", "SSL://:9092"}, "listeners has SSL://:9092 with the security protocol SSL, which this version cannot serve"},
		{[]string{"listeners", "SASL_PLAINTEXT://:9092"}, "listeners has SASL_PLAINTEXT://:9092 with the security protocol SASL_PLAINTEXT, which this version cannot serve; PLAINTEXT it can"},
		{[]string{"listeners", "CLIENTS://:9092", "listener.security.protocol.map", "CLIENTS:SASL_SSL"}, "listeners has CLIENTS://:9092 with the security protocol SASL_SSL, which this version cannot serve"},
		{[]string{"proxy.protocol.listeners", "EDGE"}, "proxy.protocol.listeners has EDGE, which is not among the listeners (PLAINTEXT://127.0.0.1:9092)"},
		{[]string{"listener.security.protocol.map", "PLAINTEXT:CLEAR"}, `listener.security.protocol.map has the entry "PLAINTEXT:CLEAR"`},
		{[]string{"advertised.listeners", "PLAINTEXT://0.0.0.0:9092"}, "an address that no client can connect to"},
		{[]string{"advertised.listeners", "OTHER://h:9092"}, "advertised.listeners has OTHER, which is not among the listeners"},
		{[]string{"controller.listener.names", "CONTROLLER"}, "controller.listener.names is CONTROLLER, but none of them is among the listeners"},
		{[]string{"controller.listener.names", "PLAINTEXT"}, "a broker needs a listener that is not among controller.listener.names"},
		{[]string{"inter.broker.listener.name", "INTERNAL"}, "inter.broker.listener.name is INTERNAL, which is not among the broker's listeners (PLAINTEXT)"},
		{[]string{"inter.broker.listener.name", "PLAINTEXT", "security.inter.broker.protocol", "PLAINTEXT"}, "are both set"},
		{[]string{"controller.quorum.voters", "1@h:1,2@h:2"}, "controller.quorum.voters names 2 voters; this version runs a quorum of one"},
		{[]string{"controller.quorum.voters", "2@h:2"}, "in which the node 1 is missing"},
		{[]string{"controller.quorum.voters", "one"}, `controller.quorum.voters has the entry "one": want id@host:port`},
		{[]string{"process.roles", "broker"}, "this version runs single nodes"},
		{[]string{"process.roles", "controller"}, "listeners has PLAINTEXT, which is not among controller.listener.names"},
		{[]string{"log.dirs", " "}, "log.dirs is empty; it is a list of directories"},
		{[]string{"log.dirs", "/a,/b,/a/"}, "log.dirs names the directory /a twice"},
		{[]string{"http.listeners", "https://127.0.0.1:1"}, "this version serves http:// only"},
		{[]string{"http.listeners", "127.0.0.1"}, `"127.0.0.1" is not host:port`},
		{[]string{"max.connections.per.ip", "0"}, "max.connections.per.ip is 0, which needs max.connections.per.ip.overrides: otherwise nobody can connect"},
		{[]string{"max.connections.per.ip.overrides", "10.0.0.1"}, `the entry "10.0.0.1" is not address:number`},
		{[]string{"listener.name.plaintext.max.connections", "few"}, `"few" is not a valid value of listener.name.plaintext.max.connections`},
		{[]string{"memory.budget.bytes", "1"}, `"1" is not a valid value of memory.budget.bytes: want a number of at least 16777216`},
	} {
		_, err := NewConfig(with(c.set...))
		if err == nil {
			t.Errorf("%v is accepted", c.set)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v:\n  said %s\n  want %s", c.set, err, c.want)
		}
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	for _, c := range []struct {
		properties config.Properties
		want       string
	}{
		{config.PropertiesOf("node.id", "1"), "process.roles is not set"},
		{config.PropertiesOf("process.roles", "broker,controller"), "node.id is not set"},
	} {
		if _, err := NewConfig(c.properties); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("said %v, want %s", err, c.want)
		}
	}
}

func TestErrorsOfAFileSayTheLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "server.properties")
	os.WriteFile(file, []byte("# first\nnode.id=1\n\nprocess.roles=broker,kontroller\n"), 0o644)
	_, err := LoadConfig(file)
	if err == nil || !strings.HasPrefix(err.Error(), file+": line 4: ") {
		t.Errorf("said %v", err)
	}
	if _, err = LoadConfig(file, "no equals sign"); err == nil || !strings.Contains(err.Error(), `the override "no equals sign" is not key=value`) {
		t.Errorf("said %v", err)
	}
	if _, err = LoadConfig(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there is read")
	}
}

// Values may stand in files and in the environment (KIP-297).
func TestValuesOfProviders(t *testing.T) {
	t.Setenv("MILLRACE_TEST_RACK", "r7")
	c, err := NewConfig(with("config.providers", "env", "config.providers.env.class", "org.apache.kafka.common.config.provider.EnvVarConfigProvider", "broker.rack", "${env:MILLRACE_TEST_RACK}"))
	if err != nil || c.values.text("broker.rack") != "r7" || len(c.Inert) > 0 {
		t.Errorf("got %+v, %v", c, err)
	}
	_, err = NewConfig(with("config.providers", "env", "config.providers.env.class", "EnvVarConfigProvider", "broker.rack", "${env:MILLRACE_TEST_NONE}"))
	if err == nil || !strings.Contains(err.Error(), "broker.rack has ${env:MILLRACE_TEST_NONE}: the environment has no MILLRACE_TEST_NONE") {
		t.Errorf("said %v", err)
	}
}

func TestTheOldNameOfTheNodeIDHolds(t *testing.T) {
	c, err := NewConfig(config.PropertiesOf("process.roles", "broker,controller", "broker.id", "4"))
	if err != nil || c.NodeID != 4 {
		t.Fatalf("node %+v, error %v", c, err)
	}
}

func TestAControllerAloneHasOnlyItsOwnListeners(t *testing.T) {
	c, err := NewConfig(config.PropertiesOf("process.roles", "controller", "node.id", "9", "listeners", "CONTROLLER://:9093",
		"controller.listener.names", "CONTROLLER", "controller.quorum.voters", "9@localhost:9093", "log.dirs", "/a,/b", "metadata.log.dir", "/m"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Broker || c.InterBroker != "" || len(c.Voters) != 1 || c.MetadataLogDir != "/m" {
		t.Errorf("%+v", c)
	}
	if o := c.FormatOptions(); !o.StaticVoters || !slices.Equal(o.Directories(), []string{"/a", "/b", "/m"}) {
		t.Errorf("format options %+v", o)
	}
}

func TestAListenerThatIsNotAdvertisedIsHidden(t *testing.T) {
	c, err := NewConfig(with("listeners", "PLAINTEXT://:1,ADMIN://127.0.0.1:2,CONTROLLER://:3", "controller.listener.names", "CONTROLLER",
		"listener.security.protocol.map", "PLAINTEXT:PLAINTEXT,ADMIN:PLAINTEXT", "inter.broker.listener.name", "PLAINTEXT", "advertised.listeners", "PLAINTEXT://example.com:9092"))
	if err != nil {
		t.Fatal(err)
	}
	if l := c.Listeners; l[0].Hidden || !l[1].Hidden || l[2].Hidden || l[0].Advertise != (Advertised{Host: "example.com", Port: 9092}) {
		t.Errorf("%+v", l)
	}
}

// A setting that a room reads and nobody declares would be accepted and do nothing.
func TestEverySettingThatIsReadIsDeclared(t *testing.T) {
	table := brokerTable()
	if _, err := replica.ParseBrokerConfig(func(key string) string {
		if k, ok := table.Lookup(key); !ok || k.Owner != "" {
			t.Errorf("the replicas read %s, which no room declares", key)
		}
		return ""
	}); err != nil {
		t.Fatal(err)
	}
	quorum.ParseConfig(func(key string) int64 {
		if k, ok := table.Lookup(key); !ok || k.Owner != "" {
			t.Errorf("the quorum reads %s, which no room declares", key)
		}
		return 0
	})
}
