package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/kafka"
)

// Both commands that format take the same options, do the same and refuse in the same words.
func TestBothFormatsAreOne(t *testing.T) {
	base := t.TempDir()
	id, directory := kafka.NewUUID().String(), kafka.NewUUID().String()
	made := 0
	// file writes the properties of a node that has a fresh directory.
	file := func(static bool) (name, dir string) {
		made++
		dir = filepath.Join(base, fmt.Sprint(made))
		name = dir + ".properties"
		quorum := "controller.quorum.bootstrap.servers=127.0.0.1:9093\n"
		if static {
			quorum = "controller.quorum.voters=1@127.0.0.1:9093\n"
		}
		text := "process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\ncontroller.listener.names=CONTROLLER\nlog.dirs=" + dir + "\n" + quorum
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return name, dir
	}
	faces := map[string][]string{"millrace storage": {"storage", "format"}, "kafka-storage": {"kafka-storage", "format"}}

	for _, c := range []struct {
		static bool
		args   []string
		want   string // what is refused with
	}{
		{false, nil, "Because controller.quorum.voters is not set on this controller, you must specify one of the following: --standalone, --initial-controllers, or --no-initial-controllers."},
		{true, []string{"--standalone"}, "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone."},
		{true, []string{"-I", "1@h:1:" + directory}, "You cannot specify controller.quorum.voters and format the node with --initial-controllers or --standalone."},
		{false, []string{"-N"}, "use --standalone rather than --no-initial-controllers"},
		{false, []string{"-I", ""}, "No voters given."},
		{false, []string{"-I", "1@h:x:" + directory}, "Failed to parse port in dynamic voter string."},
		{false, []string{"-I", "1@h:1:" + directory + ",2@h:2:" + directory}, "this version runs a quorum of one"},
		{false, []string{"-I", "7@h:1:" + directory}, "--initial-controllers names node 7, but node.id is 1"},
		{false, []string{"-I", "1@h:1:!"}, "Failed to parse directory ID in dynamic voter string."},
		{true, []string{"-r", "1.0"}, "Unknown metadata.version '1.0'. Supported metadata.version are: 3.3-IV3, "},
		{true, []string{"-r", ""}, "Unknown metadata.version ''."},
		{true, []string{"-r", "3.9", "-f", "metadata.version=20"}, "Use --release-version instead of --feature metadata.version=X to avoid ambiguity."},
		{true, []string{"-f", "metadata.version=1"}, "No MetadataVersion with feature level 1."},
		{true, []string{"-f", "group.version"}, "Can't parse feature=level string group.version: equals sign not found."},
		{true, []string{"-f", "foo=1"}, "Unsupported feature: foo. Supported features are: "},
		{true, []string{"-f", "kraft.version=1"}, "Cannot set kraft.version to 1 unless controller.quorum.voters is empty"},
		{false, []string{"-s", "-f", "kraft.version=0"}, "Cannot set kraft.version to 0 if controller.quorum.voters is empty"},
		{true, []string{"-S", "SCRAM-SHA-1=[name=a]"}, "The add-scram mechanism SCRAM-SHA-1 is not supported."},
		{true, []string{"-r", "3.4", "-S", "SCRAM-SHA-256=[name=a,password=b]"}, "SCRAM is only supported in metadata.version 3.5-IV2 or later."},
	} {
		for face, command := range faces {
			name, dir := file(c.static)
			code, _, stderr := millrace(t, append(append(append([]string{}, command...), "-c", name, "-t", id), c.args...)...)
			if code != 1 || !strings.Contains(stderr, c.want) {
				t.Errorf("%s %q: code %d, said %q, want %q", face, c.args, code, stderr, c.want)
			}
			if _, err := os.Stat(filepath.Join(dir, "meta.properties")); err == nil {
				t.Errorf("%s %q has formatted", face, c.args)
			}
		}
	}

	for _, args := range [][]string{{"-s", "-N"}, {"-s", "-I", "1@h:1:" + directory}, {"-N", "-I", "1@h:1:" + directory}} {
		for face, command := range faces {
			name, _ := file(false)
			if code, _, stderr := millrace(t, append(append(append([]string{}, command...), "-c", name, "-t", id), args...)...); code == 0 {
				t.Errorf("%s %q: %q", face, args, stderr)
			}
		}
	}

	for _, c := range []struct {
		static bool
		args   []string
		want   []string // in the first snapshot of the metadata
		not    string
	}{
		{true, nil, []string{"metadata.version", "group.version"}, "KRaftVoters"},
		{false, []string{"--standalone"}, []string{"KRaftVoters", "group.version"}, ""},
		{false, []string{"-I", "1@voter.example:1234:" + directory, "-r", "3.9", "-S", "SCRAM-SHA-256=[name=alice,password=secret]"},
			[]string{"voter.example", directory, `"featureLevel":21`, "alice"}, "group.version"},
		{true, []string{"-f", "group.version=0"}, []string{"metadata.version"}, "group.version"},
	} {
		var shown []string
		for face, command := range faces {
			name, dir := file(c.static)
			code, out, stderr := millrace(t, append(append(append([]string{}, command...), "-c", name, "-t", id), c.args...)...)
			if code != 0 || !strings.Contains(out, "metadata.version ") {
				t.Fatalf("%s %q: code %d, %q, %q", face, c.args, code, out, stderr)
			}
			files, err := filepath.Glob(filepath.Join(dir, "__cluster_metadata-0", "*.checkpoint"))
			if err != nil || len(files) != 1 {
				t.Fatalf("%s %q: %v, %v", face, c.args, files, err)
			}
			code, out, stderr = millrace(t, "kafka-dump-log", "--cluster-metadata-decoder", "--files", files[0])
			if code != 0 {
				t.Fatal(stderr)
			}
			for _, want := range c.want {
				if !strings.Contains(out, want) {
					t.Errorf("%s %q: %s is missing in\n%s", face, c.args, want, out)
				}
			}
			if c.not != "" && strings.Contains(out, c.not) {
				t.Errorf("%s %q: there is %s in\n%s", face, c.args, c.not, out)
			}
			var features []string
			for line := range strings.Lines(out) {
				if _, payload, ok := strings.Cut(line, " payload: "); ok && strings.Contains(payload, "FEATURE_LEVEL_RECORD") {
					features = append(features, strings.TrimSpace(payload))
				}
			}
			shown = append(shown, strings.Join(features, "\n"))
			if face == "millrace storage" { // it starts
				log, ended, stop := start(t, "server", name)
				log.await(t, "serving", ended)
				if err := stop(); err != nil {
					t.Error(err)
				}
			}
		}
		if len(shown) != 2 || shown[0] != shown[1] || shown[0] == "" {
			t.Errorf("%q: the two begin with other features:\n%s\n%s", c.args, shown[0], shown[1])
		}
	}
}

// A server that finds its directories unformatted names a command that works.
func TestTheCommandThatFormatsIsNamed(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	name := dir + ".properties"
	if err := os.WriteFile(name, []byte("process.roles=broker,controller\nnode.id=1\nlisteners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0\ncontroller.listener.names=CONTROLLER\ncontroller.quorum.bootstrap.servers=127.0.0.1:9093\nlog.dirs="+dir+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, _, stderr := millrace(t, "server", name)
	_, command, found := strings.Cut(strings.TrimSpace(stderr), "this formats it: millrace ")
	if !found {
		t.Fatalf("said %q", stderr)
	}
	if code, _, stderr := millrace(t, strings.Fields(command)...); code != 0 {
		t.Errorf("millrace %s: code %d, said %q", command, code, stderr)
	}
}
