package group

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/coordinator"
	"github.com/millrace-io/millrace/server/internal/coordinator/group/embedded"
	"github.com/millrace-io/millrace/server/internal/coordinator/memlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

var update = flag.Bool("update", false, "write the transcripts anew")

// world is a coordinator whose clock, log and metadata the test decides. Its topic of groups has one partition.
type world struct {
	t       testing.TB
	c       *Coordinator
	log     *memlog.Log
	now     time.Time
	image   *metadata.Image
	offset  int64
	epoch   int32
	ids     int
	shown   int // batches that were printed
	out     strings.Builder
	members map[string]*script
}

// script is what the transcript calls a member by a label.
type script struct {
	id         string
	instance   *string
	generation int32
}

// newWorld makes one; settings are broker keys.
func newWorld(t testing.TB, settings map[string]string) *world {
	w := &world{t: t, log: &memlog.Log{Direct: true}, now: time.UnixMilli(1_000_000_000), image: metadata.Empty(), members: map[string]*script{}}
	config, err := ParseConfig(func(key string) string { return settings[key] })
	if err != nil {
		t.Fatal(err)
	}
	w.c = New(Options{
		NodeID: 1, Config: config, Now: func() time.Time { return w.now }, Go: func(load func()) { load() },
		Open: func(int32, int32) (coordinator.Log, error) { return w.log, nil },
		NewID: func() string {
			w.ids++
			return strconv.Itoa(w.ids)
		},
	})
	w.apply(&wire.TopicRecord{Name: Topic, TopicID: kafka.TopicID{15: 1}}, w.partition(kafka.TopicID{15: 1}, 0))
	return w
}

func (w *world) partition(id kafka.TopicID, n int32) wire.Message {
	p := wire.NewPartitionRecord()
	p.TopicID, p.PartitionID, p.Replicas, p.Isr, p.Leader, p.LeaderEpoch = id, n, []int32{1}, []int32{1}, 1, w.epoch
	return p
}

// apply publishes a change of the metadata.
func (w *world) apply(records ...wire.Message) {
	d := metadata.NewDelta(w.image)
	for _, r := range records {
		if err := d.Replay(r); err != nil {
			w.t.Fatal(err)
		}
		w.offset++
	}
	w.image = d.Apply(w.offset, 1, 0)
	w.c.Publish(w.image, d)
	w.c.Tick(w.now)
}

// reload lets another leadership begin on what is committed of the log; the members do not know.
func (w *world) reload() {
	w.log.Lose(0)
	w.log = w.log.Next()
	w.epoch++
	w.apply(w.partition(kafka.TopicID{15: 1}, 0))
}

// advance lets time pass, and timers come when they are due.
func (w *world) advance(d time.Duration) {
	end := w.now.Add(d)
	for {
		next := w.c.Tick(w.now)
		if next.IsZero() || next.After(end) {
			break
		}
		w.now = next
	}
	w.now = end
	w.c.Tick(w.now)
}

func (w *world) say(format string, args ...any) { fmt.Fprintf(&w.out, format+"\n", args...) }

// member finds a member by its label, or makes one.
func (w *world) member(label string) *script {
	m := w.members[label]
	if m == nil {
		m = &script{generation: -1}
		w.members[label] = m
	}
	return m
}

// label is what the transcript calls a member id.
func (w *world) label(id string) string {
	for _, label := range slices.Sorted(maps.Keys(w.members)) {
		if w.members[label].id == id && id != "" {
			return label
		}
	}
	return id
}

// options are the words key=value of a command.
type options map[string]string

func (o options) get(key, otherwise string) string {
	if v, ok := o[key]; ok {
		return v
	}
	return otherwise
}

// said is the reason that a member gives; the words have no spaces here.
func (o options) said() *string {
	if reason, ok := o["reason"]; ok {
		reason = strings.ReplaceAll(reason, "_", " ")
		return &reason
	}
	return nil
}

func (o options) number(key string, otherwise int) int {
	n, err := strconv.Atoi(o.get(key, strconv.Itoa(otherwise)))
	if err != nil {
		panic(err)
	}
	return n
}

func (o options) millis(key, otherwise string) int32 {
	d, err := time.ParseDuration(o.get(key, otherwise))
	if err != nil {
		panic(err)
	}
	return int32(d.Milliseconds())
}

