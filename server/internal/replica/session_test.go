package replica

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// sessionFetch is a fetch in a session; partitions are number, offset pairs of topic t.
func sessionFetch(id, epoch int32, partitions ...int64) *FetchRequest {
	req := fetchOf("t")
	req.SessionID, req.SessionEpoch = id, epoch
	for i := 0; i < len(partitions); i += 2 {
		req.Partitions = append(req.Partitions, fetchPartition("t", int32(partitions[i]), partitions[i+1]))
	}
	return req
}

// told says which partitions an answer holds, and their values.
func told(t testing.TB, req *FetchRequest) string {
	t.Helper()
	s := ""
	for i := range req.Responses {
		r := &req.Responses[i]
		s += fmt.Sprintf("%d:%v", r.Partition, values(t, r))
		if r.Err != nil {
			s += "!" + kafka.CodeOf(r.Err).String()
		}
		s += " "
	}
	return s
}

func TestSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t, vfs.NewMem(), nil).load()
		defer n.close()
		n.apply(topicRecords("t", idT, 4)...)
		n.append("t", 1, -1, "a")

		req := n.fetch(sessionFetch(0, -1, 0, 0, 1, 0))
		check(t, "no session asked for", req.ResponseSessionID, 0)
		check(t, "outside of a session", told(t, req), "0:[] 1:[a] ")

		req = n.fetch(sessionFetch(0, 0, 0, 0, 1, 0, 2, 0))
		id := req.ResponseSessionID
		if id <= 0 {
			t.Fatalf("session id %d", id)
		}
		check(t, "a full fetch tells all", told(t, req), "0:[] 1:[a] 2:[] ")

		check(t, "nothing changed but the offset", told(t, n.fetch(sessionFetch(id, 1, 1, 1))), "")
		n.append("t", 2, -1, "b")
		check(t, "what changed", told(t, n.fetch(sessionFetch(id, 2))), "2:[b] ")
		check(t, "a partition with records is told again until its offset moves", told(t, n.fetch(sessionFetch(id, 3))), "2:[b] ")
		check(t, "its offset moves", told(t, n.fetch(sessionFetch(id, 4, 2, 1))), "")
		check(t, "a new partition is told once", told(t, n.fetch(sessionFetch(id, 5, 3, 0))), "3:[] ")
		check(t, "a new partition is told once", told(t, n.fetch(sessionFetch(id, 6))), "")

		req = n.fetch(sessionFetch(id, 6))
		check(t, "an old epoch", req.Err, kafka.InvalidFetchSessionEpoch)
		check(t, "an old epoch, session", req.ResponseSessionID, 0)
		check(t, "an unknown session", n.fetch(sessionFetch(id+1, 1)).Err, kafka.FetchSessionIDNotFound)
		byID := sessionFetch(id, 7)
		byID.Version = 13
		check(t, "ids in a session of names", n.fetch(byID).Err, kafka.FetchSessionTopicIDError)

		// Rotation: what returned records goes to the end.
		n.append("t", 1, -1, "c")
		n.append("t", 2, -1, "d")
		check(t, "in order", told(t, n.fetch(sessionFetch(id, 7))), "1:[c] 2:[d] ")
		n.append("t", 0, -1, "e")
		n.append("t", 3, -1, "f")
		check(t, "behind those that had none", told(t, n.fetch(sessionFetch(id, 8, 1, 2, 2, 2))), "0:[e] 3:[f] ")
		check(t, "in the new order", told(t, n.fetch(sessionFetch(id, 9, 1, 0, 2, 0))), "1:[a c] 2:[b d] 0:[e] 3:[f] ")

		forget := sessionFetch(id, 10)
		forget.Forgotten = []FetchForgotten{{Topic: "t", Partition: 0}, {Topic: "t", Partition: 1}, {Topic: "t", Partition: 2}}
		check(t, "forgotten", told(t, n.fetch(forget)), "3:[f] ")
		n.apply(removeTopic(idT))
		check(t, "an error is told", told(t, n.fetch(sessionFetch(id, 11))), "3:[]!UNKNOWN_TOPIC_OR_PARTITION ")
		check(t, "as long as it lasts", told(t, n.fetch(sessionFetch(id, 12))), "3:[]!UNKNOWN_TOPIC_OR_PARTITION ")

		forget = sessionFetch(id, 13)
		forget.Forgotten = []FetchForgotten{{Topic: "t", Partition: 3}}
		req = n.fetch(forget)
		check(t, "an empty session ends", fmt.Sprint(req.ResponseSessionID, req.Err, len(req.Responses)), "0 <nil> 0")
		check(t, "an empty session ends", n.fetch(sessionFetch(id, 14)).Err, kafka.FetchSessionIDNotFound)
	})
}

