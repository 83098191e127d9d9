package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func (w *world) describeConfigs(change func(r *wire.DescribeConfigsRequest), resources ...wire.DescribeConfigsRequestResources) {
	w.add(Step{What: "describe configs", Key: wire.KeyDescribeConfigs, Version: w.at(wire.KeyDescribeConfigs), Make: func(s *Side) wire.Message {
		r := wire.NewDescribeConfigsRequest()
		r.Resources = resources
		if change != nil {
			change(r)
		}
		return r
	}})
}

func resource(t kafka.ResourceType, name string, keys ...string) wire.DescribeConfigsRequestResources {
	return wire.DescribeConfigsRequestResources{ResourceType: int8(t), ResourceName: name, ConfigurationKeys: keys}
}

// brokerKeys are settings of a broker that both sides have and that were not set.
var brokerKeys = []string{"num.partitions", "log.retention.hours", "log.segment.bytes", "message.max.bytes", "min.insync.replicas", "auto.create.topics.enable", "compression.type"}

var describeConfigsValid = []move{
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceTopic, w.topic().name)) },
	func(w *world) {
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceTopic, w.topic().name))
	},
	func(w *world) {
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeDocumentation = true }, resource(kafka.ResourceTopic, w.topic().name))
	},
	func(w *world) {
		w.describeConfigs(nil, resource(kafka.ResourceTopic, w.topic().name, "retention.ms", "segment.bytes", "no.such.key"))
	},
	func(w *world) {
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceBroker, "1", brokerKeys...))
	},
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceBroker, "", brokerKeys...)) },
	func(w *world) { // several at once
		w.describeConfigs(nil, resource(kafka.ResourceTopic, w.topic().name, "cleanup.policy"), resource(kafka.ResourceBroker, "1", "num.partitions"))
	},
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceGroup, "some-group")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceClientMetrics, "some-subscription")) },
	func(w *world) { w.describeConfigs(nil) },
}

var describeConfigsBad = []move{
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceTopic, "nowhere")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceTopic, "not a name!")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceTopic, "")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceBroker, "7")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceBroker, "one")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceType(3), "x")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceType(0), "x")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceGroup, "")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceClientMetrics, "")) },
	func(w *world) { w.describeConfigs(nil, resource(kafka.ResourceBrokerLogger, "9")) },
	func(w *world) { // the same twice
		name := w.topic().name
		w.describeConfigs(nil, resource(kafka.ResourceTopic, name, "retention.ms"), resource(kafka.ResourceTopic, name, "cleanup.policy"))
	},
}

// change is one config and what to do with it.
type change struct {
	op    int8 // 0 set, 1 delete, 2 append, 3 subtract
	name  string
	value *string
}

func set(name, value string) change { return change{0, name, &value} }

func (w *world) alterConfigs(t kafka.ResourceType, name string, validateOnly bool, changes ...change) {
	w.add(Step{What: "alter configs", Key: wire.KeyAlterConfigs, Version: w.at(wire.KeyAlterConfigs), Make: func(s *Side) wire.Message {
		r := wire.NewAlterConfigsRequest()
		r.ValidateOnly = validateOnly
		one := wire.AlterConfigsRequestResources{ResourceType: int8(t), ResourceName: name}
		for _, c := range changes {
			one.Configs = append(one.Configs, wire.AlterConfigsRequestConfigs{Name: c.name, Value: c.value})
		}
		r.Resources = []wire.AlterConfigsRequestResources{one}
		return r
	}})
}

func (w *world) incremental(t kafka.ResourceType, name string, validateOnly bool, changes ...change) {
	w.add(Step{What: "alter configs incrementally", Key: wire.KeyIncrementalAlterConfigs, Version: w.at(wire.KeyIncrementalAlterConfigs), Make: func(s *Side) wire.Message {
		r := wire.NewIncrementalAlterConfigsRequest()
		r.ValidateOnly = validateOnly
		one := wire.IncrementalAlterConfigsRequestResources{ResourceType: int8(t), ResourceName: name}
		for _, c := range changes {
			one.Configs = append(one.Configs, wire.IncrementalAlterConfigsRequestConfigs{Name: c.name, ConfigOperation: c.op, Value: c.value})
		}
		r.Resources = []wire.IncrementalAlterConfigsRequestResources{one}
		return r
	}})
}

