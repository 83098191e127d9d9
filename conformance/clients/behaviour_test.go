package clients

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	confluent "github.com/confluentinc/confluent-kafka-go/v2/kafka"
	"github.com/millrace-io/millrace/conformance/kafka/oracle"
	"github.com/millrace-io/millrace/conformance/node"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// serverWith is server with settings.
func serverWith(t *testing.T, settings map[string]string) string {
	if os.Getenv("CLIENT_SERVER") == "kafka" {
		return oracle.Start(t, settings).Addr
	}
	return node.Start(t, settings).Addr
}

// begin starts a client's session and ends it with the test.
func begin(t *testing.T, c client, addr string) session {
	t.Helper()
	s, err := c.begin(addr)
	if err != nil {
		t.Fatalf("%s: %v", c.name, err)
	}
	t.Cleanup(func() {
		if err := s.close(); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	})
	return s
}

func admin(t *testing.T, addr string) *kadm.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return kadm.NewClient(c)
}

func writes(c client) bool { return c.name != "kcat" } // see kcatSession

// settled calls do until it succeeds. Clients learn of new topics and partitions when they ask next, and some give their
// caller the error of the time before.
func settled(t *testing.T, what string, do func() error) {
	t.Helper()
	deadline := time.Now().Add(2 * stall)
	for {
		err := do()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %v", what, err)
		}
		time.Sleep(100 * time.Millisecond) // there is no event on this side of a client
	}
}

// corners are records at the edges of what a record may be.
var corners = []full{
	{timestamp: 1_700_000_000_001, key: []byte("key"), value: []byte("value")},
	{timestamp: 1_700_000_000_000, key: nil, value: []byte("null key, and before its predecessor")},
	{timestamp: 1, key: []byte("tombstone, the first millisecond but one"), value: nil},
	{timestamp: 1_700_000_000_003, key: nil, value: nil},
	{timestamp: 1_700_000_000_004, key: []byte{}, value: []byte{}},
	{timestamp: 4_102_444_800_000, key: []byte{0, 0xff, '\n', ' '}, value: []byte("in the year 2100")},
	{timestamp: 1_700_000_000_006, key: []byte("headers"), value: []byte("v"), headers: []header{{"a", []byte("1")}, {"b", []byte("ü")}}},
	{timestamp: 1_700_000_000_007, key: []byte("repeated header"), value: []byte("v"), headers: []header{{"a", []byte("2")}, {"a", []byte("1")}}},
	{timestamp: 1_700_000_000_008, key: []byte("empty header"), value: []byte("v"), headers: []header{{"empty", []byte{}}}},
	{timestamp: 1_700_000_000_009, key: []byte("null header"), value: []byte("v"), headers: []header{{"null", nil}}},
}

// cornersOf are those that the writer's library lets through.
func cornersOf(writer string) []full {
	return slices.DeleteFunc(slices.Clone(corners), func(r full) bool {
		switch writer {
		case "aiokafka": // asserts that there is a key or a value
			return r.key == nil && r.value == nil
		case "kafkajs": // throws a TypeError
			return slices.ContainsFunc(r.headers, func(h header) bool { return h.value == nil })
		}
		return false
	})
}

// asRead is what the reader's library makes of a record: kafka-go gives null for empty bytes.
func asRead(reader string, r full) full {
	if reader != "kafka-go" {
		return r
	}
	null := func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		return b
	}
	r.key, r.value, r.headers = null(r.key), null(r.value), slices.Clone(r.headers)
	for i := range r.headers {
		r.headers[i].value = null(r.headers[i].value)
	}
	return r
}

