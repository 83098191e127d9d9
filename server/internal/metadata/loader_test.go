package metadata

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

var (
	idA, idB = kafka.UUID{15: 10}, kafka.UUID{15: 11}
	dir1     = kafka.UUID{15: 101}
)

// frames stores records as one batch of the log does.
func frames(records ...wire.Message) (values [][]byte) {
	for _, m := range records {
		values = append(values, frame(m))
	}
	return values
}

func topic(name string, id kafka.UUID) *wire.TopicRecord {
	return &wire.TopicRecord{Name: name, TopicID: id}
}

func partition(id kafka.UUID, number int32, replicas ...int32) *wire.PartitionRecord {
	return &wire.PartitionRecord{TopicID: id, PartitionID: number, Replicas: replicas, Isr: replicas, Leader: replicas[0]}
}

// loaded returns a loader after a batch at offset 0.
func loaded(t *testing.T, records ...wire.Message) *Loader {
	t.Helper()
	l := NewLoader()
	if err := l.Apply(0, 1, 1, frames(records...)); err != nil {
		t.Fatal(err)
	}
	return l
}

func TestARecordThatCannotBeReadSaysWhichItIs(t *testing.T) {
	cut := frame(topic("orders", idA))
	for _, c := range []struct {
		what          string
		value         []byte
		kind, version int16
		want          string
	}{
		{"an unknown type", []byte{1, 99, 0}, 99, 0, "no metadata record has the type 99"},
		{"an unknown version", []byte{1, 2, 7, 0}, 2, 7, "version 7"},
		{"another frame", []byte{2, 2, 0}, 2, 0, "frame version 2"},
		{"nothing", nil, -1, -1, "metadata record"},
		{"half a record", cut[:len(cut)-3], 2, 0, ""},
		{"more than a record", append(slices.Clone(cut), 1, 2), 2, 0, ""},
	} {
		l := loaded(t, topic("before", idB))
		image := l.Image()
		err := l.Apply(1, 1, 1, [][]byte{frame(&wire.NoOpRecord{}), frame(topic("with it", kafka.UUID{15: 12})), c.value})
		var where *RecordError
		if !errors.As(err, &where) {
			t.Errorf("%s: %v", c.what, err)
			continue
		}
		if where.Offset != 3 || where.Type != c.kind || where.Version != c.version || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: said %q of offset %d, type %d, version %d", c.what, err, where.Offset, where.Type, where.Version)
		}
		if l.Image() != image {
			t.Errorf("%s: half of its batch was loaded", c.what)
		}
		if err := l.Restore(9, 1, 1, func(yield func([]byte, error) bool) { yield(c.value, nil) }); err == nil || l.Image() != image {
			t.Errorf("%s: a snapshot with it is restored: %v", c.what, err)
		}
	}
}

