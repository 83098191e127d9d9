package server

import (
	"context"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestAStopWhileReplicasAreCreated: a stop does not wait until all replicas of a large topic are there; the next start creates
// those that are missing.
func TestAStopWhileReplicasAreCreated(t *testing.T) {
	const partitions = 64
	begun, released := make(chan struct{}), make(chan struct{})
	var once sync.Once
	rule := &vfs.Rule{Ops: vfs.OpMkdir, Path: "large-*", Hook: func(vfs.Op, string) {
		once.Do(func() { close(begun) })
		<-released
	}}
	disk := vfs.NewFail(vfs.NewMem(), rule)
	s := started(t, on(t, disk, "log.dirs", "/a"))
	for i := range s.closers {
		if c := &s.closers[i]; c.what == theCreation {
			giveUp := c.close
			c.close = func(ctx context.Context) error {
				defer close(released) // the slow disk goes on
				return giveUp(ctx)
			}
		}
	}
	client := clientOf(t, s)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		b := &bench{T: t, node: s, client: client}
		b.tryTopic("large", partitions) // its answer may not come any more
	}()
	<-begun
	if err := s.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	client.Close()
	<-asked
	if hits := disk.Hits(rule); hits > partitions/4 {
		t.Errorf("%d of %d replicas were created before the stop", hits, partitions)
	}
	disk.Clear()
	s = started(t, on(t, disk, "log.dirs", "/a"))
	client = clientOf(t, s)
	for p := range int32(partitions) {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "large", Partition: p, Value: []byte("v")}).FirstErr(); err != nil {
			t.Fatalf("partition %d: %v", p, err)
		}
	}
}
