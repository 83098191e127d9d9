package differential

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// TestNobodyLeads is the comparison of what both do with a partition that nobody can lead: its one replica is said to lie
// in a directory that is not there (KIP-858), and later in the one where it does.
func TestNobodyLeads(t *testing.T) {
	r, _ := begin(t, settings)
	for i, version := range []int16{0, 1, 2} {
		q := &Sequence{API: wire.KeyElectLeaders, Version: version, Seed: drawn() + uint64(i), Again: "-run TestNobodyLeads"}
		w := newWorld(q.Seed, q)
		w.listener = ""
		lost := w.makeTopic(2, nil)
		w.produce(lost, 0, w.batch(2), -1)
		epochs := make(map[*Side]int64)
		assign := func(s *Side, dir kafka.DirectoryID, topic kafka.TopicID, partitions ...int32) *wire.AssignReplicasToDirsRequest {
			one := wire.AssignReplicasToDirsRequestTopics{TopicID: topic}
			for _, p := range partitions {
				one.Partitions = append(one.Partitions, wire.AssignReplicasToDirsRequestPartitions{PartitionIndex: p})
			}
			return &wire.AssignReplicasToDirsRequest{BrokerID: 1, BrokerEpoch: epochs[s],
				Directories: []wire.AssignReplicasToDirsRequestDirectories{{ID: dir, Topics: []wire.AssignReplicasToDirsRequestTopics{one}}}}
		}
		w.add(Step{What: "await the epoch of the broker", Settle: func(s *Side) (bool, error) {
			answer := s.send(controllerConn, wire.KeyAssignReplicasToDirs, 0, (&wire.AssignReplicasToDirsRequest{BrokerID: 1, BrokerEpoch: epochs[s]}).AppendTo(nil, 0), false, answerWithin)
			response, ok := answer.Response.(*wire.AssignReplicasToDirsResponse)
			if !ok {
				return false, fmt.Errorf("no answer: %v", answer.Err)
			}
			if response.ErrorCode == kafka.StaleBrokerEpoch {
				epochs[s]++
				return false, nil
			}
			return response.ErrorCode == kafka.None, nil
		}})
		nowhere := kafka.DirectoryID{9, 9}
		say := func(what string, build func(s *Side) wire.Message) {
			w.add(Step{What: what, Key: wire.KeyAssignReplicasToDirs, Version: 0, Conn: controllerConn, Make: build})
		}
		led := func(leader int32) func(s *Side) (bool, error) {
			return func(s *Side) (bool, error) {
				m := wire.NewMetadataRequest()
				m.Topics = named(lost.name)
				answer, err := s.call(m, wire.KeyMetadata, 12)
				if err != nil {
					return false, err
				}
				for _, p := range answer.(*wire.MetadataResponse).Topics[0].Partitions {
					if p.PartitionIndex == 0 {
						return p.LeaderID == leader, nil
					}
				}
				return false, nil
			}
		}
		look := func() {
			w.metadata(func(s *Side, m *wire.MetadataRequest) { m.Topics = named(lost.name) })
			w.describeTopicPartitions(100, nil, lost.name)
			w.listOffsets(lost, 0, kafka.TimestampLatest, -1)
			w.fetch(lost, 0, 0, nil)
			w.epochs(lost.name, 0, -1, 0)
			for kind := range int8(2) {
				w.electLeaders(kind, lost.name, 0, 1, 2)
				w.add(Step{What: "elect all leaders", Key: wire.KeyElectLeaders, Version: version, Make: func(s *Side) wire.Message {
					r := wire.NewElectLeadersRequest()
					r.ElectionType, r.TopicPartitions = kind, nil
					return r
				}})
			}
		}
		say("what there is not", func(s *Side) wire.Message {
			r := assign(s, nowhere, kafka.TopicID{7, 7}, 0)
			r.Directories = append(r.Directories, assign(s, nowhere, s.TopicIDs[lost.name], 5).Directories...)
			return r
		})
		say("of a broker that there is not", func(s *Side) wire.Message {
			r := assign(s, nowhere, s.TopicIDs[lost.name], 0)
			r.BrokerID = 7
			return r
		})
		say("of an epoch that is over", func(s *Side) wire.Message {
			r := assign(s, nowhere, s.TopicIDs[lost.name], 0)
			r.BrokerEpoch--
			return r
		})
		say("nowhere", func(s *Side) wire.Message { return assign(s, nowhere, s.TopicIDs[lost.name], 0) })
		w.add(Step{What: "await that nobody leads", Settle: led(kafka.NoNode)})
		look()
		w.produce(lost, 0, w.batch(1), -1)
		say("nowhere again", func(s *Side) wire.Message { return assign(s, nowhere, s.TopicIDs[lost.name], 0) })
		look()
		w.add(Step{What: "assign it to where it lies", Settle: func(s *Side) (bool, error) {
			raw, err := os.ReadFile(filepath.Join(s.Dir, "meta.properties"))
			if err != nil {
				return false, err
			}
			var dir kafka.DirectoryID
			for line := range strings.Lines(string(raw)) {
				if id, ok := strings.CutPrefix(strings.TrimSpace(line), "directory.id="); ok {
					if n, err := base64.RawURLEncoding.Decode(dir[:], []byte(strings.ReplaceAll(id, "\\", ""))); err != nil || n != 16 {
						return false, fmt.Errorf("the directory's id is %q: %v", id, err)
					}
				}
			}
			answer := s.send(controllerConn, wire.KeyAssignReplicasToDirs, 0, assign(s, dir, s.TopicIDs[lost.name], 0).AppendTo(nil, 0), false, answerWithin)
			if answer.Response == nil {
				return false, fmt.Errorf("no answer: %v", answer.Err)
			}
			return led(1)(s)
		}})
		look()
		w.produce(lost, 0, w.batch(1), -1)
		w.readBack()
		w.sweep()
		run(t, r, q)
	}
	report(t, r)
}
