package replica

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

func TestFetchErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 1)...)
		n.apply(topicRecords("u", idU, 0)...)
		n.apply(partitionRecord(idU, 0, 3, 7, 8), partitionRecord(idU, 1, 4, 7, 1), partitionRecord(idU, 2, 5, 1))
		n.append("t", 0, -1, "a", "b")
		ask := func(version int16, topic string, p FetchPartition) FetchedPartition {
			req := fetchOf("t")
			req.Version, req.MaxWait = version, time.Hour // an error is answered at once
			p.Topic = topic
			req.Partitions = []FetchPartition{p}
			n.fetch(req)
			r := req.Responses[0]
			values(t, &r)
			return r
		}
		at := func(partition int32, offset int64) FetchPartition { return fetchPartition("", partition, offset) }
		in := func(epoch int32, p FetchPartition) FetchPartition { p.CurrentLeaderEpoch = epoch; return p }

		check(t, "past the end", kafka.CodeOf(ask(12, "t", at(0, 3)).Err), kafka.OffsetOutOfRange)
		check(t, "past the end, high watermark", ask(12, "t", at(0, 3)).HighWatermark, -1)
		check(t, "unknown topic", ask(12, "none", at(0, 0)).Err, kafka.UnknownTopicOrPartition)
		check(t, "unknown partition", ask(12, "t", at(9, 0)).Err, kafka.UnknownTopicOrPartition)
		elsewhere := ask(12, "u", at(0, 0))
		check(t, "elsewhere", elsewhere.Err, kafka.NotLeaderOrFollower)
		check(t, "elsewhere, hint", elsewhere.Leader, LeaderHint{true, 7, 3})
		check(t, "a follower, for a client that cannot read from one", ask(10, "u", at(1, 0)).Err, kafka.NotLeaderOrFollower)
		fenced := ask(12, "u", in(4, at(2, 0)))
		check(t, "an old epoch", fenced.Err, kafka.FencedLeaderEpoch)
		check(t, "an old epoch, hint", fenced.Leader, LeaderHint{true, 1, 5})
		check(t, "an epoch to come", ask(12, "u", in(6, at(2, 0))).Err, kafka.UnknownLeaderEpoch)
		wrongID := at(0, 0)
		wrongID.TopicID = idU
		check(t, "another topic's id", ask(13, "t", wrongID).Err, kafka.InconsistentTopicID)

		req := fetchOf("t", 0)
		req.Authorize = func(topic string) bool { return topic != "t" }
		check(t, "not allowed", n.fetch(req).Responses[0].Err, kafka.TopicAuthorizationFailed)

		// Partitions that cannot be read go to the end.
		req = fetchOf("t", 0)
		req.Partitions = append([]FetchPartition{fetchPartition("none", 0, 0)}, req.Partitions...)
		n.fetch(req)
		check(t, "order", req.Responses[0].Topic+" "+req.Responses[1].Topic, "t none")
		values(t, &req.Responses[0])
	})
}

// TestLongPollBesideErrors: a partition that cannot be read is told of when there is something to tell of the others, or
// when the wait is over; one that is read in vain, at once.
func TestLongPollBesideErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 1)...)
		n.apply(topicRecords("u", idU, 0)...)
		n.apply(partitionRecord(idU, 0, 3, 7, 8))
		beside := func(bad FetchPartition) *FetchRequest {
			req := fetchOf("t", 0)
			req.MaxWait = time.Minute
			req.Partitions = append([]FetchPartition{bad}, req.Partitions...)
			return req
		}
		begun := time.Now()
		check(t, "elsewhere", kafka.CodeOf(n.fetch(beside(fetchPartition("u", 0, 0))).Responses[0].Err), kafka.NotLeaderOrFollower)
		check(t, "elsewhere, waited", time.Since(begun), time.Duration(0))
		for _, bad := range []FetchPartition{fetchPartition("none", 0, 0), fetchPartition("t", 9, 0)} {
			begun = time.Now()
			check(t, "unknown", n.fetch(beside(bad)).Responses[1].Err, kafka.UnknownTopicOrPartition)
			check(t, "unknown, waited", time.Since(begun), time.Minute)
		}

		begun = time.Now()
		req := beside(fetchPartition("none", 0, 0))
		done := n.fetchAsync(req)
		time.Sleep(time.Second)
		n.append("t", 0, -1, "c")
		<-done
		check(t, "waited for what came", time.Since(begun), time.Second)
		check(t, "what came", values(t, &req.Responses[0]), []string{"c"})
		check(t, "beside it", req.Responses[1].Err, kafka.UnknownTopicOrPartition)
	})
}