func TestSessionIsClosedByAFullFetch(t *testing.T) {
	n := newNode(t, vfs.NewMem(), nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 1)...)
	id := n.fetch(sessionFetch(0, 0, 0, 0)).ResponseSessionID
	req := n.fetch(sessionFetch(id, -1, 0, 0))
	check(t, "final epoch", fmt.Sprint(req.Err, req.ResponseSessionID), "<nil> 0")
	check(t, "closed", n.fetch(sessionFetch(id, 1)).Err, kafka.FetchSessionIDNotFound)
	id = n.fetch(sessionFetch(0, 0, 0, 0)).ResponseSessionID
	next := n.fetch(sessionFetch(id, 0, 0, 0)).ResponseSessionID
	if next == 0 || next == id {
		t.Errorf("session %d was followed by %d", id, next)
	}
	check(t, "replaced", n.fetch(sessionFetch(id, 1)).Err, kafka.FetchSessionIDNotFound)
	sessions, partitions := n.m.FetchSessions()
	check(t, "sessions and partitions", fmt.Sprint(sessions, partitions), "1 1")
}

// TestSessionByID: topics named by id keep their names, and are told when the id is not known any more.
func TestSessionByID(t *testing.T) {
	n := newNode(t, vfs.NewMem(), nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 1)...)
	n.append("t", 0, -1, "a")
	req := sessionFetch(0, 0)
	req.Version = 13
	known, unknown := fetchPartition("t", 0, 0), fetchPartition("", 0, 0)
	known.TopicID, unknown.TopicID = idT, idU
	req.Partitions = []FetchPartition{unknown, known}
	n.fetch(req)
	check(t, "topics", told(t, req), "0:[a] 0:[]!UNKNOWN_TOPIC_ID ")
	next := sessionFetch(req.ResponseSessionID, 1)
	next.Version = 13
	n.apply(topicRecords("u", idU, 1)...)
	n.append("u", 0, -1, "b")
	n.fetch(next)
	if len(next.Responses) != 2 {
		t.Fatalf("%d partitions were told of, want the one with records and the one that appeared", len(next.Responses))
	}
	check(t, "the name that became known", next.Responses[0].Topic, "u")
	check(t, "topics", told(t, next), "0:[b] 0:[a] ")
}

func TestSessionEviction(t *testing.T) {
	now := time.Unix(1000, 0)
	c := newSessions(2)
	ids := int32(0)
	c.draw = func() int32 { ids++; return ids }
	create := func(partitions int, replica int32) int32 {
		req := fetchOf("t", make([]int64, partitions)...)
		req.SessionEpoch, req.ReplicaID = 0, replica
		if err := c.begin(req, now); err != nil {
			t.Fatal(err)
		}
		for _, p := range req.Partitions {
			req.Responses = append(req.Responses, FetchedPartition{Topic: p.Topic, Partition: p.Partition})
		}
		c.end(req, now)
		return req.ResponseSessionID
	}
	has := func(id int32) bool { return c.byID[id] != nil }
	a, b := create(3, -1), create(5, -1)
	check(t, "young sessions are safe", create(9, -1), 0)
	f := create(1, 7)
	check(t, "but not from a follower's; the smaller goes", fmt.Sprint(f != 0, has(a), has(b)), "true false true")
	now = now.Add(sessionEvictable + 1)
	for _, id := range []int32{b, f} {
		req := fetchOf("t", 0)
		req.SessionID, req.SessionEpoch = id, 1
		c.begin(req, now) // both are used
	}
	check(t, "an older, larger one is worth more", create(4, -1), 0)
	g := create(6, -1)
	check(t, "an older, smaller one is worth less, and no follower's goes", fmt.Sprint(g != 0, has(b), has(f)), "true false true")
	now = now.Add(sessionEvictable + 1)
	h := create(1, -1)
	check(t, "who is not used goes, a follower's first used too", fmt.Sprint(h != 0, has(f), has(g)), "true false true")
	check(t, "no slots, no sessions", func() int32 { c = newSessions(0); return create(1, -1) }(), 0)
}

func TestSessionEpochWraps(t *testing.T) {
	check(t, "after the last", nextSessionEpoch(math.MaxInt32), 1)
	check(t, "after the first", nextSessionEpoch(0), 1)
}

