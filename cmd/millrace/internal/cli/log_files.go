package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-io/millrace/server/offline"
)

func logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "log",
		Short:   "Look into the files of logs",
		GroupID: nodeGroup,
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
	}
	cmd.AddCommand(logCheckCommand(), logDumpCommand())
	return cmd
}

func logCheckCommand() *cobra.Command {
	var (
		config    configFlags
		shallow   bool
		compacted bool
		out       outputFlag
	)
	cmd := &cobra.Command{
		Use:   "check [DIR…]",
		Short: "Verify the logs of a node that is not running",
		Long: `Check reads every batch of the logs and verifies checksums, offsets, records, indexes and the files beside them. It changes
nothing. DIR is the directory of a partition or a log directory; with --config all directories of a node are checked.

What is found is one of three things: "damaged" records; a "torn" end, which a start cuts off when it was never acknowledged;
and files that a start makes anew ("rebuilt"), as an unclean stop leaves them. The exit code is 1 when there is any.`,
		Example: `  millrace log check --config server.properties
  millrace log check /var/lib/millrace/orders-0`,
		Args: arguments(0, -1, "directories"),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) == 0 && config.file == "":
				return usagef("%s needs directories, or --config FILE.properties, which names those of a node", cmd.CommandPath())
			case len(args) > 0 && config.file != "":
				return usagef("%s takes directories or --config, not both", cmd.CommandPath())
			case config.file != "":
				cfg, err := config.load(cmd)
				if err != nil {
					return err
				}
				o := cfg.FormatOptions()
				args = o.Directories()
			}
			return checkLogs(cmd, args, offline.CheckOptions{Deep: !shallow, Compacted: compacted}, out.json)
		},
	}
	config.register(cmd)
	cmd.Flags().BoolVar(&shallow, "shallow", false, "do not decompress batches to look at their records")
	cmd.Flags().BoolVar(&compacted, "compacted", false, "the logs are compacted, so that offsets may be missing; known by itself where the metadata lies beside them")
	out.flag(cmd, "text")
	return cmd
}

// checkedLine is a log in `log check --output json`.
type checkedLine struct {
	Dir         string        `json:"dir"`
	OK          bool          `json:"ok"`
	StartOffset int64         `json:"startOffset"`
	EndOffset   int64         `json:"endOffset"`
	Segments    int           `json:"segments"`
	Batches     int64         `json:"batches"`
	Records     int64         `json:"records"`
	Bytes       int64         `json:"bytes"`
	Findings    []findingLine `json:"findings"`
	Error       string        `json:"error,omitempty"`
}

type findingLine struct {
	Severity string `json:"severity"`
	File     string `json:"file"`
	Position *int64 `json:"position"`
	Offset   *int64 `json:"offset"`
	Problem  string `json:"problem"`
}

func checkLogs(cmd *cobra.Command, dirs []string, o offline.CheckOptions, asJSON bool) error {
	bar := newProgress(cmd.ErrOrStderr())
	o.Progress = bar.show
	var (
		logs, bad      int
		batches, bytes int64
		printing       error
		w              = cmd.OutOrStdout()
	)
	err := offline.Check(cmd.Context(), dirs, o, func(c offline.Checked) {
		logs++
		batches += c.Batches
		bytes += c.Bytes
		if !c.OK() {
			bad++
			bar.end()
		}
		if asJSON {
			printing = printJSON(w, newCheckedLine(c))
			return
		}
		for _, f := range c.Findings {
			fmt.Fprintln(w, findingText(f))
		}
		if c.CannotSay != nil {
			fmt.Fprintf(w, "not checked: %s: %v\n", c.Dir, c.CannotSay)
		}
	})
	bar.end()
	if err != nil {
		return err
	}
	if printing != nil {
		return printing
	}
	if !asJSON {
		verdict := "nothing is wrong"
		if bad > 0 {
			verdict = "something is wrong in " + plural(int64(bad), "log")
		}
		fmt.Fprintf(w, "Checked %s with %s in %s: %s.\n", plural(int64(logs), "log"), size(bytes), strings.Replace(plural(batches, "batch"), "batchs", "batches", 1), verdict)
	}
	if bad > 0 {
		return exitCode(1)
	}
	return nil
}

