package cli

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts"
)

// interactive reports whether a person sits at the terminal who can be asked.
func interactive(cmd *cobra.Command) bool {
	return scripts.Terminal(cmd.InOrStdin()) && scripts.Terminal(cmd.ErrOrStderr())
}

// confirm asks a question to which only yes is a yes.
func confirm(cmd *cobra.Command, question string) (bool, error) {
	fmt.Fprintf(cmd.ErrOrStderr(), "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() { // a read of a terminal cannot be called off; it ends with the process
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case word := <-answer:
		return word == "y" || word == "yes", nil
	case <-cmd.Context().Done():
		fmt.Fprintln(cmd.ErrOrStderr())
		return false, cmd.Context().Err()
	}
}
