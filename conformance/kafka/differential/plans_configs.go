package differential

import (
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func (w *world) describeConfigs(change func(r *wire.DescribeConfigsRequest), resources ...wire.DescribeConfigsRequestResources) {
	w.add(Step{What: "describe configs", Key: wire.KeyDescribeConfigs, Version: w.at(wire.KeyDescribeConfigs), Conn: w.on(wire.KeyDescribeConfigs), Make: func(s *Side) wire.Message {
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
	func(w *world) { // all that a broker has, with where it comes from
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms, r.IncludeDocumentation = true, true }, resource(kafka.ResourceBroker, "1"))
	},
	func(w *world) { // settings of all brokers and of one, as they show in a topic
		t := w.topic()
		undo := w.setOnBrokers("log.retention.ms", "77000000", "86000000")
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceTopic, t.name, "retention.ms", "segment.ms"),
			resource(kafka.ResourceBroker, "1", "log.retention.ms", "log.retention.hours", "log.retention.minutes"), resource(kafka.ResourceBroker, ""))
		undo()
		undo = w.setOnBrokers("log.segment.bytes", "20000000", "")
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceTopic, t.name, "segment.bytes"), resource(kafka.ResourceBroker, "1", "log.segment.bytes"))
		undo()
	},
	func(w *world) { // settings of a group and of a subscription
		name := w.name()
		w.incremental(kafka.ResourceGroup, name, false, set("consumer.session.timeout.ms", "50000"))
		w.incremental(kafka.ResourceClientMetrics, name, false, set("interval.ms", "60000"), set("metrics", "a,b"))
		w.add(Step{What: "await the configs", Settle: listed(16, name)}, Step{What: "await the configs", Settle: listed(32, name)})
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms, r.IncludeDocumentation = true, true }, resource(kafka.ResourceGroup, name), resource(kafka.ResourceClientMetrics, name))
		w.incremental(kafka.ResourceGroup, name, false, change{1, "consumer.session.timeout.ms", nil})
		w.incremental(kafka.ResourceClientMetrics, name, false, change{1, "interval.ms", nil}, change{1, "metrics", nil})
		w.add(Step{What: "await their end", Settle: unlisted(16, name)}, Step{What: "await their end", Settle: unlisted(32, name)})
	},
	func(w *world) { // values are shown as they were understood, with what they stand before as it was set
		t, g := w.makeTopic(1, nil), w.name()
		for _, c := range []change{set("retention.ms", " 1000 "), set("cleanup.policy", " compact , delete,compact"), set("preallocate", "TRUE"), set("segment.ms", "+0700"),
			set("leader.replication.throttled.replicas", "0:1,0:1"), set("message.timestamp.type", " CreateTime ")} {
			w.incremental(kafka.ResourceTopic, t.name, false, c)
			w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceTopic, t.name, c.name))
		}
		w.incremental(kafka.ResourceGroup, g, false, set("consumer.session.timeout.ms", " 50000 "))
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceGroup, g, "consumer.session.timeout.ms"))
		w.incremental(kafka.ResourceGroup, g, false, change{1, "consumer.session.timeout.ms", nil})
	},
	func(w *world) { // settings that do nothing in Millrace, of all brokers and of one; some are there only where they are set
		for _, kv := range [][3]string{{"log.cleaner.backoff.ms", "20000", "30000"}, {"log.cleaner.io.max.bytes.per.second", "1000000.0", ""}, {"errors.deadletterqueue.topic.name.prefix", "dead.", ""}, {"leader.replication.throttled.rate", "5000000", "4000000"},
			{"group.share.assignor.offload.enable", "false", ""}, {"group.share.assignment.interval.ms", "2000", "3000"}} {
			undo := w.setOnBrokers(kv[0], kv[1], kv[2])
			w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceBroker, "1", kv[0]), resource(kafka.ResourceBroker, ""), resource(kafka.ResourceGroup, "a-group"))
			undo()
			w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceBroker, "1", kv[0]), resource(kafka.ResourceBroker, ""))
		}
	},
	func(w *world) { // secrets, settings of a listener, and what no broker knows
		for _, key := range []string{"sasl.jaas.config", "listener.name.inside.ssl.truststore.location", "listener.name.inside.scram-sha-256.sasl.jaas.config", "listener.name.inside.sasl.kerberos.kinit.cmd", "some.plugins.key", "host.name"} {
			w.incremental(kafka.ResourceBroker, "1", false, set(key, "x"))
			w.add(Step{What: "await the key", Settle: describedOn("1", key, true)})
			w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceBroker, "1", key))
			w.incremental(kafka.ResourceBroker, "1", false, change{1, key, nil})
			w.add(Step{What: "await its end", Settle: describedOn("1", key, false)})
		}
	},
	func(w *world) { // no keys, and the empty list of them
		name := w.topic().name
		w.describeConfigs(nil, wire.DescribeConfigsRequestResources{ResourceType: int8(kafka.ResourceTopic), ResourceName: name, ConfigurationKeys: []string{}})
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms, r.IncludeDocumentation = true, true }, resource(kafka.ResourceTopic, name, "cleanup.policy", "cleanup.policy"))
	},
}

