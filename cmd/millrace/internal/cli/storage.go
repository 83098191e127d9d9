package cli

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server"
	"github.com/millrace-io/millrace/server/offline"
)

func storageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "storage",
		GroupID: nodeGroup,
		Short:   "Work on the log directories of a node that is not running",
		Args:    cobra.ArbitraryArgs,
		RunE:    group,
	}
	cmd.AddCommand(storageFormatCommand(), storageInfoCommand(), storageRandomUUIDCommand(), storageImportCommand(), storageExportCommand())
	return cmd
}

// configFlags are the flags of commands that read a node's properties.
type configFlags struct {
	file      string
	overrides []string
}

func (c *configFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.file, "config", "c", "", "the properties file of the node")
	cmd.Flags().StringArrayVar(&c.overrides, "override", nil, "a property that replaces the file's, as key=value; may be repeated")
}

func (c *configFlags) load(cmd *cobra.Command) (*server.Config, error) {
	if c.file == "" {
		return nil, usagef("%s needs --config FILE.properties, which says where the log directories are", cmd.CommandPath())
	}
	return server.LoadConfig(c.file, c.overrides...)
}

func storageFormatCommand() *cobra.Command {
	var (
		config  configFlags
		request offline.FormatRequest
		voters  string
		release string
	)
	cmd := &cobra.Command{
		Use:     "format",
		Short:   "Prepare the log directories of a new node",
		Example: `  millrace storage format --config server.properties --cluster-id "$(millrace storage random-uuid)"`,
		Args:    arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.load(cmd)
			if err != nil {
				return err
			}
			if request.ClusterID == "" {
				request.ClusterID = kafka.NewUUID().String()
			}
			if cmd.Flags().Changed("initial-controllers") {
				request.InitialControllers = &voters
			}
			if cmd.Flags().Changed("release-version") {
				request.Release = &release
			}
			o := cfg.FormatOptions()
			begins, err := request.Complete(&o)
			if err != nil {
				return err
			}
			formatted, err := offline.Format(o)
			for _, dir := range formatted {
				fmt.Fprintf(cmd.OutOrStdout(), "Formatted %s for cluster %s with metadata.version %s.\n", dir, o.ClusterID, begins.Name)
			}
			if err == nil && len(formatted) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "All of the log directories are formatted already.")
			}
			return err
		},
	}
	config.register(cmd)
	f := cmd.Flags()
	f.StringVarP(&request.ClusterID, "cluster-id", "t", "", "the id of the cluster that the node belongs to (default a new one)")
	f.BoolVarP(&request.IgnoreFormatted, "ignore-formatted", "g", false, "leave directories that are formatted for this cluster and node as they are, rather than fail")
	f.BoolVarP(&request.Standalone, "standalone", "s", false, "make the node the first voter of a quorum that keeps its voters in its log; needed where controller.quorum.voters is not set")
	f.StringVarP(&voters, "initial-controllers", "I", "", "the first voter of such a quorum with the id of its directory, as id@host:port:directory")
	f.BoolVarP(&request.NoInitialControllers, "no-initial-controllers", "N", false, "the node is to join such a quorum later")
	f.StringVarP(&release, "release-version", "r", "", "the release of Apache Kafka whose features the cluster begins with (default the newest)")
	f.StringArrayVarP(&request.Features, "feature", "f", nil, "a level that differs from the release's, as feature=level; may be repeated")
	f.StringArrayVarP(&request.Credentials, "add-scram", "S", nil, "a SCRAM credential that the cluster begins with, as SCRAM-SHA-256=[name=alice,password=secret]; may be repeated")
	exclusive(cmd, "standalone", "initial-controllers")
	exclusive(cmd, "standalone", "no-initial-controllers")
	exclusive(cmd, "initial-controllers", "no-initial-controllers")
	return cmd
}

func storageInfoCommand() *cobra.Command {
	var config configFlags
	cmd := &cobra.Command{
		Use:   "info",
		Short: "Show what the log directories of a node are formatted as",
		Args:  arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.load(cmd)
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "DIRECTORY\tCLUSTER\tNODE\tDIRECTORY ID\tSTATE")
			problems := 0
			for _, d := range offline.Inspect(cfg.FormatOptions()) {
				if d.Problem != nil {
					problems++
					fmt.Fprintf(w, "%s\t-\t-\t-\t%s\n", d.Path, d.Problem)
					continue
				}
				fmt.Fprintf(w, "%s\t%s\t%d\t%s\tformatted\n", d.Path, d.ClusterID, d.NodeID, d.DirectoryID)
			}
			if err := w.Flush(); err != nil {
				return err
			}
			if problems > 0 {
				return exitCode(1)
			}
			return nil
		},
	}
	config.register(cmd)
	return cmd
}

func storageRandomUUIDCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "random-uuid",
		Short: "Print a new id, for --cluster-id",
		Args:  arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), kafka.NewUUID())
			return err
		},
	}
}
