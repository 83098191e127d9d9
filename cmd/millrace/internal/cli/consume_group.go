package cli

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// groupReader reads as a member of a group: the partitions that the group gives it, from the offsets that the
// group has committed. What it has printed it commits, so that every record is printed at least once.
type groupReader struct {
	*reader
	group   string
	from    position // where the group has no offset
	follow  bool
	commits bool
	warn    func(format string, args ...any)

	mu     sync.Mutex
	joined bool           // the group has given us partitions, or told us that there are none for us
	mine   map[int32]bool // the partitions that we have
}

// checkGroup sees that the flags go together with --group, and leads auto.offset.reset by --from.
func (o *consumeOptions) checkGroup(cmd *cobra.Command, from position) error {
	for _, name := range []string{"partition", "to"} {
		if cmd.Flags().Changed(name) {
			return usagef("--group and --%s do not go together: the group says what its members read", name)
		}
	}
	o.properties = append(o.properties, "allow.auto.create.topics=false") // a slip of the pen makes no topic
	switch {
	case from.kind == atStart:
		o.properties = append(o.properties, "auto.offset.reset=earliest")
	case from.kind == atEnd:
		o.properties = append(o.properties, "auto.offset.reset=latest")
	default:
		return usagef("with --group, --from is start or end: where the group begins that has no offsets yet; `millrace group reset` sets others")
	}
	return nil
}

// options makes the client a member of the group.
func (g *groupReader) options(p dial.Properties, topic string) ([]kgo.Opt, error) {
	options, err := p.Group(g.group)
	g.commits = !strings.EqualFold(p["enable.auto.commit"], "false")
	return append(options, kgo.ConsumeTopics(topic), kgo.BlockRebalanceOnPoll(),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, given map[string][]int32) { g.has(given[topic], true) }),
		kgo.OnPartitionsRevoked(func(ctx context.Context, client *kgo.Client, taken map[string][]int32) {
			g.commit(ctx, client)
			g.has(taken[topic], false)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, lost map[string][]int32) { g.has(lost[topic], false) })), err
}

// has notes that we have partitions, or have them no more.
func (g *groupReader) has(partitions []int32, have bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.joined = g.joined || have
	for _, p := range partitions {
		if have {
			g.mine[p] = true
		} else {
			delete(g.mine, p)
		}
	}
}

// commit commits what was printed. An offset that is not committed is read again by somebody: no reason to stop.
func (g *groupReader) commit(ctx context.Context, client *kgo.Client) {
	if !g.commits {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := client.CommitMarkedOffsets(ctx); err != nil {
		g.warn("the offsets of group %s could not be committed, so its members read some records again: %v", g.group, dial.Explain(err))
	}
}

// read prints records until our partitions are at the end that they had when we got them, there are enough
// records, or it is interrupted.
func (g *groupReader) read(ctx context.Context) error {
	g.next = make(map[int32]int64)
	defer g.client.AllowRebalance() // which leaving the group waits for
	defer g.commit(ctx, g.client)
	for {
		poll, cancel := context.WithTimeout(ctx, idle)
		fetches := g.client.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e, failed := fatal(fetches); failed {
			return fmt.Errorf("reading %s in group %s: %w", g.topic, g.group, dial.Explain(e.Err))
		}
		enough, err := g.printAll(fetches)
		if err != nil || enough {
			return err
		}
		if !g.follow {
			if done, err := g.atEnds(ctx, fetches.NumRecords() == 0); err != nil || done {
				return err
			}
		}
		g.client.AllowRebalance()
	}
}

// printAll prints records and marks them for the next commit; it reports whether there are enough now.
func (g *groupReader) printAll(fetches kgo.Fetches) (enough bool, err error) {
	var printed []*kgo.Record
	for records := fetches.RecordIter(); !records.Done() && !enough; {
		record := records.Next()
		if !record.Attrs.IsControl() {
			if err := g.print(record); err != nil {
				return false, fmt.Errorf("cannot write the records: %w", err)
			}
			g.printed++
			enough = g.printed == g.most
		}
		printed = append(printed, record)
		g.next[record.Partition] = record.Offset + 1
	}
	if err := g.out.Flush(); err != nil {
		return false, fmt.Errorf("cannot write the records: %w", err)
	}
	g.client.MarkCommitRecords(printed...)
	return enough, nil
}

// atEnds reports whether nothing is left to read. Partitions that are new to us have their ends looked up; when
// nothing comes, those are stepped over that have no records any more.
func (g *groupReader) atEnds(ctx context.Context, nothing bool) (bool, error) {
	g.mu.Lock()
	joined, mine := g.joined, make([]int32, 0, len(g.mine))
	for p := range g.mine {
		mine = append(mine, p)
	}
	g.mu.Unlock()
	if !joined {
		return false, nil
	}
	if err := g.learn(ctx, mine); err != nil {
		return false, err
	}
	done := true
	for _, p := range mine {
		if g.next[p] >= g.last[p] {
			continue
		}
		if nothing {
			detail, err := g.cluster.topic(ctx, g.topic)
			if err != nil {
				return false, err
			}
			if g.next[p], err = g.afterGap(ctx, detail, p, g.next[p]); err != nil {
				return false, err
			}
		}
		done = done && g.next[p] >= g.last[p]
	}
	return done, nil
}

// learn looks up where we begin and where to stop in partitions that are new to us, and forgets those that are
// not ours any more: somebody else has read on in them when they come back.
func (g *groupReader) learn(ctx context.Context, mine []int32) error {
	fresh := make([]int32, 0, len(mine))
	next, last := make(map[int32]int64, len(mine)), make(map[int32]int64, len(mine))
	for _, p := range mine {
		if read, ok := g.next[p]; ok {
			next[p] = read
		}
		if end, ok := g.last[p]; ok {
			last[p] = end
		} else {
			fresh = append(fresh, p)
		}
	}
	g.next, g.last = next, last
	if len(fresh) == 0 {
		return nil
	}
	spans, err := g.spans(ctx, g.topic, fresh, g.committed)
	if err != nil {
		return err
	}
	begin, err := g.offsets(ctx, g.from, g.topic, spans)
	if err != nil {
		return err
	}
	var offsets kadm.OffsetResponses
	if err := dial.Settled(ctx, func() (err error) {
		offsets, err = g.admin.FetchOffsets(ctx, g.group)
		return err
	}); err != nil {
		return fmt.Errorf("the offsets of group %s: %w", g.group, dial.Explain(err))
	}
	for p, s := range spans {
		if o, ok := offsets.Lookup(g.topic, p); ok && o.Err == nil && o.At >= 0 {
			begin[p] = o.At
		}
		g.next[p], g.last[p] = max(begin[p], s.start, g.next[p]), s.end // records may have come before we look
	}
	return nil
}
