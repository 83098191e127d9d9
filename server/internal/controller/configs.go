package controller

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/metadata"
)

// Operations of IncrementalAlterConfigs (KIP-339).
const (
	opSet      int8 = 0
	opDelete   int8 = 1
	opAppend   int8 = 2
	opSubtract int8 = 3
)

type resource struct {
	kind kafka.ResourceType
	name string
}

// alterConfigs decides AlterConfigs: the configs of a resource become exactly those of the request.
func (v *view) alterConfigs(caller Caller, r *wire.AlterConfigsRequest) (change, error) {
	response := &wire.AlterConfigsResponse{}
	count := make(map[resource]int)
	for _, a := range r.Resources {
		count[resource{kafka.ResourceType(a.ResourceType), a.ResourceName}]++
	}
	var records []record
	for _, a := range r.Resources {
		who := resource{kafka.ResourceType(a.ResourceType), a.ResourceName}
		keys := make([]string, len(a.Configs))
		null := ""
		wanted := make(map[string]string, len(a.Configs))
		for i, c := range a.Configs {
			keys[i] = c.Name
			if c.Value == nil {
				null = c.Name
				delete(wanted, c.Name)
			} else {
				wanted[c.Name] = *c.Value
			}
		}
		if answered(caller, count, who) {
			continue
		}
		changed, err := func() ([]record, error) {
			if err := checkAlteration(caller, who, count[who], keys, null); err != nil {
				return nil, err
			}
			if who.kind == kafka.ResourceBrokerLogger {
				return nil, kafka.InvalidRequest.Errorf("resources of type %d are not altered by AlterConfigs", a.ResourceType)
			}
			return v.alter(caller, who, wanted, keys)
		}()
		done(caller, count, who)
		records = append(records, changed...)
		response.Responses = append(response.Responses, wire.AlterConfigsResponseResponses{
			ErrorCode: kafka.CodeOf(err), ErrorMessage: kafka.MessageOf(err), ResourceType: a.ResourceType, ResourceName: a.ResourceName})
	}
	if r.ValidateOnly {
		records = nil
	}
	return change{records: records, response: response}, nil
}

// answered reports whether a resource that is named more than once has its answer: brokers answer every time that they
// are asked, controllers once.
func answered(caller Caller, count map[resource]int, who resource) bool {
	return !caller.ViaBroker && count[who] == 0
}

func done(caller Caller, count map[resource]int, who resource) {
	if !caller.ViaBroker {
		count[who] = 0
	}
}

// incrementalAlterConfigs decides IncrementalAlterConfigs: single keys are set, deleted, appended to or
// subtracted from (KIP-339).
func (v *view) incrementalAlterConfigs(caller Caller, r *wire.IncrementalAlterConfigsRequest) (change, error) {
	response := &wire.IncrementalAlterConfigsResponse{}
	count := make(map[resource]int)
	for _, a := range r.Resources {
		count[resource{kafka.ResourceType(a.ResourceType), a.ResourceName}]++
	}
	var records []record
	for _, a := range r.Resources {
		who := resource{kafka.ResourceType(a.ResourceType), a.ResourceName}
		if answered(caller, count, who) {
			continue
		}
		changed, err := v.alterIncrementally(caller, who, count[who], a.Configs)
		done(caller, count, who)
		records = append(records, changed...)
		response.Responses = append(response.Responses, wire.IncrementalAlterConfigsResponseResponses{
			ErrorCode: kafka.CodeOf(err), ErrorMessage: kafka.MessageOf(err), ResourceType: a.ResourceType, ResourceName: a.ResourceName})
	}
	if r.ValidateOnly {
		records = nil
	}
	return change{records: records, response: response}, nil
}

