package server_test

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// atRest is what a process holds while nothing happens in it.
type atRest struct{ goroutines, timers, files int }

// measure counts what the process of the test holds. Timers are counted as the objects that live on the heap and were
// made by the time package, which runtime.MemProfileRate must have been 1 for.
func measure(t *testing.T) atRest {
	t.Helper()
	for range 3 { // the profile is of the collection before the last
		runtime.GC()
	}
	r := atRest{goroutines: runtime.NumGoroutine()}
	records := make([]runtime.MemProfileRecord, 1<<16)
	n, ok := runtime.MemProfile(records, false)
	if !ok {
		t.Fatalf("%d records of the memory profile are more than expected", n)
	}
	for i := range n {
		frames := runtime.CallersFrames(records[i].Stack())
		for more := true; more; {
			var frame runtime.Frame
			if frame, more = frames.Next(); frame.Function == "time.newTimer" || frame.Function == "time.AfterFunc" {
				r.timers += int(records[i].InUseObjects())
				break
			}
		}
	}
	if runtime.GOOS == "linux" {
		files, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if name, err := os.Readlink("/proc/self/fd/" + f.Name()); err == nil && !strings.HasPrefix(name, "socket:") {
				r.files++
			}
		}
	}
	return r
}

// Partitions at rest own no goroutine, no timer and no descriptor: a node that was started with a thousand of them holds
// what one with none does.
func TestPartitionsAtRestOwnNothing(t *testing.T) {
	rate := runtime.MemProfileRate
	runtime.MemProfileRate = 1
	t.Cleanup(func() { runtime.MemProfileRate = rate })
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n := startNode(t, "log.reserve.bytes", "0")
	n.restart()
	none := measure(t)
	if none.timers == 0 || none.goroutines == 0 {
		t.Fatalf("a node has timers and goroutines; counted were %+v", none)
	}

	client := n.client()
	if _, err := kadm.NewClient(client).CreateTopic(ctx, 1000, 1, nil, "at-rest"); err != nil {
		t.Fatal(err)
	}
	client.Close()
	n.restart()
	var thousand atRest
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) { // what a start does ends by itself
		thousand = measure(t)
		if thousand.goroutines <= none.goroutines+5 && thousand.timers <= none.timers+5 && thousand.files <= none.files+5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("with a thousand partitions at rest a node holds %+v, without %+v", thousand, none)
		}
	}
	t.Logf("at rest: %+v without partitions, %+v with a thousand", none, thousand)
}
