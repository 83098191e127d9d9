// Package oracle runs a real Apache Kafka, broker and command-line tools, on loopback: whatever Millrace
// does is compared with what it does.
//
// The jars come from Maven Central and are kept in the user's cache directory; mvn and java (17 or newer)
// must be installed.
package oracle

import (
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/conformance/process"
)

//go:embed broker.pom.xml tools.pom.xml
var poms embed.FS

// jars resolves the jars of "broker" or "tools" once and returns their folder.
var jars = map[string]func() (string, error){
	"broker": sync.OnceValues(func() (string, error) { return resolve("broker") }),
	"tools":  sync.OnceValues(func() (string, error) { return resolve("tools") }),
}

func resolve(what string) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	pom, err := poms.ReadFile(what + ".pom.xml")
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "millrace-conformance", "apache-kafka-"+what)
	// The folder gets this name when it is whole.
	complete := func() bool {
		have, err := os.ReadFile(filepath.Join(dir, "pom.xml"))
		return err == nil && string(have) == string(pom)
	}
	if complete() {
		return dir, nil
	}
	// Packages whose tests run side by side may all come here: each works in a folder of its own.
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(dir), filepath.Base(dir)+".")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(fresh)
	pomFile := filepath.Join(fresh, "pom.xml")
	if err := os.WriteFile(pomFile, pom, 0o644); err != nil {
		return "", err
	}
	out, errOut, err := process.Run(10*time.Minute, "mvn", "-q", "-B", "-f", pomFile, "dependency:copy-dependencies",
		"-DoutputDirectory="+fresh, "-DincludeScope=runtime")
	if err != nil {
		return "", fmt.Errorf("mvn could not resolve Apache Kafka: %v\n%s%s", err, out, errOut)
	}
	if complete() { // somebody was faster, and may be using it by now
		return dir, nil
	}
	if err := os.RemoveAll(dir); err != nil {
		return "", err
	}
	if err := os.Rename(fresh, dir); err != nil && !complete() {
		return "", err
	}
	return dir, nil
}