func (v *view) alterIncrementally(caller Caller, who resource, times int, operations []wire.IncrementalAlterConfigsRequestConfigs) ([]record, error) {
	keys := make([]string, len(operations))
	null := ""
	for i, o := range operations {
		keys[i] = o.Name
		if o.Value == nil && o.ConfigOperation != opDelete {
			null = o.Name
		}
	}
	if err := checkAlteration(caller, who, times, keys, null); err != nil {
		return nil, err
	}
	if who.kind == kafka.ResourceBrokerLogger {
		return nil, kafka.InvalidRequest.Errorf("levels of loggers belong to one node and are not altered through the controller")
	}
	wanted := make(map[string]string)
	for key, value := range v.image.Config(who.kind, who.name) {
		wanted[key] = value
	}
	table := v.tableOf(who.kind)
	for i, o := range operations {
		if slices.Contains(keys[i+1:], o.Name) {
			continue // a controller that is asked itself takes the last of several
		}
		switch o.ConfigOperation {
		case opSet:
			if o.Value == nil {
				delete(wanted, o.Name)
				continue
			}
			wanted[o.Name] = *o.Value
		case opDelete:
			delete(wanted, o.Name)
		case opAppend, opSubtract:
			verb := "append to"
			if o.ConfigOperation == opSubtract {
				verb = "subtract from"
			}
			if o.Value == nil {
				return nil, kafka.InvalidRequest.Errorf("there is nothing to %s %s", verb, o.Name)
			}
			k, known := table.Lookup(o.Name)
			if !known && who.kind == kafka.ResourceBroker {
				return nil, kafka.InvalidConfig.Errorf("cannot %s %s: %v", verb, o.Name, table.Unknown(o.Name))
			}
			if !known || k.Type != config.List {
				return nil, kafka.InvalidConfig.Errorf("cannot %s %s: it is not a list", verb, o.Name)
			}
			current, set := wanted[o.Name]
			if !set && k.Default != nil {
				current = *k.Default
			}
			list := slices.DeleteFunc(strings.Split(current, ","), func(e string) bool { return e == "" })
			for _, element := range strings.Split(*o.Value, ",") {
				if o.ConfigOperation == opSubtract {
					if i := slices.Index(list, element); i >= 0 {
						list = slices.Delete(list, i, i+1)
					}
				} else if !slices.Contains(list, element) {
					list = append(list, element)
				}
			}
			wanted[o.Name] = strings.Join(list, ",")
		default:
			return nil, kafka.UnknownServerError // as Kafka answers an operation that does not exist
		}
	}
	return v.alter(caller, who, wanted, keys)
}

// checkAlteration judges the form of an alteration. Much of it brokers look at before they forward a request, and nobody
// does when it comes to a controller directly (KIP-919).
func checkAlteration(caller Caller, who resource, times int, keys []string, null string) error {
	known := false
	switch who.kind {
	case kafka.ResourceTopic, kafka.ResourceBroker, kafka.ResourceBrokerLogger, kafka.ResourceClientMetrics, kafka.ResourceGroup:
		known = true
	}
	switch {
	case !known && !caller.ViaBroker:
		return kafka.UnsupportedVersion.Errorf("unknown resource type %d", int8(who.kind))
	case times > 1:
		return kafka.InvalidRequest.Errorf("the request names the resource more than once")
	case caller.ViaBroker && hasDuplicates(keys):
		return kafka.InvalidRequest.Errorf("the request names a key more than once")
	case caller.ViaBroker && null != "":
		return kafka.InvalidRequest.Errorf("the value of %s must not be null", null)
	case !known:
		return kafka.InvalidRequest.Errorf("resources of type %d have no configs", int8(who.kind))
	}
	return nil
}

func hasDuplicates(keys []string) bool {
	seen := make(map[string]bool, len(keys))
	for _, k := range keys {
		if seen[k] {
			return true
		}
		seen[k] = true
	}
	return false
}

func (v *view) tableOf(kind kafka.ResourceType) *config.Table {
	switch kind {
	case kafka.ResourceTopic:
		return v.topic
	case kafka.ResourceGroup:
		return v.group
	case kafka.ResourceClientMetrics:
		return v.telemetry
	}
	return v.broker
}

