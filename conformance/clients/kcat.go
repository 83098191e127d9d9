package clients

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/conformance/process"
)

// kcatWrite writes with kcat, a call per partition, since it takes the partition as a flag. Keys and records end at
// bytes that the input does not hold.
func kcatWrite(addr, topic, codec string, in *input) error {
	for p := range in.partitions {
		text, feed := io.Pipe()
		go func() {
			w := bufio.NewWriter(feed)
			for i := p; i < len(in.records); i += in.partitions {
				fmt.Fprintf(w, "%s\x01%s\x02", in.records[i].key, in.records[i].value)
			}
			feed.CloseWithError(w.Flush())
		}()
		err := process.Pipe(within, text, nil, "kcat", "-P", "-b", addr, "-t", topic, "-p", strconv.Itoa(p), "-z", codec, "-K", "\x01", "-D", "\x02",
			"-X", "acks=all", "-X", "enable.idempotence=true")
		text.Close() // so that the feeder ends when kcat did not take all
		if err != nil {
			return err
		}
	}
	return nil
}

// kcatRead reads a topic's partitions to their ends, a call per topic. Each record is printed as
// PARTITION:KEY-LENGTH:VALUE-LENGTH:KEY VALUE, without the space.
func kcatRead(addr string, topics []string, in *input) (map[string][]digest, error) {
	seen := newTopicHashes(topics, in.partitions)
	for _, topic := range topics {
		err := process.Pipe(within, nil, func(out io.Reader) error {
			for r := bufio.NewReaderSize(out, 1<<20); ; {
				var numbers [3]int
				for i := range numbers {
					digits, err := r.ReadString(':')
					if err == io.EOF && i == 0 && digits == "" {
						return nil
					}
					if numbers[i], err = strconv.Atoi(strings.TrimSuffix(digits, ":")); err != nil {
						return fmt.Errorf("kcat printed %.40q where numbers belong", digits)
					}
				}
				record := make([]byte, numbers[1]+numbers[2])
				if _, err := io.ReadFull(r, record); err != nil {
					return fmt.Errorf("kcat ended within a record: %w", err)
				}
				seen[topic].add(numbers[0], record[:numbers[1]], record[numbers[1]:])
			}
		}, "kcat", "-C", "-b", addr, "-t", topic, "-o", "beginning", "-e", "-q", "-f", "%p:%K:%S:%k%s")
		if err != nil {
			return nil, fmt.Errorf("%s: %w", topic, err)
		}
	}
	return seen.digests(), nil
}
