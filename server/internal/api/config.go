package api

import "github.com/millrace-io/millrace/config"

// BrokerKeys returns the broker settings that act in this room.
func BrokerKeys() []config.Key {
	return []config.Key{
		{Name: "auto.create.topics.enable", Type: config.Bool, Default: config.Value("true"), Importance: config.High,
			Doc: "Whether a topic is created when a client asks for the metadata of one that does not exist."},
		{Name: "transaction.max.timeout.ms", Type: config.Int, Default: config.Value("900000"), Valid: config.AtLeast(1), Importance: config.High,
			Doc: "The longest timeout that a producer may ask for its transactions: one that wants more is refused."},
	}
}
