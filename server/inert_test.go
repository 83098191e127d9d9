package server

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/server/internal/vfs"
)

// Kafka 4.4 has 379 keys of brokers, and three more that exist only where they are set at run time. Every one is declared, by
// a room or in inert_keys.tsv and not by both, and what is declared beside them is ours.
func TestEveryKeyOfKafkaIsDeclared(t *testing.T) {
	ours := []string{"http.listeners", "proxy.protocol.listeners", "metrics.partitions", "memory.budget.bytes", "log.durability", "log.sync.stall.timeout.ms", "log.reserve.bytes", "log.scrub.bytes.per.second", "log.scrub.interval.ms"}
	ofKafka := 0
	for k := range brokerTable().All() {
		if !slices.Contains(ours, k.Name) {
			ofKafka++
		}
		if k.Doc == "" {
			t.Errorf("%s has no words", k.Name)
		}
	}
	if want := 379 + 3; ofKafka != want {
		t.Errorf("%d keys of Kafka are declared, not %d", ofKafka, want)
	}
	rooms := join(brokerKeys()...)
	stray := strayKeys()
	for _, k := range inertKeys() {
		if _, acts := rooms.Lookup(k.Name); acts {
			t.Errorf("%s is declared by a room: take its line out of inert_keys.tsv", k.Name)
		}
		if _, twice := stray[k.Name]; twice {
			t.Errorf("%s stands in inert_keys.tsv twice", k.Name)
		}
	}
	if len(stray) < 45 {
		t.Errorf("%d keys of older releases", len(stray))
	}
}

// Every key is understood in a file: it acts, or it is accepted and named in the one warning with why it does nothing, or it is
// refused because a node that ignored it would let something through. None is an unknown key, and a bad value of none passes.
func TestEveryKeyOfKafkaIsUnderstood(t *testing.T) {
	samples := map[config.Type]string{config.Bool: "true", config.Int: "1", config.Short: "1", config.Long: "1", config.Double: "0.5", config.List: "a", config.Class: "a.B", config.Password: "secret", config.String: "x"}
	accepted := func(name, value string) {
		t.Helper()
		c, err := NewConfig(with(name, value))
		if err != nil {
			t.Errorf("%s=%s: %v", name, value, err)
			return
		}
		warning := inertWarning(c.values.table, c.Inert)
		if !slices.Equal(c.Inert, []string{name}) || !strings.HasPrefix(warning, "accepted, without an effect in this version: "+name+" (") || strings.Contains(warning, "()") || strings.Contains(warning, "\n") {
			t.Errorf("%s: inert %v, warned %q", name, c.Inert, warning)
		}
	}
	for k := range brokerTable().All() {
		value := samples[k.Type]
		if k.Default != nil {
			value = *k.Default
		}
		switch k.Owner {
		case "": // config_test and the rooms' own tests are about them
		case refused:
			if _, err := NewConfig(with(k.Name, "a.B")); err == nil || !strings.Contains(err.Error(), k.Name+" cannot be obeyed") {
				t.Errorf("%s: %v", k.Name, err)
			}
			if c, err := NewConfig(with(k.Name, " ")); err != nil || len(c.Inert) > 0 {
				t.Errorf("%s without a value: %v", k.Name, err)
			}
		default:
			accepted(k.Name, value)
			if k.Type == config.Bool || k.Type == config.Int || k.Type == config.Long || k.Type == config.Double || k.Type == config.Short {
				if _, err := NewConfig(with(k.Name, "many")); err == nil || !strings.Contains(err.Error(), k.Name) || !strings.Contains(err.Error(), `"many"`) {
					t.Errorf("%s=many: %v", k.Name, err)
				}
			}
		}
	}
	for name := range strayKeys() {
		accepted(name, "x")
	}
	for _, name := range []string{"listener.name.plaintext.ssl.keystore.location", "rsm.config.bucket", "remote.log.metadata.topic.num.partitions"} {
		accepted(name, "x")
	}
}

