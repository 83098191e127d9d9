package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

func groupDeleteCommand() *cobra.Command {
	var (
		c             connection
		yes, ifExists bool
	)
	cmd := &cobra.Command{
		Use:               "delete GROUP...",
		Aliases:           []string{"rm"},
		Short:             "Delete groups and the offsets that they have committed",
		Long:              `Delete deletes groups and all offsets that they have committed. A group that has members stays. At a terminal it asks first; in a script it does not.`,
		Args:              arguments(1, -1, "the name of a group"),
		ValidArgsFunction: completeGroups(&c, -1),
	}
	c.flags(cmd)
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&ifExists, "if-exists", false, "a group that does not exist is no error")
	cmd.RunE = func(cmd *cobra.Command, names []string) error {
		names = slices.Compact(slices.Sorted(slices.Values(names)))
		cl, err := c.open(cmd, nil)
		if err != nil {
			return err
		}
		defer cl.Close()
		if !yes && interactive(cmd) {
			if ok, err := confirm(cmd, fmt.Sprintf("Delete %s and the offsets committed there?", strings.Join(names, ", "))); err != nil || !ok {
				return errors.Join(err, exitCode(1))
			}
		}
		responses, err := cl.deleteGroups(cmd.Context(), names)
		if err != nil {
			return err
		}
		var failures failures
		for _, group := range responses {
			switch err := dial.Code(group.ErrorCode, nil); {
			case err == nil:
				fmt.Fprintf(cmd.OutOrStdout(), "Deleted group %s.\n", group.Group)
			case errors.Is(err, kerr.GroupIDNotFound) && ifExists:
			case errors.Is(err, kerr.GroupIDNotFound):
				failures.add("there is no group %s; --if-exists makes that no error", group.Group)
			case errors.Is(err, kerr.NonEmptyGroup):
				failures.add("group %s has members; stop them, then delete it", group.Group)
			default:
				failures.add("group %s was not deleted: %w", group.Group, err)
			}
		}
		return failures.error()
	}
	return cmd
}

// deleteGroups asks the coordinators of groups to delete them.
func (c *cluster) deleteGroups(ctx context.Context, names []string) (groups []kmsg.DeleteGroupsResponseGroup, err error) {
	request := kmsg.NewPtrDeleteGroupsRequest()
	request.Groups = names
	var responses []kmsg.Response
	err = dial.Settled(ctx, func() (err error) {
		responses, err = c.request(ctx, request)
		return err
	})
	for _, response := range responses {
		groups = append(groups, response.(*kmsg.DeleteGroupsResponse).Groups...)
	}
	return groups, err
}
