package cli

import (
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/millrace-io/millrace/server"
)

type logger = *slog.Logger

// stopTimeout bounds a clean stop: what has not been written by then is recovered at the next start.
const stopTimeout = 60 * time.Second

func serverCommand() *cobra.Command {
	var (
		overrides []string
		logLevel  string
	)
	cmd := &cobra.Command{
		Use:     "server FILE.properties",
		GroupID: nodeGroup,
		Short:   "Start a node from Kafka's own properties",
		Long: `Server starts a node from a properties file of Apache Kafka: node.id, process.roles, listeners, controller.quorum.voters,
log.dirs and all the others. Keys that have no meaning here are accepted with one warning; an unknown key is an error.

The log directories must have been formatted: "millrace storage format --standalone --config FILE.properties", without
--standalone where the file has controller.quorum.voters.`,
		Example: `  millrace server server.properties
  millrace server server.properties --override node.id=2 --override log.dirs=/data/2`,
		Args: arguments(1, 1, "the path of a properties file"),
		RunE: func(cmd *cobra.Command, args []string) error {
			level, err := parseLevel(logLevel)
			if err != nil {
				return err
			}
			cfg, err := server.LoadConfig(args[0], overrides...)
			if err != nil {
				return err
			}
			log := newLogger(cmd.ErrOrStderr(), level)
			return run(cmd, cfg, log, nil, func(*server.Server) {})
		},
	}
	cmd.Flags().StringArrayVar(&overrides, "override", nil, "a property that replaces the file's, as key=value; may be repeated")
	cmd.Flags().StringVar(&logLevel, "log-level", "info", "what is logged on stderr: debug, info, warn or error")
	return cmd
}
