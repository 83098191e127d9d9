package cli

import (
	"github.com/spf13/cobra"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts"
)

// kafkaCommand makes one of Kafka's own tools a command. It parses its own options, as Kafka's do.
func kafkaCommand(s scripts.Script) *cobra.Command {
	return &cobra.Command{
		Use:                s.Name,
		Short:              s.About,
		GroupID:            kafkaGroup,
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			code := s.Run(cmd.Context(), args, cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr())
			if code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
}

// kafkaGroup holds Kafka's own tools in the help.
const kafkaGroup = "kafka"

// addKafka adds Kafka's own tools to the root.
func addKafka(root *cobra.Command) {
	root.AddGroup(&cobra.Group{ID: kafkaGroup, Title: "Kafka's own tools, also when the binary is called by these names, with or without .sh:"})
	for _, s := range scripts.All() {
		root.AddCommand(kafkaCommand(s))
	}
}