func TestARecordThatCannotBeTrueIsRefusedAndChangesNothing(t *testing.T) {
	change := func(set func(*wire.PartitionChangeRecord)) *wire.PartitionChangeRecord {
		m := wire.NewPartitionChangeRecord()
		m.TopicID, m.PartitionID = idA, 0
		set(m)
		return m
	}
	missing := kafka.UUID{15: 99}
	for _, c := range []struct {
		record wire.Message
		want   string
	}{
		{topic("orders", idB), "topic orders exists with the id " + idA.String()},
		{topic("bills", idA), "the id " + idA.String() + " is that of topic orders"},
		{&wire.RemoveTopicRecord{TopicID: missing}, "there is no topic with the id " + missing.String()},
		{partition(missing, 0, 1), "there is no topic with the id " + missing.String()},
		{partition(idA, -1, 1), "partition -1"},
		{&wire.PartitionRecord{TopicID: idA, PartitionID: 1, Replicas: []int32{1, 2}, Directories: []kafka.UUID{dir1}}, "partition 1 has 2 replicas in 1 directories"},
		{&wire.PartitionRecord{TopicID: idA, PartitionID: 1, Replicas: []int32{1}, LeaderRecoveryState: 2}, "recovery state 2"},
		{change(func(m *wire.PartitionChangeRecord) { m.TopicID = missing }), "there is no topic with the id " + missing.String()},
		{change(func(m *wire.PartitionChangeRecord) { m.PartitionID = 4 }), "topic orders has no partition 4"},
		{change(func(m *wire.PartitionChangeRecord) { m.Directories = []kafka.UUID{dir1, dir1} }), "orders-0 has 1 replicas in 2 directories"},
		{change(func(m *wire.PartitionChangeRecord) { m.LeaderRecoveryState = 7 }), "recovery state 7"},
		{&wire.ClearElrRecord{TopicName: "nobody"}, "there is no topic nobody"},
		{&wire.BrokerRegistrationChangeRecord{BrokerID: 5}, "broker 5 is not registered"},
		{&wire.BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 3}, "broker 1 is registered with the epoch 7, not 3"},
		{&wire.BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 7, Fenced: 2}, "does not know what that means"},
		{&wire.BrokerRegistrationChangeRecord{BrokerID: 1, BrokerEpoch: 7, InControlledShutdown: 2}, "does not know what that means"},
		{&wire.FenceBrokerRecord{ID: 5}, "broker 5 is not registered"},
		{&wire.UnfenceBrokerRecord{ID: 1, Epoch: 6}, "with the epoch 7, not 6"},
		{&wire.UnregisterBrokerRecord{BrokerID: 1, BrokerEpoch: 8}, "with the epoch 7, not 8"},
		{&wire.UnregisterControllerRecord{ControllerID: 3}, "controller 3 is not registered"},
		{&wire.FeatureLevelRecord{Name: "group.version", FeatureLevel: -1}, "feature group.version at level -1"},
		{&wire.FeatureLevelRecord{Name: MetadataVersionFeature, FeatureLevel: LatestMetadataVersion + 1}, "newer than 33, the newest that this version can read"},
		{&wire.ClientQuotaRecord{Entity: []wire.ClientQuotaRecordEntity{{EntityType: "user"}, {EntityType: "user"}}, Key: "producer_byte_rate"}, "two parts of the type user"},
		{&wire.RemoveAccessControlEntryRecord{ID: missing}, "no access control entry with the id"},
		{&wire.RemoveUserScramCredentialRecord{Name: "alice", Mechanism: 1}, "user alice has no credential for the mechanism 1"},
		{&wire.EndTransactionRecord{}, "no transaction has begun"},
		{&wire.AbortTransactionRecord{}, "no transaction has begun"},
	} {
		l := loaded(t, topic("orders", idA), partition(idA, 0, 1), &wire.RegisterBrokerRecord{BrokerID: 1, BrokerEpoch: 7})
		image := l.Image()
		err := l.Apply(3, 1, 1, frames(&wire.NoOpRecord{}, c.record))
		var where *RecordError
		var why *ReplayError
		if !errors.As(err, &where) || !errors.As(err, &why) || where.Offset != 4 || where.Type != c.record.Info().Type || why.Record != c.record.Info().Name || !strings.Contains(why.Problem, c.want) {
			t.Errorf("%s: said %v, want %q", line(c.record), err, c.want)
		}
		if l.Image() != image {
			t.Errorf("%s: the image is another one", line(c.record))
		}
		d := NewDelta(image)
		if d.Replay(c.record); !d.Empty() {
			t.Errorf("%s: the delta is not as before", line(c.record))
		}
	}
}

func TestARecordOfAnotherFamilyIsRefused(t *testing.T) {
	if err := NewDelta(Empty()).Replay(wire.NewOffsetCommitValue()); err == nil || !strings.Contains(err.Error(), "is not one of the metadata log") {
		t.Errorf("said %v", err)
	}
}

func TestATokenMayBeRemovedTwice(t *testing.T) {
	l := loaded(t, &wire.DelegationTokenRecord{TokenID: "t"}, &wire.RemoveDelegationTokenRecord{TokenID: "t"}, &wire.RemoveDelegationTokenRecord{TokenID: "t"})
	if l.Image().DelegationToken("t") != nil {
		t.Error("it is still there")
	}
}

