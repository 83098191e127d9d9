package record

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/millrace-io/millrace/kafka"
)

// stricter are the cases in which we differ from Apache Kafka, on purpose, and what we say instead. A name ending
// in "/" stands for all codecs but none.
var stricter = map[string]struct {
	code   kafka.ErrorCode
	reason string
}{
	"length of 14":                            {kafka.CorruptMessage, "Kafka reads beyond its buffer"},
	"record length never ends/none":           {kafka.InvalidRecord, "an exception that Kafka forgot, only without compression"},
	"record length too small/":                {kafka.InvalidRecord, "Kafka stores it, and no consumer can read it"},
	"record length too large/":                {kafka.InvalidRecord, "Kafka stores it, and no consumer can read it"},
	"record length off by one; bytes there/":  {kafka.InvalidRecord, "Kafka stores it, and no consumer can read it"},
	"offset deltas all zero/":                 {kafka.None, "Kafka fails to rebuild the batch: UnsupportedOperationException"},
	"offset deltas swapped/":                  {kafka.None, "Kafka fails to rebuild the batch: UnsupportedOperationException"},
	"offset deltas from 1/":                   {kafka.None, "Kafka fails to rebuild the batch: UnsupportedOperationException"},
	"offset delta negative/":                  {kafka.None, "Kafka fails to rebuild the batch: UnsupportedOperationException"},
	"record length off by one the other way/": {kafka.InvalidRecord, "Kafka stores it, and no consumer can read it"},
}

