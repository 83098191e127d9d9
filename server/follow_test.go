package server

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// Nobody waits for a take that is slow, the last change is always taken over, and the end does not wait for it.
func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var newest, taken, takes atomic.Int32
		begun := time.Now()
		f := follow(func(ctx context.Context) {
			takes.Add(1)
			now := newest.Load()
			select {
			case <-time.After(2 * time.Second):
				taken.Store(now)
			case <-ctx.Done():
			}
		})
		f.changed()
		synctest.Wait() // it is at work
		for i := range int32(100) {
			newest.Store(i)
			f.changed()
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("those who tell of changes waited for %v", took)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if taken.Load() != 99 || takes.Load() != 2 {
			t.Errorf("change %d was taken over last, in %d takes, want 99 in 2", taken.Load(), takes.Load())
		}
		f.changed()
		synctest.Wait()
		begun = time.Now()
		f.close()
		f.changed()
		if took := time.Since(begun); took > 0 {
			t.Errorf("the end waited for %v", took)
		}
	})
}