// The ranges are those of Kafka.
func TestRangesOfInertKeys(t *testing.T) {
	table := brokerTable()
	for _, c := range []struct {
		key, good, bad string
	}{
		{"log.cleaner.threads", "0", "-1"}, {"num.io.threads", "1", "0"}, {"sasl.oauthbearer.assertion.claim.exp.seconds", "86400", "86401"}, {"remote.log.manager.task.retry.jitter", "0.5", "0.6"},
		{"ssl.client.auth", "required", "Required"}, {"sasl.oauthbearer.assertion.algorithm", "es256", "none"}, {"ssl.enabled.protocols", "a,b", "a,a"}, {"group.share.assignors", "simple", ""},
		{"group.coordinator.rebalance.protocols", "consumer,classic", "consumer,none"}, {"group.coordinator.rebalance.protocols", "share", ""}, {"remote.log.metadata.manager.impl.prefix", "a", ""},
	} {
		if err := table.Check(c.key, c.good); err != nil {
			t.Error(err)
		}
		if err := table.Check(c.key, c.bad); err == nil {
			t.Errorf("%s takes %q", c.key, c.bad)
		}
	}
}

// Keys that do nothing are described, as Kafka describes them, and what is set of them at run time shows.
func TestInertKeysAreDescribed(t *testing.T) {
	s := started(t, on(t, vfs.NewMem(), "num.network.threads", "4", "ssl.key.password", "hidden", "host.name", "x", "listener.name.inside.ssl.truststore.location", "/x", "listener.name.inside.ssl.key.password", "hidden", "listener.name.inside.ssl.protocol", "TLS"))
	admin := clientOf(t, s)
	alter := func(broker, key string, value *string) error {
		request, resource, one := kmsg.NewPtrIncrementalAlterConfigsRequest(), kmsg.NewIncrementalAlterConfigsRequestResource(), kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		if one.Name, one.Value = key, value; value == nil {
			one.Op = kmsg.IncrementalAlterConfigOpDelete
		}
		resource.ResourceType, resource.ResourceName, resource.Configs = kmsg.ConfigResourceTypeBroker, broker, append(resource.Configs, one)
		request.Resources = append(request.Resources, resource)
		response, err := request.RequestWith(t.Context(), admin)
		if err == nil {
			err = kerr.ErrorForCode(response.Resources[0].ErrorCode)
		}
		return err
	}
	expect := func(broker, key, want string) {
		t.Helper()
		if got := describedKey(t, admin, broker, key); got != want {
			t.Errorf("%s of broker %q is described as\n  %s, want\n  %s", key, broker, got, want)
		}
	}
	expect("1", "num.io.threads", `"8" INT DEFAULT_CONFIG < num.io.threads="8" DEFAULT_CONFIG # Taken, without an effect in this version: it sizes thread pools; goroutines need none.`)
	expect("1", "num.network.threads", `"4" INT STATIC_BROKER_CONFIG < num.network.threads="4" STATIC_BROKER_CONFIG < num.network.threads="3" DEFAULT_CONFIG # Taken, without an effect in this version: it sizes thread pools; goroutines need none.`)
	expect("1", "queued.max.requests", `"500" INT read-only DEFAULT_CONFIG < queued.max.requests="500" DEFAULT_CONFIG # Taken, without an effect in this version: it has no counterpart here. memory.budget.bytes bounds the requests in flight.`)
	expect("1", "authorizer.class.name", `"" STRING read-only DEFAULT_CONFIG < authorizer.class.name="" DEFAULT_CONFIG # Refused where it is set: it names Java code, and a node that ignored it would let through what it is there to stop.`)
	expect("1", "ssl.key.password", `null PASSWORD sensitive STATIC_BROKER_CONFIG < ssl.key.password=null STATIC_BROKER_CONFIG # Taken, without an effect in this version: it acts with encryption and authentication.`)
	expect("1", "log.initial.task.delay.ms", "")         // internal, and not set
	expect("1", "leader.replication.throttled.rate", "") // is where it is set
	// What nobody declares is shown where it is set, its value not, unless a key of one listener says what it is.
	expect("1", "host.name", `null UNKNOWN sensitive read-only STATIC_BROKER_CONFIG < host.name=null STATIC_BROKER_CONFIG`)
	expect("1", "listener.name.inside.ssl.truststore.location", `"/x" STRING read-only STATIC_BROKER_CONFIG < listener.name.inside.ssl.truststore.location="/x" STATIC_BROKER_CONFIG`)
	expect("1", "listener.name.inside.ssl.key.password", `null PASSWORD sensitive read-only STATIC_BROKER_CONFIG < listener.name.inside.ssl.key.password=null STATIC_BROKER_CONFIG < ssl.key.password=null STATIC_BROKER_CONFIG`)
	expect("1", "listener.name.inside.ssl.protocol", `"TLS" STRING read-only STATIC_BROKER_CONFIG < listener.name.inside.ssl.protocol="TLS" STATIC_BROKER_CONFIG < ssl.protocol="TLSv1.3" DEFAULT_CONFIG`)

	set := func(broker, key, value string) {
		t.Helper()
		if err := alter(broker, key, &value); err != nil {
			t.Errorf("%s=%s: %v", key, value, err)
		}
	}
	const cleaner = "log.cleaner.backoff.ms"
	const words = " # Taken, without an effect in this version: it acts with compaction."
	set("", cleaner, "+7000")
	set("1", cleaner, " 5000 ")
	expect("1", cleaner, `"5000" LONG DYNAMIC_BROKER_CONFIG < log.cleaner.backoff.ms=" 5000 " DYNAMIC_BROKER_CONFIG < log.cleaner.backoff.ms="+7000" DYNAMIC_DEFAULT_BROKER_CONFIG < log.cleaner.backoff.ms="15000" DEFAULT_CONFIG`+words)
	expect("", cleaner, `"+7000" LONG DYNAMIC_DEFAULT_BROKER_CONFIG < log.cleaner.backoff.ms="+7000" DYNAMIC_DEFAULT_BROKER_CONFIG`+words)
	for _, broker := range []string{"1", ""} {
		if err := alter(broker, cleaner, nil); err != nil {
			t.Error(err)
		}
	}
	expect("1", cleaner, `"15000" LONG DEFAULT_CONFIG < log.cleaner.backoff.ms="15000" DEFAULT_CONFIG`+words)
	expect("", cleaner, "")

	set("1", "leader.replication.throttled.rate", "1000")
	expect("1", "leader.replication.throttled.rate", `"1000" LONG DYNAMIC_BROKER_CONFIG < leader.replication.throttled.rate="1000" DYNAMIC_BROKER_CONFIG # How many bytes a second the leaders here send to throttled replicas; taken, without an effect in this version.`)
	set("1", "group.share.assignor.offload.enable", "false")
	expect("1", "group.share.assignor.offload.enable", `"false" BOOLEAN DYNAMIC_BROKER_CONFIG < group.share.assignor.offload.enable="false" DYNAMIC_BROKER_CONFIG < group.share.assignor.offload.enable="true" DEFAULT_CONFIG # Taken, without an effect in this version: it acts with share groups.`)
	set("1", "listener.name.inside.scram-sha-256.sasl.jaas.config", "hidden")
	expect("1", "listener.name.inside.scram-sha-256.sasl.jaas.config", `null PASSWORD sensitive read-only DYNAMIC_BROKER_CONFIG < listener.name.inside.scram-sha-256.sasl.jaas.config=null DYNAMIC_BROKER_CONFIG`)
	set("", "a.plugins.key", "x")
	expect("", "a.plugins.key", `null UNKNOWN sensitive read-only DYNAMIC_DEFAULT_BROKER_CONFIG < a.plugins.key=null DYNAMIC_DEFAULT_BROKER_CONFIG`)

	for _, wrong := range [][3]string{{"1", cleaner, "soon"}, {"1", "log.cleaner.threads", "-1"}, {"1", "leader.replication.throttled.rate", "x"}, {"1", "group.coordinator.threads", "5"}, {"1", "log.cleaner.enable", "false"},
		{"", "ssl.client.auth", "none"}, {"1", "ssl.client.auth", "maybe"}, {"1", "ssl.keystore.password", "x"}, {"1", "authorizer.class.name", "a.B"}} {
		if err := alter(wrong[0], wrong[1], &wrong[2]); !errors.Is(err, kerr.InvalidRequest) {
			t.Errorf("%s=%s of broker %q: %v", wrong[1], wrong[2], wrong[0], err)
		}
	}
}

