package quorum

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// fill leaves so many bytes of the disk.
func fill(t *testing.T, disk *vfs.Mem, left int64) {
	t.Helper()
	disk.SetCapacity(0)
	usage, err := disk.Usage("/meta")
	if err != nil {
		t.Fatal(err)
	}
	disk.SetCapacity(usage.Total - usage.Free + left)
}

// On a full disk the reserve takes what is no growth; then changes are refused, and the node goes on. A start works
// with nothing left. With room again all is as before.
func TestAFullDiskStopsNoNode(t *testing.T) {
	disk := vfs.NewMem()
	format(t, disk)
	n, _ := start(t, disk, nil)
	big := [][]byte{[]byte(strings.Repeat("x", 100_000))}
	write := func() error {
		t.Helper()
		_, epoch := n.Leader()
		_, err := n.Propose(context.Background(), epoch, big)
		return err
	}
	if err := write(); err != nil || n.Room() != nil {
		t.Fatal(err, n.Room())
	}
	fill(t, disk, 0)
	if err := n.Room(); kafka.CodeOf(err) != kafka.KafkaStorageError {
		t.Errorf("nothing is free, and there is room for new topics: %v", err)
	}
	accepted := 0
	var err error
	for err == nil && accepted < 100 {
		if err = write(); err == nil {
			accepted++
		}
	}
	if kafka.CodeOf(err) != kafka.KafkaStorageError || accepted < 5 || accepted > reserveLen/100_000 {
		t.Fatalf("%d changes fit into the reserve, then: %v", accepted, err)
	}
	if err := n.Room(); kafka.CodeOf(err) != kafka.KafkaStorageError {
		t.Errorf("room for new topics: %v", err)
	}
	fill(t, disk, 0)
	stop(t, n)

	fill(t, disk, 128<<10) // a start is an epoch, and a file that is replaced
	n, m := start(t, disk, nil)
	if got := len(m.values()); got != accepted+2 {
		t.Errorf("%d records, want %d", got, accepted+2)
	}
	disk.SetCapacity(0)
	if err := write(); err != nil || n.Room() != nil {
		t.Errorf("with room again: %v, %v", err, n.Room())
	}
	if got := files(t, disk, reserveFile); len(got) != 1 {
		t.Errorf("the reserve was not made anew: %v", got)
	}
	stop(t, n)

	// The new reserve makes it possible to start with nothing left.
	fill(t, disk, 0)
	n, _ = start(t, disk, nil)
	if got := files(t, disk, reserveFile); len(got) != 0 {
		t.Errorf("the reserve was not used: %v", got)
	}
	stop(t, n)
}

// A change that was accepted and then finds no room, since others took it, waits; closing does not wait with it.
func TestAnAcceptedChangeWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := vfs.NewMem()
		format(t, disk)
		fault := vfs.NewFail(disk)
		failed := make(chan error, 1)
		n, m := start(t, fault, func(o *Options) { o.Failed = func(err error) { failed <- err } })
		fault.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", Err: syscall.ENOSPC})
		done := make(chan error, 1)
		propose := func() {
			if _, err := n.ProposeAsync(1, [][]byte{[]byte("waits")}, func(_ int64, err error) { done <- err }); err != nil {
				t.Fatal(err)
			}
		}
		propose()
		time.Sleep(time.Hour)
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the change is done: %v", err)
		case err := <-failed:
			t.Fatalf("the node failed: %v", err)
		default:
		}
		fault.Clear()
		if err := <-done; err != nil {
			t.Errorf("with room again: %v", err)
		}
		if got := m.values(); len(got) != 2 || got[1] != "waits" {
			t.Errorf("records %d", len(got))
		}

		fault.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", Err: syscall.ENOSPC})
		propose()
		time.Sleep(time.Second)
		n.Close()
		if err := <-done; kafka.CodeOf(err) != kafka.NotController {
			t.Errorf("a change that waited when the node was closed: %v", err)
		}
	})
}
