package scripts

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/cmd/millrace/internal/cli/scripts/dial"
	"github.com/millrace-io/millrace/kafka"
)

// configEntities are the kinds of things that have configs: the option that names one, and the option for the
// defaults of all, where there are such.
var configEntities = []struct {
	kind, flag, defaults string
	resource             kmsg.ConfigResourceType // 0 for those that live in quotas and credentials
	source               kmsg.ConfigSource       // of what was set for the entity itself
}{
	{"topics", "topic", "", kmsg.ConfigResourceTypeTopic, kmsg.ConfigSourceDynamicTopicConfig},
	{"clients", "client", "client-defaults", 0, 0},
	{"users", "user", "user-defaults", 0, 0},
	{"brokers", "broker", "broker-defaults", kmsg.ConfigResourceTypeBroker, kmsg.ConfigSourceDynamicBrokerConfig},
	{"broker-loggers", "broker-logger", "", kmsg.ConfigResourceTypeBrokerLogger, kmsg.ConfigSourceDynamicBrokerLoggerConfig},
	{"ips", "ip", "ip-defaults", 0, 0},
	{"client-metrics", "client-metrics", "", resourceClientMetrics, sourceClientMetrics},
	{"groups", "group", "", resourceGroup, sourceGroup},
}

// Codes of DescribeConfigs that came with KIP-714 and KIP-1043.
const (
	resourceClientMetrics kmsg.ConfigResourceType = 16
	resourceGroup         kmsg.ConfigResourceType = 32
	sourceClientMetrics   kmsg.ConfigSource       = 7
	sourceGroup           kmsg.ConfigSource       = 8
)

func configsOptions() *options {
	return newOptions("This tool helps to manipulate and describe entity config for a topic, client, user, broker, ip, client-metrics or group",
		option{name: "bootstrap-server", kind: text, label: "server to connect to", help: "The brokers to ask first."},
		option{name: "bootstrap-controller", kind: text, label: "controller to connect to", help: "The controllers to ask."},
		option{name: "command-config", kind: text, label: "command config property file", help: "A file of properties for the client."},
		option{name: "alter", help: "Alter the configs of an entity."},
		option{name: "describe", help: "List the configs of an entity."},
		option{name: "all", help: "List static and default configs too."},
		option{name: "entity-type", kind: text, many: true, help: "Type of entity (topics/clients/users/brokers/broker-loggers/ips/client-metrics/groups)"},
		option{name: "entity-name", kind: text, many: true, help: "Name of entity"},
		option{name: "entity-default", help: "The default entity of clients, users, brokers or ips"},
		option{name: "add-config", kind: text, help: "Configs to set: 'k1=v1,k2=[v1,v2,v2],k3=v3'. Users and clients have producer_byte_rate, consumer_byte_rate, request_percentage and controller_mutation_rate; users SCRAM-SHA-256 and SCRAM-SHA-512 as well; ips connection_creation_rate."},
		option{name: "add-config-file", kind: text, help: "A properties file of configs to set."},
		option{name: "delete-config", kind: text, comma: true, help: "Configs to remove: 'k1,k2'"},
		option{name: "topic", kind: text, help: "The topic's name."},
		option{name: "client", kind: text, help: "The client's id."},
		option{name: "client-defaults", help: "The defaults of all clients."},
		option{name: "user", kind: text, help: "The user's principal name."},
		option{name: "user-defaults", help: "The defaults of all users."},
		option{name: "broker", kind: text, help: "The broker's id."},
		option{name: "broker-defaults", help: "The defaults of all brokers."},
		option{name: "broker-logger", kind: text, help: "The id of the broker whose loggers are meant."},
		option{name: "ip", kind: text, help: "The IP address."},
		option{name: "ip-defaults", help: "The defaults of all IPs."},
		option{name: "client-metrics", kind: text, help: "The name of a subscription to client metrics."},
		option{name: "group", kind: text, help: "The group's id."},
	)
}

// configs is one run of kafka-configs.
type configs struct {
	*call
	*values
	admin        *admin
	controllers  *dial.Controllers // in place of admin, for --bootstrap-controller
	kinds, names []string          // of the entities, in step; a name of "" is the defaults
}