func TestFetchLimits(t *testing.T) {
	n := newNode(t, vfs.NewMem(), nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 3)...)
	for p := range int32(3) {
		for i := range 4 {
			n.append("t", p, -1, fmt.Sprintf("%d%d", p, i))
		}
	}
	one := len(batchOf("00"))
	got := func(req *FetchRequest) string { n.fetch(req); return told(t, req) }
	req := fetchOf("t", 0, 0, 0)
	req.MaxBytes = int32(one)*5 + 1
	check(t, "response limit", got(req), "0:[00 01 02 03] 1:[10] 2:[] ")
	req = fetchOf("t", 0, 0, 0)
	req.MaxBytes = 1
	check(t, "the first batch however large", got(req), "0:[00] 1:[] 2:[] ")
	req = fetchOf("t", 4, 0, 0)
	req.MaxBytes = 1
	check(t, "the first that has one", got(req), "0:[] 1:[10] 2:[] ")
	req = fetchOf("t", 0, 0, 0)
	for i := range req.Partitions {
		req.Partitions[i].MaxBytes = int32(one) * 2
	}
	check(t, "partition limit", got(req), "0:[00 01] 1:[10 11] 2:[20 21] ")
}

// TestLongPoll: a fetch waits until there is enough, and is answered in the moment that there is.
func TestLongPoll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 2)...)
		begun := time.Now()
		req := fetchOf("t", 0, 0)
		req.MaxWait = 500 * time.Millisecond
		check(t, "nothing comes", told(t, n.fetch(req)), "0:[] 1:[] ")
		check(t, "took", time.Since(begun), 500*time.Millisecond)

		begun = time.Now()
		req = fetchOf("t", 0, 0)
		req.MaxWait = time.Hour
		done := n.fetchAsync(req)
		time.Sleep(time.Second)
		n.append("t", 1, -1, "x")
		<-done
		check(t, "something comes", told(t, req), "0:[] 1:[x] ")
		check(t, "took", time.Since(begun), time.Second)

		one := int32(len(batchOf("y")))
		begun = time.Now()
		req = fetchOf("t", 0, 1)
		req.MaxWait, req.MinBytes = time.Hour, 3*one
		done = n.fetchAsync(req)
		for i := range int32(3) {
			time.Sleep(time.Second)
			n.append("t", i%2, -1, "y")
		}
		<-done
		check(t, "enough comes", told(t, req), "0:[y y] 1:[y] ")
		check(t, "took", time.Since(begun), 3*time.Second)

		begun = time.Now()
		req = fetchOf("t", 2, 0)
		req.MaxWait, req.MinBytes = time.Second, 1000*one
		check(t, "too little comes", told(t, n.fetch(req)), "0:[] 1:[x y] ")
		check(t, "took", time.Since(begun), time.Second)

		// An event that ends the wait without records.
		req = fetchOf("t", 2, 2)
		req.MaxWait = time.Hour
		done = n.fetchAsync(req)
		n.apply(partitionRecord(idT, 0, 1, 1))
		<-done
		check(t, "a new leader epoch", told(t, req), "0:[] 1:[] ")

		// A deletion of records under a fetch that waits for its MinBytes.
		req = fetchOf("t", 0)
		req.MaxWait, req.MinBytes = time.Hour, 1000*one
		done = n.fetchAsync(req)
		n.m.DeleteRecords("t", 0, 2, time.Second, func(int64, error) {})
		<-done
		check(t, "the start moves past it", told(t, req), "0:[]!OFFSET_OUT_OF_RANGE ")

		// The topic is deleted: it counts as read, other than one that was not there when the wait began.
		n.apply(topicRecords("u", idU, 1)...)
		req = fetchOf("t", 2)
		req.MaxWait = time.Hour
		req.Partitions = append([]FetchPartition{fetchPartition("none", 0, 0), fetchPartition("u", 0, 0)}, req.Partitions...)
		done = n.fetchAsync(req)
		n.apply(&wire.RemoveTopicRecord{TopicID: idU})
		<-done
		check(t, "a topic that goes away", told(t, req), "0:[]!UNKNOWN_TOPIC_OR_PARTITION 0:[] 0:[]!UNKNOWN_TOPIC_OR_PARTITION ")
		check(t, "is unread", fmt.Sprint(req.Responses[0].Unread, req.Responses[2].Unread), "false true")
	})
}

