package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// position is a place in a partition as people say it.
type position struct {
	kind positionKind
	n    int64 // an offset, how many records before the end, or milliseconds since 1970
}

type positionKind int8

const (
	atStart   positionKind = iota // the oldest record
	atEnd                         // the next record to be written
	atOffset                      // an offset
	beforeEnd                     // so many records before the end
	atTime                        // the first record of a time or later
)

const positionHelp = "start, end, an offset, -N for the last N records, or @TIME: milliseconds since 1970, 2026-11-25T10:00:00Z, 2026-11-25, or -1h for an hour ago"

// parsePosition reads a place; now is what relative times count from.
func parsePosition(flag, text string, now time.Time) (position, error) {
	switch text {
	case "start", "earliest", "beginning":
		return position{kind: atStart}, nil
	case "end", "latest":
		return position{kind: atEnd}, nil
	}
	if when, ok := strings.CutPrefix(text, "@"); ok {
		t, err := parseTime(when, now)
		if err != nil {
			return position{}, usagef("%s is %q; it is %s", flag, text, positionHelp)
		}
		return position{atTime, t.UnixMilli()}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return position{}, usagef("%s is %q; it is %s", flag, text, positionHelp)
	case n < 0 || strings.HasPrefix(text, "-"):
		return position{beforeEnd, -n}, nil
	}
	return position{atOffset, n}, nil
}

// parseTime reads a time: milliseconds since 1970, RFC 3339 or the front of it in local time, or a duration
// counted from now.
func parseTime(text string, now time.Time) (time.Time, error) {
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms >= 0 {
		return time.UnixMilli(ms), nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	for _, layout := range []string{"2006-01-02T15:04:05.999", "2006-01-02 15:04:05.999", "2006-01-02T15:04", "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time", text)
}

// span is where the log of a partition begins and ends for a reader.
type span struct{ start, end int64 }

// spans asks for the spans of a topic's partitions. A reader of committed records sees the log up to its last
// stable offset.
func (c *cluster) spans(ctx context.Context, topic string, partitions []int32, committed bool) (map[int32]span, error) {
	starts, err := c.admin.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, dial.Explain(err)
	}
	list := c.admin.ListEndOffsets
	if committed {
		list = c.admin.ListCommittedOffsets
	}
	ends, err := list(ctx, topic)
	if err != nil {
		return nil, dial.Explain(err)
	}
	spans := make(map[int32]span, len(partitions))
	for _, p := range partitions {
		start, err := offsetOf(starts, topic, p)
		if err != nil {
			return nil, err
		}
		end, err := offsetOf(ends, topic, p)
		if err != nil {
			return nil, err
		}
		spans[p] = span{start, max(start, end)}
	}
	return spans, nil
}

func offsetOf(listed kadm.ListedOffsets, topic string, p int32) (int64, error) {
	o, ok := listed.Lookup(topic, p)
	switch {
	case !ok:
		return 0, fmt.Errorf("the offsets of partition %d of %s are not known", p, topic)
	case o.Err != nil:
		return 0, fmt.Errorf("the offsets of partition %d of %s: %w", p, topic, dial.Explain(o.Err))
	}
	return o.Offset, nil
}

// offsets returns the offset of a position in every partition. Offsets may lie outside of the log; times and
// counts never do.
func (c *cluster) offsets(ctx context.Context, at position, topic string, spans map[int32]span) (map[int32]int64, error) {
	offsets := make(map[int32]int64, len(spans))
	var listed kadm.ListedOffsets
	if at.kind == atTime {
		var err error
		if listed, err = c.admin.ListOffsetsAfterMilli(ctx, at.n, topic); err != nil {
			return nil, dial.Explain(err)
		}
	}
	for p, s := range spans {
		switch at.kind {
		case atStart:
			offsets[p] = s.start
		case atEnd:
			offsets[p] = s.end
		case atOffset:
			offsets[p] = at.n
		case beforeEnd:
			offsets[p] = max(s.start, s.end-at.n)
		case atTime:
			offset, err := offsetOf(listed, topic, p)
			if err != nil {
				return nil, err
			}
			offsets[p] = min(offset, s.end)
		}
	}
	return offsets, nil
}

// parsePartitions reads what a flag has: a list of partitions and ranges such as 0,2-4. An empty one means all of a topic's.
func parsePartitions(flag, text string, all []int32) ([]int32, error) {
	if text == "" {
		return all, nil
	}
	exists := make(map[int32]bool, len(all))
	for _, p := range all {
		exists[p] = true
	}
	var partitions []int32
	for word := range strings.SplitSeq(text, ",") {
		low, high, isRange := strings.Cut(strings.TrimSpace(word), "-")
		if !isRange {
			high = low
		}
		from, err := strconv.ParseInt(low, 10, 32)
		to, errTo := strconv.ParseInt(high, 10, 32)
		if err != nil || errTo != nil || from < 0 || to < from {
			return nil, usagef("%s is %q; it is a list such as 0,2-4", flag, text)
		}
		for p := from; p <= to; p++ {
			if !exists[int32(p)] {
				return nil, fmt.Errorf("there is no partition %d; the topic has %s, from 0", p, plural(int64(len(all)), "partition"))
			}
			partitions = append(partitions, int32(p))
		}
	}
	return partitions, nil
}