// run runs one command and returns what it and everything that it set off said.
func (w *world) run(command string) string {
	w.out.Reset()
	words := strings.Fields(command)
	o := options{}
	var args []string
	for _, word := range words[1:] {
		if key, value, ok := strings.Cut(word, "="); ok && !strings.Contains(key, "/") {
			o[key] = value
		} else {
			args = append(args, word)
		}
	}
	commands[words[0]](w, args, o)
	for ; w.shown < len(w.log.Batches); w.shown++ {
		w.show(w.log.Batches[w.shown])
	}
	return w.out.String()
}

var commands = map[string]func(w *world, args []string, o options){
	"join": (*world).join, "sync": (*world).sync, "heartbeat": (*world).heartbeat, "leave": (*world).leave,
	"commit": (*world).commit, "fetch": (*world).fetch, "forget": (*world).forget, "delete": (*world).delete,
	"list": (*world).list, "describe": (*world).describe,
	"explain": (*world).explain,
	"advance": func(w *world, args []string, _ options) {
		d, err := time.ParseDuration(args[0])
		if err != nil {
			w.t.Fatal(err)
		}
		w.advance(d)
	},
	"reload": func(w *world, _ []string, _ options) {
		w.reload()
		w.shown = len(w.log.Batches)
	},
	"compact": func(w *world, _ []string, _ options) { // all that may go is gone
		if err := w.log.Compact(w.log.End, func([]byte) bool { return true }); err != nil {
			w.t.Fatal(err)
		}
		w.shown = len(w.log.Batches)
		for _, b := range w.log.Batches {
			w.show(b)
		}
	},
	"log": func(w *world, args []string, _ options) {
		switch args[0] {
		case "hold":
			w.log.Direct = false
		case "commit":
			w.log.Direct = true
			w.log.Commit(w.log.Waiting())
		case "refuse":
			w.log.Refuse = kafka.NotEnoughReplicas
		case "accept":
			w.log.Refuse = nil
		}
	},
	"topic": func(w *world, args []string, o options) {
		id := kafka.TopicID{14: byte(o.number("life", 0)), 15: byte(10 + len(args[0]) + int(args[0][0]))}
		records := []wire.Message{&wire.TopicRecord{Name: args[0], TopicID: id}}
		for p := range o.number("partitions", 1) {
			records = append(records, w.partition(id, int32(p)))
		}
		w.apply(records...)
	},
	"grow": func(w *world, args []string, o options) {
		t := w.image.Topic(args[0])
		for p := len(t.Partitions); p < o.number("partitions", 1); p++ {
			w.apply(w.partition(t.ID, int32(p)))
		}
	},
	"droptopic": func(w *world, args []string, _ options) {
		w.apply(&wire.RemoveTopicRecord{TopicID: w.image.Topic(args[0]).ID})
	},
}

// subscribe is a consumer's metadata; one that says what it owns is of version 1, any other of version 0.
func subscribe(owned []wire.ConsumerProtocolAssignmentAssignedPartitions, topics ...string) []byte {
	s := wire.NewConsumerProtocolSubscription()
	s.Topics = topics
	if owned == nil {
		return s.AppendTo([]byte{0, 0}, 0)
	}
	for _, t := range owned {
		s.OwnedPartitions = append(s.OwnedPartitions, wire.ConsumerProtocolSubscriptionOwnedPartitions(t))
	}
	return s.AppendTo([]byte{0, 1}, 1)
}

// embeddedTopics reads topic/0+1;u/3 as partitions by name; none is an empty list.
func embeddedTopics(text string) []wire.ConsumerProtocolAssignmentAssignedPartitions {
	list := []wire.ConsumerProtocolAssignmentAssignedPartitions{}
	if text == "none" {
		return list
	}
	for _, one := range strings.Split(text, ";") {
		topic, numbers, _ := strings.Cut(one, "/")
		t := wire.ConsumerProtocolAssignmentAssignedPartitions{Topic: topic}
		for _, n := range strings.Split(numbers, "+") {
			p, err := strconv.Atoi(n)
			if err != nil {
				panic(err)
			}
			t.Partitions = append(t.Partitions, int32(p))
		}
		list = append(list, t)
	}
	return list
}

