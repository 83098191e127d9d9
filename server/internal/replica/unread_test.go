package replica

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/millrace-io/millrace/internal/record"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// timed is a batch of records with these timestamps.
func timed(codec record.Codec, appendTime int64, timestamps ...int64) []byte {
	o := record.NewBuilderOptions()
	o.Codec, o.LogAppendTime, o.AppendTime = codec, appendTime > 0, appendTime
	b := record.NewBuilder(o)
	for _, ms := range timestamps {
		b.Append(record.Record{Value: []byte("v"), Timestamp: ms})
	}
	return b.Build(nil)
}

func TestTimestampAt(t *testing.T) {
	n := newNode(t, vfs.NewMem(), nil).load()
	defer n.close()
	n.apply(topicRecords("t", idT, 1)...)
	base := time.Now().UnixMilli() - 1000
	<-n.appendAsync("t", 0, -1, timed(record.CodecNone, 0, base+10, base+30, base+20))
	<-n.appendAsync("t", 0, -1, timed(record.CodecZstd, 0, base+50, base+40))
	at := func(offset int64) string {
		ms, found, err := n.m.TimestampAt("t", 0, offset)
		if err != nil || !found {
			return fmt.Sprint(found, " ", kafka.CodeOf(err))
		}
		return fmt.Sprint(ms - base)
	}
	for offset, want := range []string{"10", "30", "20", "50", "40", "false NONE", "false OFFSET_OUT_OF_RANGE"} {
		check(t, fmt.Sprint("at ", offset), at(int64(offset)), want)
	}
	high, leads := n.m.HighWatermark("t", 0)
	check(t, "high watermark", fmt.Sprint(high, leads), "5 true")

	done := make(chan struct{})
	n.m.DeleteRecords("t", 0, 2, time.Second, func(int64, error) { close(done) })
	<-done
	check(t, "before the start of the log", at(0), "20")

	_, _, err := n.m.TimestampAt("t", 1, 0)
	check(t, "no such partition", kafka.CodeOf(err), kafka.UnknownTopicOrPartition)
	n.apply(partitionRecord(idT, 0, 3, 2))
	_, _, err = n.m.TimestampAt("t", 0, 0)
	check(t, "led by another", kafka.CodeOf(err), kafka.NotLeaderOrFollower)
	_, leads = n.m.HighWatermark("t", 0)
	check(t, "led by another", leads, false)
}

func TestTimestampIn(t *testing.T) {
	old := make([]byte, 34) // a message of magic 1 without key and value
	binary.BigEndian.PutUint64(old, 7)
	binary.BigEndian.PutUint32(old[8:], 22)
	old[16] = 1
	binary.BigEndian.PutUint64(old[18:], 1234)
	binary.BigEndian.PutUint32(old[26:], 0xffffffff)
	binary.BigEndian.PutUint32(old[30:], 0xffffffff)
	for _, c := range []struct {
		name   string
		batch  []byte
		offset int64
		want   string
	}{
		{"the broker's time", timed(record.CodecNone, 99, 1, 2), 1, "99 true <nil>"},
		{"compacted away", timed(record.CodecNone, 0, 1, 2), 2, "0 false <nil>"},
		{"an old format", old, 7, "1234 true <nil>"},
	} {
		ms, found, err := timestampIn(c.batch, c.offset)
		check(t, c.name, fmt.Sprint(ms, found, err), c.want)
	}
	if _, _, err := timestampIn(old[:20], 7); err == nil {
		t.Error("half a message has a timestamp")
	}
}