// setOnBrokers sets a key for all brokers and, unless own is "", for the one there is; what it returns takes both away.
func (w *world) setOnBrokers(key, all, own string) (undo func()) {
	w.incremental(kafka.ResourceBroker, "", false, set(key, all))
	shown := all
	if own != "" {
		w.incremental(kafka.ResourceBroker, "1", false, set(key, own))
		shown = own
	}
	w.add(Step{What: "await the broker's config", Settle: configuredOn(kafka.ResourceBroker, "1", key, shown)})
	return func() {
		w.incremental(kafka.ResourceBroker, "", false, change{1, key, nil})
		if own != "" {
			w.incremental(kafka.ResourceBroker, "1", false, change{1, key, nil})
		}
		w.add(Step{What: "await the end of the broker's config", Settle: unconfigured(key, all, own)})
	}
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
	func(w *world) {
		w.describeConfigs(nil, resource(kafka.ResourceBrokerLogger, ""), resource(kafka.ResourceBrokerLogger, "x"))
	},
	func(w *world) {
		w.describeConfigs(nil, resource(kafka.ResourceBroker, "-1"), resource(kafka.ResourceBroker, " 1"), resource(kafka.ResourceBroker, "99999999999"), resource(kafka.ResourceBroker, "01", "num.partitions"))
	},
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
	w.add(Step{What: "alter configs", Key: wire.KeyAlterConfigs, Version: w.at(wire.KeyAlterConfigs), Conn: w.on(wire.KeyAlterConfigs), Make: func(s *Side) wire.Message {
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
	w.add(Step{What: "alter configs incrementally", Key: wire.KeyIncrementalAlterConfigs, Version: w.at(wire.KeyIncrementalAlterConfigs), Conn: w.on(wire.KeyIncrementalAlterConfigs), Make: func(s *Side) wire.Message {
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
	func(w *world) { // good values of every setting
		t := w.makeTopic(1, nil)
		for _, kv := range w.goodTopicConfigs(3) {
			var changes []change
			for i := 0; i < len(kv); i += 2 {
				changes = append(changes, set(kv[i], kv[i+1]))
			}
			w.alterConfigs(kafka.ResourceTopic, t.name, true, changes...)
		}
	},
	func(w *world) { // brokers, groups, subscriptions
		w.alterConfigs(kafka.ResourceBroker, "", true, set("log.retention.ms", "1000000"))
		w.alterConfigs(kafka.ResourceBroker, "1", true, set("message.max.bytes", "1000000"))
		w.alterConfigs(kafka.ResourceGroup, "g", true, set("consumer.heartbeat.interval.ms", "6000"))
		w.alterConfigs(kafka.ResourceClientMetrics, "m", true, set("interval.ms", "1000"))
	},
	func(w *world) { // several resources at once
		t := w.topic()
		w.alterSeveral(true, resourceChange{kafka.ResourceTopic, t.name, []change{set("retention.ms", "5")}}, resourceChange{kafka.ResourceTopic, "nowhere", []change{set("retention.ms", "5")}},
			resourceChange{kafka.ResourceBroker, "1", nil})
	},
	func(w *world) { w.alterSeveral(false) },
}

// resourceChange is a resource and what to do with its settings.
type resourceChange struct {
	kind    kafka.ResourceType
	name    string
	changes []change
}

func (w *world) alterSeveral(validateOnly bool, resources ...resourceChange) {
	w.add(Step{What: "alter configs of several", Key: wire.KeyAlterConfigs, Version: w.at(wire.KeyAlterConfigs), Conn: w.on(wire.KeyAlterConfigs), Make: func(s *Side) wire.Message {
		r := wire.NewAlterConfigsRequest()
		r.ValidateOnly = validateOnly
		for _, one := range resources {
			to := wire.AlterConfigsRequestResources{ResourceType: int8(one.kind), ResourceName: one.name}
			for _, c := range one.changes {
				to.Configs = append(to.Configs, wire.AlterConfigsRequestConfigs{Name: c.name, Value: c.value})
			}
			r.Resources = append(r.Resources, to)
		}
		return r
	}})
}

func (w *world) incrementalSeveral(validateOnly bool, resources ...resourceChange) {
	w.add(Step{What: "alter configs of several incrementally", Key: wire.KeyIncrementalAlterConfigs, Version: w.at(wire.KeyIncrementalAlterConfigs), Conn: w.on(wire.KeyIncrementalAlterConfigs), Make: func(s *Side) wire.Message {
		r := wire.NewIncrementalAlterConfigsRequest()
		r.ValidateOnly = validateOnly
		for _, one := range resources {
			to := wire.IncrementalAlterConfigsRequestResources{ResourceType: int8(one.kind), ResourceName: one.name}
			for _, c := range one.changes {
				to.Configs = append(to.Configs, wire.IncrementalAlterConfigsRequestConfigs{Name: c.name, ConfigOperation: c.op, Value: c.value})
			}
			r.Resources = append(r.Resources, to)
		}
		return r
	}})
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
	func(w *world) { // a resource twice: the same, and differently
		t := w.topic()
		one := resourceChange{kafka.ResourceTopic, t.name, []change{set("retention.ms", "5")}}
		other := resourceChange{kafka.ResourceTopic, t.name, []change{set("retention.ms", "6")}}
		for _, conn := range []string{"", controllerConn} {
			w.alterSeveral(w.IntN(2) == 0, one, [...]resourceChange{one, other}[w.IntN(2)], resourceChange{kafka.ResourceTopic, "nowhere", []change{set("retention.ms", "5")}})
			w.last().Conn, w.last().Mute = conn, conn == "" // Apache Kafka's controllers answer, its brokers do not
		}
	},
	func(w *world) { // kinds of resources that there are not, and that there are not here
		for _, kind := range []int8{0, 1, 3, 7, 64, -1} {
			w.alterConfigs(kafka.ResourceType(kind), "x", w.IntN(2) == 0, set("retention.ms", "1"))
		}
	},
	func(w *world) { // log levels
		w.alterConfigs(kafka.ResourceBrokerLogger, "1", true, set("root", "INFO"))
		w.alterConfigs(kafka.ResourceBrokerLogger, "7", true, set("root", "INFO"))
	},
	func(w *world) { // keys of others
		w.alterConfigs(kafka.ResourceTopic, w.topic().name, true, set("log.retention.ms", "1"))
		w.alterConfigs(kafka.ResourceGroup, "", true, set("consumer.session.timeout.ms", "50000"))
		w.alterConfigs(kafka.ResourceGroup, "g", true, set("retention.ms", "1"))
		w.alterConfigs(kafka.ResourceClientMetrics, "m", true, set("retention.ms", "1"))
		w.alterConfigs(kafka.ResourceClientMetrics, "", true, set("interval.ms", "1000"))
	},
	func(w *world) { // settings of brokers that do nothing in Millrace
		for _, kv := range [][2]string{{"log.cleaner.backoff.ms", "5000"}, {"log.cleaner.threads", "x"}, {"log.cleaner.enable", "false"}, {"ssl.key.password", "x"}, {"ssl.client.auth", "required"}} {
			w.alterConfigs(kafka.ResourceBroker, [...]string{"1", ""}[w.IntN(2)], true, set(kv[0], kv[1]))
		}
	},
	func(w *world) { // names of brokers
		for _, name := range []string{"-1", "01", " 1", "1.0", "99999999999"} {
			w.alterConfigs(kafka.ResourceBroker, name, true, set("log.retention.ms", "100"))
		}
	},
	func(w *world) { // an empty name of a key, and of no value
		w.alterConfigs(kafka.ResourceTopic, w.topic().name, true, set("", "1"))
		w.alterConfigs(kafka.ResourceTopic, w.topic().name, true, set("retention.ms", ""))
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
	func(w *world) { // lists, with what they have already and what they do not
		t := w.makeTopic(1, map[string]string{"leader.replication.throttled.replicas": "0:1,1:1"})
		for _, c := range []change{{2, "leader.replication.throttled.replicas", ptr("2:1,0:1")}, {3, "leader.replication.throttled.replicas", ptr("1:1,9:9")}, {3, "leader.replication.throttled.replicas", ptr("0:1,2:1")},
			{2, "follower.replication.throttled.replicas", ptr("5:1")}, {2, "cleanup.policy", ptr("")}, {3, "cleanup.policy", ptr("compact")}} {
			w.incremental(kafka.ResourceTopic, t.name, false, c)
			w.describeConfigs(nil, resource(kafka.ResourceTopic, t.name, "cleanup.policy"))
		}
		w.shows(t, "follower.replication.throttled.replicas", "5:1")
	},
	func(w *world) { // several things at once, of several resources
		t, u := w.topic(), w.makeTopic(1, nil)
		w.incrementalSeveral(false, resourceChange{kafka.ResourceTopic, u.name, []change{set("retention.ms", "3000000"), set("segment.ms", "4000000"), {2, "cleanup.policy", ptr("compact")}}},
			resourceChange{kafka.ResourceTopic, "nowhere", []change{set("retention.ms", "1")}}, resourceChange{kafka.ResourceTopic, t.name, []change{{1, "segment.jitter.ms", nil}}})
		w.shows(u, "segment.ms", "4000000")
		u.configs = map[string]string{"cleanup.policy": "delete,compact"}
	},
	func(w *world) { // good values of every setting
		t := w.makeTopic(1, nil)
		for _, kv := range w.goodTopicConfigs(4) {
			var changes []change
			for i := 0; i < len(kv); i += 2 {
				changes = append(changes, set(kv[i], kv[i+1]))
			}
			w.incremental(kafka.ResourceTopic, t.name, true, changes...)
		}
	},
	func(w *world) { // a value that takes effect: what is appended then
		t := w.makeTopic(1, nil)
		w.incremental(kafka.ResourceTopic, t.name, false, set("max.message.bytes", "150"))
		w.shows(t, "max.message.bytes", "150")
		b := w.batch(1)
		b.codec, b.records[0].value = 0, make([]byte, 200)
		w.produce(t, 0, b, -1)
		w.incremental(kafka.ResourceTopic, t.name, false, change{1, "max.message.bytes", nil}, set("message.timestamp.type", "LogAppendTime"))
		w.shows(t, "message.timestamp.type", "LogAppendTime")
		w.produce(t, 0, b, -1)
	},
	func(w *world) { // of all brokers and of one
		undo := w.setOnBrokers("message.max.bytes", "3000000", "2000000")
		w.describeConfigs(func(r *wire.DescribeConfigsRequest) { r.IncludeSynonyms = true }, resource(kafka.ResourceBroker, "1", "message.max.bytes"), resource(kafka.ResourceBroker, ""))
		undo()
	},
	func(w *world) { // settings of groups and of client metrics
		w.incremental(kafka.ResourceGroup, "g", true, set("consumer.session.timeout.ms", "50000"))
		w.incremental(kafka.ResourceClientMetrics, "m", true, set("interval.ms", "60000"))
	},
}

var incrementalBad = []move{
	func(w *world) { // variables of files and environments: nobody looks them up in what is set at run time
		for _, variable := range []string{"${env:HOME}", "${file:/etc/hostname}", "${file:/etc/hosts:localhost}"} {
			w.incremental(kafka.ResourceTopic, w.topic().name, true, set("retention.ms", variable))
			w.incremental(kafka.ResourceTopic, w.topic().name, true, set("cleanup.policy", variable))
			w.incremental(kafka.ResourceTopic, w.topic().name, true, set("config.providers", "env"), set("retention.ms", variable))
			w.incremental(kafka.ResourceBroker, "1", true, set("log.retention.ms", variable))
			w.incremental(kafka.ResourceBroker, "", true, set("log.cleanup.policy", variable))
			w.incremental(kafka.ResourceGroup, "g", true, set("consumer.session.timeout.ms", variable))
			w.incremental(kafka.ResourceClientMetrics, "m", true, set("interval.ms", variable))
		}
	},
	func(w *world) { w.incremental(kafka.ResourceTopic, "nowhere", false, set("retention.ms", "1")) },
	func(w *world) { w.incremental(kafka.ResourceTopic, w.topic().name, false, set("no.such.key", "1")) },
	func(w *world) {
		bad := badTopicConfigs(w)
		w.incremental(kafka.ResourceTopic, w.topic().name, w.IntN(2) == 0, set(bad[0], bad[1]))
	},
	func(w *world) { // an operation that there is not, at which Apache Kafka's controller resigns (see awaitController)
		w.incremental(kafka.ResourceTopic, w.topic().name, w.IntN(2) == 0, change{[...]int8{-1, 4, 9, 127}[w.IntN(4)], "cleanup.policy", ptr("compact")})
	},
	func(w *world) {
		w.incremental(kafka.ResourceTopic, w.topic().name, true, change{0, "retention.ms", nil})
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
	func(w *world) { // a resource twice: the same, and differently
		t := w.topic()
		one := resourceChange{kafka.ResourceTopic, t.name, []change{set("retention.ms", "5")}}
		other := resourceChange{kafka.ResourceTopic, t.name, []change{set("segment.ms", "6")}}
		w.incrementalSeveral(w.IntN(2) == 0, one, [...]resourceChange{one, other}[w.IntN(2)], resourceChange{kafka.ResourceTopic, "nowhere", []change{set("retention.ms", "5")}})
	},
	func(w *world) { // kinds of resources that there are not
		for _, kind := range []int8{0, 1, 3, 7, 64, -1} {
			w.incremental(kafka.ResourceType(kind), "x", w.IntN(2) == 0, set("retention.ms", "1"))
		}
	},
	func(w *world) { // no value, for every operation, of a broker: see awaitController for what controllers make of it; an empty one
		for op := range int8(4) {
			w.incremental(kafka.ResourceTopic, w.topic().name, true, change{op, "cleanup.policy", nil})
			w.last().Conn = ""
			w.incremental(kafka.ResourceTopic, w.topic().name, true, change{op, "retention.ms", ptr("")})
		}
	},
	func(w *world) { // no value to add or to take away, of a controller
		w.incremental(kafka.ResourceTopic, w.topic().name, true, change{2 + int8(w.IntN(2)), "cleanup.policy", nil})
		w.last().Conn = controllerConn
	},
	func(w *world) { // lists of what is no list, and keys that there are not
		for op := range int8(4) {
			w.incremental(kafka.ResourceTopic, w.topic().name, true, change{op, "no.such.key", ptr("1")})
			w.incremental(kafka.ResourceBroker, "1", true, change{op, "log.retention.ms", ptr("1")})
		}
	},
	func(w *world) { // names of brokers
		for _, name := range []string{"-1", "01", " 1", "1.0", "99999999999"} {
			w.incremental(kafka.ResourceBroker, name, true, set("log.retention.ms", "100"))
		}
	},
	func(w *world) { // what of a broker cannot be changed, or not for all
		for _, key := range []string{"num.partitions", "listeners", "advertised.listeners", "log.dirs", "process.roles"} {
			w.incremental(kafka.ResourceBroker, "", true, set(key, "2"))
		}
		w.incremental(kafka.ResourceBroker, "1", true, set("num.partitions", "2"))
		w.incremental(kafka.ResourceBroker, "1", true, change{1, "node.id", nil})
	},
	func(w *world) { // settings that do nothing in Millrace: their form is looked at all the same
		for _, kv := range [][2]string{{"log.cleaner.threads", "x"}, {"log.cleaner.threads", "-1"}, {"log.cleaner.backoff.ms", "1.5"}, {"log.cleaner.io.buffer.load.factor", "much"}, {"leader.replication.throttled.rate", "-1"}, {"log.cleaner.enable", "false"},
			{"group.coordinator.threads", "5"}, {"ssl.client.auth", "maybe"}, {"ssl.enabled.protocols", "a,a"}, {"ssl.keystore.password", "x"}, {"authorizer.class.name", "a.B"}, {"follower.fetch.last.tiered.offset.enable", "maybe"}} {
			w.incremental(kafka.ResourceBroker, [...]string{"1", ""}[w.IntN(2)], true, set(kv[0], kv[1]))
		}
		w.incremental(kafka.ResourceBroker, "", true, set("ssl.client.auth", "none"))
		w.incremental(kafka.ResourceBroker, "1", true, change{2, "num.io.threads", ptr("1")}, change{3, "metric.reporters", ptr("a.B")})
	},
	func(w *world) { // subscriptions
		for _, kv := range [][2]string{{"interval.ms", "99"}, {"interval.ms", "x"}, {"match", "client_id"}, {"match", "no_such=1"}, {"match", "client_id=["}, {"metrics", ""}, {"no.such.key", "1"}} {
			w.incremental(kafka.ResourceClientMetrics, "m", true, set(kv[0], kv[1]))
		}
	},
	func(w *world) { // groups
		for _, kv := range [][2]string{{"consumer.session.timeout.ms", "1"}, {"consumer.heartbeat.interval.ms", "1"}, {"consumer.session.timeout.ms", "x"}, {"share.session.timeout.ms", "1"}, {"share.isolation.level", "read"},
			{"share.auto.offset.reset", "never"}, {"streams.num.standby.replicas", "99"}, {"consumer.heartbeat.interval.ms", "60000"}} {
			w.incremental(kafka.ResourceGroup, "g", true, set(kv[0], kv[1]))
		}
	},
	func(w *world) { // log levels
		w.incremental(kafka.ResourceBrokerLogger, "7", true, set("root", "INFO"))
		w.incremental(kafka.ResourceBrokerLogger, "x", true, set("root", "INFO"))
	},
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
	func(w *world) { // groups and subscriptions that have settings, and then none
		name := w.name()
		w.incremental(kafka.ResourceGroup, name, false, set("consumer.session.timeout.ms", "50000"))
		w.incremental(kafka.ResourceClientMetrics, name, false, set("interval.ms", "60000"))
		w.add(Step{What: "await the configs", Settle: listed(16, name)}, Step{What: "await the configs", Settle: listed(32, name)})
		w.listConfigResources(16, 32)
		w.incremental(kafka.ResourceGroup, name, false, change{1, "consumer.session.timeout.ms", nil})
		w.incremental(kafka.ResourceClientMetrics, name, false, change{1, "interval.ms", nil})
		w.add(Step{What: "await their end", Settle: unlisted(16, name)}, Step{What: "await their end", Settle: unlisted(32, name)})
		w.listConfigResources(16, 32)
	},
}

var listConfigResourcesBad = []move{
	func(w *world) { w.listConfigResources(0) },
	func(w *world) { w.listConfigResources(2, 3) },
	func(w *world) { w.listConfigResources(-1) },
	func(w *world) { w.listConfigResources(127) },
}
