package cli

import (
	"context"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// topicPartition is a partition of a topic.
type topicPartition struct {
	topic     string
	partition int32
}

// timestampsTimeout bounds how long records are waited for: every partition has one, but its leader may be away.
const timestampsTimeout = 10 * time.Second

// timestampsAt reads one record of each partition, the first one from an offset on, for its timestamp. Partitions that
// do not answer in time are left out.
func (c *connection) timestampsAt(cmd *cobra.Command, offsets map[topicPartition]int64) (map[topicPartition]time.Time, error) {
	found := make(map[topicPartition]time.Time, len(offsets))
	if len(offsets) == 0 {
		return found, nil
	}
	from := map[string]map[int32]kgo.Offset{}
	for at, offset := range offsets {
		if from[at.topic] == nil {
			from[at.topic] = map[int32]kgo.Offset{}
		}
		from[at.topic][at.partition] = kgo.NewOffset().At(offset)
	}
	cl, err := c.open(cmd, func(p dial.Properties) ([]kgo.Opt, error) {
		options, err := p.Consumer()
		return append(options, kgo.ConsumePartitions(from), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
			kgo.KeepControlRecords(), kgo.FetchMaxPartitionBytes(1)), err // one batch comes all the same
	})
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), timestampsTimeout)
	defer cancel()
	for len(found) < len(offsets) && ctx.Err() == nil {
		read := map[string][]int32{}
		cl.client.PollFetches(ctx).EachPartition(func(p kgo.FetchTopicPartition) {
			if len(p.Records) > 0 {
				found[topicPartition{p.Topic, p.Partition}] = p.Records[0].Timestamp
				read[p.Topic] = append(read[p.Topic], p.Partition)
			}
		})
		cl.client.PauseFetchPartitions(read)
	}
	return found, cmd.Context().Err()
}