// describedKey writes what a broker says of a key; nothing where it does not list it.
func describedKey(t *testing.T, admin *kgo.Client, broker, key string) string {
	t.Helper()
	request, resource := kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewDescribeConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeBroker, broker
	request.Resources, request.IncludeSynonyms, request.IncludeDocumentation = append(request.Resources, resource), true, true
	response, err := request.RequestWith(t.Context(), admin)
	if err != nil {
		t.Fatal(err)
	}
	value := func(v *string) string {
		if v == nil {
			return "null"
		}
		return fmt.Sprintf("%q", *v)
	}
	configs := response.Resources[0].Configs
	if !slices.IsSortedFunc(configs, func(a, b kmsg.DescribeConfigsResponseResourceConfig) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the keys are not in the order of their names")
	}
	var b strings.Builder
	for _, c := range configs {
		if c.Name != key {
			continue
		}
		fmt.Fprintf(&b, "%s %s", value(c.Value), c.ConfigType)
		if c.IsSensitive {
			b.WriteString(" sensitive")
		}
		if c.ReadOnly {
			b.WriteString(" read-only")
		}
		fmt.Fprintf(&b, " %s", c.Source)
		for _, s := range c.ConfigSynonyms {
			fmt.Fprintf(&b, " < %s=%s %s", s.Name, value(s.Value), s.Source)
		}
		if c.Documentation != nil {
			b.WriteString(" # " + *c.Documentation)
		}
	}
	return b.String()
}

