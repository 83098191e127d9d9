package server

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/server/internal/vfs"
	"github.com/millrace-io/millrace/server/offline"
)

// TestExportAfterAPowerLoss: what was acknowledged goes to Kafka although the node never started again to put its logs in
// order, a check says what a start will do, and the node's own directory stays as the power loss left it.
func TestExportAfterAPowerLoss(t *testing.T) {
	disk := vfs.NewMem()
	s := started(t, on(t, disk, "log.dirs", "/a"))
	b := (&bench{node: s, disk: disk, client: clientOf(t, s)}).on(t)
	topic := b.topic("t")
	for range 3 {
		b.produce(topic, &kgo.Record{Value: []byte("value")})
	}
	after := disk.CrashClone(vfs.CrashOptions{})
	name := "/" + topic + "-0/00000000000000000000.log"
	whole, err := vfs.ReadFile(disk, "/a"+name)
	if err != nil {
		t.Fatal(err)
	}
	left, err := vfs.ReadFile(after, "/a"+name)
	if err != nil || len(left) >= len(whole) {
		t.Fatalf("the power loss left %d of %d bytes, %v: there is nothing to complete", len(left), len(whole), err)
	}
	said := ""
	err = offline.Check(context.Background(), []string{"/a/" + topic + "-0"}, offline.CheckOptions{FS: after}, func(c offline.Checked) { said += fmt.Sprint(c.Findings) })
	if want := fmt.Sprintf("its journal has %d bytes that the file lacks", len(whole)-len(left)); err != nil || !strings.Contains(said, want) {
		t.Errorf("a check said %v, %q, want %q", err, said, want)
	}
	o := offline.ExportOptions{FS: after, To: []string{"/out"}, Node: offline.FormatOptions{NodeID: 1, LogDirs: []string{"/a"}, MetadataLogDir: "/a"}}
	if _, err := offline.Export(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	if exported, err := vfs.ReadFile(after, "/out"+name); err != nil || string(exported) != string(whole) {
		t.Errorf("%d of %d bytes were exported, %v", len(exported), len(whole), err)
	}
	if own, _ := vfs.ReadFile(after, "/a"+name); len(own) != len(left) {
		t.Errorf("the node's own log has %d bytes and had %d", len(own), len(left))
	}
}
