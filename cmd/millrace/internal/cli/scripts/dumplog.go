package scripts

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/server/offline"
)

// stringDecoder is Kafka's decoder for text.
const stringDecoder = "org.apache.kafka.tools.api.StringDecoder"

// decoders are the options that say what the records of a log are.
var decoders = []struct {
	option string
	decode offline.Decoder
	help   string
}{
	{"offsets-decoder", offline.OffsetsDecoder, "Read the records as those of __consumer_offsets."},
	{"transaction-log-decoder", offline.TransactionDecoder, "Read the records as those of __transaction_state."},
	{"cluster-metadata-decoder", offline.MetadataDecoder, "Read the records as those of the metadata log."},
	{"remote-log-metadata-decoder", offline.RemoteDecoder, "Read the records as those of __remote_log_metadata."},
	{"share-group-state-decoder", offline.ShareDecoder, "Read the records as those of __share_group_state."},
}

func dumpLogOptions() *options {
	all := []option{
		{name: "files", kind: text, label: "file1, file2, ...", help: "REQUIRED: The files to dump, with commas between them."},
		{name: "print-data-log", help: "Print what the records hold. Every option of a decoder sets it."},
		{name: "deep-iteration", help: "Print the records of each batch, too. print-data-log sets it."},
		{name: "verify-index-only", help: "Verify the indexes without printing them."},
		{name: "index-sanity-check", help: "Check the indexes as a start does to see whether they must be rebuilt."},
		{name: "max-message-size", kind: integer, label: "size", fallback: "5242880", help: "The largest batch that an index may point at."},
		{name: "max-bytes", kind: integer, label: "size", fallback: "2147483647", help: "How many bytes of each log are read at most."},
		{name: "key-decoder-class", kind: text, optional: true, fallback: stringDecoder, help: "The class that reads the keys."},
		{name: "value-decoder-class", kind: text, optional: true, fallback: stringDecoder, help: "The class that reads the values."},
		{name: "skip-record-metadata", help: "Leave out what stands before the contents of a record, and control records."},
	}
	for _, d := range decoders {
		all = append(all, option{name: d.option, help: d.help})
	}
	return newOptions("This tool helps to parse a log file and dump its contents to the console, useful for debugging a seemingly corrupt log segment.", all...)
}

func runDumpLog(c *call) error {
	v, err := dumpLogOptions().parse(c.args)
	if err != nil {
		return err
	}
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	if err := v.require("files"); err != nil {
		return err
	}
	d := &dumper{call: c, maxBatch: v.int("max-message-size"), sanityOnly: v.has("index-sanity-check"), verifyOnly: v.has("verify-index-only"),
		contents: v.has("print-data-log"), bare: v.has("skip-record-metadata"), options: offline.DumpOptions{MaxBytes: v.int("max-bytes")}}
	if err := d.chooseDecoder(v); err != nil {
		return err
	}
	d.deep = v.has("deep-iteration") || d.contents
	for _, file := range splitJava(v.get("files")) {
		if err := d.file(file); err != nil {
			return err
		}
	}
	d.complain()
	return nil
}

// splitJava splits at commas as Java does, which drops empty strings at the end.
func splitJava(s string) []string {
	parts := strings.Split(s, ",")
	for len(parts) > 1 && parts[len(parts)-1] == "" {
		parts = parts[:len(parts)-1]
	}
	return parts
}

// dumper is one run of kafka-dump-log.
type dumper struct {
	*call
	options                offline.DumpOptions
	maxBatch               int64
	sanityOnly, verifyOnly bool
	deep, contents, bare   bool
	decode                 offline.Decoder

	// What did not fit, by file in the order of the command line; it is said at the end, on stderr.
	mismatches, times, order, missing, gaps []complaint
}

// complaint is two numbers that do not fit, of a file.
type complaint struct {
	file string
	a, b int64
}

func (d *dumper) chooseDecoder(v *values) (err error) {
	for _, known := range decoders {
		if v.has(known.option) {
			d.contents = true
			if d.decode == nil {
				d.decode = known.decode
			}
		}
	}
	d.contents = d.contents || v.has("key-decoder-class") || v.has("value-decoder-class")
	if d.decode == nil {
		d.decode, err = offline.PlainDecoder(d.class(v, "key-decoder-class"), d.class(v, "value-decoder-class"))
	}
	return err
}

// class is the value of an option that may be given without one.
func (d *dumper) class(v *values, option string) string {
	if class := v.get(option); class != "" {
		return class
	}
	return stringDecoder
}