func TestCancelFetch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 2)...)
		req := fetchOf("t", 0, 0)
		req.MaxWait = time.Hour
		done := n.fetchAsync(req)
		n.m.CancelFetch(req)
		<-done
		check(t, "partitions", len(req.Responses), 0)
		n.m.CancelFetch(req) // too late: nothing happens
		for i := range int32(2) {
			p, _ := n.m.find("t", kafka.TopicID{}, i)
			check(t, "nobody is left waiting", p.waiting == nil, true)
		}
		n.append("t", 0, -1, "x")
		time.Sleep(2 * time.Hour)
	})
}

// TestFetchManyWaiters: many parked fetches and appends, all answered, nobody left on a list.
func TestFetchManyWaiters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 8)...)
		var waits []<-chan struct{}
		var reqs []*FetchRequest
		for range 50 {
			req := fetchOf("t", make([]int64, 8)...)
			req.MaxWait = time.Minute
			waits, reqs = append(waits, n.fetchAsync(req)), append(reqs, req)
		}
		for p := range int32(8) {
			go n.append("t", p, int16(p%2)*-2+1, "v")
		}
		for i, w := range waits {
			<-w
			if !strings.Contains(told(t, reqs[i]), "v") {
				t.Errorf("fetch %d came back with nothing", i)
			}
		}
		synctest.Wait()
		for p := range n.m.topics.replicas() {
			check(t, "nobody is left waiting", p.waiting == nil && !p.somebodyWaits.Load(), true)
		}
	})
}

func TestDeleteRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := vfs.NewMem()
		n := newNode(t, mem, nil).load()
		n.apply(topicRecords("t", idT, 1)...)
		n.apply(topicRecords("u", idU, 1, "cleanup.policy", "compact")...)
		for range 5 {
			n.append("t", 0, -1, "a")
		}
		ask := func(topic string, offset int64) (low int64, err error) {
			done := make(chan struct{})
			n.m.DeleteRecords(topic, 0, offset, time.Second, func(l int64, e error) { low, err = l, e; close(done) })
			<-done
			return low, err
		}
		low, err := ask("t", 2)
		check(t, "deleted", fmt.Sprint(low, err), "2 <nil>")
		low, err = ask("t", 1)
		check(t, "deleted already", fmt.Sprint(low, err), "2 <nil>")
		_, err = ask("t", 6)
		check(t, "past the high watermark", kafka.CodeOf(err), kafka.OffsetOutOfRange)
		_, err = ask("t", -2)
		check(t, "negative", kafka.CodeOf(err), kafka.OffsetOutOfRange)
		_, err = ask("u", -1)
		check(t, "compacted", kafka.CodeOf(err), kafka.PolicyViolation)
		_, err = ask("none", 0)
		check(t, "unknown", kafka.CodeOf(err), kafka.UnknownTopicOrPartition)
		_, err = ask(kafka.ConsumerOffsetsTopic, 0)
		check(t, "internal", kafka.CodeOf(err), kafka.InvalidTopicException)
		low, err = ask("t", -1)
		check(t, "to the high watermark", fmt.Sprint(low, err), "5 <nil>")

		// It was saved before it was answered: no crash brings the records back.
		after := newNode(t, mem.CrashClone(vfs.CrashOptions{}), nil).load()
		after.apply(topicRecords("t", idT, 1)...)
		r, err := after.m.ListOffsets(OffsetQuery{Topic: "t", CurrentLeaderEpoch: -1, ReplicaID: -1, Timestamp: kafka.TimestampEarliest})
		check(t, "start after a crash", fmt.Sprint(r.Offset, err), "5 <nil>")
		after.close()
		n.close()
	})
}

