package broker

import (
	"log/slog"
	"maps"
	"strconv"
	"sync"

	"github.com/millrace-io/millrace/config"
	"github.com/millrace-io/millrace/kafka"
	"github.com/millrace-io/millrace/server/internal/commitlog"
	"github.com/millrace-io/millrace/server/internal/metadata"
	"github.com/millrace-io/millrace/server/internal/replica"
)

// Configs finds the effective settings of topics on this broker, over the layers of DescribeConfigs: the topic's
// own, the broker's dynamic ones, the cluster's dynamic defaults, the properties file, the default.
type Configs struct {
	NodeID int32
	Topics *config.Table     // every room's topic keys
	Static map[string]string // the properties file
	Log    *slog.Logger

	mu sync.Mutex
	// The settings of a topic that sets nothing, and the dynamic layers that they were made from: on a node of
	// a hundred thousand partitions nearly every topic is one.
	plain               settings
	made                bool
	dynamic, everywhere map[string]string
}

// settings are those of one topic.
type settings struct {
	log     commitlog.Config
	replica replica.TopicConfig
}

// Layers returns the broker's layers under an image, most specific first.
func (c *Configs) Layers(image *metadata.Image) []config.Layer {
	return []config.Layer{
		{Source: config.SourceDynamicBroker, Values: image.Config(kafka.ResourceBroker, strconv.Itoa(int(c.NodeID)))},
		{Source: config.SourceDynamicDefaultBroker, Values: image.Config(kafka.ResourceBroker, "")},
		{Source: config.SourceStaticBroker, Values: c.Static},
	}
}

// OfTopic returns the effective settings of a topic; of "" the broker's defaults. It has the shape of
// replica.Options.TopicConfig.
func (c *Configs) OfTopic(image *metadata.Image, topic string) (commitlog.Config, replica.TopicConfig) {
	var own map[string]string
	if topic != "" {
		own = image.Config(kafka.ResourceTopic, topic)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	layers := c.Layers(image)
	if !c.made || !maps.Equal(c.dynamic, layers[0].Values) || !maps.Equal(c.everywhere, layers[1].Values) {
		c.plain = c.resolve("", layers)
		c.made, c.dynamic, c.everywhere = true, layers[0].Values, layers[1].Values
	}
	if len(own) == 0 {
		return c.plain.log, c.plain.replica
	}
	s := c.resolve(topic, append([]config.Layer{{Source: config.SourceTopic, Values: own}}, layers...))
	return s.log, s.replica
}

// resolve parses the settings out of the layers. Every value was checked when it was set, so a value that does
// not parse was written by a version that knew more: then the broker's defaults hold, and the log says so.
func (c *Configs) resolve(topic string, layers []config.Layer) settings {
	get := func(key string) string {
		value, _ := c.Topics.Effective(key, layers...)
		return value
	}
	var s settings
	var err error
	if s.log, err = commitlog.ParseConfig(get); err == nil {
		s.replica, err = replica.ParseTopicConfig(get)
	}
	if err == nil {
		return s
	}
	c.Log.Error("the settings of a topic are not understood; the defaults hold for it", "topic", topic, "error", err)
	if len(layers) > 0 {
		return c.resolve(topic, layers[1:])
	}
	return s
}
