package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts"
	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/config"
)

// produceOptions are the flags of `millrace produce`.
type produceOptions struct {
	connection
	out                                          outputFlag
	input, separator, delimiter                  string
	key, null                                    string
	hasKey, hasSeparator, hasNull                bool
	headers                                      []string
	partition                                    int32
	rate                                         float64
	compression, acks                            string
	idempotent, keepGoing, quiet, setsIdempotent bool
}

func produceCommand() *cobra.Command {
	var o produceOptions
	cmd := &cobra.Command{
		Use:   "produce TOPIC [FILE...]",
		Short: "Write lines or files to a topic",
		Long: `Produce writes each line of stdin, or of files, as a record. "-" among the files is stdin.

Nothing that was read is lost in silence: the command ends when all of it is acknowledged. At the first record that
cannot be written it stops, says which line that was, and exits with 1; with --keep-going it writes the rest first.
Ctrl-C stops reading and waits for what was read already; a second one ends at once.

With --input json each line is an object as "consume --output json" prints it, of which key, value, headers and
timestamp are written: {"key":"k","value":"v","headers":[{"key":"h","value":"x"}]}. Fields keyBase64 and valueBase64
hold bytes. Topic, partition and offset say where a record came from, and are passed over.`,
		Example: `  echo hello | millrace produce greetings
  millrace produce prices --key-separator : < prices.txt
  millrace produce pictures --input files --key holiday *.jpg
  millrace produce events events.log --compression zstd --rate 1000
  millrace consume orders --output json | millrace produce copy --input json`,
		GroupID: clientGroup,
		Args:    arguments(1, -1, "the name of a topic"),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
			if len(args) > 0 {
				return nil, cobra.ShellCompDirectiveDefault
			}
			return completeTopics(&o.connection, 1)(cmd, args, word)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			changed := cmd.Flags().Changed
			o.hasKey, o.hasSeparator, o.hasNull, o.setsIdempotent = changed("key"), changed("key-separator"), changed("null"), changed("idempotent")
			return produce(cmd, o, args[0], args[1:])
		},
	}
	o.flags(cmd)
	o.out.flag(cmd, "text")
	f := cmd.Flags()
	f.StringVarP(&o.input, "input", "i", "lines", "what a record is: one of lines, json (an object in each line) or files (the whole of each)")
	f.StringVarP(&o.key, "key", "k", "", "the key of every record")
	f.StringVarP(&o.separator, "key-separator", "K", "", "what stands between key and value in each line, such as : or \\t")
	f.StringVarP(&o.delimiter, "delimiter", "d", `\n`, "the character that ends a line, such as \\0")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "a header of every record, as `NAME=VALUE`; may be repeated")
	f.StringVar(&o.null, "null", "", "a key or value that reads so is null; --null '' has empty ones null")
	f.Int32VarP(&o.partition, "partition", "p", -1, "the partition to write to (default by the key, or spread where there is none)")
	f.Lookup("partition").DefValue = "0" // not shown: the help says it in words
	f.Float64VarP(&o.rate, "rate", "r", 0, "at most so many records in a second (default no limit)")
	f.StringVarP(&o.compression, "compression", "z", "", "none, gzip, snappy, lz4 or zstd (default none)")
	f.StringVar(&o.acks, "acks", "", "all (the default): every replica in sync has a record before it counts as written; 1: the leader has; 0: nobody is asked")
	f.BoolVar(&o.idempotent, "idempotent", true, "no record is written twice, whatever is sent again; with --acks all")
	f.BoolVar(&o.keepGoing, "keep-going", false, "go on after a record that cannot be written")
	f.BoolVarP(&o.quiet, "quiet", "q", false, "show no progress and no summary")
	cmd.RegisterFlagCompletionFunc("input", cobra.FixedCompletions([]string{"lines", "json", "files"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("compression", cobra.FixedCompletions([]string{"none", "gzip", "snappy", "lz4", "zstd"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.RegisterFlagCompletionFunc("acks", cobra.FixedCompletions([]string{"all", "1", "0"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// properties are the flags in the words of Kafka's producer; they go before --property and the file.
func (o *produceOptions) producerProperties() error {
	add := func(key, value string) { o.properties = append(o.properties, key+"="+value) }
	if o.compression != "" {
		add("compression.type", o.compression)
	}
	if o.acks != "" {
		add("acks", o.acks)
	}
	if o.setsIdempotent {
		add("enable.idempotence", strconv.FormatBool(o.idempotent))
		if o.idempotent && (o.acks == "0" || o.acks == "1") {
			return usagef("--idempotent needs --acks all")
		}
	}
	return nil
}

// source makes the input that the flags describe.
func (o *produceOptions) source(stdin io.Reader, files []string) (*input, error) {
	in := &input{files: files, stdin: stdin, whole: o.input == "files"}
	if len(files) == 0 {
		in.files = []string{"-"}
	}
	delimiter, err := unescapeAll(o.delimiter)
	if err != nil {
		return nil, err
	}
	if len(delimiter) != 1 {
		return nil, usagef("--delimiter is %q; it is one character", o.delimiter)
	}
	in.delimiter = delimiter[0]
	headers, err := o.fixedHeaders()
	if err != nil {
		return nil, err
	}
	f := fields{}
	if o.hasSeparator {
		if f.separator, err = unescapeAll(o.separator); err != nil {
			return nil, err
		}
	}
	if o.hasNull {
		f.null = &o.null
	}
	parse := f.parse
	switch {
	case o.input == "json" && (o.hasSeparator || o.hasNull):
		return nil, usagef("--key-separator and --null are for lines; with --input json the objects say what they mean")
	case o.input == "json":
		parse = parseJSONRecord
	case o.input == "files" && o.hasSeparator:
		return nil, usagef("--key-separator is for lines; with --input files the key is that of --key")
	case o.input != "lines" && o.input != "files":
		return nil, usagef("--input is %q; it is one of lines, json, files", o.input)
	case o.hasSeparator && len(f.separator) == 0:
		return nil, usagef("--key-separator is empty; leave it out where lines have no key")
	case o.hasKey && o.hasSeparator:
		return nil, usagef("--key gives every record the same key, --key-separator each its own: take one of them")
	}
	in.parse = func(text []byte) (*kgo.Record, error) {
		r, err := parse(text)
		if err != nil {
			return nil, err
		}
		if o.hasKey {
			r.Key = f.field([]byte(o.key))
		}
		r.Headers = append(r.Headers, headers...)
		return r, nil
	}
	return in, nil
}

func (o *produceOptions) fixedHeaders() ([]kgo.RecordHeader, error) {
	var headers []kgo.RecordHeader
	for _, word := range o.headers {
		name, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, usagef("--header is %q; it is NAME=VALUE", word)
		}
		headers = append(headers, kgo.RecordHeader{Key: name, Value: []byte(value)})
	}
	return headers, nil
}

// Bounds of a producer that is told nothing else, as Kafka's are.
const (
	maxRequestSize  = 1 << 20
	bufferMemory    = 32 << 20
	deliveryTimeout = 2 * time.Minute
	leastBatch      = 512 // the client wants that much room for a batch
)

func produce(cmd *cobra.Command, o produceOptions, topic string, files []string) error {
	if o.rate < 0 || math.IsNaN(o.rate) {
		return usagef("--rate is %v; it is how many records to write in a second", o.rate)
	}
	if err := o.producerProperties(); err != nil {
		return err
	}
	in, err := o.source(cmd.InOrStdin(), files)
	if err != nil {
		return err
	}
	in.most = maxRequestSize
	w := &writer{topic: topic, partition: max(o.partition, 0), rate: o.rate, keepGoing: o.keepGoing, failed: make(chan struct{}), patience: deliveryTimeout}
	compressed := false
	w.cluster, err = o.open(cmd, func(p dial.Properties) ([]kgo.Opt, error) {
		if p["buffer.memory"] == "" {
			p["buffer.memory"] = strconv.Itoa(bufferMemory)
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(p["max.request.size"]), 10, 32); err == nil && n > 0 {
			in.most = int(n)
		}
		if d, given, err := p.Milliseconds("delivery.timeout.ms"); err == nil && given {
			w.patience = d
		}
		w.batchMost = max(in.most, leastBatch)
		compressed = p["compression.type"] != "" && p["compression.type"] != "none"
		options, err := p.Producer()
		options = append(options,
			kgo.WithHooks(newWeather(cmd.ErrOrStderr())),
			kgo.RecordDeliveryTimeout(0), // it counts from the timestamp of a record, which may be an old one
			kgo.ProducerBatchMaxBytesFn(func(string) int32 { return int32(w.batchMost) }))
		if cmd.Flags().Changed("partition") {
			options = append(options, kgo.RecordPartitioner(kgo.ManualPartitioner()))
		}
		return options, err
	})
	if err != nil {
		return err
	}
	defer w.Close()
	partitions, err := w.writable(cmd.Context(), topic)
	if err != nil {
		return err
	}
	if cmd.Flags().Changed("partition") && (o.partition < 0 || int(o.partition) >= partitions) {
		return fmt.Errorf("there is no partition %d; topic %s has %s, from 0", o.partition, topic, plural(int64(partitions), "partition"))
	}
	if !compressed { // otherwise nobody knows yet how large a batch will be
		w.batchMost = max(min(in.most, w.messageMost(cmd.Context())), leastBatch)
	}
	w.began = time.Now()
	stopProgress := w.showProgress(cmd, o.quiet)
	err = w.run(cmd, in)
	stopProgress()
	return w.finish(cmd, err, o)
}

// messageMost is max.message.bytes of the topic, if it can be learned: a batch that is larger would be refused
// as a whole, with the records in it that are not too large.
func (w *writer) messageMost(ctx context.Context) int {
	entries, err := w.entries(ctx, configEntity{kmsg.ConfigResourceTypeTopic, w.topic}, false)
	if err != nil {
		return math.MaxInt32
	}
	for _, e := range entries {
		if n, err := strconv.Atoi(orNull(e.Value)); e.Name == "max.message.bytes" && err == nil {
			return n
		}
	}
	return math.MaxInt32
}

// writable returns how many partitions a topic has, which the cluster may make now.
func (c *cluster) writable(ctx context.Context, name string) (int, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.AllowAutoTopicCreation = true
	topic := kmsg.NewMetadataRequestTopic()
	topic.Topic = &name
	request.Topics = append(request.Topics, topic)
	for deadline := time.Now().Add(creationTimeout); ; {
		response, err := request.RequestWith(ctx, c.client)
		if err != nil {
			return 0, dial.Explain(err)
		}
		if len(response.Topics) != 1 {
			return 0, fmt.Errorf("the broker does not tell of topic %s", name)
		}
		err = kerr.ErrorForCode(response.Topics[0].ErrorCode)
		pending := errors.Is(err, kerr.UnknownTopicOrPartition) || errors.Is(err, kerr.LeaderNotAvailable)
		switch {
		case err == nil:
			return len(response.Topics[0].Partitions), nil
		case !pending:
			return 0, fmt.Errorf("topic %s: %w", name, dial.Explain(err))
		case time.Now().After(deadline):
			return 0, c.noTopic(ctx, name)
		}
		select { // a broker has no way to call when a topic is there
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// creationTimeout is how long a topic may take to be made by itself.
const creationTimeout = 2 * time.Second

// noTopic is the error of a topic that the cluster does not make by itself.
func (c *cluster) noTopic(ctx context.Context, name string) error {
	create := fmt.Sprintf("`millrace topic create %s` makes it", name)
	if topics, err := c.admin.ListTopics(ctx); err == nil {
		if near := config.Nearest(name, maps.Keys(topics)); near != "" {
			return fmt.Errorf("there is no topic %q; did you mean %s? %s", name, near, create)
		}
	}
	return fmt.Errorf("there is no topic %q, and the cluster makes none by itself; %s", name, create)
}

// writer sends records and keeps account of each.
type writer struct {
	*cluster
	topic     string
	partition int32
	rate      float64
	keepGoing bool
	began     time.Time
	batchMost int           // bytes of a batch
	patience  time.Duration // with a record that is not acknowledged; 0 is no end

	delivery deliveries
	failed   chan struct{} // closed when the first record has failed

	mu                           sync.Mutex
	read, written, bytes, losses int64
	last                         place  // that was read
	lost                         []loss // the first of them
}

// loss is a record that was not written.
type loss struct {
	at  place
	err error
}

// losses that are told one by one.
const lossesTold = 5

// run reads and sends until the end of the input, the first failure, or an interrupt, and then waits for what
// was sent.
func (w *writer) run(cmd *cobra.Command, in *input) error {
	ctx := cmd.Context()
	if scripts.Terminal(in.stdin) && len(in.files) == 1 && in.files[0] == "-" {
		cmd.PrintErrln("Each line is a record; Ctrl-D ends.")
	}
	err := w.send(ctx, in)
	if unsettled := w.unsettled(); ctx.Err() != nil && unsettled > 0 {
		cmd.PrintErrf("\nmillrace: waiting for %s to be acknowledged; Ctrl-C again gives up on them\n", plural(unsettled, "record"))
	}
	// The delivery timeout bounds this; the process ends at a second Ctrl-C.
	if flushErr := w.client.Flush(context.WithoutCancel(ctx)); err == nil {
		err = flushErr
	}
	w.delivery.end()
	return err
}

// deliveries bound how long a record may wait for its acknowledgement. Records of the same moment share a
// context.
type deliveries struct {
	parent   context.Context
	patience time.Duration
	current  context.Context
	until    time.Time // when the next context is due
	cancels  []context.CancelFunc
}

func (d *deliveries) context() context.Context {
	if d.patience == 0 {
		return d.parent
	}
	if now := time.Now(); d.current == nil || now.After(d.until) {
		var cancel context.CancelFunc
		d.current, cancel = context.WithTimeout(d.parent, d.patience)
		d.cancels = append(d.cancels, cancel)
		d.until = now.Add(d.patience / 100)
		if len(d.cancels) > 200 { // the first of them is over for long
			d.cancels[0]()
			d.cancels = d.cancels[1:]
		}
	}
	return d.current
}

func (d *deliveries) end() {
	for _, cancel := range d.cancels {
		cancel()
	}
}

// next is what the reading goroutine hands over.
type next struct {
	record *kgo.Record
	at     place
	err    error
}

// handedMost bounds how many records are handed over at a time, which costs less than one by one.
const handedMost = 256

func (w *writer) send(ctx context.Context, in *input) error {
	// A read of a terminal or a pipe cannot be called off, so that it has a goroutine of its own; when nobody
	// takes what it has read, that was not read as far as anybody can tell.
	handed, done := make(chan []next), make(chan struct{})
	defer close(done)
	go func() {
		defer in.Close()
		for {
			var some []next
			for len(some) == 0 || len(some) < handedMost && in.ready() {
				r, at, err := in.next()
				if some = append(some, next{r, at, err}); err != nil {
					break
				}
			}
			select {
			case handed <- some:
			case <-done:
				return
			}
			if some[len(some)-1].err != nil {
				return
			}
		}
	}()
	var some []next
	delivery := &w.delivery
	delivery.parent, delivery.patience = context.WithoutCancel(ctx), w.patience
	pace := time.NewTimer(0)
	defer pace.Stop()
	for {
		if w.rate > 0 {
			pace.Reset(time.Until(w.began.Add(time.Duration(float64(w.sent()) / w.rate * float64(time.Second)))))
			select {
			case <-pace.C:
			case <-w.failed:
				return nil
			case <-ctx.Done():
				return nil
			}
		}
		if len(some) == 0 {
			select {
			case some = <-handed:
			case <-w.failed:
			case <-ctx.Done():
			}
		}
		if len(some) == 0 || w.over(ctx) {
			return nil
		}
		n := some[0]
		some = some[1:]
		if n.err == io.EOF {
			return nil
		}
		if n.err != nil {
			return n.err
		}
		n.record.Topic, n.record.Partition = w.topic, w.partition
		w.mu.Lock()
		w.read++
		w.last = n.at
		w.mu.Unlock()
		at := n.at
		w.client.Produce(delivery.context(), n.record, func(r *kgo.Record, err error) { w.settle(r, at, err) })
	}
}

// over reports that nothing more is to be sent: a record has failed, or Ctrl-C was pressed.
func (w *writer) over(ctx context.Context) bool {
	select {
	case <-w.failed:
		return true
	default:
		return ctx.Err() != nil
	}
}

// settle notes what became of a record.
func (w *writer) settle(r *kgo.Record, at place, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.written++
		w.bytes += int64(len(r.Key) + len(r.Value))
		return
	}
	if w.losses++; len(w.lost) < lossesTold {
		w.lost = append(w.lost, loss{at, err})
	}
	if w.losses == 1 && !w.keepGoing {
		close(w.failed)
	}
}

func (w *writer) sent() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read
}

func (w *writer) unsettled() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read - w.written - w.losses
}

// showProgress keeps a line on the terminal up to date until the returned function is called.
func (w *writer) showProgress(cmd *cobra.Command, quiet bool) (stop func()) {
	// Where a person types, the line would stand in their way.
	if quiet || !scripts.Terminal(cmd.ErrOrStderr()) || scripts.Terminal(cmd.InOrStdin()) {
		return func() {}
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				fmt.Fprintf(cmd.ErrOrStderr(), "\r\x1b[K%s", w.summary())
			case <-done:
				fmt.Fprint(cmd.ErrOrStderr(), "\r\x1b[K")
				return
			}
		}
	}()
	return func() { close(done); <-ended }
}

// summary says in words how far it went.
func (w *writer) summary() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	seconds := time.Since(w.began).Seconds()
	return fmt.Sprintf("%s (%s) written to %s in %.1f s: %s/s", plural(w.written, "record"), size(w.bytes), w.topic, seconds, grouped(int64(float64(w.written)/max(seconds, 0.001))))
}

// produced is what `produce --output json` prints at the end.
type produced struct {
	Topic   string  `json:"topic"`
	Read    int64   `json:"read"`
	Written int64   `json:"written"`
	Lost    int64   `json:"lost"`
	Bytes   int64   `json:"bytes"` // of keys and values
	Seconds float64 `json:"seconds"`
}

// finish says what became of everything, and returns the error that the command ends with.
func (w *writer) finish(cmd *cobra.Command, err error, o produceOptions) error {
	if o.out.json {
		line := produced{w.topic, w.read, w.written, w.losses, w.bytes, time.Since(w.began).Seconds()}
		if err := printJSON(cmd.OutOrStdout(), line); err != nil {
			return err
		}
	} else if !o.quiet && scripts.Terminal(cmd.ErrOrStderr()) {
		cmd.PrintErrln(w.summary() + ".")
	}
	var failures failures
	for _, l := range w.lost {
		failures.add("%s was not written to %s: %w", l.at, w.topic, w.reason(l.err))
	}
	if more := w.losses - int64(len(w.lost)); more > 0 {
		failures.add("%s more were not written either", plural(more, "record"))
	}
	if err != nil {
		failures.add("%w", err)
	}
	if len(failures) > 0 {
		if w.read > 0 {
			failures.add("reading ended after %s; of %s up to there %s written", w.last, plural(w.read, "record"), wasWritten(w.written))
		}
		return failures.error()
	}
	return cmd.Context().Err()
}

func wasWritten(n int64) string {
	if n == 1 {
		return "1 is"
	}
	return grouped(n) + " are"
}

// reason says why a record was not written, and what can be done about it.
func (w *writer) reason(err error) error {
	switch {
	case errors.Is(err, kerr.MessageTooLarge):
		return fmt.Errorf("it is too large: max.message.bytes of the topic bounds it there (`millrace config describe topic %s max.message.bytes`), and max.request.size here", w.topic)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("it was not acknowledged in time (delivery.timeout.ms), and may or may not have been written")
	}
	return dial.Explain(err)
}