func TestListOffsets(t *testing.T) {
	n := newNode(t, vfs.NewMem(), nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 1)...)
	n.apply(partitionRecord(idT, 0, 4, 1))
	base := time.Now().UnixMilli() - 1000
	for i, ms := range []int64{10, 30, 20} {
		<-n.appendAsync("t", 0, -1, batchAt(base+ms, fmt.Sprint(i)))
	}
	ask := func(timestamp int64) string {
		r, err := n.m.ListOffsets(OffsetQuery{Topic: "t", CurrentLeaderEpoch: 4, ReplicaID: -1, Timestamp: timestamp})
		if err != nil {
			return err.Error()
		}
		if r.Timestamp >= 0 {
			r.Timestamp -= base
		}
		return fmt.Sprint(r.Offset, r.Timestamp, r.LeaderEpoch)
	}
	check(t, "latest", ask(kafka.TimestampLatest), "3 -1 4")
	check(t, "earliest", ask(kafka.TimestampEarliest), "0 -1 4")
	check(t, "earliest local", ask(kafka.TimestampEarliestLocal), "0 -1 4")
	check(t, "latest tiered", ask(kafka.TimestampLatestTiered), "-1 -1 -1")
	check(t, "earliest pending upload", ask(kafka.TimestampEarliestPendingUpload), "-1 -1 -1")
	check(t, "greatest timestamp", ask(kafka.TimestampMax), "1 30 4")
	check(t, "by time", ask(base+11), "1 30 4")
	check(t, "by time, too late", ask(base+31), "-1 -1 -1")
	_, err := n.m.ListOffsets(OffsetQuery{Topic: "t", CurrentLeaderEpoch: 3, ReplicaID: -1, Timestamp: -1})
	check(t, "an old epoch", err, kafka.FencedLeaderEpoch)
	_, err = n.m.ListOffsets(OffsetQuery{Topic: "t", CurrentLeaderEpoch: 5, ReplicaID: -1, Timestamp: -1})
	check(t, "an epoch to come", err, kafka.UnknownLeaderEpoch)
}

// TestOffsetForLeaderEpoch: an epoch without records begins where the last one ended, although nothing was written
// of it yet.
func TestOffsetForLeaderEpoch(t *testing.T) {
	n := newNode(t, vfs.NewMem(), nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 1)...)
	n.append("t", 0, -1, "a")
	n.append("t", 0, -1, "b")
	n.apply(partitionRecord(idT, 0, 3, 1))
	ask := func(epoch int32) EpochEnd {
		end, err := n.m.OffsetForLeaderEpoch("t", 0, -1, epoch)
		check(t, "error", err, nil)
		return end
	}
	check(t, "the first", ask(0), EpochEnd{0, 2})
	check(t, "between", ask(2), EpochEnd{0, 2})
	check(t, "the current, without records", ask(3), EpochEnd{3, 2})
	check(t, "one to come", ask(4), EpochEnd{-1, -1})
	n.append("t", 0, -1, "c")
	check(t, "the first, later", ask(0), EpochEnd{0, 2})
	check(t, "the current", ask(3), EpochEnd{3, 3})

	diverged := fetchOf("t", 3)
	diverged.Partitions[0].LastFetchedEpoch = 0
	n.fetch(diverged)
	check(t, "a reader whose last epoch ended earlier here", diverged.Responses[0].Diverging, EpochEnd{0, 2})
	good := fetchOf("t", 2)
	good.Partitions[0].LastFetchedEpoch = 0
	check(t, "a reader that agrees", told(t, n.fetch(good)), "0:[c] ")

	n.apply(partitionRecord(idT, 0, 4, 7, 1))
	_, err := n.m.OffsetForLeaderEpoch("t", 0, -1, 0)
	check(t, "of a follower", err, kafka.NotLeaderOrFollower)
}