// A partition whose record comes before that of a lower one, as in a snapshot of Apache Kafka, is seen when the gap closes.
func TestPartitionsInAnyOrder(t *testing.T) {
	l := loaded(t, topic("orders", idA), partition(idA, 2, 3), partition(idA, 1, 2))
	if n := len(l.Image().Topic("orders").Partitions); n != 0 || l.Image().NumPartitions() != 0 {
		t.Errorf("%d partitions are seen without partition 0", n)
	}
	if err := l.Apply(3, 1, 1, frames(partition(idA, 0, 1))); err != nil {
		t.Fatal(err)
	}
	for n, p := range l.Image().Topic("orders").Partitions {
		if p.Leader != int32(n+1) {
			t.Errorf("partition %d is led by %d", n, p.Leader)
		}
	}
	if n := l.Image().NumPartitions(); n != 3 {
		t.Errorf("%d partitions are counted", n)
	}
}

// Records between the begin and the end of a metadata transaction count at its end, all or none (KIP-868).
func TestTransactions(t *testing.T) {
	name := "bootstrap"
	begin, end, abort := &wire.BeginTransactionRecord{Name: &name}, &wire.EndTransactionRecord{}, &wire.AbortTransactionRecord{}
	a, b, c := topic("a", kafka.UUID{15: 1}), topic("b", kafka.UUID{15: 2}), topic("c", kafka.UUID{15: 3})
	for _, s := range []struct {
		what    string
		batches [][]wire.Message
		names   []string // the topics after each batch, as one word
		offset  int64    // of the last image
	}{
		{"one batch", [][]wire.Message{{begin, a, b, end}}, []string{"ab"}, 3},
		{"several batches", [][]wire.Message{{a}, {begin, b}, {c}, {end}}, []string{"a", "a", "a", "abc"}, 4},
		{"aborted", [][]wire.Message{{a}, {begin, b}, {abort}, {c}}, []string{"a", "a", "a", "ac"}, 4},
		{"aborted in its batch", [][]wire.Message{{a, begin, b, abort, c}}, []string{"ac"}, 4},
		{"before and after", [][]wire.Message{{a, begin, b}, {end, c}}, []string{"a", "abc"}, 4},
		{"two", [][]wire.Message{{begin, a, end, begin, b, end}, {c}}, []string{"ab", "abc"}, 6},
		{"never ended", [][]wire.Message{{begin, a}, {b}}, []string{"", ""}, -1},
	} {
		l := NewLoader()
		offset := int64(0)
		for i, batch := range s.batches {
			if err := l.Apply(offset, 1, 1, frames(batch...)); err != nil {
				t.Fatalf("%s: %v", s.what, err)
			}
			offset += int64(len(batch))
			names := ""
			for topic := range l.Image().Topics() {
				names += topic.Name
			}
			if names != s.names[i] {
				t.Errorf("%s: topics %q after batch %d, want %q", s.what, names, i, s.names[i])
			}
		}
		if got := l.Image().Offset(); got != s.offset {
			t.Errorf("%s: the image is that of offset %d, want %d", s.what, got, s.offset)
		}
		if last, _ := l.Snapshot(); last != s.offset {
			t.Errorf("%s: a snapshot would say that it holds offset %d", s.what, last)
		}
	}

	l := loaded(t, begin, a)
	if at, open := l.InTransaction(); !open || at != 0 {
		t.Errorf("open: %v, since offset %d", open, at)
	}
	if err := l.Apply(2, 1, 1, frames(begin)); err == nil || !strings.Contains(err.Error(), `the transaction "bootstrap" that began at offset 0 has not ended`) {
		t.Errorf("a transaction in a transaction: %v", err)
	}
}

// A batch that is refused leaves an open transaction as it was, since nothing may be seen of what is not whole.
func TestARefusedBatchDoesNotEndATransaction(t *testing.T) {
	l := loaded(t, &wire.BeginTransactionRecord{}, topic("a", idA))
	if err := l.Apply(2, 1, 1, frames(&wire.EndTransactionRecord{}, &wire.RemoveTopicRecord{TopicID: idB})); err == nil {
		t.Fatal("accepted")
	}
	if l.Image().NumTopics() != 0 {
		t.Error("half of the batch is seen")
	}
}

