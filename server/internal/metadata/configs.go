package metadata

import (
	"maps"

	"github.com/millrace-io/millrace/internal/wire"
	"github.com/millrace-io/millrace/kafka"
)

func (d *Delta) ownConfigs() {
	if !d.own.configs {
		d.own.configs = true
		d.next.configs = d.next.configs.edit()
	}
}

func (d *Delta) replayConfig(m *wire.ConfigRecord) error {
	resource := ConfigResource{kafka.ResourceType(m.ResourceType), m.ResourceName}
	values := maps.Clone(d.next.Config(resource.Type, resource.Name)) // a handful of entries
	if m.Value == nil {
		delete(values, m.Name)
	} else {
		mark(&values, m.Name, *m.Value)
	}
	if len(values) == 0 {
		d.removeConfigs(resource)
		return nil
	}
	d.ownConfigs()
	put(d.next.configs, resource, values)
	touch(&d.sets.configs, resource)
	return nil
}

func (d *Delta) removeConfigs(resource ConfigResource) {
	if d.next.Config(resource.Type, resource.Name) == nil {
		return
	}
	d.ownConfigs()
	remove(d.next.configs, resource)
	touch(&d.sets.configs, resource)
}