// alter makes the records that bring a resource from its configs to the wanted ones. named are the keys that
// the request named.
func (v *view) alter(caller Caller, who resource, wanted map[string]string, named []string) ([]record, error) {
	old := v.image.Config(who.kind, who.name)
	if err := v.checkConfigs(caller, who, old, wanted, named); err != nil {
		return nil, err
	}
	var records []record
	minISR := false
	for key, value := range sorted(wanted) {
		before, was := old[key]
		// A broker reloads what stands behind a value (a key store) even when the value is the same.
		again := who.kind == kafka.ResourceBroker && slices.Contains(named, key)
		if was && before == value && !again {
			continue
		}
		records = append(records, configRecord(who.kind, who.name, key, &value))
		minISR = minISR || key == "min.insync.replicas"
	}
	for key := range sorted(old) {
		if _, stays := wanted[key]; !stays {
			records = append(records, configRecord(who.kind, who.name, key, nil))
			minISR = minISR || key == "min.insync.replicas"
		}
	}
	if minISR && v.elr() {
		// Eligible replicas were judged by the old minimum.
		switch {
		case who.kind == kafka.ResourceTopic && v.hasELR(who.name):
			records = append(records, record{&wire.ClearElrRecord{TopicName: who.name}, 0})
		case who.kind == kafka.ResourceBroker && who.name == "":
			records = append(records, record{&wire.ClearElrRecord{}, 0})
		}
	}
	return records, nil
}

func (v *view) hasELR(topic string) bool {
	t := v.image.Topic(topic)
	return t != nil && slices.ContainsFunc(t.Partitions, func(p *metadata.Partition) bool { return len(p.ELR)+len(p.LastKnownELR) > 0 })
}

// checkConfigs judges all configs that a resource will have.
func (v *view) checkConfigs(caller Caller, who resource, old, wanted map[string]string, named []string) error {
	switch who.kind {
	case kafka.ResourceTopic:
		if who.name == "" {
			return kafka.InvalidRequest.Errorf("topics have no default resource; name a topic")
		}
		if err := kafka.CheckTopicName(who.name); err != nil {
			return kafka.InvalidTopicException.Errorf("%v", err)
		}
		if err := v.checkTopicConfigs(wanted, old); err != nil {
			return err
		}
		if v.image.Topic(who.name) == nil {
			return kafka.UnknownTopicOrPartition.Errorf("there is no topic %q", who.name)
		}
		return nil
	case kafka.ResourceBroker:
		return v.checkBrokerConfigs(caller, who.name, old, wanted, named)
	case kafka.ResourceClientMetrics:
		return v.checkClientMetrics(who.name, wanted)
	}
	return v.checkGroupConfigs(who.name, wanted)
}

// checkTopicConfigs judges all configs that a topic will have; old are those it has, nil for a new topic.
func (v *view) checkTopicConfigs(wanted, old map[string]string) error {
	for key, value := range sorted(wanted) {
		k, ok := v.topic.Lookup(key)
		if !ok {
			return kafka.InvalidConfig.Errorf("a topic has no such setting: %v", v.topic.Unknown(key))
		}
		if err := k.Check(value); err != nil {
			return kafka.InvalidConfig.Errorf("%v", err)
		}
	}
	layers := append([]config.Layer{{Source: config.SourceTopic, Values: wanted}}, v.brokerLayers()...)
	number := func(key string) int64 {
		value, _ := v.topic.Effective(key, layers...)
		n, _ := config.ParseInt64(value)
		return n
	}
	flag := func(key string) bool {
		value, _ := v.topic.Effective(key, layers...)
		b, _ := config.ParseBool(value)
		return b
	}
	_, hasMin := v.topic.Lookup("min.compaction.lag.ms")
	_, hasMax := v.topic.Lookup("max.compaction.lag.ms")
	if low, high := number("min.compaction.lag.ms"), number("max.compaction.lag.ms"); hasMin && hasMax && low > high {
		return kafka.InvalidConfig.Errorf("min.compaction.lag.ms is %d, which is more than max.compaction.lag.ms, %d", low, high)
	}
	return v.checkTiering(wanted, old, flag, number)
}