// TestValidateAsKafka compares codes, refused records and the bytes that are stored with those of Apache Kafka.
func TestValidateAsKafka(t *testing.T) {
	f, err := os.Open("testdata/kafka_validate.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 10<<20)
	d := &Decompressor{} // one for all: nothing of a bad batch may stay behind
	used := map[string]bool{}
	cases := 0
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		cases++
		col := strings.Split(lines.Text(), "\t")
		name, wantCode, wantRecords := col[0], col[5], col[6]
		sent, err1 := hex.DecodeString(col[4])
		stored, err2 := hex.DecodeString(col[7])
		if err1 != nil || err2 != nil {
			t.Fatal(name, err1, err2)
		}
		o := caseOptions(t, col[1], col[2], col[3])
		v, err := Validate(sent, o, d)
		code := kafka.CodeOf(err)

		exception := name
		e, ok := stricter[exception]
		if slash := strings.LastIndexByte(name, '/'); !ok && slash > 0 && !strings.HasSuffix(name, "/none") {
			exception = name[:slash+1]
			e, ok = stricter[exception]
		}
		if ok {
			used[exception] = true
			if code != e.code || code.String() == wantCode {
				t.Errorf("%s: %v, want %v where Kafka says %s (%s)", name, err, e.code, wantCode, e.reason)
			}
			if err == nil {
				checkRenumbered(t, name, v, d)
			}
			continue
		}
		if code.String() != wantCode {
			t.Errorf("%s: %v (%v); Kafka says %s", name, code, err, wantCode)
			continue
		}
		var records []string
		var invalid *InvalidError
		if errors.As(err, &invalid) {
			for _, r := range invalid.Records {
				records = append(records, strconv.Itoa(int(r.Index)))
				if r.Message == "" {
					t.Errorf("%s: record %d is refused without a word", name, r.Index)
				}
			}
			if invalid.Message == "" {
				t.Errorf("%s: refused without a word", name)
			}
		} else if err != nil {
			t.Errorf("%s: %T is no InvalidError", name, err)
		}
		if got := strings.Join(records, ","); got != wantRecords {
			t.Errorf("%s: records %s are refused; Kafka refuses %s", name, got, wantRecords)
		}
		if err != nil {
			continue
		}
		if want := strings.HasPrefix(name, "offset delta"); v.Renumber != want {
			t.Errorf("%s: renumber %v", name, v.Renumber)
		}
		v.Batch.SetLeaderEpoch(5)
		if !bytes.Equal(v.Batch, stored) {
			t.Errorf("%s: stored\n%x, by Kafka\n%x", name, []byte(v.Batch), stored)
		}
		if err := v.Batch.CheckCRC(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if v.MaxTimestamp != v.Batch.MaxTimestamp() {
			t.Errorf("%s: max timestamp %d, in the batch %d", name, v.MaxTimestamp, v.Batch.MaxTimestamp())
		}
		n := 0
		for _, err := range v.Batch.Records(d) {
			if err != nil {
				t.Errorf("%s: passed, but cannot be read: %v", name, err)
			}
			n++
		}
		if n != int(v.Count) {
			t.Errorf("%s: %d records of %d", name, n, v.Count)
		}
	}
	if cases < 400 {
		t.Errorf("only %d cases", cases)
	}
	for name := range stricter {
		if !used[name] {
			t.Errorf("the exception for %q is not needed", name)
		}
	}
}

// checkRenumbered makes sure that what becomes of wrong offset deltas is right.
func checkRenumbered(t *testing.T, name string, v Valid, d *Decompressor) {
	if !v.Renumber {
		t.Errorf("%s: passed as it is", name)
	}
	fixed, err := Renumbered(nil, v.Batch, v.Batch.Codec(), LevelDefault, d, nil)
	if err != nil {
		t.Fatal(name, err)
	}
	var values []string
	for r, err := range v.Batch.Records(d) {
		if err != nil {
			t.Fatal(name, err)
		}
		values = append(values, fmt.Sprint(r.Timestamp, string(r.Key), string(r.Value)))
	}
	i := 0
	for r, err := range Batch(fixed).Records(d) {
		if err != nil {
			t.Fatal(name, err)
		}
		if int(r.OffsetDelta) != i || fmt.Sprint(r.Timestamp, string(r.Key), string(r.Value)) != values[i] {
			t.Errorf("%s: record %d is now %+v", name, i, r)
		}
		i++
	}
	if b := Batch(fixed); b.LastOffsetDelta() != v.Count-1 || b.Count() != v.Count || b.CheckCRC() != nil || b.MaxTimestamp() != v.MaxTimestamp {
		t.Errorf("%s: now %v", name, b)
	}
}

func caseOptions(t testing.TB, version, configs, now string) *ValidateOptions {
	number := func(s string) int64 {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	o := &ValidateOptions{
		Partition: kafka.TopicPartition{Topic: "t"}, ProduceVersion: int16(number(version)), Now: number(now),
		MaxBatchBytes: 1048588, BeforeMaxMs: math.MaxInt64, AfterMaxMs: 3_600_000,
	}
	for kv := range strings.SplitSeq(configs, ",") {
		switch k, v, _ := strings.Cut(kv, "="); k {
		case "":
		case "max.message.bytes":
			o.MaxBatchBytes = int32(number(v))
		case "max.decompressed.message.bytes":
			o.MaxRecordBytes = int32(number(v))
		case "message.timestamp.type":
			o.LogAppendTime = v == "LogAppendTime"
		case "message.timestamp.before.max.ms":
			o.BeforeMaxMs = number(v)
		case "message.timestamp.after.max.ms":
			o.AfterMaxMs = number(v)
		case "cleanup.policy":
			o.Compacted = strings.Contains(v, "compact")
		default:
			t.Fatalf("what is %s?", k)
		}
	}
	return o
}

// TestUsual compares the short way past a record with the long one, over records of many shapes and over what becomes of
// them when a byte changes.
func TestUsual(t *testing.T) {
	sizes := []int{0, 1, 63, 64, 100, 8191, 8192, 20000}
	taken, refused := 0, 0
	look := func(cur []byte) int {
		g, n := usual(cur)
		if n == 0 {
			return 0
		}
		d := &Decompressor{}
		s := d.scanner(&plainBytes{b: cur})
		want, err := s.glance(0)
		if err != nil || g != want || int64(n) != s.consumed() {
			t.Fatalf("% x…: usual says %+v in %d bytes, glance %+v in %d, error %v", cur[:min(len(cur), 16)], g, n, want, s.consumed(), err)
		}
		return n
	}
	for _, size := range sizes {
		for _, key := range [][]byte{nil, {}, []byte("key"), make([]byte, 70)} {
			for _, delta := range []int64{0, -1, 63, 64, 5000, 100_000} {
				for _, headers := range [][]RecordHeader{nil, {{Key: []byte("h")}}} {
					r := Record{Key: key, Value: make([]byte, size), Headers: headers}
					one := appendRecord(nil, &r, int32(delta), -delta)
					n := look(append(one, one...))
					if short := len(headers) == 0 && size < 8000 && delta <= 5000; short != (n == len(one)) {
						t.Fatalf("value of %d bytes, key of %d, delta %d, %d headers: %d bytes taken of %d", size, len(key), delta, len(headers), n, len(one))
					}
					for at := range min(len(one), 16) {
						for _, at := range []int{at, len(one) - 1 - at} {
							for bit := range 8 {
								one[at] ^= 1 << bit
								if look(one) > 0 {
									taken++
								} else {
									refused++
								}
								one[at] ^= 1 << bit
							}
						}
					}
				}
			}
		}
	}
	if taken == 0 || refused == 0 {
		t.Errorf("of the damaged records %d were taken, %d refused", taken, refused)
	}
}