func runConfigs(c *call) error {
	o := configsOptions()
	v, err := o.parse(c.args)
	if err != nil {
		return err
	}
	if err := v.helpOrVersion(c.args); err != nil {
		return err
	}
	s := &configs{call: c, values: v}
	s.entities()
	if err := s.check(); err != nil {
		return err
	}
	if v.has("alter") && len(s.kinds) != len(s.names) {
		return terse("An entity name must be specified for every entity type")
	}
	if err := s.open(); err != nil {
		return err
	}
	defer s.close()
	if v.has("alter") {
		err = s.alter()
	} else {
		err = s.describe()
	}
	var e *exit
	if err == nil || errors.As(err, &e) {
		return err
	}
	return terse("Error while executing config command with args '%s'\njava.util.concurrent.ExecutionException: %s", strings.Join(c.args, " "), javaError(err))
}

// open makes a client of the brokers, or of the controllers (KIP-919).
func (s *configs) open() (err error) {
	if !s.has("bootstrap-controller") {
		s.admin, err = s.call.admin(s.values)
		return err
	}
	p, err := dial.Load(s.get("command-config"), s.get("bootstrap-controller"))
	if err == nil {
		s.controllers, err = dial.OpenControllers(p)
	}
	return err
}

func (s *configs) close() {
	if s.controllers != nil {
		s.controllers.Close()
		return
	}
	s.admin.Close()
}

// ask sends a request to whom it belongs; one that belongs to several brokers has several responses.
func (s *configs) ask(request kmsg.Request) ([]kmsg.Response, error) {
	if s.controllers != nil {
		response, err := s.controllers.Request(s, request)
		return []kmsg.Response{response}, err
	}
	var responses []kmsg.Response
	for _, shard := range s.admin.raw.RequestSharded(s, request) {
		if shard.Err != nil {
			return nil, shard.Err
		}
		responses = append(responses, shard.Resp)
	}
	return responses, nil
}

// brokersOnly is the error of what controllers do not answer.
func (s *configs) brokersOnly(what string) error {
	if s.controllers == nil {
		return nil
	}
	return terse("%s are known to brokers alone: use --bootstrap-server in place of --bootstrap-controller", what)
}

// entities reads which entities are meant, in the order of the command line where --entity-name and
// --entity-default are used.
func (s *configs) entities() {
	s.kinds = slices.Clone(s.of["entity-type"])
	next := 0
	for _, name := range s.given {
		switch name {
		case "entity-name":
			s.names = append(s.names, s.of["entity-name"][next])
			next++
		case "entity-default":
			s.names = append(s.names, "")
		}
	}
	for _, e := range configEntities {
		if s.has(e.flag) {
			s.kinds, s.names = append(s.kinds, e.kind), append(s.names, s.get(e.flag))
		}
	}
	for _, e := range configEntities {
		if e.defaults != "" && s.has(e.defaults) {
			s.kinds, s.names = append(s.kinds, e.kind), append(s.names, "")
		}
	}
}