// checkTiering judges the keys of tiered storage together (KIP-405, KIP-950).
func (v *view) checkTiering(wanted, old map[string]string, flag func(string) bool, number func(string) int64) error {
	invalid := kafka.InvalidConfig.Errorf
	tiered := flag("remote.storage.enable")
	if !tiered {
		if was, _ := config.ParseBool(old["remote.storage.enable"]); was && !flag("remote.log.delete.on.disable") {
			return invalid("remote.storage.enable can be turned off only together with remote.log.delete.on.disable=true, which deletes what lies in remote storage")
		}
		return nil
	}
	if !v.staticBool("remote.log.storage.system.enable", false) {
		return invalid("remote.storage.enable needs tiered storage, which is off on this cluster (remote.log.storage.system.enable)")
	}
	policy := config.ParseList(wanted["cleanup.policy"])
	if slices.Contains(policy, "compact") {
		return invalid("a compacted topic cannot be kept in remote storage")
	}
	if flag("remote.log.delete.on.disable") {
		return invalid("remote.log.delete.on.disable has a meaning only when remote.storage.enable is turned off")
	}
	if retention, local := number("retention.ms"), number("local.retention.ms"); local != -2 && retention != -1 && (local == -1 || local > retention) {
		return invalid("local.retention.ms is %d, which is more than retention.ms, %d", local, retention)
	}
	if retention, local := number("retention.bytes"), number("local.retention.bytes"); local != -2 && retention != -1 && (local == -1 || local > retention) {
		return invalid("local.retention.bytes is %d, which is more than retention.bytes, %d", local, retention)
	}
	return nil
}

// checkBrokerConfigs judges configs of one broker or, with the empty name, the default of all. As in Kafka a
// key that no room declares is stored: it may be meant for a plug-in.
func (v *view) checkBrokerConfigs(caller Caller, name string, old, wanted map[string]string, named []string) error {
	if name != "" {
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return kafka.InvalidRequest.Errorf("a broker is named by its number, not %q", name)
		}
		switch {
		case id < 0:
			return kafka.InvalidRequest.Errorf("a broker is named by its number, which is not %d", id)
		case caller.ViaBroker && int32(id) != caller.Broker:
			return kafka.InvalidRequest.Errorf("this is broker %d; send the configs of broker %d to that broker", caller.Broker, id)
		case v.image.Broker(int32(id)) == nil && v.image.Controller(int32(id)) == nil && int32(id) != v.nodeID:
			return kafka.BrokerIDNotRegistered.Errorf("there is no node %d", id)
		}
	}
	for _, key := range named {
		value, set := wanted[key]
		k, known := v.broker.Lookup(key)
		if !known || !set || !caller.ViaBroker {
			continue // the broker that has the settings judges their values
		}
		switch {
		case k.Update == config.ReadOnly:
			return kafka.InvalidRequest.Errorf("%s cannot be changed while the server runs", key)
		case k.Update == config.PerListener:
			return kafka.InvalidRequest.Errorf("%s is set for each listener by itself: listener.name.NAME.%s", key, key)
		case k.Update == config.PerBroker && name == "":
			return kafka.InvalidRequest.Errorf("%s is set for each broker by itself; name a broker", key)
		}
		if err := k.Check(value); err != nil {
			return kafka.InvalidRequest.Errorf("%v", err)
		}
	}
	if err := v.checkAddresses(wanted); err != nil && caller.ViaBroker {
		return err
	}
	if v.elr() {
		const key = "min.insync.replicas"
		_, before := old[key]
		after, set := wanted[key]
		switch {
		case name != "" && (before != set || set && old[key] != after):
			return kafka.InvalidConfig.Errorf("%s cannot be set for one broker while eligible leader replicas are kept; set it for the cluster", key)
		case name == "" && before && !set:
			return kafka.InvalidConfig.Errorf("the cluster's %s cannot be removed while eligible leader replicas are kept; set it to another value", key)
		}
	}
	return nil
}

// checkAddresses judges whether any address could connect to a broker that has these configs.
func (v *view) checkAddresses(wanted map[string]string) error {
	const key, exceptions = "max.connections.per.ip", "max.connections.per.ip.overrides"
	if value, set := wanted[key]; set {
		if n, err := config.ParseInt32(value); err != nil || n > 0 {
			return nil
		}
		layers := append([]config.Layer{{Source: config.SourceDynamicBroker, Values: wanted}}, v.brokerLayers()...)
		if who, _ := v.broker.Effective(exceptions, layers...); strings.TrimSpace(who) == "" {
			return kafka.InvalidRequest.Errorf("%s can be 0 only where %s says who may connect nevertheless", key, exceptions)
		}
	}
	return nil
}

// clientMatch are the things by which a client-metrics subscription picks clients (KIP-714).
var clientMatch = []string{"client_instance_id", "client_id", "client_software_name", "client_software_version", "client_source_address", "client_source_port"}

