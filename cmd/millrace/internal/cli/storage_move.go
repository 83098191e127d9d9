package cli

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-io/millrace/server/offline"
)

func storageImportCommand() *cobra.Command {
	var (
		config configFlags
		from   []string
		move   bool
	)
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Take over the log directories of a stopped Apache Kafka node",
		Long: `Import takes over a stopped node of Apache Kafka: its cluster id, topics, configs, offsets, producer state and all that
lies in its log directories. They are copied, or moved with --move, into the log directories that the properties file names,
which must be empty. Afterwards "millrace server FILE.properties" serves what Kafka served.

An import that was interrupted is run again with the same command.`,
		Example: `  millrace storage import --from /var/lib/kafka/data --config server.properties
  millrace storage import --from /disk1/kafka,/disk2/kafka --config server.properties --move`,
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(from) == 0 {
				return usagef("%s needs --from KAFKA_LOG_DIR[,…], the log directories of the Kafka node", cmd.CommandPath())
			}
			cfg, err := config.load(cmd)
			if err != nil {
				return err
			}
			bar := newProgress(cmd.ErrOrStderr())
			moved, err := offline.Import(cmd.Context(), offline.ImportOptions{From: from, Node: cfg.FormatOptions(), Move: move, Progress: bar.show})
			bar.end()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if moved.Already {
				fmt.Fprintln(out, "An earlier run had imported everything.")
			} else {
				tellMoved(out, "Imported", moved)
			}
			fmt.Fprintf(out, "Start the node:  millrace server %s\n", config.file)
			return nil
		},
	}
	config.register(cmd)
	cmd.Flags().StringSliceVar(&from, "from", nil, "the log directories of the Kafka node, and its metadata.log.dir, with commas between them")
	cmd.Flags().BoolVar(&move, "move", false, "move rather than copy: nothing is left for Kafka to start on")
	return cmd
}

func storageExportCommand() *cobra.Command {
	var (
		config configFlags
		to     []string
	)
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write log directories that Apache Kafka starts on",
		Long: `Export copies what a stopped node holds into directories that Apache Kafka 4.4 starts on, with the same properties file and
log.dirs set to them. What only Millrace has is left out, and said.`,
		Example: `  millrace storage export --config server.properties --to /var/lib/kafka/data`,
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if len(to) == 0 {
				return usagef("%s needs --to DIR, an empty directory", cmd.CommandPath())
			}
			cfg, err := config.load(cmd)
			if err != nil {
				return err
			}
			bar := newProgress(cmd.ErrOrStderr())
			moved, err := offline.Export(cmd.Context(), offline.ExportOptions{Node: cfg.FormatOptions(), To: to, Progress: bar.show})
			bar.end()
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			tellMoved(out, "Exported", moved)
			fmt.Fprintf(out, "Start Apache Kafka with %s and log.dirs=%s", config.file, strings.Join(to, ","))
			if cfg.MetadataLogDir != cfg.LogDirs[0] {
				fmt.Fprintf(out, ", metadata.log.dir=%s", to[0])
			}
			fmt.Fprintln(out, ".")
			return nil
		},
	}
	config.register(cmd)
	cmd.Flags().StringSliceVar(&to, "to", nil, "the empty directories to write, with commas between them")
	return cmd
}

// tellMoved says what an import or an export did.
func tellMoved(out io.Writer, did string, m *offline.Moved) {
	fmt.Fprintf(out, "%s node %d of the cluster %s: %d topics, %d partitions, %s.\n", did, m.NodeID, m.ClusterID, m.Topics, m.Partitions, size(m.Bytes))
	for _, l := range m.Landings {
		fmt.Fprintf(out, "  %s -> %s\n", l.From, l.To)
	}
	for _, dir := range m.Unclean {
		fmt.Fprintf(out, "%s was not stopped in order: its logs are recovered at the next start.\n", dir)
	}
	for _, what := range m.LeftOut {
		fmt.Fprintf(out, "Left out: %s.\n", what)
	}
}

// progressLine shows how far long work has come: over and over in one line of a terminal, a line now and then elsewhere,
// and nothing for what is quick.
type progressLine struct {
	out      io.Writer
	terminal bool
	began    time.Time
	last     time.Time
	shown    bool
}

func newProgress(out io.Writer) *progressLine {
	p := &progressLine{out: out, began: time.Now(), last: time.Now()}
	if f, ok := out.(*os.File); ok {
		info, err := f.Stat()
		p.terminal = err == nil && info.Mode()&os.ModeCharDevice != 0
	}
	return p
}

// show is given to the work as its Progress.
func (p *progressLine) show(at offline.Progress) {
	p.line(fmt.Sprintf("%d of %d logs, %s of %s", at.Logs, at.LogsTotal, size(at.Bytes), size(at.BytesTotal)))
}

func (p *progressLine) line(text string) {
	every := 10 * time.Second
	if p.terminal {
		every = 200 * time.Millisecond
	}
	now := time.Now()
	if now.Sub(p.last) < every {
		return
	}
	p.last = now
	if p.terminal {
		p.shown = true
		fmt.Fprintf(p.out, "\r\x1b[K%s", text)
		return
	}
	fmt.Fprintf(p.out, "%s after %v\n", text, now.Sub(p.began).Round(time.Second))
}

// end leaves the line.
func (p *progressLine) end() {
	if p.shown {
		fmt.Fprint(p.out, "\r\x1b[K")
	}
}