func newCheckedLine(c offline.Checked) checkedLine {
	line := checkedLine{Dir: c.Dir, OK: c.OK(), StartOffset: c.StartsAt, EndOffset: c.EndsAt, Segments: c.Segments, Batches: c.Batches, Records: c.Records, Bytes: c.Bytes, Findings: []findingLine{}}
	if c.CannotSay != nil {
		line.Error = c.CannotSay.Error()
	}
	for _, f := range c.Findings {
		line.Findings = append(line.Findings, findingLine{f.Severity, f.Path, known(f.Position), known(f.Offset), f.Problem})
	}
	return line
}

// known is a number where -1 stands for none.
func known(n int64) *int64 {
	if n < 0 {
		return nil
	}
	return &n
}

func findingText(f offline.Finding) string {
	where := f.Path
	if f.Position >= 0 {
		where += fmt.Sprintf(", position %d", f.Position)
	}
	if f.Offset >= 0 {
		where += fmt.Sprintf(", offset %d", f.Offset)
	}
	return f.Severity + ": " + where + ": " + f.Problem
}

// recordDecoders are what --decode takes, and the topics whose records each reads.
var recordDecoders = map[string]struct {
	decode offline.Decoder
	topic  string
}{
	"metadata":     {offline.MetadataDecoder, "__cluster_metadata"},
	"offsets":      {offline.OffsetsDecoder, "__consumer_offsets"},
	"transactions": {offline.TransactionDecoder, "__transaction_state"},
	"share":        {offline.ShareDecoder, "__share_group_state"},
	"remote":       {offline.RemoteDecoder, "__remote_log_metadata"},
}

