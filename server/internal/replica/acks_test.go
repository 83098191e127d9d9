package replica

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// TestAcksAgainstModel appends at random times, with all acks and both classes, over a disk whose syncs take a random
// time. The model is a list for each partition: offsets are given out in order without a gap, every request is
// answered once, and at the moment of an answer what its class and acks promise holds.
func TestAcksAgainstModel(t *testing.T) {
	for seed := range uint64(25) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 3))
			var mu sync.Mutex
			pause := func(most int) time.Duration {
				mu.Lock()
				defer mu.Unlock()
				return time.Duration(dice.IntN(most)) * time.Millisecond
			}
			fail := vfs.NewFail(vfs.NewMem())
			n := newNode(t, fail, nil).load()
			defer n.close()
			n.apply(topicRecords("t", idT, 3)...)
			n.apply(topicRecords("u", idU, 3, "durability", "cache")...)
			fail.Add(&vfs.Rule{Ops: vfs.OpSync, Path: appendedFiles, Hook: func(vfs.Op, string) { time.Sleep(pause(40)) }})

			answers := map[*AppendRequest]int{}
			taken := map[string][]bool{} // by partition: which offsets were given out
			highs := map[string]int64{}
			var all sync.WaitGroup
			for producer := range 5 {
				all.Go(func() {
					for i := range 12 {
						time.Sleep(pause(30))
						acks := int16(pause(3)/time.Millisecond) - 1
						done := make(chan struct{})
						req := &AppendRequest{Acks: acks, Timeout: time.Minute, Version: 12}
						req.Done = func(r *AppendRequest) {
							mu.Lock()
							defer mu.Unlock()
							answers[r]++
							for j := range r.Entries {
								e := &r.Entries[j]
								if e.Err != nil {
									t.Errorf("seed %d: %v", seed, e.Err)
									continue
								}
								p, _ := n.m.find(e.Topic, kafka.TopicID{}, e.Partition)
								end := e.BaseOffset + 2
								if acks == 1 && e.Topic == "t" && p.log.Flushed() < end {
									t.Errorf("seed %d: acks=1 was answered at %d with only %d on the disk", seed, end, p.log.Flushed())
								}
								if acks == -1 && p.high.Load() < end {
									t.Errorf("seed %d: acks=all was answered at %d with the high watermark at %d", seed, end, p.high.Load())
								}
								key := p.tp().String()
								for _, offset := range []int64{end - 2, end - 1} {
									for int64(len(taken[key])) <= offset {
										taken[key] = append(taken[key], false)
									}
									if taken[key][offset] {
										t.Errorf("seed %d: offset %d of %s was given out twice", seed, offset, key)
									}
									taken[key][offset] = true
								}
								if h := p.high.Load(); h < highs[key] {
									t.Errorf("seed %d: the high watermark of %s went back from %d to %d", seed, key, highs[key], h)
								} else {
									highs[key] = h
								}
								if e.Topic == "t" && p.high.Load() > p.log.Flushed() {
									t.Errorf("seed %d: the high watermark of %s is past what is on the disk", seed, key)
								}
							}
							close(done)
						}
						for j := range 1 + int(pause(3)/time.Millisecond) {
							topic := []string{"t", "u"}[(producer+i+j)%2]
							req.Entries = append(req.Entries, AppendEntry{Topic: topic, Partition: int32((i + j) % 3), Records: batchOf(fmt.Sprint(producer, i, j), "second")})
						}
						n.m.Append(req)
						<-done
					}
				})
			}
			all.Wait()
			time.Sleep(time.Second)
			fail.Clear()
			mu.Lock()
			defer mu.Unlock()
			if len(answers) != 60 {
				t.Errorf("seed %d: %d of 60 requests were answered", seed, len(answers))
			}
			for _, count := range answers {
				if count != 1 {
					t.Errorf("seed %d: a request was answered %d times", seed, count)
				}
			}
			for p := range n.m.topics.replicas() {
				key := p.tp().String()
				for offset, given := range taken[key] {
					if !given {
						t.Errorf("seed %d: offset %d of %s was never given out", seed, offset, key)
					}
				}
				if int64(len(taken[key])) != p.log.EndOffset() || p.high.Load() != p.log.EndOffset() {
					t.Errorf("seed %d: %s ends at %d, watermark %d, %d were given out", seed, key, p.log.EndOffset(), p.high.Load(), len(taken[key]))
				}
			}
		})
	}
}