// join LABEL GROUP [as=MEMBER-ID] [type=] [protocols=range:t+u,sticky:t] [owns=t/0+1;u/0] [instance=] [session=] [rebalance=] [v=]
// A protocol without topics has metadata that nobody can read.
func (w *world) join(args []string, o options) {
	m := w.member(args[0])
	request := &wire.JoinGroupRequest{GroupID: args[1], MemberID: o.get("as", m.id), Reason: o.said(), ProtocolType: o.get("type", "consumer"),
		SessionTimeoutMs: o.millis("session", "10s"), RebalanceTimeoutMs: o.millis("rebalance", "60s")}
	if instance, ok := o["instance"]; ok {
		m.instance = &instance
	}
	request.GroupInstanceID = m.instance
	var owned []wire.ConsumerProtocolAssignmentAssignedPartitions
	if owns, ok := o["owns"]; ok {
		owned = embeddedTopics(owns)
	}
	for _, p := range strings.Split(o.get("protocols", "range:t"), ",") {
		name, topics, readable := strings.Cut(p, ":")
		metadata := []byte("?")
		if readable {
			metadata = subscribe(owned, strings.Split(topics, "+")...)
		}
		request.Protocols = append(request.Protocols, wire.JoinGroupRequestProtocols{Name: name, Metadata: metadata})
	}
	w.c.JoinGroup(request, Caller{ClientID: args[0], Host: "/h", Version: int16(o.number("v", 9))}, func(r *wire.JoinGroupResponse, err error) {
		if err != nil {
			if r == nil { // it has waited until the end of the coordinator
				r = wire.NewJoinGroupResponse()
			}
			if kafka.CodeOf(err) == kafka.MemberIDRequired {
				m.id = r.MemberID
			}
			w.say("%s: join: %v, member id %q", args[0], kafka.CodeOf(err), r.MemberID)
			return
		}
		m.id, m.generation = r.MemberID, r.GenerationID
		w.say("%s: joined as %s: generation %d, %s, led by %s%s%s", args[0], m.id, r.GenerationID, *r.ProtocolName, w.label(r.Leader), w.labels(r.Members), map[bool]string{true: ", skips the assignment"}[r.SkipAssignment])
	})
}

func (w *world) labels(members []wire.JoinGroupResponseMembers) string {
	if members == nil {
		return ""
	}
	var list []string
	for _, m := range members {
		list = append(list, w.label(m.MemberID))
	}
	return ", members " + strings.Join(list, " ")
}

// sync LABEL GROUP [generation=] [type=] [name=] [give=LABEL:WHAT,…] [assign=LABEL:t/0+1;u/0,…]
func (w *world) sync(args []string, o options) {
	m := w.member(args[0])
	request := &wire.SyncGroupRequest{GroupID: args[1], MemberID: m.id, GroupInstanceID: m.instance, GenerationID: int32(o.number("generation", int(m.generation)))}
	protocolType, name := o.get("type", "consumer"), o.get("name", "range")
	request.ProtocolType, request.ProtocolName = &protocolType, &name
	if give, ok := o["give"]; ok {
		for _, g := range strings.Split(give, ",") {
			label, what, _ := strings.Cut(g, ":")
			request.Assignments = append(request.Assignments, wire.SyncGroupRequestAssignments{MemberID: w.member(label).id, Assignment: []byte(what)})
		}
	}
	if assign, ok := o["assign"]; ok {
		for _, one := range strings.Split(assign, ",") {
			label, what, _ := strings.Cut(one, ":")
			request.Assignments = append(request.Assignments, wire.SyncGroupRequestAssignments{MemberID: w.member(label).id, Assignment: embedded.WriteAssignment(embeddedTopics(what), 1)})
		}
	}
	w.c.SyncGroup(request, func(r *wire.SyncGroupResponse, err error) {
		if err != nil {
			w.say("%s: sync: %v", args[0], kafka.CodeOf(err))
			return
		}
		w.say("%s: assigned %s", args[0], assigned(r.Assignment))
	})
}

// assigned says what an assignment is, in words if it is one of consumers.
func assigned(b []byte) string {
	a, err := embedded.ReadAssignment(b)
	if err != nil || len(b) == 0 {
		return strconv.Quote(string(b))
	}
	words := []string{"nothing"}
	for i, t := range a.AssignedPartitions {
		words = append(words[:i], fmt.Sprintf("%s%v", t.Topic, t.Partitions))
	}
	return fmt.Sprintf("%s (v%d)", strings.Join(words, " "), b[1])
}