// An internal key of a topic is told, by CreateTopics and DescribeConfigs, where the topic sets it, and only there.
func TestInternalKeysOfTopicsAreToldWhereTheyAreSet(t *testing.T) {
	admin := clientOf(t, started(t, on(t, vfs.NewMem())))
	const key = "internal.segment.bytes"
	for _, test := range []struct {
		topic string
		set   bool
	}{{"without", false}, {"with", true}} {
		create, topic := kmsg.NewPtrCreateTopicsRequest(), kmsg.NewCreateTopicsRequestTopic()
		topic.Topic, topic.NumPartitions, topic.ReplicationFactor = test.topic, 1, 1
		if test.set {
			one := kmsg.NewCreateTopicsRequestTopicConfig()
			one.Name, one.Value = key, kmsg.StringPtr("2000000")
			topic.Configs = append(topic.Configs, one)
		}
		create.Topics = append(create.Topics, topic)
		created, err := create.RequestWith(t.Context(), admin)
		if err != nil || created.Topics[0].ErrorCode != 0 {
			t.Fatal(err, created)
		}
		if told := slices.ContainsFunc(created.Topics[0].Configs, func(c kmsg.CreateTopicsResponseTopicConfig) bool { return c.Name == key && *c.Value == "2000000" }); told != test.set {
			t.Errorf("topic %s: CreateTopics tells of %s: %v", test.topic, key, told)
		}
		describe, resource := kmsg.NewPtrDescribeConfigsRequest(), kmsg.NewDescribeConfigsRequestResource()
		resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, test.topic
		describe.Resources = append(describe.Resources, resource)
		described, err := describe.RequestWith(t.Context(), admin)
		if err != nil || described.Resources[0].ErrorCode != 0 {
			t.Fatal(err, described)
		}
		if told := slices.ContainsFunc(described.Resources[0].Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool { return c.Name == key && *c.Value == "2000000" }); told != test.set {
			t.Errorf("topic %s: DescribeConfigs tells of %s: %v", test.topic, key, told)
		}
	}
}