// shows awaits a topic's config and then describes all of them.
func (w *world) shows(t *topic, key, value string) {
	w.add(Step{What: "await the config", Settle: configured(t.name, key, value)})
	w.describeConfigs(nil, resource(kafka.ResourceTopic, t.name))
}

var alterConfigsValid = []move{
	func(w *world) {
		t := w.topic()
		w.alterConfigs(kafka.ResourceTopic, t.name, false, set("retention.ms", "1000000"), set("max.message.bytes", "2000000"))
		t.configs = map[string]string{}
		w.shows(t, "retention.ms", "1000000")
	},
	func(w *world) {
		w.alterConfigs(kafka.ResourceTopic, w.topic().name, true, set("retention.ms", "77"))
	},
	func(w *world) { // all that is not named is taken away
		t := w.topic()
		w.alterConfigs(kafka.ResourceTopic, t.name, false, set("flush.messages", "1000"))
		w.alterConfigs(kafka.ResourceTopic, t.name, false, set("segment.ms", "8000000"))
		t.configs = map[string]string{}
		w.shows(t, "segment.ms", "8000000")
	},
	func(w *world) { w.alterConfigs(kafka.ResourceTopic, w.topic().name, true) },
}

var alterConfigsBad = []move{
	func(w *world) { w.alterConfigs(kafka.ResourceTopic, "nowhere", false, set("retention.ms", "1")) },
	func(w *world) { w.alterConfigs(kafka.ResourceTopic, w.topic().name, false, set("no.such.key", "1")) },
	func(w *world) {
		bad := badTopicConfigs(w)
		w.alterConfigs(kafka.ResourceTopic, w.topic().name, w.IntN(2) == 0, set(bad[0], bad[1]))
	},
	func(w *world) {
		w.alterConfigs(kafka.ResourceTopic, w.topic().name, false, change{0, "retention.ms", nil})
	},
	func(w *world) { w.alterConfigs(kafka.ResourceType(5), "x", false, set("retention.ms", "1")) },
	func(w *world) { w.alterConfigs(kafka.ResourceBroker, "9", false, set("log.retention.ms", "1")) },
	func(w *world) { w.alterConfigs(kafka.ResourceBroker, "one", true, set("log.retention.ms", "1")) },
	func(w *world) { w.alterConfigs(kafka.ResourceTopic, "", false, set("retention.ms", "1")) },
	func(w *world) {
		w.alterConfigs(kafka.ResourceTopic, w.topic().name, true, set("retention.ms", "1"), set("retention.ms", "2"))
	},
}

var incrementalValid = []move{
	func(w *world) {
		t := w.topic()
		w.incremental(kafka.ResourceTopic, t.name, false, set("retention.ms", "2000000"))
		w.shows(t, "retention.ms", "2000000")
		w.incremental(kafka.ResourceTopic, t.name, false, change{1, "retention.ms", nil})
		w.shows(t, "retention.ms", "-1")
	},
	func(w *world) { // lists
		t := w.makeTopic(1, map[string]string{"cleanup.policy": "delete"})
		w.incremental(kafka.ResourceTopic, t.name, false, change{2, "cleanup.policy", ptr("compact")})
		w.shows(t, "cleanup.policy", "delete,compact")
		w.incremental(kafka.ResourceTopic, t.name, false, change{3, "cleanup.policy", ptr("delete")})
		w.shows(t, "cleanup.policy", "compact")
		t.configs["cleanup.policy"] = "compact"
	},
	func(w *world) { w.incremental(kafka.ResourceTopic, w.topic().name, true, set("retention.ms", "5")) },
	func(w *world) { w.incremental(kafka.ResourceTopic, w.topic().name, false) },
	func(w *world) { // taking away what is not there
		w.incremental(kafka.ResourceTopic, w.topic().name, false, change{1, "segment.jitter.ms", nil}, change{3, "leader.replication.throttled.replicas", ptr("0:1")})
	},
	func(w *world) {
		w.incremental(kafka.ResourceBroker, "", true, set("log.retention.ms", "700000000"))
		w.incremental(kafka.ResourceBroker, "1", true, set("message.max.bytes", "2000000"))
	},
	func(w *world) { // settings of groups and of client metrics
		w.incremental(kafka.ResourceGroup, "g", true, set("consumer.session.timeout.ms", "50000"))
		w.incremental(kafka.ResourceClientMetrics, "m", true, set("interval.ms", "60000"))
	},
}