// small are the options of a JVM that starts fast and takes little; how fast it runs then is not what counts.
func small(heap string) []string {
	return []string{"-Xmx" + heap, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"}
}

func java(t testing.TB, what string, options []string, class string, args ...string) []string {
	t.Helper()
	dir, err := jars[what]()
	if err != nil {
		t.Fatal(err)
	}
	command := append([]string{"java"}, options...)
	command = append(command, "-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-cp", dir+"/*", class)
	return append(command, args...)
}

// Kafka is one node of Apache Kafka, broker and controller in one process.
type Kafka struct {
	*process.Process
	Addr           string // of the broker listener
	ControllerAddr string // of the controller listener
	Dir            string // log.dirs
	Properties     string // the file it was started with
	ClusterID      string
	jvm            []string
}

// Properties renders a node's settings as Kafka's properties file: a combined node on loopback, with the
// settings given on top. Millrace starts on the same file.
func Properties(addr, controllerAddr, dir string, more map[string]string) string {
	settings := map[string]string{
		"process.roles":                                    "broker,controller",
		"node.id":                                          "1",
		"controller.quorum.voters":                         "1@" + controllerAddr,
		"listeners":                                        "PLAINTEXT://" + addr + ",CONTROLLER://" + controllerAddr,
		"advertised.listeners":                             "PLAINTEXT://" + addr,
		"controller.listener.names":                        "CONTROLLER",
		"listener.security.protocol.map":                   "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
		"log.dirs":                                         dir,
		"offsets.topic.replication.factor":                 "1",
		"transaction.state.log.replication.factor":         "1",
		"transaction.state.log.min.isr":                    "1",
		"share.coordinator.state.topic.replication.factor": "1",
		"share.coordinator.state.topic.min.isr":            "1",
		"group.initial.rebalance.delay.ms":                 "0",
	}
	for key, value := range more {
		settings[key] = value
	}
	keys := make([]string, 0, len(settings))
	for key := range settings {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	var b strings.Builder
	for _, key := range keys {
		fmt.Fprintf(&b, "%s=%s\n", key, settings[key])
	}
	return b.String()
}

// Start formats a fresh directory and starts a node on it.
func Start(t testing.TB, more map[string]string) *Kafka {
	t.Helper()
	return StartOn(t, small("768m"), more)
}

// StartOn is Start on a JVM with these options.
func StartOn(t testing.TB, jvm []string, more map[string]string) *Kafka {
	t.Helper()
	base := t.TempDir()
	k := &Kafka{jvm: jvm, Addr: process.FreeAddr(t), ControllerAddr: process.FreeAddr(t), Dir: filepath.Join(base, "data"), ClusterID: "4L6g3nShT-eMCtK--X86sw"}
	k.Properties = filepath.Join(base, "server.properties")
	if err := os.WriteFile(k.Properties, []byte(Properties(k.Addr, k.ControllerAddr, k.Dir, more)), 0o644); err != nil {
		t.Fatal(err)
	}
	format := java(t, "broker", small("256m"), "kafka.tools.StorageTool", "format", "-t", k.ClusterID, "-c", k.Properties)
	if out, errOut, err := process.Run(time.Minute, format[0], format[1:]...); err != nil {
		t.Fatalf("format Apache Kafka's directory: %v\n%s%s", err, out, errOut)
	}
	k.Restart(t)
	return k
}

// On starts a node on a properties file and directory that exist already, as after an export.
func On(t testing.TB, properties, addr, controllerAddr, dir string) *Kafka {
	t.Helper()
	k := &Kafka{jvm: small("768m"), Addr: addr, ControllerAddr: controllerAddr, Dir: dir, Properties: properties}
	k.Restart(t)
	return k
}

// Restart starts the node again on its directory, after Stop or Kill.
func (k *Kafka) Restart(t testing.TB) {
	t.Helper()
	command := java(t, "broker", k.jvm, "kafka.Kafka", k.Properties)
	k.Process = process.Start(t, "Apache Kafka", exec.Command(command[0], command[1:]...))
	k.AwaitPort(t, k.Addr, time.Minute)
}

// toolClasses are the main classes behind the scripts of Kafka's bin directory.
var toolClasses = map[string]string{
	"kafka-topics":           "org.apache.kafka.tools.TopicCommand",
	"kafka-console-producer": "org.apache.kafka.tools.ConsoleProducer",
	"kafka-console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
	"kafka-configs":          "kafka.admin.ConfigCommand",
	"kafka-get-offsets":      "org.apache.kafka.tools.GetOffsetShell",
	"kafka-delete-records":   "org.apache.kafka.tools.DeleteRecordsCommand",
	"kafka-log-dirs":         "org.apache.kafka.tools.LogDirsCommand",
	"kafka-dump-log":         "org.apache.kafka.tools.DumpLogSegments",
	"kafka-storage":          "kafka.tools.StorageTool",
	"kafka-cluster":          "org.apache.kafka.tools.ClusterTool",
	"kafka-consumer-groups":  "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
	"kafka-groups":           "org.apache.kafka.tools.GroupsCommand",
	"kafka-metadata-quorum":  "org.apache.kafka.tools.MetadataQuorumCommand",
	"kafka-features":         "org.apache.kafka.tools.FeatureCommand",
}

// Tool runs one of Kafka's command-line tools, against whatever broker its arguments name, and returns what
// it printed.
func Tool(t testing.TB, input, name string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	command := ToolCommand(t, name, args...)
	return process.RunInput(3*time.Minute, input, command[0], command[1:]...)
}

// ToolCommand is the command line of one of Kafka's tools, for those that run until they are told to end.
func ToolCommand(t testing.TB, name string, args ...string) []string {
	t.Helper()
	class, ok := toolClasses[name]
	if !ok {
		t.Fatalf("no such tool: %s", name)
	}
	return java(t, "tools", small("256m"), class, args...)
}

// MustTool is Tool for calls that have to succeed.
func MustTool(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, errOut, err := Tool(t, "", name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, out, errOut)
	}
	return out
}

// ClassPath returns the class path of "broker", which has Kafka's Java client as well, or of "tools".
func ClassPath(t testing.TB, what string) string {
	t.Helper()
	dir, err := jars[what]()
	if err != nil {
		t.Fatal(err)
	}
	return dir + "/*"
}