// TestCorners writes records at the edges with every client and reads them with every client.
func TestCorners(t *testing.T) {
	// Timestamps of the past would be deleted by retention, and those of the future refused.
	addr := serverWith(t, map[string]string{"log.retention.ms": "-1", "log.message.timestamp.after.max.ms": strconv.FormatInt(1<<62, 10)})
	clients := all(t)
	var topics []string
	for _, w := range clients {
		if writes(w) {
			topics = append(topics, w.name)
		}
	}
	create(t, addr, 1, append(topics, "empty"))
	for _, w := range clients {
		if !writes(w) {
			continue
		}
		t.Run("write/"+w.name, func(t *testing.T) {
			s := begin(t, w, addr)
			for i, r := range cornersOf(w.name) {
				if offset, err := s.put(w.name, 0, r); err != nil || offset != int64(i) {
					t.Fatalf("record %d (%s): offset %d, %v", i, r, offset, err)
				}
			}
		})
	}
	if t.Failed() {
		t.FailNow()
	}
	for _, r := range clients {
		if r.read == nil {
			continue
		}
		t.Run("read/"+r.name, func(t *testing.T) {
			s := begin(t, r, addr)
			if got, err := s.get("empty", 0); err != nil || len(got) != 0 {
				t.Errorf("from an empty topic: %v, %v", got, err)
			}
			for _, topic := range topics {
				got, err := s.get(topic, 0)
				if err != nil {
					t.Fatalf("%s: %v", topic, err)
				}
				wanted := cornersOf(topic)
				if len(got) != len(wanted) {
					t.Fatalf("%s: %d records, want %d", topic, len(got), len(wanted))
				}
				for i, want := range wanted {
					want.offset = int64(i)
					if want = asRead(r.name, want); !got[i].equal(want) {
						t.Errorf("%s, record %d: got %d %s\n    want %d %s", topic, i, got[i].offset, got[i], want.offset, want)
					}
				}
			}
		})
	}
}

// valueOf is the length of the value, of a record that has nothing else, in a batch of the size given.
func valueOf(batch int) int {
	varint := func(n int) int { // the length of a zigzag varint
		length := 1
		for n <<= 1; n >= 0x80; n >>= 7 {
			length++
		}
		return length
	}
	for value := batch - 61; ; value-- {
		body := 1 + 1 + 1 + 1 + varint(value) + value + 1 // attributes, deltas of time and offset, null key, value, no headers
		if 61+varint(body)+body <= batch {
			return value
		}
	}
}

// tooLarge is how the libraries say MESSAGE_TOO_LARGE.
var tooLarge = regexp.MustCompile(`(?i)too.?large|larger than the max`)

// TestLargest sends a batch of exactly max.message.bytes with every client, and one byte more.
func TestLargest(t *testing.T) {
	const limit = 3_000_000
	addr := serverWith(t, nil)
	clients := all(t)
	configs := map[string]*string{"max.message.bytes": kadm.StringPtr(strconv.Itoa(limit))}
	for _, w := range clients {
		if !writes(w) {
			continue
		}
		if _, err := admin(t, addr).CreateTopic(t.Context(), 1, 1, configs, w.name); err != nil {
			t.Fatal(err)
		}
		t.Run("write/"+w.name, func(t *testing.T) {
			s := begin(t, w, addr)
			fits := full{timestamp: time.Now().UnixMilli(), value: bytes.Repeat([]byte("m"), valueOf(limit))}
			if _, err := s.put(w.name, 0, fits); err != nil {
				t.Errorf("a batch of max.message.bytes: %v", err)
			}
			beyond := fits
			beyond.value = append([]byte("m"), fits.value...)
			if _, err := s.put(w.name, 0, beyond); err == nil || !tooLarge.MatchString(err.Error()) {
				t.Errorf("one byte more: %v, want an error that says that it is too large", err)
			}
			if w.name == "aiokafka" {
				return // it goes on with the sequence after the batch that was refused, so that all further ones are refused
			}
			beyond.value = []byte("after it")
			if offset, err := s.put(w.name, 0, beyond); err != nil || offset != 1 {
				t.Errorf("the record after it: offset %d, %v", offset, err)
			}
		})
	}
	for _, r := range clients {
		if r.read == nil {
			continue
		}
		t.Run("read/"+r.name, func(t *testing.T) {
			s := begin(t, r, addr)
			for _, w := range clients {
				if !writes(w) {
					continue
				}
				got, err := s.get(w.name, 0)
				if err != nil || len(got) == 0 || len(got[0].value) != valueOf(limit) {
					t.Errorf("%s: %d records, %v", w.name, len(got), err)
				}
			}
		})
	}
}

