package scripts

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
)

// groupsTimeout is how long kafka-groups waits for the list.
const groupsTimeout = 30 * time.Second

// groupTypes are the types of groups by their names in lower case.
var groupTypes = map[string]string{"classic": "Classic", "consumer": "Consumer", "share": "Share", "streams": "Streams"}

func runGroups(c *call) error {
	o := newOptions("This tool helps to list groups of all types.",
		option{name: "bootstrap-server", kind: text, label: "server to connect to", help: "REQUIRED: The brokers to ask first."},
		option{name: "command-config", kind: text, label: "command config property file", help: "A file of properties for the client."},
		option{name: "list", help: "List the groups."},
		option{name: "group-type", kind: text, label: "type", help: "Only groups of a type: classic, consumer, share or streams."},
		option{name: "protocol", kind: text, label: "protocol", help: "Only groups of a protocol type, such as consumer or connect."},
		option{name: "consumer", help: "Only groups of consumers: those of type consumer, and those of type classic whose protocol type is consumer or empty."},
		option{name: "share", help: "Only share groups."},
		option{name: "streams", help: "Only streams groups."},
	)
	v, err := o.parse(c.args)
	if err == nil && !v.has("bootstrap-server") && !v.has("help") && !v.has("version") {
		err = parseErrorf("joptsimple.MissingRequiredOptionsException", "Missing required option(s) [bootstrap-server]")
	}
	if err != nil {
		return o.misuse("%s", err)
	}
	if err := checkGroups(c, v); err != nil {
		return err
	}
	if err := printGroups(c, v); err != nil {
		return &exit{code: 1, stdout: "Error while executing groups command : " + dial.Explain(err).Error()}
	}
	return nil
}

func checkGroups(c *call, v *values) error {
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	if !v.has("list") {
		return v.options.misuse("Command must include exactly one action: --list.")
	}
	if v.has("group-type") && groupTypes[strings.ToLower(v.get("group-type"))] == "" {
		return terse("--group-type must be a valid group type.")
	}
	return cmp.Or(
		v.exclude("consumer", "group-type", "protocol", "share", "streams"),
		v.exclude("share", "consumer", "group-type", "protocol", "streams"),
		v.exclude("streams", "consumer", "group-type", "protocol", "share"))
}

func printGroups(c *call, v *values) error {
	admin, err := c.admin(v)
	if err != nil {
		return err
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(c, groupsTimeout)
	defer cancel()
	groups, err := admin.listGroups(ctx, nil, nil)
	if err != nil {
		return err
	}
	groups = slices.DeleteFunc(groups, func(g listedGroup) bool { return !wantsGroup(v, g) })
	width := 20
	for _, g := range groups {
		width = max(width, len(g.name), len(g.kind), len(g.protocol))
	}
	c.printf("%-*s %-*s %-*s\n", width, "GROUP", width, "TYPE", width, "PROTOCOL")
	for _, g := range groups {
		c.printf("%-*s %-*s %-*s \n", width, g.name, width, g.kind, width, g.protocol)
	}
	return nil
}

// wantsGroup reports whether the options that filter leave a group in.
func wantsGroup(v *values, g listedGroup) bool {
	switch {
	case v.has("group-type"):
		return strings.EqualFold(g.kind, v.get("group-type")) && (!v.has("protocol") || g.protocol == v.get("protocol"))
	case v.has("protocol"):
		return g.protocol == v.get("protocol")
	case v.has("consumer"):
		return g.ofConsumers() || g.kind == "Consumer"
	case v.has("share"):
		return g.kind == "Share"
	case v.has("streams"):
		return g.kind == "Streams"
	}
	return true
}

// listedGroup is a group as ListGroups tells it.
type listedGroup struct{ name, kind, protocol, state string }

// ofConsumers reports whether consumers use the group, or nobody but who commits offsets to it.
func (g listedGroup) ofConsumers() bool { return g.protocol == "consumer" || g.protocol == "" }

// listGroups asks every broker for its groups of some types, in some states; none is any.
func (a *admin) listGroups(ctx context.Context, types, states []string) (groups []listedGroup, err error) {
	err = dial.Settled(ctx, func() error {
		groups, err = a.listGroupsOnce(ctx, types, states)
		return err
	})
	return groups, err
}

func (a *admin) listGroupsOnce(ctx context.Context, types, states []string) ([]listedGroup, error) {
	request := kmsg.NewPtrListGroupsRequest()
	request.TypesFilter, request.StatesFilter = types, states
	var groups []listedGroup
	for _, shard := range a.raw.RequestSharded(ctx, request) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		response := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := dial.Code(response.ErrorCode, nil); err != nil {
			return nil, err
		}
		for _, g := range response.Groups {
			groups = append(groups, listedGroup{g.Group, groupTypes[strings.ToLower(g.GroupType)], g.ProtocolType, g.GroupState})
		}
	}
	slices.SortFunc(groups, func(a, b listedGroup) int { return cmp.Compare(a.name, b.name) })
	return groups, nil
}
