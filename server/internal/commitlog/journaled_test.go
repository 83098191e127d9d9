package commitlog

import (
	"bytes"
	"errors"
	"syscall"
	"testing"

	"github.com/millrace-io/millrace/server/internal/vfs"
)

// journaled flushes as a journal does: it keeps the bytes that it returns, and no file is synced. ok is false when the
// flush is not for a journal; then nothing was flushed.
func journaled(t *testing.T, l *Log) (kept []byte, ok bool) {
	t.Helper()
	f, some := l.BeginFlush()
	if !some {
		t.Fatal("there is nothing to flush")
	}
	n, ok := f.Loose()
	if !ok {
		return nil, false
	}
	for i, run := range f.LooseRuns {
		b := make([]byte, run.Length)
		if err := f.ReadRun(i, run, b); err != nil {
			t.Fatal(err)
		}
		kept = append(kept, b...)
	}
	if int64(len(kept)) != n {
		t.Errorf("%d bytes are loose, and the runs have %d", n, len(kept))
	}
	f.Journaled()
	if end := l.EndFlush(f, nil); end != l.EndOffset() {
		t.Errorf("flushed to %d, and the log ends at %d", end, l.EndOffset())
	}
	return kept, true
}

// TestJournaled: what of a flush is for a journal, when nothing is, and that the files are synced before anybody relies on
// them alone.
func TestJournaled(t *testing.T) {
	fail := vfs.NewFail(vfs.NewMem())
	synced := 0
	counts := &vfs.Rule{Ops: vfs.OpSync, Path: "*.log", Hook: func(vfs.Op, string) { synced++ }}
	fail.Add(counts)
	wantSyncs := func(what string, want int) {
		t.Helper()
		if synced != want {
			t.Errorf("%s: %d syncs of the log, want %d", what, synced, want)
		}
		synced = 0
	}
	l := newTestLog(t, fail, testConfig())
	appended := func(value string) (bytes int64) {
		t.Helper()
		s := plain(t0.UnixMilli(), value)
		at := l.Size()
		mustAppend(t, l, s, 0, t0)
		return l.Size() - at
	}
	refused := func(what string) {
		t.Helper()
		if _, ok := journaled(t, l); ok {
			t.Errorf("%s: a journal would do", what)
		}
		mustFlush(t, l)
		wantSyncs(what, 1)
	}

	appended("a")
	refused("new files")
	for _, value := range []string{"b", "cc"} { // the second time only what is new
		want := appended(value)
		kept, ok := journaled(t, l)
		if !ok || int64(len(kept)) != want || !bytes.Contains(kept, []byte(value)) {
			t.Fatalf("append of %q: %d bytes for the journal, %v, want %d", value, len(kept), ok, want)
		}
	}
	wantSyncs("journaled", 0)
	for _, want := range []int{1, 0} {
		if err := l.SyncFiles(); err != nil {
			t.Fatal(err)
		}
		wantSyncs("SyncFiles", want)
	}

	appended("d")
	journaled(t, l)
	if point, err := l.PrepareCheckpoint(); err != nil || point != l.EndOffset() {
		t.Errorf("recovery point %d, %v", point, err)
	}
	wantSyncs("the checkpoint", 1)

	appended("e")
	journaled(t, l)
	end := l.EndOffset()
	appended("f")
	journaled(t, l)
	if err := l.TruncateTo(end); err != nil {
		t.Fatal(err)
	}
	if err := l.SyncFiles(); err != nil {
		t.Fatal(err)
	}
	wantSyncs("what is left of a log that was cut", 1)
	if err := l.TruncateTo(end - 1); err != nil {
		t.Fatal(err)
	}
	appended("g")
	refused("a log that was cut")

	fail.Add(&vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", Err: syscall.ENOSPC})
	if _, err := l.Append(plain(t0.UnixMilli(), "h").batch(), AppendOptions{ProduceVersion: 12}, t0); !IsFull(err) {
		t.Fatal(err)
	}
	fail.Clear()
	fail.Add(counts)
	appended("i")
	refused("a write that was taken back")

	appended("j")
	journaled(t, l)
	l.fail("test", errors.New("of another kind"))
	if err := l.SyncFiles(); err != nil {
		t.Error(err)
	}
	wantSyncs("a log that failed otherwise", 1)
}