// heartbeat LABEL GROUP [generation=] [as=]
func (w *world) heartbeat(args []string, o options) {
	m := w.member(args[0])
	w.c.Heartbeat(&wire.HeartbeatRequest{GroupID: args[1], MemberID: o.get("as", m.id), GroupInstanceID: m.instance, GenerationID: int32(o.number("generation", int(m.generation)))}, func(err error) {
		w.say("%s: heartbeat: %v", args[0], kafka.CodeOf(err))
	})
}

// leave GROUP LABEL… [instance=]
func (w *world) leave(args []string, o options) {
	request := &wire.LeaveGroupRequest{GroupID: args[0]}
	for _, label := range args[1:] {
		request.Members = append(request.Members, wire.LeaveGroupRequestMembers{MemberID: w.member(label).id, GroupInstanceID: w.member(label).instance, Reason: o.said()})
	}
	if instance, ok := o["instance"]; ok {
		request.Members = append(request.Members, wire.LeaveGroupRequestMembers{GroupInstanceID: &instance})
	}
	w.c.LeaveGroup(request, func(r *wire.LeaveGroupResponse, err error) {
		if err != nil {
			w.say("leave: %v", kafka.CodeOf(err))
			return
		}
		for _, m := range r.Members {
			who := w.label(m.MemberID)
			if m.GroupInstanceID != nil && who == "" {
				who = *m.GroupInstanceID
			}
			w.say("leave: %s %v", who, m.ErrorCode)
		}
	})
}

// place reads topic/partition[=offset].
func placeOf(word string) (topic string, partition int32, offset int64) {
	where, at, _ := strings.Cut(word, "=")
	topic, p, _ := strings.Cut(where, "/")
	n, err := strconv.Atoi(p)
	if err != nil {
		panic(err)
	}
	offset, _ = strconv.ParseInt(at, 10, 64)
	return topic, int32(n), offset
}

// commit LABEL|- GROUP topic/partition=offset… [generation=] [metadata=] [v=] [retention=] [producer=]
func (w *world) commit(args []string, o options) {
	m := &script{generation: -1}
	if args[0] != "-" {
		m = w.member(args[0])
	}
	version := int16(o.number("v", 9))
	metadata := o.get("metadata", "")
	if n := o.number("metadata-size", 0); n > 0 {
		metadata = strings.Repeat("x", n)
	}
	if producer, ok := o["producer"]; ok {
		id, _ := strconv.ParseInt(producer, 10, 64)
		request := &wire.TxnOffsetCommitRequest{GroupID: args[1], ProducerID: id, MemberID: m.id, GroupInstanceID: m.instance, GenerationIDOrMemberEpoch: int32(o.number("generation", int(m.generation)))}
		for _, word := range args[2:] {
			topic, partition, offset := placeOf(word)
			request.Topics = append(request.Topics, wire.TxnOffsetCommitRequestTopics{Name: topic, Partitions: []wire.TxnOffsetCommitRequestPartitions{{PartitionIndex: partition, CommittedOffset: offset, CommittedLeaderEpoch: -1}}})
		}
		w.c.TxnOffsetCommit(request, version, func(r *wire.TxnOffsetCommitResponse, err error) {
			w.say("commit in transaction: %v", kafka.CodeOf(err))
		})
		return
	}
	request := &wire.OffsetCommitRequest{GroupID: args[1], MemberID: o.get("as", m.id), GroupInstanceID: m.instance, GenerationIDOrMemberEpoch: int32(o.number("generation", int(m.generation))), RetentionTimeMs: -1}
	if _, ok := o["retention"]; ok {
		request.RetentionTimeMs = int64(o.millis("retention", "0"))
	}
	for _, word := range args[2:] {
		topic, partition, offset := placeOf(word)
		request.Topics = append(request.Topics, wire.OffsetCommitRequestTopics{Name: topic, TopicID: w.c.topicID(topic), Partitions: []wire.OffsetCommitRequestPartitions{{PartitionIndex: partition, CommittedOffset: offset, CommittedLeaderEpoch: -1, CommittedMetadata: &metadata}}})
	}
	w.c.OffsetCommit(request, version, func(r *wire.OffsetCommitResponse, err error) {
		if err != nil {
			w.say("commit: %v", kafka.CodeOf(err))
			return
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				w.say("commit: %s/%d %v", t.Name, p.PartitionIndex, p.ErrorCode)
			}
		}
	})
}