var incrementalBad = []move{
	func(w *world) { w.incremental(kafka.ResourceTopic, "nowhere", false, set("retention.ms", "1")) },
	func(w *world) { w.incremental(kafka.ResourceTopic, w.topic().name, false, set("no.such.key", "1")) },
	func(w *world) {
		bad := badTopicConfigs(w)
		w.incremental(kafka.ResourceTopic, w.topic().name, w.IntN(2) == 0, set(bad[0], bad[1]))
	},
	func(w *world) {
		w.incremental(kafka.ResourceTopic, w.topic().name, false, change{9, "retention.ms", ptr("1")})
	},
	func(w *world) {
		w.incremental(kafka.ResourceTopic, w.topic().name, false, change{0, "retention.ms", nil})
	},
	func(w *world) {
		w.incremental(kafka.ResourceTopic, w.topic().name, false, change{2, "retention.ms", ptr("1")})
	},
	func(w *world) {
		w.incremental(kafka.ResourceTopic, w.topic().name, false, set("retention.ms", "1"), change{1, "retention.ms", nil})
	},
	func(w *world) { w.incremental(kafka.ResourceBroker, "5", false, set("log.retention.ms", "9")) },
	func(w *world) { w.incremental(kafka.ResourceBroker, "one", false, set("log.retention.ms", "9")) },
	func(w *world) { w.incremental(kafka.ResourceBroker, "1", true, set("log.retention.ms", "never")) },
	func(w *world) { w.incremental(kafka.ResourceBroker, "1", true, set("node.id", "4")) },
	func(w *world) { w.incremental(kafka.ResourceType(6), "x", false, set("retention.ms", "1")) },
	func(w *world) {
		w.incremental(kafka.ResourceGroup, "", false, set("consumer.session.timeout.ms", "50000"))
	},
	func(w *world) { w.incremental(kafka.ResourceGroup, "g", true, set("consumer.session.timeout.ms", "1")) },
	func(w *world) { w.incremental(kafka.ResourceGroup, "g", true, set("no.such.key", "1")) },
	func(w *world) { w.incremental(kafka.ResourceClientMetrics, "m", true, set("interval.ms", "5")) },
	func(w *world) { w.incremental(kafka.ResourceClientMetrics, "", true, set("interval.ms", "60000")) },
	func(w *world) { w.incremental(kafka.ResourceTopic, "", false, set("retention.ms", "1")) },
}

func (w *world) listConfigResources(types ...int8) {
	w.add(Step{What: "list config resources", Key: wire.KeyListConfigResources, Version: w.at(wire.KeyListConfigResources), Make: func(s *Side) wire.Message {
		r := wire.NewListConfigResourcesRequest()
		r.ResourceTypes = types
		return r
	}})
}

var listConfigResourcesValid = []move{
	func(w *world) { w.listConfigResources() },
	func(w *world) { w.listConfigResources(2) },
	func(w *world) { w.listConfigResources(4, 8) },
	func(w *world) { w.listConfigResources(16, 32, 2) },
	func(w *world) { w.listConfigResources(2, 2) },
}

var listConfigResourcesBad = []move{
	func(w *world) { w.listConfigResources(0) },
	func(w *world) { w.listConfigResources(2, 3) },
	func(w *world) { w.listConfigResources(-1) },
	func(w *world) { w.listConfigResources(127) },
}
