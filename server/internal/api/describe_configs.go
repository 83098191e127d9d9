package api

import (
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/listener"
)

// DescribeConfigs, versions 1 to 4: the effective settings of topics, brokers ("" is the default of all), groups and
// client-metrics subscriptions, with where they come from; with synonyms, and from version 3 on documentation and types,
// when asked. Of a broker it lists the keys of Kafka that do nothing here, too, and what is set that nobody declares. Any
// broker answers for topics; for a broker only itself does. The empty list of keys means all of them, as none does, and a
// message is there, if empty, where nothing is wrong.
func describeConfigs(c *call, request *wire.DescribeConfigsRequest) wire.Message {
	response := wire.NewDescribeConfigsResponse()
	for _, r := range request.Resources {
		result := wire.DescribeConfigsResponseResults{ResourceType: r.ResourceType, ResourceName: r.ResourceName, ErrorMessage: new(string)}
		entries, err := c.configsOf(kafka.ResourceType(r.ResourceType), r.ResourceName)
		if err != nil {
			result.ErrorCode = kafka.CodeOf(err)
			if message := kafka.MessageOf(err); message != nil {
				result.ErrorMessage = message
			}
		}
		for _, e := range entries {
			if len(r.ConfigurationKeys) == 0 || slices.Contains(r.ConfigurationKeys, e.Key.Name) {
				result.Configs = append(result.Configs, shownConfig(e, kafka.ResourceType(r.ResourceType), request))
			}
		}
		response.Results = append(response.Results, result)
	}
	return response
}

// configsOf resolves all keys of a resource.
func (c *call) configsOf(kind kafka.ResourceType, name string) ([]config.Entry, error) {
	o := &c.t.o
	switch kind {
	case kafka.ResourceTopic:
		switch {
		case !c.allowed(OpDescribeConfigs, ResTopic, name):
			return nil, kafka.TopicAuthorizationFailed.Errorf("not authorized to describe the settings of topic %q", name)
		case kafka.CheckTopicName(name) != nil:
			return nil, kafka.InvalidTopicException.Errorf("%v", kafka.CheckTopicName(name))
		case c.image.Topic(name) == nil:
			return nil, kafka.UnknownTopicOrPartition
		}
		layers := append([]config.Layer{{Source: config.SourceTopic, Values: c.image.Config(kind, name)}}, c.brokerLayers()...)
		return o.TopicConfigs.ResolveAll(o.BrokerConfigs, layers...), nil
	case kafka.ResourceBroker:
		if !c.allowed(OpDescribeConfigs, ResCluster, clusterName) {
			return nil, kafka.ClusterAuthorizationFailed.Errorf("not authorized to describe the settings of brokers")
		}
		if name == "" {
			var set []config.Entry // of the default of all brokers only what is set is shown, and as it was set
			for _, e := range c.ofBroker(config.Layer{Source: config.SourceDynamicDefaultBroker, Values: c.image.Config(kind, "")}) {
				if !e.Default {
					e.Value = e.Synonyms[0].Value
					set = append(set, e)
				}
			}
			return onlySet(set), nil
		}
		id, err := strconv.ParseInt(name, 10, 32)
		if err != nil {
			return nil, kafka.InvalidRequest.Errorf("broker id must be an integer, but it is: %s", name)
		}
		if int32(id) != o.NodeID {
			return nil, kafka.InvalidRequest.Errorf("the settings of broker %d are asked of broker %d", id, o.NodeID)
		}
		return c.ofBroker(c.brokerLayers()...), nil
	case kafka.ResourceGroup:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("the group has no name")
		}
		entries := o.GroupConfigs.ResolveAll(o.BrokerConfigs, append([]config.Layer{{Source: config.SourceGroup, Values: c.image.Config(kind, name)}}, c.brokerLayers()...)...)
		for i := range entries { // unlike a topic's, a group's key that no broker's stands behind lists its own default
			if e := &entries[i]; len(e.Key.Synonyms) == 0 && e.Key.Default != nil {
				e.Synonyms = append(e.Synonyms, config.SynonymEntry{Name: e.Key.Name, Value: e.Key.Default, Source: config.SourceDefault})
			}
		}
		return entries, nil
	case kafka.ResourceClientMetrics:
		if name == "" {
			return nil, kafka.InvalidRequest.Errorf("the client metrics subscription has no name")
		}
		return onlySet(o.ClientMetricsConfigs.ResolveAll(nil, config.Layer{Source: config.SourceClientMetrics, Values: c.image.Config(kind, name)})), nil
	case kafka.ResourceBrokerLogger:
		if id, err := strconv.ParseInt(name, 10, 32); err != nil || int32(id) != o.NodeID {
			return nil, kafka.InvalidRequest.Errorf("the log levels of broker %q are asked of broker %d", name, o.NodeID)
		}
		return []config.Entry{c.logLevel()}, nil
	}
	return nil, kafka.InvalidRequest.Errorf("unsupported resource type: %s", kind)
}