func logDumpCommand() *cobra.Command {
	var (
		d   logDump
		out outputFlag
	)
	cmd := &cobra.Command{
		Use:   "dump PATH…",
		Short: "Print the batches of logs, or their records",
		Long: `Dump prints the batches of .log files and metadata snapshots (.checkpoint), the entries of .index, .timeindex and .txnindex
files, and the producers of .snapshot files. PATH is a file, or the directory of a partition, whose segments are printed.

The records of Kafka's own topics are decoded by the name of their directory; --decode says what they are elsewhere.

Under load small appends of class disk stand in the journal of their log directory for a moment before they are in these files; of a
node that was killed the next start writes them.`,
		Example: `  millrace log dump /var/lib/millrace/orders-0
  millrace log dump --records --output json /var/lib/millrace/__cluster_metadata-0`,
		Args: arguments(1, -1, "the path of a file or of a partition's directory"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if _, ok := recordDecoders[d.what]; !ok && d.what != "auto" && d.what != "text" {
				return usagef("--decode is %q; it is auto, text, metadata, offsets, transactions, share or remote", d.what)
			}
			d.json, d.out = out.json, cmd.OutOrStdout()
			for _, arg := range args {
				if err := d.path(arg); err != nil {
					return err
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&d.records, "records", "r", false, "print the records rather than the batches")
	cmd.Flags().StringVar(&d.what, "decode", "auto", "what the records are: auto, text, metadata, offsets, transactions, share or remote")
	out.flag(cmd, "table")
	return cmd
}

// logDump is one run of `log dump`.
type logDump struct {
	records bool
	what    string
	json    bool
	out     io.Writer
	failed  error // why something could not be printed
}

func (d *logDump) path(name string) error {
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return d.file(name)
	}
	segments, err := filepath.Glob(filepath.Join(name, "*.log"))
	if err != nil {
		return err
	}
	if len(segments) == 0 {
		return fmt.Errorf("%s holds no .log file; name the directory of a partition, or a file", name)
	}
	slices.Sort(segments)
	for _, file := range segments {
		if err := d.file(file); err != nil {
			return err
		}
	}
	return nil
}

func (d *logDump) file(name string) error {
	switch filepath.Ext(name) {
	case ".log", ".checkpoint":
		return d.log(name)
	case ".index":
		t := newTable(">OFFSET", ">POSITION", "VERDICT")
		_, err := offline.DumpOffsetIndex(name, offline.DumpOptions{}, 1<<31-1, func(e offline.OffsetEntry) {
			d.row(t, map[string]any{"file": name, "offset": e.Offset, "position": e.Position, "foundOffset": e.Found}, e.Offset, e.Position, verdict(e.Found == e.Offset, "the batch there ends at %d", e.Found))
		})
		return d.end(name, t, err)
	case ".timeindex":
		t := newTable("TIMESTAMP", ">OFFSET", "VERDICT")
		err := offline.DumpTimeIndex(name, offline.DumpOptions{}, func(e offline.TimeEntry) {
			ok := verdict(e.Found == e.Offset, "no batch ends there; the next ends at %d", e.Found)
			if e.Found == e.Offset {
				ok = verdict(e.Greatest == e.Timestamp, "the greatest timestamp in the batch is %d", e.Greatest)
			}
			d.row(t, map[string]any{"file": name, "timestamp": e.Timestamp, "offset": e.Offset, "foundOffset": e.Found, "foundTimestamp": e.Greatest}, timeText(e.Timestamp), e.Offset, ok)
		})
		return d.end(name, t, err)
	case ".txnindex":
		t := newTable(">PRODUCER", ">FIRST", ">LAST", ">LAST STABLE")
		txns, err := offline.DumpTxnIndex(name, offline.DumpOptions{})
		for _, x := range txns {
			d.row(t, map[string]any{"file": name, "producerId": x.ProducerID, "firstOffset": x.FirstOffset, "lastOffset": x.LastOffset, "lastStableOffset": x.LastStableOffset},
				x.ProducerID, x.FirstOffset, x.LastOffset, x.LastStableOffset)
		}
		return d.end(name, t, err)
	case ".snapshot":
		t := newTable(">PRODUCER", ">EPOCH", ">FIRST SEQUENCE", ">LAST SEQUENCE", ">LAST OFFSET", "WROTE", ">TRANSACTION AT")
		producers, err := offline.DumpProducers(name, offline.DumpOptions{})
		for _, p := range producers {
			d.row(t, map[string]any{"file": name, "producerId": p.ProducerID, "producerEpoch": p.Epoch, "firstSequence": offline.FirstSequence(p), "lastSequence": p.LastSequence,
				"lastOffset": p.LastOffset, "timestamp": p.Timestamp, "coordinatorEpoch": p.CoordinatorEpoch, "transactionFirstOffset": known(p.TxnFirstOffset)},
				p.ProducerID, p.Epoch, offline.FirstSequence(p), p.LastSequence, p.LastOffset, timeText(p.Timestamp), dash(p.TxnFirstOffset))
		}
		return d.end(name, t, err)
	}
	return fmt.Errorf("%s is none of .log, .checkpoint, .index, .timeindex, .txnindex and .snapshot", name)
}

// row adds a row to a table, or prints it as JSON.
func (d *logDump) row(t *table, object any, cells ...any) {
	if !d.json {
		t.add(cells...)
		return
	}
	d.failed = errors.Join(d.failed, printJSON(d.out, object))
}

// end prints a table with the file's name above it.
func (d *logDump) end(name string, t *table, err error) error {
	if !d.json {
		fmt.Fprintln(d.out, name)
		t.print(d.out)
	}
	return errors.Join(d.failed, err)
}

// batchLine is a batch in `log dump --output json`.
type batchLine struct {
	File          string `json:"file"`
	Position      int64  `json:"position"`
	Size          int    `json:"size"`
	BaseOffset    int64  `json:"baseOffset"`
	LastOffset    int64  `json:"lastOffset"`
	Records       int32  `json:"records"`
	Magic         int8   `json:"magic"`
	LeaderEpoch   int32  `json:"leaderEpoch"`
	ProducerID    int64  `json:"producerId"`
	ProducerEpoch int16  `json:"producerEpoch"`
	BaseSequence  int32  `json:"baseSequence"`
	Codec         string `json:"codec"`
	TimestampType string `json:"timestampType"`
	MaxTimestamp  int64  `json:"maxTimestamp"`
	Transactional bool   `json:"transactional"`
	Control       bool   `json:"control"`
	Valid         bool   `json:"valid"`
}

// shown is a record in `log dump --records --output json`.
type shown struct {
	File       string   `json:"file"`
	Offset     int64    `json:"offset"`
	Timestamp  int64    `json:"timestamp"`
	Sequence   int32    `json:"sequence"`
	HeaderKeys []string `json:"headerKeys"`
	Key        *string  `json:"key"`
	Value      *string  `json:"value"`
	Control    string   `json:"control,omitempty"`
}

// log prints a file of batches, some rows at a time, since it may be large.
func (d *logDump) log(name string) error {
	decode, err := d.decoder(name)
	if err != nil {
		return err
	}
	header := []string{">POSITION", ">SIZE", ">FIRST", ">LAST", ">RECORDS", ">EPOCH", ">PRODUCER", "CODEC", "GREATEST TIMESTAMP", "FLAGS"}
	if d.records {
		header = []string{">OFFSET", "TIMESTAMP", "KEY", "VALUE"}
	}
	t := newTable(slices.Clone(header)...)
	printed := false
	page := func() {
		if !d.json && (len(t.rows) > 0 || !printed) {
			if !printed {
				fmt.Fprintln(d.out, name)
			}
			printed = true
			t.print(d.out)
		}
		t = newTable(slices.Clone(header)...)
	}
	trailing, err := offline.DumpBatches(name, offline.DumpOptions{}, func(b *offline.Batch) error {
		if d.failed != nil {
			return d.failed
		}
		if len(t.rows) >= 1000 {
			page()
		}
		if !d.records {
			d.row(t, batchLine{File: name, Position: b.Position, Size: b.Size, BaseOffset: b.BaseOffset, LastOffset: b.LastOffset, Records: b.Count, Magic: b.Magic, LeaderEpoch: b.LeaderEpoch,
				ProducerID: b.ProducerID, ProducerEpoch: b.ProducerEpoch, BaseSequence: b.BaseSequence, Codec: b.Codec, TimestampType: b.TimestampType(), MaxTimestamp: b.MaxTimestamp,
				Transactional: b.Transactional, Control: b.Control, Valid: b.Valid},
				b.Position, b.Size, dash(b.BaseOffset), b.LastOffset, dash(int64(b.Count)), dash(int64(b.LeaderEpoch)), dash(b.ProducerID), b.Codec, timeText(b.MaxTimestamp), batchFlags(b))
			return nil
		}
		for r, err := range b.Records() {
			if err != nil {
				return err
			}
			line := shown{File: name, Offset: r.Offset, Timestamp: r.Timestamp, Sequence: r.Sequence, HeaderKeys: r.HeaderKeys, Control: r.Control}
			if r.Control == "" {
				if line.Key, line.Value, err = decode(r); err != nil {
					return err
				}
			}
			d.row(t, line, r.Offset, timeText(r.Timestamp), text(line.Key), strings.TrimSpace(text(line.Value)+" "+r.Control))
		}
		return nil
	})
	page()
	if err == nil && trailing > 0 {
		err = fmt.Errorf("%s: behind the last whole batch are %d bytes that are none", name, trailing)
	}
	return err
}

// decoder chooses what reads the records of a file.
func (d *logDump) decoder(name string) (offline.Decoder, error) {
	if known, ok := recordDecoders[d.what]; ok {
		return known.decode, nil
	}
	if abs, err := filepath.Abs(name); err == nil && d.what == "auto" {
		for _, known := range recordDecoders {
			if strings.HasPrefix(filepath.Base(filepath.Dir(abs)), known.topic+"-") {
				return known.decode, nil
			}
		}
	}
	return offline.PlainDecoder("StringDecoder", "StringDecoder")
}

func batchFlags(b *offline.Batch) string {
	var flags []string
	add := func(is bool, flag string) {
		if is {
			flags = append(flags, flag)
		}
	}
	add(!b.Valid, "BAD CRC")
	add(b.Control, "control")
	add(b.Transactional, "transactional")
	add(b.LogAppendTime, "append time")
	add(b.Magic < 2, fmt.Sprintf("magic %d", b.Magic))
	return strings.Join(flags, ", ")
}

func verdict(ok bool, format string, args ...any) string {
	if ok {
		return "good"
	}
	return fmt.Sprintf(format, args...)
}

// timeText is a timestamp of a record for people.
func timeText(ms int64) string {
	if ms < 0 {
		return "-"
	}
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}

func dash(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func text(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}