func (s *configs) check() error {
	o := s.values.options
	if s.has("alter") == s.has("describe") {
		return o.misuse("Command must include exactly one action: --describe, --alter")
	}
	if err := s.exclude("describe", "alter", "add-config", "delete-config"); err != nil {
		return err
	}
	var seen, twice []string
	for _, kind := range s.kinds {
		if slices.Contains(seen, kind) && !slices.Contains(twice, kind) {
			twice = append(twice, kind)
		}
		seen = append(seen, kind)
	}
	if len(twice) > 0 {
		return terse("Duplicate entity type(s) specified: %s", strings.Join(twice, ","))
	}
	if !s.has("bootstrap-server") && !s.has("bootstrap-controller") {
		return terse("Either --bootstrap-server or --bootstrap-controller must be specified.")
	}
	known := []string{"topics", "clients", "users", "brokers", "ips", "client-metrics", "groups", "broker-loggers"}
	for _, kind := range s.kinds {
		if !slices.Contains(known, kind) {
			return terse("Invalid entity type %s, the entity type must be one of %s with a --bootstrap-server or --bootstrap-controller argument", kind, strings.Join(known, ", "))
		}
	}
	has := func(kinds ...string) bool {
		return slices.ContainsFunc(s.kinds, func(k string) bool { return slices.Contains(kinds, k) })
	}
	switch {
	case len(s.kinds) == 0:
		return terse("At least one entity type must be specified")
	case len(s.kinds) > 1 && !(len(s.kinds) == 2 && has("users") && has("clients")):
		return terse("Only 'users' and 'clients' entity types may be specified together")
	}
	if s.has("entity-name") || s.has("entity-type") || s.has("entity-default") {
		for _, e := range configEntities {
			if s.has(e.flag) || e.defaults != "" && s.has(e.defaults) {
				return terse("--entity-{type,name,default} should not be used in conjunction with specific entity flags")
			}
		}
	}
	named := slices.ContainsFunc(s.names, func(n string) bool { return n != "" })
	defaults := slices.Contains(s.names, "")
	if s.has("bootstrap-server") && s.has("bootstrap-controller") {
		return terse("Only one of --bootstrap-server or --bootstrap-controller can be specified")
	}
	for _, name := range s.names {
		if name == "" {
			continue
		}
		if has("brokers", "broker-loggers") {
			if _, err := strconv.ParseInt(name, 10, 32); err != nil {
				return terse("The entity name for %s must be a valid integer broker id, but it is: %s", s.kinds[0], name)
			}
		}
		if has("ips") && net.ParseIP(name) == nil {
			if _, err := net.LookupHost(name); err != nil {
				return terse("The entity name for %s must be a valid IP or resolvable host, but it is: %s", s.kinds[0], name)
			}
		}
	}
	withDefaults := has("users", "clients", "brokers", "ips")
	if s.has("describe") {
		if !withDefaults && s.has("entity-default") {
			return terse("--entity-default must not be specified with --describe of %s", strings.Join(s.kinds, ","))
		}
		if has("broker-loggers") && !named {
			return terse("An entity name must be specified with --describe of %s", strings.Join(s.kinds, ","))
		}
		return nil
	}
	switch {
	case withDefaults && !named && !defaults:
		return terse("An entity-name or default entity must be specified with --alter of users, clients, brokers or ips")
	case !withDefaults && !named:
		return terse("An entity name must be specified with --alter of %s", strings.Join(s.kinds, ","))
	case s.has("add-config") && s.has("add-config-file"):
		return terse("Only one of --add-config or --add-config-file must be specified")
	case !s.has("add-config") && !s.has("add-config-file") && !s.has("delete-config"):
		return terse("At least one of --add-config, --add-config-file, or --delete-config must be specified with --alter")
	}
	return nil
}

var configKey = regexp.MustCompile(`^[$a-zA-Z0-9._-]*$`)