func (v *view) checkClientMetrics(name string, wanted map[string]string) error {
	if name == "" {
		return kafka.InvalidRequest.Errorf("a client-metrics subscription needs a name")
	}
	for key, value := range sorted(wanted) {
		k, ok := v.telemetry.Lookup(key)
		if !ok {
			return kafka.InvalidRequest.Errorf("client metrics have no such setting: %v", v.telemetry.Unknown(key))
		}
		if err := k.Check(value); err != nil {
			return kafka.InvalidConfig.Errorf("%v", err)
		}
		switch key {
		case "interval.ms":
			if n, _ := config.ParseInt64(value); n < 100 || n > 3_600_000 {
				return kafka.InvalidRequest.Errorf("interval.ms is %d; it must lie between 100 and 3600000, which is an hour", n)
			}
		case "match":
			for _, pattern := range config.ParseList(value) {
				what, expression, ok := strings.Cut(pattern, "=")
				if _, err := regexp.Compile(trimmed(expression)); !ok || err != nil || !slices.Contains(clientMatch, trimmed(what)) {
					return kafka.InvalidConfig.Errorf("match holds %q; want NAME=REGEX with one of the names %s", pattern, strings.Join(clientMatch, ", "))
				}
			}
		}
	}
	return nil
}

func trimmed(s string) string { return strings.TrimSpace(s) }

// checkGroupConfigs judges a group's configs: the form of each, and the bounds that the brokers set.
func (v *view) checkGroupConfigs(name string, wanted map[string]string) error {
	if name == "" {
		return kafka.InvalidRequest.Errorf("groups have no default resource; name a group")
	}
	for key, value := range sorted(wanted) {
		k, ok := v.group.Lookup(key)
		if !ok {
			return kafka.InvalidConfig.Errorf("a group has no such setting: %v", v.group.Unknown(key))
		}
		if err := k.Check(value); err != nil {
			return kafka.InvalidConfig.Errorf("%v", err)
		}
		b, bounded := groupBounds[key]
		if !bounded {
			continue
		}
		n, _ := config.ParseInt64(value)
		if low := v.staticInt(b.minKey, b.min); n < low {
			return kafka.InvalidConfig.Errorf("%s is %d; the brokers allow no less than %d (%s)", key, n, low, b.minKey)
		}
		if high := v.staticInt(b.maxKey, b.max); n > high {
			return kafka.InvalidConfig.Errorf("%s is %d; the brokers allow no more than %d (%s)", key, n, high, b.maxKey)
		}
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		session, heartbeat := kind+".session.timeout.ms", kind+".heartbeat.interval.ms"
		s, setS := wanted[session]
		h, setH := wanted[heartbeat]
		if !setS && !setH {
			continue
		}
		number := func(key, value string, set bool) int64 {
			if !set {
				k, _ := v.group.Lookup(key)
				value = *k.Default
			}
			n, _ := config.ParseInt64(value)
			return n
		}
		if number(session, s, setS) <= number(heartbeat, h, setH) {
			return kafka.InvalidConfig.Errorf("%s must be greater than %s", session, heartbeat)
		}
	}
	if assignor, ok := wanted["streams.assignor.name"]; ok && assignor != "sticky" {
		return kafka.InvalidConfig.Errorf("streams.assignor.name is %q; the task assignors are: sticky", assignor)
	}
	return nil
}

// minISRForELR makes the records that keep the minimum of in-sync replicas the same on all nodes while eligible
// leader replicas are kept: the cluster's default says it, and no broker for itself (KIP-966).
func (v *view) minISRForELR() []record {
	const key = "min.insync.replicas"
	if !v.elr() {
		return nil
	}
	var records []record
	if _, set := v.image.Config(kafka.ResourceBroker, "")[key]; !set {
		value := v.staticValue(key)
		if value == "" {
			value = "1"
		}
		records = append(records, configRecord(kafka.ResourceBroker, "", key, &value))
	}
	for name := range v.image.ConfigResources(kafka.ResourceBroker) {
		if _, set := v.image.Config(kafka.ResourceBroker, name)[key]; set && name != "" {
			records = append(records, configRecord(kafka.ResourceBroker, name, key, nil))
		}
	}
	return records
}
