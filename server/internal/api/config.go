package api

import "github.com/millrace-io/millrace/config"

// BrokerKeys returns the broker settings that act in this room.
func BrokerKeys() []config.Key {
	return []config.Key{
		{Name: "auto.create.topics.enable", Type: config.Bool, Default: config.Value("true"), Importance: config.High,
			Doc: "Whether a topic is created when a client asks for the metadata of one that does not exist."},
	}
}
