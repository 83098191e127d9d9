package sim

import (
	"fmt"
	"hash/crc32"
	"maps"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

// ledger is what is committed, replayed by the simplest means, and judged as it comes. All that it keeps in order is of
// one group, and so of one partition.
type ledger struct {
	w *world

	generations map[string]int32 // of classic groups
	// joined are the members of the generation of a classic group that was stored last.
	joined map[string]map[string]bool
	// leaderless are the classic groups whose record names no leader: whoever loads one calls its members to join anew.
	leaderless map[string]bool
	epochs     map[string]int32 // of consumer groups
	members    map[string]int32 // of a consumer group, their epochs
	// since are the epochs in which a member of a consumer group got what it has.
	since map[string]map[owned]int32
	// statics are the instance ids of members of a consumer group; away are those that went for now, and left is what
	// such a member had, by group and instance id: who comes back may commit for it in any epoch.
	statics map[string]string
	away    map[string]bool
	left    map[string]*leftForNow
	// reached are the generations and epochs of members that have ever been committed, each with the tombstone of the
	// group that was the newest then: a group that was deleted counts from the beginning again.
	reached map[string]int64
	commits map[place]commit
	at      map[int64]int64         // the record of a commit, by the offset that it commits
	topicOf map[int64]kafka.TopicID // of a commit, by the offset that it commits
	erased  map[place]int64         // the newest tombstone
	deleted map[string]int64        // the newest tombstone of a group
}

type commit struct {
	offset, at int64
	ms         int64
}

// leftForNow is what a static member had when it went.
type leftForNow struct {
	group string
	since map[owned]int32
	gone  bool // its own records are deleted: who has not come back by now does not any more
}

func newLedger(w *world) ledger {
	return ledger{
		w: w, generations: map[string]int32{}, epochs: map[string]int32{}, members: map[string]int32{}, since: map[string]map[owned]int32{}, reached: map[string]int64{},
		commits: map[place]commit{}, at: map[int64]int64{}, erased: map[place]int64{}, joined: map[string]map[string]bool{}, leaderless: map[string]bool{}, statics: map[string]string{}, away: map[string]bool{},
		left: map[string]*leftForNow{}, topicOf: map[int64]kafka.TopicID{}, deleted: map[string]int64{},
	}
}

func memberKey(group, member string) string     { return group + " " + member }
func reachedKey(who string, epoch int32) string { return fmt.Sprintf("%s@%d", who, epoch) }
func ownerKey(group string, generation int32, of string) string {
	return fmt.Sprintf("%s@%d %s", group, generation, of)
}

// catchUp takes in what has been committed.
func (l *ledger) catchUp() {
	for _, s := range l.w.shards {
		for s.taken < len(s.log.Batches) && s.log.Batches[s.taken].NextOffset() <= s.log.High {
			b := s.log.Batches[s.taken]
			s.taken++
			s.sum = crc32.Update(s.sum, crc32.IEEETable, b)
			for r, err := range b.Records(nil) {
				if err != nil {
					l.w.fail("what is committed can be read", "%v", err)
					return
				}
				l.take(s, r)
			}
		}
	}
}

// checkKept judges a log as a new leader finds it: nothing that was committed is gone or other than it was.
func (l *ledger) checkKept(s *shard) {
	sum := uint32(0)
	for i := range min(s.taken, len(s.log.Batches)) {
		sum = crc32.Update(sum, crc32.IEEETable, s.log.Batches[i])
	}
	if len(s.log.Batches) < s.taken || sum != s.sum {
		l.w.fail("what is committed stays", "the log has %d batches, and %d were committed", len(s.log.Batches), s.taken)
	}
}

// of judges where a record of a group lies.
func (l *ledger) of(s *shard, group string) {
	if l.w.of(group) != s {
		l.w.fail("a group is in one partition", "a record of %s is in partition %d", group, s.index)
	}
}

func (l *ledger) take(s *shard, r record.Record) {
	key, err := wire.DecodeCoordinatorKey(wire.GroupRecords, r.Key)
	if err != nil {
		l.w.fail("what is committed can be read", "%v", err)
		return
	}
	var value wire.Message
	if r.Value != nil {
		if value, _, err = wire.DecodeCoordinatorValue(wire.GroupRecords, key.Info().Type, r.Value); err != nil {
			l.w.fail("what is committed can be read", "%v", err)
			return
		}
	}
	switch key := key.(type) {
	case *wire.GroupMetadataKey:
		l.of(s, key.Group)
		if value == nil {
			delete(l.generations, key.Group)
			delete(l.joined, key.Group)
			delete(l.leaderless, key.Group)
			l.deleted[key.Group] = r.Offset
			return
		}
		v := value.(*wire.GroupMetadataValue)
		l.rise(l.generations, key.Group, key.Group, v.Generation)
		l.leaderless[key.Group] = v.Leader == nil
		l.joined[key.Group] = map[string]bool{}
		for _, m := range v.Members {
			l.joined[key.Group][m.MemberID] = true
		}
	case *wire.ConsumerGroupMetadataKey:
		l.of(s, key.GroupID)
		maps.DeleteFunc(l.left, func(_ string, left *leftForNow) bool { return left.gone && left.group == key.GroupID })
		if value == nil {
			delete(l.epochs, key.GroupID)
			l.deleted[key.GroupID] = r.Offset
			return
		}
		l.rise(l.epochs, key.GroupID, key.GroupID, value.(*wire.ConsumerGroupMetadataValue).Epoch)
	case *wire.ConsumerGroupMemberMetadataKey:
		l.member(key, value)
	case *wire.ConsumerGroupCurrentMemberAssignmentKey:
		l.current(key, value)
	case *wire.OffsetCommitKey:
		l.of(s, key.Group)
		where := place{key.Group, key.Topic, key.Partition}
		if value == nil {
			l.erase(where)
			l.erased[where] = r.Offset
			return
		}
		l.commit(where, value.(*wire.OffsetCommitValue), r.Offset)
	}
}

// member notes the instance id of a member of a consumer group: who has that of one who went has what that one had.
func (l *ledger) member(key *wire.ConsumerGroupMemberMetadataKey, value wire.Message) {
	who := memberKey(key.GroupID, key.MemberID)
	if value == nil {
		delete(l.statics, who)
		return
	}
	instance := value.(*wire.ConsumerGroupMemberMetadataValue).InstanceID
	if instance == nil {
		return
	}
	l.statics[who] = memberKey(key.GroupID, *instance)
	if left := l.left[l.statics[who]]; left != nil && l.members[who] == 0 {
		l.since[who] = left.since
		delete(l.left, l.statics[who])
	}
}

// wentForNow is the epoch of a static member that went and may come back.
const wentForNow = -2

// current notes what a member of a consumer group has.
func (l *ledger) current(key *wire.ConsumerGroupCurrentMemberAssignmentKey, value wire.Message) {
	who := memberKey(key.GroupID, key.MemberID)
	if value == nil {
		delete(l.members, who)
		delete(l.since, who)
		delete(l.away, who)
		if left := l.left[l.statics[who]]; left != nil {
			left.gone = true
		}
		return
	}
	v := value.(*wire.ConsumerGroupCurrentMemberAssignmentValue)
	if v.MemberEpoch == wentForNow {
		l.away[who] = true
		for o := range l.since[who] {
			l.since[who][o] = 0
		}
		l.left[l.statics[who]] = &leftForNow{group: key.GroupID, since: l.since[who]}
		return
	}
	delete(l.away, who)
	l.rise(l.members, key.GroupID, who, v.MemberEpoch)
	l.since[who] = l.dates(who, v)
}

// erase notes the deletion of an offset, for which there is a reason.
func (l *ledger) erase(where place) {
	c, known := l.commits[where]
	if !known {
		return
	}
	delete(l.commits, where)
	switch w := l.w; {
	case w.topics[where.topic] != l.topicOf[c.offset]: // it is gone
	case w.asked[where.group] > 0 && begun.Add(w.asked[where.group]).UnixMilli() >= c.ms: // somebody wanted it
	case w.clock().UnixMilli()-c.ms >= w.retention.Milliseconds():
	default:
		w.fail("an acknowledged commit is never lost", "%s: commit %d was deleted after %d ms, and nobody wanted it", where, c.offset, w.clock().UnixMilli()-c.ms)
	}
}

// rise notes a generation or an epoch of a group or one of its members, which never goes back.
func (l *ledger) rise(of map[string]int32, group, who string, to int32) {
	if before, known := of[who]; known && to < before {
		l.w.fail("epochs and generations never go back", "%s went from %d to %d", who, before, to)
	}
	of[who] = to
	l.reached[reachedKey(who, to)] = l.deleted[group]
}

// dates says since when a member has what it has now, or is to give up.
func (l *ledger) dates(who string, v *wire.ConsumerGroupCurrentMemberAssignmentValue) map[owned]int32 {
	before, now := l.since[who], map[owned]int32{}
	date := func(topic kafka.TopicID, partitions []int32) {
		for _, p := range partitions {
			o := owned{topic, p}
			now[o] = v.MemberEpoch
			if since, had := before[o]; had {
				now[o] = since
			}
		}
	}
	for _, t := range v.AssignedPartitions {
		date(t.TopicID, t.Partitions)
	}
	for _, t := range v.PartitionsPendingRevocation {
		date(t.TopicID, t.Partitions)
	}
	return now
}

// commit notes a commit, which must be of the generation, or the member epoch, that holds where its record lies.
func (l *ledger) commit(where place, v *wire.OffsetCommitValue, at int64) {
	member, epochText, _ := strings.Cut(v.Metadata, "@")
	n, err := strconv.Atoi(epochText)
	if err != nil {
		l.w.fail("what is committed can be read", "%v", err)
	}
	epoch := int32(n)
	if now, classic := l.generations[where.group]; classic && epoch < now {
		l.w.fail("no commit of an older generation is taken", "%s: commit %d by %s is of generation %d, after generation %d was stored", where, v.Offset, member, epoch, now)
	} else if classic && !l.joined[where.group][member] {
		l.w.fail("no commit of who is no member is taken", "%s: commit %d by %s, and in generation %d are %v", where, v.Offset, member, now, l.joined[where.group])
	}
	if _, consumer := l.epochs[where.group]; consumer {
		who := memberKey(where.group, member)
		now, known := l.members[who]
		got, has := l.since[who][owned{v.TopicID, where.partition}]
		// In an epoch that it has left a member may commit what it had then, and still has (KIP-1251).
		if !known || epoch > now || epoch < now && (!has || epoch < got) {
			l.w.fail("no commit of an older generation is taken", "%s: commit %d by %s is of epoch %d, the member is in %d, and got the partition in %d", where, v.Offset, member, epoch, now, got)
		}
		if l.away[who] {
			l.w.fail("no commit of who is no member is taken", "%s: commit %d by %s, which went for now", where, v.Offset, member)
		}
	}
	l.commits[where] = commit{v.Offset, at, v.CommitTimestamp}
	l.at[v.Offset], l.topicOf[v.Offset] = at, v.TopicID
}

// positions are the commits of a group.
func (l *ledger) positions(group string) map[place]commit {
	of := maps.Clone(l.commits)
	maps.DeleteFunc(of, func(p place, _ commit) bool { return p.group != group })
	return of
}
