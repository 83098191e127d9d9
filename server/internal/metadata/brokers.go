package metadata

import (
	"slices"

	"github.com/millrace-io/millrace/internal/wire"
)

func (d *Delta) setBroker(b *Broker) {
	d.ownBrokers()
	d.next.brokers.b.ReplaceOrInsert(b)
	touch(&d.sets.brokers, b.ID)
}

func (d *Delta) ownBrokers() {
	if !d.own.brokers {
		d.own.brokers = true
		d.next.brokers = d.next.brokers.edit()
	}
}

func (d *Delta) replayRegisterBroker(m *wire.RegisterBrokerRecord) error {
	b := &Broker{
		ID: m.BrokerID, Epoch: m.BrokerEpoch, Incarnation: m.IncarnationID, Rack: m.Rack, Fenced: m.Fenced,
		InControlledShutdown: m.InControlledShutdown, LogDirs: slices.Clip(m.LogDirs), CordonedDirs: m.CordonedLogDirs,
		Endpoints: make([]Endpoint, len(m.EndPoints)), Features: make(map[string]FeatureRange, len(m.Features)),
		migratingZk: m.IsMigratingZkBroker,
	}
	for i, e := range m.EndPoints {
		b.Endpoints[i] = Endpoint{e.Name, e.Host, e.Port, e.SecurityProtocol}
	}
	for _, f := range m.Features {
		b.Features[f.Name] = FeatureRange{f.MinSupportedVersion, f.MaxSupportedVersion}
	}
	d.setBroker(b)
	return nil
}

// changeBroker replaces a broker by a copy that was changed. A record about another incarnation of the broker than the
// registered one cannot be in a sound log: the controller checks the broker epoch before it writes.
func (d *Delta) changeBroker(m wire.Message, id int32, epoch int64, change func(b *Broker)) error {
	old := d.next.Broker(id)
	switch {
	case old == nil:
		return refuse(m, "broker %d is not registered", id)
	case old.Epoch != epoch:
		return refuse(m, "broker %d is registered with the epoch %d, not %d", id, old.Epoch, epoch)
	}
	b := *old
	change(&b)
	d.setBroker(&b)
	return nil
}

func (d *Delta) replayBrokerChange(m *wire.BrokerRegistrationChangeRecord) error {
	if m.Fenced < -1 || m.Fenced > 1 || m.InControlledShutdown < 0 || m.InControlledShutdown > 1 {
		return refuse(m, "broker %d: fenced %d, in controlled shutdown %d; this version does not know what that means",
			m.BrokerID, m.Fenced, m.InControlledShutdown)
	}
	return d.changeBroker(m, m.BrokerID, m.BrokerEpoch, func(b *Broker) {
		if m.Fenced != 0 { // -1 unfences, 0 leaves it, 1 fences
			b.Fenced = m.Fenced > 0
		}
		if m.InControlledShutdown != 0 { // nothing ends it but a new registration
			b.InControlledShutdown = true
		}
		if len(m.LogDirs) > 0 {
			b.LogDirs = slices.Clip(m.LogDirs)
		}
		if m.CordonedLogDirs != nil {
			b.CordonedDirs = slices.Clip(m.CordonedLogDirs)
		}
	})
}

func (d *Delta) replayUnregisterBroker(m *wire.UnregisterBrokerRecord) error {
	if err := d.changeBroker(m, m.BrokerID, m.BrokerEpoch, func(*Broker) {}); err != nil {
		return err
	}
	d.next.brokers.b.Delete(&Broker{ID: m.BrokerID})
	return nil
}

func (d *Delta) ownControllers() {
	if !d.own.controllers {
		d.own.controllers = true
		d.next.controllers = d.next.controllers.edit()
	}
}

func (d *Delta) replayRegisterController(m *wire.RegisterControllerRecord) error {
	c := &Controller{
		ID: m.ControllerID, Incarnation: m.IncarnationID, zkReady: m.ZkMigrationReady,
		Endpoints: make([]Endpoint, len(m.EndPoints)), Features: make(map[string]FeatureRange, len(m.Features)),
	}
	for i, e := range m.EndPoints {
		c.Endpoints[i] = Endpoint{e.Name, e.Host, e.Port, e.SecurityProtocol}
	}
	for _, f := range m.Features {
		c.Features[f.Name] = FeatureRange{f.MinSupportedVersion, f.MaxSupportedVersion}
	}
	d.ownControllers()
	d.next.controllers.b.ReplaceOrInsert(c)
	touch(&d.sets.controllers, c.ID)
	return nil
}

func (d *Delta) replayUnregisterController(m *wire.UnregisterControllerRecord) error {
	if d.next.Controller(m.ControllerID) == nil {
		return refuse(m, "controller %d is not registered", m.ControllerID)
	}
	d.ownControllers()
	d.next.controllers.b.Delete(&Controller{ID: m.ControllerID})
	touch(&d.sets.controllers, m.ControllerID)
	return nil
}