// fetch GROUP [topic/partition…] [stable=true] [ids=true]
func (w *world) fetch(args []string, o options) {
	request := &wire.OffsetFetchRequestGroups{GroupID: args[0], MemberEpoch: -1}
	for _, word := range args[1:] {
		topic, partition, _ := placeOf(word)
		one := wire.OffsetFetchRequestGroupsTopics{Name: topic, PartitionIndexes: []int32{partition}}
		if o.get("ids", "") == "true" {
			one.TopicID = w.c.topicID(topic)
		}
		request.Topics = append(request.Topics, one)
	}
	w.c.OffsetFetch(request, o.get("stable", "") == "true", func(r *wire.OffsetFetchResponseGroups, err error) {
		if err != nil {
			w.say("fetch: %v", kafka.CodeOf(err))
			return
		}
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				w.say("fetch: %s/%d is at %d %q %v", t.Name, p.PartitionIndex, p.CommittedOffset, *p.Metadata, p.ErrorCode)
			}
		}
		if len(r.Topics) == 0 {
			w.say("fetch: nothing")
		}
	})
}

// forget GROUP topic/partition…
func (w *world) forget(args []string, _ options) {
	request := &wire.OffsetDeleteRequest{GroupID: args[0]}
	for _, word := range args[1:] {
		topic, partition, _ := placeOf(word)
		request.Topics = append(request.Topics, wire.OffsetDeleteRequestTopics{Name: topic, Partitions: []wire.OffsetDeleteRequestPartitions{{PartitionIndex: partition}}})
	}
	w.c.OffsetDelete(request, func(r *wire.OffsetDeleteResponse, err error) {
		if err != nil {
			w.say("forget: %v", kafka.CodeOf(err))
			return
		}
		for _, t := range r.Topics {
			w.say("forget: %s/%d %v", t.Name, t.Partitions[0].PartitionIndex, t.Partitions[0].ErrorCode)
		}
	})
}

func (w *world) delete(args []string, _ options) {
	w.c.DeleteGroup(args[0], func(err error) { w.say("delete: %v", kafka.CodeOf(err)) })
}

// list [states=A,B] [kinds=A,B]
func (w *world) list(_ []string, o options) {
	request := &wire.ListGroupsRequest{}
	if states := o.get("states", ""); states != "" {
		request.StatesFilter = strings.Split(states, ",")
	}
	if kinds := o.get("kinds", ""); kinds != "" {
		request.TypesFilter = strings.Split(kinds, ",")
	}
	w.c.ListGroups(request, func(groups []wire.ListGroupsResponseGroups, err error) {
		if err != nil {
			w.say("list: %v", kafka.CodeOf(err))
		}
		for _, g := range groups {
			w.say("list: %s %s %s %q", g.GroupID, g.GroupType, g.GroupState, g.ProtocolType)
		}
	})
}

func (w *world) describe(args []string, _ options) {
	w.c.DescribeGroup(args[0], func(g wire.DescribeGroupsResponseGroups, err error) {
		if err != nil {
			w.say("describe: %v", kafka.CodeOf(err))
			return
		}
		w.say("describe: %s %s %q %q", g.GroupID, g.GroupState, g.ProtocolType, g.ProtocolData)
		for _, m := range g.Members {
			w.say("  %s %s%s has %q", w.label(m.MemberID), m.ClientID, m.ClientHost, m.MemberAssignment)
		}
	})
}

