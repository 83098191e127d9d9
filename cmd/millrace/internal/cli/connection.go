package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// connection are the flags by which a command finds its cluster.
type connection struct {
	bootstrap, controller, file string
	properties                  []string
}

// flags adds them to a command.
func (c *connection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&c.bootstrap, "bootstrap-server", "b", "", "the brokers to ask first, as HOST:PORT with commas between (default "+dial.DefaultBootstrap+")")
	f.StringVar(&c.file, "command-config", "", "a `FILE` of Kafka client properties, such as security.protocol, sasl.* and ssl.*")
	f.StringArrayVarP(&c.properties, "property", "X", nil, "a Kafka client property, as `KEY=VALUE`; goes before that of --command-config; may be repeated")
	cmd.RegisterFlagCompletionFunc("command-config", func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
		return []string{"properties"}, cobra.ShellCompDirectiveFilterFileExt
	})
	for _, name := range []string{"bootstrap-server", "property"} {
		cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions)
	}
}

// controllerFlag adds --bootstrap-controller to commands that controllers answer as well.
func (c *connection) controllerFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&c.controller, "bootstrap-controller", "", "the controllers to ask in place of brokers, as HOST:PORT with commas between")
	exclusive(cmd, "bootstrap-server", "bootstrap-controller")
	cmd.RegisterFlagCompletionFunc("bootstrap-controller", cobra.NoFileCompletions)
}

// load reads the properties, and warns on w of keys that mean nothing here.
func (c *connection) load(w io.Writer) (dial.Properties, error) {
	bootstrap := c.bootstrap
	if c.controller != "" {
		bootstrap = c.controller
	}
	above := make(map[string]string)
	for _, word := range c.properties {
		key, value, ok := strings.Cut(word, "=")
		if !ok {
			return nil, usagef("--property is %q; it is KEY=VALUE", word)
		}
		above[strings.TrimSpace(key)] = value
	}
	p, err := dial.LoadUnder(c.file, above)
	switch {
	case err != nil && c.file == "":
		return nil, fmt.Errorf("cannot use --property: %w", err)
	case err != nil:
		return nil, fmt.Errorf("cannot read --command-config: %w", err)
	}
	meaningless, err := p.Check()
	if err != nil {
		return nil, usageError{err}
	}
	if len(meaningless) > 0 {
		fmt.Fprintf(w, "millrace: passed over, as they have no meaning here: %s\n", strings.Join(meaningless, ", "))
	}
	if bootstrap != "" {
		p["bootstrap.servers"] = bootstrap
	}
	return p, nil
}

// cluster is an open connection.
type cluster struct {
	admin       *kadm.Client
	client      *kgo.Client
	controllers *dial.Controllers // in place of the others
}

// open reaches the cluster. The options of producers and consumers are made of the properties.
func (c *connection) open(cmd *cobra.Command, options func(dial.Properties) ([]kgo.Opt, error)) (*cluster, error) {
	p, err := c.load(cmd.ErrOrStderr())
	if err != nil {
		return nil, err
	}
	if c.controller != "" {
		controllers, err := dial.OpenControllers(p)
		if err != nil {
			return nil, err
		}
		return &cluster{controllers: controllers}, nil
	}
	var more []kgo.Opt
	if options != nil {
		if more, err = options(p); err != nil {
			return nil, err
		}
	}
	client, err := dial.Open(cmd.Context(), p, more...)
	if err != nil {
		return nil, err
	}
	return &cluster{admin: kadm.NewClient(client), client: client}, nil
}

func (c *cluster) Close() {
	if c.controllers != nil {
		c.controllers.Close()
		return
	}
	c.client.Close()
}

// request sends a request to whom it belongs; one that belongs to several brokers has several responses.
func (c *cluster) request(ctx context.Context, request kmsg.Request) ([]kmsg.Response, error) {
	if c.controllers != nil {
		response, err := c.controllers.Request(ctx, request)
		return []kmsg.Response{response}, dial.Explain(err)
	}
	var responses []kmsg.Response
	for _, shard := range c.client.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return nil, dial.Explain(shard.Err)
		}
		responses = append(responses, shard.Resp)
	}
	return responses, nil
}

// weather tells of brokers that go away and come back while a command that lasts goes on trying. Before a
// first broker has answered it is silent: whoever opens the client tells of that.
type weather struct {
	mu      sync.Mutex
	w       io.Writer
	reached bool
	gone    map[string]bool
}

func newWeather(w io.Writer) *weather { return &weather{w: w, gone: make(map[string]bool)} }

// OnBrokerConnect is the hook of the client.
func (h *weather) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	address := net.JoinHostPort(meta.Host, fmt.Sprint(meta.Port))
	switch was := h.gone[address]; {
	case err == nil && !was:
		h.reached = true
	case !h.reached || errors.Is(err, context.Canceled):
	case err != nil && !was:
		h.gone[address] = true
		reason := err
		if network, ok := errors.AsType[*net.OpError](err); ok && network.Err != nil {
			reason = errors.New(strings.TrimPrefix(network.Err.Error(), "connect: "))
		}
		fmt.Fprintf(h.w, "millrace: %s does not answer (%v); trying again until it does, Ctrl-C gives up\n", address, reason)
	case err == nil && was:
		delete(h.gone, address)
		fmt.Fprintf(h.w, "millrace: %s answers again\n", address)
	}
}

// keyValue reads words of the form KEY=VALUE, each key once.
func keyValues(flag string, words []string) (map[string]string, error) {
	m := make(map[string]string, len(words))
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		key = strings.TrimSpace(key)
		if !ok || key == "" {
			return nil, usagef("%s is %q; it is KEY=VALUE", flag, word)
		}
		if _, twice := m[key]; twice {
			return nil, usagef("%s names %s twice", flag, key)
		}
		m[key] = value
	}
	return m, nil
}

// sortedKeys are the keys of a map by name.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
