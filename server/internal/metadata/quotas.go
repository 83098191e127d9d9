package metadata

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/millrace-io/millrace/internal/wire"
)

// quotaKey is the canonical form of an entity: its parts by type, each as a length and the type, then 0 for the default
// or 1, a length and the name.
func quotaKey(entity []QuotaEntity) string {
	entity = slices.SortedFunc(slices.Values(entity), func(a, b QuotaEntity) int { return cmp.Compare(a.Type, b.Type) })
	var key strings.Builder
	text := func(s string) {
		key.WriteByte(byte(len(s) >> 8)) // the strings of the protocol are shorter than 32 KiB
		key.WriteByte(byte(len(s)))
		key.WriteString(s)
	}
	for _, part := range entity {
		text(part.Type)
		if part.Name == nil {
			key.WriteByte(0)
		} else {
			key.WriteByte(1)
			text(*part.Name)
		}
	}
	return key.String()
}

func (d *Delta) replayQuota(m *wire.ClientQuotaRecord) error {
	entity := make([]QuotaEntity, len(m.Entity))
	for i, part := range m.Entity {
		entity[i] = QuotaEntity{part.EntityType, part.EntityName}
	}
	slices.SortFunc(entity, func(a, b QuotaEntity) int { return cmp.Compare(a.Type, b.Type) })
	for i := 1; i < len(entity); i++ {
		if entity[i].Type == entity[i-1].Type {
			return refuse(m, "the entity has two parts of the type %s", entity[i].Type)
		}
	}
	q := &Quota{Entity: entity, key: quotaKey(entity)}
	if old := d.next.Quota(entity); old != nil {
		q.Values = maps.Clone(old.Values)
	}
	if m.Remove {
		delete(q.Values, m.Key)
	} else {
		mark(&q.Values, m.Key, m.Value)
	}
	if !d.own.quotas {
		d.own.quotas = true
		d.next.quotas = d.next.quotas.edit()
	}
	if len(q.Values) == 0 {
		d.next.quotas.b.Delete(q)
	} else {
		d.next.quotas.b.ReplaceOrInsert(q)
	}
	touch(&d.sets.quotas, q.key)
	return nil
}