// added reads --add-config and --add-config-file. Commas inside brackets belong to a value: k=[a,b].
func (s *configs) added() (map[string]string, error) {
	added := map[string]string{}
	if file := s.get("add-config-file"); file != "" {
		p, err := dial.Load(file, "")
		if err != nil {
			return nil, err
		}
		maps.Copy(added, p)
	}
	if list := s.get("add-config"); list != "" {
		for _, word := range splitOutside(list, ',') {
			pair := splitOutside(word, '=')
			if len(pair) != 2 {
				return nil, terse("requirement failed: Invalid entity config: all configs to be added must be in the format \"key=val\" or  \"key=[val1,val2]\" to group values which contain commas.")
			}
			added[javaTrim(pair[0])] = javaTrim(strings.NewReplacer("[", "", "]", "").Replace(pair[1]))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(added)) {
		if !configKey.MatchString(key) {
			return nil, terse("Invalid character found for config key: %s", key)
		}
	}
	return added, nil
}

// splitOutside splits at a separator outside of brackets.
func splitOutside(s string, separator byte) []string {
	var parts []string
	depth, start := 0, 0
	for i := range len(s) {
		switch {
		case s[i] == '[':
			depth++
		case s[i] == ']':
			depth = max(depth-1, 0)
		case s[i] == separator && depth == 0:
			parts = append(parts, s[start:i])
			start = i + 1
		}
	}
	return append(parts, s[start:])
}

func (s *configs) deleted() []string {
	var keys []string
	for _, key := range s.of["delete-config"] {
		keys = append(keys, javaTrim(key))
	}
	return keys
}

func (s *configs) alter() error {
	added, err := s.added()
	if err != nil {
		return err
	}
	deleted := s.deleted()
	kind, name := s.kinds[0], s.names[0]
	switch kind {
	case "users", "clients":
		err = s.alterUsers(added, deleted)
	case "ips":
		for _, key := range append(slices.Sorted(maps.Keys(added)), deleted...) {
			if key != "connection_creation_rate" {
				return terse("Only connection quota configs can be added for 'ips' using --bootstrap-server. Unexpected config names: %s", key)
			}
		}
		err = s.alterQuotas(added, deleted)
	case "broker-loggers":
		err = s.alterLoggers(added, deleted)
	default:
		err = s.alterResource(added, deleted)
	}
	if err != nil {
		return err
	}
	if name != "" {
		s.printf("Completed updating config for %s %s.\n", strings.TrimSuffix(kind, "s"), name)
	} else {
		s.printf("Completed updating default config for %s in the cluster.\n", kind)
	}
	return nil
}

// alterLoggers sees that the loggers exist before it sets their levels.
func (s *configs) alterLoggers(added map[string]string, deleted []string) error {
	entries, err := s.entries("broker-loggers", s.names[0], false)
	if err != nil {
		return err
	}
	var unknown []string
	for _, key := range append(slices.Clone(deleted), slices.Sorted(maps.Keys(added))...) {
		if !slices.ContainsFunc(entries, func(e kmsg.DescribeConfigsResponseResourceConfig) bool { return e.Name == key }) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		return terse("Invalid broker logger(s): %s", strings.Join(unknown, ","))
	}
	return s.alterResource(added, deleted)
}

func (s *configs) alterResource(added map[string]string, deleted []string) error {
	e := entityOf(s.kinds[0])
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = e.resource, s.names[0]
	for _, key := range deleted {
		op := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		op.Name, op.Op = key, kmsg.IncrementalAlterConfigOpDelete
		resource.Configs = append(resource.Configs, op)
	}
	for _, key := range slices.Sorted(maps.Keys(added)) {
		op := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		op.Name, op.Op, op.Value = key, kmsg.IncrementalAlterConfigOpSet, kmsg.StringPtr(added[key])
		resource.Configs = append(resource.Configs, op)
	}
	request.Resources = append(request.Resources, resource)
	responses, err := s.ask(request)
	if err != nil {
		return err
	}
	for _, response := range responses {
		for _, r := range response.(*kmsg.IncrementalAlterConfigsResponse).Resources {
			if err := dial.Code(r.ErrorCode, r.ErrorMessage); err != nil {
				return err
			}
		}
	}
	return nil
}

func entityOf(kind string) (e struct {
	resource kmsg.ConfigResourceType
	source   kmsg.ConfigSource
}) {
	for _, c := range configEntities {
		if c.kind == kind {
			e.resource, e.source = c.resource, c.source
		}
	}
	return e
}

func (s *configs) describe() error {
	switch kind := s.kinds[0]; kind {
	case "users", "clients":
		if err := s.describeQuotas(); err != nil {
			return err
		}
		if !slices.Contains(s.kinds, "clients") && !slices.Contains(s.names, "") {
			return s.describeCredentials()
		}
		return nil
	case "ips":
		return s.describeQuotas()
	default:
		return s.describeResources(kind)
	}
}

func (s *configs) describeResources(kind string) error {
	one := strings.TrimSuffix(kind, "s")
	all := s.has("all")
	names := s.names
	if len(names) > 0 {
		if kind == "topics" {
			if why := wrongTopicName(names[0]); why != "" {
				return terse("Topic name is invalid: %s", why)
			}
		}
		if !all && names[0] != "" {
			exist, err := s.existing(kind)
			if err != nil {
				return err
			}
			if !slices.Contains(exist, names[0]) {
				s.printf("The %s '%s' doesn't exist and doesn't have dynamic config.\n", one, names[0])
				return nil
			}
		}
	} else {
		exist, err := s.existing(kind)
		if err != nil {
			return err
		}
		if kind == "brokers" {
			exist = append(exist, "")
		}
		names = exist
	}
	for _, name := range names {
		switch {
		case name == "":
			s.printf("Default configs for %s in the cluster are:\n", kind)
		case all:
			s.printf("All configs for %s %s are:\n", one, name)
		default:
			s.printf("Dynamic configs for %s %s are:\n", one, name)
		}
		entries, err := s.entries(kind, name, all)
		if err != nil {
			return err
		}
		for _, e := range entries {
			var synonyms []string
			for _, y := range e.ConfigSynonyms {
				synonyms = append(synonyms, fmt.Sprintf("%s:%s=%s", sourceName(y.Source), y.Name, orNull(y.Value)))
			}
			s.printf("  %s=%s sensitive=%t synonyms={%s}\n", e.Name, orNull(e.Value), e.IsSensitive, strings.Join(synonyms, ", "))
		}
	}
	return nil
}

// sourceName is what Kafka's tools call the source of a value.
func sourceName(source kmsg.ConfigSource) string {
	switch source {
	case sourceClientMetrics:
		return "DYNAMIC_CLIENT_METRICS_CONFIG"
	case sourceGroup:
		return "DYNAMIC_GROUP_CONFIG"
	}
	return source.String()
}

// wrongTopicName says why a name is none of a topic, as Kafka's clients do.
func wrongTopicName(name string) string {
	switch {
	case kafka.CheckTopicName(name) == nil:
		return ""
	case name == "":
		return "the empty string is not allowed"
	case name == "." || name == "..":
		return fmt.Sprintf("'%s' is not allowed", name)
	case len(name) > kafka.MaxTopicNameLen:
		return fmt.Sprintf("the length of '%s' is longer than the max allowed length %d", name, kafka.MaxTopicNameLen)
	}
	return fmt.Sprintf("'%s' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'", name)
}

func orNull(s *string) string {
	if s == nil {
		return "null"
	}
	return *s
}

// existing returns the names of all entities of a kind, sorted.
func (s *configs) existing(kind string) ([]string, error) {
	if s.controllers != nil && strings.HasPrefix(kind, "broker") {
		return s.controllerIDs()
	}
	if err := s.brokersOnly("the names of " + kind); err != nil {
		return nil, err
	}
	var names []string
	switch kind {
	case "topics":
		topics, err := s.admin.ListTopicsWithInternal(s)
		if err != nil {
			return nil, err
		}
		return topics.Names(), nil
	case "brokers", "broker-loggers":
		brokers, err := s.admin.ListBrokers(s)
		if err != nil {
			return nil, err
		}
		ids := brokers.NodeIDs()
		slices.Sort(ids)
		for _, id := range ids {
			names = append(names, strconv.Itoa(int(id)))
		}
		return names, nil
	case "groups":
		groups, err := s.admin.ListGroups(s)
		if err != nil {
			return nil, err
		}
		names = groups.Groups()
	}
	listed, err := s.admin.ListConfigResources(s, entityOf(kind).resource)
	if err != nil && !(kind == "groups" && (dial.Unsupported(err) || errors.Is(err, kerr.ClusterAuthorizationFailed))) {
		return nil, err
	}
	for _, r := range listed.Resources {
		names = append(names, r.Name)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// controllerIDs returns the ids of the controllers, which are nodes like brokers.
func (s *configs) controllerIDs() ([]string, error) {
	request := kmsg.NewPtrDescribeClusterRequest()
	request.EndpointType = 2
	raw, err := s.controllers.Request(s, request)
	if err != nil {
		return nil, err
	}
	response := raw.(*kmsg.DescribeClusterResponse)
	if err := dial.Code(response.ErrorCode, response.ErrorMessage); err != nil {
		return nil, err
	}
	var ids []int
	for _, node := range response.Brokers {
		ids = append(ids, int(node.NodeID))
	}
	slices.Sort(ids)
	var names []string
	for _, id := range ids {
		names = append(names, strconv.Itoa(id))
	}
	return names, nil
}

// entries returns the configs of an entity by name: all of them, or those that were set for it.
func (s *configs) entries(kind, name string, all bool) ([]kmsg.DescribeConfigsResponseResourceConfig, error) {
	e := entityOf(kind)
	if kind == "brokers" && name == "" {
		e.source = kmsg.ConfigSourceDynamicDefaultBrokerConfig
	}
	request := kmsg.NewPtrDescribeConfigsRequest()
	request.IncludeSynonyms = true
	resource := kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = e.resource, name
	request.Resources = append(request.Resources, resource)
	var entries []kmsg.DescribeConfigsResponseResourceConfig
	responses, err := s.ask(request)
	if err != nil {
		return nil, err
	}
	for _, response := range responses {
		for _, r := range response.(*kmsg.DescribeConfigsResponse).Resources {
			if err := dial.Code(r.ErrorCode, r.ErrorMessage); err != nil {
				return nil, err
			}
			for _, c := range r.Configs {
				if all || kind == "broker-loggers" || c.Source == e.source {
					entries = append(entries, c)
				}
			}
		}
	}
	slices.SortFunc(entries, func(a, b kmsg.DescribeConfigsResponseResourceConfig) int { return strings.Compare(a.Name, b.Name) })
	return entries, nil
}