// TestSessionAgainstModel compares a session with a client that asks for everything every time: whatever the session
// tells and leaves out, the client that puts it together knows the same of every partition.
func TestSessionAgainstModel(t *testing.T) {
	const partitions = 6
	for seed := range uint64(30) {
		synctest.Test(t, func(t *testing.T) {
			dice := rand.New(rand.NewPCG(seed, 1))
			n := newNode(t, vfs.NewMem(), nil).load()
			defer n.close()
			n.apply(topicRecords("t", idT, partitions)...)
			type known struct{ high, start int64 }
			client := map[int32]known{} // what the client was told last
			offsets := map[int64]int64{}
			var asked []int64 // partitions in the session
			id, epoch := int32(0), int32(0)
			for step := range 60 {
				switch p := dice.Int64N(partitions); dice.IntN(4) {
				case 0:
					n.append("t", int32(p), -1, fmt.Sprint(seed, step))
				case 1:
					if high := highOf(n, int32(p)); high > 0 {
						n.m.DeleteRecords("t", int32(p), dice.Int64N(high+1), time.Second, func(int64, error) {})
						synctest.Wait()
					}
				default:
					req := sessionFetch(id, epoch)
					var forgotten []int64
					for q := range int64(partitions) {
						in := slices.Contains(asked, q)
						switch {
						case !in && dice.IntN(2) == 0 || in && dice.IntN(3) == 0 || in && epoch == 0:
							offsets[q] = dice.Int64N(highOf(n, int32(q)) + 1)
							req.Partitions = append(req.Partitions, fetchPartition("t", int32(q), offsets[q]))
							if !in {
								asked = append(asked, q)
							}
						case in && len(asked) > 1 && dice.IntN(8) == 0:
							forgotten = append(forgotten, q)
							req.Forgotten = append(req.Forgotten, FetchForgotten{Topic: "t", Partition: int32(q)})
							asked = slices.Delete(asked, slices.Index(asked, q), slices.Index(asked, q)+1)
						}
					}
					if len(asked) == 0 {
						continue
					}
					n.fetch(req)
					if req.Err != nil {
						t.Fatalf("seed %d, step %d: %v", seed, step, req.Err)
					}
					for _, q := range forgotten {
						delete(client, int32(q))
					}
					for i := range req.Responses {
						r := &req.Responses[i]
						if !slices.Contains(asked, int64(r.Partition)) {
							t.Fatalf("seed %d, step %d: told of partition %d, which was not asked for", seed, step, r.Partition)
						}
						client[r.Partition] = known{r.HighWatermark, r.LogStartOffset}
						values(t, r)
					}
					// The twin asks for the same outside of any session.
					var all []int64
					for _, q := range asked {
						all = append(all, q, offsets[q])
					}
					twin := n.fetch(sessionFetch(0, -1, all...))
					for i := range twin.Responses {
						r := &twin.Responses[i]
						if got := client[r.Partition]; r.Err == nil && got != (known{r.HighWatermark, r.LogStartOffset}) {
							t.Fatalf("seed %d, step %d: of partition %d the session told %v, the truth is %d, %d", seed, step, r.Partition, got, r.HighWatermark, r.LogStartOffset)
						}
						inSession := slices.ContainsFunc(req.Responses, func(s FetchedPartition) bool { return s.Partition == r.Partition })
						if (r.Slice.Range != nil || r.Err != nil) && !inSession {
							t.Fatalf("seed %d, step %d: partition %d has records or an error and was left out", seed, step, r.Partition)
						}
						values(t, r)
					}
					if id == 0 {
						id = req.ResponseSessionID
					}
					epoch++
				}
			}
		})
	}
}

func highOf(n *node, partition int32) int64 {
	p, err := n.m.find("t", kafka.TopicID{}, partition)
	if err != nil {
		return 0
	}
	return p.high.Load()
}

// All sessions together hold so many partitions and no more: then fetches go without one, and a session that outgrows
// the room is closed.
func TestSessionsHoldSoManyPartitions(t *testing.T) {
	c := newSessions(10)
	c.most = 5
	full := func(partitions ...int32) int32 {
		req := fetchOf("t")
		req.SessionEpoch = sessionInitialEpoch
		for _, p := range partitions {
			req.Partitions = append(req.Partitions, fetchPartition("t", p, 0))
		}
		check(t, "a full fetch", c.begin(req, time.Now()), nil)
		c.end(req, time.Now())
		return req.ResponseSessionID
	}
	id := full(0, 1, 2)
	if id == 0 {
		t.Fatal("no session although there is room")
	}
	check(t, "a session there is no room for", full(0, 1, 2), 0)
	req := fetchOf("t")
	req.SessionID, req.SessionEpoch = id, 1
	for p := range int32(7) {
		req.Partitions = append(req.Partitions, fetchPartition("t", p, 0))
	}
	check(t, "a session that outgrows the room", c.begin(req, time.Now()), kafka.FetchSessionIDNotFound)
	n, partitions := c.count()
	check(t, "left", fmt.Sprint(n, partitions), "0 0")
	if full(0, 1, 2) == 0 {
		t.Error("no session although there is room again")
	}
}
