package commitlog

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// One appends while others read, flush, checkpoint, scrub, retain, describe and cool the log: every read is whole, in
// order and below its limit, and in the end everything that was not deleted is there.
func TestConcurrentUse(t *testing.T) {
	disk := vfs.NewMem()
	l := newTestLog(t, disk, testConfig(func(c *Config) {
		c.SegmentBytes, c.IndexIntervalBytes, c.RetentionBytes, c.FileDeleteDelay = 4000, 100, 20_000, 0
	}))
	const batches = 600
	done := make(chan struct{})
	var others sync.WaitGroup
	loop := func(what string, do func(i int) error) {
		others.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := do(i); err != nil {
					t.Errorf("%s: %v", what, err)
					return
				}
			}
		})
	}
	loop("flush", func(int) error { return l.flushAll() })
	loop("checkpoint", func(int) error { _, err := l.PrepareCheckpoint(); return err })
	loop("cool", func(int) error { l.Cool(); return nil })
	loop("retain", func(i int) error {
		_, err := l.Retain(t0.Add(time.Duration(i)*time.Millisecond), l.Flushed())
		return err
	})
	loop("scrub", func(int) error {
		if err := l.Scrub(context.Background(), unlimited{}); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	})
	loop("describe", func(i int) error {
		l.Producers()
		l.EndOffsetForEpoch(int32(i % 7))
		_, _, err := l.OffsetForTimestamp(t0.UnixMilli()+int64(i%batches), l.EndOffset())
		if err == nil {
			_, err = l.AbortedTxns(l.StartOffset(), l.EndOffset())
		}
		return err
	})
	for range 2 {
		next := int64(0)
		loop("read", func(int) error {
			limit := l.Flushed()
			s, err := l.Read(next, 1500, limit, true)
			if kafka.CodeOf(err) == kafka.OffsetOutOfRange { // retention was faster
				next = l.StartOffset()
				return nil
			}
			if err != nil || s.Range == nil {
				return err
			}
			rs := readSlice(t, s)
			for _, r := range rs {
				if r.offset < next || r.offset >= limit || r.value != fmt.Sprintf("v%d", r.offset) {
					return fmt.Errorf("read %+v below %d where %d must follow", r, limit, next)
				}
				next = r.offset + 1
			}
			return nil
		})
	}
	for i := range int64(batches) {
		s := idem(i%3, 0, int32(i/3)*2, fmt.Sprintf("v%d", 2*i), fmt.Sprintf("v%d", 2*i+1))
		s.ts = t0.UnixMilli() + i
		if info := mustAppend(t, l, s, int32(i/100), t0); info.FirstOffset != 2*i {
			t.Fatalf("batch %d is at %d", i, info.FirstOffset)
		}
	}
	close(done)
	others.Wait()
	rs := readAll(t, l, l.StartOffset())
	if n := int64(len(rs)); n != 2*batches-l.StartOffset() {
		t.Errorf("%d records from %d on", n, l.StartOffset())
	}
	mustClose(t, l)
	checkClean(t, disk)
}

// A range that was read before a truncation gives out nothing after it, since other bytes may lie there by then. One of a
// segment that was deleted goes on.
func TestTruncatedUnderAReader(t *testing.T) {
	l := newTestLog(t, vfs.NewMem(), testConfig())
	for range 3 {
		mustAppend(t, l, plain(t0.UnixMilli(), "before"), 1, t0)
	}
	read := func() Slice {
		t.Helper()
		s, err := l.Read(0, 1<<20, l.EndOffset(), true)
		if err != nil || s.Range == nil {
			t.Fatalf("read: %v, %v", s, err)
		}
		return s
	}
	cut := read()
	defer cut.Range.Release()
	buf := make([]byte, cut.Range.Len())
	if n, err := cut.Range.ReadAt(buf, 0); n != len(buf) || err != nil || cut.Range.Intact() != nil {
		t.Fatalf("%d of %d bytes, %v, %v", n, len(buf), err, cut.Range.Intact())
	}
	if err := l.TruncateTo(1); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		mustAppend(t, l, plain(t0.UnixMilli(), "behind"), 2, t0)
	}
	if n, err := cut.Range.ReadAt(buf, 0); n != 0 || !errors.Is(err, errCut) || !errors.Is(cut.Range.Intact(), errCut) {
		t.Errorf("after a truncation: %d bytes, %v, %v", n, err, cut.Range.Intact())
	}
	deleted := read()
	defer deleted.Range.Release()
	if err := l.TruncateFullyAndStartAt(10); err != nil {
		t.Fatal(err)
	}
	if n, err := deleted.Range.ReadAt(buf, 0); n != len(buf) || err != nil || deleted.Range.Intact() != nil {
		t.Errorf("of a deleted segment: %d of %d bytes, %v, %v", n, len(buf), err, deleted.Range.Intact())
	}
}
