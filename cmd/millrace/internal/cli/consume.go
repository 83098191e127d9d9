package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// consumeOptions are the flags of `millrace consume`.
type consumeOptions struct {
	connection
	out                          outputFlag
	from, to, partitions, format string
	isolation, null, group       string
	count                        int64
	follow                       bool
}

func consumeCommand() *cobra.Command {
	var o consumeOptions
	cmd := &cobra.Command{
		Use:   "consume TOPIC",
		Short: "Print the records of a topic",
		Long: `Consume prints the records of a topic, from its start to where its end is now; with --follow, or --from end, it goes on
with new ones until Ctrl-C. Each partition is in order; records of several partitions come as they come.

With --group it is a member of a consumer group: the group's members share the partitions, go on from what the group has
committed, and commit what they have printed.

` + formatHelp,
		Example: `  millrace consume orders
  millrace consume orders --from -10 --follow
  millrace consume orders --from @-1h --format '%T{rfc3339} %p/%o %k=%v\n'
  millrace consume orders --partition 0 --from 100 --to 200 --output json
  millrace consume orders --group billing --follow`,
		GroupID:           clientGroup,
		Args:              arguments(1, 1, "the name of a topic"),
		ValidArgsFunction: completeTopics(&o.connection, 1),
		RunE:              func(cmd *cobra.Command, args []string) error { return consume(cmd, o, args[0]) },
	}
	o.flags(cmd)
	o.out.flag(cmd, "text")
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "start", "the `POSITION` of the first record: "+positionHelp)
	f.StringVar(&o.to, "to", "end", "the `POSITION` to stop before, likewise")
	f.StringVarP(&o.partitions, "partition", "p", "", "the partitions to read, such as 0,2-4 (default all)")
	f.StringVarP(&o.group, "group", "g", "", "read as a member of a consumer `GROUP`")
	f.Int64VarP(&o.count, "count", "n", 0, "stop after so many records (default no limit)")
	f.BoolVarP(&o.follow, "follow", "f", false, "go on at the end and print new records as they come")
	f.StringVarP(&o.format, "format", "F", `%v\n`, "how to print a record; see above")
	f.StringVar(&o.null, "null", "", "what to print for a key or value that is null")
	f.StringVar(&o.isolation, "isolation", "", "read_committed leaves out records of transactions that are open or aborted, read_uncommitted (the default) does not")
	exclusive(cmd, "format", "output")
	cmd.RegisterFlagCompletionFunc("isolation", cobra.FixedCompletions([]string{"read_committed", "read_uncommitted"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("group", completeGroups(&o.connection, -1))
	cmd.RegisterFlagCompletionFunc("from", cobra.FixedCompletions([]string{"start", "end"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("to", cobra.FixedCompletions([]string{"start", "end"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func consume(cmd *cobra.Command, o consumeOptions, topic string) error {
	from, err := parsePosition("--from", o.from, time.Now())
	if err != nil {
		return err
	}
	to, err := parsePosition("--to", o.to, time.Now())
	if err != nil {
		return err
	}
	if o.count < 0 {
		return usagef("--count is %d; it is how many records to print at most", o.count)
	}
	if o.isolation != "" {
		o.properties = append(o.properties, "isolation.level="+o.isolation)
	}
	member := &groupReader{group: o.group, from: from, follow: o.follow, mine: map[int32]bool{}, warn: func(format string, args ...any) {
		cmd.PrintErrf("millrace: "+format+"\n", args...)
	}}
	if o.group != "" {
		if err := o.checkGroup(cmd, from); err != nil {
			return err
		}
	}
	parts, err := parseFormat(o.format, o.null)
	if err != nil {
		return err
	}
	committed := false
	hooks := newWeather(cmd.ErrOrStderr())
	cl, err := o.open(cmd, func(p dial.Properties) ([]kgo.Opt, error) {
		committed = p["isolation.level"] == "read_committed"
		options, err := p.Consumer()
		if o.group != "" && err == nil {
			var membership []kgo.Opt
			membership, err = member.options(p, topic)
			options = append(options, membership...)
		}
		// A partition that ends in the marker of a transaction is read to its end all the same.
		return append(options, kgo.WithHooks(hooks), kgo.KeepControlRecords(), kgo.KeepRetryableFetchErrors()), err
	})
	if err != nil {
		return err
	}
	defer cl.Close()

	r := &reader{cluster: cl, topic: topic, out: bufio.NewWriterSize(cmd.OutOrStdout(), 1<<16), committed: committed, most: o.count}
	r.print = r.text(parts)
	if o.out.json {
		r.print = r.json()
	}
	read := r.read
	if o.group != "" {
		member.reader, read = r, member.read
		if _, err := cl.topic(cmd.Context(), topic); err != nil {
			return err
		}
	} else if err := r.assign(cmd, o.partitions, from, to, o.follow || from.kind == atEnd); err != nil {
		return err
	}
	err = read(cmd.Context())
	if flushErr := r.out.Flush(); err == nil && flushErr != nil {
		err = fmt.Errorf("cannot write the records: %w", flushErr)
	}
	return err
}

// reader reads partitions from one offset each to another.
type reader struct {
	*cluster
	topic     string
	out       *bufio.Writer
	print     func(*kgo.Record) error
	committed bool
	most      int64 // records to print; 0 is no limit

	printed int64
	next    map[int32]int64 // the offset that comes next, of partitions that are not at their end
	last    map[int32]int64 // the offset to stop before
}

func (r *reader) text(parts []part) func(*kgo.Record) error {
	var b []byte
	return func(record *kgo.Record) error {
		b = b[:0]
		for _, p := range parts {
			b = p(b, record)
		}
		_, err := r.out.Write(b)
		return err
	}
}

func (r *reader) json() func(*kgo.Record) error {
	e := json.NewEncoder(r.out)
	e.SetEscapeHTML(false)
	return func(record *kgo.Record) error { return e.Encode(newJSONRecord(record)) }
}

// assign says where each partition begins and where to stop.
func (r *reader) assign(cmd *cobra.Command, list string, from, to position, follow bool) error {
	ctx := cmd.Context()
	detail, err := r.cluster.topic(ctx, r.topic)
	if err != nil {
		return err
	}
	partitions, err := parsePartitions("--partition", list, detail.Partitions.Numbers())
	if err != nil {
		return err
	}
	spans, err := r.spans(ctx, r.topic, partitions, r.committed)
	if err != nil {
		return err
	}
	if r.next, err = r.offsets(ctx, from, r.topic, spans); err != nil {
		return err
	}
	if r.last, err = r.offsets(ctx, to, r.topic, spans); err != nil {
		return err
	}
	assignment := make(map[int32]kgo.Offset)
	for _, p := range slices.Sorted(maps.Keys(spans)) {
		s := spans[p]
		switch next := r.next[p]; {
		case next < s.start:
			cmd.PrintErrf("millrace: partition %d begins with offset %d: what was before is gone\n", p, s.start)
			r.next[p] = s.start
		case next > s.end:
			return fmt.Errorf("offset %d lies beyond the end of partition %d, which is %d", next, p, s.end)
		}
		switch {
		case follow && to.kind == atEnd:
			r.last[p] = math.MaxInt64
		case !follow:
			r.last[p] = min(r.last[p], s.end)
		}
		if r.next[p] >= r.last[p] {
			delete(r.next, p)
			continue
		}
		assignment[p] = kgo.NewOffset().At(r.next[p])
	}
	r.client.AddConsumePartitions(map[string]map[int32]kgo.Offset{r.topic: assignment})
	return nil
}

// idle is how long nothing comes before the reader looks whether anything is left to come.
const idle = time.Second

// read prints records until every partition is at its end, there are enough of them, or it is interrupted.
func (r *reader) read(ctx context.Context) error {
	for len(r.next) > 0 {
		poll, cancel := context.WithTimeout(ctx, idle)
		fetches := r.client.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e, failed := fatal(fetches); failed {
			return fmt.Errorf("reading partition %d of %s from offset %d on: %w", e.Partition, r.topic, r.next[e.Partition], dial.Explain(e.Err))
		}
		for records := fetches.RecordIter(); !records.Done(); {
			record := records.Next()
			last, reading := r.last[record.Partition], false
			if _, reading = r.next[record.Partition]; !reading || record.Offset >= last {
				r.end(record.Partition)
				continue
			}
			if !record.Attrs.IsControl() {
				if err := r.print(record); err != nil {
					return fmt.Errorf("cannot write the records: %w", err)
				}
				if r.printed++; r.printed == r.most {
					return nil
				}
			}
			if r.next[record.Partition] = record.Offset + 1; record.Offset+1 >= last {
				r.end(record.Partition)
			}
		}
		if fetches.NumRecords() > 0 {
			if err := r.out.Flush(); err != nil {
				return fmt.Errorf("cannot write the records: %w", err)
			}
			continue
		}
		if err := r.skipGaps(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fatal finds the error that waiting does not mend. The client would try again at damaged records, too, and say nothing.
func fatal(fetches kgo.Fetches) (failed kgo.FetchError, is bool) {
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.DeadlineExceeded) || kerr.IsRetriable(e.Err) && !errors.Is(e.Err, kerr.CorruptMessage) {
			continue
		}
		return e, true
	}
	return failed, false
}

// end stops reading a partition.
func (r *reader) end(p int32) {
	delete(r.next, p)
	r.client.PauseFetchPartitions(map[string][]int32{r.topic: {p}})
}

// skipGaps ends partitions whose last offsets have no records: compaction has removed them, or DeleteRecords
// has while we read. The client would wait for them for ever.
func (r *reader) skipGaps(ctx context.Context) error {
	detail, err := r.cluster.topic(ctx, r.topic)
	if err != nil {
		return err
	}
	for p, next := range r.next {
		if r.last[p] == math.MaxInt64 {
			continue
		}
		after, err := r.afterGap(ctx, detail, p, next)
		if err != nil {
			return err
		}
		if r.next[p] = after; after >= r.last[p] {
			r.end(p)
		}
	}
	return nil
}

// afterGap asks for what is at an offset and returns the offset after what has no records, which is the offset
// itself where there are some, or the broker cannot answer now.
func (r *reader) afterGap(ctx context.Context, detail kadm.TopicDetail, p int32, offset int64) (int64, error) {
	request := kmsg.NewPtrFetchRequest()
	request.MaxBytes = 1 << 20
	if r.committed {
		request.IsolationLevel = 1
	}
	topic := kmsg.NewFetchRequestTopic()
	topic.Topic, topic.TopicID = r.topic, detail.ID
	partition := kmsg.NewFetchRequestTopicPartition()
	partition.Partition, partition.FetchOffset, partition.PartitionMaxBytes = p, offset, 1<<20
	topic.Partitions = append(topic.Partitions, partition)
	request.Topics = append(request.Topics, topic)
	raw, err := r.client.Broker(int(detail.Partitions[p].Leader)).RetriableRequest(ctx, request)
	if err != nil {
		return offset, ctx.Err() // the weather has told of it, and the client tries again
	}
	response := raw.(*kmsg.FetchResponse)
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return offset, nil
	}
	got := response.Topics[0].Partitions[0]
	switch {
	case got.ErrorCode == kerr.OffsetOutOfRange.Code:
		return max(offset, got.LogStartOffset), nil
	case got.ErrorCode != 0:
		return offset, nil
	case len(got.RecordBatches) > 0:
		// A batch covers the offsets of records that were compacted away, and may have none left.
		options := kgo.ProcessFetchPartitionOpts{KeepControlRecords: true, Offset: offset, Topic: r.topic, Partition: p}
		fetched, next := kgo.ProcessFetchPartition(options, &got, kgo.DefaultDecompressor(), nil)
		if fetched.Err != nil || len(fetched.Records) > 0 {
			return offset, nil // the client comes upon it too
		}
		return max(offset, next), nil
	case r.committed:
		return max(offset, got.LastStableOffset), nil
	}
	return max(offset, got.HighWatermark), nil
}
