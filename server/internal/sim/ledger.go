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

// ledger is what is committed, replayed by the simplest means, and judged as it comes.
type ledger struct {
	w       *world
	batches int // that are committed
	sum     uint32
	offset  int64

	generations map[string]int32 // of classic groups
	epochs      map[string]int32 // of consumer groups
	members     map[string]int32 // of a consumer group, their epochs
	// since are the epochs in which a member of a consumer group got what it has.
	since map[string]map[owned]int32
	// reached are the generations and epochs of members that have ever been committed.
	reached map[string]bool
	commits map[place]commit
	at      map[int64]int64 // the record of a commit, by the offset that it commits
	erased  map[place]int64 // the newest tombstone
}

type commit struct{ offset, at int64 }

func newLedger(w *world) ledger {
	return ledger{
		w: w, generations: map[string]int32{}, epochs: map[string]int32{}, members: map[string]int32{}, since: map[string]map[owned]int32{}, reached: map[string]bool{},
		commits: map[place]commit{}, at: map[int64]int64{}, erased: map[place]int64{},
	}
}

func memberKey(group, member string) string     { return group + " " + member }
func reachedKey(who string, epoch int32) string { return fmt.Sprintf("%s@%d", who, epoch) }
func ownerKey(group string, generation int32, of string) string {
	return fmt.Sprintf("%s@%d %s", group, generation, of)
}

// catchUp takes in what has been committed.
func (l *ledger) catchUp() {
	log := l.w.log
	for l.batches < len(log.Batches) && log.Batches[l.batches].NextOffset() <= log.High {
		b := log.Batches[l.batches]
		l.batches++
		l.sum = crc32.Update(l.sum, crc32.IEEETable, b)
		for r, err := range b.Records(nil) {
			if err != nil {
				l.w.fail("what is committed can be read", "%v", err)
				return
			}
			l.take(r)
		}
		l.offset = b.NextOffset()
	}
}

// checkKept judges the log as a new leader finds it: nothing that was committed is gone or other than it was.
func (l *ledger) checkKept() {
	sum := uint32(0)
	batches := l.w.log.Batches
	for i := range min(l.batches, len(batches)) {
		sum = crc32.Update(sum, crc32.IEEETable, batches[i])
	}
	if len(batches) < l.batches || sum != l.sum {
		l.w.fail("what is committed stays", "the log has %d batches, and %d were committed", len(batches), l.batches)
	}
}

func (l *ledger) take(r record.Record) {
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
		if value == nil {
			delete(l.generations, key.Group)
			return
		}
		l.rise(l.generations, key.Group, value.(*wire.GroupMetadataValue).Generation)
	case *wire.ConsumerGroupMetadataKey:
		if value == nil {
			delete(l.epochs, key.GroupID)
			return
		}
		l.rise(l.epochs, key.GroupID, value.(*wire.ConsumerGroupMetadataValue).Epoch)
	case *wire.ConsumerGroupCurrentMemberAssignmentKey:
		who := memberKey(key.GroupID, key.MemberID)
		if value == nil {
			delete(l.members, who)
			delete(l.since, who)
			return
		}
		current := value.(*wire.ConsumerGroupCurrentMemberAssignmentValue)
		l.rise(l.members, who, current.MemberEpoch)
		l.since[who] = l.dates(who, current)
	case *wire.OffsetCommitKey:
		where := place{key.Group, key.Topic, key.Partition}
		if value == nil {
			delete(l.commits, where)
			l.erased[where] = r.Offset
			return
		}
		l.commit(where, value.(*wire.OffsetCommitValue), r.Offset)
	}
}

// rise notes a generation or an epoch, which never goes back.
func (l *ledger) rise(of map[string]int32, who string, to int32) {
	if before, known := of[who]; known && to < before {
		l.w.fail("epochs and generations never go back", "%s went from %d to %d", who, before, to)
	}
	of[who] = to
	l.reached[reachedKey(who, to)] = true
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
	}
	if _, consumer := l.epochs[where.group]; consumer {
		who := memberKey(where.group, member)
		now, known := l.members[who]
		got, has := l.since[who][owned{v.TopicID, where.partition}]
		// In an epoch that it has left a member may commit what it had then, and still has (KIP-1251).
		if !known || epoch > now || epoch < now && (!has || epoch < got) {
			l.w.fail("no commit of an older generation is taken", "%s: commit %d by %s is of epoch %d, the member is in %d, and got the partition in %d", where, v.Offset, member, epoch, now, got)
		}
	}
	l.commits[where] = commit{v.Offset, at}
	l.at[v.Offset] = at
}

// positions are the commits of a group.
func (l *ledger) positions(group string) map[place]commit {
	of := maps.Clone(l.commits)
	maps.DeleteFunc(of, func(p place, _ commit) bool { return p.group != group })
	return of
}