// show says what a batch holds.
func (w *world) show(b record.Batch) {
	prefix := "stored: "
	if b.Transactional() {
		prefix = fmt.Sprintf("stored for producer %d: ", b.ProducerID())
	}
	for r, err := range b.Records(nil) {
		if err != nil {
			w.t.Fatal(err)
		}
		if b.Control() {
			w.say("%sthe end of the transaction", prefix)
			continue
		}
		key, err := wire.DecodeCoordinatorKey(wire.GroupRecords, r.Key)
		if err != nil {
			w.t.Fatal(err)
		}
		name := strings.TrimSuffix(key.Info().Name, "Key")
		said := strings.Trim(fmt.Sprintf("%+v", key), "&{}")
		if r.Value == nil {
			w.say("%s%s {%s} deleted", prefix, name, said)
			continue
		}
		value, version, err := wire.DecodeCoordinatorValue(wire.GroupRecords, key.Info().Type, r.Value)
		if err != nil {
			w.t.Fatal(err)
		}
		switch v := value.(type) {
		case *wire.GroupMetadataValue:
			var members []string
			for _, m := range v.Members {
				members = append(members, w.label(m.MemberID)+":"+assigned(m.Assignment))
			}
			if len(members) > 0 && v.Leader == nil {
				members = append(members, "led by nobody")
			}
			w.say("%s%s {%s} v%d: generation %d, members [%s]", prefix, name, said, version, v.Generation, strings.Join(members, " "))
		case *wire.OffsetCommitValue:
			w.say("%s%s {%s} v%d: %d %q", prefix, name, said, version, v.Offset, v.Metadata)
		case *wire.ConsumerGroupMetadataValue:
			w.say("%s%s {%s} v%d: epoch %d", prefix, name, said, version, v.Epoch)
		case *wire.ConsumerGroupMemberMetadataValue:
			if *v.SubscribedTopicRegex != "" {
				w.say("%s%s {%s} v%d: reads %v and %q", prefix, name, said, version, v.SubscribedTopicNames, *v.SubscribedTopicRegex)
				continue
			}
			w.say("%s%s {%s} v%d: reads %v%s%s", prefix, name, said, version, v.SubscribedTopicNames, map[bool]string{true: ", static"}[v.InstanceID != nil], classicMetadata(v.ClassicMemberMetadata))
		case *wire.ConsumerGroupTargetAssignmentMetadataValue:
			w.say("%s%s {%s} v%d: epoch %d", prefix, name, said, version, v.AssignmentEpoch)
		case *wire.ConsumerGroupTargetAssignmentMemberValue:
			var to []string
			for _, t := range v.TopicPartitions {
				to = append(to, w.topic(t.TopicID, t.Partitions))
			}
			w.say("%s%s {%s} v%d: %v", prefix, name, said, version, to)
		case *wire.ConsumerGroupCurrentMemberAssignmentValue:
			var has, loses []string
			for _, t := range v.AssignedPartitions {
				has = append(has, fmt.Sprintf("%s since %v", w.topic(t.TopicID, t.Partitions), t.AssignmentEpochs))
			}
			for _, t := range v.PartitionsPendingRevocation {
				loses = append(loses, fmt.Sprintf("%s since %v", w.topic(t.TopicID, t.Partitions), t.AssignmentEpochs))
			}
			w.say("%s%s {%s} v%d: epoch %d after %d, state %d, has %v, loses %v", prefix, name, said, version, v.MemberEpoch, v.PreviousMemberEpoch, v.State, has, loses)
		default:
			w.say("%s%s {%s} v%d: %+v", prefix, name, said, version, value)
		}
	}
}

func classicMetadata(v *wire.ConsumerGroupMemberMetadataValueClassicMemberMetadata) string {
	if v == nil {
		return ""
	}
	text := fmt.Sprintf(", classic for %d ms", v.SessionTimeoutMs)
	for _, p := range v.SupportedProtocols {
		text += fmt.Sprintf(", %s v%d", p.Name, p.Metadata[1])
	}
	return text
}

// topic names partitions of a topic.
func (w *world) topic(id kafka.TopicID, partitions []int32) string {
	if t := w.image.TopicByID(id); t != nil {
		return fmt.Sprintf("%s%v", t.Name, partitions)
	}
	return fmt.Sprintf("?%v", partitions)
}

// TestTranscripts runs testdata/*.txt: a command, "----", and what it says up to the next empty line. The first line of
// a file may be "config key=value …".
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var again strings.Builder
			settings := map[string]string{}
			var w *world
			for i, block := range strings.Split(strings.TrimRight(string(text), "\n"), "\n\n") {
				head, want, _ := strings.Cut(block+"\n", "----\n")
				var command string
				for _, line := range strings.Split(strings.TrimRight(head, "\n"), "\n") {
					if !strings.HasPrefix(line, "#") {
						command = line
					}
				}
				if strings.HasPrefix(command, "config ") {
					for _, word := range strings.Fields(command)[1:] {
						key, value, _ := strings.Cut(word, "=")
						settings[key] = value
					}
					fmt.Fprintf(&again, "%s\n\n", block)
					continue
				}
				if w == nil {
					w = newWorld(t, settings)
				}
				got := ""
				if command != "" {
					got = w.run(command)
				}
				if got != want && !*update {
					t.Errorf("block %d, %s:\n%swant:\n%s", i+1, command, got, want)
				}
				head = strings.TrimRight(head, "\n")
				fmt.Fprintf(&again, "%s\n----\n%s\n", head, got)
			}
			if *update {
				if err := os.WriteFile(file, []byte(strings.TrimRight(again.String(), "\n")+"\n"), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
