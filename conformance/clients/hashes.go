package clients

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
)

// hashes builds the digests of a topic's partitions, one record after the other.
type hashes struct {
	sums    []hash.Hash
	counts  []int
	scratch []byte
}

func newHashes(partitions int) *hashes {
	h := &hashes{sums: make([]hash.Hash, partitions), counts: make([]int, partitions)}
	for i := range h.sums {
		h.sums[i] = sha256.New()
	}
	return h
}

func (h *hashes) add(partition int, key, value []byte) {
	h.scratch = record{key, value}.appendTo(h.scratch[:0])
	h.sums[partition].Write(h.scratch)
	h.counts[partition]++
}

func (h *hashes) digests() []digest {
	out := make([]digest, len(h.sums))
	for i := range out {
		out[i].count = h.counts[i]
		h.sums[i].Sum(out[i].sum[:0])
	}
	return out
}

// topicHashes are the hashes of several topics that are read at once.
type topicHashes map[string]*hashes

func newTopicHashes(topics []string, partitions int) topicHashes {
	all := make(topicHashes)
	for _, topic := range topics {
		all[topic] = newHashes(partitions)
	}
	return all
}

func (h topicHashes) digests() map[string][]digest {
	out := make(map[string][]digest)
	for topic, hashes := range h {
		out[topic] = hashes.digests()
	}
	return out
}

// parseDigests reads what a driver printed.
func parseDigests(text string, partitions int) (map[string][]digest, error) {
	out := make(map[string][]digest)
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		var topic, sum string
		var partition, count int
		if n, _ := fmt.Sscanf(lines.Text(), "%s %d %d %s", &topic, &partition, &count, &sum); n != 4 || partition < 0 || partition >= partitions {
			return nil, fmt.Errorf("a driver printed %q", lines.Text())
		}
		if out[topic] == nil {
			out[topic] = make([]digest, partitions)
		}
		d := &out[topic][partition]
		d.count = count
		if raw, err := hex.DecodeString(sum); err != nil || copy(d.sum[:], raw) != len(d.sum) {
			return nil, fmt.Errorf("a driver printed %q", lines.Text())
		}
	}
	return out, nil
}