// ofBroker resolves all keys of brokers, and what the layers set that no room declares: of that no value is shown, which may be
// a secret, unless it is a declared key of one listener or one of its mechanisms.
func (c *call) ofBroker(layers ...config.Layer) []config.Entry {
	table := c.t.o.BrokerConfigs
	entries := append(table.ResolveAll(nil, layers...), table.ResolveUndeclared(func(name string) config.Key {
		k := config.Key{Name: name, Sensitive: true}
		of, ofListener := listener.BaseKey(name)
		if !ofListener {
			return k
		}
		_, ofMechanism, _ := strings.Cut(of, ".")
		for _, base := range []string{of, ofMechanism} {
			if declared, ok := table.Lookup(base); ok {
				k.Type, k.Sensitive, k.Valid = declared.Type, declared.Hidden(), declared.Valid
				k.Synonyms = []config.Synonym{{Name: name}, {Name: base}}
				break
			}
		}
		return k
	}, layers...)...)
	slices.SortFunc(entries, func(a, b config.Entry) int { return strings.Compare(a.Key.Name, b.Key.Name) })
	return entries
}

// onlySet leaves the defaults out of the synonyms: behind these resources stands no broker.
func onlySet(entries []config.Entry) []config.Entry {
	for i := range entries {
		e := &entries[i]
		e.Synonyms = slices.DeleteFunc(e.Synonyms, func(s config.SynonymEntry) bool { return s.Source == config.SourceDefault })
	}
	return entries
}

// logLevel is the one logger that there is. Its level is set where the node is started.
func (c *call) logLevel() config.Entry {
	level := "OFF"
	for _, l := range []slog.Level{slog.LevelError, slog.LevelWarn, slog.LevelInfo, slog.LevelDebug} {
		if c.t.o.Log.Enabled(c, l) {
			level = l.String()
		}
	}
	return config.Entry{Key: &config.Key{Name: "root"}, Value: &level, Source: config.SourceBrokerLogger, ReadOnly: true}
}

// brokerLayers are where a broker's settings come from, most specific first.
func (c *call) brokerLayers() []config.Layer {
	return []config.Layer{
		{Source: config.SourceDynamicBroker, Values: c.image.Config(kafka.ResourceBroker, strconv.Itoa(int(c.t.o.NodeID)))},
		{Source: config.SourceDynamicDefaultBroker, Values: c.image.Config(kafka.ResourceBroker, "")},
		{Source: config.SourceStaticBroker, Values: c.t.o.Static},
	}
}

func shownConfig(e config.Entry, kind kafka.ResourceType, request *wire.DescribeConfigsRequest) wire.DescribeConfigsResponseConfigs {
	one := wire.NewDescribeConfigsResponseConfigs()
	one.Name, one.Value, one.ConfigSource = e.Key.Name, e.Value, int8(e.Source)
	one.IsSensitive, one.ConfigType = e.Sensitive, int8(e.Key.Type)
	one.ReadOnly = e.ReadOnly && (kind == kafka.ResourceBroker || kind == kafka.ResourceBrokerLogger) // the others can always be changed
	if request.IncludeSynonyms {
		for _, s := range e.Synonyms {
			one.Synonyms = append(one.Synonyms, wire.DescribeConfigsResponseSynonyms{Name: s.Name, Value: s.Value, Source: int8(s.Source)})
		}
	}
	if request.IncludeDocumentation && e.Key.Doc != "" {
		one.Documentation = &e.Key.Doc
	}
	return one
}