// TestMetadata grows, deletes and creates topics under a client that stays connected.
func TestMetadata(t *testing.T) {
	addr := serverWith(t, map[string]string{"auto.create.topics.enable": "false"})
	adm := admin(t, addr)
	for _, w := range all(t) {
		if !writes(w) {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			s := begin(t, w, addr)
			topic := "m-" + w.name
			create(t, addr, 1, []string{topic})
			record := func(value string) full { return full{timestamp: time.Now().UnixMilli(), value: []byte(value)} }
			settled(t, "write to a new topic", func() error {
				_, err := s.put(topic, 0, record("first"))
				return err
			})
			if grown, err := adm.UpdatePartitions(t.Context(), 3, topic); err != nil || grown.Error() != nil {
				t.Fatal(err, grown.Error())
			}
			settled(t, "write to a new partition", func() error {
				_, err := s.put(topic, 2, record("grown"))
				return err
			})
			if deleted, err := adm.DeleteTopics(t.Context(), topic); err != nil || deleted.Error() != nil {
				t.Fatal(err, deleted.Error())
			}
			if _, err := s.put(topic, 0, record("deleted")); err == nil {
				t.Error("a record into a topic that was deleted was acknowledged")
			}
			create(t, addr, 1, []string{topic})
			var offset int64
			settled(t, "write to a topic that was created again", func() (err error) {
				offset, err = s.put(topic, 0, record("again"))
				return err
			})
			if w.read == nil {
				return
			}
			got, err := s.get(topic, 0)
			if err != nil || int64(len(got)) <= offset || string(got[offset].value) != "again" {
				t.Errorf("the new topic holds %v at offset %d, %v", got, offset, err)
			}
			for _, r := range got {
				if string(r.value) == "first" {
					t.Error("the new topic holds a record of the old one")
				}
			}
		})
	}
}

// TestListing asks for all topics. librdkafka does so in a request that has three bytes behind its last field.
func TestListing(t *testing.T) {
	addr := serverWith(t, nil)
	create(t, addr, 3, []string{"listed"})
	c, err := confluent.NewAdminClient(&confluent.ConfigMap{"bootstrap.servers": addr})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	all, err := c.GetMetadata(nil, true, 30_000)
	if err != nil || len(all.Topics["listed"].Partitions) != 3 {
		t.Errorf("all topics: %v, %v", all, err)
	}
}

// TestAutoCreation writes to topics that nobody created.
func TestAutoCreation(t *testing.T) {
	addr := serverWith(t, map[string]string{"num.partitions": "3"})
	adm := admin(t, addr)
	for _, w := range all(t) {
		if !writes(w) {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			s := begin(t, w, addr)
			topic := "auto-" + w.name
			settled(t, "write to a topic that nobody created", func() error {
				_, err := s.put(topic, 2, full{timestamp: time.Now().UnixMilli(), value: []byte("v")})
				return err
			})
			made, err := adm.ListTopics(t.Context(), topic)
			if err != nil || len(made[topic].Partitions) != 3 {
				t.Errorf("the topic has %d partitions, want num.partitions, 3: %v", len(made[topic].Partitions), err)
			}
		})
	}
}

// TestIdempotence loses acknowledgements on their way to producers, which send again: every record is there once and in
// order, and the broker knows the producer and its sequence.
func TestIdempotence(t *testing.T) {
	const records = 40
	p := newProxy(t)
	server := serverWith(t, map[string]string{"advertised.listeners": "PLAINTEXT://" + p.listener.Addr().String()})
	p.target = server
	direct := admin(t, p.listener.Addr().String())
	for _, w := range all(t) {
		if !writes(w) || w.name == "kafka-go" { // it has no idempotent producer
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			topic := "i-" + w.name
			create(t, p.listener.Addr().String(), 1, []string{topic})
			s := begin(t, w, p.listener.Addr().String())
			before := p.losses()
			for i := range records {
				if _, err := s.put(topic, 0, full{timestamp: time.Now().UnixMilli(), value: fmt.Appendf(nil, "%d", i)}); err != nil {
					t.Fatalf("record %d: %v", i, err)
				}
			}
			if n := p.losses() - before; n < records/every {
				t.Fatalf("only %d acknowledgements were lost", n)
			}
			reader := begin(t, all(t)[0], p.listener.Addr().String())
			got, err := reader.get(topic, 0)
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range got {
				if string(r.value) != strconv.Itoa(i) {
					t.Fatalf("offset %d holds record %s", i, r.value)
				}
			}
			if len(got) != records {
				t.Fatalf("%d records, want %d", len(got), records)
			}
			producers, err := direct.DescribeProducers(t.Context(), kadm.TopicsSet{topic: {0: {}}})
			if err != nil {
				t.Fatal(err)
			}
			known := producers[topic].Partitions[0].ActiveProducers
			if len(known) != 1 {
				t.Fatalf("the broker knows %d producers of the topic: %v", len(known), errors.Join(err, producers[topic].Partitions[0].Err))
			}
			for _, state := range known {
				if state.LastSequence != records-1 {
					t.Errorf("the last sequence is %d, want %d: the records were not sent as one idempotent producer's", state.LastSequence, records-1)
				}
			}
		})
	}
}
