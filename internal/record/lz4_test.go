package record

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"testing"

	"github.com/pierrec/lz4/v4"
)

// TestLz4FramesOfLargeBlocks reads frames that claim blocks of 4 MiB, as Go's clients write them: their small blocks
// must not cost 4 MiB each, and none is refused however well it was compressed.
func TestLz4FramesOfLargeBlocks(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget at random")
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	text := func(n int) []byte {
		var b []byte
		for len(b) < n {
			b = fmt.Appendf(b, "%x order accepted; ", rnd.IntN(1<<16))
		}
		return b[:n]
	}
	for name, plain := range map[string][]byte{
		"a usual ratio": text(100_000), "a large batch": text(1_000_000), "zeros": make([]byte, 3<<20), "two blocks": text(5 << 20),
	} {
		var frame bytes.Buffer
		w := lz4.NewWriter(&frame)
		if err := w.Apply(lz4.BlockSizeOption(lz4.Block4Mb)); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(plain); err != nil || w.Close() != nil {
			t.Fatal(err)
		}
		var pool Pool
		read := func() {
			d := pool.Get()
			defer pool.Put(d)
			blocks, err := d.open(frame.Bytes(), CodecLz4, 2)
			if err != nil {
				t.Fatal(name, err)
			}
			for rest := plain; len(rest) > 0; {
				b, err := blocks.next()
				if err != nil || !bytes.HasPrefix(rest, b) {
					t.Fatalf("%s: %d bytes that do not continue what was written, %v", name, len(b), err)
				}
				rest = rest[len(b):]
			}
		}
		// A collection would empty the pools, and another processor has pools of its own.
		defer debug.SetGCPercent(debug.SetGCPercent(-1))
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
		read()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range 20 {
			read()
		}
		runtime.ReadMemStats(&after)
		if each := (after.TotalAlloc - before.TotalAlloc) / 20; each > 256<<10 {
			t.Errorf("%s: a frame of %d bytes costs %d bytes of garbage", name, frame.Len(), each)
		}
	}
}
