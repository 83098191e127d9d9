package cli

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// completionTimeout bounds how long the shell waits for names out of the cluster.
const completionTimeout = 2 * time.Second

// completing opens the cluster for a completion; whatever goes wrong, there is nothing to complete.
func completing(cmd *cobra.Command, c *connection) (*cluster, context.CancelFunc, bool) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	cmd.SetContext(ctx)
	cmd.SetErr(io.Discard)
	cl, err := c.open(cmd, nil)
	if err != nil {
		cancel()
		return nil, nil, false
	}
	return cl, func() { cl.Close(); cancel() }, true
}

// completeTopics completes names of topics, for at most so many arguments; -1 is any number. Names that stand
// on the command line already are left out.
func completeTopics(c *connection, most int) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if most >= 0 && len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		cl, done, ok := completing(cmd, c)
		if !ok {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer done()
		topics, err := cl.admin.ListTopics(cmd.Context())
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := slices.DeleteFunc(topics.Names(), func(name string) bool {
			return slices.Contains(args, name) || !strings.HasPrefix(name, word)
		})
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// completeKeys completes the key of a config; after is what follows it.
func completeKeys(cmd *cobra.Command, c *connection, kind kmsg.ConfigResourceType, word, after string) ([]string, cobra.ShellCompDirective) {
	directive := cobra.ShellCompDirectiveNoFileComp
	if after != "" {
		directive |= cobra.ShellCompDirectiveNoSpace
	}
	cl, done, ok := completing(cmd, c)
	if !ok {
		return nil, directive
	}
	defer done()
	var words []string
	for _, key := range cl.configKeys(cmd.Context(), kind, "") {
		if strings.HasPrefix(key, word) {
			words = append(words, key+after)
		}
	}
	return words, directive
}
