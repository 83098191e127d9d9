package cli

import (
	"context"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestMemoryIsGivenBackAtRestOnly(t *testing.T) {
	before := memory{allocated: 100 << 20}
	for _, c := range []struct {
		name  string
		now   memory
		kept  int64
		wants bool
	}{
		{"at rest, with much to gain", memory{100 << 20, 50 << 20}, 0, true},
		{"at rest, with little to gain", memory{100 << 20, 1 << 20}, 0, false},
		{"at rest, with nothing but what the last collection left", memory{100 << 20, 50 << 20}, 49 << 20, false},
		{"at work", memory{200 << 20, 50 << 20}, 0, false},
	} {
		if got := c.now.worthGiving(before, c.kept); got != c.wants {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

// TestABurstIsGivenBack takes much memory, drops it, and waits until the machine has it.
func TestABurstIsGivenBack(t *testing.T) {
	idle := func() int64 {
		sample := []metrics.Sample{{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/objects:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64() + sample[1].Value.Uint64())
	}
	burst := make([][]byte, 64)
	for i := range burst {
		burst[i] = make([]byte, 1<<20)
	}
	taken := idle()
	runtime.KeepAlive(burst)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		giveBackMemory(ctx, time.Millisecond, func() int64 { return 0 })
	}()
	defer func() {
		cancel()
		<-ended
	}()
	for deadline := time.Now().Add(30 * time.Second); idle() > taken-(32<<20); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("of %d bytes %d are still held", taken, idle())
		}
	}
}
