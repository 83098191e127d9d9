package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func groupExplainCommand() *cobra.Command {
	var (
		address string
		out     outputFlag
	)
	cmd := &cobra.Command{
		Use:   "explain GROUP",
		Short: "Say why a group has rebalanced, and how long that took",
		Long: `Explain says what happened last in a group: who joined, left, or was silent; why each rebalance began, how long its phases
took, and who was the last to come.

The group's coordinator knows, since it has loaded the group, and tells it on its HTTP port. It is a Millrace node:

  GET /groups               the groups that a node coordinates, as JSON
  GET /groups/NAME/explain  what happened last in one: {"group", "type", "state", "since", "events": [{"at", "event", "text", …}]}`,
		Example: `  millrace group explain billing
  millrace group explain billing --http 10.0.0.7:9644 --output json`,
		Args:              arguments(1, 1, "the name of a group"),
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.Flags().StringVar(&address, "http", defaultHTTP, "the HTTP port of the group's coordinator, as HOST:PORT or a URL")
	cmd.RegisterFlagCompletionFunc("http", cobra.NoFileCompletions)
	out.flag(cmd, "text")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		body, err := askHTTP(cmd.Context(), address, "/groups/"+url.PathEscape(args[0])+"/explain")
		if err != nil {
			return err
		}
		if out.json {
			_, err := cmd.OutOrStdout().Write(body)
			return err
		}
		var e groupExplanation
		if err := json.Unmarshal(body, &e); err != nil {
			return fmt.Errorf("%s does not answer as a node does: %w", address, err)
		}
		e.print(cmd.OutOrStdout(), time.Local)
		return nil
	}
	return cmd
}

// groupExplanation is what the node answers; it has more than is printed.
type groupExplanation struct {
	Group, Type, State string
	Since              time.Time
	Events             []struct {
		At   time.Time
		Text string
	}
}

// print prints a line for each event, with the day where it is another than before.
func (e *groupExplanation) print(w io.Writer, zone *time.Location) {
	fmt.Fprintf(w, "Group %s (%s) is %s. What is known begins at %s.\n", e.Group, e.Type, e.State, e.Since.In(zone).Format("2006-01-02 15:04:05"))
	if len(e.Events) == 0 {
		fmt.Fprintln(w, "Nothing has happened since.")
		return
	}
	day := ""
	for _, event := range e.Events {
		at := event.At.In(zone)
		if d := at.Format(time.DateOnly); d != day {
			day = d
			fmt.Fprintf(w, "\n%s\n", day)
		}
		fmt.Fprintf(w, "  %s  %s\n", at.Format("15:04:05.000"), event.Text)
	}
}

// askHTTP gets a path of a node's HTTP port. An error of the node is said in its words.
func askHTTP(ctx context.Context, address, path string) ([]byte, error) {
	base := strings.TrimSuffix(address, "/")
	if !strings.Contains(base, "://") {
		base = "http://" + base
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base+path, nil)
	if err != nil {
		return nil, usagef("--http is %q; it is HOST:PORT or a URL", address)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return nil, fmt.Errorf("the HTTP port at %s does not answer: %w; --http says where it is", address, err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("reading from %s: %w", address, err)
	}
	if response.StatusCode == http.StatusOK {
		return body, nil
	}
	var told struct{ Error, Code string }
	if json.Unmarshal(body, &told) != nil || told.Error == "" {
		return nil, fmt.Errorf("%s answered %s to %s; is it the HTTP port of a Millrace node?", address, response.Status, path)
	}
	if told.Code == "NOT_COORDINATOR" {
		told.Error += "; --http has to be a port of the group's coordinator, which `millrace group list` tells"
	}
	return nil, errors.New(told.Error)
}