// file dumps one file as its kind has it.
func (d *dumper) file(name string) error {
	d.printf("Dumping %s\n", name)
	switch filepath.Ext(name) {
	case ".log", ".checkpoint":
		return d.log(name)
	case ".index":
		return d.index(name)
	case ".timeindex":
		return d.timeIndex(name)
	case ".snapshot":
		return d.producers(name)
	case ".txnindex":
		return d.transactions(name)
	}
	d.out.Flush()
	fmt.Fprintf(d.err, "Ignoring unknown file %s\n", name)
	return nil
}

func (d *dumper) log(name string) error {
	if err := d.head(filepath.Base(name)); err != nil {
		return err
	}
	last := int64(-1)
	trailing, err := offline.DumpBatches(name, d.options, func(b *offline.Batch) error {
		d.batch(b)
		if !d.deep {
			return nil
		}
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			if r.Offset != last+1 {
				d.gaps = append(d.gaps, complaint{absolute(name), last, r.Offset})
			}
			last = r.Offset
			if err := d.record(b, r); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if trailing > 0 && d.options.MaxBytes == math.MaxInt32 {
		d.printf("Found %d invalid bytes at the end of %s\n", trailing, filepath.Base(name))
	}
	return nil
}

// head says where a log begins, or what a snapshot covers; both stand in the name.
func (d *dumper) head(name string) error {
	stem, kind, _ := strings.Cut(name, ".")
	switch {
	case name == "bootstrap.checkpoint":
		d.printf("KRaft bootstrap snapshot\n")
	case kind == "checkpoint":
		var end int64
		var epoch int32
		if n, err := fmt.Sscanf(stem, "%020d-%010d", &end, &epoch); n != 2 || err != nil {
			return fmt.Errorf("%s is not the name of a snapshot: 20 digits of its end offset, a dash, 10 digits of its epoch", name)
		}
		d.printf("Snapshot end offset: %d, epoch: %d\n", end, epoch)
	default:
		var start int64
		if _, err := fmt.Sscanf(stem, "%d", &start); err != nil {
			return fmt.Errorf("%s is not the name of a log segment: its base offset in 20 digits", name)
		}
		d.printf("Log starting offset: %d\n", start)
	}
	return nil
}

func (d *dumper) batch(b *offline.Batch) {
	if b.Magic >= 2 {
		d.printf("baseOffset: %d lastOffset: %d count: %d baseSequence: %d lastSequence: %d producerId: %d producerEpoch: %d partitionLeaderEpoch: %d isTransactional: %t isControl: %t deleteHorizonMs: %s",
			b.BaseOffset, b.LastOffset, b.Count, b.BaseSequence, b.LastSequence, b.ProducerID, b.ProducerEpoch, b.LeaderEpoch, b.Transactional, b.Control, optionalLong(b.DeleteHorizon))
	} else {
		d.printf("offset: %d", b.LastOffset)
	}
	d.printf(" position: %d %s: %d size: %d magic: %d compresscodec: %s crc: %d isvalid: %t\n",
		b.Position, b.TimestampType(), b.MaxTimestamp, b.Size, b.Magic, b.Codec, b.CRC, b.Valid)
}

// optionalLong is how Java prints a number that may be missing, which -1 stands for.
func optionalLong(n int64) string {
	if n < 0 {
		return "OptionalLong.empty"
	}
	return fmt.Sprintf("OptionalLong[%d]", n)
}

func (d *dumper) record(b *offline.Batch, r *offline.Record) error {
	prefix := "| "
	if !d.bare {
		prefix = " "
		d.printf("| offset: %d %s: %d keySize: %d valueSize: %d", r.Offset, b.TimestampType(), r.Timestamp, sizeOf(r.Key), sizeOf(r.Value))
		if r.Old == nil {
			d.printf(" sequence: %d headerKeys: [%s]", r.Sequence, strings.Join(r.HeaderKeys, ","))
		} else {
			d.printf(" isValid: %t crc: %d", r.Old.Valid, r.Old.CRC)
		}
		if r.Control != "" {
			d.printf(" %s", r.Control)
		}
	}
	if d.contents && !b.Control {
		key, value, err := d.decode(r)
		if err != nil {
			return err
		}
		if key != nil {
			d.printf("%skey: %s", prefix, *key)
			prefix = " "
		}
		if value != nil {
			d.printf("%spayload: %s", prefix, *value)
		}
	}
	d.printf("\n")
	return nil
}

// sizeOf is the size of a key or a value; -1 for null.
func sizeOf(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

func (d *dumper) index(name string) error {
	var (
		empty bool
		err   error
		wrong []complaint
	)
	if d.sanityOnly {
		empty, err = offline.CheckOffsetIndex(name, d.options)
	} else {
		empty, err = offline.DumpOffsetIndex(name, d.options, d.maxBatch, func(e offline.OffsetEntry) {
			if e.Found != e.Offset {
				wrong = append(wrong, complaint{absolute(name), e.Offset, e.Found})
			}
			if !d.verifyOnly {
				d.printf("offset: %d position: %d\n", e.Offset, e.Position)
			}
		})
	}
	slices.Reverse(wrong) // from the end, as Kafka's tool has it
	d.mismatches = append(d.mismatches, wrong...)
	switch {
	case err != nil:
		return err
	case empty:
		d.printf("%s is empty.\n", name)
	case d.sanityOnly:
		d.printf("%s passed sanity check.\n", name)
	}
	return nil
}

func (d *dumper) timeIndex(name string) error {
	if d.sanityOnly {
		if err := offline.CheckTimeIndex(name, d.options); err != nil {
			return err
		}
		d.printf("%s passed sanity check.\n", name)
		return nil
	}
	before := int64(-1)
	return offline.DumpTimeIndex(name, d.options, func(e offline.TimeEntry) {
		if e.Found != e.Offset {
			d.missing = append(d.missing, complaint{absolute(name), e.Offset, e.Found})
		} else {
			if e.Greatest != e.Timestamp {
				d.times = append(d.times, complaint{absolute(name), e.Timestamp, e.Greatest})
			}
			if before >= e.Timestamp {
				d.order = append(d.order, complaint{absolute(name), e.Timestamp, before})
			}
		}
		if !d.verifyOnly {
			d.printf("timestamp: %d offset: %d\n", e.Timestamp, e.Offset)
		}
		before = e.Timestamp
	})
}

func (d *dumper) producers(name string) error {
	producers, err := offline.DumpProducers(name, d.options)
	if err != nil {
		return err
	}
	for _, p := range producers {
		d.printf("producerId: %d producerEpoch: %d coordinatorEpoch: %d currentTxnFirstOffset: %s lastTimestamp: %d",
			p.ProducerID, p.Epoch, p.CoordinatorEpoch, optionalLong(p.TxnFirstOffset), p.Timestamp)
		if p.LastOffset >= 0 {
			d.printf(" firstSequence: %d lastSequence: %d lastOffset: %d offsetDelta: %d timestamp: %d",
				offline.FirstSequence(p), p.LastSequence, p.LastOffset, p.OffsetDelta, p.Timestamp)
		}
		d.printf("\n")
	}
	return nil
}

func (d *dumper) transactions(name string) error {
	txns, err := offline.DumpTxnIndex(name, d.options)
	for _, t := range txns {
		d.printf("version: 0 producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d\n", t.ProducerID, t.FirstOffset, t.LastOffset, t.LastStableOffset)
	}
	return err
}

// complain says what did not fit, after everything else.
func (d *dumper) complain() {
	d.out.Flush()
	say := func(all []complaint, head, line string) {
		for len(all) > 0 {
			n := slices.IndexFunc(all, func(c complaint) bool { return c.file != all[0].file })
			if n < 0 {
				n = len(all)
			}
			if strings.Contains(head, "%s") {
				fmt.Fprintf(d.err, head+"\n", all[0].file)
			} else {
				fmt.Fprintln(d.err, head)
			}
			for _, c := range all[:n] {
				fmt.Fprintf(d.err, line+"\n", c.a, c.b)
			}
			all = all[n:]
		}
	}
	say(d.mismatches, "Mismatches in :%s", "  Index offset: %d, log offset: %d")
	say(d.times, "Found timestamp mismatch in :%s", "  Index timestamp: %d, log timestamp: %d")
	say(d.order, "Found out of order timestamp in :%s", "  Index timestamp: %d, Previously indexed timestamp: %d")
	say(d.missing, "The following indexed offsets are not found in the log.", "Indexed offset: %d, found log offset: %d")
	say(d.gaps, "Non-consecutive offsets in %s", "  %d is followed by %d")
}

// absolute is a path as Java's File.getAbsolutePath has it.
func absolute(name string) string {
	if abs, err := filepath.Abs(name); err == nil {
		return abs
	}
	return name
}