// Publishers hear of images in their order, one after the other; what was loaded while one was slow comes as one delta.
func TestASlowPublisherMissesNothing(t *testing.T) {
	var told []string
	started, release := make(chan struct{}), make(chan struct{})
	slow := func(image *Image, d *Delta) {
		for _, topic := range d.ChangedTopics() {
			told = append(told, topic.Name)
		}
		told = append(told, "first")
		if image.Offset() == 0 {
			close(started)
			<-release
		}
	}
	second := func(image *Image, d *Delta) { told = append(told, "second") }
	l := NewLoader(slow, second)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		l.Run(ctx)
	}()
	apply := func(offset int64, m wire.Message) {
		if err := l.Apply(offset, 1, 1, frames(m)); err != nil {
			t.Error(err)
		}
	}
	apply(0, topic("a", kafka.UUID{15: 1}))
	<-started
	apply(1, topic("c", kafka.UUID{15: 2})) // the log goes on meanwhile
	apply(2, topic("b", kafka.UUID{15: 3}))
	close(release)
	l.Publish() // waits for the round that runs, and tells what is left if Run did not
	cancel()
	<-done
	if want := []string{"a", "first", "second", "b", "c", "first", "second"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
	if l.Publish() {
		t.Error("something is told twice")
	}
}

// At an old metadata.version a snapshot is written as the nodes of that version read it, and loses only what they do
// not know.
func TestSnapshotsOfOldMetadataVersions(t *testing.T) {
	a := newAuthor(1)
	l := NewLoader()
	if err := l.Apply(0, 1, 1, a.write(400, map[int16]int{})); err != nil {
		t.Fatal(err)
	}
	everything := l.Image()
	for level := MinMetadataVersion; level <= LatestMetadataVersion; level++ {
		d := NewDelta(everything)
		if err := d.Replay(&wire.FeatureLevelRecord{Name: MetadataVersionFeature, FeatureLevel: level}); err != nil {
			t.Fatal(err)
		}
		image := d.Apply(400, 1, 1)
		first := true
		back := NewDelta(Empty())
		for r := range SnapshotRecords(image) {
			if info := r.Message.Info(); r.Version < info.MinVersion || r.Version > info.MaxVersion {
				t.Fatalf("level %d: %s in version %d", level, info.Name, r.Version)
			}
			if f, is := r.Message.(*wire.FeatureLevelRecord); first && (!is || f.Name != MetadataVersionFeature || f.FeatureLevel != level) {
				t.Fatalf("level %d: a snapshot begins with %s", level, line(r.Message))
			}
			first = false
			m, version, err := wire.DecodeMetadataRecord(wire.AppendMetadataRecord(nil, r.Message, r.Version))
			if err != nil || version != r.Version {
				t.Fatalf("level %d: %s: %v", level, line(r.Message), err)
			}
			if err := back.Replay(m); err != nil {
				t.Fatal(err)
			}
		}
		was, is := image, back.Apply(400, 1, 1)
		for before := range was.Topics() {
			after := is.Topic(before.Name)
			for n, p := range before.Partitions {
				q := after.Partition(int32(n))
				if q == nil || !slices.Equal(p.Replicas, q.Replicas) || !slices.Equal(p.ISR, q.ISR) || p.Leader != q.Leader || p.LeaderEpoch != q.LeaderEpoch || p.PartitionEpoch != q.PartitionEpoch || p.RecoveryState != q.RecoveryState ||
					!slices.Equal(p.Adding, q.Adding) || !slices.Equal(p.Removing, q.Removing) {
					t.Errorf("level %d: %s-%d is %s, was %s", level, before.Name, n, text(q), text(p))
				}
				if same := slices.Equal(p.Directories, q.Directories); level >= directoriesVersion && !same {
					t.Errorf("level %d: %s-%d has lost its directories", level, before.Name, n)
				}
				if same := slices.Equal(p.ELR, q.ELR) && slices.Equal(p.LastKnownELR, q.LastKnownELR); level >= elrVersion && !same {
					t.Errorf("level %d: %s-%d has lost its eligible leaders", level, before.Name, n)
				}
			}
		}
		if level >= cordonedVersion {
			if d := difference(lines(was), lines(is)); d != "" {
				t.Errorf("level %d: %s", level, d)
			}
		}
	}
}
